//! Passes over whole channels-last maps: the squeeze, the gate, the shortcut.

use rayon::prelude::*;

use super::math::{activate, sigmoid};
use super::{Activation, Isa, Kernel, Simd};

/// Pixels that one partial sum adds; fixed, so that the mean does not depend on the threads.
const SUM_ROWS: usize = 128;

/// Values that are worth a task of their own.
const TASK: usize = 1 << 14;

/// One step of a pass over the pixels of a picture.
#[derive(Clone, Copy, Debug)]
pub enum Pass<'a> {
    /// `activation(y)`.
    Activate(Activation),
    /// `y * gate`, a factor per channel.
    Scale(&'a [f32]),
    /// `activation(y * gate + shortcut)`.
    Tail {
        gate: Option<&'a [f32]>,
        shortcut: &'a [f32],
        activation: Activation,
    },
    /// `y * gates[0] + other * gates[1]`.
    Select {
        gates: [&'a [f32]; 2],
        other: &'a [f32],
    },
}

/// Applies `pass` in place to `y` of shape `[pixels, channels]`, one picture.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn pass_over(isa: Isa, y: &mut [f32], channels: usize, pass: Pass<'_>) {
    let map = match pass {
        Pass::Tail { shortcut, .. } => Some(shortcut),
        Pass::Select { other, .. } => Some(other),
        Pass::Activate(_) | Pass::Scale(_) => None,
    };
    assert!(map.is_none_or(|map| map.len() == y.len()));
    let size = (TASK / channels).max(1) * channels;
    y.par_chunks_mut(size).enumerate().for_each(|(index, y)| {
        let map = map.map(|map| &map[index * size..][..y.len()]);
        isa.run(Rows {
            y,
            map,
            channels,
            pass,
        });
    });
}

struct Rows<'a> {
    y: &'a mut [f32],
    map: Option<&'a [f32]>,
    channels: usize,
    pass: Pass<'a>,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            y,
            map,
            channels,
            pass,
        } = self;
        for (pixel, y) in y.chunks_exact_mut(channels).enumerate() {
            let map = map.map(|map| &map[pixel * channels..][..channels]);
            let mut start = 0;
            while start < channels {
                let end = channels.min(start + S::LANES);
                let lanes = start..end;
                let x = simd.load_some(&y[lanes.clone()]);
                let other = map.map_or(x, |map| simd.load_some(&map[lanes.clone()]));
                let result = match pass {
                    Pass::Activate(activation) => activate(simd, x, Some(activation)),
                    Pass::Scale(gate) => simd.mul(x, simd.load_some(&gate[lanes.clone()])),
                    Pass::Tail {
                        gate, activation, ..
                    } => {
                        let sum = match gate {
                            Some(gate) => simd.fma(x, simd.load_some(&gate[lanes.clone()]), other),
                            None => simd.add(x, other),
                        };
                        activate(simd, sum, Some(activation))
                    }
                    Pass::Select { gates, .. } => {
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

/// Mean over the pixels of one picture `[pixels, channels]`; of `x + y` where there is a `y`.
///
/// # Panics
/// If a slice does not fit.
pub fn mean(isa: Isa, x: &[f32], y: Option<&[f32]>, channels: usize, means: &mut [f32]) {
    assert_eq!(means.len(), channels);
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
    means.fill(0.0);
    for sums in sums {
        means
            .iter_mut()
            .zip(sums)
            .for_each(|(mean, sum)| *mean += sum);
    }
    let pixels = (x.len() / channels) as f32;
    means.iter_mut().for_each(|mean| *mean /= pixels);
}

struct Sum<'a> {
    x: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();

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

/// The logistic function of every value, in place.
pub(super) fn sigmoid_all(isa: Isa, x: &mut [f32]) {
    isa.run(Sigmoid(x));
}

struct Sigmoid<'a>(&'a mut [f32]);

impl Kernel for Sigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for x in self.0.chunks_mut(S::LANES) {
            let y = sigmoid(simd, simd.load_some(x));
            simd.store_some(y, x);
        }
    }
}
