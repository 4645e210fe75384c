//! What can be wrong with a validation set or a file of results.

use std::io;

use crate::preprocess::ImageError;
use crate::quote::excerpt;
use crate::text::TextError;

/// A data set or a results file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A list that is no text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The system refuses to read it.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file or directory.
        path: String,
        /// What the system reports.
        error: io::Error,
    },
    /// The system refuses to write it.
    #[error("cannot write {path}: {error}")]
    Unwritable {
        /// The file or directory.
        path: String,
        /// What the system reports.
        error: io::Error,
    },
    /// Neither a directory nor an archive that is known.
    #[error("{path} {}", if *exists { "is not a directory, tar archive or Parquet file" } else { "does not exist" })]
    NoData {
        /// The file or directory.
        path: String,
        /// Whether there is anything of that name.
        exists: bool,
    },
    /// A directory that may be one data set or a set of archives.
    #[error(
        "{path} holds both images ({}) and archives ({})",
        excerpt(image),
        excerpt(archive)
    )]
    ImagesAndArchives {
        /// The file or directory.
        path: String,
        /// The first.
        image: String,
        /// The first.
        archive: String,
    },
    /// An archive that is damaged or of an unknown form.
    #[error("cannot use the archive {path}: {reason}")]
    Archive {
        /// The file or directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A stream is read once, so its images are kept in a temporary file.
    #[error("cannot keep the images of a stream in a temporary file in {folder}: {error}")]
    Spool {
        /// The directory.
        folder: String,
        /// What the system reports.
        error: io::Error,
    },
    /// Only without the feature `parquet`.
    #[error("{path}: this program was built without Parquet")]
    NoParquet {
        /// The file or directory.
        path: String,
    },
    /// Two paths that lead to the same images.
    #[error("{path} and {other} share images, which would count twice")]
    Twice {
        /// The file or directory.
        path: String,
        /// The other file or directory.
        other: String,
    },
    /// A data set without images.
    #[error("no images found in {path}")]
    Empty {
        /// The file or directory.
        path: String,
    },
    /// A directory without images that are read.
    #[error("no images found in {path}{}", also(passed))]
    NoImages {
        /// The file or directory.
        path: String,
        /// What was passed over.
        passed: Option<String>,
    },
    /// Class folders without images that are read.
    #[error(
        "{path} has {} without an image that is read: {}{}",
        class_folders(folders.len()),
        first(folders),
        also(passed)
    )]
    EmptyClasses {
        /// The file or directory.
        path: String,
        /// The class folders.
        folders: Vec<String>,
        /// What was passed over.
        passed: Option<String>,
    },
    /// Folders numbered by their order that do not match the classes.
    #[error(
        "the order of folders says which class each means only where every class has one: {path} has \
         {folders} class folders, and the model {classes} classes"
    )]
    FolderOrder {
        /// The file or directory.
        path: String,
        /// The class folders.
        folders: usize,
        /// The classes.
        classes: usize,
    },
    /// Images whose path names no class.
    #[error(
        "{path} has images that lie in no class folder ({images}; the first is {})",
        excerpt(first)
    )]
    NoClassFolder {
        /// The file or directory.
        path: String,
        /// Number of images.
        images: usize,
        /// The first of them.
        first: String,
    },
    /// Folders or labels that mean no class of the model.
    #[error(
        "{count} of the {what} in {path} are no classes of {set}: {}",
        excerpt(names)
    )]
    UnknownClasses {
        /// What it is about.
        what: &'static str,
        /// The file or directory.
        path: String,
        /// Name of the class set.
        set: String,
        /// How many there are.
        count: usize,
        /// The first of them.
        names: String,
        /// One of them and a class that looks the same.
        alike: Option<Box<str>>,
        /// Whether the only one is the number of the last class, counted from 1.
        is_last: bool,
    },
    /// A text that names no class, or several.
    #[error("`{}` {}", excerpt(text), meaning(set, classes))]
    NotOneClass {
        /// The text.
        text: String,
        /// Name and size of the class set.
        set: String,
        /// The classes that it means.
        classes: Vec<String>,
    },
    /// A folder or label that means several classes.
    #[error(
        "{path}: `{}` means {count} classes of {set}: {}",
        excerpt(text),
        excerpt(classes)
    )]
    Ambiguous {
        /// The file or directory.
        path: String,
        /// The text that was read.
        text: String,
        /// Name of the class set.
        set: String,
        /// How many there are.
        count: usize,
        /// The classes.
        classes: String,
    },
    /// A line of a list or of a results file.
    #[error("{path}, line {line}: expected {expected}, found `{}`", excerpt(found))]
    Line {
        /// The file or directory.
        path: String,
        /// Number of the line, from 1.
        line: usize,
        /// What was expected.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },
    /// A member of a JSON object.
    #[error(
        "{path}, `{}`: expected {expected}, found `{}`",
        excerpt(name),
        excerpt(found)
    )]
    Entry {
        /// The file or directory.
        path: String,
        /// Name of the member.
        name: String,
        /// What was expected.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },
    /// A list without entries.
    #[error("{path} is empty: it has no line but blank lines and comments")]
    NoEntries {
        /// The file or directory.
        path: String,
    },
    /// A list whose images are elsewhere.
    #[error(
        "none of the {listed} images that {path} names lies in {folder}; the first is {}",
        excerpt(first)
    )]
    NothingListed {
        /// The file or directory.
        path: String,
        /// The directory.
        folder: String,
        /// Number of entries in the list.
        listed: usize,
        /// The first of them.
        first: String,
    },
    /// A list of labels that has a line for each image's number.
    #[error(
        "{path} labels images by their numbers, and {} {reason}",
        excerpt(image)
    )]
    Numbered {
        /// The file or directory.
        path: String,
        /// Name of the image.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Numbers that can be read in two ways.
    #[error(
        "{path} is a list of numbers without 0 and {last}: it may count the model's outputs from 0 \
         or the classes of ImageNet's development kit from 1"
    )]
    LabelIds {
        /// The file or directory.
        path: String,
        /// The number that the last class would have.
        last: usize,
    },
    /// What exists for imagenet-1k alone.
    #[error("{what} are about imagenet-1k, and the classes of the model are {set}")]
    NotImageNet {
        /// What it is about.
        what: &'static str,
        /// Name of the class set.
        set: String,
    },
    /// Models, or a model and a data set, whose classes differ.
    #[error("the classes of the model are {model}, and the data set was labelled with {data}")]
    OtherClasses {
        /// Classes of the model.
        model: String,
        /// Classes of the data set.
        data: String,
    },
    /// The folder for results.
    #[error("cannot make the folder {path}: {error}")]
    Folder {
        /// The file or directory.
        path: String,
        /// What the system reports.
        error: io::Error,
    },
    /// A data set of which no image is measured.
    #[error("all {images} images of {path} are left out")]
    AllLeftOut {
        /// The file or directory.
        path: String,
        /// Number of images.
        images: usize,
    },
    /// A model that does not take images.
    #[error("{model}: {error}")]
    Input {
        /// Name of the model.
        model: String,
        /// What is wrong with its input.
        error: ImageError,
    },
    /// The softmax of one output is always 1.
    #[error("{model} has one output, so it can only be measured on multi-label data")]
    OneOutput {
        /// Name of the model.
        model: String,
    },
    /// [`EvalOptions::ensemble`](super::EvalOptions::ensemble) of fewer than two models.
    #[error("an ensemble needs at least two models")]
    EnsembleOfOne,
    /// A shard that cannot be parsed.
    #[error("expected a shard as INDEX/COUNT, from 1/COUNT to COUNT/COUNT, found `{text}`")]
    Shard {
        /// The text that was read.
        text: String,
    },
    /// Single-label and multi-label results do not mix.
    #[error("{path} has results of a multi-label model, {what}")]
    MultiLabel {
        /// The file or directory.
        path: String,
        /// What it is about.
        what: &'static str,
    },
    /// A results file that is locked.
    #[error("another run is writing to {path}")]
    InUse {
        /// The file or directory.
        path: String,
    },
    /// A results file that would be overwritten.
    #[error("{path} exists already")]
    Exists {
        /// The file or directory.
        path: String,
    },
    /// A results file of another run.
    #[error(
        "{path} holds the results of something else: its {field} is {found}, expected {expected}"
    )]
    Mismatch {
        /// The file or directory.
        path: String,
        /// The field that differs.
        field: &'static str,
        /// What was expected.
        expected: String,
        /// What was found instead.
        found: String,
    },
    /// Groups by a column that there is not.
    #[error("{path} has no column {column}{}",
        if found.is_empty() { String::new() } else { format!(": expected one of {}", excerpt(found)) })]
    NoColumn {
        /// The list of labels or the data set.
        path: String,
        /// The column that was asked for.
        column: String,
        /// Its columns; empty if it is no table.
        found: String,
    },
    /// Two results for one image.
    #[error("{path}: image {index} has another result than in {other}")]
    Conflict {
        /// The file or directory.
        path: String,
        /// The other file or directory.
        other: String,
        /// Number of the image in the data set.
        index: usize,
    },
}

/// What a list of numbers is expected to hold.
pub(crate) const NUMBER_OF_A_CLASS: &str = "the number of a class";

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

/// What a text is that should name one class.
fn meaning(set: &str, classes: &[String]) -> String {
    match classes.len() {
        0 => format!("is not a class of {set}"),
        several => format!("means {several} classes of {set}: {}", classes.join(", ")),
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
            Self::Input { error, .. } => return error.hint(),
            Self::NoClassFolder { .. } => {
                "give each class a folder (a WordNet id, a class name or an index), or name the \
                 classes of the images in a file"
            }
            Self::UnknownClasses {
                alike: Some(alike), ..
            } => {
                return Some(format!(
                    "{alike} differ only in characters that are not seen: rename the one, or say in \
                     a class map that it means the other"
                ));
            }
            // Of numbers from 1 the last means nothing.
            Self::UnknownClasses { names, set, .. }
                if names == "1000" && set.starts_with("imagenet-1k ") =>
            {
                "numbers count the model's outputs from 0, unless the label ids are those of \
                 ImageNet's development kit, which count from 1"
            }
            Self::UnknownClasses { is_last: true, .. }
            | Self::Line {
                expected: NUMBER_OF_A_CLASS,
                ..
            } => "numbers count the model's outputs from 0, unless the label ids begin at 1",
            Self::UnknownClasses { .. } => {
                "a class map says which class a folder or label means, or that its images are left out"
            }
            Self::EmptyClasses { .. } => {
                "convert the images that are not read, or allow empty classes to measure the others"
            }
            Self::FolderOrder { .. } => {
                "label ids say what the numbers of folders count, a class map which class each \
                 folder means"
            }
            Self::NotOneClass { .. } => {
                "name a class by its whole name, its WordNet id or its index, which counts from 0"
            }
            Self::Ambiguous { .. } => {
                "use the WordNet id or the index of the class, or a class map"
            }
            Self::NoColumn { .. } => {
                "images are grouped by a column of a table of labels, whose first line names its columns, or \
                 of a Parquet table"
            }
            Self::NothingListed { .. } => "the names in the file are relative to the folder",
            Self::Exists { .. } => "resume it, or use another name",
            Self::Mismatch { .. } => {
                "results of one file have to come from one model, one preprocessing and one data set"
            }
            Self::Conflict { .. } => {
                "the same image from two machines may differ in the last digits: leave out the \
                 file that repeats the others'"
            }
            Self::NoData { exists: true, .. } => {
                "a validation set is a folder with a folder for each class, or with a list of labels, \
                 or an archive"
            }
            Self::ImagesAndArchives { .. } => {
                "name the archives themselves, or the folder of the images"
            }
            Self::Spool { .. } => "`TMPDIR` names another folder for temporary files",
            Self::NoParquet { .. } => "build it with `cargo install --features parquet`",
            Self::LabelIds { .. } => "say which label ids these are: index or devkit",
            _ => return None,
        };
        Some(text.to_owned())
    }
}
