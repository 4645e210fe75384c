//! Fully connected layers.

use candle_core::{Result, Tensor, bail};

use super::{Activation, Backend, candle, cpu};
use crate::kernels::Bf16;

/// A fully connected layer, `x W^T + b`.
#[derive(Debug)]
pub struct Linear(Layer);

#[derive(Debug)]
enum Layer {
    Cpu(cpu::Linear),
    /// With weights in bf16.
    Bf16(cpu::Linear<Bf16>),
    Candle(candle::Linear),
}

impl Linear {
    /// From weights `[outputs, inputs]`, as PyTorch stores them, and one bias per output.
    ///
    /// # Errors
    /// If the lengths do not fit or the device is out of memory.
    pub fn new(weight: &[f32], bias: Vec<f32>, backend: &Backend) -> Result<Self> {
        let outputs = bias.len();
        if outputs == 0 || !weight.len().is_multiple_of(outputs) {
            bail!("{} weights do not fit {outputs} outputs", weight.len());
        }
        Ok(Self(match backend {
            Backend::Cpu(engine) => {
                Layer::Cpu(cpu::Linear::<f32>::new(engine.isa(), weight, &bias))
            }
            Backend::Bf16(engine) => {
                Layer::Bf16(cpu::Linear::<Bf16>::new(engine.isa(), weight, &bias))
            }
            Backend::Candle(engine) => Layer::Candle(candle::Linear::new(weight, bias, engine)?),
        }))
    }

    /// What computes it: our kernel with its tile, or `candle`.
    pub fn kernel(&self) -> String {
        match &self.0 {
            Layer::Cpu(linear) => linear.kernel(),
            Layer::Bf16(linear) => linear.kernel(),
            Layer::Candle(_) => candle::NAME.into(),
        }
    }

    /// `[N, inputs]` to `[N, outputs]`.
    ///
    /// # Errors
    /// If the width does not fit or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, None)
    }

    /// `activation(x W^T + b)`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn forward_with(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        match &self.0 {
            Layer::Cpu(linear) => cpu::linear(linear, x, activation),
            Layer::Bf16(linear) => cpu::linear(linear, x, activation),
            Layer::Candle(linear) => candle::linear(linear, x, activation),
        }
    }

    /// Softmax of scores that it computed, `[N, paths, C]`, over the paths.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn softmax(&self, scores: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Layer::Cpu(_) | Layer::Bf16(_) => candle_nn::ops::softmax(scores, 1),
            Layer::Candle(linear) => candle::softmax(linear, scores),
        }
    }
}
