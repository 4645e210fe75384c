//! Elementwise operations on whole channels-last maps, and sums over their pixels.

use rayon::prelude::*;

use super::activation::activate;
use super::epilogue::RowSums;
use super::{Activation, Element, Isa, Kernel, Simd};

/// Pixels in one partial sum; fixed, so that the mean does not depend on the number of threads.
const SUM_ROWS: usize = 128;

/// Values per task.
const TASK: usize = 1 << 14;

/// An operation on every value of an image.
#[derive(Clone, Copy, Debug)]
pub enum Elementwise<'a, T = f32> {
    /// `y * gate`, one factor per channel.
    Scale(&'a [f32]),
    /// `activation(y)`.
    Activate(Activation),
    /// `activation(y * gate + shortcut)`.
    AddShortcut {
        /// One factor per channel.
        gate: Option<&'a [f32]>,
        /// As `y`.
        shortcut: &'a [T],
        /// Applied to the sum.
        activation: Option<Activation>,
    },
    /// `y * gates[0] + other * gates[1]`.
    Select {
        /// One factor per channel, for each of the two maps.
        gates: [&'a [f32]; 2],
        /// As `y`.
        other: &'a [T],
    },
}

impl<T: Element> Elementwise<'_, T> {
    /// Applies it in place to one image `y`, `[pixels, channels]`.
    ///
    /// # Panics
    /// If a slice does not fit the shape.
    pub fn run(self, isa: Isa, y: &mut [T], channels: usize) {
        let map = match self {
            Self::AddShortcut { shortcut, .. } => Some(shortcut),
            Self::Select { other, .. } => Some(other),
            Self::Scale(_) | Self::Activate(_) => None,
        };
        assert!(map.is_none_or(|map| map.len() == y.len()));
        let size = (TASK / channels).max(1) * channels;
        y.par_chunks_mut(size).enumerate().for_each(|(index, y)| {
            let map = map.map(|map| &map[index * size..][..y.len()]);
            isa.run(Task {
                y,
                map,
                channels,
                operation: self,
            });
        });
    }
}

/// The pixels of one task.
struct Task<'a, T> {
    y: &'a mut [T],
    map: Option<&'a [T]>,
    channels: usize,
    operation: Elementwise<'a, T>,
}

impl<T: Element> Kernel for Task<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            y: values,
            map,
            channels,
            operation,
        } = self;
        // The end of most blocks, without a choice for every vector.
        if let (
            Elementwise::AddShortcut {
                gate: Some(gate),
                activation: Some(Activation::Relu),
                ..
            },
            Some(shortcut),
        ) = (operation, map)
            && channels.is_multiple_of(S::LANES)
        {
            let pixels = values.chunks_exact_mut(channels);
            for (y, shortcut) in pixels.zip(shortcut.chunks_exact(channels)) {
                let lanes = y.chunks_exact_mut(S::LANES);
                let lanes = lanes.zip(shortcut.chunks_exact(S::LANES));
                for ((y, shortcut), gate) in lanes.zip(gate.chunks_exact(S::LANES)) {
                    let sum = simd.fma(simd.load(y), simd.load(gate), simd.load(shortcut));
                    simd.store(simd.relu(sum), y);
                }
            }
            return;
        }
        for (pixel, y) in values.chunks_exact_mut(channels).enumerate() {
            let map = map.map(|map| &map[pixel * channels..][..channels]);
            let mut start = 0;
            while start < channels {
                let end = channels.min(start + S::LANES);
                let lanes = start..end;
                let x = simd.load_some(&y[lanes.clone()]);
                let other = map.map_or(x, |map| simd.load_some(&map[lanes.clone()]));
                let result = match operation {
                    Elementwise::Scale(gate) => simd.mul(x, simd.load_some(&gate[lanes.clone()])),
                    Elementwise::Activate(activation) => activate(simd, x, activation),
                    Elementwise::AddShortcut {
                        gate, activation, ..
                    } => {
                        let sum = match gate {
                            Some(gate) => simd.fma(x, simd.load_some(&gate[lanes.clone()]), other),
                            None => simd.add(x, other),
                        };
                        match activation {
                            Some(activation) => activate(simd, sum, activation),
                            None => sum,
                        }
                    }
                    Elementwise::Select { gates, .. } => {
                        let first = simd.mul(x, simd.load_some(&gates[0][lanes.clone()]));
                        simd.fma(other, simd.load_some(&gates[1][lanes.clone()]), first)
                    }
                };
                simd.store_some(result, &mut y[lanes]);
                start = end;
            }
        }
    }
}

/// Mean over the pixels of one image `[pixels, channels]`; of `x + y` where there is a `y`.
///
/// # Panics
/// If a slice does not fit.
pub fn mean<T: Element>(isa: Isa, x: &[T], y: Option<&[T]>, channels: usize, means: &mut [f32]) {
    assert_eq!(means.len(), channels);
    sum(isa, x, y, means);
    let pixels = (x.len() / channels) as f32;
    means.iter_mut().for_each(|mean| *mean /= pixels);
}

/// The sums over the rows of each segment of `y`, rows of `channels` values.
///
/// # Panics
/// If the sums are not one row per segment.
pub(super) fn sum_rows<T: Element>(isa: Isa, y: &[T], channels: usize, sums: RowSums<'_>) {
    let RowSums { segment, sums } = sums;
    assert_eq!(sums.len() * segment, y.len());
    let segments = y.chunks_exact((segment * channels).max(1));
    for (y, sums) in segments.zip(sums.chunks_exact_mut(channels)) {
        sum(isa, y, None, sums);
    }
}

/// As [`mean`], not divided by the number of pixels.
fn sum<T: Element>(isa: Isa, x: &[T], y: Option<&[T]>, totals: &mut [f32]) {
    let channels = totals.len();
    let size = SUM_ROWS * channels;
    let sums: Vec<Vec<f32>> = x
        .par_chunks(size)
        .enumerate()
        .map(|(index, x)| {
            let mut sums = vec![0.0; channels];
            isa.run(Sum { x, sums: &mut sums });
            if let Some(y) = y {
                let y = &y[index * size..][..x.len()];
                isa.run(Sum {
                    x: y,
                    sums: &mut sums,
                });
            }
            sums
        })
        .collect();
    totals.fill(0.0);
    for sums in sums {
        totals
            .iter_mut()
            .zip(sums)
            .for_each(|(total, sum)| *total += sum);
    }
}

struct Sum<'a, T> {
    x: &'a [T],
    sums: &'a mut [f32],
}

impl<T: Element> Kernel for Sum<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.sums.len();
        for x in self.x.chunks_exact(channels) {
            let mut start = 0;
            while start < channels {
                let end = channels.min(start + S::LANES);
                let sum = simd.add(
                    simd.load_some(&self.sums[start..end]),
                    simd.load_some(&x[start..end]),
                );
                simd.store_some(sum, &mut self.sums[start..end]);
                start = end;
            }
        }
    }
}
