//! Windows of maps as rows of a matrix, so that a convolution is a matrix product (im2col).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};

/// From `[N, C, H, W]` to `[N, H' * W', C * k * k]`: a row for each window. Outside of the map there
/// are zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfold {
    pub kernel_size: usize,
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    pub dilation: usize,
}

impl Unfold {
    /// Windows along an axis of `size` values.
    pub(super) fn windows(&self, size: usize) -> Result<usize> {
        let reach = self.dilation * (self.kernel_size - 1) + 1;
        match (size + 2 * self.padding).checked_sub(reach) {
            Some(rest) => Ok(rest / self.stride + 1),
            None => bail!(
                "a window of {reach} does not fit in {size} + 2 * {}",
                self.padding
            ),
        }
    }

    /// Batch, windows and values per window.
    fn shape(&self, layout: &Layout) -> Result<(usize, usize, usize)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let windows = self.windows(height)? * self.windows(width)?;
        Ok((
            batch,
            windows,
            channels * self.kernel_size * self.kernel_size,
        ))
    }
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = storage.as_slice::<f32>()?;
        let (_, _, height, width) = layout.shape().dims4()?;
        let (batch, windows, depth) = self.shape(layout)?;
        let &[of_image, of_channel, of_row, of_pixel] = layout.stride() else {
            bail!("expected a map of four dimensions")
        };
        let across = self.windows(width)?;
        let area = self.kernel_size * self.kernel_size;
        // The source of a tap along an axis, if it is on the map.
        let source = |window: usize, tap: usize, size: usize| {
            (window * self.stride + tap * self.dilation)
                .checked_sub(self.padding)
                .filter(|&at| at < size)
        };
        let mut columns = vec![0f32; batch * windows * depth];
        for (index, window) in columns.chunks_exact_mut(depth).enumerate() {
            let (image, place) = (index / windows, index % windows);
            let start = layout.start_offset() + image * of_image;
            for (at, value) in window.iter_mut().enumerate() {
                let (channel, tap) = (at / area, at % area);
                let row = source(place / across, tap / self.kernel_size, height);
                let column = source(place % across, tap % self.kernel_size, width);
                if let (Some(row), Some(column)) = (row, column) {
                    *value = x[start + channel * of_channel + row * of_row + column * of_pixel];
                }
            }
        }
        Ok((CpuStorage::F32(columns), (batch, windows, depth).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let shape = self.shape(layout)?;
        Ok((
            super::cuda::unfold(self, storage, layout, shape)?,
            shape.into(),
        ))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        let shape = self.shape(layout)?;
        Ok((
            super::metal::unfold(self, storage, layout, shape)?,
            shape.into(),
        ))
    }
}
