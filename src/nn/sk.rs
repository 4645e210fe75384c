//! Selective kernels (Li et al., arXiv:1903.06586, section 3.1).

use candle_core::{D, Result, Tensor};

use super::{Linear, global_mean};

/// The attention that weighs two paths against each other, per channel.
#[derive(Debug)]
pub struct KernelAttention {
    /// BatchNorm folded in.
    pub reduce: Linear,
    pub select: Linear,
}

impl KernelAttention {
    /// The gate `[N, 2, C]` of two maps `[N, C, H, W]`; over the paths it sums to one.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn gate(&self, paths: [&Tensor; 2]) -> Result<Tensor> {
        let sum = (paths[0] + paths[1])?;
        let hidden = self.reduce.forward(&global_mean(&sum)?)?.relu()?;
        let scores = self.select.forward(&hidden)?;
        let (batch, both) = scores.dims2()?;
        candle_nn::ops::softmax(&scores.reshape((batch, 2, both / 2))?, 1)
    }
}

/// The weighed sum of the two paths.
///
/// # Errors
/// If the shapes do not fit or the device fails.
pub fn select(paths: [&Tensor; 2], gate: &Tensor) -> Result<Tensor> {
    let weigh = |index: usize| {
        let gate = gate.narrow(1, index, 1)?.squeeze(1)?;
        paths[index].broadcast_mul(&gate.unsqueeze(D::Minus1)?.unsqueeze(D::Minus1)?)
    };
    weigh(0)? + weigh(1)?
}
