//! Where a vector of output channels finds its operands.
#![allow(unsafe_code)]

use crate::kernels::element::Word;
use crate::kernels::geometry::ConvGeometry;
use crate::kernels::simd::{MAX_LANES, Simd};

/// Where a vector of output channels finds its operands in the channels of an input pixel.
#[derive(Debug)]
pub(super) enum Source {
    /// All lanes are in one group, with this first channel.
    Splat(usize),
    /// For each input of a group where to load a vector and how to permute it.
    Permute(Vec<(usize, [u8; MAX_LANES])>),
    /// As `Permute`, where every four lanes take from the four channels in their place.
    Near(Vec<(usize, [u8; MAX_LANES])>),
    /// As `Near`, where all lanes take from the same four channels.
    Same(Vec<(usize, [u8; MAX_LANES])>),
    /// For each input of a group the channel of every lane.
    Scattered(Vec<Vec<usize>>),
}

impl Source {
    /// For the output channels from `first` on; inputs are counted in words.
    pub(super) fn new(geometry: &ConvGeometry, first: usize, lanes: usize) -> Self {
        let (cin, cout) = (geometry.group_inputs(), geometry.group_outputs());
        let last = geometry.outputs.min(first + lanes) - 1;
        let groups = first / cout..=last / cout;
        if groups.start() == groups.end() {
            return Self::Splat(groups.start() * cin);
        }
        // Lanes past the last channel have zero weights, so any channel in reach is right.
        let channels =
            |j: usize| (0..lanes).map(move |lane| (first + lane).min(last) / cout * cin + j);
        let start = groups.start() * cin;
        let orders = |from: &dyn Fn(usize) -> usize| {
            let order = |j: usize| {
                let mut order = [0; MAX_LANES];
                for (lane, (to, channel)) in order.iter_mut().zip(channels(j)).enumerate() {
                    *to = (channel.checked_sub(start + from(lane))?)
                        .try_into()
                        .ok()
                        .filter(|&place: &u8| place < 4)?;
                }
                Some((start, order))
            };
            (0..cin).map(order).collect::<Option<Vec<_>>>()
        };
        if start + 4 <= geometry.inputs
            && let Some(inputs) = orders(&|_| 0)
        {
            return Self::Same(inputs);
        }
        if start + lanes <= geometry.inputs
            && let Some(inputs) = orders(&|lane| lane / 4 * 4)
        {
            return Self::Near(inputs);
        }
        let reach = (groups.end() - groups.start()) * cin;
        if reach < lanes && lanes <= geometry.inputs {
            let permutation = |j: usize| {
                // A load that is aligned within the pixel does not cross a cache line.
                let aligned = start / lanes * lanes;
                let end = aligned + lanes;
                let base = if start + j + reach < end && end <= geometry.inputs {
                    aligned
                } else {
                    // It must not end after the channels.
                    (start + j).min(geometry.inputs - lanes)
                };
                let mut order = [0; MAX_LANES];
                for (lane, channel) in order.iter_mut().zip(channels(j)) {
                    *lane = (channel - base) as u8;
                }
                (base, order)
            };
            Self::Permute((0..cin).map(permutation).collect())
        } else {
            Self::Scattered((0..cin).map(|j| channels(j).collect()).collect())
        }
    }
}

/// The operands of a vector of output channels, input channel by input channel.
pub(super) trait Operand<S: Simd, W: Word>: Copy {
    /// One past the last word of a pixel that is read.
    fn end(self) -> usize;

    /// # Safety
    /// `pixel` is valid for reading [`Operand::end`] words.
    unsafe fn load(self, simd: S, pixel: *const W) -> S::V;
}

#[derive(Clone, Copy)]
pub(super) struct Splat(pub(super) usize);

impl<S: Simd, W: Word> Operand<S, W> for Splat {
    #[inline(always)]
    fn end(self) -> usize {
        self.0 + 1
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const W) -> S::V {
        // SAFETY: the caller guarantees one word more than the offset.
        unsafe { W::splat(simd, pixel.add(self.0).cast()) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Permute<L> {
    pub(super) base: usize,
    pub(super) order: L,
}

impl<S: Simd, W: Word> Operand<S, W> for Permute<S::Lanes> {
    #[inline(always)]
    fn end(self) -> usize {
        self.base + S::LANES
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const W) -> S::V {
        // SAFETY: the caller guarantees a vector from the offset on.
        simd.permute(unsafe { W::load(simd, pixel.add(self.base)) }, self.order)
    }
}

/// As [`Permute`] where every four lanes have their operands in four channels, which is a faster
/// instruction: the four in the same place, or, if `SAME`, the first four for all.
#[derive(Clone, Copy)]
pub(super) struct Near<L, const SAME: bool> {
    pub(super) base: usize,
    pub(super) order: L,
}

impl<S: Simd, W: Word, const SAME: bool> Operand<S, W> for Near<S::Lanes, SAME> {
    #[inline(always)]
    fn end(self) -> usize {
        self.base + if SAME { 4 } else { S::LANES }
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const W) -> S::V {
        // SAFETY: the caller guarantees four words or a vector from the offset on.
        let x = unsafe {
            let from = pixel.add(self.base);
            if SAME {
                W::load_four(simd, from)
            } else {
                W::load(simd, from)
            }
        };
        simd.permute_fours(x, self.order)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Scattered<'a>(pub(super) &'a [usize]);

impl<S: Simd, W: Word> Operand<S, W> for Scattered<'_> {
    #[inline(always)]
    fn end(self) -> usize {
        self.0.iter().max().map_or(0, |last| last + 1)
    }

    #[inline(always)]
    unsafe fn load(self, simd: S, pixel: *const W) -> S::V {
        let mut lanes = [W::zeroed(); MAX_LANES];
        for (lane, &channel) in lanes.iter_mut().zip(self.0) {
            // SAFETY: the caller guarantees one word more than the largest of these offsets.
            *lane = unsafe { *pixel.add(channel) };
        }
        // SAFETY: the array has MAX_LANES >= LANES words.
        unsafe { W::load(simd, lanes.as_ptr()) }
    }
}
