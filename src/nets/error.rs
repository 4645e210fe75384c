//! Errors from building, loading and running a network.

use std::fmt;

use crate::nn::{PrecisionError, is_out_of_memory};
use crate::quote::excerpt;
use crate::weights::WeightsError;

/// A network that cannot be built, loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The topology contradicts itself.
    #[error("field `{field}`: {reason}")]
    Spec {
        /// The field in the description, such as `network.runs`.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The file's tensors do not match the network's.
    #[error(transparent)]
    Tensors(Box<TensorMismatch>),
    /// A tensor holds NaN, infinity or a negative variance, or overflows when its BatchNorm is folded.
    #[error("{source_name}: tensor `{tensor}` holds {value}, expected finite numbers{}", suffix(.reason))]
    NotFinite {
        /// The weights file.
        source_name: String,
        /// Name in that file.
        tensor: String,
        /// The value in question.
        value: f64,
        /// Why a value that is finite in the file is rejected; empty for NaN and infinity in the file.
        reason: &'static str,
    },
    /// The weights file cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tensor is not a batch of images with the network's channels.
    #[error("expected an input of shape [batch, {channels}, height, width], found {found:?}")]
    InputShape {
        /// Input channels of the network.
        channels: usize,
        /// Shape of the tensor.
        found: Vec<usize>,
    },
    /// The network cannot be applied to images of this size.
    #[error("an input of {height}x{width} does not fit this network: at {layer}, {reason}")]
    InputSize {
        /// In pixels.
        height: usize,
        /// In pixels.
        width: usize,
        /// The first layer that cannot be applied.
        layer: String,
        /// Why it cannot.
        reason: String,
    },
    /// NaN or infinity went in.
    #[error("the input holds NaN or infinite values")]
    InputNotFinite,
    /// The network's numbers overflowed.
    #[error("the numbers overflowed: the weights do not suit this network or this input")]
    NumbersNotFinite,
    /// The device does not compute in the precision asked for.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// The device has no room for the maps of these images.
    #[error(
        "the device has too little memory for {images} image{} of {height}x{width}: the largest layer \
         alone needs {} MiB",
        if *.images == 1 { "" } else { "s" },
        .bytes.div_ceil(1 << 20)
    )]
    OutOfMemory {
        /// Images at once.
        images: usize,
        /// Of an image, in pixels.
        height: usize,
        /// Of an image, in pixels.
        width: usize,
        /// Size of the largest layer's map in f32.
        bytes: usize,
    },
    /// Candle reported an error.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn suffix(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}

impl NetError {
    pub(crate) fn spec(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Spec {
            field,
            reason: reason.into(),
        }
    }

    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Tensor(error) if is_out_of_memory(error))
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OutOfMemory { .. } => Some("choose a smaller size, or the device `cpu`".into()),
            Self::Tensors(mismatch) => mismatch.hint(),
            Self::Weights(error) => error.hint(),
            Self::NotFinite { .. } => Some("the file is damaged or its training diverged".into()),
            Self::InputSize { .. } => {
                Some("choose a size that is a multiple of 32, such as 224".into())
            }
            Self::Spec { .. }
            | Self::InputShape { .. }
            | Self::InputNotFinite
            | Self::Precision(_)
            | Self::NumbersNotFinite
            | Self::Tensor(_) => None,
        }
    }
}

/// Differences between the tensors that a network needs and those in a file.
#[derive(Debug, Default)]
pub struct TensorMismatch {
    /// Name of the file.
    pub source: String,
    /// Name and shape of those that only the network has.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Name of those that only the file has, and the shape, or the kind where it is not read.
    pub unexpected: Vec<(String, String)>,
    /// Name, shape in the network, shape in the file.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Prefix of the classifier's tensors.
    pub classifier: String,
    /// Prefix of the first convolution's tensors.
    pub stem: String,
    /// A prefix that all names of the file have and that is not counted as a difference.
    pub removed_prefix: Option<String>,
    /// A prefix that only some of the file's names have, how many of the network's tensors follow it, and
    /// how many the network has.
    pub partial_prefix: Option<(String, usize, usize)>,
    /// The file's keys and those that were tried, if the file has several dicts that could hold the weights.
    pub keys: Option<String>,
}

/// Numbers of classes and input channels in which a file differs from a network: the network's number
/// first, then the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherEnds {
    /// Classes, the outputs of the classifier; `None` if equal.
    pub classes: Option<[usize; 2]>,
    /// Input channels; `None` if equal.
    pub channels: Option<[usize; 2]>,
}

impl TensorMismatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }

    /// Whether only the classifier is missing, as in a backbone's file.
    pub fn only_classifier_missing(&self) -> bool {
        self.unexpected.is_empty()
            && self.misshaped.is_empty()
            && !self.missing.is_empty()
            && self
                .missing
                .iter()
                .all(|(name, _)| self.is_classifier(name))
    }

    /// The numbers of classes and of input channels, if only these differ, as after fine-tuning.
    pub fn other_ends(&self) -> Option<OtherEnds> {
        if !self.missing.is_empty() || !self.unexpected.is_empty() {
            return None;
        }
        // The sizes of one dimension, if the tensor differs only there.
        let pair = |name: &str, dimension: usize| -> Option<[usize; 2]> {
            let tensor = |(other, _, _): &&(String, Vec<usize>, Vec<usize>)| other == name;
            let (_, expected, found) = self.misshaped.iter().find(tensor)?;
            let pair = [*expected.get(dimension)?, *found.get(dimension)?];
            let mut same = expected.clone();
            same[dimension] = pair[1];
            (same == *found).then_some(pair)
        };
        let bias = pair(&format!("{}.bias", self.classifier), 0);
        let weight = pair(&format!("{}.weight", self.classifier), 0);
        let ends = OtherEnds {
            classes: bias.filter(|_| bias == weight),
            channels: pair(&format!("{}.weight", self.stem), 1),
        };
        let explained = ends.classes.map_or(0, |_| 2) + ends.channels.map_or(0, |_| 1);
        (explained > 0 && explained == self.misshaped.len()).then_some(ends)
    }

    fn is_classifier(&self, name: &str) -> bool {
        name.strip_prefix(&self.classifier)
            .is_some_and(|rest| rest.starts_with('.'))
    }

    /// Whether only the classifier differs, because it has several layers.
    fn other_classifier(&self) -> bool {
        self.misshaped.is_empty()
            && !self.unexpected.is_empty()
            && !self.missing.is_empty()
            && (self.unexpected.iter().map(|(name, _)| name))
                .chain(self.missing.iter().map(|(name, _)| name))
                .all(|name| self.is_classifier(name))
    }

    /// The module that all unexpected tensors are in, if nothing else differs.
    fn extra_module(&self) -> Option<&str> {
        let (first, _) = self.unexpected.first()?;
        let (module, _) = first.split_once('.')?;
        let inside = |(name, _): &(String, String)| {
            name.strip_prefix(module)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        (self.missing.is_empty() && self.misshaped.is_empty() && self.unexpected.iter().all(inside))
            .then_some(module)
    }

    fn hint(&self) -> Option<String> {
        if let Some((prefix, ..)) = &self.partial_prefix {
            return Some(format!(
                "the network seems to be the module `{}` of a larger one: in Python, save the state dict of \
                 that module alone",
                excerpt(prefix.trim_end_matches('.'))
            ));
        }
        if self.other_classifier() {
            return Some(format!(
                "the file's classifier is more than a linear layer; `{}` can only be a single linear layer",
                self.classifier
            ));
        }
        if self.only_classifier_missing() {
            return Some(
                "the file holds the network without its classifier, so it cannot name classes"
                    .into(),
            );
        }
        if let Some(module) = self.extra_module() {
            return Some(format!(
                "the network has no module `{0}`; if `{0}` serves only training, as an auxiliary classifier does, \
                 save the state dict without it",
                excerpt(module)
            ));
        }
        const A_FEW: usize = 8;
        if self.missing.len() + self.misshaped.len() > A_FEW {
            return Some(match &self.removed_prefix {
                Some(_) => {
                    "the module around the network may hold more than that; check the model's name"
                        .into()
                }
                None => "the file belongs to another architecture; check the model's name".into(),
            });
        }
        None
    }
}

impl std::error::Error for TensorMismatch {}

impl fmt::Display for TensorMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the tensors do not match the network", self.source)?;
        let shapes = |(name, expected, found): &(String, Vec<usize>, Vec<usize>)| {
            format!("{name} (expected {expected:?}, found {found:?})")
        };
        let misshaped: Vec<String> = self.misshaped.iter().map(shapes).collect();
        let missing = |(name, expected): &(String, _)| format!("{name} (expected {expected:?})");
        let missing: Vec<String> = self.missing.iter().map(missing).collect();
        let unexpected = |(name, found): &(String, _)| format!("{name} (found {found})");
        let unexpected: Vec<String> = self.unexpected.iter().map(unexpected).collect();
        if let Some(prefix) = &self.removed_prefix {
            write!(f, " without the prefix `{}`", excerpt(prefix))?;
        }
        if let Some((prefix, count, all)) = &self.partial_prefix {
            write!(
                f,
                "; of the network's {all} tensors {count} are there with the prefix `{}`, which not all \
                 names have",
                excerpt(prefix)
            )?;
        }
        write_names(f, "missing", &missing)?;
        write_names(f, "unexpected", &unexpected)?;
        write_names(f, "of another shape", &misshaped)?;
        match &self.keys {
            Some(keys) => write!(f, "; {keys}"),
            None => Ok(()),
        }
    }
}

/// Lists only the first few names: for a wrong architecture all of them would fill the screen.
fn write_names(f: &mut fmt::Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    const SHOWN: usize = 4;
    if names.is_empty() {
        return Ok(());
    }
    let shown = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    write!(f, "; {} {what}: {}", names.len(), excerpt(&shown))?;
    if names.len() > SHOWN {
        write!(f, ", …")
    } else {
        Ok(())
    }
}
