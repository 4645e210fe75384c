//! With NEON.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::super::neon::Neon;
use super::super::{Isa, Set};
use super::{CHANNELS, PIXELS, PixelSums, READ, Row};

pub(super) type Proof = Neon<false>;

/// A vector of sums holds red, green and blue of one pixel, and a lane that is not used.
pub(super) type Weights = [i32; PIXELS];

pub(super) fn proof(isa: Isa) -> Option<Proof> {
    match isa.0 {
        Set::Portable(_) => None,
        Set::Neon(neon) => Some(neon),
        Set::NeonBf16(neon) => Some(neon.without_bf16()),
    }
}

/// The weights of up to four pixels.
pub(super) fn pack(quad: &[i32]) -> Weights {
    let mut weights = [0; PIXELS];
    weights[..quad.len()].copy_from_slice(quad);
    weights
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
    // SAFETY: a `Proof` proves that the machine has NEON; the rows are long enough.
    unsafe { write_rows::<SHIFT>(sums, rows, bias, out) }
}

/// # Safety
/// Each row has at least [`PixelSums::row_len`] bytes.
#[target_feature(enable = "neon")]
unsafe fn write_rows<const SHIFT: i32>(
    sums: &PixelSums,
    rows: [&[u8]; PixelSums::ROWS],
    bias: i32,
    mut out: [Row<'_>; PixelSums::ROWS],
) {
    // The bytes of each pixel as 32-bit numbers; what is beyond the vector is 0.
    let pixels: [[u8; READ]; PIXELS] = std::array::from_fn(|pixel| {
        std::array::from_fn(|byte| match (byte % 4, byte / 4) {
            (0, channel @ 0..CHANNELS) => (pixel * CHANNELS + channel) as u8,
            _ => u8::MAX,
        })
    });
    // SAFETY: each has the 16 bytes that the load reads.
    let pixels = pixels.map(|pixel| unsafe { vld1q_u8(pixel.as_ptr()) });
    let bias = vdupq_n_s32(bias);
    let mut start = 0;
    for &(first, end) in &sums.windows {
        let mut totals = [bias; PixelSums::ROWS];
        let mut at = first;
        for weights in &sums.weights[start..end] {
            // SAFETY: it has the four weights that the load reads.
            let weights = unsafe { vld1q_s32(weights.as_ptr()) };
            for (row, total) in rows.iter().zip(&mut totals) {
                // SAFETY: `row_len`, which no row is shorter than, is at least `at + READ`.
                let bytes = unsafe { vld1q_u8(row.as_ptr().add(at)) };
                let values = |pixel: usize| vreinterpretq_s32_u8(vqtbl1q_u8(bytes, pixels[pixel]));
                *total = vmlaq_laneq_s32::<0>(*total, values(0), weights);
                *total = vmlaq_laneq_s32::<1>(*total, values(1), weights);
                *total = vmlaq_laneq_s32::<2>(*total, values(2), weights);
                *total = vmlaq_laneq_s32::<3>(*total, values(3), weights);
            }
            at += PIXELS * CHANNELS;
        }
        start = end;
        for (row, total) in out.iter_mut().zip(totals) {
            let halves = vqmovn_s32(vshrq_n_s32::<SHIFT>(total));
            let bytes = vqmovun_s16(vcombine_s16(halves, halves));
            let bytes = vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)).to_le_bytes();
            let [r, g, b, _] = bytes;
            if let Some(pixel) = row.next() {
                *pixel = [r, g, b];
            }
        }
    }
}
