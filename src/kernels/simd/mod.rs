//! Vectors of the machine: one trait, an implementation for each instruction set, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`], and handed to [`Isa::run`], which compiles it
//! for each instruction set and runs the one that the machine has.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod pixels;
mod portable;

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub(crate) use pixels::PixelSums;
use portable::Portable;

/// Lanes of the widest vector.
pub(crate) const MAX_LANES: usize = 16;

/// Arithmetic on vectors of `LANES` values. A value of the implementing type proves that the
/// machine has its instructions.
///
/// # Safety
/// `V` holds `LANES` values, at most [`MAX_LANES`], and the unchecked loads and stores touch no more
/// than these: the checked ones and the micro-kernel rely on it.
pub(crate) unsafe trait Simd: Copy + Send + Sync + 'static {
    const LANES: usize;
    /// Most rows of a micro-tile that is two vectors wide.
    const ROWS: usize;
    type V: Copy;
    /// Which source lane each lane of a permutation takes.
    type Lanes: Copy;

    fn splat(self, x: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger of the two; NaN if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `x`, but not below `low` nor above `high`; NaN stays NaN.
    fn clamp(self, x: Self::V, low: f32, high: f32) -> Self::V;
    /// `x * 2^n` for whole `n` in -150..=128 and normal `x`: infinity above the range of values,
    /// rounded to subnormal values and 0 below it. NaN in `x` stays NaN.
    fn scale(self, x: Self::V, n: Self::V) -> Self::V;
    /// `max(x, 0)`; NaN stays NaN.
    fn relu(self, x: Self::V) -> Self::V;
    /// Lane order for [`Simd::permute`] from the first `LANES` entries, each below `LANES`.
    fn lanes(self, order: &[u8; MAX_LANES]) -> Self::Lanes;
    /// `[x[order[0]], x[order[1]], ...]`.
    fn permute(self, x: Self::V, lanes: Self::Lanes) -> Self::V;

    /// As [`Simd::permute`] within each four lanes: an order's values are below 4.
    fn permute_fours(self, x: Self::V, lanes: Self::Lanes) -> Self::V;

    /// Asks for a cache line that will be read soon; any address will do.
    fn prefetch(self, at: *const f32);
    /// As [`Simd::prefetch`], into the second cache only.
    fn prefetch_far(self, at: *const f32);
    /// As [`Simd::prefetch`], of one that will be written.
    fn prefetch_write(self, at: *const f32);

    /// The same four values in each four lanes.
    ///
    /// # Safety
    /// `from` is valid for reading 4 values.
    unsafe fn load_four(self, from: *const f32) -> Self::V;

    /// # Safety
    /// `from` is valid for reading `LANES` values.
    unsafe fn load_unchecked(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `to` is valid for writing `LANES` values.
    unsafe fn store_unchecked(self, x: Self::V, to: *mut f32);

    /// The first `LANES` values.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the slice has LANES values.
        unsafe { self.load_unchecked(from.as_ptr()) }
    }

    /// Writes the first `LANES` values.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline(always)]
    fn store(self, x: Self::V, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice has LANES values.
        unsafe { self.store_unchecked(x, to.as_mut_ptr()) }
    }

    /// The values there are, at most `LANES`, the rest 0.
    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::V {
        if from.len() >= Self::LANES {
            return self.load(from);
        }
        let mut lanes = [0.0; MAX_LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Writes as many lanes as there is room for, at most `LANES`.
    #[inline(always)]
    fn store_some(self, x: Self::V, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            return self.store(x, to);
        }
        let mut lanes = [0.0; MAX_LANES];
        self.store(x, &mut lanes);
        let count = to.len();
        to.copy_from_slice(&lanes[..count]);
    }
}

/// Work that is compiled for every instruction set.
pub(crate) trait Kernel {
    type Output;
    /// Marked `#[inline(always)]` by implementations, so that it takes the features of its caller.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compiler makes of arrays: SSE2 on x86-64, NEON on aarch64.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
}

impl Isa {
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The environment variable that forces one, for tests and comparisons.
    pub const VARIABLE: &'static str = "SENET_ISA";

    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Values in a vector.
    pub fn lanes(self) -> usize {
        match self {
            Self::Portable => Portable::LANES,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// Most rows of a micro-tile.
    pub fn rows(self) -> usize {
        match self {
            Self::Portable => Portable::ROWS,
            Self::Avx2 => 6,
            Self::Avx512 => 14,
        }
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_available(),
        }
        #[cfg(not(target_arch = "x86_64"))]
        matches!(self, Self::Portable)
    }

    /// The widest that this machine has, or the one that `SENET_ISA` names if the machine has it.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let forced = std::env::var(Self::VARIABLE).ok();
            let available = || Self::ALL.into_iter().filter(|isa| isa.is_available());
            available()
                .find(|isa| Some(isa.name()) == forced.as_deref())
                .or_else(|| available().next_back())
                .unwrap_or(Self::Portable)
        })
    }

    /// Runs the kernel compiled for this instruction set; for the portable one if the machine does
    /// not have it.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 => {
                if let Some(simd) = avx512::Avx512::detect() {
                    return simd.run(kernel);
                }
            }
            Self::Avx2 => {
                if let Some(simd) = avx2::Avx2::detect() {
                    return simd.run(kernel);
                }
            }
            Self::Portable => {}
        }
        kernel.run(Portable)
    }
}
