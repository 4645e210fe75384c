//! All cards together.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::{Card, CardError};

include!(concat!(env!("OUT_DIR"), "/cards.rs"));

/// A set of cards that agree with each other, sorted by name.
#[derive(Clone, Debug)]
pub struct Zoo {
    cards: Vec<Card>,
}

static BUILTIN: LazyLock<Result<Zoo, CardError>> =
    LazyLock::new(|| Zoo::parse(CARDS.iter().copied()));

impl Zoo {
    /// The cards that are part of the program. They are parsed once.
    ///
    /// # Errors
    /// [`CardError::Builtin`] if one is wrong, which the program's tests rule out.
    pub fn builtin() -> Result<&'static Self, CardError> {
        BUILTIN.as_ref().map_err(CardError::Builtin)
    }

    /// Reads cards, given as pairs of file name and text.
    ///
    /// # Errors
    /// Those of [`Card::parse`]; [`CardError::Differ`] if cards of one architecture disagree about
    /// it, [`CardError::Recommended`] if the architecture's name alone means no or several cards.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, CardError> {
        let mut cards = Vec::new();
        for (file, text) in files {
            cards.push(Card::parse(file, text)?);
        }
        cards.sort_by(|a: &Card, b| a.name.cmp(&b.name));
        let zoo = Self { cards };
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

    /// All cards, sorted by name.
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// The card of that full name, `architecture.tag`.
    pub fn get(&self, name: &str) -> Option<&Card> {
        self.cards.iter().find(|card| card.name.to_string() == name)
    }

    /// Names of the architectures, sorted.
    pub fn architectures(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .cards
            .iter()
            .map(|card| card.name.architecture())
            .collect();
        names.dedup();
        names
    }

    /// The card that an architecture's name alone means: the recommended one, or the only one.
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

/// The first field that two cards of one architecture may not differ in and do.
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
