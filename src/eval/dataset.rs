//! The labelled images of a validation set.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::classes::set_name;
use super::order::{FolderOrder, Numbered};
use super::spool::Spool;
use super::{Classes, EvalError, Source, find, label};
use crate::digest::hexadecimal;
use crate::labels::{Label, LabelSet};
use crate::quote::given_bytes;
use crate::walk::PassedOver;

/// One labelled image.
#[derive(Clone, Debug)]
pub struct Item {
    /// Position in the whole data set, by which the results of all shards are sorted.
    pub index: usize,
    /// Path inside the data set, with `/` as the separator.
    pub name: String,
    /// The bytes of the name in base64, where it is not UTF-8.
    pub name_bytes: Option<String>,
    /// Where its bytes are.
    pub source: Source,
    /// The right outputs of the classifier; in most data sets one per image, and only multi-label
    /// sets may have none.
    pub labels: Vec<usize>,
}

impl Item {
    /// The bytes of the name as they are in the file system or archive.
    pub fn path(&self) -> Cow<'_, [u8]> {
        let bytes = self.name_bytes.as_deref().and_then(given_bytes);
        bytes.map_or(Cow::Borrowed(self.name.as_bytes()), Cow::Owned)
    }
}

/// Labelled images in a fixed order: folders by name, archives in their own.
#[derive(Debug)]
pub struct Dataset {
    /// The images, in the order of the data set.
    pub items: Vec<Item>,
    /// Images without a label, or of an excluded class.
    pub left_out: usize,
    /// What was found and not read.
    pub passed: PassedOver,
    /// Class folders without an image.
    pub empty: Vec<String>,
    /// The order of class folders that the user gave.
    pub(super) order: Option<FolderOrder>,
    /// Whether all labels are numbers.
    pub(super) numbered: Option<Numbered>,
    /// Bytes of streamed images that are kept in a temporary file.
    pub spooled: u64,
    /// The classes that the labels are about.
    pub(super) classes: Vec<Label>,
    /// Name and size of their set.
    pub(super) set_name: String,
    pub(super) multi_label: bool,
    /// The classes that a model may answer with, if restricted.
    pub(super) valid: Option<Vec<usize>>,
}

/// How a data set is read, and how a model is measured on it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DatasetOptions {
    /// File that labels the images, instead of folders.
    pub labels: Option<PathBuf>,
    /// Score each class independently, by its sigmoid. An image may then show several classes or
    /// none; otherwise an image without a class is skipped.
    pub multi_label: bool,
    /// The classes that a model may answer with, in order, if restricted ([`Classes::subset`]);
    /// images of other classes are skipped.
    pub valid: Option<Vec<usize>>,
    /// At most this many images, evenly spread over the whole data set.
    pub limit: Option<usize>,
    /// How numbered class folders map to classes, where their names do not say.
    pub order: Option<FolderOrder>,
    /// Whether a class folder may be empty.
    pub allow_empty: bool,
}

/// One of several parts of a data set: every `count`-th image. All of it by default; `"2/4".parse()`
/// gives the second of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 to `count`.
    index: usize,
    count: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 1, count: 1 }
    }
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
    /// The images of folders, tar archives and Parquet tables, labelled by their folders, by the
    /// labels in their archive, or by a file. `-` is an archive on standard input.
    ///
    /// # Errors
    /// If something cannot be read, a name is unknown or ambiguous, or there are no images.
    pub fn open(
        paths: &[impl AsRef<Path>],
        classes: &Classes<'_>,
        options: &DatasetOptions,
    ) -> Result<Self, EvalError> {
        let mut spool = Spool::default();
        let search = find::images(paths, Some(classes), &mut spool)?;
        let data = match paths {
            [path] => path.as_ref(),
            _ => Path::new("all paths"),
        };
        let passed = search.passed.clone();
        let labels = match &options.labels {
            Some(list) => label::by_list(search.found, list, data, classes, options.multi_label)?,
            None => label::by_place(search, data, classes, options.order)?,
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
        if let Some(valid) = &options.valid {
            let before = labelled.len();
            labelled.retain(|(_, labels)| labels.iter().any(|label| valid.contains(label)));
            left_out += before - labelled.len();
        }
        if labelled.is_empty() {
            return Err(EvalError::AllLeftOut {
                path: data.display().to_string(),
                images: left_out,
            });
        }
        let total = labelled.len();
        let kept = options.limit.map_or(total, |limit| limit.min(total));
        let mut labelled: Vec<Option<label::Labelled>> = labelled.into_iter().map(Some).collect();
        let items = (0..kept).filter_map(|index| {
            let (image, labels) = labelled[index * total / kept].take()?;
            Some(Item {
                index,
                name: image.name,
                name_bytes: image.name_bytes,
                source: image.source,
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
            classes: classes.labels().to_vec(),
            set_name: classes.set_name(),
            multi_label: options.multi_label,
            valid: options.valid.clone(),
        })
    }

    /// All images of folders, tar archives and Parquet tables, and single image files, in the order of
    /// [`Dataset::open`] and without labels. `-` is an archive on standard input.
    ///
    /// # Errors
    /// If something cannot be read, or there are no images.
    pub fn unlabelled(paths: &[impl AsRef<Path>]) -> Result<Self, EvalError> {
        let mut spool = Spool::default();
        let search = find::images(paths, None, &mut spool)?;
        let items = search.found.into_iter().enumerate();
        let items = items.map(|(index, image)| Item {
            index,
            name: image.name,
            name_bytes: image.name_bytes,
            source: image.source,
            labels: Vec::new(),
        });
        Ok(Self {
            items: items.collect(),
            left_out: 0,
            passed: search.passed,
            empty: Vec::new(),
            order: None,
            numbered: None,
            spooled: spool.length,
            classes: Vec::new(),
            set_name: "no classes".to_owned(),
            multi_label: false,
            valid: None,
        })
    }

    /// The short names of the classes that the labels are about.
    pub fn class_names(&self) -> Vec<String> {
        let labels = self.classes.iter();
        labels.map(|label| label.name.clone()).collect()
    }

    /// Whether the data set was labelled with these classes.
    pub(super) fn check_classes(&self, labels: &LabelSet) -> Result<(), EvalError> {
        if labels.entries == self.classes {
            return Ok(());
        }
        Err(EvalError::OtherClasses {
            model: set_name(labels),
            data: self.set_name.clone(),
        })
    }

    /// SHA-256 of all names and labels: data sets with the same fingerprint number their images
    /// alike.
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

    /// The images of one shard.
    pub fn shard(&self, shard: Shard) -> impl Iterator<Item = &Item> {
        self.items.iter().skip(shard.index - 1).step_by(shard.count)
    }
}
