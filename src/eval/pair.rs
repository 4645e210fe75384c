//! Two models on the same images.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use super::log::same_data;
use super::{EvalError, Header, ModelRun, Record, merge};
use crate::nn::Precision;

/// How two models' answers differ, on the images that both have answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Name of the first model.
    pub first: String,
    /// Name of the second model.
    pub second: String,
    /// Precision of each.
    pub precisions: [Precision; 2],
    /// Images that both have answered.
    pub images: usize,
    /// Images that one or both did not answer.
    pub unanswered: usize,
    /// Images that both models classify correctly.
    pub both_right: usize,
    /// Images that only the first model classifies correctly.
    pub only_first_right: usize,
    /// Images that only the second model classifies correctly.
    pub only_second_right: usize,
    /// Images that neither classifies correctly.
    pub neither_right: usize,
    /// McNemar's exact test, two-sided: the probability that two equally good models differ at
    /// least this much by chance.
    pub p_value: f64,
    /// Images that only one of them classifies correctly.
    pub differing: Vec<Difference>,
}

/// An image that only one of two models classifies correctly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Name of the image.
    pub image: String,
    /// The bytes of its name in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_bytes: Option<String>,
    /// Name of its class.
    pub label: String,
    /// Name of the class that the first model predicts.
    pub first: String,
    /// Name of the class that the second model predicts.
    pub second: String,
}

impl Pair {
    /// From two results files of one data set.
    ///
    /// # Errors
    /// As [`merge`]; [`EvalError::Mismatch`] if the files are about different images or classes.
    pub fn open(first: &Path, second: &Path) -> Result<Self, EvalError> {
        let (header, records) = merge(&[first.to_owned()])?;
        let (other, others) = merge(&[second.to_owned()])?;
        for (path, header) in [(first, &header), (second, &other)] {
            if header.multi_label {
                return Err(EvalError::MultiLabel {
                    path: path.display().to_string(),
                    what: "which are not right or wrong as a whole and cannot be compared so",
                });
            }
        }
        same_data(second, &header, &other)?;
        Ok(Self::new((&header, &records), (&other, &others)))
    }

    /// From two runs on one data set.
    pub fn of(first: &ModelRun, second: &ModelRun) -> Self {
        Self::new(
            (first.header(), first.records()),
            (second.header(), second.records()),
        )
    }

    /// From the records of two models of one data set.
    pub fn new(first: (&Header, &[Record]), second: (&Header, &[Record])) -> Self {
        let others: HashMap<usize, &Record> = second.1.iter().map(|r| (r.index, r)).collect();
        let mut pair = Self {
            first: first.0.model(),
            second: second.0.model(),
            precisions: [first.0.precision(), second.0.precision()],
            images: 0,
            unanswered: 0,
            both_right: 0,
            only_first_right: 0,
            only_second_right: 0,
            neither_right: 0,
            p_value: 1.0,
            differing: Vec::new(),
        };
        let name = |header: &Header, class: usize| header.classes[class].clone();
        for record in first.1 {
            let other = others.get(&record.index).and_then(|other| other.answer());
            let (Some(a), Some(b)) = (record.answer(), other) else {
                continue;
            };
            pair.images += 1;
            // With several right classes, each model's record has the one that it ranked highest.
            let right = (a.rank == 1, b.rank == 1);
            match right {
                (true, true) => pair.both_right += 1,
                (true, false) => pair.only_first_right += 1,
                (false, true) => pair.only_second_right += 1,
                (false, false) => pair.neither_right += 1,
            }
            if right.0 != right.1 {
                pair.differing.push(Difference {
                    image: record.image.clone(),
                    image_bytes: record.image_bytes.clone(),
                    label: name(first.0, record.label),
                    first: name(first.0, a.prediction),
                    second: name(second.0, b.prediction),
                });
            }
        }
        pair.unanswered = first.0.images.saturating_sub(pair.images);
        pair.p_value = mcnemar(pair.only_first_right, pair.only_second_right);
        pair
    }
}

/// The probability that a fair coin falls at least as unevenly as `b` to `c`.
fn mcnemar(b: usize, c: usize) -> f64 {
    let n = b + c;
    // Binomial probabilities from term to term, as logarithms: 0.5^n soon underflows.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=b.min(c) {
        tail += term.exp();
        term += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::mcnemar;

    #[test]
    fn p_values_match_scipy() {
        // scipy.stats.binomtest(b, b + c).pvalue
        for (b, c, expected) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (0, 8, 0.0078125),
            (2, 10, 0.03857421875),
            (60, 100, 0.001953728034064355),
            (1000, 1100, 0.03072070786424249),
        ] {
            let found = mcnemar(b, c);
            assert!((found - expected).abs() < 1e-9, "{b} {c}: {found}");
        }
    }
}
