//! What can be wrong with a validation set or a file of results.

use std::io;

use crate::quote::excerpt;
use crate::text::TextError;

/// A data set or a results file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A list that is no text.
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("cannot read {path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error("cannot write {path}: {error}")]
    Unwritable { path: String, error: io::Error },
    #[error("{path} {}", if *exists { "is no folder, tar archive or Parquet table" } else { "does not exist" })]
    NoData { path: String, exists: bool },
    #[error(
        "{path} holds both images ({}) and archives ({})",
        excerpt(image),
        excerpt(archive)
    )]
    ImagesAndArchives {
        path: String,
        /// The first.
        image: String,
        /// The first.
        archive: String,
    },
    #[error("cannot use the archive {path}: {reason}")]
    Archive { path: String, reason: String },
    #[error("cannot keep the images of a stream in a temporary file in {folder}: {error}")]
    Spool { folder: String, error: io::Error },
    /// Only without the feature `parquet`.
    #[error("{path}: this program was built without Parquet")]
    NoParquet { path: String },
    #[error("{path} and {other} share images, which would count twice")]
    Twice { path: String, other: String },
    #[error("no images found in {path}")]
    Empty { path: String },
    #[error("no images found in {path}{}", also(passed))]
    NoImages {
        path: String,
        /// What was passed over.
        passed: Option<String>,
    },
    #[error(
        "{path} has {} without an image that is read: {}{}",
        class_folders(folders.len()),
        first(folders),
        also(passed)
    )]
    EmptyClasses {
        path: String,
        folders: Vec<String>,
        /// What was passed over.
        passed: Option<String>,
    },
    #[error(
        "the order of folders says which class each means only where every class has one: {path} has \
         {folders} class folders, and the model {classes} classes"
    )]
    FolderOrder {
        path: String,
        folders: usize,
        classes: usize,
    },
    #[error(
        "{path} has images that lie in no class folder ({images}; the first is {})",
        excerpt(first)
    )]
    NoClassFolder {
        path: String,
        images: usize,
        first: String,
    },
    /// Folders or labels that mean no class of the model.
    #[error(
        "{count} of the {what} in {path} are no classes of {set}: {}",
        excerpt(names)
    )]
    UnknownClasses {
        what: &'static str,
        path: String,
        set: String,
        count: usize,
        /// The first of them.
        names: String,
        /// One of them and a class that looks the same.
        alike: Option<Box<str>>,
        /// Whether the only one is the number of the last class, counted from 1.
        is_last: bool,
    },
    #[error(
        "{path}: `{}` means {count} classes of {set}: {}",
        excerpt(text),
        excerpt(classes)
    )]
    Ambiguous {
        path: String,
        text: String,
        set: String,
        count: usize,
        classes: String,
    },
    #[error("{path}, line {line}: expected {expected}, found `{}`", excerpt(found))]
    Line {
        path: String,
        line: usize,
        expected: &'static str,
        found: String,
    },
    /// A member of a JSON object.
    #[error(
        "{path}, `{}`: expected {expected}, found `{}`",
        excerpt(name),
        excerpt(found)
    )]
    Entry {
        path: String,
        name: String,
        expected: &'static str,
        found: String,
    },
    #[error("{path} is empty: it has no line but blank lines and comments")]
    NoEntries { path: String },
    #[error(
        "none of the {listed} images that {path} names lies in {folder}; the first is {}",
        excerpt(first)
    )]
    NothingListed {
        path: String,
        folder: String,
        listed: usize,
        first: String,
    },
    /// A list of labels that has a line for each image's number.
    #[error(
        "{path} labels images by their numbers, and {} {reason}",
        excerpt(image)
    )]
    Numbered {
        path: String,
        image: String,
        reason: String,
    },
    #[error(
        "{path} is a list of numbers without 0 and {last}: it may count the model's outputs from 0 \
         or the classes of ImageNet's development kit from 1"
    )]
    LabelIds { path: String, last: usize },
    #[error("{what} are about imagenet-1k, and the classes of the model are {set}")]
    NotImageNet { what: &'static str, set: String },
    #[error("the classes of the model are {model}, and the data set was labelled with {data}")]
    OtherClasses { model: String, data: String },
    #[error("cannot make the folder {path}: {error}")]
    Folder { path: String, error: io::Error },
    #[error("all {images} images of {path} are left out")]
    AllLeftOut { path: String, images: usize },
    /// The softmax of one output is always 1.
    #[error("{model} has one output, so it can only be measured on multi-label data")]
    OneOutput {
        /// Name of the model.
        model: String,
    },
    /// [`EvalOptions::ensemble`](super::EvalOptions::ensemble) of fewer than two models.
    #[error("an ensemble needs at least two models")]
    EnsembleOfOne,
    #[error("expected a shard as INDEX/COUNT, from 1/COUNT to COUNT/COUNT, found `{text}`")]
    Shard { text: String },
    #[error("{path} has results of a multi-label model, {what}")]
    MultiLabel { path: String, what: &'static str },
    #[error("another run is writing to {path}")]
    InUse { path: String },
    #[error("{path} exists already")]
    Exists { path: String },
    #[error(
        "{path} holds the results of something else: its {field} is {found}, expected {expected}"
    )]
    Mismatch {
        path: String,
        field: &'static str,
        expected: String,
        found: String,
    },
    #[error("{path}: image {index} has another result than in {other}")]
    Conflict {
        path: String,
        other: String,
        index: usize,
    },
}

/// What a list of numbers is expected to hold.
pub(super) const NUMBER_OF_A_CLASS: &str = "the number of a class";

/// What was passed over, behind an error.
fn also(passed: &Option<String>) -> String {
    passed.iter().map(|note| format!("; {note}")).collect()
}

fn class_folders(folders: usize) -> String {
    match folders {
        1 => "1 class folder".to_owned(),
        _ => format!("{folders} class folders"),
    }
}

/// The first names of several.
fn first(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    names[..names.len().min(SHOWN)].join(", ") + more
}

impl EvalError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Text(error) => return error.hint(),
            Self::NoClassFolder { .. } => {
                "give each class a folder (a WordNet id, a class name or an index), or name the \
                 classes of the images in a file: `--labels FILE`"
            }
            Self::UnknownClasses {
                alike: Some(alike), ..
            } => {
                return Some(format!(
                    "{alike} differ only in characters that are not seen: rename the one, or say in \
                     a `--class-map` that it means the other"
                ));
            }
            // Of numbers from 1 the last means nothing.
            Self::UnknownClasses { names, set, .. }
                if names == "1000" && set.starts_with("imagenet-1k ") =>
            {
                "numbers count the model's outputs from 0; `--label-ids devkit` says that these \
                 are the classes of ImageNet's development kit, which count from 1"
            }
            Self::UnknownClasses { is_last: true, .. } => {
                "numbers count the model's outputs from 0; `--label-ids from-one` says that these \
                 count from 1"
            }
            Self::UnknownClasses { .. } => {
                "`--class-map FILE` says which class a folder or label means, one a line: the name, \
                 a tab, the class; `-` for a class leaves its images out"
            }
            Self::EmptyClasses { .. } => {
                "convert the images that are not read, or measure the other classes alone with \
                 `--allow-empty-classes`"
            }
            Self::FolderOrder { .. } => {
                "`--label-ids` says what the numbers of folders count, `--class-map FILE` which class \
                 each folder means"
            }
            Self::Ambiguous { .. } => {
                "use the WordNet id or the index of the class, or a `--class-map`"
            }
            Self::NothingListed { .. } => "the names in the file are relative to the folder",
            Self::Exists { .. } => "`--resume` goes on with it; another name starts anew",
            Self::Mismatch { .. } => {
                "results of one file have to come from one model, one preprocessing and one data set"
            }
            Self::Conflict { .. } => {
                "the same image from two machines may differ in the last digits: leave out the \
                 file that repeats the others'"
            }
            Self::NoData { exists: true, .. } => {
                "a validation set is a folder with a folder for each class, or with `--labels FILE`, \
                 or an archive"
            }
            Self::ImagesAndArchives { .. } => {
                "name the archives themselves, or the folder of the images"
            }
            Self::Spool { .. } => "`TMPDIR` names another folder for temporary files",
            Self::NoParquet { .. } => "build it with `cargo install --features parquet`",
            Self::LabelIds { .. } => "say which: `--label-ids index` or `--label-ids devkit`",
            Self::Line {
                expected: NUMBER_OF_A_CLASS,
                ..
            } => {
                "numbers count the model's outputs from 0; `--label-ids from-one` says that these \
                 count from 1"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}
