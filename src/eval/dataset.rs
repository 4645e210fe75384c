//! The labelled pictures of a validation set.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::order::{FolderOrder, Numbered};
use super::spool::Spool;
use super::{Classes, EvalError, Source, find, label};
use crate::digest::hexadecimal;
use crate::walk::PassedOver;

/// One labelled picture.
#[derive(Clone, Debug)]
pub struct Item {
    /// Position in the whole data set, which orders the results of all shards.
    pub index: usize,
    /// Path inside the data set, `/` between its parts.
    pub name: String,
    /// The bytes of the name in base64, where it is not UTF-8.
    pub name_bytes: Option<String>,
    pub source: Source,
    /// Outputs of the classifier that are right; most sets have one for a picture, and only
    /// multi-label sets may have none.
    pub labels: Vec<usize>,
}

/// Labelled pictures in a fixed order: folders by name, archives in their own.
#[derive(Debug)]
pub struct Dataset {
    pub items: Vec<Item>,
    /// Pictures that no class was given for, or whose class was left out.
    pub left_out: usize,
    /// What was found and not read.
    pub passed: PassedOver,
    /// Class folders without an image.
    pub empty: Vec<String>,
    /// The order that the user gave of class folders.
    pub(super) order: Option<FolderOrder>,
    /// Whether all labels are numbers.
    pub(super) numbered: Option<Numbered>,
    /// Bytes of pictures that came as a stream and are kept in a temporary file.
    pub spooled: u64,
}

/// What a data set is made from.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// File that labels the pictures, in place of folders.
    pub labels: Option<&'a Path>,
    /// Whether an image of no class is one without labels, and not left out.
    pub multi_label: bool,
    /// Pictures of other classes are left out.
    pub only: Option<&'a [usize]>,
    /// No more than so many pictures, evenly spread over the whole set.
    pub limit: Option<usize>,
    /// The order of class folders in which their classes were numbered, where names do not tell.
    pub order: Option<FolderOrder>,
    /// Whether a class folder may have no image.
    pub allow_empty: bool,
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
    /// The pictures of folders, tar archives and Parquet tables, labelled by the folders that they
    /// are in, by what their archive states, or by a file. `-` is an archive on standard input.
    ///
    /// # Errors
    /// If something cannot be read, a name means no class, or several, or there are no pictures.
    pub fn open(
        paths: &[PathBuf],
        classes: &Classes<'_>,
        options: &Options<'_>,
    ) -> Result<Self, EvalError> {
        let mut spool = Spool::default();
        let search = find::pictures(paths, classes, &mut spool)?;
        let data = match paths {
            [path] => path.clone(),
            _ => "all paths".into(),
        };
        let passed = search.passed.clone();
        let labels = match options.labels {
            Some(list) => label::by_list(search.found, list, &data, classes, options.multi_label)?,
            None => label::by_place(search, &data, classes, options.order)?,
        };
        let label::Labels {
            mut labelled,
            mut left_out,
            numbered,
            empty,
        } = labels;
        if !empty.is_empty() && !options.allow_empty {
            return Err(EvalError::EmptyClasses {
                path: data.display().to_string(),
                folders: empty,
                passed: passed.note(),
            });
        }
        if let Some(only) = options.only {
            let before = labelled.len();
            labelled.retain(|(_, labels)| labels.iter().any(|label| only.contains(label)));
            left_out += before - labelled.len();
        }
        if labelled.is_empty() {
            return Err(EvalError::AllLeftOut {
                path: data.display().to_string(),
                pictures: left_out,
            });
        }
        let total = labelled.len();
        let kept = options.limit.map_or(total, |limit| limit.min(total));
        let mut labelled: Vec<Option<label::Labelled>> = labelled.into_iter().map(Some).collect();
        let items = (0..kept).filter_map(|index| {
            let (picture, labels) = labelled[index * total / kept].take()?;
            Some(Item {
                index,
                name: picture.name,
                name_bytes: picture.name_bytes,
                source: picture.source,
                labels,
            })
        });
        Ok(Self {
            items: items.collect(),
            left_out,
            passed,
            empty,
            order: options.order,
            numbered,
            spooled: spool.length,
        })
    }

    /// SHA-256 of all names and labels: two data sets with the same one number their pictures alike.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for item in &self.items {
            let labels = item.labels.iter().map(usize::to_string);
            let labels = labels.collect::<Vec<_>>().join(" ");
            // A name that holds the separator would read as two images: its length comes before it.
            if item.name.contains('\0') {
                hash.update(format!("\0{}\0", item.name.len()));
            }
            match &item.name_bytes {
                Some(bytes) => hash.update(format!("\0\0{bytes}\0{labels}\n")),
                None => hash.update(format!("{}\0{labels}\n", item.name)),
            }
        }
        hexadecimal(&hash.finalize())
    }

    /// The pictures of one shard.
    pub fn shard(&self, shard: Shard) -> impl Iterator<Item = &Item> {
        self.items.iter().skip(shard.index - 1).step_by(shard.count)
    }
}
