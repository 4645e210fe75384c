//! Weighted sums over neighbouring RGB pixels, in exact integers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;

use std::slice::IterMut;

#[cfg(target_arch = "x86_64")]
use avx2 as machine;
#[cfg(target_arch = "aarch64")]
use neon as machine;

use super::Isa;

const CHANNELS: usize = 3;
/// Pixels whose weights are multiplied together.
const PIXELS: usize = 4;
/// Bytes read for them: a whole vector, of which the last four are not used.
const READ: usize = 16;
const _: () = assert!(PIXELS * CHANNELS <= READ);

/// The weights of each result, laid out for the machine's vectors.
pub(crate) struct PixelSums {
    /// Proof that the machine has the instructions.
    proof: machine::Proof,
    /// First byte of each result's pixels in a row, and the end of its weights.
    windows: Vec<(usize, usize)>,
    /// Those of every four pixels.
    weights: Vec<machine::Weights>,
    /// Bytes of a row that are read.
    row_len: usize,
}

impl PixelSums {
    /// Rows that are summed together.
    pub(crate) const ROWS: usize = 4;
    /// Bytes past the last weighted pixel that may be read.
    pub(crate) const SLACK: usize = (PIXELS - 1) * CHANNELS + READ - PIXELS * CHANNELS;

    /// One result for each item of `taps`: its first pixel and the weights from there on, below 2^26 in
    /// magnitude; no sum of theirs times bytes exceeds an `i32`. `None` where `isa` has no such instructions.
    pub(crate) fn new<'a>(
        isa: Isa,
        taps: impl Iterator<Item = (usize, &'a [i32])>,
    ) -> Option<Self> {
        let mut sums = Self {
            proof: machine::proof(isa)?,
            windows: Vec::new(),
            weights: Vec::new(),
            row_len: 0,
        };
        for (first, weights) in taps {
            let (quads, start) = (weights.len().div_ceil(PIXELS), first * CHANNELS);
            sums.weights
                .extend(weights.chunks(PIXELS).map(machine::pack));
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
        let mut rest = out;
        let out = [(); Self::ROWS].map(|()| {
            let len = (self.windows.len() * CHANNELS).min(rest.len());
            let row = rest.split_off_mut(..len).unwrap_or_default();
            row.as_chunks_mut::<CHANNELS>().0.iter_mut()
        });
        machine::write::<SHIFT>(self.proof, self, rows, bias, out);
    }
}

/// The pixels of a row of results that are still to be written.
type Row<'a> = IterMut<'a, [u8; CHANNELS]>;
