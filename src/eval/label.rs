//! What the pictures of a data set show: by the names of folders, or by a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::classes::{Meaning, read_lines};
use super::find::Found;
use super::{Classes, EvalError};
use crate::bounded;

/// A picture and the outputs of the classifier that are right.
pub(super) type Labelled = (Found, Vec<usize>);

/// Labelled pictures, and the number of those that have no label.
type Labels = Result<(Vec<Labelled>, usize), EvalError>;

/// Labels `pictures` by their folders or by what their archive states. Pictures of classes that are
/// left out only count.
///
/// # Errors
/// If a picture lies in no folder, or a name means no class, or several.
pub(super) fn by_place(pictures: Vec<Found>, data: &Path, classes: &Classes<'_>) -> Labels {
    let loose = || {
        pictures
            .iter()
            .filter(|found| found.classes().next().is_none())
    };
    if let Some(first) = loose().next() {
        return Err(EvalError::NoClassFolder {
            path: data.display().to_string(),
            pictures: loose().count(),
            first: first.name.clone(),
        });
    }
    let mut meanings = Meanings::new(data, "class names", classes);
    let mut labelled = Vec::new();
    let mut left_out = 0;
    for picture in pictures {
        let mut meaning = Meaning::Unknown;
        for class in picture.classes() {
            meaning = meanings.of(class)?;
            if meaning != Meaning::Unknown {
                break;
            }
        }
        match meaning {
            Meaning::Class(label) => labelled.push((picture, vec![label])),
            Meaning::Unknown => {
                // The folder next to the picture is the likeliest to be meant as its class.
                let class = picture.classes().next();
                meanings
                    .unknown
                    .insert(class.unwrap_or_default().to_owned());
            }
            _ => left_out += 1,
        }
    }
    meanings.finish()?;
    Ok((labelled, left_out))
}

/// Labels `pictures` by a file, which is one of:
///
/// * a line for each picture, with its name, with or without its extension, and its class, of which
///   what follows a blank is not read if the whole is no class (as in Kaggle's
///   `LOC_val_solution.csv`); a first line that names neither is a heading;
/// * a number on each line, which is the class of the picture whose name ends in the number of the
///   line (ImageNet's `ILSVRC2012_validation_ground_truth.txt`);
/// * a JSON list that has all right classes of each such picture (ReaL, arXiv:2006.07159).
///
/// Pictures without a label only count.
///
/// # Errors
/// If the file cannot be read or is none of these, a name means no class, or several, or no picture
/// is in it.
pub(super) fn by_list(
    pictures: Vec<Found>,
    list: &Path,
    data: &Path,
    classes: &Classes<'_>,
) -> Labels {
    let lines = read_lines(list)?;
    let numbers: Option<Vec<&str>> = lines
        .iter()
        .map(|(_, text)| text.bytes().all(|b| b.is_ascii_digit()).then_some(&**text))
        .collect();
    if let Some(numbers) = numbers.filter(|numbers| numbers.len() > 1) {
        if let Some(((line, text), _)) = lines
            .iter()
            .zip(1..)
            .find(|((line, _), place)| line != place)
        {
            return Err(EvalError::Line {
                path: list.display().to_string(),
                line: line - 1,
                expected: "a number on each line",
                found: format!("nothing, before `{text}`"),
            });
        }
        let numbers = classes.numbered_list(list, &numbers)?;
        let labels = numbers.into_iter().map(|label| vec![label]).collect();
        return by_number(pictures, list, labels);
    }
    if lines.first().is_some_and(|(_, text)| text.starts_with('[')) {
        let labels = right_classes(list, classes)?;
        return by_number(pictures, list, labels);
    }
    by_name(pictures, list, &lines, data, classes)
}

fn by_name(
    pictures: Vec<Found>,
    list: &Path,
    lines: &[(usize, String)],
    data: &Path,
    classes: &Classes<'_>,
) -> Labels {
    let wrong = |line, expected, found: &str| EvalError::Line {
        path: list.display().to_string(),
        line,
        expected,
        found: found.to_owned(),
    };
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, picture) in pictures.iter().enumerate() {
        let mut names = BTreeSet::from([&*picture.name, &*picture.inner]);
        for name in names.clone() {
            names.extend(name.rsplit_once('.').map(|(stem, _)| stem));
        }
        for name in names {
            places.entry(name).or_default().push(place);
        }
    }
    let mut meanings = Meanings::new(list, "labels", classes);
    let mut labels: Vec<Option<usize>> = vec![None; pictures.len()];
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    let mut named = 0;
    let mut first = None;
    for (position, (line, text)) in lines.iter().enumerate() {
        let Some((name, class)) = classes.split(text) else {
            return Err(wrong(*line, "the name of a picture and its class", text));
        };
        let class = match (
            classes.meaning(&class),
            class.split_once(char::is_whitespace),
        ) {
            // An id or a number with more behind it; a first word might be another class's name.
            (Meaning::Unknown, Some((first, _)))
                if first.contains(|c: char| c.is_ascii_digit()) =>
            {
                first
            }
            _ => &*class,
        };
        let name = name.trim_start_matches("./");
        let place = match places.get(name).map(Vec::as_slice) {
            None => None,
            Some([place]) => Some(*place),
            Some(_) => {
                return Err(wrong(
                    *line,
                    "the name of one picture; several have it",
                    text,
                ));
            }
        };
        let meaning = meanings.of(class)?;
        if position == 0 && place.is_none() && meaning == Meaning::Unknown {
            continue;
        }
        named += 1;
        first.get_or_insert_with(|| name.to_owned());
        let label = match meaning {
            Meaning::Class(label) => label,
            Meaning::Unknown => {
                meanings.unknown.insert(class.to_owned());
                continue;
            }
            _ => continue,
        };
        let Some(place) = place else {
            missing.insert(name.to_owned(), label);
            continue;
        };
        if labels[place].is_some_and(|other| other != label) {
            let expected = "one class for a picture, and this one had another";
            return Err(wrong(*line, expected, text));
        }
        labels[place] = Some(label);
    }
    meanings.finish()?;
    if labels.iter().all(Option::is_none) && !missing.is_empty() {
        return Err(EvalError::NothingListed {
            path: list.display().to_string(),
            folder: data.display().to_string(),
            listed: named,
            first: first.unwrap_or_default(),
        });
    }
    let left_out = labels.iter().filter(|label| label.is_none()).count();
    let labelled = pictures.into_iter().zip(labels);
    let labelled = labelled.filter_map(|(picture, label)| Some((picture, vec![label?])));
    // One that is not there is a picture that cannot be read.
    let missing = missing.into_iter().map(|(name, label)| {
        let picture = Found {
            inner: name.clone(),
            name,
            name_bytes: None,
            classes: Vec::new(),
            by_folders: false,
            source: super::Source::Nothing(
                "the list of labels names it, and it is not there".into(),
            ),
        };
        (picture, vec![label])
    });
    Ok((labelled.chain(missing).collect(), left_out))
}

/// Gives the picture whose name ends in the number n the n-th labels, from 1.
fn by_number(pictures: Vec<Found>, list: &Path, labels: Vec<Vec<usize>>) -> Labels {
    let mut names: HashMap<usize, String> = HashMap::new();
    let mut labelled = Vec::new();
    let mut left_out = 0;
    for picture in pictures {
        let wrong = |reason: String| EvalError::Numbered {
            path: list.display().to_string(),
            picture: picture.name.clone(),
            reason,
        };
        let number = number(&picture.inner)
            .ok_or_else(|| wrong("has no number at the end of its name".into()))?;
        let right = number.checked_sub(1).and_then(|place| labels.get(place));
        let right =
            right.ok_or_else(|| wrong(format!("has a number outside of 1 to {}", labels.len())))?;
        if let Some(other) = names.insert(number, picture.name.clone()) {
            return Err(wrong(format!("has the same number as {other}")));
        }
        if right.is_empty() {
            left_out += 1;
        } else {
            labelled.push((picture, right.clone()));
        }
    }
    Ok((labelled, left_out))
}

/// The number that a name ends in, before its extension.
fn number(name: &str) -> Option<usize> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let digits = stem.len() - stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    stem[digits..].parse().ok()
}

fn right_classes(list: &Path, classes: &Classes<'_>) -> Result<Vec<Vec<usize>>, EvalError> {
    let unreadable = |error: std::io::Error| EvalError::Unreadable {
        path: list.display().to_string(),
        error,
    };
    let bytes = bounded::read(list, bounded::LABELS).map_err(unreadable)?;
    let labels: Vec<Vec<usize>> =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.into()))?;
    let highest = labels.iter().flatten().max();
    match highest {
        Some(&highest) if highest >= classes.len() => Err(EvalError::UnknownClasses {
            what: "labels",
            path: list.display().to_string(),
            set: classes.set_name(),
            count: 1,
            names: highest.to_string(),
        }),
        _ => Ok(labels),
    }
}

/// The meanings of the texts of a data set, each looked up once; unknown ones are told together.
struct Meanings<'a, 'c> {
    path: &'a Path,
    what: &'static str,
    classes: &'a Classes<'c>,
    known: HashMap<String, Meaning>,
    unknown: BTreeSet<String>,
}

impl<'a, 'c> Meanings<'a, 'c> {
    fn new(path: &'a Path, what: &'static str, classes: &'a Classes<'c>) -> Self {
        Self {
            path,
            what,
            classes,
            known: HashMap::new(),
            unknown: BTreeSet::new(),
        }
    }

    fn of(&mut self, text: &str) -> Result<Meaning, EvalError> {
        if let Some(meaning) = self.known.get(text) {
            return Ok(meaning.clone());
        }
        let meaning = self.classes.meaning(text);
        if let Meaning::Several(indices) = &meaning {
            return Err(self.classes.ambiguous(self.path, text, indices));
        }
        self.known.insert(text.to_owned(), meaning.clone());
        Ok(meaning)
    }

    fn finish(self) -> Result<(), EvalError> {
        const SHOWN: usize = 5;
        let count = self.unknown.len();
        if count == 0 {
            return Ok(());
        }
        let names: Vec<String> = self.unknown.into_iter().take(SHOWN).collect();
        let more = if count > SHOWN { ", …" } else { "" };
        Err(EvalError::UnknownClasses {
            what: self.what,
            path: self.path.display().to_string(),
            set: self.classes.set_name(),
            count,
            names: names.join(", ") + more,
        })
    }
}
