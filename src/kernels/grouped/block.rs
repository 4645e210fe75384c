//! The sums of a few pixels of a row, kept in registers.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

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
    /// Output row, counted over all pictures.
    row: usize,
    /// The first output pixel and the distance to the next, in pixels.
    start: usize,
    spacing: usize,
}

/// The operands of a vector of output channels, input channel by input channel.
trait Operand<S: Simd>: Copy {
    /// One past the last channel of a pixel that is read.
    fn end(self) -> usize;

    /// # Safety
    /// `pixel` is valid for reading [`Operand::end`] values.
    unsafe fn load(self, simd: S, pixel: *const f32) -> S::V;
}

#[derive(Clone, Copy)]
struct Splat(usize);

impl<S: Simd> Operand<S> for Splat {
    #[inline(always)]
    fn end(self) -> usize {
        self.0 + 1
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const f32) -> S::V {
        // SAFETY: the caller vouches for one value more than the offset.
        simd.splat(unsafe { *pixel.add(self.0) })
    }
}

#[derive(Clone, Copy)]
struct Permute<L> {
    base: usize,
    order: L,
}

impl<S: Simd> Operand<S> for Permute<S::Lanes> {
    #[inline(always)]
    fn end(self) -> usize {
        self.base + S::LANES
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const f32) -> S::V {
        // SAFETY: the caller vouches for a vector from the offset on.
        simd.permute(
            unsafe { simd.load_unchecked(pixel.add(self.base)) },
            self.order,
        )
    }
}

/// As [`Permute`], but every four lanes have their operands in four channels, which processors
/// reorder faster: in those at the same place, or, if `SAME`, all in the first ones.
#[derive(Clone, Copy)]
struct Near<L, const SAME: bool> {
    base: usize,
    order: L,
}

impl<S: Simd, const SAME: bool> Operand<S> for Near<S::Lanes, SAME> {
    #[inline(always)]
    fn end(self) -> usize {
        self.base + if SAME { 4 } else { S::LANES }
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const f32) -> S::V {
        // SAFETY: the caller vouches for four values or a vector from the offset on.
        let x = unsafe {
            let from = pixel.add(self.base);
            if SAME {
                simd.load_four(from)
            } else {
                simd.load_unchecked(from)
            }
        };
        simd.permute_fours(x, self.order)
    }
}

#[derive(Clone, Copy)]
struct Scattered<'a>(&'a [usize]);

impl<S: Simd> Operand<S> for Scattered<'_> {
    #[inline(always)]
    fn end(self) -> usize {
        self.0.iter().max().map_or(0, |last| last + 1)
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const f32) -> S::V {
        let mut lanes = [0.0; MAX_LANES];
        for (lane, &channel) in lanes.iter_mut().zip(self.0) {
            // SAFETY: the caller vouches for one value more than the largest of these offsets.
            *lane = unsafe { *pixel.add(channel) };
        }
        simd.load(&lanes)
    }
}

/// Most columns of the map that a block of outputs needs: 14 outputs, two columns apart.
const MOST_COLUMNS: usize = 2 * 13 + 3;

/// Where the columns that a block needs begin, for each of three rows of taps. Each is valid for
/// reading all channels of a pixel; outside the map they are zeros.
struct Columns {
    places: [[*const f32; MOST_COLUMNS]; 3],
    /// The rows of taps that fall on the map.
    rows: Range<usize>,
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
                    row,
                    start,
                    spacing,
                };
                if S::ROWS >= 14 && count >= 14 {
                    self.sequence::<S, 14>(simd, outputs, count);
                } else if count >= 7 {
                    self.sequence::<S, 7>(simd, outputs, count);
                } else if count >= 4 {
                    self.sequence::<S, 4>(simd, outputs, count);
                } else {
                    self.sequence::<S, 1>(simd, outputs, count);
                }
            }
        }
    }
}

impl Leaf<'_, '_> {
    /// `count` outputs of a row, `P` at a time; the last ones again if `P` does not divide `count`.
    #[inline(always)]
    fn sequence<S: Simd, const P: usize>(&mut self, simd: S, outputs: Outputs, count: usize) {
        for at in (0..count).step_by(P) {
            let at = at.min(count - P);
            let start = outputs.start + at * outputs.spacing;
            self.block::<S, P>(simd, Outputs { start, ..outputs });
        }
    }

    /// `P` outputs of a row, all vectors.
    #[inline(always)]
    fn block<S: Simd, const P: usize>(&mut self, simd: S, outputs: Outputs) {
        let Pass {
            conv, output_width, ..
        } = self.pass;
        let first = (outputs.row - self.rows.start) * output_width + outputs.start;
        let step = match outputs.walk {
            Walk::Single => 1,
            Walk::Double => 2,
            Walk::Plain => 0,
        };
        let columns = self.pass.columns(outputs, step * (P - 1) + 3);
        for vector in self.vectors.clone() {
            let bias = simd.load(&conv.bias[vector * S::LANES..]);
            let sums: [S::V; P] = match &conv.sources[vector] {
                Source::Splat(base) => {
                    let operand = |j: usize| Splat(base + j);
                    self.pass
                        .walk(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Permute(inputs) => {
                    let operand = |j: usize| {
                        let (base, order) = &inputs[j];
                        let order = simd.lanes(order);
                        Permute::<S::Lanes> { base: *base, order }
                    };
                    self.pass
                        .walk(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Near(inputs) => {
                    let operand = |j: usize| {
                        let (base, order) = &inputs[j];
                        let order = simd.lanes(order);
                        Near::<S::Lanes, false> { base: *base, order }
                    };
                    self.pass
                        .walk(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Same(inputs) => {
                    let operand = |j: usize| {
                        let (base, order) = &inputs[j];
                        let order = simd.lanes(order);
                        Near::<S::Lanes, true> { base: *base, order }
                    };
                    self.pass
                        .walk(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Scattered(inputs) => {
                    let operand = |j: usize| Scattered(&inputs[j]);
                    self.pass.plain(simd, outputs, vector, [bias; P], operand)
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
        outputs: Outputs,
        columns: &Columns,
        vector: usize,
        sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        match outputs.walk {
            Walk::Single => self.rolling::<S, O, P, 1>(simd, columns, vector, sums, operand),
            Walk::Double => self.rolling::<S, O, P, 2>(simd, columns, vector, sums, operand),
            Walk::Plain => self.plain(simd, outputs, vector, sums, operand),
        }
    }

    /// The row of the map that tap `ky` of an output row falls on.
    #[inline(always)]
    fn tap_row(&self, row: usize, ky: usize) -> Option<&[f32]> {
        let geometry = &self.conv.geometry;
        let (picture, oy) = (row / self.output_height, row % self.output_height);
        let length = self.width * geometry.inputs;
        let y = (oy * geometry.stride + ky * geometry.dilation)
            .checked_sub(geometry.padding)
            .filter(|&y| y < self.height)?;
        Some(&self.x[(picture * self.height + y) * length..][..length])
    }

    /// The weights of each row of taps, `[inputs / groups, kernel, lanes]`.
    #[inline(always)]
    fn tap_weights(&self, vector: usize) -> impl Iterator<Item = &[f32]> {
        let geometry = &self.conv.geometry;
        let taps = geometry.group_inputs() * geometry.kernel * self.conv.lanes;
        self.conv.weights[vector * geometry.kernel * taps..].chunks_exact(taps)
    }

    /// The first `count` columns of a block, for kernels of three rows.
    #[inline(always)]
    fn columns(&self, outputs: Outputs, count: usize) -> Columns {
        let geometry = &self.conv.geometry;
        let inputs = geometry.inputs;
        let mut columns = Columns {
            places: [[self.conv.zeros.as_ptr(); MOST_COLUMNS]; 3],
            rows: 0..0,
        };
        // Left of the map this wraps around to a column far right of it.
        let first = (outputs.start * geometry.stride).wrapping_sub(geometry.padding);
        for (ky, places) in columns.places.iter_mut().enumerate() {
            let Some(row) = self.tap_row(outputs.row, ky) else {
                continue;
            };
            let top = if columns.rows.is_empty() {
                ky
            } else {
                columns.rows.start
            };
            columns.rows = top..ky + 1;
            for (index, place) in places.iter_mut().take(count).enumerate() {
                let column = first.wrapping_add(index * geometry.dilation);
                if column < self.width {
                    *place = row[column * inputs..][..inputs].as_ptr();
                }
            }
        }
        columns
    }

    /// For kernels of three columns: every column is loaded once for all outputs of the block that
    /// it contributes to. `STEP` columns from output to output.
    #[inline(always)]
    fn rolling<S: Simd, O: Operand<S>, const P: usize, const STEP: usize>(
        &self,
        simd: S,
        columns: &Columns,
        vector: usize,
        mut sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        let (inputs, depth) = (self.conv.geometry.inputs, self.conv.geometry.group_inputs());
        assert!(self.conv.zeros.len() == inputs && STEP * (P - 1) + 3 <= MOST_COLUMNS);
        let rows = columns.rows.clone();
        let weights = &self.conv.weights[(vector * 3 + rows.start) * depth * 3 * S::LANES..];
        // One loop over rows and channels: of two, the outer one would keep sums in memory.
        let (mut ky, mut j) = (rows.start, 0);
        for taps in weights.chunks_exact(3 * S::LANES).take(rows.len() * depth) {
            let operand = operand(j);
            assert!(operand.end() <= inputs);
            let places = &columns.places[ky];
            // SAFETY: every column is valid for `inputs` values, and no more are read.
            let column = |index: usize| unsafe { operand.load(simd, places[index]) };
            let taps: [S::V; 3] = std::array::from_fn(|kx| simd.load(&taps[kx * S::LANES..]));
            let mut left = column(0);
            let mut middle = column(1);
            for p in 0..P {
                if STEP == 2 && p > 0 {
                    middle = column(2 * p + 1);
                }
                let right = column(STEP * p + 2);
                sums[p] = simd.fma(left, taps[0], sums[p]);
                sums[p] = simd.fma(middle, taps[1], sums[p]);
                sums[p] = simd.fma(right, taps[2], sums[p]);
                (left, middle) = if STEP == 1 {
                    (middle, right)
                } else {
                    (right, middle)
                };
            }
            j += 1;
            if j == depth {
                (ky, j) = (ky + 1, 0);
            }
        }
        sums
    }

    /// For every geometry.
    #[inline(always)]
    fn plain<S: Simd, O: Operand<S>, const P: usize>(
        &self,
        simd: S,
        outputs: Outputs,
        vector: usize,
        mut sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        let geometry = &self.conv.geometry;
        let distance = outputs.spacing * geometry.stride;
        for (ky, weights) in (0..geometry.kernel).zip(self.tap_weights(vector)) {
            let Some(row) = self.tap_row(outputs.row, ky) else {
                continue;
            };
            for (index, weights) in weights.chunks_exact(S::LANES).enumerate() {
                let (j, kx) = (index / geometry.kernel, index % geometry.kernel);
                let operand = operand(j);
                assert!(operand.end() <= geometry.inputs);
                let weights = simd.load(weights);
                // Left of the map this wraps around to a column far right of it.
                let first = (outputs.start * geometry.stride + kx * geometry.dilation)
                    .wrapping_sub(geometry.padding);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let column = first.wrapping_add(p * distance);
                    if column < self.width {
                        let pixel = &row[column * geometry.inputs..][..geometry.inputs];
                        // SAFETY: a pixel has all inputs, and no more are read.
                        let x = unsafe { operand.load(simd, pixel.as_ptr()) };
                        *sum = simd.fma(x, weights, *sum);
                    }
                }
            }
        }
        sums
    }
}
