//! Convolutions as matrix products.
//!
//! Groups are merged into blocks, with zeros for the inputs of other groups in the block: the tiles of
//! a GPU's product have at least 32 to 64 rows, so a block of that many outputs costs no more than a
//! group of four, and one batched product computes all blocks.

use candle_core::{Device, Result, Tensor};

use super::unfold::Unfold;
use crate::kernels::{ConvGeometry, Padding};

/// Fewest outputs of a block, unless there are fewer in all.
const BLOCK: usize = 64;

/// The products of a convolution, without bias.
#[derive(Debug)]
pub(super) struct Product {
    /// `[blocks, outputs per block, depth]`.
    weight: Tensor,
    geometry: ConvGeometry,
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
        inputs,
        outputs,
        kernel_size,
        groups,
        ..
    } = *geometry;
    let merged = groups / blocks;
    let group_outputs = outputs / groups;
    let group_depth = inputs / groups * kernel_size * kernel_size;
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
    pub(super) fn new(filters: &[f32], geometry: ConvGeometry, device: &Device) -> Result<Self> {
        let blocks = blocks(&geometry);
        let filters = block_diagonal(filters, &geometry, blocks);
        let outputs = geometry.outputs / blocks;
        let shape = (blocks, outputs, filters.len() / geometry.outputs);
        Ok(Self {
            weight: Tensor::from_vec(filters, shape, device)?,
            geometry,
        })
    }

    pub(super) fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The convolved map `[N, outputs, H', W']` of `x`, `[N, inputs, H, W]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, inputs, height, width) = x.dims4()?;
        let ConvGeometry {
            kernel_size,
            stride,
            dilation,
            outputs,
            ..
        } = self.geometry;
        let (x, padding) = match self.geometry.padding {
            Padding::Each(padding) => (x.clone(), padding),
            Padding::Same => {
                let [[above, below], [left, right]] =
                    [height, width].map(|size| self.geometry.zeros(size));
                let x = x.pad_with_zeros(2, above, below)?;
                (x.pad_with_zeros(3, left, right)?, 0)
            }
        };
        let (_, _, height, width) = x.dims4()?;
        let unfold = Unfold {
            kernel_size,
            stride,
            padding,
            dilation,
        };
        let (rows, columns) = (unfold.windows(height)?, unfold.windows(width)?);
        let pixels = rows * columns;
        let blocks = self.weight.dim(0)?;
        let is_pixelwise = kernel_size == 1 && stride == 1 && padding == 0;
        let y = if blocks == 1 || batch == 1 {
            // One of batch and blocks is 1, and the other is the batch of the product.
            let products = batch * blocks;
            let x = x.reshape((products, inputs / blocks, height, width))?;
            let windows = if is_pixelwise {
                x.reshape((products, inputs / blocks, pixels))?
            } else {
                x.apply_op1_no_bwd(&unfold)?.t()?
            };
            let (_, rows, depth) = self.weight.dims3()?;
            self.weight
                .broadcast_as((products, rows, depth))?
                .matmul(&windows)?
        } else {
            // Blocks outermost, as the steps from image to image and from block to block would not
            // be one step.
            let x = x.reshape((batch, blocks, inputs / blocks, height, width))?;
            let windows = if is_pixelwise {
                let x = x.permute((1, 2, 0, 3, 4))?.contiguous()?;
                x.reshape((blocks, inputs / blocks, batch * pixels))?
            } else {
                let x = x.transpose(0, 1)?.contiguous()?;
                let x = x.reshape((blocks * batch, inputs / blocks, height, width))?;
                let depth = inputs / blocks * kernel_size * kernel_size;
                let windows = x.apply_op1_no_bwd(&unfold)?;
                windows.reshape((blocks, batch * pixels, depth))?.t()?
            };
            let y = self.weight.matmul(&windows)?;
            let y = y.reshape((blocks, outputs / blocks, batch, pixels))?;
            y.permute((2, 0, 1, 3))?.contiguous()?
        };
        y.reshape((batch, outputs, rows, columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference;

    #[test]
    fn products_are_convolutions() {
        for (inputs, outputs, groups) in [
            (3, 5, 1),
            (64, 128, 1),
            (8, 8, 8),
            (96, 96, 96),
            (128, 128, 32),
            (64, 128, 64),
            (12, 24, 4),
        ] {
            for (kernel_size, stride, dilation, padding) in [
                (1, 1, 1, Padding::Each(0)),
                (1, 2, 1, Padding::Each(0)),
                (1, 1, 1, Padding::Each(1)),
                (3, 1, 1, Padding::Each(1)),
                (3, 2, 1, Padding::Each(1)),
                (3, 1, 2, Padding::Each(2)),
                (3, 2, 1, Padding::Same),
                (7, 2, 1, Padding::Each(3)),
            ] {
                let geometry = ConvGeometry {
                    inputs,
                    outputs,
                    kernel_size,
                    stride,
                    padding,
                    dilation,
                    groups,
                };
                for [batch, height, width] in [[1, 7, 6], [3, 5, 8], [3, 1, 1]] {
                    check(geometry, batch, height, width);
                }
            }
        }
    }

    fn check(geometry: ConvGeometry, batch: usize, height: usize, width: usize) {
        let x = reference::random(batch * height * width * geometry.inputs, 1);
        let filters = reference::random(geometry.outputs * geometry.depth(), 2);
        let bias = vec![0.0; geometry.outputs];
        let exact = reference::conv(&x, [batch, height, width], &filters, &bias, geometry);
        let product = Product::new(&filters, geometry, &Device::Cpu).unwrap();
        let x = Tensor::from_vec(x, (batch, height, width, geometry.inputs), &Device::Cpu);
        let x = x.unwrap().permute((0, 3, 1, 2)).unwrap();
        // Not from the start of its memory, as a part of a batch is not.
        let twice = Tensor::cat(&[&x, &x], 0).unwrap();
        let part = twice.narrow(0, batch, batch).unwrap();
        for x in [x.contiguous().unwrap(), part] {
            let y = product.forward(&x).unwrap();
            let (_, _, height, width) = y.dims4().unwrap();
            assert_eq!(height * width * batch * geometry.outputs, exact.len());
            let y = y.permute((0, 2, 3, 1)).unwrap().flatten_all().unwrap();
            for (found, exact) in y.to_vec1::<f32>().unwrap().into_iter().zip(&exact) {
                let error = (f64::from(found) - exact).abs();
                assert!(error < 1e-4, "{geometry:?}: {found} for {exact}");
            }
        }
    }

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
            stride: 1,
            padding: Padding::Each(0),
            dilation: 1,
            groups: 4,
        };
        let merged = block_diagonal(&[1.0, 2.0, 3.0, 4.0], &geometry, 2);
        assert_eq!(merged, [1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 4.0]);
    }
}
