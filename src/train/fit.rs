//! A classifier, and how it is found.

use rayon::prelude::*;

use super::lbfgs::minimise;
use super::objective::Objective;
use super::options::check_strength;
use super::samples::Sample;
use super::scaler::Scaler;
use super::{Samples, TrainError, TrainOptions};
use crate::kernels::{Isa, Linear};

/// A linear layer that turns features into the logits of classes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Head {
    /// `[classes, width]`. They apply to features as the network gives them: the standardisation is
    /// part of them.
    pub weight: Vec<f32>,
    /// One per class.
    pub bias: Vec<f32>,
    /// Steps of L-BFGS.
    pub iterations: usize,
    /// Whether the weights are within a 10,000th of their norm of the exact ones. Otherwise they are as close as
    /// sums in f32 allow, which happens with next to no regularisation.
    pub converged: bool,
}

/// Accuracy of classifiers that are only compared; see [`Objective::is_minimum`].
pub(super) const SEARCH: f64 = 3e-3;

/// And of the one that is kept, where sums in f32 allow it.
const FINAL: f64 = 1e-5;

/// What they have to allow for a classifier to count as converged.
const CONVERGED: f64 = 1e-4;

/// The classifier of all images: multinomial logistic regression on standardised features, with a
/// penalty on the squared weights and none on the biases. `strength` is scikit-learn's `C`.
///
/// Probabilities equal those of scikit-learn's `StandardScaler` and `LogisticRegression`. For more
/// than two classes so do weights and biases, once the standardisation is taken out. For two
/// classes scikit-learn has one row, the difference of the two rows here, which are opposite.
///
/// # Errors
/// [`TrainError::Strength`], [`TrainError::Overflow`], [`TrainError::Stopped`].
pub fn fit(
    samples: &Samples<'_>,
    strength: f64,
    options: &TrainOptions,
) -> Result<Head, TrainError> {
    check_strength(strength)?;
    let images: Vec<usize> = (0..samples.len()).collect();
    let mut path = Path::new(samples, &images, options, FINAL);
    path.fit(strength)
}

/// Fits on the same images with one strength after the other, each from the last one's solution.
pub(super) struct Path<'a> {
    objective: Objective,
    scaler: Scaler,
    parameters: Vec<f64>,
    options: &'a TrainOptions,
    accuracy: f64,
}

impl<'a> Path<'a> {
    pub(super) fn new(
        samples: &Samples<'_>,
        images: &[usize],
        options: &'a TrainOptions,
        accuracy: f64,
    ) -> Self {
        let training = samples.training(images);
        let scaler = Scaler::new(&training, samples.width());
        let weights = class_weights(&training, samples.classes(), options.balanced);
        let objective = Objective::new(&training, &scaler, &weights);
        Self {
            parameters: objective.start(),
            objective,
            scaler,
            options,
            accuracy,
        }
    }

    pub(super) fn fit(&mut self, strength: f64) -> Result<Head, TrainError> {
        self.objective.set_strength(strength);
        let objective = &self.objective;
        let minimum = minimise(
            &mut self.parameters,
            |x, gradient| objective.is_minimum(x, gradient, self.accuracy),
            |x, gradient| {
                self.options.check_stop()?;
                Ok::<_, TrainError>(objective.evaluate(x, gradient))
            },
        )?;
        let mut head = self.scaler.fold(&self.parameters)?;
        head.iterations = minimum.iterations;
        head.converged = minimum.reached || self.is_close();
        Ok(head)
    }

    /// Whether the parameters, which came as close to the minimum as they could, are close enough.
    fn is_close(&self) -> bool {
        let mut gradient = vec![0.0; self.parameters.len()];
        self.objective.evaluate(&self.parameters, &mut gradient);
        let accuracy = self.accuracy.max(CONVERGED);
        self.objective
            .is_minimum(&self.parameters, &gradient, accuracy)
    }
}

impl Scaler {
    /// Makes the parameters of standardised features, weights then biases, apply to the features.
    fn fold(&self, parameters: &[f64]) -> Result<Head, TrainError> {
        let width = self.mean.len();
        let classes = parameters.len() / (width + 1);
        let (weights, biases) = parameters.split_at(classes * width);
        let mut weight = Vec::with_capacity(weights.len());
        let mut bias = Vec::with_capacity(classes);
        for (row, &start) in weights.chunks_exact(width).zip(biases) {
            let mut sum = start;
            for ((&x, mean), factor) in row.iter().zip(&self.mean).zip(&self.factor) {
                weight.push((x * factor) as f32);
                sum -= x * factor * mean;
            }
            bias.push(sum as f32);
        }
        let rows = weight.chunks_exact(width).zip(&bias);
        let finite =
            |(row, bias): (&[f32], &f32)| bias.is_finite() && row.iter().all(|x| x.is_finite());
        if let Some(class) = rows.into_iter().position(|row| !finite(row)) {
            return Err(TrainError::Overflow { class });
        }
        Ok(Head {
            weight,
            bias,
            iterations: 0,
            converged: false,
        })
    }
}

/// How much an image of each class counts. With scikit-learn's `balanced` that is the number of images
/// over that of the classes and the class's own.
fn class_weights(samples: &[Sample<'_>], classes: usize, balanced: bool) -> Vec<f64> {
    if !balanced {
        return vec![1.0; classes];
    }
    let mut counts = vec![0_usize; classes];
    samples
        .iter()
        .for_each(|sample| counts[sample.label as usize] += 1);
    let present = counts.iter().filter(|&&count| count > 0).count();
    let weight = |&count: &usize| samples.len() as f64 / (present * count.max(1)) as f64;
    counts.iter().map(weight).collect()
}

impl Head {
    /// Logits `[images, classes]` of some images.
    pub fn logits(&self, samples: &Samples<'_>, images: &[usize]) -> Vec<f32> {
        const BLOCK: usize = 256;
        let classes = self.bias.len();
        let layer: Linear = Linear::new(Isa::best(), &self.weight, &self.bias);
        let mut logits = vec![0.0; images.len() * classes];
        let blocks = logits
            .par_chunks_mut(BLOCK * classes)
            .zip(images.par_chunks(BLOCK));
        blocks.for_each(|(logits, images)| {
            let rows: Vec<f32> = images
                .iter()
                .flat_map(|&image| samples.row(image))
                .copied()
                .collect();
            layer.run(&rows, logits, None);
        });
        logits
    }
}
