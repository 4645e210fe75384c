//! With AVX2.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::avx2::Avx2;
use super::super::{Isa, Set};
use super::{CHANNELS, PIXELS, PixelSums, Row};

/// Weights are multiplied in two halves of 16 bits each: below and above this bit.
const LOW_BITS: u32 = 11;

pub(super) type Proof = Avx2;

/// Upper and lower halves of the weights.
///
/// `vpmaddwd` multiplies pairs of 16-bit numbers and adds each pair, so a vector holds two pixels
/// in each half as `r r' g g' b b' 0 0`.
pub(super) type Weights = [[i16; 16]; 2];

pub(super) fn proof(isa: Isa) -> Option<Proof> {
    match isa.0 {
        Set::Portable(_) => None,
        Set::Avx2(avx2) => Some(avx2),
        Set::Avx512(avx512) => Some(avx512.avx2()),
        Set::Avx512Bf16(avx512) => Some(avx512.without_bf16().avx2()),
    }
}

/// The weights of up to four pixels.
pub(super) fn pack(quad: &[i32]) -> Weights {
    let lanes = |half: fn(i32) -> i32| -> [i16; 16] {
        std::array::from_fn(|lane| {
            let weight = quad.get(lane / 8 * 2 + lane % 2);
            weight.map_or(0, |&weight| half(weight) as i16)
        })
    };
    let low = |weight| weight & ((1 << LOW_BITS) - 1);
    [lanes(|weight| weight >> LOW_BITS), lanes(low)]
}

/// As [`PixelSums::write`], with the rows of results.
pub(super) fn write<const SHIFT: i32>(
    _: Proof,
    sums: &PixelSums,
    rows: [&[u8]; PixelSums::ROWS],
    bias: i32,
    out: [Row<'_>; PixelSums::ROWS],
) {
    assert!(rows.iter().all(|row| row.len() >= sums.row_len));
    // SAFETY: a `Proof` proves that the machine has AVX2; the rows are long enough.
    unsafe { write_rows::<SHIFT>(sums, rows, bias, out) }
}

/// # Safety
/// Each row has at least [`PixelSums::row_len`] bytes.
#[target_feature(enable = "avx2")]
unsafe fn write_rows<const SHIFT: i32>(
    sums: &PixelSums,
    rows: [&[u8]; PixelSums::ROWS],
    bias: i32,
    mut out: [Row<'_>; PixelSums::ROWS],
) {
    // Each byte followed by a zero, pixels in pairs; -1 writes a zero.
    let pairs = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    );
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
