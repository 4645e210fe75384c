//! Arithmetic on slices: no tensors, no devices, no files.

mod direct;
mod elementwise;
mod gemm;
mod geometry;
mod matrix;
mod micro;
mod scratch;
mod simd;

pub use direct::{DirectConv, to_channels_last};
pub use elementwise::{Activation, MapShape, bias_activate, scale_add_activate};
pub use gemm::{Finish, Packed, RowSums, Rows, gemm};
pub use geometry::ConvGeometry;
pub use matrix::MatMut;
pub use simd::{Isa, Kernel, MAX_LANES, Portable, Simd};
