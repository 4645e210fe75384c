//! The loss of a multinomial logistic regression and its gradient.
//!
//! Both are products with the features, which do not change from one evaluation to the next. So the
//! features are packed twice, once as the weights of each product, in blocks of images:
//! `Z^T = W X^T` gives the logits, `G = R^T X` the gradient, where `R` is the difference between
//! probabilities and labels. What changes has as many rows as there are classes, in both.

use rayon::prelude::*;

use super::lbfgs::dot;
use super::samples::Sample;
use super::scaler::Scaler;
use crate::kernels::{Isa, Linear};

/// Images of a block. Sums run over a block in f32 and over the blocks, in their order, in f64.
const BLOCK: usize = 2048;

/// Images that a thread takes the exponentials of.
const STRIP: usize = 128;

/// The training images, ready for many evaluations.
#[derive(Debug)]
pub(super) struct Objective {
    blocks: Vec<Block>,
    width: usize,
    classes: usize,
    /// Sum of the weights of all images.
    total_weight: f64,
    /// What each class has of it. A class without images counts as one image, as its probability never is 0.
    shares: Vec<f64>,
    /// Factor of half the squared norm of the weights.
    penalty: f64,
}

#[derive(Debug)]
struct Block {
    labels: Vec<u32>,
    /// How much each image counts.
    weights: Vec<f32>,
    /// From weights of classes to logits `[classes, images]`.
    logits: Linear,
    /// From residuals `[classes, images]` to the gradient of the weights of classes.
    gradient: Linear,
}

impl Objective {
    /// `class_weights` is how much an image of each class counts.
    pub(super) fn new(samples: &[Sample<'_>], scaler: &Scaler, class_weights: &[f64]) -> Self {
        let width = scaler.mean.len();
        let weight = |sample: &Sample<'_>| class_weights[sample.label as usize];
        let blocks = samples.par_chunks(BLOCK).map(|samples| {
            let images = samples.len();
            let mut rows = vec![0.0; images * width];
            let mut columns = vec![0.0; images * width];
            for (image, (sample, row)) in
                samples.iter().zip(rows.chunks_exact_mut(width)).enumerate()
            {
                scaler.apply(sample.features, row);
                for (feature, &value) in row.iter().enumerate() {
                    columns[feature * images + image] = value;
                }
            }
            Block {
                labels: samples.iter().map(|sample| sample.label).collect(),
                weights: samples.iter().map(|sample| weight(sample) as f32).collect(),
                logits: Linear::new(Isa::best(), &rows, &vec![0.0; images]),
                gradient: Linear::new(Isa::best(), &columns, &vec![0.0; width]),
            }
        });
        let blocks = blocks.collect();
        let mut shares = vec![0.0; class_weights.len()];
        for sample in samples {
            shares[sample.label as usize] += weight(sample);
        }
        let total_weight: f64 = shares.iter().sum();
        for share in &mut shares {
            *share = share.max(1.0) / total_weight;
        }
        Self {
            blocks,
            width,
            classes: class_weights.len(),
            total_weight,
            shares,
            penalty: 0.0,
        }
    }

    /// Sets the inverse strength of the regularisation, scikit-learn's `C`.
    ///
    /// scikit-learn gives two classes one row of weights, the difference of our two. With two rows the
    /// same probabilities have half the squared norm, so that it has to count twice.
    pub(super) fn set_strength(&mut self, strength: f64) {
        let twice = if self.classes == 2 { 2.0 } else { 1.0 };
        self.penalty = twice / (strength * self.total_weight);
    }

    /// Whether the parameters are close to the minimum. Weights by the share `accuracy` of their norm: the
    /// penalty makes the function so convex in them that with a gradient of norm `g` they are at most
    /// `g / penalty` away. Biases by about `accuracy`: at the minimum, the mean probability of each class is its
    /// share of the images, and their derivatives are what is missing from it.
    pub(super) fn is_minimum(&self, parameters: &[f64], gradient: &[f64], accuracy: f64) -> bool {
        let (weights, _) = parameters.split_at(self.classes * self.width);
        let (gradient, missing) = gradient.split_at(weights.len());
        let allowed = accuracy * self.penalty;
        let mut classes = missing.iter().zip(&self.shares);
        classes.all(|(missing, share)| missing.abs() <= accuracy * share)
            && dot(gradient, gradient) <= allowed * allowed * dot(weights, weights)
    }

    /// No weights, and the biases that are the best without them.
    pub(super) fn start(&self) -> Vec<f64> {
        let mut parameters = vec![0.0; self.classes * (self.width + 1)];
        let (_, biases) = parameters.split_at_mut(self.classes * self.width);
        biases
            .iter_mut()
            .zip(&self.shares)
            .for_each(|(bias, share)| *bias = share.ln());
        // Of all biases with the same probabilities, those that scikit-learn ends with.
        let mean = biases.iter().sum::<f64>() / self.classes as f64;
        biases.iter_mut().for_each(|bias| *bias -= mean);
        parameters
    }

    /// `parameters` are the weights `[classes, width]`, then a bias for each class.
    ///
    /// The mean loss of the images, plus the penalty on the weights, as scikit-learn scales them; writes the
    /// gradient.
    pub(super) fn evaluate(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        let (width, classes) = (self.width, self.classes);
        let (weights, biases) = parameters.split_at(classes * width);
        let rounded: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
        let (weight_gradient, bias_gradient) = gradient.split_at_mut(classes * width);
        weight_gradient.fill(0.0);
        bias_gradient.fill(0.0);
        let mut loss = 0.0;
        let mut product = vec![0.0; classes * width];
        for block in &self.blocks {
            let images = block.labels.len();
            let mut scores = vec![0.0; classes * images];
            block.logits.run(&rounded, &mut scores, None);
            loss += block.residuals(&mut scores, biases);
            for (sum, row) in bias_gradient.iter_mut().zip(scores.chunks_exact(images)) {
                *sum += row.iter().map(|&x| f64::from(x)).sum::<f64>();
            }
            block.gradient.run(&scores, &mut product, None);
            for (sum, &x) in weight_gradient.iter_mut().zip(&product) {
                *sum += f64::from(x);
            }
        }
        let scale = self.total_weight.recip();
        bias_gradient.iter_mut().for_each(|sum| *sum *= scale);
        let mut squares = 0.0;
        for (sum, &weight) in weight_gradient.iter_mut().zip(weights) {
            *sum = *sum * scale + self.penalty * weight;
            squares += weight * weight;
        }
        loss * scale + 0.5 * self.penalty * squares
    }
}

impl Block {
    /// Turns logits without biases into the derivatives of the loss by them, and returns the loss.
    fn residuals(&self, scores: &mut [f32], biases: &[f64]) -> f64 {
        let images = self.labels.len();
        let mut strips: Vec<Vec<&mut [f32]>> = Vec::new();
        strips.resize_with(images.div_ceil(STRIP), || Vec::with_capacity(biases.len()));
        for row in scores.chunks_exact_mut(images) {
            let parts = row.chunks_mut(STRIP);
            strips
                .iter_mut()
                .zip(parts)
                .for_each(|(strip, part)| strip.push(part));
        }
        let strips = strips
            .into_par_iter()
            .enumerate()
            .map(|(index, mut strip)| {
                let range = index * STRIP..images.min((index + 1) * STRIP);
                let (labels, weights) = (&self.labels[range.clone()], &self.weights[range]);
                strip_residuals(&mut strip, biases, labels, weights)
            });
        let losses: Vec<f64> = strips.collect();
        losses.into_iter().sum()
    }
}

/// As [`Block::residuals`] for some images, of which each class has a row.
fn strip_residuals(
    rows: &mut [&mut [f32]],
    biases: &[f64],
    labels: &[u32],
    weights: &[f32],
) -> f64 {
    let mut highest = [f32::NEG_INFINITY; STRIP];
    for (row, &bias) in rows.iter_mut().zip(biases) {
        for (x, highest) in row.iter_mut().zip(&mut highest) {
            *x += bias as f32;
            *highest = highest.max(*x);
        }
    }
    let mut loss = 0.0;
    for (image, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
        let own = rows[label as usize][image];
        loss += f64::from(weight) * f64::from(highest[image] - own);
    }
    let mut sums = [0.0; STRIP];
    for row in rows.iter_mut() {
        for ((x, highest), sum) in row.iter_mut().zip(&highest).zip(&mut sums) {
            *x = (*x - highest).exp();
            *sum += *x;
        }
    }
    let mut scales = [0.0; STRIP];
    for ((scale, &sum), &weight) in scales.iter_mut().zip(&sums).zip(weights) {
        loss += f64::from(weight) * f64::from(sum).ln();
        *scale = weight / sum;
    }
    for row in rows.iter_mut() {
        row.iter_mut()
            .zip(&scales)
            .for_each(|(x, scale)| *x *= scale);
    }
    for (image, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
        rows[label as usize][image] -= weight;
    }
    loss
}
