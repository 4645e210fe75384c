//! Weighted sums over neighbouring RGB pixels, in exact integers.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::{Isa, Set};

const CHANNELS: usize = 3;
/// Pixels per multiplication.
const PIXELS: usize = 4;
/// Bytes read for them: a whole vector, of which the last four are not used.
const READ: usize = 16;
const _: () = assert!(PIXELS * CHANNELS <= READ);
/// Weights are multiplied in two halves of 16 bits each: below and above this bit.
const LOW_BITS: u32 = 11;

/// The weights of each result, laid out for AVX2.
///
/// `vpmaddwd` multiplies pairs of 16-bit numbers and adds each pair, so a vector holds two pixels
/// in each half as `r r' g g' b b' 0 0`.
pub(crate) struct PixelSums {
    /// Proof that the machine has AVX2.
    _avx2: Avx2,
    /// First byte of each result's pixels in a row, and the end of its weights.
    windows: Vec<(usize, usize)>,
    /// Upper and lower halves of the weights of every four pixels.
    weights: Vec<[[i16; 16]; 2]>,
    /// Bytes of a row that are read.
    row_len: usize,
}

impl PixelSums {
    /// Rows that are summed together.
    pub(crate) const ROWS: usize = 4;
    /// Bytes past the last weighted pixel that may be read.
    pub(crate) const SLACK: usize = (PIXELS - 1) * CHANNELS + READ - PIXELS * CHANNELS;

    /// One result for each item of `taps`: its first pixel and the weights from there on, below
    /// 2^26 in magnitude. `None` where `isa` has no such instructions.
    pub(crate) fn new<'a>(
        isa: Isa,
        taps: impl Iterator<Item = (usize, &'a [i32])>,
    ) -> Option<Self> {
        let _avx2 = match isa.0 {
            Set::Portable(_) => return None,
            Set::Avx2(avx2) => avx2,
            Set::Avx512(avx512) => avx512.avx2(),
            Set::Avx512Bf16(avx512) => avx512.without_bf16().avx2(),
        };
        let mut sums = Self {
            _avx2,
            windows: Vec::new(),
            weights: Vec::new(),
            row_len: 0,
        };
        for (first, weights) in taps {
            let (quads, start) = (weights.len().div_ceil(PIXELS), first * CHANNELS);
            for quad in weights.chunks(PIXELS) {
                let lanes = |half: fn(i32) -> i32| -> [i16; 16] {
                    std::array::from_fn(|lane| {
                        let weight = quad.get(lane / 8 * 2 + lane % 2);
                        weight.map_or(0, |&weight| half(weight) as i16)
                    })
                };
                let low = |weight| weight & ((1 << LOW_BITS) - 1);
                sums.weights
                    .push([lanes(|weight| weight >> LOW_BITS), lanes(low)]);
            }
            sums.windows.push((start, sums.weights.len()));
            let end = start + quads * PIXELS * CHANNELS + READ - PIXELS * CHANNELS;
            sums.row_len = sums.row_len.max(end);
        }
        Some(sums)
    }

    /// Bytes of a row that are read, from the pixel on that `taps` counts from.
    pub(crate) fn row_len(&self) -> usize {
        self.row_len
    }

    /// Writes the results of `rows` one row after another to `out`, which may have room for fewer:
    /// `(bias + sum) >> SHIFT`, between 0 and 255.
    ///
    /// # Panics
    /// If a row is shorter than [`PixelSums::row_len`].
    pub(crate) fn write<const SHIFT: i32>(
        &self,
        rows: [&[u8]; Self::ROWS],
        bias: i32,
        out: &mut [u8],
    ) {
        assert!(rows.iter().all(|row| row.len() >= self.row_len));
        // SAFETY: `_avx2` proves that the machine has AVX2; the rows are long enough.
        unsafe { write::<SHIFT>(self, rows, bias, out) }
    }
}

/// # Safety
/// Each row has at least [`PixelSums::row_len`] bytes.
#[target_feature(enable = "avx2")]
unsafe fn write<const SHIFT: i32>(
    sums: &PixelSums,
    rows: [&[u8]; PixelSums::ROWS],
    bias: i32,
    out: &mut [u8],
) {
    // Each byte followed by a zero, pixels in pairs; -1 writes a zero.
    let pairs = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    );
    let mut rest = out;
    let mut out = [(); PixelSums::ROWS].map(|()| {
        let len = (sums.windows.len() * CHANNELS).min(rest.len());
        let row = rest.split_off_mut(..len).unwrap_or_default();
        row.as_chunks_mut::<CHANNELS>().0.iter_mut()
    });
    let bias = _mm_set1_epi32(bias);
    let mut start = 0;
    for &(first, end) in &sums.windows {
        let mut high = [_mm256_setzero_si256(); PixelSums::ROWS];
        let mut low = high;
        let mut at = first;
        for &[upper, lower] in &sums.weights[start..end] {
            let (upper, lower): (__m256i, __m256i) = (bytemuck::cast(upper), bytemuck::cast(lower));
            for (row, (high, low)) in rows.iter().zip(high.iter_mut().zip(&mut low)) {
                // SAFETY: `row_len`, which no row is shorter than, is at least `at + READ`.
                let bytes = unsafe { _mm_loadu_si128(row.as_ptr().add(at).cast()) };
                let pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), pairs);
                *high = _mm256_add_epi32(*high, _mm256_madd_epi16(pixels, upper));
                *low = _mm256_add_epi32(*low, _mm256_madd_epi16(pixels, lower));
            }
            at += PIXELS * CHANNELS;
        }
        start = end;
        let results: [__m128i; PixelSums::ROWS] = std::array::from_fn(|row| {
            let both = _mm256_add_epi32(
                _mm256_slli_epi32::<{ LOW_BITS as i32 }>(high[row]),
                low[row],
            );
            let (front, back) = (
                _mm256_castsi256_si128(both),
                _mm256_extracti128_si256::<1>(both),
            );
            _mm_srai_epi32::<SHIFT>(_mm_add_epi32(bias, _mm_add_epi32(front, back)))
        });
        let [a, b, c, d] = results;
        let bytes = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
        let bytes: [[u8; 4]; PixelSums::ROWS] = bytemuck::cast(bytes);
        for (row, [r, g, b, _]) in out.iter_mut().zip(bytes) {
            if let Some(pixel) = row.next() {
                *pixel = [r, g, b];
            }
        }
    }
}
