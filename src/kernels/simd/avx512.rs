//! AVX-512F: 32 registers of 16 values; with AVX512_BF16, products of pairs of bf16.
#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::mem;

use super::avx2::Avx2;
use super::{Bf16, Kernel, MAX_LANES, Simd};

/// Proof that the machine has AVX-512F, AVX2 and FMA, and with `BF16` also AVX512_BF16 and AVX-512BW, which
/// the compiler takes for granted with it: made by `detect` and `detect_bf16` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512<const BF16: bool>(Avx2);

impl Avx512<false> {
    pub(super) fn detect() -> Option<Self> {
        let avx2 = Avx2::detect()?;
        is_x86_feature_detected!("avx512f").then_some(Self(avx2))
    }

    /// AVX2 alone.
    pub(super) fn avx2(self) -> Avx2 {
        self.0
    }
}

impl Avx512<true> {
    pub(super) fn detect_bf16() -> Option<Self> {
        let Avx512(avx2) = Avx512::detect()?;
        let has_all =
            is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
        has_all.then_some(Self(avx2))
    }

    /// AVX-512F alone.
    pub(super) fn without_bf16(self) -> Avx512<false> {
        Avx512(self.0)
    }
}

/// Why operations on bf16 are not called with AVX-512F alone: see [`Isa::of`](super::Isa::of).
const NO_BF16: &str = "kernels on bf16 run on AVX2 where there is no AVX512_BF16";

// SAFETY of every block below: `self` proves that the machine has AVX-512F, all that the
// intrinsics require, except where another reason is given.
// SAFETY: a vector has 16 values, which is LANES; loads and stores touch these alone.
unsafe impl<const BF16: bool> Simd for Avx512<BF16> {
    const LANES: usize = 16;
    const ROWS: usize = 14;
    const VECTORS: usize = 2;
    const BY_ELEMENT: bool = false;
    const DOT: bool = BF16;
    type V = __m512;
    type Lanes = __m512i;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn without_bf16<K: Kernel>(simd: Avx512<false>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "avx512bf16,avx512bw,avx512f,avx2,fma")]
        fn with_bf16<K: Kernel>(simd: Avx512<true>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        if const { BF16 } {
            // SAFETY: `self`, with `BF16`, proves that the machine has AVX512_BF16 and AVX-512BW, too.
            unsafe { with_bf16(Avx512(self.0), kernel) }
        } else {
            // SAFETY: see above.
            unsafe { without_bf16(Avx512(self.0), kernel) }
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // The second operand is the result where either is NaN, which leaves NaN in the first.
        // SAFETY: see above.
        unsafe {
            let larger = _mm512_max_ps(a, b);
            _mm512_mask_mov_ps(larger, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a)
        }
    }
    #[inline(always)]
    fn clamp(self, x: __m512, low: f32, high: f32) -> __m512 {
        // The second operand is the result where either is NaN.
        // SAFETY: see above.
        unsafe { _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), x)) }
    }
    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_scalef_ps(x, n) }
    }
    #[inline(always)]
    fn relu(self, x: __m512) -> __m512 {
        // The second operand is the result where either is NaN.
        // SAFETY: see above.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }
    #[inline(always)]
    fn lanes(self, order: &[u8; MAX_LANES]) -> __m512i {
        // SAFETY: see above; the array has the 16 bytes that an unaligned load reads.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(order.as_ptr().cast())) }
    }
    #[inline(always)]
    fn permute(self, x: __m512, lanes: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_permutexvar_ps(lanes, x) }
    }
    #[inline(always)]
    fn dot(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        assert!(BF16, "{NO_BF16}");
        // SAFETY: `self`, with `BF16`, proves that the machine has AVX512_BF16, too. The types have equal
        // sizes, and any bits are values of them.
        unsafe {
            let pairs = |x| mem::transmute::<__m512, __m512bh>(x);
            _mm512_dpbf16_ps(c, pairs(a), pairs(b))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const Bf16) -> __m512 {
        // SAFETY: the caller guarantees 16 values, 32 bytes; the load need not be aligned.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, x: __m512, to: *mut Bf16) {
        assert!(BF16, "{NO_BF16}");
        // SAFETY: `self`, with `BF16`, proves that the machine has AVX512_BF16, too. The caller guarantees
        // 16 values, 32 bytes; the store need not be aligned.
        unsafe {
            let rounded = mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            _mm256_storeu_si256(to.cast(), rounded);
        }
    }
    #[inline(always)]
    fn prefetch_write(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
    }
    #[inline(always)]
    fn permute_fours(self, x: __m512, lanes: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_permutevar_ps(x, lanes) }
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
    unsafe fn load_four(self, from: *const f32) -> __m512 {
        // SAFETY: the caller guarantees 4 values; the load need not be aligned.
        unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_unchecked(self, from: *const f32) -> __m512 {
        // SAFETY: the caller guarantees 16 values; the load need not be aligned.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_unchecked(self, x: __m512, to: *mut f32) {
        // SAFETY: the caller guarantees 16 values; the store need not be aligned.
        unsafe { _mm512_storeu_ps(to, x) }
    }
}
