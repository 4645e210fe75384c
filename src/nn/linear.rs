//! Matrix product with bias.

use candle_core::{Device, Result, Tensor};

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    /// `[inputs, outputs]`: transposed once, so that no call has to.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// From weights `[outputs, inputs]` as PyTorch stores them, and one bias per output.
    ///
    /// # Errors
    /// If the lengths do not fit or the device has no room.
    pub fn new(
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        outputs: usize,
        device: &Device,
    ) -> Result<Self> {
        let inputs = weight.len() / outputs.max(1);
        let weight = Tensor::from_vec(weight, (outputs, inputs), device)?
            .t()?
            .contiguous()?;
        let bias = bias
            .map(|bias| Tensor::from_vec(bias, outputs, device))
            .transpose()?;
        Ok(Self { weight, bias })
    }

    /// `[N, inputs]` to `[N, outputs]`.
    ///
    /// # Errors
    /// If the width does not fit or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}
