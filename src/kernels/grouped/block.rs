//! The sums of a few pixels of a row, kept in registers.

use std::ops::Range;

use super::{Pass, Source};
use crate::kernels::math::activate;
use crate::kernels::matrix::MatMut;
use crate::kernels::simd::{Kernel, MAX_LANES, Simd};

/// Output rows and vectors of channels that one thread computes.
pub(super) struct Leaf<'a, 'y> {
    pub(super) pass: Pass<'a>,
    /// The pixels of the rows, the channels of the vectors.
    pub(super) y: MatMut<'y>,
    pub(super) rows: Range<usize>,
    pub(super) vectors: Range<usize>,
}

/// How the taps of a row move over the columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// Three taps, each output one column (of every `dilation`-th) after the last: a column serves
    /// three outputs.
    Single,
    /// Three taps, two columns from output to output: every other column serves two outputs.
    Double,
    /// Any taps; every output loads its own columns.
    Plain,
}

/// Outputs of a row at the distance in which they share columns.
#[derive(Clone, Copy)]
struct Outputs {
    walk: Walk,
    /// The first output pixel and the distance to the next, in pixels.
    start: usize,
    spacing: usize,
}

/// The operands of a vector of output channels, input channel by input channel.
trait Operand<S: Simd>: Copy {
    /// From the pixel that starts at `pixel` in `row`.
    fn load(self, simd: S, row: &[f32], pixel: usize) -> S::V;
}

#[derive(Clone, Copy)]
struct Splat(usize);

impl<S: Simd> Operand<S> for Splat {
    #[inline(always)]
    fn load(self, simd: S, row: &[f32], pixel: usize) -> S::V {
        simd.splat(row[pixel + self.0])
    }
}

#[derive(Clone, Copy)]
struct Permute<L> {
    base: usize,
    order: L,
}

impl<S: Simd> Operand<S> for Permute<S::Lanes> {
    #[inline(always)]
    fn load(self, simd: S, row: &[f32], pixel: usize) -> S::V {
        simd.permute(simd.load(&row[pixel + self.base..]), self.order)
    }
}

#[derive(Clone, Copy)]
struct Scattered<'a>(&'a [usize]);

impl<S: Simd> Operand<S> for Scattered<'_> {
    #[inline(always)]
    fn load(self, simd: S, row: &[f32], pixel: usize) -> S::V {
        let mut lanes = [0.0; MAX_LANES];
        for (lane, channel) in lanes.iter_mut().zip(self.0) {
            *lane = row[pixel + channel];
        }
        simd.load(&lanes)
    }
}

impl Kernel for Leaf<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let geometry = &self.pass.conv.geometry;
        let (stride, dilation) = (geometry.stride, geometry.dilation);
        let (walk, spacing) = match geometry.kernel {
            3 if stride == dilation => (Walk::Single, 1),
            // Outputs `dilation` apart share columns, those in between do not.
            3 if stride == 1 => (Walk::Single, dilation),
            3 if stride == 2 * dilation => (Walk::Double, 1),
            _ => (Walk::Plain, 1),
        };
        for row in self.rows.clone() {
            for start in 0..spacing.min(self.pass.output_width) {
                let count = (self.pass.output_width - start).div_ceil(spacing);
                let outputs = Outputs {
                    walk,
                    start,
                    spacing,
                };
                if S::ROWS >= 14 && count >= 14 {
                    self.sequence::<S, 14>(simd, row, outputs, count);
                } else if count >= 7 {
                    self.sequence::<S, 7>(simd, row, outputs, count);
                } else if count >= 4 {
                    self.sequence::<S, 4>(simd, row, outputs, count);
                } else {
                    self.sequence::<S, 1>(simd, row, outputs, count);
                }
            }
        }
    }
}

impl Leaf<'_, '_> {
    /// `count` outputs of a row, `P` at a time; the last ones again if `P` does not divide `count`.
    #[inline(always)]
    fn sequence<S: Simd, const P: usize>(
        &mut self,
        simd: S,
        row: usize,
        outputs: Outputs,
        count: usize,
    ) {
        for at in (0..count).step_by(P) {
            let at = at.min(count - P);
            let start = outputs.start + at * outputs.spacing;
            self.block::<S, P>(simd, row, Outputs { start, ..outputs });
        }
    }

    /// `P` outputs of a row, all vectors.
    #[inline(always)]
    fn block<S: Simd, const P: usize>(&mut self, simd: S, row: usize, outputs: Outputs) {
        let Pass {
            conv, output_width, ..
        } = self.pass;
        let first = (row - self.rows.start) * output_width + outputs.start;
        for vector in self.vectors.clone() {
            let bias = simd.load(&conv.bias[vector * S::LANES..]);
            let sums: [S::V; P] = match &conv.sources[vector] {
                Source::Splat(base) => {
                    let operand = |j: usize| Splat(base + j);
                    self.pass
                        .walk(simd, row, outputs, vector, [bias; P], operand)
                }
                Source::Permute(inputs) => {
                    let operand = |j: usize| {
                        let (base, order) = &inputs[j];
                        let order = simd.lanes(order);
                        Permute::<S::Lanes> { base: *base, order }
                    };
                    self.pass
                        .walk(simd, row, outputs, vector, [bias; P], operand)
                }
                Source::Scattered(inputs) => {
                    let operand = |j: usize| Scattered(&inputs[j]);
                    self.pass
                        .plain(simd, row, outputs, vector, [bias; P], operand)
                }
            };
            let channel = (vector - self.vectors.start) * S::LANES;
            for (p, sum) in sums.into_iter().enumerate() {
                let y = &mut self.y.row(first + p * outputs.spacing)[channel..];
                simd.store_some(activate(simd, sum, self.pass.activation), y);
            }
        }
    }
}

impl Pass<'_> {
    /// Adds all products of `P` outputs to the sums.
    #[inline(always)]
    fn walk<S: Simd, O: Operand<S>, const P: usize>(
        &self,
        simd: S,
        row: usize,
        outputs: Outputs,
        vector: usize,
        sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        let geometry = &self.conv.geometry;
        let first = outputs.start * geometry.stride;
        let last = first
            + (P - 1) * outputs.spacing * geometry.stride
            + (geometry.kernel - 1) * geometry.dilation;
        let inside = first >= geometry.padding && last - geometry.padding < self.width;
        match (outputs.walk, inside) {
            (Walk::Single, false) => {
                self.rolling::<S, O, P, 1, true>(simd, row, outputs, vector, sums, operand)
            }
            (Walk::Single, true) => {
                self.rolling::<S, O, P, 1, false>(simd, row, outputs, vector, sums, operand)
            }
            (Walk::Double, false) => {
                self.rolling::<S, O, P, 2, true>(simd, row, outputs, vector, sums, operand)
            }
            (Walk::Double, true) => {
                self.rolling::<S, O, P, 2, false>(simd, row, outputs, vector, sums, operand)
            }
            (Walk::Plain, _) => self.plain(simd, row, outputs, vector, sums, operand),
        }
    }

    /// The rows of the map that the taps of an output row fall on, each with the weights of these
    /// taps, `[inputs / groups, kernel, lanes]`.
    #[inline(always)]
    fn tap_rows(&self, row: usize, vector: usize) -> impl Iterator<Item = (&[f32], &[f32])> {
        let geometry = &self.conv.geometry;
        let (picture, oy) = (row / self.output_height, row % self.output_height);
        let taps = geometry.group_inputs() * geometry.kernel * self.conv.lanes;
        let length = self.width * geometry.inputs;
        let weights = self.conv.weights[vector * geometry.kernel * taps..].chunks_exact(taps);
        (0..geometry.kernel)
            .zip(weights)
            .filter_map(move |(ky, weights)| {
                let y = (oy * geometry.stride + ky * geometry.dilation)
                    .checked_sub(geometry.padding)
                    .filter(|&y| y < self.height)?;
                Some((
                    &self.x[(picture * self.height + y) * length..][..length],
                    weights,
                ))
            })
    }

    /// For kernels of three columns: every column is loaded once for all outputs of the block that
    /// it contributes to. `STEP` columns from output to output; `EDGE` if some are outside the map.
    #[inline(always)]
    fn rolling<S: Simd, O: Operand<S>, const P: usize, const STEP: usize, const EDGE: bool>(
        &self,
        simd: S,
        row: usize,
        outputs: Outputs,
        vector: usize,
        mut sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        let geometry = &self.conv.geometry;
        let inputs = geometry.inputs;
        // Left of the map this wraps around to a column far right of it.
        let first = (outputs.start * geometry.stride).wrapping_sub(geometry.padding);
        for (row, weights) in self.tap_rows(row, vector) {
            for (j, taps) in weights.chunks_exact(3 * S::LANES).enumerate() {
                let operand = operand(j);
                let column = |index: usize| {
                    let column = first.wrapping_add(index * geometry.dilation);
                    if EDGE && column >= self.width {
                        simd.splat(0.0)
                    } else {
                        operand.load(simd, row, column * inputs)
                    }
                };
                let taps: [S::V; 3] = std::array::from_fn(|kx| simd.load(&taps[kx * S::LANES..]));
                let mut left = column(0);
                let mut middle = column(1);
                for (p, sum) in sums.iter_mut().enumerate() {
                    if STEP == 2 && p > 0 {
                        middle = column(2 * p + 1);
                    }
                    let right = column(STEP * p + 2);
                    *sum = simd.fma(left, taps[0], *sum);
                    *sum = simd.fma(middle, taps[1], *sum);
                    *sum = simd.fma(right, taps[2], *sum);
                    (left, middle) = if STEP == 1 {
                        (middle, right)
                    } else {
                        (right, middle)
                    };
                }
            }
        }
        sums
    }

    /// For every geometry.
    #[inline(always)]
    fn plain<S: Simd, O: Operand<S>, const P: usize>(
        &self,
        simd: S,
        row: usize,
        outputs: Outputs,
        vector: usize,
        mut sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        let geometry = &self.conv.geometry;
        let distance = outputs.spacing * geometry.stride;
        for (row, weights) in self.tap_rows(row, vector) {
            for (index, weights) in weights.chunks_exact(S::LANES).enumerate() {
                let (j, kx) = (index / geometry.kernel, index % geometry.kernel);
                let operand = operand(j);
                let weights = simd.load(weights);
                // Left of the map this wraps around to a column far right of it.
                let first = (outputs.start * geometry.stride + kx * geometry.dilation)
                    .wrapping_sub(geometry.padding);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let column = first.wrapping_add(p * distance);
                    if column < self.width {
                        let x = operand.load(simd, row, column * geometry.inputs);
                        *sum = simd.fma(x, weights, *sum);
                    }
                }
            }
        }
        sums
    }
}
