//! Arrays, from which the compiler makes vectors of the target's baseline: SSE2 or NEON.
#![allow(unsafe_code)]

use super::{Kernel, MAX_LANES, Simd};

/// Runs everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portable;

#[inline(always)]
fn lanewise(f: impl Fn(usize) -> f32) -> [f32; 4] {
    std::array::from_fn(f)
}

// SAFETY: a vector has 4 values, which is LANES; loads and stores touch these alone.
unsafe impl Simd for Portable {
    const LANES: usize = 4;
    const ROWS: usize = 6;
    const VECTORS: usize = 2;
    const BY_ELEMENT: bool = false;
    const DOT: bool = false;
    type V = [f32; 4];
    type Lanes = [u8; 4];

    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Where there is no instruction, `mul_add` is a function call.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            lanewise(|i| a[i].mul_add(b[i], c[i]))
        } else {
            lanewise(|i| a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise(|i| {
            if a[i] > b[i] || a[i].is_nan() {
                a[i]
            } else {
                b[i]
            }
        })
    }
    #[inline(always)]
    fn clamp(self, x: Self::V, low: f32, high: f32) -> Self::V {
        lanewise(|i| x[i].clamp(low, high))
    }
    #[inline(always)]
    fn scale(self, x: Self::V, n: Self::V) -> Self::V {
        // In two steps, because neither 2^128 nor 2^-150 is a normal value.
        lanewise(|i| {
            let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
            let n = n[i] as i32;
            let half = n >> 1;
            x[i] * power(half) * power(n - half)
        })
    }
    #[inline(always)]
    fn relu(self, x: Self::V) -> Self::V {
        lanewise(|i| if x[i] < 0.0 { 0.0 } else { x[i] })
    }
    #[inline(always)]
    fn lanes(self, order: &[u8; MAX_LANES]) -> Self::Lanes {
        std::array::from_fn(|lane| order[lane])
    }
    #[inline(always)]
    fn permute(self, x: Self::V, lanes: Self::Lanes) -> Self::V {
        lanewise(|i| x[usize::from(lanes[i] & 3)])
    }
    #[inline(always)]
    fn permute_fours(self, x: Self::V, lanes: Self::Lanes) -> Self::V {
        self.permute(x, lanes)
    }
    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // A bf16 is the upper half of an f32: that of the second of a pair is in its place.
        let first = |x: Self::V| lanewise(|i| f32::from_bits(x[i].to_bits() << 16));
        let second = |x: Self::V| lanewise(|i| f32::from_bits(x[i].to_bits() & 0xffff_0000));
        self.fma(first(a), first(b), self.fma(second(a), second(b), c))
    }
    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
    #[inline(always)]
    fn prefetch_line_far(self, _: *const u8) {}
    #[inline(always)]
    fn prefetch_write(self, _: *const u8) {}
    #[inline(always)]
    unsafe fn load_four(self, from: *const f32) -> Self::V {
        // SAFETY: the caller guarantees 4 values, all that a vector has.
        unsafe { self.load_unchecked(from) }
    }
    #[inline(always)]
    unsafe fn load_unchecked(self, from: *const f32) -> Self::V {
        // SAFETY: the caller guarantees 4 values.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_unchecked(self, x: Self::V, to: *mut f32) {
        // SAFETY: the caller guarantees 4 values.
        unsafe { to.cast::<Self::V>().write_unaligned(x) }
    }
}
