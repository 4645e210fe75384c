//! Squeeze-and-excitation (Hu et al., arXiv:1709.01507, section 3).

use candle_core::{Result, Tensor};

use super::Linear;

/// `sigmoid(fc2(relu(fc1(mean))))`: one factor in 0..1 per channel.
///
/// The 1x1 convolutions of the weights files act on single pixels, so they are matrix products.
/// The hidden activation is ReLU in every model, the SiLU ones included (timm `squeeze_excite.py`).
#[derive(Debug)]
pub struct SqueezeExcite {
    pub fc1: Linear,
    pub fc2: Linear,
}

impl SqueezeExcite {
    /// The gate `[N, C]` of a map whose squeeze, the mean of each channel, is `[N, C]`.
    ///
    /// # Errors
    /// If the channels do not fit or the device fails.
    pub fn gate(&self, squeeze: &Tensor) -> Result<Tensor> {
        self.fc2.forward_sigmoid(&self.fc1.forward_relu(squeeze)?)
    }
}
