//! The end of a network as numbers: what makes logits of the pooled features.

use candle_core::Device;

use super::NetError;
use super::fit::fit;
use super::load::Loader;
use super::plan::Plan;
use crate::nn::{Activation, Backend, Precision};
use crate::weights::Weights;

/// The layers after the global average pool, in f32 and apart from the network that runs, whose weights
/// are packed for its device and rounded to its precision.
#[derive(Clone, Debug)]
pub struct Head {
    /// The layer between the pool and the classifier, if there is one.
    pooled: Option<Pooled>,
    classifier: Matrix,
}

/// The layer after the pool, BatchNorm folded.
#[derive(Clone, Debug)]
struct Pooled {
    matrix: Matrix,
    activation: Option<Activation>,
}

/// `x W^T + b`, with the weights `[outputs, inputs]`.
#[derive(Clone, Debug)]
struct Matrix {
    inputs: usize,
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl Head {
    /// Reads the layers after the pool from the weights that the network of `plan` was loaded from.
    ///
    /// # Errors
    /// As [`Network::load`](super::Network::load).
    pub fn load(plan: &Plan, weights: &Weights) -> Result<Self, NetError> {
        let (weights, _) = fit(plan, weights)?;
        let backend = Backend::of(&Device::Cpu, Precision::F32)?;
        let loader = Loader::new(&weights, &backend);
        let pooled = match &plan.pooled_conv {
            Some(conv) if conv.geometry.kernel_size != 1 || conv.geometry.groups != 1 => {
                let reason = "the layer after the pool is a dense convolution of a single pixel";
                return Err(NetError::spec("pooled_conv", reason));
            }
            Some(conv) => {
                let (weights, biases) = loader.folded(conv)?;
                Some(Pooled {
                    matrix: Matrix {
                        inputs: conv.geometry.inputs,
                        weights,
                        biases,
                    },
                    activation: conv.activation,
                })
            }
            None => None,
        };
        let name = &plan.classifier.name;
        let classifier = Matrix {
            inputs: plan.classifier.inputs,
            weights: loader.values(&format!("{name}.weight"))?,
            biases: loader.values(&format!("{name}.bias"))?,
        };
        Ok(Self { pooled, classifier })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classifier.biases.len()
    }

    /// Channels of the map that is pooled.
    pub fn channels(&self) -> usize {
        let pooled = self.pooled.as_ref().map(|pooled| &pooled.matrix);
        pooled.unwrap_or(&self.classifier).inputs
    }

    /// Whether a logit is a linear function of the pooled map.
    pub fn is_linear(&self) -> bool {
        self.pooled.is_none()
    }

    /// Weights `w`, one for each channel of the pooled map, and a bias `b`, so that the logit of `class` at
    /// these means of the map's channels is `w · means + b`. Where the logit is linear they are the
    /// classifier's own; else `w` is its gradient at `means`, and `b` what that leaves.
    ///
    /// # Panics
    /// If there is no such class, or another number of channels.
    pub fn at(&self, class: usize, means: &[f64]) -> (Vec<f64>, f64) {
        assert_eq!(means.len(), self.channels(), "the channels of the map");
        let weights = self.classifier.row(class);
        let bias = f64::from(self.classifier.biases[class]);
        let Some(Pooled { matrix, activation }) = &self.pooled else {
            return (weights.iter().copied().map(f64::from).collect(), bias);
        };
        let mut gradient = vec![0.0; means.len()];
        let mut logit = bias;
        for (unit, &weight) in weights.iter().enumerate() {
            let row = matrix.row(unit);
            let products = row.iter().zip(means).map(|(&w, mean)| f64::from(w) * mean);
            let sum = products.sum::<f64>() + f64::from(matrix.biases[unit]);
            let (value, slope) = match activation {
                Some(activation) => (activation.value(sum), activation.derivative(sum)),
                None => (sum, 1.0),
            };
            logit += f64::from(weight) * value;
            let factor = f64::from(weight) * slope;
            for (gradient, &w) in gradient.iter_mut().zip(row) {
                *gradient += factor * f64::from(w);
            }
        }
        let explained: f64 = gradient.iter().zip(means).map(|(w, mean)| w * mean).sum();
        (gradient, logit - explained)
    }
}

impl Matrix {
    fn row(&self, output: usize) -> &[f32] {
        &self.weights[output * self.inputs..][..self.inputs]
    }
}
