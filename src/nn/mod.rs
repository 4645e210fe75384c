//! Layers, in evaluation mode.
//!
//! A layer is made for one [`Backend`] from weights with the normalisation already folded in: on
//! the CPU our kernels, which own their packed weights and work on channels-last maps; on other
//! devices Candle's products, with kernels between them, on `[C, N, H, W]`. The modules `cpu` and `candle` have the same
//! functions. The layers here choose between them, so that a network handles a [`Map`] without
//! knowing its backend.
//!
//! Public for the benches and tests, which run a network on a chosen [`Backend`].

mod candle;
mod conv;
mod cpu;
mod linear;
mod map;
mod norm;
mod precision;
mod se;
mod shortcut;
mod sk;

pub(crate) use candle::is_out_of_memory;
pub use candle::{Engine as CandleEngine, Map as CandleMap, Work};
pub use conv::Conv;
pub use cpu::{Engine, Map as CpuMap};
pub use linear::Linear;
pub use map::{Backend, Map, stored_channels_last};
pub use norm::BatchNorm;
pub use precision::{Precision, PrecisionChoice, PrecisionError};
pub use se::SqueezeExcite;
pub use shortcut::add_shortcut;
pub use sk::KernelAttention;

pub use crate::kernels::{Activation, ConvGeometry, Isa, KernelShape, Padding, Pool};
