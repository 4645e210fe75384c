//! Compares the measured accuracy with the published one.

use serde::Serialize;

use super::{Answer, Interval, Record};
use crate::preprocess::InputSpec;
use crate::zoo::{Published, Zoo, accuracies};

/// A model's published accuracy, and whether the measurement agrees with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// In per cent.
    pub top1: f64,
    /// In per cent, where it was published too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// The table and its version.
    pub source: String,
    /// Whether they lie in the measured confidence intervals.
    pub agrees: bool,
}

impl Comparison {
    /// Compares the records of all images with the published accuracy.
    pub fn new(published: &Published, records: &[Record]) -> Self {
        let answers: Vec<&Answer> = records.iter().filter_map(Record::answer).collect();
        let within = |k: usize, percent: f64| {
            let correct = answers.iter().filter(|answer| answer.rank <= k).count();
            Interval::of(correct, answers.len()).contains(percent / 100.0)
        };
        Self {
            top1: published.top1,
            top5: published.top5,
            source: published.source.clone(),
            agrees: !answers.is_empty()
                && within(1, published.top1)
                && published.top5.is_none_or(|top5| within(5, top5)),
        }
    }

    /// Both accuracies in words.
    pub(crate) fn accuracies(&self) -> String {
        accuracies(self.top1, self.top5)
    }
}

/// The published accuracy of the built-in model `name` with this preprocessing, if there is one.
pub fn published(name: &str, input: &InputSpec) -> Option<&'static Published> {
    let card = Zoo::builtin().get(name)?;
    let same = |published: &&Published| {
        published.size == input.size && (published.crop_pct - input.crop_pct).abs() < 1e-9
    };
    card.published.iter().find(same)
}
