//! Convolution with bias and activation.

use std::cell::RefCell;

use candle_core::{Device, Result, Tensor};

use super::{Activation, Backend, Engine, Map, activate, global_mean};
use crate::kernels::{self, ConvGeometry};

/// `activation(conv(x) + bias)`.
#[derive(Debug)]
pub struct Conv(Layer);

#[derive(Debug)]
enum Layer {
    Engine(Box<kernels::Conv>),
    Candle {
        weight: Tensor,
        /// `[1, C, 1, 1]`.
        bias: Tensor,
        geometry: ConvGeometry,
        activation: Option<Activation>,
    },
}

impl Conv {
    /// A convolution of filters `[outputs, inputs / groups, kernel, kernel]` with one bias per output.
    ///
    /// # Errors
    /// If the lengths do not fit the geometry or the device has no room.
    pub fn new(
        filters: &[f32],
        bias: Vec<f32>,
        geometry: ConvGeometry,
        activation: Option<Activation>,
        backend: &Backend,
    ) -> Result<Self> {
        let ConvGeometry {
            outputs, kernel, ..
        } = geometry;
        let (weights, biases) = (filters.len(), bias.len());
        if biases != outputs || weights != outputs * geometry.depth() {
            candle_core::bail!("{weights} weights and {biases} biases do not fit {geometry:?}");
        }
        Ok(Self(match backend {
            Backend::Engine(engine) => Layer::Engine(Box::new(kernels::Conv::new(
                engine.isa, filters, &bias, geometry, activation,
            ))),
            Backend::Candle(device) => {
                let shape = (outputs, geometry.group_inputs(), kernel, kernel);
                Layer::Candle {
                    weight: Tensor::from_slice(filters, shape, device)?,
                    bias: Tensor::from_vec(bias, (1, outputs, 1, 1), device)?,
                    geometry,
                    activation,
                }
            }
        }))
    }

    /// Channels of the maps that it takes.
    pub fn inputs(&self) -> usize {
        match &self.0 {
            Layer::Engine(conv) => conv.geometry().inputs,
            Layer::Candle { geometry, .. } => geometry.inputs,
        }
    }

    /// The convolved map.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn forward(&self, x: &Map) -> Result<Map> {
        match (&self.0, x.engine()) {
            (Layer::Engine(conv), Some(engine)) => on_engine(conv, engine, x, None),
            (Layer::Candle { .. }, None) => self.on_candle(&x.tensor),
            _ => candle_core::bail!("the map is not in the layout of the layer"),
        }
    }

    /// The convolved map, and its squeeze: the mean of each channel, `[N, C]`.
    ///
    /// # Errors
    /// As [`Conv::forward`].
    pub fn forward_squeezed(&self, x: &Map) -> Result<(Map, Tensor)> {
        let (Layer::Engine(conv), Some(engine)) = (&self.0, x.engine()) else {
            let y = self.forward(x)?;
            let mean = global_mean(&y)?;
            return Ok((y, mean));
        };
        let (batch, outputs) = (x.tensor.dim(0)?, conv.geometry().outputs);
        let mut sums = vec![0.0; batch * outputs];
        let y = on_engine(conv, engine, x, Some(&mut sums))?;
        let pixels = (y.tensor.elem_count() / sums.len()) as f32;
        sums.iter_mut().for_each(|sum| *sum /= pixels);
        Ok((y, Tensor::from_vec(sums, (batch, outputs), &Device::Cpu)?))
    }

    fn on_candle(&self, x: &Tensor) -> Result<Map> {
        let Layer::Candle {
            weight,
            bias,
            geometry,
            activation,
        } = &self.0
        else {
            candle_core::bail!("not a layer of Candle's");
        };
        let ConvGeometry {
            stride,
            padding,
            dilation,
            groups,
            ..
        } = *geometry;
        let y = x.conv2d(weight, padding, stride, dilation, groups)?;
        Ok(Map::plain(activate(&y.broadcast_add(bias)?, *activation)?))
    }
}

fn on_engine(
    conv: &kernels::Conv,
    engine: &Engine,
    x: &Map,
    sums: Option<&mut [f32]>,
) -> Result<Map> {
    let (batch, height, width, channels) = x.tensor.dims4()?;
    let geometry = conv.geometry();
    if channels != geometry.inputs {
        let inputs = geometry.inputs;
        candle_core::bail!("expected a map of {inputs} channels, found {channels}");
    }
    let (h, w) = (geometry.output(height), geometry.output(width));
    let y = engine.map([batch, h, w, geometry.outputs])?;
    let sums = RefCell::new(sums);
    y.fill_from(&x.tensor, |y, x| {
        conv.run(x, [batch, height, width], y, sums.take());
    })?;
    Ok(y)
}
