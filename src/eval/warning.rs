//! What looks wrong about a report.

use std::fmt;

use super::{FolderOrder, LabelIds};

/// What looks like wrong labels or wrong preprocessing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// With another meaning of their numbers, the labels would agree with many more answers.
    OtherNumbering {
        /// Top-1 accuracy, from 0 to 1.
        accuracy: f64,
        /// Top-1 accuracy with the other meaning.
        would_be: f64,
        /// The other meaning.
        numbering: Numbering,
    },
    /// Top-1 accuracy is about that of guessing.
    Guessing {
        /// Top-1 accuracy, from 0 to 1.
        accuracy: f64,
        /// Classes that the model may answer with.
        classes: usize,
    },
    /// The model is sure of its answers, and most are wrong.
    SureAndWrong {
        /// Top-1 accuracy, from 0 to 1.
        accuracy: f64,
        /// Mean probability of the predicted class.
        mean_probability: f64,
    },
    /// The labels are the classes of a published subset, but the model may answer with all classes.
    Subset {
        /// Name of the subset, as [`Classes::subset`](super::Classes::subset) takes it.
        name: &'static str,
    },
}

/// What the numbers of labels count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// `None` where only the order of folders differs.
    pub label_ids: Option<LabelIds>,
    /// `None` for numbers that are no places of folders.
    pub order: Option<FolderOrder>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherNumbering {
                accuracy,
                would_be,
                numbering,
            } => write!(
                f,
                "top-1 would be {:.2} % instead of {:.2} % if the numbers of the labels counted \
                 {numbering}",
                100.0 * would_be,
                100.0 * accuracy
            ),
            Self::Guessing { accuracy, classes } => write!(
                f,
                "top-1 is {:.2} %, about what guessing among {classes} classes gives: the labels \
                 are probably in another order than the model's, or the weights or the \
                 preprocessing are not this model's",
                100.0 * accuracy
            ),
            Self::SureAndWrong {
                accuracy,
                mean_probability,
            } => write!(
                f,
                "the model is sure of its answers and mostly wrong (top-1 {:.2} %, by its own \
                 probabilities {:.2} %): the labels are probably in another order than the model's",
                100.0 * accuracy,
                100.0 * mean_probability
            ),
            Self::Subset { name } => write!(
                f,
                "these are the classes of {name}, whose published accuracies let the model answer \
                 with them alone"
            ),
        }
    }
}

impl fmt::Display for Numbering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from_one = self.label_ids == Some(LabelIds::FromOne);
        f.write_str(match (self.order, self.label_ids) {
            (Some(FolderOrder::String), _) if from_one => {
                "folders sorted as strings from 1: 1, 10, … 2"
            }
            (Some(FolderOrder::String), _) => "folders sorted as strings: 0, 1, 10, … 2",
            (_, Some(LabelIds::FromOne)) => "the outputs of the model from 1",
            (_, Some(LabelIds::Devkit)) => "the classes of the development kit",
            (_, Some(LabelIds::Index) | None) => "the outputs of the model",
        })
    }
}
