//! Selective kernels (Li et al., arXiv:1903.06586, section 3.1).

use candle_core::{Result, Tensor};

use super::linear::mean_of_sum;
use super::map::OnSlices;
use super::residual::planes;
use super::{Linear, Map};
use crate::kernels::{Activation, Elementwise};

/// The attention that weighs two paths against each other, per channel.
#[derive(Debug)]
pub struct KernelAttention {
    /// BatchNorm folded in.
    pub reduce: Linear,
    pub select: Linear,
}

impl KernelAttention {
    /// The gate `[N, 2, C]` of two maps; over the paths it sums to one.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn gate(&self, paths: [&Map; 2]) -> Result<Tensor> {
        let squeeze = mean_of_sum(paths[0], Some(paths[1]))?;
        let reduced = self.reduce.forward_with(&squeeze, Some(Activation::Relu))?;
        let scores = self.select.forward(&reduced)?;
        let (batch, both) = scores.dims2()?;
        candle_nn::ops::softmax(&scores.reshape((batch, 2, both / 2))?, 1)
    }
}

/// The weighed sum of the two paths, on the engine in the first one's memory.
///
/// # Errors
/// If the shapes do not fit or the device fails.
pub fn select(paths: [Map; 2], gate: &Tensor) -> Result<Map> {
    let [first, second] = paths;
    let Some(engine) = first.engine() else {
        let weigh = |map: &Map, index: usize| {
            let gate = gate.narrow(1, index, 1)?.squeeze(1)?;
            map.tensor.broadcast_mul(&planes(&gate)?)
        };
        return Ok(Map::plain((weigh(&first, 0)? + weigh(&second, 1)?)?));
    };
    let (batch, height, width, channels) = first.tensor.dims4()?;
    if second.tensor.shape() != first.tensor.shape() || gate.dims() != [batch, 2, channels] {
        candle_core::bail!("the two paths and their gate do not fit");
    }
    let picture = height * width * channels;
    let kernel = |y: &mut [f32], other: &[f32], gate: &[f32]| {
        for (n, y) in y.chunks_exact_mut(picture).enumerate() {
            let (a, b) = gate[2 * n * channels..][..2 * channels].split_at(channels);
            let select = Elementwise::Select {
                gates: [a, b],
                other: &other[n * picture..][..picture],
            };
            select.run(engine.isa, y, channels);
        }
    };
    first
        .tensor
        .inplace_op3(&second.tensor, &gate.contiguous()?, &OnSlices(kernel))?;
    Ok(first)
}
