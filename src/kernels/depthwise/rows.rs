//! The rows of one task.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Call, first_channel};
use crate::kernels::activation::{Activation, activate};
use crate::kernels::element::Element;
use crate::kernels::matrix::MatMut;
use crate::kernels::partition::{Tasks, Work};
use crate::kernels::simd::{Kernel, MAX_LANES, Simd};

/// Most outputs of a tile: with a weight they fill the 16 registers of AVX2.
pub(super) const MOST_OUTPUTS: usize = 14;

/// Most taps of a kernel.
pub(super) const MOST_TAPS: usize = 11 * 11;

/// Groups of rows and vectors of channels that one thread computes.
pub(super) struct Task<'a, 'y, T: Element> {
    pub(super) call: &'a Call<'a, T>,
    pub(super) work: Work<'y, T>,
    /// Row `i` of the map, of one vector of channels, is row `i % rows` of the ring.
    pub(super) ring: &'a mut [f32],
    /// The sums of a row of the output, before the activation.
    pub(super) row: &'a mut [f32],
}

impl<T: Element> Kernel for Task<'_, '_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        // What is left and right of the map stays 0.
        self.ring.fill(0.0);
        let groups = self.work.rows.clone();
        let band = self.call.band(groups.len());
        for start in groups.clone().step_by(band) {
            for vector in self.work.columns.clone() {
                self.vector(simd, start..groups.end.min(start + band), vector);
            }
        }
    }
}

impl<T: Element> Task<'_, '_, T> {
    /// Some groups of rows of a vector of channels.
    #[inline(always)]
    fn vector<S: Simd>(&mut self, simd: S, groups: Range<usize>, vector: usize) {
        let call = self.call;
        let conv = call.conv;
        let geometry = &conv.geometry;
        let [height, width] = call.size;
        let first = first_channel(vector, S::LANES, geometry.outputs);
        let column = first - self.work.columns.start * S::LANES;
        let taps = geometry.depth() * S::LANES;
        let weights = &conv.weights[vector * taps..][..taps];
        let bias = &conv.bias[vector * S::LANES..][..S::LANES];
        let mut ring = Ring {
            rows: &mut *self.ring,
            len: call.ring_row(),
            count: call.ring_rows(),
            end: 0,
            slot: 0,
        };
        // The image whose rows are in the ring.
        let mut image = usize::MAX;
        let first_group = self.work.rows.start;
        let mut pixel = call.row(groups.start)[0] - call.row(first_group)[0];
        for group in groups {
            let (image_of_group, rows) = call.rows(group);
            if image_of_group != image {
                image = image_of_group;
                (ring.end, ring.slot) = (0, 0);
            }
            let mut total = [0.0; MAX_LANES];
            for row in rows {
                let taps = call.taps(row);
                ring.skip_to((row * geometry.stride).saturating_sub(call.zeros[0]));
                while ring.end < taps.end {
                    let row = width * conv.inputs();
                    let from = &call.x[(image * height + ring.end) * row..][..row];
                    let to = ring.push(width, call.zeros[1], S::LANES);
                    match &conv.expansion {
                        None => copy(simd, &from[first..], geometry.inputs, to),
                        Some(expansion) => {
                            let pixels = to.len() / S::LANES;
                            let from = bytemuck::cast_slice(from);
                            expansion.run(simd, vector, &from[..pixels * expansion.inputs], to);
                        }
                    }
                }
                let on_map = !taps.rows.is_empty();
                simd.run(Row {
                    call,
                    slot: if on_map { ring.slot_of(taps.first) } else { 0 },
                    taps: taps.rows,
                    ring: ring.rows,
                    weights,
                    bias,
                    row: self.row,
                });
                let width = call.output[1];
                simd.run(Finish {
                    row: self.row,
                    y: self
                        .work
                        .y
                        .window(pixel..pixel + width, column..column + S::LANES),
                    activation: call.activation,
                    total: self.work.sums.is_some().then_some(&mut total),
                });
                pixel += width;
            }
            if let Some(sums) = &mut self.work.sums {
                sums.row(group - first_group)[column..][..S::LANES]
                    .copy_from_slice(&total[..S::LANES]);
            }
        }
    }
}

/// The last rows of the map, of one vector of channels.
struct Ring<'a> {
    rows: &'a mut [f32],
    /// Values of a row.
    len: usize,
    /// Rows.
    count: usize,
    /// The row of the map after the last one in it, and where that will be.
    end: usize,
    slot: usize,
}

impl Ring<'_> {
    /// Goes on with a row of the map, if it is a later one.
    #[inline(always)]
    fn skip_to(&mut self, row: usize) {
        if row > self.end {
            self.slot = (self.slot + row - self.end) % self.count;
            self.end = row;
        }
    }

    /// Where a row is.
    #[inline(always)]
    fn slot_of(&self, row: usize) -> usize {
        // No more than `count` rows back.
        let slot = self.slot + self.count - (self.end - row);
        if slot >= self.count {
            slot - self.count
        } else {
            slot
        }
    }

    /// Goes on with the next row: where its pixels go, after so many zeros.
    #[inline(always)]
    fn push(&mut self, width: usize, zeros: usize, lanes: usize) -> &mut [f32] {
        let to = &mut self.rows[self.slot * self.len..][..self.len];
        self.end += 1;
        self.slot += 1;
        if self.slot == self.count {
            self.slot = 0;
        }
        let pixels = (to.len() / lanes).saturating_sub(zeros).min(width);
        &mut to[self.len.min(zeros * lanes)..][..pixels * lanes]
    }
}

/// Copies a vector of each pixel of a row.
#[inline(always)]
fn copy<S: Simd, T: Element>(simd: S, from: &[T], channels: usize, to: &mut [f32]) {
    let pixels = to.len() / S::LANES;
    if pixels == 0 {
        return;
    }
    assert!(from.len() >= (pixels - 1) * channels + S::LANES);
    let (mut from, mut to) = (from.as_ptr(), to.as_mut_ptr());
    for _ in 0..pixels {
        // SAFETY: there is a vector for each pixel in both, in `from` so many channels apart.
        unsafe {
            simd.store_unchecked(T::load(simd, from), to);
            to = to.wrapping_add(S::LANES);
            from = from.wrapping_add(channels);
        }
    }
}

/// The taps of a row of the output that fall on the map.
#[derive(Clone)]
struct Taps {
    /// Rows of taps.
    rows: Range<usize>,
    /// Row of the map under the first of them, and the row after that under the last one.
    first: usize,
    end: usize,
}

impl<T: Element> Call<'_, T> {
    #[inline(always)]
    fn taps(&self, row: usize) -> Taps {
        let geometry = &self.conv.geometry;
        let (height, above) = (self.size[0], self.zeros[0]);
        // Counted from above the zeros.
        let top = row * geometry.stride;
        let start = above.saturating_sub(top).div_ceil(geometry.dilation);
        let end = (height + above).saturating_sub(top);
        let end = end.div_ceil(geometry.dilation).min(geometry.kernel_size);
        if start >= end {
            return Taps {
                rows: 0..0,
                first: 0,
                end: 0,
            };
        }
        Taps {
            rows: start..end,
            first: top + start * geometry.dilation - above,
            end: top + (end - 1) * geometry.dilation - above + 1,
        }
    }
}

/// The sums of a row of the output: a kernel, and so a function of its own.
struct Row<'a, T: Element> {
    call: &'a Call<'a, T>,
    /// The rows of taps that fall on the map, and the row of the ring under the first.
    taps: Range<usize>,
    slot: usize,
    ring: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    row: &'a mut [f32],
}

impl<T: Element> Kernel for Row<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let geometry = &self.call.conv.geometry;
        // What neighbouring outputs share is loaded once where registers are enough for the weights of a row of
        // taps, too. In a constant, so that what does not run is not compiled.
        let taps = match geometry.kernel_size {
            size @ (3 | 5) if geometry.dilation == 1 && const { S::BY_ELEMENT } => size,
            _ => 1,
        };
        match (geometry.stride, taps) {
            (1, 1) => self.tiles::<S, 1, 1>(simd),
            (2, 1) => self.tiles::<S, 2, 1>(simd),
            (1, 3) if const { S::BY_ELEMENT } => self.tiles::<S, 1, 3>(simd),
            (1, 5) if const { S::BY_ELEMENT } => self.tiles::<S, 1, 5>(simd),
            (2, 3) if const { S::BY_ELEMENT } => self.tiles::<S, 2, 3>(simd),
            (2, 5) if const { S::BY_ELEMENT } => self.tiles::<S, 2, 5>(simd),
            _ => self.tiles::<S, 0, 1>(simd),
        }
    }
}

impl<T: Element> Row<'_, T> {
    /// In tiles of nearly equal width. `STRIDE` is 0 for strides that have tiles of one output; so many
    /// neighbouring `TAPS` are computed together.
    #[inline(always)]
    fn tiles<S: Simd, const STRIDE: usize, const TAPS: usize>(self, simd: S) {
        let call = self.call;
        let geometry = &call.conv.geometry;
        let (len, width) = (call.ring_row(), call.output[1]);
        let (reach, kernel_size) = (call.ring_rows(), geometry.kernel_size);
        assert!(self.ring.len() >= reach * len && self.row.len() >= width * S::LANES);
        assert!(self.taps.end <= kernel_size && self.slot < reach);
        assert!(self.weights.len() >= kernel_size * kernel_size * S::LANES);
        // Where the first output finds its values: for every `TAPS` of a row of taps, which are neighbours.
        // Not initialised, as that would take as long as a short row.
        let mut places = [MaybeUninit::uninit(); MOST_TAPS];
        let mut count = 0;
        let mut slot = self.slot;
        for _ in self.taps.clone() {
            let mut place = self.ring[slot * len..].as_ptr();
            for _ in (0..kernel_size).step_by(TAPS) {
                places[count].write(place);
                place = place.wrapping_add(TAPS * geometry.dilation * S::LANES);
                count += 1;
            }
            slot += geometry.dilation;
            if slot >= reach {
                slot -= reach;
            }
        }
        // SAFETY: so many were written.
        let places = unsafe { places[..count].assume_init_ref() };
        let weights = &self.weights[self.taps.start * kernel_size * S::LANES..];
        let bias = simd.load(self.bias);
        let most = if STRIDE == 0 { 1 } else { MOST_OUTPUTS };
        let tiles = width.div_ceil(most);
        let (least, wider) = (width / tiles, width % tiles);
        let mut start = 0;
        for index in 0..tiles {
            let outputs = least + usize::from(index < wider);
            let tile = Tile {
                places,
                offset: start * geometry.stride * S::LANES,
                weights,
                to: self.row[start * S::LANES..].as_mut_ptr(),
            };
            macro_rules! of_outputs {
                ($($outputs:literal)*) => {
                    match outputs {
                        // SAFETY: an output of the row reads pixels of the rows of the ring, which are as
                        // long as all outputs reach, and there is a vector of weights for each tap and of
                        // sums for each output.
                        $($outputs => unsafe { tile.run::<S, $outputs, STRIDE, TAPS>(simd, bias) },)*
                        _ => unreachable!("tiles have up to 14 outputs"),
                    }
                };
            }
            if STRIDE == 0 {
                of_outputs!(1);
            } else {
                of_outputs!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
            start += outputs;
        }
    }
}

/// A few neighbouring outputs, whose sums are kept in registers.
struct Tile<'a> {
    /// Where the first output of the row finds its values: one place for every `TAPS` neighbouring taps.
    places: &'a [*const f32],
    /// Values from there to those of the tile's first output.
    offset: usize,
    weights: &'a [f32],
    to: *mut f32,
}

impl Tile<'_> {
    /// # Safety
    /// A vector can be read for every tap of each output, and a vector of weights for every tap; one can be
    /// written for each output. From each place on, the values of `TAPS` taps are a vector apart.
    #[inline(always)]
    unsafe fn run<S: Simd, const OUTPUTS: usize, const STRIDE: usize, const TAPS: usize>(
        self,
        simd: S,
        bias: S::V,
    ) {
        let mut sums = [bias; OUTPUTS];
        let mut weights = self.weights.as_ptr();
        for &place in self.places {
            // SAFETY: as the caller guarantees.
            unsafe {
                let place = place.add(self.offset);
                let mut row = [simd.splat(0.0); TAPS];
                for tap in 0..TAPS {
                    row[tap] = simd.load_unchecked(weights);
                    weights = weights.add(S::LANES);
                }
                // Written out: a loop this long would not be unrolled, with its sums in memory.
                macro_rules! of_each_output {
                    ($($output:literal)*) => {
                        $(if $output < OUTPUTS {
                            for tap in 0..TAPS {
                                let pixel = $output * STRIDE + tap;
                                let x = simd.load_unchecked(place.add(pixel * S::LANES));
                                sums[$output] = simd.fma(x, row[tap], sums[$output]);
                            }
                        })*
                    };
                }
                of_each_output!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
            }
        }
        for output in 0..OUTPUTS {
            // SAFETY: as the caller guarantees.
            unsafe { simd.store_unchecked(sums[output], self.to.add(output * S::LANES)) };
        }
    }
}

/// Activates a row of sums and stores it; adds all of them to the total.
struct Finish<'a, T> {
    row: &'a [f32],
    y: MatMut<'a, T>,
    activation: Option<Activation>,
    total: Option<&'a mut [f32; MAX_LANES]>,
}

impl<T: Element> Kernel for Finish<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let pixels = self.y.rows();
        assert!(self.row.len() >= pixels * S::LANES && self.y.columns() >= S::LANES);
        let (mut from, mut to) = (self.row.as_ptr(), self.y.row_ptr(0));
        let stride = self.y.stride();
        let mut sum = simd.splat(0.0);
        // A loop for each of the usual ones. A closure would not be compiled for the instruction set.
        macro_rules! each {
            ($x:ident => $activated:expr) => {
                for _ in 0..pixels {
                    // SAFETY: there is a vector for each pixel in the row and, a stride apart, in `y`.
                    unsafe {
                        let $x = simd.load_unchecked(from);
                        let activated = $activated;
                        sum = simd.add(sum, activated);
                        T::store(simd, activated, to);
                    }
                    from = from.wrapping_add(S::LANES);
                    to = to.wrapping_add(stride);
                }
            };
        }
        match self.activation {
            None => each!(x => x),
            Some(Activation::Relu) => each!(x => simd.relu(x)),
            Some(Activation::Silu) => each!(x => activate(simd, x, Activation::Silu)),
            Some(Activation::HardSwish) => each!(x => activate(simd, x, Activation::HardSwish)),
            Some(other) => each!(x => activate(simd, x, other)),
        }
        if let Some(total) = self.total {
            simd.store(simd.add(simd.load(&*total), sum), &mut *total);
        }
    }
}
