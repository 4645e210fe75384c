//! Squeeze-and-excitation (Hu et al., arXiv:1709.01507, section 3).

use candle_core::{Result, Tensor};

use super::{Activation, Linear};

/// `gate(fc2(hidden(fc1(mean))))`: one factor per channel, between 0 and 1 if the gate is a
/// sigmoid.
///
/// Weights files have 1x1 convolutions, which on a single pixel are fully connected layers.
#[derive(Debug)]
pub struct SqueezeExcite {
    /// From the squeeze to the hidden features.
    pub fc1: Linear,
    /// From the hidden features to one value per channel.
    pub fc2: Linear,
    /// Between the two layers.
    pub hidden: Activation,
    /// After the second layer.
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
