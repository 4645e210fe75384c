//! The types of maps and weights in memory. Sums, biases and gates are always f32.
#![allow(unsafe_code)]

use std::fmt::Debug;

use bytemuck::{Pod, Zeroable};

use super::bf16::Bf16;
use super::simd::Simd;

/// A type that the values of maps are stored in.
///
/// Vectors in registers are f32, so that most kernels only load and store through this trait. Products
/// multiply [`Word`]s.
///
/// No other crate can implement it: `Simd` has no public name.
///
/// # Safety
/// Loads and stores touch no more values than they say: the checked ones of `Simd` rely on it. A type
/// that is not narrow is f32: the micro-kernel relies on it.
pub unsafe trait Element: Pod + Debug + Send + Sync {
    /// As in the names of kernels, such as `avx2 f32 6x16`.
    const NAME: &'static str;

    /// Whether values are rounded when they are stored, so that unfinished sums are kept elsewhere.
    const NARROW: bool;

    /// What products multiply.
    type Word: Word<Element = Self>;

    /// The same for a convolution with groups of an odd number of inputs, which do not form pairs.
    type Single: Word<Element = Self>;

    /// What fully connected layers multiply with inputs in f32.
    type Linear: Word<Element = f32>;

    /// The nearest value of this type.
    fn from_f32(x: f32) -> Self;

    /// The same value.
    fn to_f32(self) -> f32;

    /// The same values, if they need no conversion.
    fn of_f32(values: &[f32]) -> Option<&[Self]>;

    /// A vector of values.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` values.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V;

    /// Stores a vector, each lane rounded to the nearest value.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` values.
    unsafe fn store<S: Simd>(simd: S, x: S::V, to: *mut Self);
}

/// A weight, or the weights of a pair of inputs: what a lane multiplies at a time.
///
/// # Safety
/// Loads touch no more words or values than they say. With more than one input, [`Word::splat`] and
/// [`Word::load_inputs`] are implemented for as many.
pub unsafe trait Word: Pod + Debug + Send + Sync {
    /// The type of the map.
    type Element: Element;

    /// As in the names of kernels.
    const NAME: &'static str = Self::Element::NAME;

    /// Inputs that it is multiplied with.
    const INPUTS: usize;

    /// From the weights of `INPUTS` inputs.
    ///
    /// # Panics
    /// If there are fewer.
    fn pack(weights: &[f32]) -> Self;

    /// A vector of words.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` words.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V;

    /// The same four words in every four lanes.
    ///
    /// # Safety
    /// `from` is valid for reading 4 words.
    unsafe fn load_four<S: Simd>(simd: S, from: *const Self) -> S::V;

    /// `INPUTS` values of the map in every lane.
    ///
    /// # Safety
    /// `from` is valid for reading `INPUTS` values.
    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const Self::Element) -> S::V {
        // SAFETY: as the caller guarantees.
        simd.splat(unsafe { *from }.to_f32())
    }

    /// The inputs of `LANES` words.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES * INPUTS` values.
    #[inline(always)]
    unsafe fn load_inputs<S: Simd>(simd: S, from: *const Self::Element) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { Self::Element::load(simd, from) }
    }

    /// `sum` and, in each lane, the products of the inputs and their weights.
    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, inputs: S::V, weights: S::V, sum: S::V) -> S::V {
        simd.fma(inputs, weights, sum)
    }

    /// As [`Word::multiply_add`], with the inputs of word `E`, below 4, in all lanes.
    #[inline(always)]
    fn multiply_add_element<S: Simd, const E: i32>(
        simd: S,
        inputs: S::V,
        weights: S::V,
        sum: S::V,
    ) -> S::V {
        simd.fma_element::<E>(inputs, weights, sum)
    }
}

/// Whether products are of blocks: two rows, two outputs and two words at a time.
pub(super) const fn by_blocks<S: Simd, W: Word>() -> bool {
    S::BLOCKS && W::INPUTS == 2
}

/// Inputs that products take at a time, of which there are whole ones: those of a word, or of two.
pub(super) const fn step<S: Simd, W: Word>() -> usize {
    if by_blocks::<S, W>() {
        2 * W::INPUTS
    } else {
        W::INPUTS
    }
}

/// [`step`] where it is largest. All others divide it.
pub(super) const fn most_step<W: Word>() -> usize {
    if W::INPUTS == 2 { 4 } else { W::INPUTS }
}

// SAFETY: the loads and stores are those of `Simd`.
unsafe impl Element for f32 {
    const NAME: &'static str = "f32";
    const NARROW: bool = false;
    type Word = f32;
    type Single = f32;
    type Linear = f32;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    fn of_f32(values: &[f32]) -> Option<&[Self]> {
        Some(values)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { simd.load_unchecked(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, x: S::V, to: *mut Self) {
        // SAFETY: as the caller guarantees.
        unsafe { simd.store_unchecked(x, to) }
    }
}

// SAFETY: the loads are those of `Simd`.
unsafe impl Word for f32 {
    type Element = f32;
    const INPUTS: usize = 1;

    #[inline(always)]
    fn pack(weights: &[f32]) -> Self {
        weights[0]
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
}

// SAFETY: the loads and stores are those of `Simd`.
unsafe impl Element for Bf16 {
    const NAME: &'static str = "bf16";
    const NARROW: bool = true;
    type Word = Pair;
    type Single = Bf16;
    type Linear = Mixed;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    fn of_f32(_: &[f32]) -> Option<&[Self]> {
        None
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { simd.load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, x: S::V, to: *mut Self) {
        // SAFETY: as the caller guarantees.
        unsafe { simd.store_bf16(x, to) }
    }
}

/// The weights of two inputs that follow each other, for [`Simd::dot`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Pair([Bf16; 2]);

// SAFETY: the loads are those of `Simd` for as many f32, which have the same size. It aligns none of them.
unsafe impl Word for Pair {
    type Element = Bf16;
    const INPUTS: usize = 2;

    #[inline(always)]
    fn pack(weights: &[f32]) -> Self {
        Self([Bf16::from_f32(weights[0]), Bf16::from_f32(weights[1])])
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { simd.load_unchecked(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_four<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { simd.load_four(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const Bf16) -> S::V {
        // SAFETY: as the caller guarantees; two values have the size of an f32.
        simd.splat(unsafe { from.cast::<f32>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_inputs<S: Simd>(simd: S, from: *const Bf16) -> S::V {
        // SAFETY: as the caller guarantees; two values have the size of an f32.
        unsafe { simd.load_unchecked(from.cast()) }
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, inputs: S::V, weights: S::V, sum: S::V) -> S::V {
        simd.dot(inputs, weights, sum)
    }

    #[inline(always)]
    fn multiply_add_element<S: Simd, const E: i32>(
        simd: S,
        inputs: S::V,
        weights: S::V,
        sum: S::V,
    ) -> S::V {
        simd.dot_element::<E>(inputs, weights, sum)
    }
}

// SAFETY: the loads are those of `Simd`.
unsafe impl Word for Bf16 {
    type Element = Bf16;
    const INPUTS: usize = 1;

    #[inline(always)]
    fn pack(weights: &[f32]) -> Self {
        Self::from_f32(weights[0])
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { simd.load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn load_four<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        let four = unsafe { from.cast::<[Self; 4]>().read() }.map(Self::to_f32);
        // SAFETY: the array has four values.
        unsafe { simd.load_four(four.as_ptr()) }
    }
}

/// A weight in bf16 for an input in f32.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Mixed(Bf16);

// SAFETY: the loads are those of `Simd`.
unsafe impl Word for Mixed {
    type Element = f32;
    const NAME: &'static str = "f32 x bf16";
    const INPUTS: usize = 1;

    #[inline(always)]
    fn pack(weights: &[f32]) -> Self {
        Self(Bf16::from_f32(weights[0]))
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees; it consists of a bf16 alone.
        unsafe { simd.load_bf16(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_four<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: as the caller guarantees.
        unsafe { <Bf16 as Word>::load_four(simd, from.cast()) }
    }
}
