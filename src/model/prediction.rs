//! Classes with their probabilities, from the outputs of a network or of several.

use serde::Serialize;

use crate::labels::Label;
use crate::logits::{sigmoid, softmax, top_k};

/// A class that an image may show, and how probable it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction<'a> {
    /// Output of the classifier, counted from 0; for an [`Ensemble`](super::Ensemble), that of its
    /// first model.
    pub index: usize,
    /// What the class is called.
    pub label: &'a Label,
    /// From 0 to 1, by the model's [`OutputActivation`].
    pub probability: f64,
    /// The network's raw score; for an [`Ensemble`](super::Ensemble), the score that gives its
    /// probability.
    pub logit: f32,
}

/// The function that turns the logits of an image into probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OutputActivation {
    /// The image shows one of several classes: the probabilities add up to 1.
    Softmax,
    /// Each class independently; also for a single output, whose softmax would always be 1.
    Sigmoid,
}

impl OutputActivation {
    /// Sigmoid for a single output, softmax otherwise.
    pub(super) fn of(classes: usize) -> Self {
        match classes {
            1 => Self::Sigmoid,
            _ => Self::Softmax,
        }
    }

    /// The probability of each class.
    pub(super) fn probabilities<T: Copy + Into<f64>>(self, logits: &[T]) -> Vec<f64> {
        match self {
            Self::Softmax => softmax(logits),
            Self::Sigmoid => logits.iter().map(|&logit| sigmoid(logit.into())).collect(),
        }
    }
}

/// The `k` most probable classes, most probable first.
pub(super) fn best<'a, T: Copy + Into<f64>>(
    labels: &'a [Label],
    logits: &[T],
    activation: OutputActivation,
    k: usize,
) -> Vec<Prediction<'a>> {
    let probabilities = activation.probabilities(logits);
    let best = top_k(logits, k).into_iter().map(|index| Prediction {
        index,
        label: &labels[index],
        probability: probabilities[index],
        logit: logits[index].into() as f32,
    });
    best.collect()
}

/// The classes whose sigmoid is above `threshold`, at most `k` of them, most probable first.
pub(super) fn above<'a, T: Copy + Into<f64>>(
    labels: &'a [Label],
    logits: &[T],
    threshold: f64,
    k: usize,
) -> Vec<Prediction<'a>> {
    let mut predictions = best(labels, logits, OutputActivation::Sigmoid, k);
    predictions.retain(|prediction| prediction.probability > threshold);
    predictions
}
