//! NEON: 32 registers of 4 values; with BF16, products of pairs of bf16.
#![allow(unsafe_code)]
#![allow(
    clippy::pointers_in_nomem_asm_block,
    reason = "prefetches neither read nor write"
)]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{Bf16, Kernel, LINE_BYTES, MAX_LANES, Simd, blocks_by_dots};

/// Proof that the machine has NEON, and with `BF16` also its products of bf16: made by `detect` and
/// `detect_bf16` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neon<const BF16: bool>(());

impl Neon<false> {
    pub(super) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl Neon<true> {
    pub(super) fn detect_bf16() -> Option<Self> {
        Neon::detect()?;
        is_aarch64_feature_detected!("bf16").then_some(Self(()))
    }

    /// NEON alone.
    pub(super) fn without_bf16(self) -> Neon<false> {
        Neon(())
    }
}

/// The upper halves of f32: bf16 in the places of the second of a pair.
const UPPER: u32 = 0xffff_0000;

// SAFETY of every block below: `self` proves that the machine has NEON, all that the intrinsics
// require.
// SAFETY: a vector has 4 values, which is LANES; loads and stores touch these alone.
unsafe impl<const BF16: bool> Simd for Neon<BF16> {
    const LANES: usize = 4;
    const ROWS: usize = if BF16 { 6 } else { 7 };
    const VECTORS: usize = 3;
    const BY_ELEMENT: bool = true;
    const DOT: bool = BF16;
    const BLOCKS: bool = BF16;
    type V = float32x4_t;
    type Lanes = uint8x16_t;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon")]
        fn without_bf16<K: Kernel>(simd: Neon<false>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "neon,bf16")]
        fn with_bf16<K: Kernel>(simd: Neon<true>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        if const { BF16 } {
            // SAFETY: `self`, with `BF16`, proves that the machine has the products of bf16, too.
            unsafe { with_bf16(Neon(()), kernel) }
        } else {
            // SAFETY: see above.
            unsafe { without_bf16(Neon(()), kernel) }
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn fma_element<const E: i32>(
        self,
        a: float32x4_t,
        b: float32x4_t,
        c: float32x4_t,
    ) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_laneq_f32::<E>(c, b, a) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // NaN where either is NaN, as below.
        // SAFETY: see above.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    fn clamp(self, x: float32x4_t, low: f32, high: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vminq_f32(vmaxq_f32(x, vdupq_n_f32(low)), vdupq_n_f32(high)) }
    }
    #[inline(always)]
    fn scale(self, x: float32x4_t, n: float32x4_t) -> float32x4_t {
        // In two steps, because neither 2^128 nor 2^-150 is a normal value.
        // SAFETY: see above.
        unsafe {
            let power =
                |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))));
            let n = vcvtq_s32_f32(n);
            let half = vshrq_n_s32::<1>(n);
            let rest = vsubq_s32(n, half);
            vmulq_f32(vmulq_f32(x, power(half)), power(rest))
        }
    }
    #[inline(always)]
    fn relu(self, x: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmaxq_f32(x, vdupq_n_f32(0.0)) }
    }
    #[inline(always)]
    fn lanes(self, order: &[u8; MAX_LANES]) -> uint8x16_t {
        // The four bytes of each lane.
        // SAFETY: see above; the array has the 16 bytes that the load reads.
        unsafe {
            let order = vld1q_u8(order.as_ptr());
            let lanes = vzip1q_u8(order, order);
            let lanes = vreinterpretq_u32_u8(vzip1q_u8(lanes, lanes));
            let bytes = vdupq_n_u32(0x0302_0100);
            vreinterpretq_u8_u32(vaddq_u32(vshlq_n_u32::<2>(lanes), bytes))
        }
    }
    #[inline(always)]
    fn permute(self, x: float32x4_t, lanes: uint8x16_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(x), lanes)) }
    }
    #[inline(always)]
    fn permute_fours(self, x: float32x4_t, lanes: uint8x16_t) -> float32x4_t {
        self.permute(x, lanes)
    }
    #[inline(always)]
    fn dot(self, a: float32x4_t, b: float32x4_t, mut c: float32x4_t) -> float32x4_t {
        if const { BF16 } {
            // The compiler's intrinsics for bf16 are not stable.
            // SAFETY: `self`, with `BF16`, proves that the machine has the instruction.
            unsafe {
                asm!("bfdot {c:v}.4s, {a:v}.8h, {b:v}.8h",
                    c = inout(vreg) c, a = in(vreg) a, b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
            return c;
        }
        let c = self.fma(second(a), second(b), c);
        self.fma(first(a), first(b), c)
    }
    #[inline(always)]
    fn dot_element<const E: i32>(
        self,
        a: float32x4_t,
        b: float32x4_t,
        mut c: float32x4_t,
    ) -> float32x4_t {
        if const { BF16 } {
            // SAFETY: see above.
            unsafe {
                asm!("bfdot {c:v}.4s, {b:v}.8h, {a:v}.2h[{e}]",
                    c = inout(vreg) c, a = in(vreg) a, b = in(vreg) b, e = const E,
                    options(pure, nomem, nostack, preserves_flags));
            }
            return c;
        }
        let c = self.fma_element::<E>(second(a), second(b), c);
        self.fma_element::<E>(first(a), first(b), c)
    }
    #[inline(always)]
    fn multiply_blocks(self, a: float32x4_t, b: float32x4_t, mut c: float32x4_t) -> float32x4_t {
        if const { BF16 } {
            // SAFETY: see above; the instruction is part of the same extension, FEAT_BF16.
            unsafe {
                asm!("bfmmla {c:v}.4s, {a:v}.8h, {b:v}.8h",
                    c = inout(vreg) c, a = in(vreg) a, b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
            return c;
        }
        blocks_by_dots(self, a, b, c)
    }
    #[inline(always)]
    fn halves(self, a: float32x4_t, b: float32x4_t) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b));
            [vzip1q_f64(a, b), vzip2q_f64(a, b)].map(|halves| vreinterpretq_f32_f64(halves))
        }
    }
    #[inline(always)]
    unsafe fn load_halves(self, lower: *const f32, upper: *const f32) -> float32x4_t {
        // SAFETY: the caller guarantees 2 values each; the loads need not be aligned.
        unsafe { vcombine_f32(vld1_f32(lower), vld1_f32(upper)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const Bf16) -> float32x4_t {
        // SAFETY: the caller guarantees 4 values, 8 bytes; the load need not be aligned.
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, x: float32x4_t, to: *mut Bf16) {
        // As `Bf16::from_f32`.
        // SAFETY: the caller guarantees 4 values, 8 bytes; the store need not be aligned. With `BF16`, `self`
        // proves that the machine has the instruction.
        unsafe {
            let bits = vreinterpretq_u32_f32(x);
            // What is subnormal keeps its sign alone.
            let is_normal = vtstq_u32(bits, vdupq_n_u32(0x7f80_0000));
            let bits = vbslq_u32(is_normal, bits, vandq_u32(bits, vdupq_n_u32(1 << 31)));
            let rounded = if const { BF16 } {
                let rounded: uint16x4_t;
                asm!("bfcvtn {to:v}.4h, {from:v}.4s",
                    to = out(vreg) rounded, from = in(vreg) bits, options(pure, nomem, nostack));
                rounded
            } else {
                let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                let rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
                let nan = vorrq_u32(bits, vdupq_n_u32(0x40 << 16));
                vshrn_n_u32::<16>(vbslq_u32(vceqq_f32(x, x), rounded, nan))
            };
            vst1_u16(to.cast(), rounded);
        }
    }
    // The compiler offers no intrinsics for prefetches. None reads anything or can fault, wherever
    // it points.
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: see above.
        unsafe {
            asm!("prfm pldl1keep, [{}]", in(reg) at, options(nomem, nostack, preserves_flags));
        }
    }
    #[inline(always)]
    fn prefetch_at(self, from: *const u8, offset: usize) {
        // An offset is a register, which is loaded before a loop.
        // SAFETY: see above.
        unsafe {
            asm!("prfm pldl1keep, [{}, {}]", in(reg) from, in(reg) offset,
                options(nomem, nostack, preserves_flags));
        }
    }
    #[inline(always)]
    fn prefetch_far(self, from: *const u8, bytes: usize) {
        // Four lines at a time: where weights are used once there are as many lines as vectors of sums.
        let (mut at, mut lines) = (from, bytes.div_ceil(LINE_BYTES));
        while lines >= 4 {
            // SAFETY: see above.
            unsafe {
                asm!("prfm pldl2keep, [{0}]",
                    "prfm pldl2keep, [{0}, 64]",
                    "prfm pldl2keep, [{0}, 128]",
                    "prfm pldl2keep, [{0}, 192]",
                    in(reg) at, options(nomem, nostack, preserves_flags));
            }
            at = at.wrapping_add(4 * LINE_BYTES);
            lines -= 4;
        }
        for _ in 0..lines {
            self.prefetch_line_far(at);
            at = at.wrapping_add(LINE_BYTES);
        }
    }
    #[inline(always)]
    fn prefetch_line_far(self, at: *const u8) {
        // SAFETY: see above.
        unsafe {
            asm!("prfm pldl2keep, [{}]", in(reg) at, options(nomem, nostack, preserves_flags));
        }
    }
    #[inline(always)]
    fn prefetch_write(self, at: *const u8) {
        // SAFETY: see above.
        unsafe {
            asm!("prfm pstl1keep, [{}]", in(reg) at, options(nomem, nostack, preserves_flags));
        }
    }
    #[inline(always)]
    unsafe fn load_four(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller guarantees 4 values; the load need not be aligned.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_unchecked(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller guarantees 4 values; the load need not be aligned.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store_unchecked(self, x: float32x4_t, to: *mut f32) {
        // SAFETY: the caller guarantees 4 values; the store need not be aligned.
        unsafe { vst1q_f32(to, x) }
    }
}

/// The first of each pair of bf16, as f32.
#[inline(always)]
fn first(pairs: float32x4_t) -> float32x4_t {
    // SAFETY: whoever has pairs to multiply has a `Neon`, which proves that the machine has NEON.
    unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(pairs))) }
}

/// The second of each pair of bf16, as f32.
#[inline(always)]
fn second(pairs: float32x4_t) -> float32x4_t {
    // SAFETY: as above.
    unsafe { vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(pairs), vdupq_n_u32(UPPER))) }
}
