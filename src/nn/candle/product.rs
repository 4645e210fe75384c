//! Convolutions as matrix products.
//!
//! Groups are merged into blocks, with zeros for the inputs of other groups in the block: the tiles of
//! a GPU's product have at least 32 to 64 rows, so a block of that many outputs costs no more than a
//! group of four, and one batched product computes all blocks.

use candle_core::{Device, Result, Tensor};

use super::Engine;
use super::launch::{Kernel, Launch, Params};
use crate::kernels::{ConvGeometry, Padding};

/// Fewest outputs of a block, unless there are fewer in all.
const BLOCK: usize = 64;

/// The products of a convolution, without bias.
#[derive(Debug)]
pub(super) struct Product {
    /// `[blocks, outputs per block, depth]`.
    filters: Tensor,
    /// Whether the map is the matrix of its windows, so that nothing is unfolded.
    is_pixelwise: bool,
}

/// Number of blocks: as many groups to a block as give [`BLOCK`] outputs, or all of them.
fn blocks(geometry: &ConvGeometry) -> usize {
    let groups = geometry.groups;
    let outputs = geometry.outputs / groups;
    let merged =
        (1..groups).find(|merged| groups.is_multiple_of(*merged) && merged * outputs >= BLOCK);
    groups / merged.unwrap_or(groups)
}

/// Filters `[outputs, inputs / groups, k, k]` as `[blocks, outputs per block, inputs per block * k * k]`.
fn block_diagonal(filters: &[f32], geometry: &ConvGeometry, blocks: usize) -> Vec<f32> {
    let ConvGeometry {
        outputs, groups, ..
    } = *geometry;
    let merged = groups / blocks;
    let group_outputs = outputs / groups;
    let group_depth = geometry.depth();
    let depth = merged * group_depth;
    let mut merged_filters = vec![0.0; outputs * depth];
    let rows = merged_filters.chunks_exact_mut(depth);
    for ((output, row), filter) in rows.enumerate().zip(filters.chunks_exact(group_depth)) {
        let place = output / group_outputs % merged;
        row[place * group_depth..][..group_depth].copy_from_slice(filter);
    }
    merged_filters
}

impl Product {
    pub(super) fn new(filters: &[f32], geometry: &ConvGeometry, engine: &Engine) -> Result<Self> {
        let blocks = blocks(geometry);
        let filters = block_diagonal(filters, geometry, blocks);
        let outputs = geometry.outputs / blocks;
        let shape = (blocks, outputs, filters.len() / geometry.outputs);
        let filters = Tensor::from_vec(filters, shape, &Device::Cpu)?.to_dtype(engine.dtype())?;
        Ok(Self {
            filters: filters.to_device(engine.device())?,
            is_pixelwise: geometry.kernel_size == 1
                && geometry.stride == 1
                && matches!(geometry.padding, Padding::Each(0) | Padding::Same),
        })
    }

    /// The convolved map of `x`, `[inputs, N, H, W]`, as `[blocks, outputs per block, N * H' * W']`.
    pub(super) fn forward(&self, engine: &Engine, x: &Tensor, params: Params) -> Result<Tensor> {
        let (blocks, _, depth) = self.filters.dims3()?;
        let shape = (blocks, depth, params.inner as usize);
        let columns = if self.is_pixelwise {
            x.reshape(shape)?
        } else {
            let unfold = Launch::new(Kernel::Unfold, params);
            unfold.compute(engine, x, shape, engine.dtype())?
        };
        engine.product(&self.filters, &columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KernelShape;

    #[test]
    fn blocks_have_at_least_64_outputs_or_all() {
        for (outputs, groups, expected) in [
            (64, 1, 1),
            (128, 32, 2),
            (256, 64, 4),
            (1024, 32, 16),
            (48, 48, 1),
            (96, 96, 1),
            (192, 192, 3),
            (2048, 4, 4),
        ] {
            let geometry = ConvGeometry {
                inputs: outputs,
                outputs,
                kernel_size: 3,
                shape: KernelShape::Square,
                stride: 1,
                padding: Padding::Each(1),
                dilation: 1,
                groups,
            };
            assert_eq!(
                blocks(&geometry),
                expected,
                "{outputs} outputs, {groups} groups"
            );
        }
    }

    #[test]
    fn zeros_fill_the_blocks() {
        let geometry = ConvGeometry {
            inputs: 4,
            outputs: 4,
            kernel_size: 1,
            shape: KernelShape::Square,
            stride: 1,
            padding: Padding::Each(0),
            dilation: 1,
            groups: 4,
        };
        let merged = block_diagonal(&[1.0, 2.0, 3.0, 4.0], &geometry, 2);
        assert_eq!(merged, [1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 4.0]);
    }
}
