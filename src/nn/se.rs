//! Squeeze-and-excitation (Hu et al., arXiv:1709.01507, section 3).

use candle_core::{Result, Tensor};

use super::{Activation, Linear};

/// `gate(fc2(hidden(fc1(mean))))`: one factor per channel, in 0..1 if the gate is a sigmoid.
///
/// The 1x1 convolutions of the weights files act on single pixels, so they are matrix products.
#[derive(Debug)]
pub struct SqueezeExcite {
    pub fc1: Linear,
    pub fc2: Linear,
    pub hidden: Activation,
    pub gate: Activation,
}

impl SqueezeExcite {
    /// The gate `[N, C]` of a map whose squeeze, the mean of each channel, is `[N, C]`.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn gate(&self, squeeze: &Tensor) -> Result<Tensor> {
        let hidden = self.fc1.forward_with(squeeze, Some(self.hidden))?;
        self.fc2.forward_with(&hidden, Some(self.gate))
    }
}
