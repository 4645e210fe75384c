//! Arithmetic on slices: no tensors, no devices, no files.
//!
//! Maps are channels-last, `[N, H, W, C]`. Public for the benches alone.

mod activation;
mod aligned;
mod bf16;
mod channels;
mod conv;
mod depthwise;
mod direct;
mod dots;
mod element;
mod elementwise;
mod epilogue;
mod gemm;
mod geometry;
mod grouped;
mod linear;
mod math;
mod matrix;
mod micro;
mod pairs;
mod partition;
mod peak;
mod pool;
#[cfg(test)]
pub(crate) mod reference;
mod scratch;
mod simd;
#[cfg(test)]
mod tests;
mod winograd;

pub use activation::Activation;
pub use aligned::{line_start, slack};
pub use bf16::Bf16;
pub use channels::{join, shuffle};
pub use conv::Conv;
pub use depthwise::DepthwiseConv;
pub use direct::{DirectConv, convert, to_channels_last};
pub use dots::{MOST_VECTORS, dots};
pub use element::{Element, Mixed, Word};
pub use elementwise::{Elementwise, mean};
pub use epilogue::{Epilogue, RowSums};
pub use geometry::{ConvGeometry, KernelShape, Padding};
pub use grouped::GroupedConv;
pub use linear::Linear;
pub use pairs::{COLUMNS, Hit, PackedRows};
pub use peak::peak_flops;
pub use pool::Pool;
pub use simd::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use simd::PixelSums;
pub use winograd::{TileSize, Winograd};

use gemm::{Packed, gemm};
use matrix::MatMut;
use simd::MAX_LANES;
pub(crate) use simd::{Kernel, Simd};
