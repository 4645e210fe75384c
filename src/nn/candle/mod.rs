//! The layers in Candle's operations: tensors `[N, C, H, W]` on any device.
//!
//! On the CPU this is the reference for our kernels.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "metal")]
mod metal;
mod pool;
mod product;
mod unfold;

use candle_core::{D, Device, Result, Tensor};

use crate::kernels::{Activation, ConvGeometry};

pub(super) use pool::pool;
use product::Product;

/// What the layers report as their kernel.
pub(super) const NAME: &str = "candle";

/// A convolution with its weights on a device.
#[derive(Debug)]
pub(super) struct Conv {
    product: Product,
    /// `[1, C, 1, 1]`.
    bias: Tensor,
    activation: Option<Activation>,
}

impl Conv {
    pub(super) fn new(
        filters: &[f32],
        bias: Vec<f32>,
        geometry: ConvGeometry,
        activation: Option<Activation>,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            product: Product::new(filters, geometry, device)?,
            bias: Tensor::from_vec(bias, (1, geometry.outputs, 1, 1), device)?,
            activation,
        })
    }

    pub(super) fn geometry(&self) -> &ConvGeometry {
        self.product.geometry()
    }
}

/// A matrix product with its weights on a device.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[inputs, outputs]`: transposed once, on load.
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(weight: &[f32], bias: Vec<f32>, device: &Device) -> Result<Self> {
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len().max(1));
        let weight = Tensor::from_slice(weight, (outputs, inputs), device)?;
        Ok(Self {
            weight: weight.t()?.contiguous()?,
            bias: Tensor::from_vec(bias, outputs, device)?,
        })
    }
}

pub(super) fn conv(conv: &Conv, x: &Tensor) -> Result<Tensor> {
    let y = conv.product.forward(x)?;
    activate(&y.broadcast_add(&conv.bias)?, conv.activation)
}

/// The convolved map, and the mean of each channel.
pub(super) fn conv_squeezed(layer: &Conv, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let y = conv(layer, x)?;
    let means = mean(&y, None)?;
    Ok((y, means))
}

pub(super) fn linear(
    linear: &Linear,
    x: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let y = x.matmul(&linear.weight)?.broadcast_add(&linear.bias)?;
    activate(&y, activation)
}

/// Mean over the pixels of `x`, or of `x + y`: `[N, C]`.
pub(super) fn mean(x: &Tensor, y: Option<&Tensor>) -> Result<Tensor> {
    match y {
        Some(y) => (x + y)?.mean((2, 3)),
        None => x.mean((2, 3)),
    }
}

pub(super) fn add_shortcut(
    branch: &Tensor,
    gate: Option<&Tensor>,
    shortcut: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let sum = match gate {
        Some(gate) => (scale(branch, gate)? + shortcut)?,
        None => (branch + shortcut)?,
    };
    activate(&sum, activation)
}

pub(super) fn scale(map: &Tensor, gate: &Tensor) -> Result<Tensor> {
    map.broadcast_mul(&gate.unsqueeze(D::Minus1)?.unsqueeze(D::Minus1)?)
}

pub(super) fn select(paths: [&Tensor; 2], gate: &Tensor) -> Result<Tensor> {
    let weigh = |index: usize| scale(paths[index], &gate.narrow(1, index, 1)?.squeeze(1)?);
    weigh(0)? + weigh(1)?
}

/// `count` channels from `start` on.
pub(super) fn channels(x: &Tensor, start: usize, count: usize) -> Result<Tensor> {
    x.narrow(1, start, count)?.contiguous()
}

/// The activation in Candle's operations. Candle's ReLU turns NaN into 0; as weights and input are
/// checked before, that can hide no more than an overflow.
fn activate(x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    let hard_sigmoid = || (x + 3.0)?.clamp(0f32, 6f32)? / 6.0;
    match activation {
        None => Ok(x.clone()),
        Some(Activation::Relu) => x.relu(),
        Some(Activation::Relu6) => x.clamp(0f32, 6f32),
        Some(Activation::Silu) => x.silu(),
        Some(Activation::HardSwish) => x * hard_sigmoid()?,
        Some(Activation::Sigmoid) => candle_nn::ops::sigmoid(x),
        Some(Activation::HardSigmoid) => hard_sigmoid(),
        Some(Activation::Gelu) => x.gelu_erf(),
        Some(Activation::GeluTanh) => x.gelu(),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::kernels::reference;

    #[test]
    fn candle_computes_the_same_activations() {
        let values: Vec<f32> = (-1000..=1000).map(|i| i as f32 * 0.013).collect();
        let x = Tensor::new(values.as_slice(), &Device::Cpu).unwrap();
        for activation in std::iter::once(None).chain(Activation::ALL.map(Some)) {
            let found: Vec<f32> = activate(&x, activation).unwrap().to_vec1().unwrap();
            for (&x, y) in values.iter().zip(found) {
                let exact = reference::activate(f64::from(x), activation);
                let error = (f64::from(y) - exact).abs();
                let allowed = 1e-6 * f64::from(x).abs().max(1.0);
                assert!(error <= allowed, "{activation:?}({x}) = {y} for {exact}");
            }
        }
    }
}
