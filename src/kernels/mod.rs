//! Arithmetic on slices: no tensors, no devices, no files.

mod elementwise;
mod geometry;
mod grouped;
mod math;
mod matrix;
mod pool;
#[cfg(test)]
mod reference;
mod simd;

pub use elementwise::{Activation, MapShape, bias_activate, scale_add_activate};
pub use geometry::ConvGeometry;
pub use grouped::GroupedConv;
pub use matrix::MatMut;
pub use pool::Pool;
pub use simd::{Isa, Kernel, MAX_LANES, Portable, Simd};
