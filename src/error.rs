//! The library's error type.
//!
//! Every module has a small error enum of its own. [`enum@Error`] joins them, so that a caller can
//! match on those it cares about. Messages say what failed, what was expected and what was found;
//! [`Error::hint`] says what to do next.

use crate::device::DeviceError;
use crate::embed::EmbedError;
use crate::eval::EvalError;
use crate::hub::HubError;
use crate::model::{EnsembleError, HeadError};
use crate::nets::{NetError, OtherEnds};
use crate::preprocess::ImageError;
use crate::similar::SimilarError;
use crate::store::PickError;
use crate::text::TextError;
use crate::train::{DirectoryError, TrainError};
use crate::verify::VerifyError;
use crate::weights::WeightsError;
use crate::zoo::CardError;

/// Result with the library's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An unknown model name, or an invalid card or configuration.
    #[error(transparent)]
    Card(#[from] CardError),
    /// A device that cannot be opened.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A model directory that cannot be written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file of features that cannot be read or written.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// Models that cannot answer together.
    #[error(transparent)]
    Ensemble(#[from] EnsembleError),
    /// A data set or results file that cannot be used.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A file of reference outputs that cannot be used.
    #[error(transparent)]
    Golden(#[from] VerifyError),
    /// A classifier that cannot be used.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A file that is not available from the hub or the cache.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An image that cannot be read or decoded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A network that cannot be built or run.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A directory or repository in which no weights file can be chosen.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// Vectors that cannot be compared.
    #[error(transparent)]
    Similar(#[from] SimilarError),
    /// A text file that cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// No classifier can be learned.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A weights file that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The threads of [`ModelOptions::threads`](crate::model::ModelOptions::threads) cannot be started.
    #[error("cannot start {threads} threads")]
    Threads {
        /// Their number.
        threads: usize,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The weights are a network without its last layer.
    #[error("{file} holds {model} without its classifier, so it cannot classify")]
    NoClassifier {
        /// The weights file.
        file: String,
        /// Name of the model.
        model: String,
        /// Address of the authors' file, which has the classifier.
        release: Option<String>,
    },
    /// The weights fit the network except for the number of classes or input channels.
    #[error("{file} has {}, but {} {}", numbers(ends, 1),
        config.as_ref().map_or_else(|| format!("{model} has"), |config| format!("{config} says")),
        numbers(ends, 0))]
    OtherEnds {
        /// The weights file.
        file: String,
        /// Name of the model.
        model: String,
        /// The `config.json` that describes the model; `None` if a card does.
        config: Option<String>,
        /// The numbers that differ.
        ends: OtherEnds,
    },
}

impl Error {
    /// The message and those of all causes, on one line.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // An error whose message includes that of its cause.
            if !text.contains(&error.to_string()) {
                text += &format!(": {error}");
            }
            cause = error.source();
        }
        text
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Card(error) => error.hint(),
            Self::Device(error) => error.hint(),
            Self::Directory(error) => error.hint(),
            Self::Embed(error) => error.hint(),
            Self::Ensemble(error) => error.hint(),
            Self::Eval(error) => error.hint(),
            Self::Golden(error) => error.hint(),
            Self::Head(error) => error.hint(),
            Self::Hub(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Net(error) => error.hint(),
            Self::Pick(error) => error.hint(),
            Self::Similar(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::Train(error) => error.hint(),
            Self::Weights(error) => error.hint(),
            Self::Threads { .. } => None,
            Self::OtherEnds { config, ends, .. } => Some(ends_hint(config.as_deref(), ends)),
            Self::NoClassifier { release, .. } => {
                let url = release.as_ref()?;
                Some(format!(
                    "the authors' file has it: download {url} and give it as the weights"
                ))
            }
        }
    }
}

/// The numbers of the network (`side` 0) or of the file (1), in words.
fn numbers(ends: &OtherEnds, side: usize) -> String {
    let counted = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        more => format!("{more} {many}"),
    };
    let classes = ends
        .classes
        .map(|pair| counted(pair[side], "class", "classes"));
    let channels = ends
        .channels
        .map(|pair| counted(pair[side], "input channel", "input channels"));
    let both: Vec<String> = classes.into_iter().chain(channels).collect();
    both.join(" and ")
}

fn ends_hint(config: Option<&str>, ends: &OtherEnds) -> String {
    let found = [ends.classes, ends.channels].map(|pair| pair.map(|[_, found]| found));
    match (config, found) {
        (Some(config), [Some(classes), None]) => format!(
            "correct `num_classes` in {config}, or override it with {classes}, which leaves out label \
             names that do not fit"
        ),
        (Some(config), [None, Some(channels)]) => {
            format!(
                "set `in_chans` in the `model_args` of {config} to {channels}, or give a directory with a \
                 corrected copy of it and the weights as the model"
            )
        }
        (Some(config), [classes, channels]) => format!(
            "correct {config}: `num_classes` is {}, `in_chans` in `model_args` is {}",
            classes.unwrap_or_default(),
            channels.unwrap_or_default()
        ),
        (None, [Some(classes), None]) => format!(
            "overriding the number of classes with {classes} runs it with numbered classes; a config.json next to the file, \
             with `architecture`, `num_classes` and `label_names`, names them: give the directory as \
             the model"
        ),
        (None, [classes, channels]) => {
            let classes = classes.map(|classes| format!("\"num_classes\": {classes}, "));
            format!(
                "put the file into a directory with a config.json of {{\"architecture\": …, \
                 {}\"model_args\": {{\"in_chans\": {}}}}} and give the directory as the model",
                classes.unwrap_or_default(),
                channels.unwrap_or_default()
            )
        }
    }
}
