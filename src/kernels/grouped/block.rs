//! The sums of a few pixels of a row, kept in registers.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use std::ops::Range;

use super::Pass;
use super::operand::{Near, Operand, Permute, Scattered, Source, Splat};
use crate::kernels::element::Element;
use crate::kernels::epilogue::ActivateRows;
use crate::kernels::geometry::ConvGeometry;
use crate::kernels::matrix::MatMut;
use crate::kernels::micro::LINE_BYTES;
use crate::kernels::simd::{Kernel, Simd};

/// Output rows and vectors of channels that one thread computes.
pub(super) struct Leaf<'a, 'y, T> {
    pub(super) pass: Pass<'a, T>,
    /// The pixels of the rows, the channels of the vectors.
    pub(super) y: MatMut<'y, T>,
    pub(super) rows: Range<usize>,
    pub(super) vectors: Range<usize>,
    /// Weights that the thread will probably need soon, asked for on the way.
    pub(super) next: &'a [T],
}

/// How the taps of a row move over the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// Three taps, each output one column (of every `dilation`-th) after the last: a column serves
    /// three outputs.
    Single,
    /// Three taps, two columns from output to output: every other column serves two outputs.
    Double,
    /// Any taps; every output loads its own columns.
    Plain,
}

impl Walk {
    /// How the outputs of a row share columns, and the distance between those that do.
    pub(super) fn of(geometry: &ConvGeometry) -> (Self, usize) {
        let (stride, dilation) = (geometry.stride, geometry.dilation);
        match geometry.kernel {
            3 if stride == dilation => (Self::Single, 1),
            // Outputs `dilation` apart share columns, those in between do not.
            3 if stride == 1 => (Self::Single, dilation),
            3 if stride == 2 * dilation => (Self::Double, 1),
            _ => (Self::Plain, 1),
        }
    }

    /// Columns from output to output, where they share some.
    fn step(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Double => 2,
            Self::Plain => 0,
        }
    }
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

/// Most columns of the map that a block of outputs needs: 14 outputs, two columns apart.
const MOST_COLUMNS: usize = 2 * 13 + 3;

/// Where the columns that a block needs begin, for each of three rows of taps. Each is valid for
/// reading all channels of a pixel; outside the map they are zeros.
struct Columns<T> {
    places: [[*const T; MOST_COLUMNS]; 3],
    /// The rows of taps that fall on the map.
    rows: Range<usize>,
}

impl<T: Element> Kernel for Leaf<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (walk, spacing) = Walk::of(&self.pass.conv.geometry);
        // Shared out to the rows, as the machine keeps few requests at a time.
        let share = self.next.len().div_ceil(self.rows.len());
        let line_len = LINE_BYTES / size_of::<T>();
        let mut shares = self
            .next
            .chunks(share.next_multiple_of(line_len).max(line_len));
        for row in self.rows.clone() {
            for line in shares.next().unwrap_or_default().chunks(line_len) {
                simd.prefetch_far(line.as_ptr().cast());
            }
            for start in 0..spacing.min(self.pass.output_width) {
                let count = (self.pass.output_width - start).div_ceil(spacing);
                let outputs = Outputs {
                    walk,
                    row,
                    start,
                    spacing,
                };
                match (self.pass.conv.pairs, count) {
                    (true, 7..) => self.sequence::<S, 7, true>(simd, outputs, count),
                    (true, 4..) => self.sequence::<S, 4, true>(simd, outputs, count),
                    (true, _) => self.sequence::<S, 1, true>(simd, outputs, count),
                    (false, 14..) if S::ROWS >= 14 => {
                        self.sequence::<S, 14, false>(simd, outputs, count);
                    }
                    (false, 7..) => self.sequence::<S, 7, false>(simd, outputs, count),
                    (false, 4..) => self.sequence::<S, 4, false>(simd, outputs, count),
                    (false, _) => self.sequence::<S, 1, false>(simd, outputs, count),
                }
            }
        }
        if let Some(activation) = self.pass.placement.after {
            let rows = self.y;
            simd.run(ActivateRows { rows, activation });
        }
    }
}

impl<T: Element> Leaf<'_, '_, T> {
    /// `count` outputs of a row, `P` at a time and then some that may have been computed before.
    #[inline(always)]
    fn sequence<S: Simd, const P: usize, const PAIRS: bool>(
        &mut self,
        simd: S,
        outputs: Outputs,
        count: usize,
    ) {
        // A short end is worth a block of its own where operands are single values; those that are
        // permuted take as long for fewer outputs, and fewer than four wait for their own results.
        // The first vector speaks for all: the results do not depend on it. No second call of the
        // same block, which is compiled worse.
        let sources = &self.pass.conv.sources;
        let is_splat = matches!(sources[self.vectors.start], Source::Splat(_));
        let rest = count % P;
        let has_short_end = is_splat && P > 4 && rest > 0 && rest <= P / 2;
        let end = if has_short_end { count - rest } else { count };
        for at in (0..end).step_by(P) {
            self.some::<S, P, PAIRS>(simd, outputs, at.min(count - P));
        }
        if has_short_end && rest > 4 {
            self.some::<S, 7, PAIRS>(simd, outputs, count - 7);
        } else if has_short_end {
            self.some::<S, 4, PAIRS>(simd, outputs, count - 4);
        }
    }

    /// `P` outputs of a row, from the one numbered `at` on.
    #[inline(always)]
    fn some<S: Simd, const P: usize, const PAIRS: bool>(
        &mut self,
        simd: S,
        outputs: Outputs,
        at: usize,
    ) {
        let start = outputs.start + at * outputs.spacing;
        let outputs = Outputs { start, ..outputs };
        if PAIRS {
            self.pairs::<S, P>(simd, outputs);
        } else {
            self.block::<S, P>(simd, outputs);
        }
    }

    /// `P` outputs of a row, all vectors.
    #[inline(always)]
    fn block<S: Simd, const P: usize>(&mut self, simd: S, outputs: Outputs) {
        let Pass {
            conv, output_width, ..
        } = self.pass;
        let first = (outputs.row - self.rows.start) * output_width + outputs.start;
        let columns = self
            .pass
            .columns(outputs, outputs.walk.step() * (P - 1) + 3);
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
                let value = if self.pass.placement.relu {
                    simd.relu(sum)
                } else {
                    sum
                };
                simd.store_some(value, y);
            }
        }
    }

    /// As [`Leaf::block`], two vectors of a group at a time.
    #[inline(always)]
    fn pairs<S: Simd, const P: usize>(&mut self, simd: S, outputs: Outputs) {
        let conv = self.pass.conv;
        let first = (outputs.row - self.rows.start) * self.pass.output_width + outputs.start;
        let columns = self
            .pass
            .columns(outputs, outputs.walk.step() * (P - 1) + 3);
        for vector in self.vectors.clone().step_by(2) {
            let bias = &conv.bias[vector * S::LANES..];
            let sums = [[simd.load(bias); P], [simd.load(&bias[S::LANES..]); P]];
            let Source::Splat(base) = &conv.sources[vector] else {
                unreachable!("both vectors of a pair are in one group");
            };
            let (pass, base) = (&self.pass, *base);
            let sums = match outputs.walk {
                Walk::Single => pass.rolling_pair::<S, P, 1>(simd, &columns, vector, sums, base),
                _ => pass.rolling_pair::<S, P, 2>(simd, &columns, vector, sums, base),
            };
            let channel = (vector - self.vectors.start) * S::LANES;
            for p in 0..P {
                let y = &mut self.y.row(first + p * outputs.spacing)[channel..];
                for v in 0..2 {
                    let value = if self.pass.placement.relu {
                        simd.relu(sums[v][p])
                    } else {
                        sums[v][p]
                    };
                    simd.store(value, &mut y[v * S::LANES..]);
                }
            }
        }
    }
}

impl<T: Element> Pass<'_, T> {
    /// Adds all products of `P` outputs to the sums.
    #[inline(always)]
    fn walk<S: Simd, O: Operand<S, T>, const P: usize>(
        &self,
        simd: S,
        outputs: Outputs,
        columns: &Columns<T>,
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
    fn tap_row(&self, row: usize, ky: usize) -> Option<&[T]> {
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
    fn tap_weights(&self, vector: usize) -> impl Iterator<Item = &[T]> {
        let geometry = &self.conv.geometry;
        let taps = geometry.group_inputs() * geometry.kernel * self.conv.lanes;
        self.conv.weights[vector * geometry.kernel * taps..].chunks_exact(taps)
    }

    /// The first `count` columns of a block, for kernels of three rows.
    #[inline(always)]
    fn columns(&self, outputs: Outputs, count: usize) -> Columns<T> {
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
    fn rolling<S: Simd, O: Operand<S, T>, const P: usize, const STEP: usize>(
        &self,
        simd: S,
        columns: &Columns<T>,
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
            let taps = three_taps(simd, taps);
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

    /// As [`Pass::rolling`], for two vectors of channels in one group, whose first channel is `base`.
    #[inline(always)]
    fn rolling_pair<S: Simd, const P: usize, const STEP: usize>(
        &self,
        simd: S,
        columns: &Columns<T>,
        vector: usize,
        sums: [[S::V; P]; 2],
        base: usize,
    ) -> [[S::V; P]; 2] {
        let (inputs, depth) = (self.conv.geometry.inputs, self.conv.geometry.group_inputs());
        assert!(self.conv.zeros.len() == inputs && STEP * (P - 1) + 3 <= MOST_COLUMNS);
        let rows = columns.rows.clone();
        let [mut first, mut second] = sums;
        let row = depth * 3 * S::LANES;
        let weights = &self.conv.weights[vector * 3 * row..][..6 * row];
        let (weights, others) = weights.split_at(3 * row);
        let (weights, others) = (&weights[rows.start * row..], &others[rows.start * row..]);
        // One loop over rows and channels: of two, the outer one would keep sums in memory.
        let (mut ky, mut j) = (rows.start, 0);
        let weights = weights.chunks_exact(3 * S::LANES);
        let weights = weights.zip(others.chunks_exact(3 * S::LANES));
        for (taps, others) in weights.take(rows.len() * depth) {
            let operand = Splat(base + j);
            assert!(Operand::<S, T>::end(operand) <= inputs);
            let places = &columns.places[ky];
            // SAFETY: every column is valid for `inputs` values, and no more are read.
            let column = |index: usize| unsafe { operand.load(simd, places[index]) };
            let taps = three_taps(simd, taps);
            let others = three_taps(simd, others);
            let mut left = column(0);
            let mut middle = column(1);
            for p in 0..P {
                if STEP == 2 && p > 0 {
                    middle = column(2 * p + 1);
                }
                let right = column(STEP * p + 2);
                first[p] = simd.fma(left, taps[0], first[p]);
                second[p] = simd.fma(left, others[0], second[p]);
                first[p] = simd.fma(middle, taps[1], first[p]);
                second[p] = simd.fma(middle, others[1], second[p]);
                first[p] = simd.fma(right, taps[2], first[p]);
                second[p] = simd.fma(right, others[2], second[p]);
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
        [first, second]
    }

    /// For every geometry.
    #[inline(always)]
    fn plain<S: Simd, O: Operand<S, T>, const P: usize>(
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

/// The weights of three taps. No `array::from_fn`, which may stay a call that is compiled without
/// the instruction set.
#[inline(always)]
fn three_taps<S: Simd, T: Element>(simd: S, weights: &[T]) -> [S::V; 3] {
    [
        simd.load(weights),
        simd.load(&weights[S::LANES..]),
        simd.load(&weights[2 * S::LANES..]),
    ]
}
