//! Pillow's antialiased resize of 8-bit pictures, bit for bit.
//!
//! Two passes, columns first, each a weighted mean over a window of the source that grows with the
//! reduction. Weights are fixed-point numbers with [`FRACTION_BITS`] bits; the result of each pass
//! is rounded to 8 bits. A pass is left out when its size does not change. One thing is done
//! besides: only the part of the result that a crop keeps is computed, because a very long picture
//! would otherwise be enlarged to gigabytes only to be cut.

use std::ops::Range;

use ::image::RgbImage;

use super::spec::Interpolation;

const FRACTION_BITS: u32 = 22;
const HALF: i32 = 1 << (FRACTION_BITS - 1);
const CHANNELS: usize = 3;

/// Resizes to `width` x `height` pixels as Pillow's `Image.resize` does.
///
/// An empty picture, which has nothing to take pixels from, gives a black one.
pub fn resize(
    picture: &RgbImage,
    width: u32,
    height: u32,
    interpolation: Interpolation,
) -> RgbImage {
    let window = Window {
        columns: 0..width as usize,
        rows: 0..height as usize,
    };
    resize_window(
        picture,
        width as usize,
        height as usize,
        &window,
        interpolation,
    )
}

/// The part of a resized picture that is kept, in its pixels.
pub(super) struct Window {
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// The `window` of the picture resized to `width` x `height`.
pub(super) fn resize_window(
    picture: &RgbImage,
    width: usize,
    height: usize,
    window: &Window,
    interpolation: Interpolation,
) -> RgbImage {
    let (old_width, old_height) = (picture.width() as usize, picture.height() as usize);
    let mut result = RgbImage::new(window.columns.len() as u32, window.rows.len() as u32);
    if result.is_empty() || picture.is_empty() {
        return result;
    }
    let columns = (width != old_width)
        .then(|| Taps::new(old_width, width, window.columns.clone(), interpolation));
    let rows = (height != old_height)
        .then(|| Taps::new(old_height, height, window.rows.clone(), interpolation));

    // First pass, over the rows that the second one reads.
    let source_rows = rows.as_ref().map_or(window.rows.clone(), Taps::span);
    let row_bytes = window.columns.len() * CHANNELS;
    let mut narrow = vec![0; source_rows.len() * row_bytes];
    let old_rows = picture.as_raw().chunks_exact(old_width * CHANNELS);
    for (row, old_row) in narrow
        .chunks_exact_mut(row_bytes)
        .zip(old_rows.skip(source_rows.start))
    {
        match &columns {
            Some(taps) => resize_row(old_row, taps, row),
            None => row.copy_from_slice(&old_row[window.columns.start * CHANNELS..][..row_bytes]),
        }
    }

    // Second pass.
    match &rows {
        None => result.copy_from_slice(&narrow),
        Some(taps) => {
            let mut sums = vec![0; row_bytes];
            for (row, (first, weights)) in result.chunks_exact_mut(row_bytes).zip(taps.iter()) {
                let sources =
                    narrow[(first - source_rows.start) * row_bytes..].chunks_exact(row_bytes);
                mix_rows(sources, weights, &mut sums, row);
            }
        }
    }
    result
}

fn resize_row(old_row: &[u8], taps: &Taps, row: &mut [u8]) {
    let old_pixels = old_row.as_chunks::<CHANNELS>().0;
    for (pixel, (first, weights)) in row
        .as_chunks_mut::<CHANNELS>()
        .0
        .iter_mut()
        .zip(taps.iter())
    {
        let [mut r, mut g, mut b] = [HALF; CHANNELS];
        for (old, &weight) in old_pixels[first..].iter().zip(weights) {
            r += i32::from(old[0]) * weight;
            g += i32::from(old[1]) * weight;
            b += i32::from(old[2]) * weight;
        }
        *pixel = [r, g, b].map(round);
    }
}

fn mix_rows<'a>(
    sources: impl Iterator<Item = &'a [u8]>,
    weights: &[i32],
    sums: &mut [i32],
    row: &mut [u8],
) {
    sums.fill(HALF);
    for (source, &weight) in sources.zip(weights) {
        for (sum, &value) in sums.iter_mut().zip(source) {
            *sum += i32::from(value) * weight;
        }
    }
    for (value, &sum) in row.iter_mut().zip(&*sums) {
        *value = round(sum);
    }
}

/// Drops the fraction; the half that rounds was added at the start of the sum.
fn round(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// For each pixel of a range of the new edge: which old pixels it is mixed of, and how.
struct Taps {
    /// First old pixel, and where its weights end in `weights`.
    pixels: Vec<(usize, usize)>,
    weights: Vec<i32>,
}

impl Taps {
    fn new(
        old_size: usize,
        new_size: usize,
        range: Range<usize>,
        interpolation: Interpolation,
    ) -> Self {
        let scale = old_size as f64 / new_size as f64;
        // An enlargement uses the filter as it is, a reduction stretches it.
        let stretch = scale.max(1.0);
        let support = radius(interpolation) * stretch;
        let mut taps = Self {
            pixels: Vec::with_capacity(range.len()),
            weights: Vec::new(),
        };
        let mut exact = Vec::new();
        for i in range {
            let centre = (i as f64 + 0.5) * scale;
            // Casts from below zero saturate at zero, which is where the picture starts.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(old_size);
            exact.clear();
            exact.extend((first..end).map(|j| {
                let distance = (j as f64 - centre + 0.5) * (1.0 / stretch);
                weight(interpolation, distance)
            }));
            let sum: f64 = exact.iter().sum();
            taps.weights.extend(exact.iter().map(|&weight| {
                // `round` goes away from zero at a half.
                (weight / sum * f64::from(1 << FRACTION_BITS)).round() as i32
            }));
            taps.pixels.push((first, taps.weights.len()));
        }
        taps
    }

    /// All old pixels that are read.
    fn span(&self) -> Range<usize> {
        let start = self.iter().map(|(first, _)| first).min().unwrap_or(0);
        let ends = self.iter().map(|(first, weights)| first + weights.len());
        start..ends.max().unwrap_or(0)
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut start = 0;
        self.pixels.iter().map(move |&(first, end)| {
            let weights = &self.weights[start..end];
            start = end;
            (first, weights)
        })
    }
}

/// How far a filter reaches, in pixels of the larger raster.
fn radius(interpolation: Interpolation) -> f64 {
    match interpolation {
        Interpolation::Bilinear => 1.0,
        Interpolation::Bicubic => 2.0,
    }
}

fn weight(interpolation: Interpolation, distance: f64) -> f64 {
    let x = distance.abs();
    match interpolation {
        Interpolation::Bilinear => (1.0 - x).max(0.0),
        // Keys' cubic convolution with a = -0.5.
        Interpolation::Bicubic => {
            const A: f64 = -0.5;
            if x < 1.0 {
                ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                (((x - 5.0) * x + 8.0) * x - 4.0) * A
            } else {
                0.0
            }
        }
    }
}
