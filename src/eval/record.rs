//! What is kept for each image, and for the run that it belongs to.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use serde::{Deserialize, Serialize};

use crate::nn::Precision;
use crate::preprocess::{InputSpec, Views};

/// The first line of a results file: everything that must match for results to belong together.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Header {
    /// Version of the format.
    pub senet_eval: u32,
    /// One model, or the members of an ensemble.
    pub members: Vec<Member>,
    /// The views of each image.
    pub views: Views,
    /// Whether images are rotated by their EXIF orientation.
    pub exif: bool,
    /// Whether 16-bit grey is divided by 257 instead of clipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scale_16bit: bool,
    /// Whether each class is scored independently: an image may show several, or none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_label: bool,
    /// The classes that the model may answer with, if restricted.
    pub valid: Option<Vec<usize>>,
    /// Images in the whole data set. Version 1 of the format called them pictures.
    #[serde(alias = "pictures")]
    pub images: usize,
    /// [`Dataset::fingerprint`](super::Dataset::fingerprint).
    pub data: String,
    /// The short names of the classes.
    pub classes: Vec<String>,
}

/// One of the networks whose answers are averaged.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Member {
    /// Name of the model.
    pub model: String,
    /// SHA-256 over the names, shapes and values of all tensors; empty if results are not kept.
    pub weights: String,
    /// Its preprocessing.
    pub input: InputSpec,
    /// Precision of the network; f32 in files of older versions, which do not say.
    #[serde(default)]
    pub precision: Precision,
}

impl Header {
    /// The names of the members.
    pub fn model(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(|member| &*member.model).collect();
        names.join(" + ")
    }

    /// The precision of the members, the lowest one if they differ.
    pub fn precision(&self) -> Precision {
        let precisions = self.members.iter().map(|member| member.precision);
        precisions.max().unwrap_or_default()
    }
}

/// The result of one image; a line of a results file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Record {
    /// Position in the whole data set, from 0.
    pub index: usize,
    /// Path of the image inside the data set.
    #[serde(alias = "picture")]
    pub image: String,
    /// The bytes of that path in base64, if it is not UTF-8.
    #[serde(
        default,
        alias = "picture_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub image_bytes: Option<String>,
    /// The right output of the classifier; of several, the most probable one. `None` if each class
    /// is scored independently: [`Scores`] has them.
    #[serde(default = "no_label", skip_serializing_if = "is_no_label")]
    pub label: usize,
    /// The prediction, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Outcome {
    /// Of a single-label model.
    Answer(Answer),
    /// Of a multi-label model.
    Scores(Scores),
    /// The image could not be read.
    Error {
        /// The reason.
        error: String,
    },
}

/// The network's score for each class, independent of the others.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Scores {
    /// Outputs of the classifier that are right, in order.
    pub labels: Vec<usize>,
    /// The sigmoid of every output.
    pub scores: Vec<f64>,
}

/// Instead of a label.
pub const NO_LABEL: usize = usize::MAX;

fn no_label() -> usize {
    NO_LABEL
}

fn is_no_label(label: &usize) -> bool {
    *label == NO_LABEL
}

/// The network's answer.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Answer {
    /// The most probable class.
    pub prediction: usize,
    /// Its probability.
    pub probability: f64,
    /// Rank of the right class by probability, from 1; ties are broken by the lower index.
    pub rank: usize,
    /// Cross-entropy: the negative logarithm of the right class's probability.
    pub loss: f64,
    /// The loss with all logits divided by each of [`TEMPERATURES`].
    pub tempered: [f32; TEMPERATURES.len()],
}

/// The calibration temperature is searched between these; powers of the square root of 2.
pub const TEMPERATURES: [f64; 9] = [
    0.25,
    0.5 * FRAC_1_SQRT_2,
    0.5,
    FRAC_1_SQRT_2,
    1.0,
    SQRT_2,
    2.0,
    2.0 * SQRT_2,
    4.0,
];

impl Answer {
    /// From the logits or log-probabilities of one image, and its right classes; also returns the
    /// most probable of these. Classes that are not allowed as answers have minus infinity.
    ///
    /// # Panics
    /// If a label is not a class, or there are no labels.
    pub fn new(logits: &[f64], labels: &[usize]) -> (usize, Self) {
        // Ties go to the lower index.
        let ahead = |a: usize, b: usize| logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
        let label =
            labels[1..].iter().fold(
                labels[0],
                |best, &label| if ahead(label, best) { label } else { best },
            );
        let prediction = (0..logits.len()).fold(
            0,
            |best, index| if ahead(index, best) { index } else { best },
        );
        let before = (0..logits.len())
            .filter(|&index| ahead(index, label))
            .count();
        let (highest, right) = (logits[prediction], logits[label]);
        let sum = |temperature: f64| -> f64 {
            let powers = logits
                .iter()
                .map(|logit| ((logit - highest) / temperature).exp());
            powers.sum()
        };
        let loss = |temperature| sum(temperature).ln() + (highest - right) / temperature;
        let answer = Self {
            prediction,
            probability: 1.0 / sum(1.0),
            rank: before + 1,
            loss: loss(1.0),
            tempered: TEMPERATURES.map(|temperature| loss(temperature).min(f32::MAX.into()) as f32),
        };
        (label, answer)
    }
}

impl Record {
    /// The answer of a single-label model, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answer(answer) => Some(answer),
            Outcome::Scores(_) | Outcome::Error { .. } => None,
        }
    }

    /// Whether it is a valid record for the header.
    pub(super) fn fits(&self, header: &Header) -> bool {
        let classes = header.classes.len();
        let outcome = match &self.outcome {
            Outcome::Answer(answer) => {
                let possible = answer.prediction < classes && (1..=classes).contains(&answer.rank);
                possible && !header.multi_label
            }
            Outcome::Scores(Scores { labels, scores }) => {
                let possible = labels.iter().all(|&label| label < classes);
                possible && scores.len() == classes && header.multi_label
            }
            Outcome::Error { .. } => true,
        };
        let label = self.label < classes || header.multi_label && self.label == NO_LABEL;
        outcome && label && self.index < header.images
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{softmax, top_k};

    #[test]
    fn ranks_are_places_in_top_k() {
        let logits = [0.5_f32, 2.0, -1.0, 2.0, 0.5];
        let order = top_k(&logits, 5);
        for (label, _) in logits.iter().enumerate() {
            let (_, answer) = Answer::new(&logits.map(f64::from), &[label]);
            assert_eq!(order[answer.rank - 1], label);
            assert_eq!(answer.prediction, order[0]);
            assert!((answer.loss + softmax(&logits)[label].ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn of_several_right_classes_the_most_probable_counts() {
        let logits = [0.5, 2.0, -1.0, 1.0];
        let (label, answer) = Answer::new(&logits, &[2, 3, 0]);
        assert_eq!((label, answer.prediction, answer.rank), (3, 1, 2));
        let (label, answer) = Answer::new(&logits, &[2, 1]);
        assert_eq!((label, answer.prediction, answer.rank), (1, 1, 1));
    }

    #[test]
    fn a_hopeless_class_has_a_finite_loss() {
        let (_, answer) = Answer::new(&[1e4, 0.0], &[1]);
        assert_eq!((answer.rank, answer.loss), (2, 1e4));
        // JSON has no infinity.
        let (_, answer) = Answer::new(&[3e38, -3e38], &[1]);
        assert!(answer.tempered.iter().all(|loss| loss.is_finite()));
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let (_, answer) = Answer::new(&[0.1, 0.7, 0.2], &[2]);
        for outcome in [
            Outcome::Answer(answer),
            Outcome::Error {
                error: "truncated".into(),
            },
        ] {
            let record = Record {
                index: 3,
                image: "a/b\u{fffd}.png".into(),
                image_bytes: Some("YS9i/y5wbmc=".into()),
                label: 2,
                outcome,
            };
            let line = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
    }
}
