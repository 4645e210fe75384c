//! Kernels on CUDA that Candle compiles but does not offer as operations.
#![allow(unsafe_code)]

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::{SlicePtrOrNull, WrapErr, kernels};
use candle_core::{CudaStorage, Layout, Result};

use super::unfold::Unfold;

/// As [`Unfold`]'s `cpu_fwd`, with Candle's kernel `im2col`. The caller keeps a map so small that the
/// number of results fits in 32 bits, in which the kernel counts.
pub(super) fn unfold(
    op: &Unfold,
    x: &CudaStorage,
    layout: &Layout,
    (batch, windows, depth): (usize, usize, usize),
) -> Result<CudaStorage> {
    let device = x.device();
    let (_, _, height, width) = layout.shape().dims4()?;
    let count = batch * windows * depth;
    let Ok(threads) = u32::try_from(count) else {
        candle_core::bail!("an unfolded map of {count} values is too large for one launch");
    };
    let sizes = [layout.dims(), layout.stride()].concat();
    let sizes = SlicePtrOrNull::params_from_vec(device, sizes)?;
    let x = x.as_cuda_slice::<f32>()?.slice(layout.start_offset()..);
    let function = device.get_or_load_func("im2col_f32", &kernels::CONV)?;
    // SAFETY: the kernel writes every value before anything reads it, on the same stream.
    let columns = unsafe { device.alloc::<f32>(count)? };
    let [across, down] = [op.windows(width)?, op.windows(height)?];
    let mut arguments = function.builder();
    let numbers = [
        count,
        down,
        across,
        op.kernel_size,
        op.kernel_size,
        op.stride,
        op.padding,
        op.dilation,
    ];
    for number in &numbers {
        arguments.arg(number);
    }
    sizes.builder_arg(&mut arguments);
    arguments.arg(&x);
    arguments.arg(&columns);
    // SAFETY: these are the kernel's parameters in its order: sizes as `usize`, the map's dimensions
    // and strides, source and destination. `count` is the length of the destination, and windows,
    // dimensions and strides describe the source.
    unsafe { arguments.launch(LaunchConfig::for_num_elems(threads)) }.w()?;
    Ok(CudaStorage::wrap_cuda_slice(columns, device.clone()))
}
