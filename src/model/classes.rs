//! Which output of one model is which class of another.

use std::collections::HashMap;

use crate::labels::Label;
use crate::quote::excerpt;
use crate::zoo::ModelSpec;

/// Models that cannot answer together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnsembleError {
    /// Without a model there is no answer.
    #[error("an ensemble needs at least one model")]
    Empty,
    /// Classes that only one of two models has.
    #[error(
        "{first} and {other} do not have the same classes: {}, {}",
        only(first, only_first),
        only(other, only_other)
    )]
    OtherClasses {
        /// Name of the first model.
        first: String,
        /// Name of the model that differs from it.
        other: String,
        /// The classes that only the first has.
        only_first: Vec<String>,
        /// The classes that only the other has.
        only_other: Vec<String>,
    },
    /// Two classes of one name in models that do not list their classes alike.
    #[error(
        "{first} and {other} list their classes differently, and several are called `{}`",
        excerpt(name)
    )]
    Ambiguous {
        /// Name of the first model.
        first: String,
        /// Name of the model that differs from it.
        other: String,
        /// The name of the classes.
        name: String,
    },
}

impl EnsembleError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::OtherClasses { .. } | Self::Ambiguous { .. } => Some(
                "classes are matched by WordNet id or by name, as `label_names` in a config.json \
                 has them"
                    .to_owned(),
            ),
        }
    }
}

/// `only a has `cat`, `dog` and 8 more`.
fn only(model: &str, classes: &[String]) -> String {
    const SHOWN: usize = 3;
    if classes.is_empty() {
        return format!("{model} has no others");
    }
    let shown = classes.iter().take(SHOWN);
    let mut names: Vec<String> = shown.map(|name| format!("`{}`", excerpt(name))).collect();
    if classes.len() > SHOWN {
        names.push(format!("{} more", classes.len() - SHOWN));
    }
    let last = names.pop().unwrap_or_default();
    match names.is_empty() {
        true => format!("only {model} has {last}"),
        false => format!("only {model} has {} and {last}", names.join(", ")),
    }
}

/// For each model, its output for each class of the first; `None` where the order is the same.
pub(crate) type Orders = Vec<Option<Vec<usize>>>;

/// The outputs of models that are to answer together, by the classes of the first.
///
/// # Errors
/// [`EnsembleError`] if there is no model, or their classes differ in more than their order.
pub(crate) fn match_classes<'a>(
    specs: impl IntoIterator<Item = &'a ModelSpec>,
) -> Result<Orders, EnsembleError> {
    let named = |spec: &'a ModelSpec| (&*spec.name, &*spec.labels.entries);
    let models: Vec<Named<'a>> = specs.into_iter().map(named).collect();
    let first = *models.first().ok_or(EnsembleError::Empty)?;
    models.iter().map(|&other| order(first, other)).collect()
}

/// A model and its classes.
type Named<'a> = (&'a str, &'a [Label]);

/// What a class is called; `None` if it has no id.
type Name = fn(&Label) -> Option<&str>;

/// Ids are unique, first names need not be.
const NAMES: [Name; 3] = [
    |label| label.id.as_deref(),
    |label| Some(&label.full),
    |label| Some(&label.name),
];

fn order(
    (first, own): Named<'_>,
    (other, others): Named<'_>,
) -> Result<Option<Vec<usize>>, EnsembleError> {
    // Of names that do not match, those that come closest are reported.
    let mut closest: Option<Mismatch> = None;
    for name in NAMES {
        let names = |labels: &[Label]| {
            let names = labels.iter().map(|label| name(label).map(str::to_owned));
            names.collect::<Option<Vec<String>>>()
        };
        let (Some(own), Some(others)) = (names(own), names(others)) else {
            continue;
        };
        // Also where a name occurs twice.
        if own == others {
            return Ok(None);
        }
        match places(&own, &others) {
            Ok(places) => return Ok(Some(places)),
            Err(found)
                if closest
                    .as_ref()
                    .is_some_and(|best| best.len() < found.len()) => {}
            Err(found) => closest = Some(found),
        }
    }
    let Mismatch {
        only_first,
        only_other,
        twice,
    } = closest.unwrap_or_default();
    let (first, other) = (first.to_owned(), other.to_owned());
    Err(match twice {
        Some(name) => EnsembleError::Ambiguous { first, other, name },
        None => EnsembleError::OtherClasses {
            first,
            other,
            only_first,
            only_other,
        },
    })
}

/// Why names do not match.
#[derive(Default)]
struct Mismatch {
    only_first: Vec<String>,
    only_other: Vec<String>,
    /// A name of several classes, if there is no name that only one of the lists has.
    twice: Option<String>,
}

impl Mismatch {
    /// Number of names that only one of the lists has.
    fn len(&self) -> usize {
        self.only_first.len() + self.only_other.len()
    }
}

/// The place of each of the names among the others.
fn places(names: &[String], others: &[String]) -> Result<Vec<usize>, Mismatch> {
    let [own, theirs] = [names, others].map(|names| {
        let places = names.iter().enumerate().map(|(place, name)| (name, place));
        places.collect::<HashMap<&String, usize>>()
    });
    let only = |names: &[String], in_other: &HashMap<&String, usize>| {
        let only = names.iter().filter(|name| !in_other.contains_key(name));
        only.cloned().collect::<Vec<String>>()
    };
    let (only_first, only_other) = (only(names, &theirs), only(others, &own));
    let twice = [(names, &own), (others, &theirs)]
        .into_iter()
        .find_map(|(names, places)| {
            let mut places = names
                .iter()
                .enumerate()
                .map(|(at, name)| (name, places[name] != at));
            places
                .find(|(_, later)| *later)
                .map(|(name, _)| name.clone())
        })
        .filter(|_| only_first.is_empty() && only_other.is_empty());
    if only_first.is_empty() && only_other.is_empty() && twice.is_none() {
        return Ok(names.iter().map(|name| theirs[name]).collect());
    }
    Err(Mismatch {
        only_first,
        only_other,
        twice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelSet;

    /// Compares the classes of `a` and `b`, written as in a label file.
    fn compare(a: &str, b: &str) -> Result<Option<Vec<usize>>, EnsembleError> {
        let [a, b] = [a, b].map(|text| LabelSet::parse("test", text).unwrap().entries);
        order(("a", &a), ("b", &b))
    }

    #[test]
    fn classes_are_matched_by_what_they_are_called() {
        for (a, b, expected) in [
            ("cat\ndog\nfox", "cat\ndog\nfox", None),
            ("cat\ndog\nfox", "fox\ncat\ndog", Some(vec![1, 2, 0])),
            // The id decides, however the names are spelled.
            ("n1\tcat\nn2\tdog", "n2\tDog\nn1\tCat", Some(vec![1, 0])),
            ("n1\tcat\nn2\tdog", "dog\ncat", Some(vec![1, 0])),
            ("n1\tcat\nn2\tdog", "cat\ndog", None),
            // All names, or the first of them.
            (
                "crane, bird\ncrane, machine",
                "crane, machine\ncrane, bird",
                Some(vec![1, 0]),
            ),
            ("cat, house cat\ndog", "dog\ncat", Some(vec![1, 0])),
            // The order decides where a name does not.
            ("n1\tcrane\nn2\tcrane", "crane\ncrane", None),
        ] {
            assert_eq!(compare(a, b), Ok(expected), "{a:?} {b:?}");
        }
    }

    #[test]
    fn other_classes_are_named() {
        for (a, b, message) in [
            (
                "cat\ndog",
                "cat\nfox",
                "a and b do not have the same classes: only a has `dog`, only b has `fox`",
            ),
            (
                "cat\ndog",
                "owl\ncat\nfox\npig\ndog\nemu\nelk",
                "a and b do not have the same classes: a has no others, only b has `owl`, `fox`, \
                 `pig` and 2 more",
            ),
            (
                "crane\ncrane\ncat",
                "cat\ncrane\ncrane",
                "a and b list their classes differently, and several are called `crane`",
            ),
            (
                "crane\ncrane\ncat",
                "cat\ncrane",
                "a and b list their classes differently, and several are called `crane`",
            ),
            (
                "n1\tcat\nn2\tdog",
                "n1\tcat\nn3\tdog, puppy\nn4\towl",
                "a and b do not have the same classes: a has no others, only b has `owl`",
            ),
        ] {
            assert_eq!(
                compare(a, b).unwrap_err().to_string(),
                message,
                "{a:?} {b:?}"
            );
        }
    }

    #[test]
    fn nothing_is_no_ensemble() {
        assert_eq!(match_classes([]), Err(EnsembleError::Empty));
    }
}
