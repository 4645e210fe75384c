//! The resize of 8-bit images of Pillow 13.0, bit for bit.
//!
//! Every filter but the nearest pixel makes two passes, one for each edge, each a weighted mean over a window of the source that grows with
//! the reduction. Weights are fixed-point numbers with [`FRACTION_BITS`] bits; the result of each
//! pass is rounded to 8 bits. A pass is left out when its size does not change. The sizes say which
//! pass comes first: that is new in Pillow 13.0; older versions always begin with the horizontal one
//! and now and then round a pixel otherwise. One thing is done besides: only the part of the result
//! that a crop keeps is computed, because a very long picture would otherwise be enlarged to
//! gigabytes only to be cut.

use std::f64::consts::PI;
use std::ops::Range;

use image::RgbImage;

use super::spec::Interpolation;

const FRACTION_BITS: u32 = 22;
const HALF: i32 = 1 << (FRACTION_BITS - 1);
const CHANNELS: usize = 3;

/// Resizes to `width` x `height` pixels as `Image.resize` of Pillow 13.0 does. Older versions pass
/// over the two edges in another order where much height is lost, and may round otherwise there.
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
    let size = (window.columns.len() as u32, window.rows.len() as u32);
    if size.0 == 0 || size.1 == 0 || picture.is_empty() {
        return RgbImage::new(size.0, size.1);
    }
    let kernel = match Kernel::of(interpolation) {
        Some(kernel) => kernel,
        None => return nearest(picture, width, height, window),
    };
    let taps = |old, new, range: &Range<usize>| {
        (old != new).then(|| Taps::new(old, new, range.clone(), kernel))
    };
    let across = taps(old_width, width, &window.columns);
    let down = taps(old_height, height, &window.rows);
    // What the passes read of the picture.
    let columns = across.as_ref().map_or(window.columns.clone(), Taps::span);
    let rows = down.as_ref().map_or(window.rows.clone(), Taps::span);

    let source = Raster {
        data: picture.as_raw(),
        stride: old_width * CHANNELS,
        top: 0,
        left: 0,
    };
    let result = if is_vertical_first((old_width, old_height), (width, height)) {
        let low = resize_down(&source, &window.rows, &columns, down.as_ref());
        let source = Raster {
            data: &low,
            stride: columns.len() * CHANNELS,
            top: window.rows.start,
            left: columns.start,
        };
        resize_across(&source, &window.rows, &window.columns, across.as_ref())
    } else {
        let narrow = resize_across(&source, &rows, &window.columns, across.as_ref());
        let source = Raster {
            data: &narrow,
            stride: window.columns.len() * CHANNELS,
            top: rows.start,
            left: window.columns.start,
        };
        resize_down(&source, &window.rows, &window.columns, down.as_ref())
    };
    RgbImage::from_raw(size.0, size.1, result).expect("three bytes for each pixel of the window")
}

/// The old pixel in whose area the centre of each new one lies.
///
/// As in Pillow, the places are found by adding up: a rounding error may move one over an edge.
fn nearest(picture: &RgbImage, width: usize, height: usize, window: &Window) -> RgbImage {
    let places = |old: u32, new: usize, range: &Range<usize>| -> Vec<u32> {
        let step = f64::from(old) / new as f64;
        let centres = std::iter::successors(Some(step * 0.5), |place| Some(place + step));
        let kept = centres.skip(range.start).take(range.len());
        kept.map(|place| (place as u32).min(old - 1)).collect()
    };
    let columns = places(picture.width(), width, &window.columns);
    let rows = places(picture.height(), height, &window.rows);
    RgbImage::from_fn(columns.len() as u32, rows.len() as u32, |x, y| {
        *picture.get_pixel(columns[x as usize], rows[y as usize])
    })
}

/// Which pass Pillow runs first; they do not commute, because each rounds to 8 bits.
///
/// Found by comparing Pillow 13.0 with both orders over some thousand sizes: rows go first where a
/// picture loses height, and more than twice the number of pixels that it loses in width.
fn is_vertical_first(old: (usize, usize), new: (usize, usize)) -> bool {
    new.1 < old.1 && old.1 - new.1 > 2 * old.0.saturating_sub(new.0)
}

/// Rows of RGB pixels cut out of a larger picture; positions are those of the whole.
struct Raster<'a> {
    data: &'a [u8],
    /// Bytes from one row to the next.
    stride: usize,
    /// Row and column of the first pixel in `data`.
    top: usize,
    left: usize,
}

impl<'a> Raster<'a> {
    fn row(&self, y: usize, columns: &Range<usize>) -> &'a [u8] {
        let start = (y - self.top) * self.stride + (columns.start - self.left) * CHANNELS;
        &self.data[start..start + columns.len() * CHANNELS]
    }
}

/// Resizes the width of `rows`; without `taps` it copies.
///
/// Two rows share each multiplication: one in the lower half of an `i64`, one in the upper. No sum
/// leaves the 32 bits of its half, so both can be taken apart again exactly.
fn resize_across(
    source: &Raster<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    taps: Option<&Taps>,
) -> Vec<u8> {
    let row_bytes = columns.len() * CHANNELS;
    let mut result = vec![0; rows.len() * row_bytes];
    let Some(taps) = taps else {
        for (y, row) in rows.clone().zip(result.chunks_exact_mut(row_bytes)) {
            row.copy_from_slice(source.row(y, columns));
        }
        return result;
    };
    let span = taps.span();
    let mut both = vec![[0; CHANNELS]; span.len()];
    let pairs = result.chunks_mut(2 * row_bytes);
    for (y, pair) in rows.clone().step_by(2).zip(pairs) {
        // A last odd row is paired with itself.
        let first_row = source.row(y, &span).as_chunks::<CHANNELS>().0;
        let second_row = source.row((y + 1).min(rows.end - 1), &span);
        let second_row = second_row.as_chunks::<CHANNELS>().0;
        for ((both, a), b) in both.iter_mut().zip(first_row).zip(second_row) {
            *both = std::array::from_fn(|c| i64::from(a[c]) | i64::from(b[c]) << 32);
        }
        let (first_out, second_out) = pair.split_at_mut(row_bytes);
        let mut second_out = second_out.as_chunks_mut::<CHANNELS>().0.iter_mut();
        let first_out = first_out.as_chunks_mut::<CHANNELS>().0.iter_mut();
        for (pixel, (first, weights)) in first_out.zip(taps.iter()) {
            let [mut r, mut g, mut b] = [i64::from(HALF) | i64::from(HALF) << 32; CHANNELS];
            for (old, &weight) in both[first - span.start..].iter().zip(weights) {
                let weight = i64::from(weight);
                r += old[0] * weight;
                g += old[1] * weight;
                b += old[2] * weight;
            }
            *pixel = [r, g, b].map(|sums| round(sums as i32));
            if let Some(pixel) = second_out.next() {
                *pixel =
                    [r, g, b].map(|sums| round(((sums - i64::from(sums as i32)) >> 32) as i32));
            }
        }
    }
    result
}

/// Resizes the height of `columns`; without `taps` it copies.
fn resize_down(
    source: &Raster<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    taps: Option<&Taps>,
) -> Vec<u8> {
    let row_bytes = columns.len() * CHANNELS;
    let mut result = vec![0; rows.len() * row_bytes];
    let rows_out = result.chunks_exact_mut(row_bytes);
    let Some(taps) = taps else {
        for (y, row) in rows.clone().zip(rows_out) {
            row.copy_from_slice(source.row(y, columns));
        }
        return result;
    };
    let mut sums = vec![0; row_bytes];
    for (row, (first, weights)) in rows_out.zip(taps.iter()) {
        sums.fill(HALF);
        for (y, &weight) in (first..).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(source.row(y, columns)) {
                *sum += i32::from(value) * weight;
            }
        }
        for (value, &sum) in row.iter_mut().zip(&sums) {
            *value = round(sum);
        }
    }
    result
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
    fn new(old_size: usize, new_size: usize, range: Range<usize>, kernel: Kernel) -> Self {
        let scale = old_size as f64 / new_size as f64;
        // An enlargement uses the filter as it is, a reduction stretches it.
        let stretch = scale.max(1.0);
        let support = kernel.radius * stretch;
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
                (kernel.weight)(distance)
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

/// What an old pixel weighs at a distance, as Pillow's `Resample.c` computes it.
#[derive(Clone, Copy)]
struct Kernel {
    /// How far it reaches, in pixels of the larger raster.
    radius: f64,
    weight: fn(f64) -> f64,
}

impl Kernel {
    /// `None` for the nearest pixel, which is not a weighted mean.
    fn of(interpolation: Interpolation) -> Option<Self> {
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

/// Sinc in a Hamming window, whose two numbers are of single precision in Pillow.
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

/// Sinc in the main lobe of another, three times as wide.
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
