//! Why features cannot be computed, written or read.

use std::io;

use super::Layer;
use crate::nets::NetError;
use crate::quote::excerpt;

/// An error of features and their files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// No layer has this name.
    #[error(
        "unknown layer `{}`, expected pooled, logits or stage1 to stage5",
        excerpt(text)
    )]
    Layer {
        /// The text that was read.
        text: String,
    },
    /// The network has fewer stages.
    #[error("the network has no {layer}: it has stage1 to stage{stages}")]
    NoStage {
        /// The layer asked for.
        layer: Layer,
        /// Stages that the network has.
        stages: usize,
    },
    /// The network does not take the input size.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The model's input is neither RGB nor grey.
    #[error(transparent)]
    Image(#[from] crate::preprocess::ImageError),
    /// A file that would be overwritten.
    #[error("{path} exists already")]
    Exists {
        /// The file.
        path: String,
    },
    /// What an interrupted run left behind.
    #[error("{path} is unfinished: an earlier run was interrupted")]
    Unfinished {
        /// The file of features that the run was to write.
        path: String,
    },
    /// Another run has the file open.
    #[error("another run is writing {path}")]
    InUse {
        /// The file of features, or the journal beside it.
        path: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system reports.
        error: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}: {error}")]
    Unwritable {
        /// The file.
        path: String,
        /// What the system reports.
        error: io::Error,
    },
    /// A file that is no file of features, or a damaged one.
    #[error("{path} is not a whole file of features: {problem}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Features of another model, other weights, another preprocessing or other images.
    #[error(
        "{path} holds features of something else: its {field} is {}, expected {}",
        excerpt(found),
        excerpt(expected)
    )]
    Mismatch {
        /// The file.
        path: String,
        /// The field that differs.
        field: &'static str,
        /// What was expected.
        expected: String,
        /// What was found instead.
        found: String,
    },
    /// A row that is not of the image that has its path.
    #[error(
        "{path} holds other features of {} than the image has now",
        excerpt(image)
    )]
    OtherImage {
        /// The file.
        path: String,
        /// The path of the image.
        image: String,
    },
    /// A whole file without a row for images that have not failed.
    #[error(
        "{path} is whole, but the data has {count} {} without a row, the first one {}",
        if *count == 1 { "image" } else { "images" },
        excerpt(first)
    )]
    Lacks {
        /// The file.
        path: String,
        /// Images that it lacks.
        count: usize,
        /// The path of the first one.
        first: String,
    },
    /// An extension that says no format.
    #[error(
        "{path} has no extension that says its format: expected .safetensors, .npy, .jsonl or .parquet"
    )]
    Extension {
        /// The file.
        path: String,
    },
    /// A file that does not say what its rows are of.
    #[error("{path} cannot be appended to: only .safetensors files are")]
    Append {
        /// The file.
        path: String,
    },
    /// A format without 16-bit numbers.
    #[error("{path} cannot hold f16: only .safetensors and .npy files do")]
    NoF16 {
        /// The file.
        path: String,
    },
    /// A path that takes more than one line of a list.
    #[error(
        "the path {:?} has a line break, and a list of paths a path on each line",
        excerpt(image)
    )]
    LineBreak {
        /// The path.
        image: String,
    },
    /// Only without the feature `parquet`.
    #[error("{path}: this program was built without Parquet")]
    NoParquet {
        /// The file.
        path: String,
    },
    /// Two images of one path, of which only one could be appended.
    #[error("two images are called {}", excerpt(image))]
    Twice {
        /// Their path.
        image: String,
    },
}

impl EmbedError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Exists { .. } => "resume it, append to it, or use another name",
            Self::Unfinished { .. } => "resume the run, or start it anew",
            Self::Mismatch { .. } => {
                "features of one file have to come from one model, its weights and one preprocessing"
            }
            Self::OtherImage { .. } => {
                "the image has changed, or the file is of other images with the same paths: write another file"
            }
            Self::Lacks { .. } => "append them",
            Self::Twice { .. } => "give the directory that both lie in, so that their paths differ",
            Self::Append { .. } => "write another file, or embed all images again",
            Self::LineBreak { .. } => "write a .safetensors file, which takes any path",
            Self::NoParquet { .. } => "build it with `cargo install --features parquet`",
            Self::Image(error) => return error.hint(),
            Self::Net(error) => return error.hint(),
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// [`EmbedError::Unwritable`].
    pub(super) fn unwritable(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::Unwritable { path, error }
    }

    /// [`EmbedError::Unreadable`].
    pub(super) fn unreadable(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::Unreadable { path, error }
    }
}
