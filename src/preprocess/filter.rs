//! Pillow's resampling filters as fixed-point weights.

use std::f64::consts::PI;
use std::ops::Range;

use super::spec::Interpolation;

/// Fraction bits of a weight.
pub(super) const FRACTION_BITS: u32 = 22;

/// For each new pixel of a range: the old pixels that contribute to it, and their weights.
pub(super) struct Taps {
    /// First old pixel, and the end of its weights in `weights`.
    pixels: Vec<(usize, usize)>,
    weights: Vec<i32>,
}

impl Taps {
    pub(super) fn new(
        old_size: usize,
        new_size: usize,
        range: Range<usize>,
        filter: Filter,
    ) -> Self {
        let scale = old_size as f64 / new_size as f64;
        // Only a reduction stretches the filter.
        let stretch = scale.max(1.0);
        let support = filter.radius * stretch;
        let mut taps = Self {
            pixels: Vec::with_capacity(range.len()),
            weights: Vec::new(),
        };
        let mut exact = Vec::new();
        for i in range {
            let centre = (i as f64 + 0.5) * scale;
            // A cast from below zero saturates at zero, where the image starts.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(old_size);
            exact.clear();
            exact.extend((first..end).map(|j| {
                let distance = (j as f64 - centre + 0.5) * (1.0 / stretch);
                (filter.weight)(distance)
            }));
            let sum: f64 = exact.iter().sum();
            taps.weights.extend(exact.iter().map(|&weight| {
                // `round` rounds half away from zero, as Pillow does.
                (weight / sum * f64::from(1 << FRACTION_BITS)).round() as i32
            }));
            taps.pixels.push((first, taps.weights.len()));
        }
        taps
    }

    /// The range of old pixels that are read.
    pub(super) fn span(&self) -> Range<usize> {
        let start = self.iter().map(|(first, _)| first).min().unwrap_or(0);
        let ends = self.iter().map(|(first, weights)| first + weights.len());
        start..ends.max().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut start = 0;
        self.pixels.iter().map(move |&(first, end)| {
            let weights = &self.weights[start..end];
            start = end;
            (first, weights)
        })
    }
}

/// The weight of an old pixel by its distance, as in Pillow's `Resample.c`.
#[derive(Clone, Copy)]
pub(super) struct Filter {
    /// Support on each side, in pixels of the coarser raster.
    radius: f64,
    weight: fn(f64) -> f64,
}

impl Filter {
    /// `None` for `Nearest`, which is not a weighted mean.
    pub(super) fn of(interpolation: Interpolation) -> Option<Self> {
        let (radius, weight): (f64, fn(f64) -> f64) = match interpolation {
            Interpolation::Nearest => return None,
            Interpolation::Box => (0.5, |x| f64::from(-0.5 < x && x <= 0.5)),
            Interpolation::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
            Interpolation::Hamming => (1.0, hamming),
            Interpolation::Bicubic => (2.0, cubic),
            Interpolation::Lanczos => (3.0, lanczos),
        };
        Some(Self { radius, weight })
    }
}

/// Sinc in a Hamming window, whose two constants are single-precision in Pillow.
fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        return 1.0;
    }
    if x >= 1.0 {
        return 0.0;
    }
    sinc(x) * (f64::from(0.54_f32) + f64::from(0.46_f32) * (x * PI).cos())
}

/// Keys' cubic convolution with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Sinc windowed by the main lobe of a sinc three times as wide.
fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}
