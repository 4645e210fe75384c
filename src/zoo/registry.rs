//! All cards together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

use serde_json::Value;

use super::entry::{Compressed, Entry, File, Text, entries, read_all};
use super::resolve::split_tag;
use super::{Architecture, Card, CardError, CardName, ModelSpec};
use crate::nets::NetworkSpec;

include!(concat!(env!("OUT_DIR"), "/families.rs"));

/// A set of cards that agree with each other, and architectures without one, sorted by name. A file is
/// parsed when it is needed: a name needs the cards of its architecture, of some hundred.
#[derive(Clone, Debug)]
pub struct Zoo {
    cards: Vec<Entry<CardName, Card>>,
    untrained: Vec<Entry<String, Architecture>>,
}

static BUILTIN: LazyLock<Zoo> = LazyLock::new(|| {
    let text = |(file, family, part): &(&'static str, usize, Range<usize>)| {
        (*file, Text::Part(&TEXTS[*family], part.clone()))
    };
    Zoo::new(CARDS.iter().map(text), ARCHITECTURES.iter().map(text))
        .unwrap_or_else(|error| panic!("{error}"))
});

impl Zoo {
    /// The cards that are part of the program. They are not checked here: the tests do that, and
    /// planning every network would take most of a short command's time.
    ///
    /// # Panics
    /// If a card cannot be parsed, now or when it is needed, which the program's tests rule out.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads cards, given as pairs of a path as that under `models/` and a text.
    ///
    /// # Errors
    /// Those of [`Card::parse`]; [`CardError::Differ`] if cards of one architecture disagree about
    /// it, [`CardError::Recommended`] if an architecture's name alone selects no card or several.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, CardError> {
        let files: Vec<_> = files.into_iter().collect();
        for (file, text) in &files {
            Card::parse(file, text)?;
        }
        let owned = |(file, text): (&'a str, &str)| (file, Text::Own(text.to_owned()));
        let zoo = Self::new(files.into_iter().map(owned), [])?;
        let mut groups = BTreeMap::<&str, Vec<&Card>>::new();
        for card in zoo.cards() {
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

    fn new<'a>(
        cards: impl IntoIterator<Item = File<'a>>,
        untrained: impl IntoIterator<Item = File<'a>>,
    ) -> Result<Self, CardError> {
        Ok(Self {
            cards: entries(cards, Card::name_of, Card::read)?,
            untrained: entries(untrained, Architecture::name_of, Architecture::read)?,
        })
    }

    /// The names of all cards, sorted. Nothing is parsed for them.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &CardName> {
        self.cards.iter().map(|entry| &entry.name)
    }

    /// All cards, sorted by name.
    pub fn cards(&self) -> impl ExactSizeIterator<Item = &Card> {
        read_all(&self.cards.iter().collect::<Vec<_>>());
        self.cards.iter().map(Entry::get)
    }

    /// The cards of which `wanted` holds, by family and full name. The others are not parsed.
    pub(crate) fn cards_of(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<&Card> {
        let entries = self.cards.iter();
        let entries: Vec<_> = entries
            .filter(|entry| wanted(entry.family(), &entry.name.to_string()))
            .collect();
        read_all(&entries);
        entries.into_iter().map(Entry::get).collect()
    }

    /// The families, sorted: the directories of the cards. Nothing is parsed for them.
    pub fn families(&self) -> Vec<&str> {
        let families = self.cards.iter().map(Entry::family);
        let families = families.chain(self.untrained.iter().map(Entry::family));
        let families: BTreeSet<&str> = families.collect();
        families.into_iter().collect()
    }

    /// The card with that full name, `architecture.tag`.
    pub fn get(&self, name: &str) -> Option<&Card> {
        let name = CardName::parse(name)?;
        let place = self.cards.binary_search_by(|entry| entry.name.cmp(&name));
        Some(self.cards[place.ok()?].get())
    }

    /// The cards whose files contain `text`, so that the others need not be parsed.
    pub(crate) fn mentioning(&self, text: &str) -> impl Iterator<Item = &Card> {
        let entries = self.cards.iter();
        entries
            .filter(move |entry| entry.text().contains(text))
            .map(Entry::get)
    }

    /// The architectures without a published checkpoint, sorted by name.
    pub fn untrained(&self) -> impl ExactSizeIterator<Item = &Architecture> {
        self.untrained.iter().map(Entry::get)
    }

    /// The names of the architectures without a published checkpoint, sorted. Nothing is parsed for
    /// them.
    pub fn untrained_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.untrained.iter().map(|entry| entry.name.as_str())
    }

    /// The architecture without a published checkpoint of that name.
    pub(super) fn get_untrained(&self, name: &str) -> Option<&Architecture> {
        let named = self.untrained.iter().find(|entry| entry.name == name);
        named.map(Entry::get)
    }

    /// The architecture of that name, with or without a card.
    pub fn architecture(&self, name: &str) -> Option<Architecture> {
        let card = self.default_of(name).map(Architecture::from);
        card.or_else(|| self.get_untrained(name).cloned())
    }

    /// The name of the architecture that a model has, apart from its input channels and classes.
    pub fn architecture_of(&self, spec: &ModelSpec) -> Option<&str> {
        let all = self.architectures().into_iter();
        // Its own name, should there be two names for one network.
        let own = split_tag(&spec.name).0;
        let mut all: Vec<&str> = all.chain(self.untrained_names()).collect();
        all.sort_by_key(|name| *name != own);
        all.into_iter().find(|name| {
            self.architecture(name).is_some_and(|mut known| {
                known.network.set_inputs(spec.channels());
                known.naming == spec.naming && known.network == spec.network
            })
        })
    }

    /// Whether timm has the architecture of this name: all but pytorchcv's, those that are written out layer
    /// by layer, and those of networks that were trained for this program.
    pub fn is_in_timm(&self, architecture: &str) -> bool {
        let own = |card: &Card| card.weights.embedded.is_some();
        let of_timm = |known: Architecture| {
            known.naming.is_timms() && !matches!(known.network, NetworkSpec::Layers(_))
        };
        self.architecture(architecture).is_some_and(of_timm) && !self.of(architecture).any(own)
    }

    /// Names of the architectures that have cards, sorted. Nothing is parsed for them.
    pub fn architectures(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.names().map(CardName::architecture).collect();
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
        let entries = self.cards.iter();
        entries
            .filter(move |entry| entry.name.architecture() == architecture)
            .map(Entry::get)
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
        let files = Zoo::builtin().cards.iter();
        let files = files.map(|entry| (&*entry.file, entry.text()));
        let checked = Zoo::parse(files).expect("every card is right");
        assert!(Zoo::builtin().cards().eq(checked.cards()));
    }

    #[test]
    fn the_architecture_of_a_model_is_known_by_its_network() {
        let zoo = Zoo::builtin();
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
            let own = ["seresnet20", "se_bn_inception"].contains(&name)
                || card.name.tag().starts_with("osmr_");
            assert_eq!(zoo.is_in_timm(name), !own, "{name}");
        }
        assert!(zoo.is_in_timm("seresnet101") && !zoo.is_in_timm("none"));
    }

    #[test]
    fn the_architectures_without_a_card_satisfy_all_rules() {
        for entry in &Zoo::builtin().untrained {
            let architecture = Architecture::parse(&entry.file, entry.text());
            let architecture = architecture.expect("every file is right");
            let zoo = Zoo::builtin();
            assert_eq!(zoo.default_of(&architecture.name), None);
            assert_eq!(
                zoo.architecture(&architecture.name).as_ref(),
                Some(&architecture)
            );
        }
    }
}
