//! The type of weights and activations in memory. Sums, biases and gates are always f32.
#![allow(unsafe_code)]

use std::fmt::Debug;

use bytemuck::Pod;

use super::micro::{self, PanelProduct};
use super::simd::Simd;

/// A type that weights and activations are stored in.
///
/// Vectors in registers are f32, so that most kernels only load and store through this trait. The
/// matrix product has a micro-kernel for each type, in the order of weights that suits it.
///
/// No other crate can implement it: `Simd` has no public name.
///
/// # Safety
/// Loads and stores touch no more values than they say: the checked ones of `Simd` rely on it.
pub unsafe trait Element: Pod + Debug + Send + Sync {
    /// As in the names of kernels, such as `avx2 f32 6x16`.
    const NAME: &'static str;

    /// The nearest value of this type.
    fn from_f32(x: f32) -> Self;

    /// The same value.
    fn to_f32(self) -> f32;

    /// A vector of values.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` values.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V;

    /// The same four values in every four lanes.
    ///
    /// # Safety
    /// `from` is valid for reading 4 values.
    unsafe fn load_four<S: Simd>(simd: S, from: *const Self) -> S::V;

    /// Stores a vector, each lane rounded to the nearest value.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` values.
    unsafe fn store<S: Simd>(simd: S, x: S::V, to: *mut Self);

    /// Packs a panel, all zeros before, with the weights of `width` outputs or fewer in the order
    /// in which [`Element::multiply`] reads them: `rows` has those of one output every `stride`
    /// values.
    fn pack(rows: &[f32], stride: usize, width: usize, panel: &mut [Self]);

    /// `y = rows * panel + bias` for a panel of `VECTORS` vectors.
    ///
    /// # Panics
    /// If a slice is too short, or `y` has more columns than the panel.
    fn multiply<S: Simd, const VECTORS: usize>(simd: S, product: PanelProduct<'_, Self>);
}

// SAFETY: the loads and stores are those of `Simd`.
unsafe impl Element for f32 {
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { simd.load_unchecked(from) }
    }

    #[inline(always)]
    unsafe fn load_four<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { simd.load_four(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, x: S::V, to: *mut Self) {
        // SAFETY: as the caller guarantees.
        unsafe { simd.store_unchecked(x, to) }
    }

    fn pack(rows: &[f32], stride: usize, width: usize, panel: &mut [Self]) {
        let columns = rows.len().div_ceil(stride);
        for (input, weights) in panel.chunks_exact_mut(width).enumerate() {
            for (column, weight) in weights.iter_mut().take(columns).enumerate() {
                *weight = rows[column * stride + input];
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize>(simd: S, product: PanelProduct<'_, Self>) {
        micro::multiply::<S, VECTORS>(simd, product);
    }
}
