//! The library's error type: what failed, on what, what was expected, what was found.
//!
//! Every layer has a small error enum of its own; [`enum@Error`] joins them, so a caller can match
//! on the layer it cares about. [`Error::hint`] says what to do next, where there is something to
//! do.

use crate::cards::CardError;
use crate::device::DeviceError;
use crate::eval::EvalError;
use crate::golden::GoldenError;
use crate::hub::HubError;
use crate::image::ImageError;
use crate::nets::NetError;
use crate::weights::WeightsError;

/// Result with the library's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Anything that can go wrong in the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that means no model, or a description that is wrong.
    #[error(transparent)]
    Card(#[from] CardError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Golden(#[from] GoldenError),
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The weights are a network without its last layer.
    #[error("{file} holds {model} without its classifier, so it cannot tell classes")]
    NoClassifier {
        /// The weights file.
        file: String,
        model: String,
        /// Address of the authors' file, which has the classifier.
        release: Option<String>,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Card(error) => error.hint(),
            Self::Device(error) => error.hint(),
            Self::Eval(error) => error.hint(),
            Self::Golden(error) => error.hint(),
            Self::Hub(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Net(error) => error.hint(),
            Self::Weights(error) => error.hint(),
            Self::NoClassifier { release, .. } => {
                let url = release.as_ref()?;
                Some(format!(
                    "the authors' file has it: download {url} and give it as `--weights`"
                ))
            }
        }
    }
}
