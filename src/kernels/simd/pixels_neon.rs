//! Weighted sums over neighbouring RGB pixels, in exact integers.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::neon::Neon;
use super::{Isa, Set};

const CHANNELS: usize = 3;
/// Pixels whose weights are in a vector.
const PIXELS: usize = 4;
/// Bytes read for them: a whole vector, of which the last four are not used.
const READ: usize = 16;
const _: () = assert!(PIXELS * CHANNELS <= READ);

/// The weights of each result, four pixels to a vector.
///
/// A vector of sums holds red, green and blue of one pixel, and a lane that is not used.
pub(crate) struct PixelSums {
    /// Proof that the machine has NEON.
    _neon: Neon<false>,
    /// First byte of each result's pixels in a row, and the end of its weights.
    windows: Vec<(usize, usize)>,
    weights: Vec<[i32; PIXELS]>,
    /// Bytes of a row that are read.
    row_len: usize,
}

impl PixelSums {
    /// Rows that are summed together.
    pub(crate) const ROWS: usize = 4;
    /// Bytes past the last weighted pixel that may be read.
    pub(crate) const SLACK: usize = (PIXELS - 1) * CHANNELS + READ - PIXELS * CHANNELS;

    /// One result for each item of `taps`: its first pixel and the weights from there on. No sum of theirs times
    /// bytes exceeds an `i32`. `None` where `isa` has no such instructions.
    pub(crate) fn new<'a>(
        isa: Isa,
        taps: impl Iterator<Item = (usize, &'a [i32])>,
    ) -> Option<Self> {
        let _neon = match isa.0 {
            Set::Portable(_) => return None,
            Set::Neon(neon) => neon,
            Set::NeonBf16(neon) => neon.without_bf16(),
        };
        let mut sums = Self {
            _neon,
            windows: Vec::new(),
            weights: Vec::new(),
            row_len: 0,
        };
        for (first, weights) in taps {
            let (quads, start) = (weights.len().div_ceil(PIXELS), first * CHANNELS);
            for quad in weights.chunks(PIXELS) {
                let mut weights = [0; PIXELS];
                weights[..quad.len()].copy_from_slice(quad);
                sums.weights.push(weights);
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
        // SAFETY: `_neon` proves that the machine has NEON; the rows are long enough.
        unsafe { write::<SHIFT>(self, rows, bias, out) }
    }
}

/// # Safety
/// Each row has at least [`PixelSums::row_len`] bytes.
#[target_feature(enable = "neon")]
unsafe fn write<const SHIFT: i32>(
    sums: &PixelSums,
    rows: [&[u8]; PixelSums::ROWS],
    bias: i32,
    out: &mut [u8],
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
    let mut rest = out;
    let mut out = [(); PixelSums::ROWS].map(|()| {
        let len = (sums.windows.len() * CHANNELS).min(rest.len());
        let row = rest.split_off_mut(..len).unwrap_or_default();
        row.as_chunks_mut::<CHANNELS>().0.iter_mut()
    });
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
