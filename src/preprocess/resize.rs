//! The resize of 8-bit images of Pillow 13.0, bit for bit.
//!
//! Every filter but the nearest pixel makes two passes, one for each edge, each a weighted mean over a window of the source that grows with
//! the reduction. Weights are fixed-point numbers with [`FRACTION_BITS`] bits; the result of each
//! pass is rounded to 8 bits. A pass is left out when its size does not change. The sizes say which
//! pass comes first: that is new in Pillow 13.0; older versions always begin with the horizontal one
//! and now and then round a pixel otherwise. One thing is done besides: only the part of the result
//! that a crop keeps is computed, because a very long picture would otherwise be enlarged to
//! gigabytes only to be cut.

use std::ops::Range;

use image::RgbImage;

use super::filter::{FRACTION_BITS, Filter, Taps};
use super::spec::Interpolation;
#[cfg(target_arch = "x86_64")]
use crate::kernels::PixelSums;
use crate::kernels::{Isa, Kernel, Simd};

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
        Isa::best(),
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
    isa: Isa,
) -> RgbImage {
    let (old_width, old_height) = (picture.width() as usize, picture.height() as usize);
    let size = (window.columns.len() as u32, window.rows.len() as u32);
    if size.0 == 0 || size.1 == 0 || picture.is_empty() {
        return RgbImage::new(size.0, size.1);
    }
    let filter = match Filter::of(interpolation) {
        Some(filter) => filter,
        None => return nearest(picture, width, height, window),
    };
    let taps = |old, new, range: &Range<usize>| {
        (old != new).then(|| Taps::new(old, new, range.clone(), filter))
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
    /// All bytes from a pixel on, those of the rows below too.
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
    #[cfg(target_arch = "x86_64")]
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

/// The width of `rows` with the vectors of the machine.
#[cfg(target_arch = "x86_64")]
fn sum_pixels(
    sums: &PixelSums,
    source: &Raster<'_>,
    rows: &Range<usize>,
    span: &Range<usize>,
    row_bytes: usize,
    result: &mut [u8],
) {
    // The last rows, behind which there is too little to read whole vectors.
    let is_short = |&y: &usize| source.from(y, span.start).len() < sums.row_len();
    let short = rows.clone().find(is_short).unwrap_or(rows.end);
    let mut tail = Vec::new();
    if short < rows.end {
        tail.extend_from_slice(source.from(short, span.start));
        tail.resize(tail.len() + PixelSums::SLACK, 0);
    }
    let groups = result.chunks_mut(PixelSums::ROWS * row_bytes);
    for (y, out) in rows.clone().step_by(PixelSums::ROWS).zip(groups) {
        let inputs = std::array::from_fn(|row| {
            // A last group of fewer rows is filled up with its last.
            let y = (y + row).min(rows.end - 1);
            match y < short {
                true => source.from(y, span.start),
                false => &tail[(y - short) * source.stride..],
            }
        });
        sums.write::<{ FRACTION_BITS as i32 }>(inputs, HALF, out);
    }
}

/// The width of `rows` with scalars.
///
/// Two rows share each multiplication: one in the lower half of an `i64`, one in the upper. No sum
/// leaves the 32 bits of its half, so both can be taken apart again exactly.
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

/// The weighted means of whole rows.
struct Down<'a> {
    source: &'a Raster<'a>,
    columns: &'a Range<usize>,
    taps: &'a Taps,
    out: &'a mut [u8],
}

impl Kernel for Down<'_> {
    type Output = ();

    /// The compiler makes vectors of the loops.
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

/// Drops the fraction; the half that rounds was added at the start of the sum.
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
            // Extremes, which overflow what is too narrow.
            let picture = RgbImage::from_fn(old_width, old_height, |_, _| {
                image::Rgb(std::array::from_fn(|_| [0, 255, 128][below(3) as usize]))
            });
            let (width, height) = (width as usize, height as usize);
            let window = Window {
                columns: width / 4..width,
                rows: height / 3..height,
            };
            for interpolation in [Interpolation::Bilinear, Interpolation::Lanczos] {
                let resized =
                    |isa| resize_window(&picture, width, height, &window, interpolation, isa);
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
