//! Layers on Candle tensors, in evaluation mode.
//!
//! A layer is made from plain numbers, already folded, for one [`Backend`]: on the CPU our kernels,
//! which own their packed weights and work on channels-last maps; on other devices Candle's
//! operations on `[N, C, H, W]`. A network sees a [`Map`] and not which of the two it is.

mod conv;
mod linear;
mod map;
mod norm;
mod pool;
mod residual;
mod se;
mod sk;

pub use conv::Conv;
pub use linear::{Linear, global_mean};
pub use map::{Backend, Engine, Map, stored_channels_last};
pub use norm::BatchNorm;
pub use pool::{avg_pool, avg_pool_ceil, max_pool_ceil, max_pool_pad};
pub use residual::{residual_tail, scale};
pub use se::SqueezeExcite;
pub use sk::{KernelAttention, select};

pub use crate::kernels::{Activation, ConvGeometry, Isa};

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
