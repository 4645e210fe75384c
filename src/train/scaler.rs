//! Mean 0 and variance 1 for each feature, as scikit-learn's `StandardScaler`.

use rayon::prelude::*;

use super::samples::Sample;

/// Samples whose sums are added up together; the same whatever the number of threads.
const BLOCK: usize = 1024;

/// Makes the features of the images that it was made from have mean 0 and variance 1.
#[derive(Debug)]
pub(super) struct Scaler {
    pub mean: Vec<f64>,
    /// The inverse of the standard deviation; 0 for a feature that is always the same, so that it
    /// does not count.
    pub factor: Vec<f64>,
}

impl Scaler {
    pub(super) fn new(samples: &[Sample<'_>], width: usize) -> Self {
        let count = samples.len() as f64;
        let mut mean = sums(samples, width, |_, value| value);
        mean.iter_mut().for_each(|mean| *mean /= count);
        let squares = sums(samples, width, |feature, value| {
            let difference = value - mean[feature];
            difference * difference
        });
        let factor = mean.iter().zip(squares).map(|(mean, squares)| {
            let variance = squares / count;
            // As scikit-learn's `_is_constant_feature`: what the rounding of the sums may leave.
            let rounding = count * mean * f64::EPSILON;
            if variance <= count * f64::EPSILON * variance + rounding * rounding {
                0.0
            } else {
                variance.sqrt().recip()
            }
        });
        let factor = factor.collect();
        Self { mean, factor }
    }

    /// Standardises one row.
    pub(super) fn apply(&self, row: &[f32], to: &mut [f32]) {
        let numbers = self.mean.iter().zip(&self.factor);
        for ((to, &value), (mean, factor)) in to.iter_mut().zip(row).zip(numbers) {
            *to = ((f64::from(value) - mean) * factor) as f32;
        }
    }
}

/// The sum of a function of each feature over all samples.
fn sums(
    samples: &[Sample<'_>],
    width: usize,
    value: impl Fn(usize, f64) -> f64 + Sync,
) -> Vec<f64> {
    let blocks = samples.par_chunks(BLOCK).map(|block| {
        let mut sums = vec![0.0; width];
        for sample in block {
            for (feature, (sum, &x)) in sums.iter_mut().zip(sample.features).enumerate() {
                *sum += value(feature, f64::from(x));
            }
        }
        sums
    });
    let blocks: Vec<Vec<f64>> = blocks.collect();
    let mut total = vec![0.0; width];
    for block in blocks {
        total
            .iter_mut()
            .zip(block)
            .for_each(|(total, sum)| *total += sum);
    }
    total
}
