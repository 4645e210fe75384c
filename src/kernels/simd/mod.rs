//! SIMD vectors: one trait with an implementation for each instruction set, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`]. [`Isa::run`] has it compiled for each
//! instruction set and runs the version for the one that is chosen.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod pixels;
mod portable;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::sync::OnceLock;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use pixels::PixelSums;
use portable::Portable;

use super::bf16::Bf16;
use super::element::{self, Element, Word};

/// Bytes of a cache line.
pub(crate) const LINE_BYTES: usize = 64;

/// Lanes of the widest vector.
pub(crate) const MAX_LANES: usize = 16;

/// Arithmetic on vectors of `LANES` f32 values. A value of the implementing type proves that the
/// machine has the instructions.
///
/// # Safety
/// `V` holds `LANES` values, at most [`MAX_LANES`], and the unchecked loads and stores touch no
/// more than these: the checked ones and the micro-kernel rely on it.
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// Values in a vector.
    const LANES: usize;
    /// Most rows of a tile, as wide as a panel.
    const ROWS: usize;
    /// Vectors of the widest panel of weights, at most 3.
    const VECTORS: usize;
    /// Whether [`Simd::fma_element`] is an instruction: values that are multiplied with vectors are then
    /// loaded four at a time. Vectors have 4 values there.
    const BY_ELEMENT: bool;
    /// Whether [`Simd::dot`] is an instruction.
    const DOT: bool;
    /// Whether [`Simd::multiply_blocks`] is an instruction, which products of pairs of bf16 are made of then.
    /// Vectors have 4 values there.
    const BLOCKS: bool = false;
    /// A vector.
    type V: Copy;
    /// The source of every lane in a permutation.
    type Lanes: Copy;

    /// Runs another kernel, compiled for these instructions as a function of its own.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, x: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// `a[E] * b + c`, for `E` below 4.
    #[inline(always)]
    fn fma_element<const E: i32>(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.fma(element(self, a, E), b, c)
    }

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

    /// As [`Simd::permute`] within every four lanes: the order's entries are below 4.
    fn permute_fours(self, x: Self::V, lanes: Self::Lanes) -> Self::V;

    /// Prefetches a cache line that will be read soon; any address is allowed.
    fn prefetch(self, at: *const u8);
    /// As [`Simd::prefetch`], so many bytes from there.
    #[inline(always)]
    fn prefetch_at(self, from: *const u8, offset: usize) {
        self.prefetch(from.wrapping_add(offset));
    }
    /// Prefetches the cache lines of so many bytes into L2 only; any address is allowed.
    #[inline(always)]
    fn prefetch_far(self, from: *const u8, bytes: usize) {
        for at in (0..bytes).step_by(LINE_BYTES) {
            self.prefetch_line_far(from.wrapping_add(at));
        }
    }
    /// As [`Simd::prefetch`], into L2 only.
    fn prefetch_line_far(self, at: *const u8);
    /// As [`Simd::prefetch`], for a line that will be written.
    fn prefetch_write(self, at: *const u8);

    /// `c`, and in each lane the two products of a pair of bf16 in `a` with one in `b`. The order and
    /// rounding of the two sums is the machine's.
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// As [`Simd::dot`], of lane `E` of `a`, below 4, with every lane of `b`.
    #[inline(always)]
    fn dot_element<const E: i32>(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.dot(element(self, a, E), b, c)
    }

    /// The products of two rows of four bf16 in `a` with two in `b`, in every four lanes: `c` and those of the
    /// first row of `a` with the first and the second of `b`, then those of its second row. Each is the sum
    /// of two [`Simd::dot`]s.
    #[inline(always)]
    fn multiply_blocks(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        blocks_by_dots(self, a, b, c)
    }

    /// Of every four lanes, the lower two of `a` and of `b`, and the upper two of `a` and of `b`. Twice, it
    /// gives back `a` and `b`.
    #[inline(always)]
    fn halves(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let mut lanes = [[0.0; MAX_LANES]; 2];
        self.store(a, &mut lanes[0]);
        self.store(b, &mut lanes[1]);
        let mut halves = lanes;
        for at in (0..Self::LANES).step_by(4) {
            halves[0][at + 2..at + 4].copy_from_slice(&lanes[1][at..at + 2]);
            halves[1][at..at + 2].copy_from_slice(&lanes[0][at + 2..at + 4]);
        }
        halves.map(|halves| self.load(&halves))
    }

    /// Two values of the first address, and two of the second, in every four lanes.
    ///
    /// # Safety
    /// Each is valid for reading 2 values.
    #[inline(always)]
    unsafe fn load_halves(self, lower: *const f32, upper: *const f32) -> Self::V {
        // SAFETY: as the caller guarantees; the array has four values.
        unsafe {
            let [lower, upper] =
                [lower, upper].map(|half| half.cast::<[f32; 2]>().read_unaligned());
            self.load_four([lower[0], lower[1], upper[0], upper[1]].as_ptr())
        }
    }

    /// A vector of bf16, as f32.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` values.
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const Bf16) -> Self::V {
        let mut lanes = [0.0; MAX_LANES];
        for (lane, to) in lanes.iter_mut().enumerate().take(Self::LANES) {
            // SAFETY: as the caller guarantees.
            *to = unsafe { *from.add(lane) }.to_f32();
        }
        // SAFETY: the array has MAX_LANES >= LANES values.
        unsafe { self.load_unchecked(lanes.as_ptr()) }
    }

    /// Stores a vector, rounded as [`Bf16::from_f32`] does.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` values.
    #[inline(always)]
    unsafe fn store_bf16(self, x: Self::V, to: *mut Bf16) {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the array has MAX_LANES >= LANES values.
        unsafe { self.store_unchecked(x, lanes.as_mut_ptr()) };
        for (lane, &x) in lanes.iter().enumerate().take(Self::LANES) {
            // SAFETY: as the caller guarantees.
            unsafe { to.add(lane).write(Bf16::from_f32(x)) };
        }
    }

    /// The same four values in every four lanes.
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
    fn load<T: Element>(self, from: &[T]) -> Self::V {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the slice has LANES values.
        unsafe { T::load(self, from.as_ptr()) }
    }

    /// Writes the first `LANES` values.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline(always)]
    fn store<T: Element>(self, x: Self::V, to: &mut [T]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice has LANES values.
        unsafe { T::store(self, x, to.as_mut_ptr()) }
    }

    /// The first `LANES` values; where there are fewer, the other lanes are 0.
    #[inline(always)]
    fn load_some<T: Element>(self, from: &[T]) -> Self::V {
        if from.len() >= Self::LANES {
            return self.load(from);
        }
        let mut lanes = [T::zeroed(); MAX_LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Writes as many lanes as there is room for.
    #[inline(always)]
    fn store_some<T: Element>(self, x: Self::V, to: &mut [T]) {
        if to.len() >= Self::LANES {
            return self.store(x, to);
        }
        let mut lanes = [T::zeroed(); MAX_LANES];
        self.store(x, &mut lanes);
        let count = to.len();
        to.copy_from_slice(&lanes[..count]);
    }
}

/// One of the values of a vector in every lane.
#[inline(always)]
fn element<S: Simd>(simd: S, x: S::V, lane: i32) -> S::V {
    let mut lanes = [0.0; MAX_LANES];
    simd.store(x, &mut lanes);
    simd.splat(lanes[lane as usize])
}

/// [`Simd::multiply_blocks`] where it is no instruction.
#[inline(always)]
fn blocks_by_dots<S: Simd>(simd: S, a: S::V, b: S::V, c: S::V) -> S::V {
    let fours = |x, order: [u8; 4]| {
        let mut lanes = [0; MAX_LANES];
        for (lane, from) in lanes.iter_mut().enumerate() {
            *from = order[lane % 4];
        }
        simd.permute_fours(x, simd.lanes(&lanes))
    };
    let c = simd.dot(fours(a, [0, 0, 2, 2]), fours(b, [0, 2, 0, 2]), c);
    simd.dot(fours(a, [1, 1, 3, 3]), fours(b, [1, 3, 1, 3]), c)
}

/// Code that is compiled for every instruction set.
pub trait Kernel {
    type Output;
    /// The type of the maps. Which instructions suit it depends on it.
    type Element: Element;
    /// Implementations are `#[inline(always)]`, so that they are compiled with the features of the
    /// caller.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that this machine has: there are no values for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

/// Each with a proof that the machine has the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// Arrays, from which the compiler makes SSE2 on x86-64 and NEON on aarch64.
    Portable(Portable),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon<false>),
    /// NEON with products of bf16, for bf16; f32 has no use for them.
    #[cfg(target_arch = "aarch64")]
    NeonBf16(neon::Neon<true>),
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512<false>),
    /// AVX-512F with AVX512_BF16, for bf16; f32 has no use for it.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(avx512::Avx512<true>),
}

impl Isa {
    /// The environment variable that selects one, for tests and comparisons.
    pub const VARIABLE: &'static str = "SENET_ISA";

    /// The instruction sets of this machine, from the narrowest to the widest vectors.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        let portable = Some(Set::Portable(Portable));
        #[cfg(target_arch = "x86_64")]
        let sets = [
            portable,
            avx2::Avx2::detect().map(Set::Avx2),
            avx512::Avx512::detect().map(Set::Avx512),
            avx512::Avx512::detect_bf16().map(Set::Avx512Bf16),
        ];
        #[cfg(target_arch = "aarch64")]
        let sets = [
            portable,
            neon::Neon::detect().map(Set::Neon),
            neon::Neon::detect_bf16().map(Set::NeonBf16),
        ];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let sets = [portable];
        sets.into_iter().flatten().map(Self)
    }

    /// The one with this name, if the machine has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::available().find(|isa| isa.name() == name)
    }

    /// The one that `SENET_ISA` names, otherwise the one with the widest vectors.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let forced = std::env::var(Self::VARIABLE).ok();
            let forced = forced.and_then(|name| Self::named(&name));
            forced
                .or_else(|| Self::available().next_back())
                .unwrap_or(Self(Set::Portable(Portable)))
        })
    }

    /// `portable`, `neon`, `neonbf16`, `avx2`, `avx512` or `avx512bf16`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable(_) => "portable",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Set::NeonBf16(_) => "neonbf16",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16(_) => "avx512bf16",
        }
    }

    /// The instruction set that kernels on maps of this type run on. For bf16 this is AVX2 where AVX-512
    /// lacks the instructions for it: such machines are faster in f32 anyway, and there is less to compile.
    pub fn of<T: Element>(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        match self.0 {
            Set::Avx512(simd) if T::NARROW => return Self(Set::Avx2(simd.avx2())),
            Set::Avx512Bf16(simd) if !T::NARROW => return Self(Set::Avx512(simd.without_bf16())),
            _ => {}
        }
        #[cfg(target_arch = "aarch64")]
        match self.0 {
            Set::NeonBf16(simd) if !T::NARROW => return Self(Set::Neon(simd.without_bf16())),
            _ => {}
        }
        self
    }

    /// Whether it has instructions for bf16. Without them bf16 is computed in f32, which is no faster
    /// than f32 itself.
    pub fn has_bf16(self) -> bool {
        self.run(Query::<Bf16>(PhantomData)).has_dot
    }

    /// Values in a vector.
    pub fn lanes<T: Element>(self) -> usize {
        self.run(Query::<T>(PhantomData)).lanes
    }

    /// Most rows of a tile.
    pub fn rows<T: Element>(self) -> usize {
        self.run(Query::<T>(PhantomData)).rows
    }

    /// Vectors of the widest panel of weights.
    pub(crate) fn vectors<T: Element>(self) -> usize {
        self.run(Query::<T>(PhantomData)).vectors
    }

    /// Inputs that products with weights in these words take at a time.
    pub(crate) fn step<W: Word>(self) -> usize {
        self.run(Step::<W>(PhantomData))
    }

    /// Whether it multiplies with one of four values that are loaded at once.
    pub(crate) fn by_element<T: Element>(self) -> bool {
        self.run(Query::<T>(PhantomData)).by_element
    }

    /// Runs a kernel compiled for this instruction set, or for that of [`Isa::of`].
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // In constants, so that what does not run is not compiled.
        match self.0 {
            Set::Portable(simd) => simd.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(simd) => simd.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Set::NeonBf16(simd) => {
                if const { K::Element::NARROW } {
                    simd.run(kernel)
                } else {
                    simd.without_bf16().run(kernel)
                }
            }
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => {
                if const { K::Element::NARROW } {
                    simd.avx2().run(kernel)
                } else {
                    simd.run(kernel)
                }
            }
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16(simd) => {
                if const { K::Element::NARROW } {
                    simd.run(kernel)
                } else {
                    simd.without_bf16().run(kernel)
                }
            }
        }
    }
}

/// Asks for the inputs that products take at a time.
struct Step<W>(PhantomData<W>);

impl<W: Word> Kernel for Step<W> {
    type Output = usize;
    type Element = W::Element;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        element::step::<S, W>()
    }
}

/// What an instruction set has.
struct Registers {
    lanes: usize,
    rows: usize,
    vectors: usize,
    by_element: bool,
    has_dot: bool,
}

/// Asks for the registers of the instruction set for maps of this type.
struct Query<T>(PhantomData<T>);

impl<T: Element> Kernel for Query<T> {
    type Output = Registers;
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Registers {
        Registers {
            lanes: S::LANES,
            rows: S::ROWS,
            vectors: S::VECTORS,
            by_element: S::BY_ELEMENT,
            has_dot: S::DOT,
        }
    }
}
