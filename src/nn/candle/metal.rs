//! Kernels on Metal that Candle compiles but does not offer as operations.

use candle_core::backend::BackendStorage;
use candle_core::metal_backend::buffer_o;
use candle_core::{DType, Layout, MetalError, MetalStorage, Result, bail};

use super::unfold::Unfold;

/// As [`Unfold`]'s `cpu_fwd`, with Candle's kernel `im2col`. The caller keeps a map so small that the
/// number of results fits in 32 bits, in which the kernel counts.
pub(super) fn unfold(
    op: &Unfold,
    x: &MetalStorage,
    layout: &Layout,
    (batch, windows, depth): (usize, usize, usize),
) -> Result<MetalStorage> {
    let device = x.device();
    let count = batch * windows * depth;
    if u32::try_from(count).is_err() {
        bail!("an unfolded map of {count} values is too large for one launch");
    }
    let columns = device.new_buffer(count, DType::F32, "unfold")?;
    let encoder = device.command_encoder()?;
    candle_metal_kernels::call_im2col_strided(
        device.metal_device(),
        &encoder,
        device.kernels(),
        "im2col_f32",
        layout.dims(),
        layout.stride(),
        (
            op.kernel_size,
            op.kernel_size,
            op.stride,
            op.padding,
            op.dilation,
        ),
        buffer_o(x.buffer(), layout, DType::F32),
        &columns,
    )
    .map_err(MetalError::from)?;
    drop(encoder);
    Ok(MetalStorage::new(
        columns,
        device.clone(),
        count,
        DType::F32,
    ))
}
