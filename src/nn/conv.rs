//! Convolution with bias and activation.

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Tensor};

use super::{Activation, activate};
use crate::kernels::{MapShape, bias_activate};

/// How the filters move over the map; the same along both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
}

/// `activation(conv(x) + bias)`.
#[derive(Debug)]
pub struct Conv {
    weight: Tensor,
    bias: Bias,
    geometry: Geometry,
    activation: Option<Activation>,
}

/// Where the bias lives: beside the kernel that adds it, or on the device as `[1, C, 1, 1]`.
#[derive(Debug)]
enum Bias {
    Host(Vec<f32>),
    Device(Tensor),
}

impl Conv {
    /// A convolution of filters `[outputs, inputs / groups, kernel, kernel]` with one bias per output.
    ///
    /// # Errors
    /// If the lengths do not fit the shape or the device has no room.
    pub fn new(
        filters: Vec<f32>,
        shape: [usize; 4],
        bias: Vec<f32>,
        geometry: Geometry,
        activation: Option<Activation>,
        device: &Device,
    ) -> Result<Self> {
        let outputs = bias.len();
        if outputs != shape[0] {
            candle_core::bail!(
                "expected {} biases, one for each filter, found {outputs}",
                shape[0]
            );
        }
        let weight = Tensor::from_vec(filters, &shape, device)?;
        let bias = match device {
            Device::Cpu => Bias::Host(bias),
            _ => Bias::Device(Tensor::from_vec(bias, (1, outputs, 1, 1), device)?),
        };
        Ok(Self {
            weight,
            bias,
            geometry,
            activation,
        })
    }

    /// `[N, inputs, H, W]` to `[N, outputs, H', W']`.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Geometry {
            stride,
            padding,
            dilation,
            groups,
        } = self.geometry;
        let y = x.conv2d(&self.weight, padding, stride, dilation, groups)?;
        match &self.bias {
            Bias::Host(bias) => {
                // The convolution has just created `y`: nobody else sees it change.
                y.inplace_op1(&BiasActivate {
                    bias,
                    activation: self.activation,
                })?;
                Ok(y)
            }
            Bias::Device(bias) => activate(&y.broadcast_add(bias)?, self.activation),
        }
    }
}

struct BiasActivate<'a> {
    bias: &'a [f32],
    activation: Option<Activation>,
}

impl InplaceOp1 for BiasActivate<'_> {
    fn name(&self) -> &'static str {
        "bias-activate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (_, channels, height, width) = layout.shape().dims4()?;
        let (map, (start, end)) = (f32_values_mut(storage)?, contiguous(layout, self.name())?);
        let shape = MapShape {
            channels,
            plane: height * width,
        };
        bias_activate(&mut map[start..end], self.bias, shape, self.activation);
        Ok(())
    }
}

pub(crate) fn f32_values_mut(storage: &mut CpuStorage) -> Result<&mut [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(values),
        _ => candle_core::bail!("expected f32 activations"),
    }
}

pub(crate) fn f32_values(storage: &CpuStorage) -> Result<&[f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(values),
        _ => candle_core::bail!("expected f32 activations"),
    }
}

pub(crate) fn contiguous(layout: &Layout, op: &str) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => candle_core::bail!("{op}: expected a contiguous map"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_pass_equals_candles_operations() {
        let device = Device::Cpu;
        let x = Tensor::randn(0f32, 1., (2, 4, 5, 3), &device).unwrap();
        let filters: Vec<f32> = (0..6 * 2 * 9).map(|i| (i as f32 * 0.37).sin()).collect();
        let bias: Vec<f32> = (0..6).map(|i| i as f32 - 2.5).collect();
        let geometry = Geometry {
            stride: 2,
            padding: 1,
            dilation: 1,
            groups: 2,
        };
        for activation in [None, Some(Activation::Relu), Some(Activation::Silu)] {
            let conv = Conv::new(
                filters.clone(),
                [6, 2, 3, 3],
                bias.clone(),
                geometry,
                activation,
                &device,
            )
            .unwrap();
            let on_device = Tensor::from_vec(bias.clone(), (1, 6, 1, 1), &device).unwrap();
            let plain = Conv {
                weight: conv.weight.clone(),
                bias: Bias::Device(on_device),
                geometry,
                activation,
            };
            let (a, b) = (conv.forward(&x).unwrap(), plain.forward(&x).unwrap());
            let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
        }
    }

    #[test]
    fn nan_passes_through_relu() {
        let geometry = Geometry {
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        };
        let relu = Some(Activation::Relu);
        let conv = Conv::new(
            vec![1.0],
            [1, 1, 1, 1],
            vec![0.0],
            geometry,
            relu,
            &Device::Cpu,
        )
        .unwrap();
        let x = Tensor::new(&[[[[f32::NAN, -1.0, 2.0]]]], &Device::Cpu).unwrap();
        let y = conv
            .forward(&x)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert!(y[0].is_nan() && y[1] == 0.0 && y[2] == 2.0, "{y:?}");
    }
}
