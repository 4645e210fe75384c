//! Tiles: the sums of a few pixels of a row, kept in registers.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use std::ops::Range;

use super::Call;
use super::operand::{Near, Operand, Permute, Scattered, Source, Splat};
use crate::kernels::element::{Element, Word};
use crate::kernels::epilogue::ActivateRows;
use crate::kernels::geometry::ConvGeometry;
use crate::kernels::matrix::MatMut;
use crate::kernels::simd::{Kernel, LINE_BYTES, MAX_LANES, Simd};

/// Output rows and vectors of channels that one thread computes.
pub(super) struct Task<'a, 'y, W: Word> {
    pub(super) call: Call<'a, W>,
    /// The pixels of the rows, the channels of the vectors.
    pub(super) y: MatMut<'y, W::Element>,
    pub(super) rows: Range<usize>,
    pub(super) vectors: Range<usize>,
    /// Weights that the thread will probably need next, prefetched meanwhile.
    pub(super) next: &'a [W],
}

/// Which columns of the map neighbouring outputs of a row share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Three taps, and from output to output one column (of every `dilation`-th): a column serves
    /// three outputs.
    All,
    /// Three taps, and two columns from output to output: every other column serves two outputs.
    Alternate,
    /// Any number of taps; every output loads its own columns.
    None,
}

impl Sharing {
    /// What the outputs of a row share, and the distance between those that do.
    pub(super) fn of(geometry: &ConvGeometry) -> (Self, usize) {
        let (stride, dilation) = (geometry.stride, geometry.dilation);
        match geometry.kernel_size {
            3 if stride == dilation => (Self::All, 1),
            // Outputs `dilation` apart share columns, those in between do not.
            3 if stride == 1 => (Self::All, dilation),
            3 if stride == 2 * dilation => (Self::Alternate, 1),
            _ => (Self::None, 1),
        }
    }

    /// Columns from output to output where they share some.
    fn step(self) -> usize {
        match self {
            Self::All => 1,
            Self::Alternate => 2,
            Self::None => 0,
        }
    }
}

/// Outputs of a row, at the distance at which they share columns.
#[derive(Clone, Copy)]
pub(super) struct Outputs {
    pub(super) sharing: Sharing,
    /// The output row, counted over all images.
    pub(super) row: usize,
    /// The first output pixel and the distance to the next, in pixels.
    pub(super) start: usize,
    pub(super) spacing: usize,
}

/// Most outputs of a tile.
const MOST_OUTPUTS: usize = 14;

/// Most columns of the map that a tile needs: two from output to output.
const MOST_COLUMNS: usize = 2 * (MOST_OUTPUTS - 1) + 3;

/// The columns that a tile needs, for each of three rows of taps. Each is valid for reading all
/// channels of a pixel; outside of the map they are zeros.
pub(super) struct Columns<W> {
    pub(super) places: [[*const W; MOST_COLUMNS]; 3],
    /// The rows of taps that fall on the map.
    pub(super) rows: Range<usize>,
}

impl<W: Word> Kernel for Task<'_, '_, W> {
    type Output = ();
    type Element = W::Element;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (sharing, spacing) = Sharing::of(&self.call.conv.geometry);
        // Distributed over the rows, as the machine has few fill buffers.
        let share = self.next.len().div_ceil(self.rows.len());
        let line_len = LINE_BYTES / size_of::<W>();
        let mut shares = self
            .next
            .chunks(share.next_multiple_of(line_len).max(line_len));
        for row in self.rows.clone() {
            let share = shares.next().unwrap_or_default();
            simd.prefetch_far(share.as_ptr().cast(), size_of_val(share));
            for start in 0..spacing.min(self.call.output_width) {
                let count = (self.call.output_width - start).div_ceil(spacing);
                let outputs = Outputs {
                    sharing,
                    row,
                    start,
                    spacing,
                };
                if const { S::BY_ELEMENT } && self.call.conv.by_element {
                    self.by_element(simd, outputs, count);
                    continue;
                }
                let pairs = self.call.conv.pairs;
                // In constants, so that tiles are compiled only where there are registers for them.
                if const { S::ROWS >= 14 } {
                    match (pairs, count) {
                        (true, 7..) => self.sequence::<S, 7, true>(simd, outputs, count),
                        (true, 4..) => self.sequence::<S, 4, true>(simd, outputs, count),
                        (true, _) => self.sequence::<S, 1, true>(simd, outputs, count),
                        (false, 14..) => self.sequence::<S, 14, false>(simd, outputs, count),
                        (false, 7..) => self.sequence::<S, 7, false>(simd, outputs, count),
                        (false, 4..) => self.sequence::<S, 4, false>(simd, outputs, count),
                        (false, _) => self.sequence::<S, 1, false>(simd, outputs, count),
                    }
                } else if const { W::Element::NARROW } {
                    // Weights and inputs take twice the registers of f32.
                    match count {
                        4.. => self.sequence::<S, 4, false>(simd, outputs, count),
                        _ => self.sequence::<S, 1, false>(simd, outputs, count),
                    }
                } else {
                    match count {
                        7.. => self.sequence::<S, 7, false>(simd, outputs, count),
                        4.. => self.sequence::<S, 4, false>(simd, outputs, count),
                        _ => self.sequence::<S, 1, false>(simd, outputs, count),
                    }
                }
            }
        }
        // Narrow results are rounded once, after the activation.
        if let Some(activation) = self.call.placement.after
            && !W::Element::NARROW
        {
            simd.run(ActivateRows {
                rows: self.y,
                from: None,
                activation,
            });
        }
    }
}

/// `P` outputs of a row. A kernel, and so a function of its own: within the task it would be compiled
/// many times.
struct Tile<'t, 'a, 'y, W: Word, const P: usize, const PAIRS: bool> {
    task: &'t mut Task<'a, 'y, W>,
    outputs: Outputs,
}

impl<W: Word, const P: usize, const PAIRS: bool> Kernel for Tile<'_, '_, '_, W, P, PAIRS> {
    type Output = ();
    type Element = W::Element;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if PAIRS {
            self.task.pairs::<S, P>(simd, self.outputs);
        } else {
            self.task.tile::<S, P>(simd, self.outputs);
        }
    }
}

impl<W: Word> Task<'_, '_, W> {
    /// `count` outputs of a row in tiles of `P`, of which the last may overlap the one before it.
    #[inline(always)]
    fn sequence<S: Simd, const P: usize, const PAIRS: bool>(
        &mut self,
        simd: S,
        outputs: Outputs,
        count: usize,
    ) {
        // A short rest is worth a smaller tile where operands are single values. Permuted ones take
        // as long for fewer outputs, and fewer than four outputs are bound by latency. To ask the
        // first vector is enough, as the results do not depend on it. A second call of the same
        // tile would be compiled worse.
        let sources = &self.call.conv.sources;
        let is_splat = matches!(sources[self.vectors.start], Source::Splat(_));
        let rest = count % P;
        let has_short_end = is_splat && P > 4 && rest > 0 && rest <= P / 2;
        let end = if has_short_end { count - rest } else { count };
        for at in (0..end).step_by(P) {
            self.tile_at::<S, P, PAIRS>(simd, outputs, at.min(count - P));
        }
        if const { P > 4 } {
            if has_short_end && rest > 4 {
                self.tile_at::<S, 7, PAIRS>(simd, outputs, count - 7);
            } else if has_short_end {
                self.tile_at::<S, 4, PAIRS>(simd, outputs, count - 4);
            }
        }
    }

    /// A tile of `P` outputs of a row, from index `at` on.
    #[inline(always)]
    fn tile_at<S: Simd, const P: usize, const PAIRS: bool>(
        &mut self,
        simd: S,
        outputs: Outputs,
        at: usize,
    ) {
        let start = outputs.start + at * outputs.spacing;
        let outputs = Outputs { start, ..outputs };
        simd.run(Tile::<W, P, PAIRS> {
            task: self,
            outputs,
        });
    }

    /// A tile, for all vectors.
    #[inline(always)]
    fn tile<S: Simd, const P: usize>(&mut self, simd: S, outputs: Outputs) {
        let Call {
            conv, output_width, ..
        } = self.call;
        let first = (outputs.row - self.rows.start) * output_width + outputs.start;
        let columns = self
            .call
            .columns(outputs, outputs.sharing.step() * (P - 1) + 3);
        for vector in self.vectors.clone() {
            let bias = simd.load(&conv.bias[vector * S::LANES..]);
            let sums: [S::V; P] = match &conv.sources[vector] {
                Source::Splat(base) => {
                    let operand = |j: usize| Splat(base + j);
                    self.call
                        .sums(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Permute(inputs) => {
                    let operand = |j: usize| {
                        let (base, order) = &inputs[j];
                        let order = simd.lanes(order);
                        Permute::<S::Lanes> { base: *base, order }
                    };
                    self.call
                        .sums(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Near(inputs) => {
                    let operand = |j: usize| {
                        let (base, order) = &inputs[j];
                        let order = simd.lanes(order);
                        Near::<S::Lanes, false> { base: *base, order }
                    };
                    self.call
                        .sums(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Same(inputs) => {
                    let operand = |j: usize| {
                        let (base, order) = &inputs[j];
                        let order = simd.lanes(order);
                        Near::<S::Lanes, true> { base: *base, order }
                    };
                    self.call
                        .sums(simd, outputs, &columns, vector, [bias; P], operand)
                }
                Source::Scattered(inputs) => {
                    let operand = |j: usize| Scattered(&inputs[j]);
                    self.call.plain(simd, outputs, vector, [bias; P], operand)
                }
            };
            let channel = conv.layout.channel(vector) - conv.layout.channel(self.vectors.start);
            let sums = self.call.activated(simd, sums);
            for (p, sum) in sums.into_iter().enumerate() {
                let y = &mut self.y.row(first + p * outputs.spacing)[channel..];
                simd.store_some(sum, y);
            }
        }
    }

    /// As [`Task::tile`], for two vectors of a group at a time.
    #[inline(always)]
    fn pairs<S: Simd, const P: usize>(&mut self, simd: S, outputs: Outputs) {
        let conv = self.call.conv;
        let first = (outputs.row - self.rows.start) * self.call.output_width + outputs.start;
        let columns = self
            .call
            .columns(outputs, outputs.sharing.step() * (P - 1) + 3);
        for vector in self.vectors.clone().step_by(2) {
            let bias = &conv.bias[vector * S::LANES..];
            let sums = [[simd.load(bias); P], [simd.load(&bias[S::LANES..]); P]];
            let Source::Splat(base) = &conv.sources[vector] else {
                unreachable!("both vectors of a pair are in one group");
            };
            let (call, base) = (&self.call, *base);
            let sums = match outputs.sharing {
                Sharing::All => call.rolling_pair::<S, P, 1>(simd, &columns, vector, sums, base),
                _ => call.rolling_pair::<S, P, 2>(simd, &columns, vector, sums, base),
            };
            let sums = [call.activated(simd, sums[0]), call.activated(simd, sums[1])];
            let channel = (vector - self.vectors.start) * S::LANES;
            for p in 0..P {
                let y = &mut self.y.row(first + p * outputs.spacing)[channel..];
                for v in 0..2 {
                    simd.store(sums[v][p], &mut y[v * S::LANES..]);
                }
            }
        }
    }
}

impl<W: Word> Call<'_, W> {
    /// The results with their activation, as far as it is applied before they are stored.
    #[inline(always)]
    pub(super) fn activated<S: Simd, const P: usize>(
        &self,
        simd: S,
        mut sums: [S::V; P],
    ) -> [S::V; P] {
        if self.placement.relu {
            for sum in &mut sums {
                *sum = simd.relu(*sum);
            }
        }
        if let Some(activation) = self.placement.after
            && W::Element::NARROW
        {
            // In memory, so that the code of the activation exists once.
            let mut values = [0.0_f32; MOST_OUTPUTS * MAX_LANES];
            for p in 0..P {
                simd.store(sums[p], &mut values[p * S::LANES..]);
            }
            simd.run(ActivateRows {
                rows: MatMut::new(&mut values[..P * S::LANES], P * S::LANES),
                from: None,
                activation,
            });
            for p in 0..P {
                sums[p] = simd.load(&values[p * S::LANES..]);
            }
        }
        sums
    }

    /// Adds all products of a tile to its sums.
    #[inline(always)]
    fn sums<S: Simd, O: Operand<S, W>, const P: usize>(
        &self,
        simd: S,
        outputs: Outputs,
        columns: &Columns<W>,
        vector: usize,
        sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        match outputs.sharing {
            Sharing::All => self.rolling::<S, O, P, 1>(simd, columns, vector, sums, operand),
            Sharing::Alternate => self.rolling::<S, O, P, 2>(simd, columns, vector, sums, operand),
            Sharing::None => self.plain(simd, outputs, vector, sums, operand),
        }
    }

    /// The row of the map that tap `ky` of an output row falls on.
    #[inline(always)]
    fn tap_row(&self, row: usize, ky: usize) -> Option<&[W]> {
        let geometry = &self.conv.geometry;
        let (image, oy) = (row / self.output_height, row % self.output_height);
        let length = self.width * geometry.inputs;
        let y = (oy * geometry.stride + ky * geometry.dilation)
            .checked_sub(self.zeros[0])
            .filter(|&y| y < self.height)?;
        Some(&self.x[(image * self.height + y) * length..][..length])
    }

    /// The weights of each row of taps, `[inputs / groups, kernel, lanes]`.
    #[inline(always)]
    fn tap_weights(&self, vector: usize) -> impl Iterator<Item = &[W]> {
        let geometry = &self.conv.geometry;
        let taps = geometry.group_inputs() * geometry.kernel_size * self.conv.lanes;
        self.conv.weights[vector * geometry.kernel_size * taps..].chunks_exact(taps)
    }

    /// The first `count` columns of a tile, for kernels of three rows.
    #[inline(always)]
    pub(super) fn columns(&self, outputs: Outputs, count: usize) -> Columns<W> {
        let geometry = &self.conv.geometry;
        let inputs = geometry.inputs;
        let mut columns = Columns {
            places: [[self.conv.zeros.as_ptr(); MOST_COLUMNS]; 3],
            rows: 0..0,
        };
        // Left of the map this wraps around to a column far right of it.
        let first = (outputs.start * geometry.stride).wrapping_sub(self.zeros[1]);
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

    /// For kernels of three columns: every column is loaded once for all outputs of the tile that
    /// it contributes to. From output to output there are `STEP` columns.
    #[inline(always)]
    fn rolling<S: Simd, O: Operand<S, W>, const P: usize, const STEP: usize>(
        &self,
        simd: S,
        columns: &Columns<W>,
        vector: usize,
        mut sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        let (inputs, depth) = (self.conv.geometry.inputs, self.conv.geometry.group_inputs());
        assert!(self.conv.zeros.len() == inputs && STEP * (P - 1) + 3 <= MOST_COLUMNS);
        let rows = columns.rows.clone();
        let weights = &self.conv.weights[(vector * 3 + rows.start) * depth * 3 * S::LANES..];
        // One loop over rows and channels: nested loops would spill the sums to memory.
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
                sums[p] = W::multiply_add(simd, left, taps[0], sums[p]);
                sums[p] = W::multiply_add(simd, middle, taps[1], sums[p]);
                sums[p] = W::multiply_add(simd, right, taps[2], sums[p]);
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

    /// As [`Call::rolling`], for two vectors of channels in one group, whose first channel is
    /// `base`.
    #[inline(always)]
    fn rolling_pair<S: Simd, const P: usize, const STEP: usize>(
        &self,
        simd: S,
        columns: &Columns<W>,
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
        // One loop over rows and channels: nested loops would spill the sums to memory.
        let (mut ky, mut j) = (rows.start, 0);
        let weights = weights.chunks_exact(3 * S::LANES);
        let weights = weights.zip(others.chunks_exact(3 * S::LANES));
        for (taps, others) in weights.take(rows.len() * depth) {
            let operand = Splat(base + j);
            assert!(Operand::<S, W>::end(operand) <= inputs);
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
                first[p] = W::multiply_add(simd, left, taps[0], first[p]);
                second[p] = W::multiply_add(simd, left, others[0], second[p]);
                first[p] = W::multiply_add(simd, middle, taps[1], first[p]);
                second[p] = W::multiply_add(simd, middle, others[1], second[p]);
                first[p] = W::multiply_add(simd, right, taps[2], first[p]);
                second[p] = W::multiply_add(simd, right, others[2], second[p]);
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

    /// For any geometry.
    #[inline(always)]
    fn plain<S: Simd, O: Operand<S, W>, const P: usize>(
        &self,
        simd: S,
        outputs: Outputs,
        vector: usize,
        mut sums: [S::V; P],
        operand: impl Fn(usize) -> O,
    ) -> [S::V; P] {
        let geometry = &self.conv.geometry;
        let distance = outputs.spacing * geometry.stride;
        for (ky, weights) in (0..geometry.kernel_size).zip(self.tap_weights(vector)) {
            let Some(row) = self.tap_row(outputs.row, ky) else {
                continue;
            };
            for (index, weights) in weights.chunks_exact(S::LANES).enumerate() {
                let (j, kx) = (index / geometry.kernel_size, index % geometry.kernel_size);
                let operand = operand(j);
                assert!(operand.end() <= geometry.inputs);
                let weights = load_words(simd, weights);
                // Left of the map this wraps around to a column far right of it.
                let first = (outputs.start * geometry.stride + kx * geometry.dilation)
                    .wrapping_sub(self.zeros[1]);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let column = first.wrapping_add(p * distance);
                    if column < self.width {
                        let pixel = &row[column * geometry.inputs..][..geometry.inputs];
                        // SAFETY: a pixel has all inputs, and no more are read.
                        let x = unsafe { operand.load(simd, pixel.as_ptr()) };
                        *sum = W::multiply_add(simd, x, weights, *sum);
                    }
                }
            }
        }
        sums
    }
}

/// The weights of three taps. `array::from_fn` might not be inlined and would then be compiled
/// without the instruction set.
#[inline(always)]
fn three_taps<S: Simd, W: Word>(simd: S, weights: &[W]) -> [S::V; 3] {
    [
        load_words(simd, weights),
        load_words(simd, &weights[S::LANES..]),
        load_words(simd, &weights[2 * S::LANES..]),
    ]
}

/// The first `LANES` words.
#[inline(always)]
fn load_words<S: Simd, W: Word>(simd: S, words: &[W]) -> S::V {
    assert!(words.len() >= S::LANES);
    // SAFETY: the slice has LANES words.
    unsafe { W::load(simd, words.as_ptr()) }
}
