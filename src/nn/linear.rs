//! Matrix product with bias.

use candle_core::{Device, Result, Tensor};

use super::map::OnSlices;
use super::{Activation, Backend, Map, activate};
use crate::kernels;

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear(Layer);

#[derive(Debug)]
enum Layer {
    Engine(kernels::Linear),
    Candle {
        /// `[inputs, outputs]`: transposed once, so that no call has to.
        weight: Tensor,
        bias: Option<Tensor>,
    },
}

impl Linear {
    /// From weights `[outputs, inputs]` as PyTorch stores them, and one bias per output.
    ///
    /// # Errors
    /// If the lengths do not fit or the device has no room.
    pub fn new(
        weight: &[f32],
        bias: Option<Vec<f32>>,
        outputs: usize,
        backend: &Backend,
    ) -> Result<Self> {
        let inputs = weight.len() / outputs.max(1);
        if inputs * outputs != weight.len() || bias.as_ref().is_some_and(|b| b.len() != outputs) {
            candle_core::bail!("{} weights do not fit {outputs} outputs", weight.len());
        }
        Ok(Self(match backend {
            Backend::Engine(engine) => {
                let bias = bias.unwrap_or_else(|| vec![0.0; outputs]);
                Layer::Engine(kernels::Linear::new(engine.isa, weight, &bias))
            }
            Backend::Candle(device) => Layer::Candle {
                weight: Tensor::from_slice(weight, (outputs, inputs), device)?
                    .t()?
                    .contiguous()?,
                bias: bias
                    .map(|bias| Tensor::from_vec(bias, outputs, device))
                    .transpose()?,
            },
        }))
    }

    /// `[N, inputs]` to `[N, outputs]`.
    ///
    /// # Errors
    /// If the width does not fit or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, None)
    }

    /// `activation(x W^T + b)`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn forward_with(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        match &self.0 {
            Layer::Engine(linear) => on_engine(linear, x, |x, y| linear.run(x, y, activation)),
            Layer::Candle { weight, bias } => {
                let mut y = x.matmul(weight)?;
                if let Some(bias) = bias {
                    y = y.broadcast_add(bias)?;
                }
                activate(&y, activation)
            }
        }
    }
}

fn on_engine(
    linear: &kernels::Linear,
    x: &Tensor,
    run: impl Fn(&[f32], &mut [f32]),
) -> Result<Tensor> {
    let (batch, inputs) = x.dims2()?;
    if inputs != linear.inputs() {
        let expected = linear.inputs();
        candle_core::bail!("expected {expected} inputs, found {inputs}");
    }
    let y = vec![0f32; batch * linear.outputs()];
    let y = Tensor::from_vec(y, (batch, linear.outputs()), &Device::Cpu)?;
    let kernel = |y: &mut [f32], x: &[f32]| run(x, y);
    y.inplace_op2(x, &OnSlices(kernel))?;
    Ok(y)
}

/// Mean over height and width of a map: `[N, C]`.
///
/// # Errors
/// If the device fails.
pub fn global_mean(x: &Map) -> Result<Tensor> {
    mean_of_sum(x, None)
}

/// Mean over height and width of `x + y`, `[N, C]`.
pub(super) fn mean_of_sum(x: &Map, y: Option<&Map>) -> Result<Tensor> {
    let Some(engine) = x.engine() else {
        return match y {
            Some(y) => (&x.tensor + &y.tensor)?.mean((2, 3)),
            None => x.tensor.mean((2, 3)),
        };
    };
    let (batch, height, width, channels) = x.tensor.dims4()?;
    let picture = height * width * channels;
    let means = Tensor::from_vec(
        vec![0f32; batch * channels],
        (batch, channels),
        &Device::Cpu,
    )?;
    let each = |means: &mut [f32], x: &[f32], y: Option<&[f32]>| {
        for (n, means) in means.chunks_exact_mut(channels).enumerate() {
            let part = n * picture..(n + 1) * picture;
            let y = y.map(|y| &y[part.clone()]);
            kernels::mean(engine.isa, &x[part.clone()], y, channels, means);
        }
    };
    match y {
        Some(y) => {
            let kernel = |m: &mut [f32], x: &[f32], y: &[f32]| each(m, x, Some(y));
            means.inplace_op3(&x.tensor, &y.tensor, &OnSlices(kernel))?;
        }
        None => {
            let kernel = |m: &mut [f32], x: &[f32]| each(m, x, None);
            means.inplace_op2(&x.tensor, &OnSlices(kernel))?;
        }
    }
    Ok(means)
}
