//! Resolves what a user types to a card or a repository of the Hugging Face hub.

use std::path::PathBuf;

use super::suggest::{near, squash};
use super::{Architecture, Card, CardError, DEMO_MODEL, Zoo, address};
use crate::weights::release_digits;

/// timm's former names (`register_model_deprecations` in its `models/resnet.py`) and what it loads
/// for them; without a tag, the architecture's recommended checkpoint.
const OLD_NAMES: [(&str, &str); 5] = [
    ("gluon_senet154", "senet154.gluon_in1k"),
    ("gluon_seresnext50_32x4d", "seresnext50_32x4d.gluon_in1k"),
    ("gluon_seresnext101_32x4d", "seresnext101_32x4d.gluon_in1k"),
    ("gluon_seresnext101_64x4d", "seresnext101_64x4d.gluon_in1k"),
    ("seresnext26tn_32x4d", "seresnext26t_32x4d"),
];

/// The field of a card that has Cadene's name.
const CADENE: &str = "\ncadene = ";

/// The present name of an architecture that timm formerly called `architecture`.
pub(super) fn present_name(architecture: &str) -> Option<&'static str> {
    let key = squash(architecture);
    OLD_NAMES
        .iter()
        .find(|(old, _)| squash(old) == key)
        .map(|&(_, name)| name)
}

/// What a name means.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Selection<'z> {
    /// A checkpoint of the zoo. The note says which one, unless its full name was given.
    Card {
        /// The checkpoint.
        card: &'z Card,
        /// What to show the user about the choice.
        note: Option<String>,
    },
    /// A repository with timm's files, at a branch, tag or commit.
    Hub {
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit; `main` where none is given.
        revision: Option<String>,
        /// The repository's short name, if it was given as a web address.
        note: Option<String>,
    },
    /// A topology without a checkpoint. The note says so.
    Architecture {
        /// The topology.
        architecture: &'z Architecture,
        /// What to show the user about it.
        note: String,
    },
    /// A directory of this machine with timm's files.
    Directory(PathBuf),
}

impl Zoo {
    /// Finds what `text` means. Case, `-` and `_` do not matter. Besides full names these are
    /// understood: an architecture (its recommended checkpoint) or the beginning of its name up to
    /// a `_` if only one fits, a family (the most accurate of its recommended checkpoints below 30 million
    /// parameters, with a permissive licence), a former name in timm, `timm/` before any of them,
    /// `cadene/` before a name of Cadene's `pretrainedmodels`, `demo`, the repository or the release
    /// file's address of a card, `hf-hub:organisation/name`, optionally with `@revision`, the web
    /// address of such a repository, `local-dir:` before a directory, and an architecture without a
    /// checkpoint.
    ///
    /// # Errors
    /// [`CardError::UnknownModel`] with similar names, [`CardError::UnknownCheckpoint`] with the
    /// existing tags, [`CardError::AmbiguousModel`] with what the text can mean,
    /// [`CardError::NotACard`] if it may be a repository's name without the prefix `hf-hub:`,
    /// [`CardError::HubName`] after that prefix, [`CardError::Address`] for other web addresses. A
    /// near miss is never taken for a name: it would load other weights than were asked for.
    pub fn resolve(&self, text: &str) -> Result<Selection<'_>, CardError> {
        let text = text.trim();
        for prefix in ["hf-hub:", "hf_hub:"] {
            if let Some(rest) = strip_prefix(text, prefix) {
                if let Some(selection) = address::repository(rest) {
                    return selection;
                }
                let (repo, revision) = hub_name(rest)?;
                return Ok(Selection::Hub {
                    repo,
                    revision,
                    note: None,
                });
            }
        }
        if let Some(folder) = strip_prefix(text, "local-dir:") {
            return Ok(Selection::Directory(folder.into()));
        }
        if let Some(card) = self.of_release(text) {
            return Ok(self.selection(text, card));
        }
        if let Some(selection) = address::repository(text) {
            return selection;
        }
        if let Some(architecture) = self.find_untrained(text) {
            return Ok(self.untrained_selection(text, architecture));
        }
        match self.find_family(strip_prefix(text, "timm/").unwrap_or(text)) {
            Some((card, why)) => Ok(Selection::Card {
                card,
                note: Some(format!("{text} is {}, of this family {why}", card.name)),
            }),
            None => Ok(self.selection(text, self.find(text)?)),
        }
    }

    fn selection<'z>(&'z self, text: &str, card: &'z Card) -> Selection<'z> {
        let note = (card.name.to_string() != text).then(|| self.note(text, card));
        Selection::Card { card, note }
    }

    /// The architecture without a checkpoint that has this name, with or without timm's tag for these. Of
    /// torchvision's names some differ only in what [`squash`] drops.
    fn find_untrained(&self, text: &str) -> Option<&Architecture> {
        let name = strip_prefix(text, "timm/").unwrap_or(text);
        let (name, tag) = split_tag(name);
        if tag.is_some_and(|tag| tag != "untrained") {
            return None;
        }
        if let Some(exact) = self.get_untrained(name) {
            return Some(exact);
        }
        let key = squash(name);
        let mut fitting = self.untrained_names().filter(|known| squash(known) == key);
        let only = fitting.next().filter(|_| fitting.next().is_none())?;
        self.get_untrained(only)
    }

    fn untrained_selection<'z>(
        &'z self,
        text: &str,
        architecture: &'z Architecture,
    ) -> Selection<'z> {
        let name = &architecture.name;
        if let Some(publisher) = architecture.naming.publisher() {
            let note =
                format!("{text} is the architecture {name}, for files that {publisher} publishes");
            return Selection::Architecture { architecture, note };
        }
        let mut note =
            format!("{text} is the architecture {name}, of which no checkpoint is published");
        let near = near(name, self.architectures());
        if !near.is_empty() {
            note += &format!("; different networks: {}", near.join(", "));
        }
        Selection::Architecture { architecture, note }
    }

    fn find(&self, text: &str) -> Result<&Card, CardError> {
        if let Some(card) = self.get(text) {
            return Ok(card);
        }
        if text.eq_ignore_ascii_case("demo")
            && let Some(card) = self.get(DEMO_MODEL)
        {
            return Ok(card);
        }
        if let Some(name) = strip_prefix(text, "cadene/") {
            return self.find_cadene(name);
        }
        if let Some(card) = self.of_repository(text) {
            return Ok(card);
        }
        if let Some(name) = strip_prefix(text, "timm/") {
            return self.find_name(name).map_err(|error| match error {
                CardError::UnknownModel { .. } if hub_name(text).is_ok() => not_a_card(text),
                other => other,
            });
        }
        if hub_name(text).is_ok() {
            Err(not_a_card(text))
        } else {
            self.find_name(text)
        }
    }

    /// The card whose weights are in that repository of the hub.
    pub(crate) fn of_repository(&self, repo: &str) -> Option<&Card> {
        // The least that a repository's name has, lest most cards are parsed for a short word.
        let mut cards = repo.contains('/').then(|| self.mentioning(repo))?;
        cards.find(|card| card.weights.repo.as_deref() == Some(repo))
    }

    /// The card whose weights have that address outside the hub.
    fn of_release(&self, url: &str) -> Option<&Card> {
        let mut cards = url.contains("://").then(|| self.mentioning(url))?;
        cards.find(|card| card.weights.release.as_deref() == Some(url))
    }

    /// The card whose weights outside the hub have that name in the cache.
    pub(crate) fn of_release_file(&self, file: &str) -> Option<&Card> {
        let mut cards = self.mentioning(release_digits(file)?);
        cards.find(|card| {
            let release = card.weights.released();
            release.and_then(|release| release.name()).as_deref() == Some(file)
        })
    }

    fn find_cadene(&self, name: &str) -> Result<&Card, CardError> {
        self.of_cadene(name).ok_or_else(|| {
            let cards = self.mentioning(CADENE);
            let names = cards.filter_map(|card| card.cadene.as_deref());
            let suggestions = near(name, names)
                .iter()
                .map(|name| format!("cadene/{name}"))
                .collect();
            CardError::UnknownModel {
                name: format!("cadene/{name}"),
                suggestions,
            }
        })
    }

    fn of_cadene(&self, name: &str) -> Option<&Card> {
        let same = |cadene: &String| squash(cadene) == squash(name);
        self.mentioning(CADENE)
            .find(|card| card.cadene.as_ref().is_some_and(same))
    }

    /// An architecture with or without a tag.
    fn find_name(&self, text: &str) -> Result<&Card, CardError> {
        let (typed, tag) = split_tag(text);
        // As in timm, a tag of the old name takes precedence over that of the present one.
        let (typed, tag) = match present_name(typed).map(split_tag) {
            Some((present, its_tag)) => (present, tag.or(its_tag)),
            None => (typed, tag),
        };
        let architecture = self.find_architecture(typed, text)?;
        let found = match tag {
            None => self.default_of(architecture),
            Some(tag) => self
                .of(architecture)
                .find(|card| squash(card.name.tag()) == squash(tag)),
        };
        found.ok_or_else(|| CardError::UnknownCheckpoint {
            name: text.to_owned(),
            architecture: architecture.to_owned(),
            checkpoints: self
                .of(architecture)
                .map(|card| card.name.to_string())
                .collect(),
        })
    }

    /// The architecture called `name`, or the only one whose name begins with it; `text` is what was
    /// typed, for the error.
    fn find_architecture(&self, name: &str, text: &str) -> Result<&str, CardError> {
        let key = squash(name);
        let all = self.architectures();
        if let Some(same) = all.iter().find(|other| squash(other) == key) {
            return Ok(same);
        }
        let fitting: Vec<&str> = all
            .iter()
            .copied()
            .filter(|other| begins_with(other, &key))
            .collect();
        match fitting[..] {
            [one] => Ok(one),
            [] => Err(self.unknown(name, text)),
            _ => {
                let candidates = fitting.iter().map(|&name| name.to_owned()).collect();
                Err(CardError::AmbiguousModel {
                    name: text.to_owned(),
                    candidates,
                })
            }
        }
    }

    fn unknown(&self, architecture: &str, text: &str) -> CardError {
        let mut suggestions = near(architecture, self.architectures());
        // Cadene's names look like timm's, but not every network is in both.
        if let Some(card) = self.of_cadene(architecture) {
            let name = card.name.architecture();
            suggestions.retain(|other| other != name);
            suggestions.insert(0, name.to_owned());
        }
        CardError::UnknownModel {
            name: text.to_owned(),
            suggestions,
        }
    }

    /// Says which checkpoint is meant and which others the text could have meant.
    fn note(&self, text: &str, card: &Card) -> String {
        let name = strip_prefix(text, "timm/").unwrap_or(text);
        let present = present_name(split_tag(name).0);
        let was = if present.is_some() {
            "timm's former name of "
        } else {
            ""
        };
        let mut note = format!("{text} is {was}{}", card.name);
        // A tag or Cadene's prefix leaves no choice.
        let tagged = present.unwrap_or(name).contains('.') || text.contains('.');
        if tagged || strip_prefix(text, "cadene/").is_some() {
            return note;
        }
        let mut others: Vec<&Card> = self.of(card.name.architecture()).collect();
        others.extend(self.of_cadene(text));
        others.retain(|other| other.name != card.name);
        if !others.is_empty() {
            let names: Vec<_> = others.iter().map(|other| other.name.to_string()).collect();
            note += &format!("; others: {}", names.join(", "));
        }
        note
    }
}

/// The architecture, and the tag if there is one.
pub(super) fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.split_once('.') {
        Some((architecture, tag)) => (architecture, Some(tag)),
        None => (name, None),
    }
}

/// `key` (squashed) is the name's beginning up to one of its `_`.
fn begins_with(name: &str, key: &str) -> bool {
    name.match_indices('_')
        .any(|(at, _)| squash(&name[..at]) == key)
}

fn not_a_card(text: &str) -> CardError {
    CardError::NotACard {
        name: text.to_owned(),
    }
}

fn strip_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Splits `organisation/name@revision`. The parts become directory names in a cache, so anything that
/// could lead outside it is rejected.
pub(super) fn hub_name(text: &str) -> Result<(String, Option<String>), CardError> {
    let error = |reason| CardError::HubName {
        name: text.to_owned(),
        reason,
    };
    let (repo, revision) = match text.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (text, None),
    };
    let Some((organisation, name)) = repo.split_once('/') else {
        return Err(error("expected `organisation/name`"));
    };
    if !is_part(organisation) || !is_part(name) {
        return Err(error(
            "organisation and name are made of letters, digits, `-`, `_` and `.`",
        ));
    }
    if let Some(revision) = revision
        && !revision.split('/').all(is_part)
    {
        return Err(error("the revision is a branch, tag or commit"));
    }
    Ok((repo.to_owned(), revision.map(str::to_owned)))
}

fn is_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=96).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with(['.', '-'])
        && !text.contains("..")
}
