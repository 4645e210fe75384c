//! Figures from records.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::order::{self, Reading};
use super::record::TEMPERATURES;
use super::{Answer, Classes, Comparison, Dataset, Header, LabelIds, Numbering, Record, Warning};
use crate::nn::Precision;

/// Bins of the reliability table, as in Guo et al. (arXiv:1706.04599).
pub(super) const BINS: usize = 15;

/// The 97.5th percentile of the normal distribution: intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Accuracy, calibration and mistakes of a model on a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name of the model.
    pub model: String,
    /// Precision of the network, the lowest one of an ensemble.
    pub precision: Precision,
    /// Images of the whole data set.
    pub images: usize,
    /// Images with an answer.
    pub answered: usize,
    /// Images that could not be read or classified; they count in no share.
    pub failed: usize,
    /// Accuracy for each k.
    pub top: Vec<TopK>,
    /// Mean cross-entropy; `None` without an answer.
    pub loss: Option<f64>,
    /// Expected calibration error over 15 bins of equal width (arXiv:1706.04599, equation 3).
    pub calibration_error: Option<f64>,
    /// Accuracy by predicted probability.
    pub reliability: Vec<Bin>,
    /// The temperature that the logits have to be divided by for the least loss (arXiv:1706.04599,
    /// section 4.2); `None` where it is not between 0.25 and 4.
    pub temperature: Option<Temperature>,
    /// Classes that occur in the data.
    pub classes: Vec<ClassReport>,
    /// Mistakes by right and predicted class, the most frequent first.
    pub confusions: Vec<Confusion>,
}

/// A report with all that it was made from, for pages and tables.
#[derive(Clone, Copy, Debug)]
pub struct ReportContext<'a> {
    /// What the results belong to.
    pub header: &'a Header,
    /// Made from this header and these records.
    pub report: &'a Report,
    /// The results, one for each image.
    pub records: &'a [Record],
    /// What the reader should know first, such as the texts of [`Report::warnings`].
    pub warnings: &'a [String],
    /// The published accuracies, if they are asked for.
    pub comparison: Option<&'a Comparison>,
}

/// How often the right class is among the first `k`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopK {
    /// Number of most probable classes that count.
    pub k: usize,
    /// Images whose class is among them.
    pub correct: usize,
    /// `None` without an answer.
    pub accuracy: Option<f64>,
    /// Confidence interval of the accuracy.
    pub interval: Interval,
}

/// Wilson's interval of 95 % for a share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end, from 0 to 1.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Temperature scaling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Temperature {
    /// Above 1 the model is too sure of its answers, below 1 not sure enough.
    pub value: f64,
    /// Mean cross-entropy at this temperature.
    pub loss: f64,
}

/// Answers of about the same probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Probabilities above this, up to a fifteenth more.
    pub above: f64,
    /// Number of answers in this bin.
    pub answers: usize,
    /// Mean probability of the predicted class.
    pub mean_probability: f64,
    /// Share of correct answers.
    pub accuracy: f64,
}

/// Accuracy of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// Output of the classifier.
    pub index: usize,
    /// Name of the class.
    pub name: String,
    /// Images of the class with an answer.
    pub answered: usize,
    /// Images whose most probable class is this one.
    pub correct: usize,
    /// Share of correct answers.
    pub accuracy: f64,
    /// Confidence interval of the accuracy.
    pub interval: Interval,
}

/// Images of one class that are taken for another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    /// The right class.
    pub label: usize,
    /// Its name.
    pub label_name: String,
    /// The predicted class.
    pub prediction: usize,
    /// Its name.
    pub prediction_name: String,
    /// Number of such images.
    pub images: usize,
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

    /// Whether the share lies in the interval.
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
            model: header.model(),
            precision: header.precision(),
            images: header.images,
            answered: all,
            failed: records.len() - all,
            top: top.collect(),
            loss: share(answers.iter().map(|(_, answer)| answer.loss).sum()),
            calibration_error: share(reliability.iter().map(gap).sum()),
            reliability,
            temperature: temperature(&answers),
            classes: classes(&answers, &header.classes),
            confusions: confusions(&answers, &header.classes),
        }
    }

    /// What looks like wrong labels or wrong preprocessing. Without the data set and the classes of the
    /// model, other meanings of numbers and ImageNet's subsets are not looked for.
    pub fn warnings(
        &self,
        header: &Header,
        records: &[Record],
        data: Option<(&Dataset, &Classes<'_>)>,
    ) -> Vec<Warning> {
        const FEWEST: usize = 20;
        if self.answered < FEWEST {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let possible = header.valid.as_ref().map_or(header.classes.len(), Vec::len);
        let guessing = 1.0 / possible as f64;
        // Twice what guessing gives, or, of very few classes, half of the way to perfect.
        let chance = (2.0 * guessing).min((1.0 + guessing) / 2.0);
        let accuracy = self.correct() as f64 / self.answered as f64;
        let other = data.and_then(|(data, classes)| other_reading(records, data, classes));
        if let Some((correct, numbering)) = other
            && Interval::of(correct, self.answered).low > 2.0 * accuracy.max(guessing)
        {
            warnings.push(Warning::OtherNumbering {
                accuracy,
                would_be: correct as f64 / self.answered as f64,
                numbering,
            });
        }
        let bins = self.reliability.iter();
        let sure: f64 = bins
            .map(|bin| bin.answers as f64 * bin.mean_probability)
            .sum();
        let mean_probability = sure / self.answered as f64;
        if warnings.is_empty() && Interval::of(self.correct(), self.answered).low <= chance {
            warnings.push(Warning::Guessing {
                accuracy,
                classes: possible,
            });
        } else if warnings.is_empty() && mean_probability - accuracy > 0.5 {
            // Not the calibration error, which a model that is right and doubts it has too.
            warnings.push(Warning::SureAndWrong {
                accuracy,
                mean_probability,
            });
        }
        let present: Vec<usize> = self.classes.iter().map(|class| class.index).collect();
        if let Some(name) = data
            .and_then(|(_, classes)| classes.known_subset(&present))
            .filter(|_| header.valid.is_none())
        {
            warnings.push(Warning::Subset { name });
        }
        warnings
    }

    fn correct(&self) -> usize {
        self.classes.iter().map(|class| class.correct).sum()
    }
}

/// The number of right answers if the numbers of the labels were meant otherwise, where that is more
/// than any other reading gives, and what they would count then.
fn other_reading(
    records: &[Record],
    data: &Dataset,
    classes: &Classes<'_>,
) -> Option<(usize, Numbering)> {
    let mut readings = Vec::new();
    if let Some(numbered) = data.numbered {
        readings = order::readings(numbered, data.order, classes);
    }
    if let Some(devkit) = classes.devkit() {
        let label_ids = |ids| Numbering {
            label_ids: Some(ids),
            order: None,
        };
        let mut ids = vec![None; devkit.len()];
        for (place, &index) in devkit.iter().enumerate() {
            ids[index] = Some(place + 1).filter(|&id| id < devkit.len());
        }
        let of = |label: usize| devkit.get(label.wrapping_sub(1)).copied();
        readings.push(Reading {
            numbering: label_ids(LabelIds::Index),
            classes: ids,
        });
        readings.push(Reading {
            numbering: label_ids(LabelIds::Devkit),
            classes: (0..devkit.len()).map(of).collect(),
        });
    }
    let count = |reading: &Reading| {
        let right = |record: &&Record| {
            let meant = reading.classes.get(record.label).copied().flatten();
            let answer = record.answer();
            answer.is_some_and(|answer| meant == Some(answer.prediction))
        };
        records.iter().filter(right).count()
    };
    let counts = readings
        .iter()
        .map(|reading| (count(reading), reading.numbering));
    counts.max_by_key(|(count, _)| *count)
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

/// The lowest point of the polynomial through the mean losses at all temperatures, over the
/// logarithm of the temperature.
fn temperature(answers: &[(usize, &Answer)]) -> Option<Temperature> {
    const POINTS: usize = TEMPERATURES.len();
    let mut losses = [0.0; POINTS];
    for (_, answer) in answers {
        for (sum, &loss) in losses.iter_mut().zip(&answer.tempered) {
            *sum += f64::from(loss) / answers.len() as f64;
        }
    }
    let least =
        (1..POINTS - 1).find(|&i| losses[i] < losses[i - 1] && losses[i] <= losses[i + 1])?;
    // Lagrange's form, its argument counted in steps from the first temperature.
    let value = |x: f64| -> f64 {
        let term = |i: usize| -> f64 {
            let others = (0..POINTS).filter(|&j| j != i);
            let factors = others.map(|j| (x - j as f64) / (i as f64 - j as f64));
            losses[i] * factors.product::<f64>()
        };
        (0..POINTS).map(term).sum()
    };
    let (mut low, mut high) = (least as f64 - 1.0, least as f64 + 1.0);
    while high - low > 1e-7 {
        let third = (high - low) / 3.0;
        if value(low + third) < value(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    let place = (low + high) / 2.0;
    Some(Temperature {
        value: TEMPERATURES[0] * (place * f64::ln(2.0) / 2.0).exp(),
        loss: value(place),
    })
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
        .map(|((label, prediction), images)| Confusion {
            label,
            label_name: names[label].clone(),
            prediction,
            prediction_name: names[prediction].clone(),
            images,
        })
        .collect();
    confusions.sort_by_key(|confusion| Reverse(confusion.images));
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
