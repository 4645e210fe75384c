//! Products where the machine multiplies a vector with one element of another: four words of a row are loaded
//! at once.
#![allow(unsafe_code)]

use super::{Inputs, load_weights};
use crate::kernels::Simd;
use crate::kernels::element::Word;

/// Words of a row that are loaded at once.
const FOUR: usize = 4;

impl<W: Word> Inputs<'_, W> {
    /// Adds the products of four words at a time, until there are fewer.
    ///
    /// # Safety
    /// The inputs of `R` rows and their weights, `VECTORS` vectors for each word, are valid for reading.
    #[inline(always)]
    pub(super) unsafe fn add_fours<S: Simd, const R: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        sums: &mut [[S::V; VECTORS]; R],
    ) {
        let width = VECTORS * S::LANES;
        // Twice as many in low tiles, where the loop would cost as much as the products.
        let most = const { if R <= 2 { 2 * FOUR } else { FOUR } };
        while self.words >= most {
            for at in (0..most).step_by(FOUR) {
                // SAFETY: as the caller guarantees; there are `most` words.
                unsafe { self.add_four(simd, at, sums) };
            }
            self.advance(most, width);
        }
        if most > FOUR && self.words >= FOUR {
            // SAFETY: as the caller guarantees; there are four words.
            unsafe { self.add_four(simd, 0, sums) };
            self.advance(FOUR, width);
        }
    }

    /// Adds the products of four words, from word `at` on.
    ///
    /// # Safety
    /// They are valid for reading in each of the `R` rows, as are their weights.
    #[inline(always)]
    unsafe fn add_four<S: Simd, const R: usize, const VECTORS: usize>(
        &self,
        simd: S,
        at: usize,
        sums: &mut [[S::V; VECTORS]; R],
    ) {
        let width = VECTORS * S::LANES;
        let panel = self.panel.wrapping_add(at * width);
        let mut inputs = [simd.splat(0.0); R];
        // Written out: a loop this long would not be unrolled, with its sums in memory.
        macro_rules! load_each_row {
            ($($r:literal)*) => {
                $(if $r < R {
                    // SAFETY: as the caller guarantees.
                    inputs[$r] = unsafe { W::load_inputs(simd, self.row($r).add(at * W::INPUTS)) };
                })*
            };
        }
        load_each_row!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        macro_rules! of_element {
            ($element:literal, $($r:literal)*) => {
                for v in 0..VECTORS {
                    let at = $element * width + v * S::LANES;
                    // SAFETY: as the caller guarantees.
                    let weights = unsafe {
                        // Low tiles are alone in their product: with the one before, their weights were
                        // prefetched into L2, and there the machine sees by itself where they go on.
                        if R <= 2 {
                            W::load(simd, panel.add(at))
                        } else {
                            load_weights(simd, panel, at, width)
                        }
                    };
                    $(if $r < R {
                        let sum = &mut sums[$r][v];
                        *sum = W::multiply_add_element::<S, $element>(simd, inputs[$r], weights, *sum);
                    })*
                }
            };
        }
        of_element!(0, 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        of_element!(1, 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        of_element!(2, 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        of_element!(3, 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    }
}
