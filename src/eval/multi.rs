//! Figures of a multi-label model, which scores each class independently.

use serde::Serialize;

use super::{Header, Outcome, Record, Scores};
use crate::nn::Precision;

/// How well a model finds the classes of images that may show several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MultiReport {
    /// Name of the model.
    pub model: String,
    /// Precision of the network, the lowest one of an ensemble.
    pub precision: Precision,
    /// Images of the whole data set.
    pub images: usize,
    /// Images with an answer.
    pub answered: usize,
    /// Images that could not be read or classified; they count in no figure.
    pub failed: usize,
    /// Classes with a probability above this are predicted.
    pub threshold: f64,
    /// Mean of the average precisions of all classes that occur; `None` without such a class.
    pub mean_average_precision: Option<f64>,
    /// Over all predictions for all classes; `None` without predictions and labels.
    pub f1_micro: Option<f64>,
    /// Mean over all classes that occur.
    pub f1_macro: Option<f64>,
    /// Classes that occur in the data.
    pub classes: Vec<MultiClass>,
}

/// One class of a [`MultiReport`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MultiClass {
    /// Output of the classifier.
    pub index: usize,
    /// Name of the class.
    pub name: String,
    /// Images that show it.
    pub images: usize,
    /// Images that it was predicted for, rightly or not.
    pub found: usize,
    /// Images that show it and that it was predicted for.
    pub correct: usize,
    /// Area under the precision-recall step curve, as in scikit-learn's `average_precision_score`.
    pub average_precision: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
}

impl MultiReport {
    /// From the records of a multi-label run.
    pub fn new(header: &Header, records: &[Record], threshold: f64) -> Self {
        let answers: Vec<&Scores> = records
            .iter()
            .filter_map(|record| match &record.outcome {
                Outcome::Scores(scores) => Some(scores),
                Outcome::Answer(_) | Outcome::Error { .. } => None,
            })
            .collect();
        let all: Vec<MultiClass> = (0..header.classes.len())
            .map(|index| class(index, &header.classes[index], &answers, threshold))
            .collect();
        let sum = |count: fn(&MultiClass) -> usize| all.iter().map(count).sum();
        let counts = [sum(|c| c.correct), sum(|c| c.found), sum(|c| c.images)];
        let classes: Vec<MultiClass> = all.into_iter().filter(|class| class.images > 0).collect();
        let mean = |value: fn(&MultiClass) -> f64| {
            let sum: f64 = classes.iter().map(value).sum();
            (!classes.is_empty()).then(|| sum / classes.len() as f64)
        };
        Self {
            model: header.model(),
            precision: header.precision(),
            images: header.images,
            answered: answers.len(),
            failed: records.len() - answers.len(),
            threshold,
            mean_average_precision: mean(|class| class.average_precision),
            f1_micro: (counts[1] + counts[2] > 0).then(|| f1(counts)),
            f1_macro: mean(|class| class.f1),
            classes,
        }
    }
}

fn class(index: usize, name: &str, answers: &[&Scores], threshold: f64) -> MultiClass {
    let mut scores: Vec<(f64, bool)> = answers
        .iter()
        .map(|answer| (answer.scores[index], answer.labels.contains(&index)))
        .collect();
    let images = scores.iter().filter(|(_, right)| *right).count();
    let found = || scores.iter().filter(|(score, _)| *score > threshold);
    let (found, correct) = (found().count(), found().filter(|(_, right)| *right).count());
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut precision_sum, mut seen, mut right) = (0.0, 0, 0);
    // Images with the same score are counted together: none of them comes first.
    for equal in scores.chunk_by(|a, b| a.0 == b.0) {
        let more = equal.iter().filter(|(_, right)| *right).count();
        seen += equal.len();
        right += more;
        precision_sum += more as f64 * (right as f64 / seen as f64);
    }
    MultiClass {
        index,
        name: name.to_owned(),
        images,
        found,
        correct,
        average_precision: precision_sum / images.max(1) as f64,
        f1: f1([correct, found, images]),
    }
}

/// Harmonic mean of precision and recall; 0 if both are zero.
fn f1([correct, found, images]: [usize; 3]) -> f64 {
    2.0 * correct as f64 / (found + images).max(1) as f64
}
