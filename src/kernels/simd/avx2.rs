//! AVX2 with FMA: 16 registers of 8 values.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Kernel, MAX_LANES, Simd};

/// Proof that the machine has AVX2 and FMA: made by [`Avx2::detect`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has_all.then_some(Self(()))
    }
}

// SAFETY of every block below: `self` proves that the machine has AVX2 and FMA, all that the
// intrinsics require.
// SAFETY: a vector has 8 values, which is LANES; loads and stores touch these alone.
unsafe impl Simd for Avx2 {
    const LANES: usize = 8;
    const ROWS: usize = 6;
    const VECTORS: usize = 2;
    const BY_ELEMENT: bool = false;
    const DOT: bool = false;
    type V = __m256;
    type Lanes = __m256i;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn with_features<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: see above.
        unsafe { with_features(self, kernel) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // The second operand is the result where either is NaN, which leaves NaN in the first.
        // SAFETY: see above.
        unsafe {
            let larger = _mm256_max_ps(a, b);
            _mm256_blendv_ps(larger, a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a))
        }
    }
    #[inline(always)]
    fn clamp(self, x: __m256, low: f32, high: f32) -> __m256 {
        // The second operand is the result where either is NaN.
        // SAFETY: see above.
        unsafe { _mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), x)) }
    }
    #[inline(always)]
    fn scale(self, x: __m256, n: __m256) -> __m256 {
        // In two steps, because neither 2^128 nor 2^-150 is a normal value.
        // SAFETY: see above.
        unsafe {
            let power = |n| {
                let exponent = _mm256_add_epi32(n, _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            };
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let rest = _mm256_sub_epi32(n, half);
            _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(rest))
        }
    }
    #[inline(always)]
    fn relu(self, x: __m256) -> __m256 {
        // The second operand is the result where either is NaN.
        // SAFETY: see above.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), x) }
    }
    #[inline(always)]
    fn lanes(self, order: &[u8; MAX_LANES]) -> __m256i {
        // SAFETY: see above; the array has the 8 bytes that an unaligned load reads.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(order.as_ptr().cast())) }
    }
    #[inline(always)]
    fn permute(self, x: __m256, lanes: __m256i) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_permutevar8x32_ps(x, lanes) }
    }
    #[inline(always)]
    fn dot(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // A bf16 is the upper half of an f32: that of the second of a pair is in its place, and what is
        // below it must go.
        // SAFETY: see above.
        unsafe {
            let first = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x)));
            let upper = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32));
            let second = |x| _mm256_and_ps(x, upper);
            let c = _mm256_fmadd_ps(second(a), second(b), c);
            _mm256_fmadd_ps(first(a), first(b), c)
        }
    }
    #[inline(always)]
    fn prefetch_write(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
    }
    #[inline(always)]
    fn permute_fours(self, x: __m256, lanes: __m256i) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_permutevar_ps(x, lanes) }
    }
    #[inline(always)]
    fn prefetch_line_far(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn load_four(self, from: *const f32) -> __m256 {
        // SAFETY: the caller guarantees 4 values; the load need not be aligned.
        unsafe {
            let four = _mm_loadu_ps(from);
            _mm256_set_m128(four, four)
        }
    }
    #[inline(always)]
    unsafe fn load_unchecked(self, from: *const f32) -> __m256 {
        // SAFETY: the caller guarantees 8 values; the load need not be aligned.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_unchecked(self, x: __m256, to: *mut f32) {
        // SAFETY: the caller guarantees 8 values; the store need not be aligned.
        unsafe { _mm256_storeu_ps(to, x) }
    }
}
