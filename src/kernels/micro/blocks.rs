//! Products where the machine multiplies blocks: two rows with two outputs, four inputs at a time.
//!
//! The sums of two rows and four outputs are two vectors. While products are added, each holds a block: that of
//! the first two outputs, or of the last two. Weights lie step by step, two words of an output together.
#![allow(unsafe_code)]

use super::{Inputs, load_weights};
use crate::kernels::Simd;
use crate::kernels::element::Word;

/// Words of a step.
const STEP: usize = 2;

/// Runs `$body` for the two rows of each block of a tile. Written out: a loop this long would not be unrolled,
/// with its sums in memory.
macro_rules! of_each_block {
    ($rows:expr, |$first:ident, $second:ident| $body:block) => {
        of_each_block!(@ $rows, $first, $second, $body, 0 1, 2 3, 4 5, 6 7, 8 9, 10 11, 12 13);
    };
    (@ $rows:expr, $first:ident, $second:ident, $body:block, $($a:literal $b:literal),*) => {
        $(if $a < $rows {
            let ($first, $second) = ($a, $b);
            $body
        })*
    };
}

/// Makes blocks of the sums of rows, or rows of those of blocks. `spare` is the second row of the last block
/// if there is an odd number of rows.
#[inline(always)]
pub(super) fn exchange<S: Simd, const R: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[S::V; VECTORS]; R],
    spare: &mut [S::V; VECTORS],
) {
    for v in 0..VECTORS {
        of_each_block!(R, |first, second| {
            if second < R {
                [sums[first][v], sums[second][v]] = simd.halves(sums[first][v], sums[second][v]);
            } else {
                [sums[first][v], spare[v]] = simd.halves(sums[first][v], spare[v]);
            }
        });
    }
}

impl<W: Word> Inputs<'_, W> {
    /// Adds the products of all words.
    ///
    /// # Safety
    /// There is an even number of words. The inputs of `R` rows and their weights, `VECTORS` vectors for each
    /// word, are valid for reading.
    #[inline(always)]
    pub(super) unsafe fn add_blocks<S: Simd, const R: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        sums: &mut [[S::V; VECTORS]; R],
        spare: &mut [S::V; VECTORS],
    ) {
        let width = VECTORS * S::LANES;
        while self.words >= 2 * STEP {
            // By step and block.
            let mut inputs = [[simd.splat(0.0); R]; 2];
            of_each_block!(R, |first, second| {
                // SAFETY: as the caller guarantees; a vector has the inputs of two steps.
                let rows = unsafe {
                    let row = |row| W::load_inputs(simd, self.row(row));
                    [row(first), row(if second < R { second } else { first })]
                };
                [inputs[0][first], inputs[1][first]] = simd.halves(rows[0], rows[1]);
            });
            // SAFETY: as the caller guarantees; there are two steps.
            unsafe {
                self.add_step(simd, 0, &inputs[0], sums, spare);
                self.add_step(simd, 1, &inputs[1], sums, spare);
            }
            self.advance(2 * STEP, width);
        }
        if self.words > 0 {
            let mut inputs = [simd.splat(0.0); R];
            of_each_block!(R, |first, second| {
                // SAFETY: as the caller guarantees; a half has the inputs of a step.
                inputs[first] = unsafe {
                    let second = self.row(if second < R { second } else { first });
                    simd.load_halves(self.row(first).cast(), second.cast())
                };
            });
            // SAFETY: as the caller guarantees; there is a step.
            unsafe { self.add_step(simd, 0, &inputs, sums, spare) };
            self.advance(STEP, width);
        }
    }

    /// Adds the products of one step. `inputs` has a vector for each block, in the place of its first row.
    ///
    /// # Safety
    /// Its weights are valid for reading.
    #[inline(always)]
    unsafe fn add_step<S: Simd, const R: usize, const VECTORS: usize>(
        &self,
        simd: S,
        step: usize,
        inputs: &[S::V; R],
        sums: &mut [[S::V; VECTORS]; R],
        spare: &mut [S::V; VECTORS],
    ) {
        let width = VECTORS * S::LANES;
        for v in 0..VECTORS {
            let at = STEP * (step * width + v * S::LANES);
            // SAFETY: as the caller guarantees.
            let weights = unsafe {
                [
                    load_weights(simd, *self.panel, at, width),
                    load_weights(simd, *self.panel, at + S::LANES, width),
                ]
            };
            of_each_block!(R, |first, second| {
                let inputs = inputs[first];
                sums[first][v] = simd.multiply_blocks(inputs, weights[0], sums[first][v]);
                let last = if second < R {
                    &mut sums[second][v]
                } else {
                    &mut spare[v]
                };
                *last = simd.multiply_blocks(inputs, weights[1], *last);
            });
        }
    }
}
