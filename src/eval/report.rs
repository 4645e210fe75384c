//! Figures from records.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{Answer, Header, Record};

/// Bins of the reliability table, as in Guo et al. (arXiv:1706.04599).
pub(super) const BINS: usize = 15;

/// The 97.5th percentile of the normal distribution: intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Accuracy, calibration and mistakes of a model on a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub model: String,
    /// Pictures of the whole data set.
    pub pictures: usize,
    /// Pictures with an answer.
    pub answered: usize,
    /// Pictures that could not be read or classified; they count in no share.
    pub failed: usize,
    pub top: Vec<TopK>,
    /// Mean cross-entropy; `None` without an answer.
    pub loss: Option<f64>,
    /// Expected calibration error over 15 bins of equal width (arXiv:1706.04599, equation 3).
    pub calibration_error: Option<f64>,
    pub reliability: Vec<Bin>,
    /// Classes that occur in the data.
    pub classes: Vec<ClassReport>,
    /// Mistakes by right and predicted class, the most frequent first.
    pub confusions: Vec<Confusion>,
}

/// How often the right class is among the first `k`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopK {
    pub k: usize,
    pub correct: usize,
    /// `None` without an answer.
    pub accuracy: Option<f64>,
    pub interval: Interval,
}

/// Wilson's interval of 95 % for a share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Answers of about the same probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Probabilities above this, up to a fifteenth more.
    pub above: f64,
    pub answers: usize,
    pub mean_probability: f64,
    pub accuracy: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    pub index: usize,
    pub name: String,
    pub answered: usize,
    /// Pictures whose most probable class is this one.
    pub correct: usize,
    pub accuracy: f64,
    pub interval: Interval,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    pub label: usize,
    pub label_name: String,
    pub prediction: usize,
    pub prediction_name: String,
    pub pictures: usize,
}

impl Interval {
    /// Of `correct` of `all` (Wilson 1927); everything if there are none.
    pub fn of(correct: usize, all: usize) -> Self {
        if all == 0 {
            return Self {
                low: 0.0,
                high: 1.0,
            };
        }
        let (n, p) = (all as f64, correct as f64 / all as f64);
        let scale = 1.0 + Z * Z / n;
        let middle = (p + Z * Z / (2.0 * n)) / scale;
        let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Self {
            low: (middle - half).max(0.0),
            high: (middle + half).min(1.0),
        }
    }

    pub fn contains(&self, share: f64) -> bool {
        (self.low..=self.high).contains(&share)
    }
}

impl Report {
    /// From records in the order of the data set; `ks` are the values of k.
    pub fn new(header: &Header, records: &[Record], ks: &[usize]) -> Self {
        let answers: Vec<(usize, &Answer)> = records
            .iter()
            .filter_map(|record| Some((record.label, record.answer()?)))
            .collect();
        let all = answers.len();
        let share = |count: f64| (all > 0).then(|| count / all as f64);
        let top = ks.iter().map(|&k| {
            let correct = answers
                .iter()
                .filter(|(_, answer)| answer.rank <= k)
                .count();
            TopK {
                k,
                correct,
                accuracy: share(correct as f64),
                interval: Interval::of(correct, all),
            }
        });
        let reliability = reliability(&answers);
        let gap = |bin: &Bin| bin.answers as f64 * (bin.accuracy - bin.mean_probability).abs();
        Self {
            model: header.model.clone(),
            pictures: header.pictures,
            answered: all,
            failed: records.len() - all,
            top: top.collect(),
            loss: share(answers.iter().map(|(_, answer)| answer.loss).sum()),
            calibration_error: share(reliability.iter().map(gap).sum()),
            reliability,
            classes: classes(&answers, &header.classes),
            confusions: confusions(&answers, &header.classes),
        }
    }

    /// What looks like wrong labels or wrong preprocessing, in plain words.
    pub fn warning(&self, classes: usize) -> Option<String> {
        const FEWEST: usize = 20;
        let guessing = 1.0 / classes as f64;
        let top1 = Interval::of(self.correct(), self.answered);
        if self.answered >= FEWEST && top1.low <= 2.0 * guessing {
            let percent = 100.0 * self.correct() as f64 / self.answered as f64;
            return Some(format!(
                "top-1 is {percent:.2} %, about what guessing among {classes} classes gives: the \
                 labels are probably in another order than the model's, or the weights or the \
                 preprocessing are not this model's"
            ));
        }
        let surest = self.calibration_error.unwrap_or_default();
        if self.answered >= FEWEST && surest > 0.5 {
            return Some(format!(
                "the model is sure of its answers and mostly wrong (calibration error {surest:.2}): \
                 the labels are probably in another order than the model's"
            ));
        }
        None
    }

    fn correct(&self) -> usize {
        self.classes.iter().map(|class| class.correct).sum()
    }
}

fn reliability(answers: &[(usize, &Answer)]) -> Vec<Bin> {
    let mut bins = [(0_usize, 0.0, 0_usize); BINS];
    for (label, answer) in answers {
        // Bins are open below and closed above, so that 1 lies in the last one.
        let bin = (answer.probability * BINS as f64).ceil() as usize;
        let (count, probability, correct) = &mut bins[bin.clamp(1, BINS) - 1];
        *count += 1;
        *probability += answer.probability;
        *correct += usize::from(answer.prediction == *label);
    }
    let filled = bins.iter().enumerate().filter(|(_, bin)| bin.0 > 0);
    filled
        .map(|(index, &(answers, probability, correct))| Bin {
            above: index as f64 / BINS as f64,
            answers,
            mean_probability: probability / answers as f64,
            accuracy: correct as f64 / answers as f64,
        })
        .collect()
}

fn classes(answers: &[(usize, &Answer)], names: &[String]) -> Vec<ClassReport> {
    let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (label, answer) in answers {
        let (answered, correct) = counts.entry(*label).or_default();
        *answered += 1;
        *correct += usize::from(answer.prediction == *label);
    }
    counts
        .into_iter()
        .map(|(index, (answered, correct))| ClassReport {
            index,
            name: names[index].clone(),
            answered,
            correct,
            accuracy: correct as f64 / answered as f64,
            interval: Interval::of(correct, answered),
        })
        .collect()
}

fn confusions(answers: &[(usize, &Answer)], names: &[String]) -> Vec<Confusion> {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (label, answer) in answers {
        if answer.prediction != *label {
            *counts.entry((*label, answer.prediction)).or_default() += 1;
        }
    }
    let mut confusions: Vec<Confusion> = counts
        .into_iter()
        .map(|((label, prediction), pictures)| Confusion {
            label,
            label_name: names[label].clone(),
            prediction,
            prediction_name: names[prediction].clone(),
            pictures,
        })
        .collect();
    confusions.sort_by_key(|confusion| Reverse(confusion.pictures));
    confusions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_as_published() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (correct, all, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = Interval::of(correct, all);
            assert!((interval.low - low).abs() < 5e-5, "{interval:?}");
            assert!((interval.high - high).abs() < 5e-5, "{interval:?}");
        }
    }
}
