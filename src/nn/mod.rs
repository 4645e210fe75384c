//! Layers, in evaluation mode.
//!
//! A layer is made from plain numbers, already folded, for one [`Backend`]: on the CPU our kernels,
//! which own their packed weights and work on channels-last maps; on other devices Candle's
//! operations on `[N, C, H, W]`. The folders `cpu` and `candle` have the same functions; the layers
//! here choose between them, and a network sees a [`Map`] and not which of the two it is.

mod candle;
mod conv;
mod cpu;
mod linear;
mod map;
mod norm;
mod residual;
mod se;
mod sk;

pub use conv::Conv;
pub use cpu::{Engine, Map as CpuMap};
pub use linear::Linear;
pub use map::{Backend, Map, stored_channels_last};
pub use norm::BatchNorm;
pub use residual::residual_tail;
pub use se::SqueezeExcite;
pub use sk::KernelAttention;

pub use crate::kernels::{Activation, ConvGeometry, Isa, Pool};
