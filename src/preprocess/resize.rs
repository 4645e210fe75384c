//! Resizes 8-bit images as Pillow 13.0 does, bit for bit.
//!
//! Every filter except `Nearest` runs a horizontal and a vertical pass. Each pixel is a weighted mean
//! over a window of the source that grows with the reduction. Weights are fixed-point numbers with
//! [`FRACTION_BITS`] bits, and the result of each pass is rounded to 8 bits. A pass is skipped if its
//! size does not change. Which pass comes first depends on the sizes; before Pillow 13.0 it was always
//! the horizontal one, so a few pixels were rounded differently. Unlike in Pillow, only the window that
//! a crop keeps is computed: a very long image would otherwise be enlarged to gigabytes.

use std::ops::Range;

use image::RgbImage;

use super::filter::{FRACTION_BITS, Filter, Taps};
use super::spec::Interpolation;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::kernels::PixelSums;
use crate::kernels::{Isa, Kernel, Simd};

const HALF: i32 = 1 << (FRACTION_BITS - 1);
const CHANNELS: usize = 3;

/// Resizes to `width` x `height` pixels as `Image.resize` of Pillow 13.0 does. Older versions run the
/// two passes in another order where the height shrinks a lot, and may round differently there.
///
/// An empty image gives a black one.
pub fn resize(image: &RgbImage, width: u32, height: u32, interpolation: Interpolation) -> RgbImage {
    let window = Window {
        columns: 0..width as usize,
        rows: 0..height as usize,
    };
    resize_window(
        image,
        width as usize,
        height as usize,
        &window,
        interpolation,
        Isa::best(),
    )
}

/// The part of a resized image that is kept, in pixels of that image.
pub(super) struct Window {
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// Resizes to `width` x `height` and returns the `window`.
pub(super) fn resize_window(
    image: &RgbImage,
    width: usize,
    height: usize,
    window: &Window,
    interpolation: Interpolation,
    isa: Isa,
) -> RgbImage {
    let (old_width, old_height) = (image.width() as usize, image.height() as usize);
    let size = (window.columns.len() as u32, window.rows.len() as u32);
    if size.0 == 0 || size.1 == 0 || image.is_empty() {
        return RgbImage::new(size.0, size.1);
    }
    let filter = match Filter::of(interpolation) {
        Some(filter) => filter,
        None => return nearest(image, width, height, window),
    };
    let taps = |old, new, range: &Range<usize>| {
        (old != new).then(|| Taps::new(old, new, range.clone(), filter))
    };
    let across = taps(old_width, width, &window.columns);
    let down = taps(old_height, height, &window.rows);
    // The part of the image that the passes read.
    let columns = across.as_ref().map_or(window.columns.clone(), Taps::span);
    let rows = down.as_ref().map_or(window.rows.clone(), Taps::span);

    let source = Raster {
        data: image.as_raw(),
        stride: old_width * CHANNELS,
        top: 0,
        left: 0,
    };
    let result = if is_vertical_first((old_width, old_height), (width, height)) {
        let low = resize_down(&source, &window.rows, &columns, down.as_ref(), isa);
        let source = Raster {
            data: &low,
            stride: columns.len() * CHANNELS,
            top: window.rows.start,
            left: columns.start,
        };
        resize_across(&source, &window.rows, &window.columns, across.as_ref(), isa)
    } else {
        let narrow = resize_across(&source, &rows, &window.columns, across.as_ref(), isa);
        let source = Raster {
            data: &narrow,
            stride: window.columns.len() * CHANNELS,
            top: rows.start,
            left: window.columns.start,
        };
        resize_down(&source, &window.rows, &window.columns, down.as_ref(), isa)
    };
    RgbImage::from_raw(size.0, size.1, result).expect("three bytes for each pixel of the window")
}

/// Takes the old pixel in which the centre of each new pixel lies.
///
/// Positions are found by repeated addition, as in Pillow, because its rounding errors can move a
/// centre into the next pixel.
fn nearest(image: &RgbImage, width: usize, height: usize, window: &Window) -> RgbImage {
    let places = |old: u32, new: usize, range: &Range<usize>| -> Vec<u32> {
        let step = f64::from(old) / new as f64;
        let centres = std::iter::successors(Some(step * 0.5), |place| Some(place + step));
        let kept = centres.skip(range.start).take(range.len());
        kept.map(|place| (place as u32).min(old - 1)).collect()
    };
    let columns = places(image.width(), width, &window.columns);
    let rows = places(image.height(), height, &window.rows);
    RgbImage::from_fn(columns.len() as u32, rows.len() as u32, |x, y| {
        *image.get_pixel(columns[x as usize], rows[y as usize])
    })
}

/// Which pass Pillow runs first. The order matters because each pass rounds to 8 bits.
///
/// Found by comparing Pillow 13.0 with both orders over some thousand sizes: the vertical pass comes
/// first if the height shrinks, by more than twice the number of pixels by which the width shrinks.
fn is_vertical_first(old: (usize, usize), new: (usize, usize)) -> bool {
    new.1 < old.1 && old.1 - new.1 > 2 * old.0.saturating_sub(new.0)
}

/// Rows of RGB pixels cut out of a larger image; positions are those of the whole image.
struct Raster<'a> {
    data: &'a [u8],
    /// Bytes from one row to the next.
    stride: usize,
    /// Row and column of the first pixel in `data`.
    top: usize,
    left: usize,
}

impl<'a> Raster<'a> {
    /// All bytes from a pixel to the end, including the rows below.
    fn from(&self, y: usize, column: usize) -> &'a [u8] {
        &self.data[(y - self.top) * self.stride + (column - self.left) * CHANNELS..]
    }

    fn row(&self, y: usize, columns: &Range<usize>) -> &'a [u8] {
        &self.from(y, columns.start)[..columns.len() * CHANNELS]
    }
}

/// Resizes the width of `rows`; without `taps` it copies.
fn resize_across(
    source: &Raster<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    taps: Option<&Taps>,
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(
            unused_variables,
            reason = "there are instructions for it on x86-64 and aarch64 only"
        )
    )]
    isa: Isa,
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
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let taps = taps
            .iter()
            .map(|(first, weights)| (first - span.start, weights));
        if let Some(sums) = PixelSums::new(isa, taps) {
            sum_pixels(&sums, source, rows, &span, row_bytes, &mut result);
            return result;
        }
    }
    pairs_across(source, rows, &span, taps, row_bytes, &mut result);
    result
}

/// Resizes the width of `rows` with SIMD.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn sum_pixels(
    sums: &PixelSums,
    source: &Raster<'_>,
    rows: &Range<usize>,
    span: &Range<usize>,
    row_bytes: usize,
    result: &mut [u8],
) {
    // The last rows, after which there are too few bytes to read whole vectors.
    let is_short = |&y: &usize| source.from(y, span.start).len() < sums.row_len();
    let short = rows.clone().find(is_short).unwrap_or(rows.end);
    let mut padded = Vec::new();
    if short < rows.end {
        padded.extend_from_slice(source.from(short, span.start));
        padded.resize(padded.len() + PixelSums::SLACK, 0);
    }
    let groups = result.chunks_mut(PixelSums::ROWS * row_bytes);
    for (y, out) in rows.clone().step_by(PixelSums::ROWS).zip(groups) {
        let inputs = std::array::from_fn(|row| {
            // An incomplete last group repeats its last row.
            let y = (y + row).min(rows.end - 1);
            match y < short {
                true => source.from(y, span.start),
                false => &padded[(y - short) * source.stride..],
            }
        });
        sums.write::<{ FRACTION_BITS as i32 }>(inputs, HALF, out);
    }
}

/// Resizes the width of `rows` without SIMD.
///
/// Two rows share each multiplication: one in the lower half of an `i64`, one in the upper. No sum
/// exceeds the 32 bits of its half, so they can be separated exactly.
fn pairs_across(
    source: &Raster<'_>,
    rows: &Range<usize>,
    span: &Range<usize>,
    taps: &Taps,
    row_bytes: usize,
    result: &mut [u8],
) {
    let mut both = vec![[0; CHANNELS]; span.len()];
    let pairs = result.chunks_mut(2 * row_bytes);
    for (y, pair) in rows.clone().step_by(2).zip(pairs) {
        // A last odd row is paired with itself.
        let first_row = source.row(y, span).as_chunks::<CHANNELS>().0;
        let second_row = source.row((y + 1).min(rows.end - 1), span);
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
}

/// Resizes the height of `columns`; without `taps` it copies.
fn resize_down(
    source: &Raster<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    taps: Option<&Taps>,
    isa: Isa,
) -> Vec<u8> {
    let row_bytes = columns.len() * CHANNELS;
    let mut result = vec![0; rows.len() * row_bytes];
    let Some(taps) = taps else {
        for (y, row) in rows.clone().zip(result.chunks_exact_mut(row_bytes)) {
            row.copy_from_slice(source.row(y, columns));
        }
        return result;
    };
    let out = &mut result;
    isa.run(Down {
        source,
        columns,
        taps,
        out,
    });
    result
}

/// Computes weighted means of whole rows.
struct Down<'a> {
    source: &'a Raster<'a>,
    columns: &'a Range<usize>,
    taps: &'a Taps,
    out: &'a mut [u8],
}

impl Kernel for Down<'_> {
    type Output = ();
    type Element = f32;

    /// The compiler vectorises the loops.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let row_bytes = self.columns.len() * CHANNELS;
        let mut sums = vec![0; row_bytes];
        for (row, (first, weights)) in self.out.chunks_exact_mut(row_bytes).zip(self.taps.iter()) {
            sums.fill(HALF);
            let old = |i: usize| self.source.row(first + i, self.columns);
            // Two rows at a time: the sums are loaded and stored half as often.
            let (pairs, last) = weights.as_chunks::<2>();
            for (i, &[upper, lower]) in pairs.iter().enumerate() {
                let both = old(2 * i).iter().zip(old(2 * i + 1));
                for (sum, (&a, &b)) in sums.iter_mut().zip(both) {
                    *sum += i32::from(a) * upper + i32::from(b) * lower;
                }
            }
            for &weight in last {
                for (sum, &value) in sums.iter_mut().zip(old(weights.len() - 1)) {
                    *sum += i32::from(value) * weight;
                }
            }
            for (value, &sum) in row.iter_mut().zip(&sums) {
                *value = round(sum);
            }
        }
    }
}

/// Drops the fraction; sums start at one half, so that this rounds.
fn round(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_pixels() {
        let mut state = 1_u32;
        let mut below = |limit: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % limit
        };
        for case in 0..200 {
            let edges = std::array::from_fn(|_| 1 + below(if case % 8 == 0 { 150 } else { 24 }));
            let [old_width, old_height, width, height] = edges;
            // Extreme values, which would overflow a type that is too narrow.
            let image = RgbImage::from_fn(old_width, old_height, |_, _| {
                image::Rgb(std::array::from_fn(|_| [0, 255, 128][below(3) as usize]))
            });
            let (width, height) = (width as usize, height as usize);
            let window = Window {
                columns: width / 4..width,
                rows: height / 3..height,
            };
            for interpolation in [Interpolation::Bilinear, Interpolation::Lanczos] {
                let resized =
                    |isa| resize_window(&image, width, height, &window, interpolation, isa);
                let expected = resized(Isa::named("portable").unwrap());
                for isa in Isa::available() {
                    assert!(
                        resized(isa) == expected,
                        "{edges:?}, {isa:?}, {interpolation:?}"
                    );
                }
            }
        }
    }
}
