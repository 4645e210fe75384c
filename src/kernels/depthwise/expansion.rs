//! The 1x1 convolution before a depthwise one, row by row: its output, the largest map of an inverted
//! residual block, exists only as the rows of the ring.

use super::per_vector;
use crate::kernels::Activation;
use crate::kernels::aligned::Aligned;
use crate::kernels::epilogue::{ActivateRows, Placement};
use crate::kernels::matrix::MatMut;
use crate::kernels::micro::{PanelProduct, RowLayout, most_depth, multiply};
use crate::kernels::simd::Simd;

/// A 1x1 convolution with bias and activation, packed for the vectors of the depthwise one. In f32: a map in
/// bf16 would be rounded between the two.
#[derive(Debug)]
pub(super) struct Expansion {
    pub(super) inputs: usize,
    /// `[vectors, inputs, lanes]`.
    weights: Aligned,
    /// `[vectors, lanes]`.
    bias: Aligned,
    activation: Placement,
}

impl Expansion {
    /// Most inputs: as many as the micro-kernel sums at a time, so that sums are those of the convolution by
    /// itself to the last bit.
    pub(super) const MOST_INPUTS: usize = most_depth::<f32>();

    /// Packs filters `[channels, inputs]` and `bias`, `[channels]`.
    pub(super) fn new(
        lanes: usize,
        filters: &[f32],
        bias: &[f32],
        activation: Option<Activation>,
    ) -> Self {
        let inputs = filters.len() / bias.len();
        Self {
            inputs,
            weights: per_vector(filters, inputs, lanes),
            bias: per_vector(bias, 1, lanes),
            activation: activation.into(),
        }
    }

    /// A vector of channels of the pixels `x`, `[pixels, inputs]`, in `row`, `[pixels, lanes]`.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, vector: usize, x: &[f32], row: &mut [f32]) {
        let panel = self.inputs * S::LANES;
        multiply(
            simd,
            1,
            PanelProduct {
                rows: x,
                layout: RowLayout::plain(self.inputs, self.inputs),
                panel: &self.weights[vector * panel..][..panel],
                next: [&[], &[]],
                y: MatMut::new(row, S::LANES),
                partial: None,
                bias: Some(&self.bias[vector * S::LANES..][..S::LANES]),
                last: true,
                relu: self.activation.relu,
                sums: None,
            },
        );
        if let Some(activation) = self.activation.after {
            let values = row.len();
            simd.run(ActivateRows {
                rows: MatMut::new(row, values),
                from: None,
                activation,
            });
        }
    }
}
