//! Where the pictures of a validation set lie and what they show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::classes::{Meaning, read_lines};
use super::{Classes, EvalError};
use crate::image::is_picture_name;
use crate::weights::hexadecimal;

/// One labelled picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Position in the whole data set, which orders the results of all shards.
    pub index: usize,
    /// Path inside the data set, `/` between its parts.
    pub name: String,
    pub path: PathBuf,
    /// Output of the classifier that is right.
    pub label: usize,
}

/// The labelled pictures of a folder, by name.
#[derive(Debug)]
pub struct Dataset {
    pub items: Vec<Item>,
    /// Pictures that no class was given for, or whose class was left out.
    pub left_out: usize,
}

/// What a data set is made from.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// File that labels the pictures of a folder without class folders.
    pub labels: Option<&'a Path>,
    /// No more than so many pictures, evenly spread over the whole set.
    pub limit: Option<usize>,
}

/// One of several parts of a data set: every `count`-th picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 to `count`.
    pub index: usize,
    pub count: usize,
}

impl FromStr for Shard {
    type Err = EvalError;

    fn from_str(text: &str) -> Result<Self, EvalError> {
        let parts = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(EvalError::Shard { text: text.into() }),
        }
    }
}

impl Dataset {
    /// The pictures of `folder`, labelled by the folders that they are in or by a file.
    ///
    /// # Errors
    /// If the folder or the file cannot be read, names no class, several classes or an unknown one,
    /// or there are no pictures.
    pub fn open(
        folder: &Path,
        classes: &Classes<'_>,
        options: &Options<'_>,
    ) -> Result<Self, EvalError> {
        if !folder.is_dir() {
            return Err(EvalError::NotAFolder {
                path: folder.display().to_string(),
            });
        }
        let files = pictures(folder)?;
        let (labelled, left_out) = match options.labels {
            Some(list) => listed(folder, &files, list, classes)?,
            None => in_class_folders(folder, files, classes)?,
        };
        let total = labelled.len();
        let kept = options.limit.map_or(total, |limit| limit.min(total));
        let items = (0..kept).map(|index| {
            let (relative, label) = &labelled[index * total / kept];
            Item {
                index,
                name: name(relative),
                path: folder.join(relative),
                label: *label,
            }
        });
        Ok(Self {
            items: items.collect(),
            left_out,
        })
    }

    /// SHA-256 of all names and labels: two data sets with the same one number their pictures alike.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for item in &self.items {
            hash.update(format!("{}\0{}\n", item.name, item.label));
        }
        hexadecimal(&hash.finalize())
    }

    /// The pictures of one shard.
    pub fn shard(&self, shard: Shard) -> impl Iterator<Item = &Item> {
        self.items.iter().skip(shard.index - 1).step_by(shard.count)
    }
}

/// Pictures below the folder, by name, their paths relative to it. Links are followed, but for those
/// that lead back up.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let mut files = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_picture_name(entry.path()) => {
                let path = entry.path();
                files.push(path.strip_prefix(folder).unwrap_or(path).to_owned());
            }
            Ok(_) => {}
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                let broken_link = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
                if broken_link && is_picture_name(&path) {
                    // Counted as a picture that cannot be read.
                    files.push(path.strip_prefix(folder).unwrap_or(&path).to_owned());
                    continue;
                }
                return Err(EvalError::Unreadable {
                    path: path.display().to_string(),
                    error: error.into(),
                });
            }
        }
    }
    if files.is_empty() {
        return Err(EvalError::Empty {
            path: folder.display().to_string(),
        });
    }
    Ok(files)
}

type Labelled = (Vec<(PathBuf, usize)>, usize);

fn in_class_folders(
    folder: &Path,
    files: Vec<PathBuf>,
    classes: &Classes<'_>,
) -> Result<Labelled, EvalError> {
    let loose: Vec<&PathBuf> = files
        .iter()
        .filter(|p| p.components().count() < 2)
        .collect();
    if let Some(first) = loose.first() {
        return Err(EvalError::NoClassFolder {
            path: folder.display().to_string(),
            pictures: loose.len(),
            first: first.display().to_string(),
        });
    }
    let mut meanings = Meanings::new(folder, "folders", classes);
    let mut labelled = Vec::new();
    let mut left_out = 0;
    for file in files {
        let class = file.components().next();
        let class = class.map(|part| part.as_os_str().to_string_lossy().into_owned());
        match meanings.of(&class.unwrap_or_default())? {
            Some(label) => labelled.push((file, label)),
            None => left_out += 1,
        }
    }
    meanings.finish()?;
    Ok((labelled, left_out))
}

/// The meanings of the texts of a data set, each looked up once; unknown ones are told together.
struct Meanings<'a, 'c> {
    path: &'a Path,
    what: &'static str,
    classes: &'a Classes<'c>,
    known: HashMap<String, Option<usize>>,
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

    fn of(&mut self, text: &str) -> Result<Option<usize>, EvalError> {
        if let Some(&label) = self.known.get(text) {
            return Ok(label);
        }
        let label = match self.classes.meaning(text) {
            Meaning::Class(index) => Some(index),
            Meaning::LeftOut => None,
            Meaning::Several(indices) => {
                return Err(self.classes.ambiguous(self.path, text, &indices));
            }
            Meaning::Unknown => {
                self.unknown.insert(text.to_owned());
                None
            }
        };
        self.known.insert(text.to_owned(), label);
        Ok(label)
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

/// Labels from a file: on each line the name of a picture, with or without its extension, and its
/// class, of which what follows a blank is not read if the whole is no class (as in Kaggle's
/// `LOC_val_solution.csv`). A first line that names neither is a heading.
fn listed(
    folder: &Path,
    files: &[PathBuf],
    list: &Path,
    classes: &Classes<'_>,
) -> Result<Labelled, EvalError> {
    let mut by_name: HashMap<String, &PathBuf> = HashMap::new();
    for file in files {
        by_name.insert(name(&file.with_extension("")), file);
    }
    by_name.extend(files.iter().map(|file| (name(file), file)));
    let mut meanings = Meanings::new(list, "labels", classes);
    let mut labelled: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut found = 0;
    let mut first = None;
    for (position, (line, text)) in read_lines(list)?.into_iter().enumerate() {
        let Some((picture, class)) = classes.split(&text) else {
            return Err(EvalError::Line {
                path: list.display().to_string(),
                line,
                expected: "the name of a picture and its class",
                found: text,
            });
        };
        let class = match classes.meaning(class) {
            Meaning::Unknown => class.split_whitespace().next().unwrap_or(class),
            _ => class,
        };
        let file = by_name.get(picture.trim_start_matches("./")).copied();
        if position == 0 && file.is_none() && classes.meaning(class) == Meaning::Unknown {
            continue;
        }
        found += usize::from(file.is_some());
        first.get_or_insert_with(|| picture.to_owned());
        let Some(label) = meanings.of(class)? else {
            continue;
        };
        // One that is not there is a picture that cannot be read.
        let file = file.cloned().unwrap_or_else(|| picture.into());
        if labelled
            .insert(file, label)
            .is_some_and(|other| other != label)
        {
            return Err(EvalError::Line {
                path: list.display().to_string(),
                line,
                expected: "one class for a picture, and this one had another",
                found: text,
            });
        }
    }
    meanings.finish()?;
    if found == 0 {
        return Err(EvalError::NothingListed {
            path: list.display().to_string(),
            folder: folder.display().to_string(),
            listed: labelled.len(),
            first: first.unwrap_or_default(),
        });
    }
    let unlisted = files.iter().filter(|file| !labelled.contains_key(*file));
    let left_out = unlisted.count();
    Ok((labelled.into_iter().collect(), left_out))
}

fn name(path: &Path) -> String {
    let parts = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}
