//! Layers on Candle tensors, in evaluation mode.
//!
//! A layer is made from plain numbers, already folded, and maps a batch `[N, C, H, W]` to a batch.
//! On the CPU, bias, activation and the tail of a residual block are passes of our own over the map;
//! the rest, and everything on other devices, are Candle's operations. A network does not see the
//! difference, so a layer can be made faster here alone.

mod conv;
mod linear;
mod norm;
mod pool;
mod residual;
mod se;
mod sk;

pub use conv::{Conv, Geometry};
pub use linear::Linear;
pub use norm::BatchNorm;
pub use pool::{avg_pool, avg_pool_ceil, global_mean, max_pool_ceil, max_pool_pad};
pub use residual::residual_tail;
pub use se::SqueezeExcite;
pub use sk::{KernelAttention, select};

pub use crate::kernels::Activation;

use candle_core::{Result, Tensor};

/// The activation as Candle computes it, on any device. Its ReLU turns NaN into 0; the weights and
/// the input are checked before, so that only an overflow could be hidden so.
pub(crate) fn activate(x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    match activation {
        Some(Activation::Relu) => x.relu(),
        Some(Activation::Silu) => x.silu(),
        None => Ok(x.clone()),
    }
}
