//! All cards together.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::resolve::split_tag;
use super::{Architecture, Card, CardError, ModelSpec};

include!(concat!(env!("OUT_DIR"), "/cards.rs"));
include!(concat!(env!("OUT_DIR"), "/architectures.rs"));

/// A set of cards that agree with each other, and architectures without one, sorted by name.
#[derive(Clone, Debug)]
pub struct Zoo {
    cards: Vec<Card>,
    untrained: Vec<Architecture>,
}

static BUILTIN: LazyLock<Result<Zoo, CardError>> = LazyLock::new(|| {
    let read = |(file, text): &(&str, &str)| Architecture::read(file, text);
    Ok(Zoo {
        untrained: ARCHITECTURES.iter().map(read).collect::<Result<_, _>>()?,
        ..Zoo::read(CARDS, Card::read)?
    })
});

type ReadCard = fn(&str, &str) -> Result<Card, CardError>;

impl Zoo {
    /// The cards that are part of the program. They are parsed once and not checked: the tests do
    /// that, and planning every network would take most of a short command's time.
    ///
    /// # Errors
    /// [`CardError::Builtin`] if one cannot be parsed, which the program's tests rule out.
    pub fn builtin() -> Result<&'static Self, CardError> {
        BUILTIN.as_ref().map_err(CardError::Builtin)
    }

    /// Reads cards, given as pairs of file name and text.
    ///
    /// # Errors
    /// Those of [`Card::parse`]; [`CardError::Differ`] if cards of one architecture disagree about
    /// it, [`CardError::Recommended`] if an architecture's name alone selects no card or several.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, CardError> {
        let files: Vec<_> = files.into_iter().collect();
        let zoo = Self::read(&files, Card::parse)?;
        let mut groups = BTreeMap::<&str, Vec<&Card>>::new();
        for card in &zoo.cards {
            groups
                .entry(card.name.architecture())
                .or_default()
                .push(card);
        }
        groups
            .values()
            .try_for_each(|group| check_architecture(group))?;
        Ok(zoo)
    }

    fn read(files: &[(&str, &str)], card: ReadCard) -> Result<Self, CardError> {
        let cards = files.iter().map(|(file, text)| card(file, text));
        let mut cards = cards.collect::<Result<Vec<_>, _>>()?;
        cards.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            cards,
            untrained: Vec::new(),
        })
    }

    /// All cards, sorted by name.
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// The card with that full name, `architecture.tag`.
    pub fn get(&self, name: &str) -> Option<&Card> {
        self.cards.iter().find(|card| card.name.to_string() == name)
    }

    /// The architectures without a published checkpoint, sorted by name.
    pub fn untrained(&self) -> &[Architecture] {
        &self.untrained
    }

    /// The architecture of that name, with or without a card.
    pub fn architecture(&self, name: &str) -> Option<Architecture> {
        let untrained = || self.untrained.iter().find(|known| known.name == name);
        let card = self.default_of(name).map(Architecture::from);
        card.or_else(|| untrained().cloned())
    }

    /// The name of the architecture that a model has, apart from its input channels and classes.
    pub fn architecture_of(&self, spec: &ModelSpec) -> Option<&str> {
        let untrained = self.untrained.iter().map(|known| known.name.as_str());
        let all = self.architectures().into_iter().chain(untrained);
        // Its own name, should there be two names for one network.
        let own = split_tag(&spec.name).0;
        let mut all: Vec<&str> = all.collect();
        all.sort_by_key(|name| *name != own);
        all.into_iter().find(|name| {
            self.architecture(name).is_some_and(|mut known| {
                known.network.set_inputs(spec.channels());
                known.naming == spec.naming && known.network == spec.network
            })
        })
    }

    /// Whether timm has the architecture of this name: all but those of networks that were trained for
    /// this program.
    pub fn is_in_timm(&self, architecture: &str) -> bool {
        let own = |card: &Card| card.weights.embedded.is_some();
        self.architecture(architecture).is_some() && !self.of(architecture).any(own)
    }

    /// Names of the architectures that have cards, sorted.
    pub fn architectures(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .cards
            .iter()
            .map(|card| card.name.architecture())
            .collect();
        names.dedup();
        names
    }

    /// The card that an architecture's name alone selects: the recommended one, or the only one.
    pub fn default_of(&self, architecture: &str) -> Option<&Card> {
        let of = || self.of(architecture);
        of().find(|card| card.recommended).or_else(|| of().next())
    }

    /// Cards of one architecture.
    pub(super) fn of(&self, architecture: &str) -> impl Iterator<Item = &Card> {
        self.cards
            .iter()
            .filter(move |card| card.name.architecture() == architecture)
    }
}

fn check_architecture(cards: &[&Card]) -> Result<(), CardError> {
    let [first, others @ ..] = cards else {
        return Ok(());
    };
    for other in others {
        if let Some(field) = difference(first, other) {
            return Err(CardError::Differ {
                first: first.file(),
                second: other.file(),
                field,
            });
        }
    }
    let found = cards.iter().filter(|card| card.recommended).count();
    if found != 1 && !(found == 0 && others.is_empty()) {
        return Err(CardError::Recommended {
            files: cards.iter().map(|card| card.file()).collect(),
            found,
        });
    }
    Ok(())
}

/// The first field in which two cards of one architecture differ but must not.
fn difference(a: &Card, b: &Card) -> Option<String> {
    if a.naming != b.naming {
        return Some("tensors.naming".into());
    }
    if a.network == b.network {
        return None;
    }
    let fields = |card: &Card| match serde_json::to_value(&card.network) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (a, b) = (fields(a), fields(b));
    let differing = a
        .keys()
        .chain(b.keys())
        .find(|key| a.get(*key) != b.get(*key));
    Some(differing.map_or_else(|| "network".into(), |key| format!("network.{key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cards_of_the_program_satisfy_all_rules() {
        let checked = Zoo::parse(CARDS.iter().copied()).expect("every card is right");
        assert_eq!(Zoo::builtin().unwrap().cards(), checked.cards());
    }

    #[test]
    fn the_architecture_of_a_model_is_known_by_its_network() {
        let zoo = Zoo::builtin().unwrap();
        for card in zoo.cards() {
            let mut spec = ModelSpec::from_card(card).unwrap();
            let name = card.name.architecture();
            assert_eq!(zoo.architecture_of(&spec), Some(name));
            // Of one network under two names, either may be meant.
            spec.name = "a/directory".into();
            spec.network.set_inputs(1);
            let found = zoo.architecture_of(&spec).unwrap();
            let found = zoo.architecture(found).unwrap();
            assert_eq!(
                (found.network, found.naming),
                (card.network.clone(), card.naming)
            );
            assert_eq!(zoo.is_in_timm(name), name != "seresnet20");
        }
        assert!(zoo.is_in_timm("seresnet101") && !zoo.is_in_timm("none"));
    }

    #[test]
    fn the_architectures_without_a_card_satisfy_all_rules() {
        for (file, text) in ARCHITECTURES {
            let architecture = Architecture::parse(file, text).expect("every file is right");
            let zoo = Zoo::builtin().unwrap();
            assert_eq!(zoo.default_of(&architecture.name), None);
            assert_eq!(
                zoo.architecture(&architecture.name).as_ref(),
                Some(&architecture)
            );
        }
    }
}
