//! Arithmetic on slices: no tensors, no devices, no files.
//!
//! Maps are channels-last, `[N, H, W, C]`.

mod direct;
mod elementwise;
mod gemm;
mod geometry;
mod grouped;
mod math;
mod matrix;
mod micro;
mod pool;
#[cfg(test)]
mod reference;
mod scratch;
mod simd;

pub use direct::{DirectConv, to_channels_last};
pub use elementwise::{Activation, MapShape, bias_activate, scale_add_activate};
pub use gemm::{Finish, Packed, RowSums, Rows, gemm};
pub use geometry::ConvGeometry;
pub use grouped::GroupedConv;
pub use matrix::MatMut;
pub use pool::Pool;
pub use simd::{Isa, Kernel, MAX_LANES, Portable, Simd};
