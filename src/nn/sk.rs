//! Selective kernels (Li et al., arXiv:1903.06586, section 3.1).

use candle_core::{Result, Tensor};

use super::map::mismatch;
use super::{Activation, Linear, Map, candle, cpu};

/// The attention that weights two paths against each other, channel by channel.
#[derive(Debug)]
pub struct KernelAttention {
    /// From the squeeze to the hidden features, with the BatchNorm folded in.
    pub reduce: Linear,
    /// To one score per path and channel.
    pub select: Linear,
}

impl KernelAttention {
    /// The gate of two maps, `[N, 2, C]`, which sums to one over the paths.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn gate(&self, paths: [&Map; 2]) -> Result<Tensor> {
        let squeeze = match paths {
            [Map::Cpu(first), Map::Cpu(second)] => cpu::mean(first, Some(second)),
            [Map::Bf16(first), Map::Bf16(second)] => cpu::mean(first, Some(second)),
            [Map::Candle(first), Map::Candle(second)] => candle::mean(first, Some(second)),
            _ => Err(mismatch()),
        }?;
        let reduced = self.reduce.forward_with(&squeeze, Some(Activation::Relu))?;
        let scores = self.select.forward(&reduced)?;
        let (batch, both) = scores.dims2()?;
        self.select.softmax(&scores.reshape((batch, 2, both / 2))?)
    }

    /// The weighted sum of the two paths, in the first one's memory.
    ///
    /// # Errors
    /// If the shapes do not fit or the device fails.
    pub fn weigh(paths: [Map; 2], gate: &Tensor) -> Result<Map> {
        match paths {
            [Map::Cpu(first), Map::Cpu(second)] => cpu::select([first, second], gate).map(Map::Cpu),
            [Map::Bf16(first), Map::Bf16(second)] => {
                cpu::select([first, second], gate).map(Map::Bf16)
            }
            [Map::Candle(first), Map::Candle(second)] => {
                candle::select([first, second], gate).map(Map::Candle)
            }
            _ => Err(mismatch()),
        }
    }
}
