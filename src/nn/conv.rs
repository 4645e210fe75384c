//! Convolution with bias and activation.

use candle_core::{Result, Tensor, bail};

use super::map::mismatch;
use super::{Activation, Backend, Map, candle, cpu};
use crate::kernels::{Bf16, ConvGeometry};

/// `activation(conv(x) + bias)`.
#[derive(Debug)]
pub struct Conv(Layer);

#[derive(Debug)]
enum Layer {
    Cpu(Box<cpu::Conv>),
    Bf16(Box<cpu::Conv<Bf16>>),
    Candle(candle::Conv),
}

impl Conv {
    /// A convolution of filters `[outputs, inputs / groups, kernel, kernel]` with one bias per
    /// output.
    ///
    /// # Errors
    /// If the lengths do not fit the geometry or the device is out of memory.
    pub fn new(
        filters: &[f32],
        bias: Vec<f32>,
        geometry: ConvGeometry,
        activation: Option<Activation>,
        backend: &Backend,
    ) -> Result<Self> {
        let (weights, biases) = (filters.len(), bias.len());
        if !geometry.is_valid()
            || biases != geometry.outputs
            || weights != biases * geometry.depth()
        {
            bail!("{weights} weights and {biases} biases do not fit {geometry:?}");
        }
        Ok(Self(match backend {
            Backend::Cpu(engine) => {
                let conv = cpu::Conv::new(engine.isa(), filters, &bias, geometry, activation);
                Layer::Cpu(Box::new(conv))
            }
            Backend::Bf16(engine) => {
                let conv = cpu::Conv::new(engine.isa(), filters, &bias, geometry, activation);
                Layer::Bf16(Box::new(conv))
            }
            Backend::Candle(engine) => {
                let conv = candle::Conv::new(filters, bias, geometry, activation, engine);
                Layer::Candle(conv?)
            }
        }))
    }

    /// Whether the backend computes the first of two convolutions faster [together](Conv::after) with the
    /// second.
    pub fn joins(first: &ConvGeometry, second: &ConvGeometry, backend: &Backend) -> bool {
        match backend {
            Backend::Cpu(engine) => cpu::Conv::<f32>::joins(engine.isa(), first, second),
            Backend::Bf16(engine) => cpu::Conv::<Bf16>::joins(engine.isa(), first, second),
            Backend::Candle(_) => false,
        }
    }

    /// This convolution after one that it [joins](Conv::joins), whose arguments are those of [`Conv::new`]: a
    /// single layer.
    ///
    /// # Errors
    /// If it does not join it, or the lengths do not fit the geometry.
    pub fn after(
        self,
        filters: &[f32],
        bias: &[f32],
        geometry: ConvGeometry,
        activation: Option<Activation>,
        backend: &Backend,
    ) -> Result<Self> {
        let fits = bias.len() == geometry.outputs && filters.len() == bias.len() * geometry.depth();
        match self.0 {
            Layer::Cpu(conv) if fits && Self::joins(&geometry, conv.geometry(), backend) => {
                let conv = conv.after(filters, bias, activation);
                Ok(Self(Layer::Cpu(Box::new(conv))))
            }
            _ => bail!("{geometry:?} cannot be computed together with the convolution after it"),
        }
    }

    /// Channels of the map that it takes.
    pub fn inputs(&self) -> usize {
        match &self.0 {
            Layer::Cpu(conv) => conv.inputs(),
            Layer::Bf16(conv) => conv.inputs(),
            Layer::Candle(conv) => conv.geometry().inputs,
        }
    }

    /// What computes it: our kernel with its tile, or `candle`.
    pub fn kernel(&self) -> String {
        match &self.0 {
            Layer::Cpu(conv) => conv.kernel(),
            Layer::Bf16(conv) => conv.kernel(),
            Layer::Candle(_) => candle::NAME.into(),
        }
    }

    /// The convolved map.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn forward(&self, x: &Map) -> Result<Map> {
        match (&self.0, x) {
            (Layer::Cpu(conv), Map::Cpu(x)) => cpu::conv(conv, x).map(Map::Cpu),
            (Layer::Bf16(conv), Map::Bf16(x)) => cpu::conv(conv, x).map(Map::Bf16),
            (Layer::Candle(conv), Map::Candle(x)) => candle::conv(conv, x).map(Map::Candle),
            _ => Err(mismatch()),
        }
    }

    /// Whether [`Conv::forward_gated`] takes no longer than [`Conv::forward`].
    pub fn scales(&self) -> bool {
        match &self.0 {
            Layer::Cpu(conv) => conv.scales(),
            Layer::Bf16(conv) => conv.scales(),
            Layer::Candle(_) => false,
        }
    }

    /// The convolution of a map whose channels are multiplied by a gate, `[N, C]`, on the way.
    ///
    /// # Errors
    /// As [`Conv::forward`], or if the convolution does not [scale](Conv::scales).
    pub fn forward_gated(&self, x: &Map, gate: &Tensor) -> Result<Map> {
        match (&self.0, x) {
            _ if !self.scales() => bail!("this convolution does not scale its inputs"),
            (Layer::Cpu(conv), Map::Cpu(x)) => cpu::conv_gated(conv, x, gate).map(Map::Cpu),
            (Layer::Bf16(conv), Map::Bf16(x)) => cpu::conv_gated(conv, x, gate).map(Map::Bf16),
            _ => Err(mismatch()),
        }
    }

    /// The convolved map and its squeeze, the mean of each channel: `[N, C]`.
    ///
    /// # Errors
    /// As [`Conv::forward`].
    pub fn forward_squeezed(&self, x: &Map) -> Result<(Map, Tensor)> {
        match (&self.0, x) {
            (Layer::Cpu(conv), Map::Cpu(x)) => {
                let (y, means) = cpu::conv_squeezed(conv, x)?;
                Ok((Map::Cpu(y), means))
            }
            (Layer::Bf16(conv), Map::Bf16(x)) => {
                let (y, means) = cpu::conv_squeezed(conv, x)?;
                Ok((Map::Bf16(y), means))
            }
            (Layer::Candle(conv), Map::Candle(x)) => {
                let (y, means) = candle::conv_squeezed(conv, x)?;
                Ok((Map::Candle(y), means))
            }
            _ => Err(mismatch()),
        }
    }
}
