//! Labels the images of a data set by their folders or by a file.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::classes::Meaning;
use super::find::{Bare, Found, Search};
use super::lists::{self, Place};
use super::names::{composed, shown};
use super::order::{self, FolderOrder, Numbered, by_string};
use super::{Classes, EvalError};
use crate::text::Lines;

/// An image and its right outputs of the classifier.
pub(super) type Labelled = (Found, Vec<usize>);

/// The labels of the images of a data set.
#[derive(Debug)]
pub(super) struct Labels {
    pub labelled: Vec<Labelled>,
    /// Images without a label.
    pub left_out: usize,
    /// Whether all labels are numbers.
    pub numbered: Option<Numbered>,
    /// Class folders without an image.
    pub empty: Vec<String>,
}

/// Labels images by their folders or by the labels in their archive. Images of excluded classes are
/// only counted.
///
/// # Errors
/// If an image is in no folder, a name is unknown or ambiguous, or the folders' order was requested
/// and does not determine the classes.
pub(super) fn by_place(
    search: Search,
    data: &Path,
    classes: &Classes<'_>,
    order: Option<FolderOrder>,
) -> Result<Labels, EvalError> {
    let images = search.found;
    let loose = || {
        images
            .iter()
            .filter(|found| found.classes().next().is_none())
    };
    if let Some(first) = loose().next() {
        return Err(EvalError::NoClassFolder {
            path: data.display().to_string(),
            images: loose().count(),
            first: first.name.clone(),
        });
    }
    let mut meanings = Meanings::new(data, "class names", classes);
    if order == Some(FolderOrder::String) {
        let folders = images.iter().filter(|found| !found.stated);
        let bare = search.bare.iter().flat_map(|bare| bare.classes.first());
        let folders = folders.filter_map(order::folder);
        let folders = folders.chain(bare.map(|(name, _)| &**name));
        meanings.order = by_string(folders, data, classes)?;
    }
    let mut labelled = Vec::new();
    let mut left_out = 0;
    let mut by_folder = true;
    for image in images {
        by_folder &= !image.stated;
        let mut meaning = Meaning::Unknown;
        for class in image.classes() {
            meaning = meanings.of(class)?;
            if meaning != Meaning::Unknown {
                break;
            }
        }
        match meaning {
            Meaning::Class(label) => labelled.push((image, vec![label])),
            Meaning::Unknown => {
                // The folder next to the image is most likely meant as its class.
                let class = image.classes().next().unwrap_or_default();
                meanings.unknown.insert(class.to_owned());
            }
            _ => left_out += 1,
        }
    }
    let empty = empty(search.bare, &meanings);
    let by_number = meanings.by_number;
    meanings.finish()?;
    let numbers = if by_folder {
        Numbered::Folders
    } else {
        Numbered::List
    };
    Ok(Labels {
        labelled,
        left_out,
        numbered: by_number.then_some(numbers),
        empty,
    })
}

/// The folders without an image that name a class, or have images that are not read.
fn empty(bare: Vec<Bare>, meanings: &Meanings<'_, '_>) -> Vec<String> {
    let is_class = |bare: &Bare| {
        let meanings = bare.classes.iter().map(|(name, has_images)| {
            let mapped = meanings.classes.meaning(name);
            let ordered = meanings.order.contains_key(name);
            match mapped {
                Meaning::Unknown if !ordered => None,
                Meaning::Excluded => Some(false),
                _ => Some(!has_images),
            }
        });
        meanings.flatten().next().unwrap_or(bare.has_foreign)
    };
    let empty = bare.into_iter().filter(is_class);
    empty.map(|bare| bare.name).collect()
}

/// Labels `images` by a file, which is one of:
///
/// * a line for each image with its name, with or without the extension, and its class; if the
///   whole class text is unknown, what follows a space is ignored (as in Kaggle's
///   `LOC_val_solution.csv`); a first line that names neither is a header;
/// * a JSON object of image names, each with a class or a list of the right ones;
/// * a number on each line, where line N is for the image whose name ends in N (ImageNet's
///   `ILSVRC2012_validation_ground_truth.txt`);
/// * a JSON list with all right classes of each such image (ReaL, arXiv:2006.07159).
///
/// Images without a label are only counted. With `multi_label` an empty list is a valid label, and
/// lines of the same name add up.
///
/// # Errors
/// If the file cannot be read or is none of these, a name is unknown or ambiguous, or the file
/// labels no image.
pub(super) fn by_list(
    images: Vec<Found>,
    list: &Path,
    data: &Path,
    classes: &Classes<'_>,
    multi_label: bool,
) -> Result<Labels, EvalError> {
    let mut text = Lines::open(list)?;
    if lists::begins_with(&mut text, b'[')? {
        let labels = right_classes(list, text, classes)?;
        return by_number(images, list, labels, None, multi_label);
    }
    let start = text.start()?.split(|byte| matches!(byte, b'\n' | b'\r'));
    let mut start = start
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && line[0] != b'#');
    if start
        .next()
        .is_some_and(|line| line.iter().all(u8::is_ascii_digit))
    {
        let numbers = numbers(list, text)?;
        let numbers = classes.numbered_list(list, &numbers)?;
        let labels = numbers.into_iter().map(|label| vec![label]).collect();
        return by_number(images, list, labels, Some(Numbered::List), multi_label);
    }
    by_name(images, list, text, data, classes, multi_label)
}

/// A list of numbers only.
pub(super) fn numbers(list: &Path, text: Lines) -> Result<Vec<usize>, EvalError> {
    let mut numbers = Vec::new();
    for line in lists::lines(list, text) {
        let (line, text) = line?;
        let wrong = |line, found| EvalError::Line {
            path: list.display().to_string(),
            line,
            expected: "a number on each line",
            found,
        };
        let number = text.trim();
        if line != numbers.len() + 1 {
            return Err(wrong(line - 1, format!("nothing, before `{number}`")));
        }
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong(line, shown(number)));
        }
        // A number that is too large is not a class.
        numbers.push(number.parse().unwrap_or(usize::MAX));
    }
    Ok(numbers)
}

/// The positions of images by the names that a list may use for them.
pub(super) struct Places<'a> {
    images: &'a [Found],
    equal: HashMap<&'a str, Vec<usize>>,
    /// Built when a name is not found: macOS writes `é` as two characters.
    composed: OnceCell<HashMap<String, Vec<usize>>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(images: &'a [Found]) -> Self {
        let mut equal: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, image) in images.iter().enumerate() {
            for name in names(image) {
                equal.entry(name).or_default().push(place);
            }
        }
        Self {
            images,
            equal,
            composed: OnceCell::new(),
        }
    }

    /// The images of that name.
    pub(super) fn of(&self, name: &str) -> &[usize] {
        let bare = name.trim().trim_start_matches("./");
        let equal = [name, bare]
            .into_iter()
            .find_map(|name| self.equal.get(name));
        let found = equal.or_else(|| {
            let all = self.composed.get_or_init(|| {
                let mut all: HashMap<String, Vec<usize>> = HashMap::new();
                for (place, image) in self.images.iter().enumerate() {
                    for name in names(image) {
                        all.entry(composed(name)).or_default().push(place);
                    }
                }
                all
            });
            all.get(&composed(bare))
        });
        found.map_or(&[], Vec::as_slice)
    }
}

/// The names that a list may use for an image.
fn names(image: &Found) -> BTreeSet<&str> {
    let mut names = BTreeSet::from([&*image.name, &*image.inner]);
    for name in names.clone() {
        names.extend(name.rsplit_once('.').map(|(stem, _)| stem));
    }
    names
}

fn by_name(
    images: Vec<Found>,
    list: &Path,
    text: Lines,
    data: &Path,
    classes: &Classes<'_>,
    multi_label: bool,
) -> Result<Labels, EvalError> {
    let places = Places::new(&images);
    let mut meanings = Meanings::new(list, "labels", classes);
    let mut labels: Vec<Option<Vec<usize>>> = vec![None; images.len()];
    let mut missing: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut named = 0;
    let mut first = None;
    for (position, entry) in lists::entries(list, text, classes)?.enumerate() {
        let entry = entry?;
        let place = match places.of(&entry.name) {
            [] => None,
            [place] => Some(*place),
            _ => {
                let expected = "the name of one image; several have it";
                return Err(entry.wrong(list, expected));
            }
        };
        let (mut right, mut unknown) = (Vec::new(), Vec::new());
        for class in &entry.classes {
            let class = without_rest(class, classes);
            match meanings.of(class)? {
                Meaning::Class(label) => right.push(label),
                Meaning::Unknown => unknown.push(class.to_owned()),
                _ => {}
            }
        }
        let is_line = matches!(entry.place, Place::Line(..));
        if position == 0 && is_line && place.is_none() && !unknown.is_empty() {
            continue;
        }
        named += 1;
        first.get_or_insert_with(|| entry.name.clone());
        if !unknown.is_empty() {
            meanings.unknown.extend(unknown);
            continue;
        }
        right.sort_unstable();
        right.dedup();
        if right.is_empty() && !multi_label {
            continue;
        }
        let Some(place) = place else {
            let name = entry.name.trim().trim_start_matches("./");
            missing.insert(name.to_owned(), right);
            continue;
        };
        if let Some(before) = &mut labels[place]
            && multi_label
        {
            before.extend(right);
            before.sort_unstable();
            before.dedup();
            continue;
        }
        if labels[place].as_ref().is_some_and(|other| *other != right) {
            let expected = "one class for an image, and this one had another";
            return Err(entry.wrong(list, expected));
        }
        labels[place] = Some(right);
    }
    let by_number = meanings.by_number;
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
    drop(places);
    let labelled = images.into_iter().zip(labels);
    let labelled = labelled.filter_map(|(image, labels)| Some((image, labels?)));
    let missing = missing.into_iter();
    let missing = missing.map(|(name, labels)| (not_there(name), labels));
    Ok(Labels {
        labelled: labelled.chain(missing).collect(),
        left_out,
        numbered: by_number.then_some(Numbered::List),
        empty: Vec::new(),
    })
}

/// An image that a list names and that is not there, which is one that cannot be read.
pub(super) fn not_there(name: String) -> Found {
    Found {
        inner: name.clone(),
        name,
        name_bytes: None,
        classes: Vec::new(),
        by_folders: false,
        stated: true,
        source: super::Source::Nothing("the list of labels names it, and it is not there".into()),
    }
}

/// A class with text after it, if the whole is unknown: an id or a number followed by more. Any
/// other first word might be another class's name.
fn without_rest<'t>(class: &'t str, classes: &Classes<'_>) -> &'t str {
    match class.trim().split_once(char::is_whitespace) {
        Some((first, _))
            if first.contains(|c: char| c.is_ascii_digit()) && !classes.knows(class) =>
        {
            first
        }
        _ => class,
    }
}

/// Gives the image whose name ends in n the n-th labels, from 1.
fn by_number(
    images: Vec<Found>,
    list: &Path,
    labels: Vec<Vec<usize>>,
    numbered: Option<Numbered>,
    multi_label: bool,
) -> Result<Labels, EvalError> {
    let images = with_places(images, list, labels.len())?;
    let all = images.len();
    let labelled: Vec<_> = images
        .into_iter()
        .map(|(image, place)| (image, labels[place].clone()))
        .filter(|(_, labels)| multi_label || !labels.is_empty())
        .collect();
    Ok(Labels {
        left_out: all - labelled.len(),
        labelled,
        numbered,
        empty: Vec::new(),
    })
}

/// The place in `list`, from 0, of each image: the line that its name ends in, which counts from 1.
pub(super) fn with_places(
    images: Vec<Found>,
    list: &Path,
    lines: usize,
) -> Result<Vec<(Found, usize)>, EvalError> {
    let mut names: HashMap<usize, String> = HashMap::new();
    let place = |image: Found| {
        let wrong = |reason: String| EvalError::Numbered {
            path: list.display().to_string(),
            image: image.name.clone(),
            reason,
        };
        let number = number(&image.inner)
            .ok_or_else(|| wrong("has no number at the end of its name".into()))?;
        let place = number.checked_sub(1).filter(|&place| place < lines);
        let place = place.ok_or_else(|| wrong(format!("has a number outside of 1 to {lines}")))?;
        if let Some(other) = names.insert(number, image.name.clone()) {
            return Err(wrong(format!("has the same number as {other}")));
        }
        Ok((image, place))
    };
    images.into_iter().map(place).collect()
}

/// The number that a name ends in, before its extension.
fn number(name: &str) -> Option<usize> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let digits = stem.len() - stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    stem[digits..].parse().ok()
}

fn right_classes(
    list: &Path,
    text: Lines,
    classes: &Classes<'_>,
) -> Result<Vec<Vec<usize>>, EvalError> {
    let labels: Vec<Vec<usize>> = lists::json(list, text)?;
    let highest = labels.iter().flatten().max();
    match highest {
        Some(&highest) if highest >= classes.len() => Err(EvalError::UnknownClasses {
            what: "labels",
            path: list.display().to_string(),
            set: classes.set_name(),
            count: 1,
            names: highest.to_string(),
            alike: None,
            is_last: highest == classes.len(),
        }),
        _ => Ok(labels),
    }
}

/// The meanings of the texts of a data set, each looked up once; unknown ones are reported
/// together.
struct Meanings<'a, 'c> {
    path: &'a Path,
    what: &'static str,
    classes: &'a Classes<'c>,
    known: HashMap<String, Meaning>,
    unknown: BTreeSet<String>,
    /// Classes of folders by their order.
    order: HashMap<String, usize>,
    /// Whether every text that names a class is its number.
    by_number: bool,
}

impl<'a, 'c> Meanings<'a, 'c> {
    fn new(path: &'a Path, what: &'static str, classes: &'a Classes<'c>) -> Self {
        Self {
            path,
            what,
            classes,
            known: HashMap::new(),
            unknown: BTreeSet::new(),
            order: HashMap::new(),
            by_number: true,
        }
    }

    fn of(&mut self, text: &str) -> Result<Meaning, EvalError> {
        if let Some(meaning) = self.known.get(text) {
            return Ok(meaning.clone());
        }
        let meaning = match self.order.get(text) {
            Some(&place) => Meaning::Class(place),
            None => self.classes.meaning(text),
        };
        if matches!(meaning, Meaning::Class(_)) {
            self.by_number &= self.classes.by_number(text);
        }
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
        let alike = self
            .unknown
            .iter()
            .find_map(|name| self.classes.lookalike(name));
        let last = self.classes.len().to_string();
        let is_last = count == 1 && self.unknown.contains(&last);
        let names = self.unknown.iter().take(SHOWN).map(|name| shown(name));
        let names: Vec<String> = names.collect();
        let more = if count > SHOWN { ", …" } else { "" };
        Err(EvalError::UnknownClasses {
            what: self.what,
            path: self.path.display().to_string(),
            set: self.classes.set_name(),
            count,
            names: names.join(", ") + more,
            alike: alike.map(String::into_boxed_str),
            is_last,
        })
    }
}
