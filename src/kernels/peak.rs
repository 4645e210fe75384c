//! The machine's peak rate, measured on independent chains of multiply-adds in registers.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::element::{Element, Word, by_blocks};
use super::simd::{Isa, Kernel, Simd};

/// Enough to hide the latency of two FMA units, few enough for 16 registers; on arm64, of four and for 32.
const CHAINS: usize = if cfg!(target_arch = "aarch64") {
    20
} else {
    12
};
const STEPS: usize = 10_000;
const RUN: Duration = Duration::from_millis(20);
const RUNS: usize = 5;

struct Chains<T>(PhantomData<T>);

impl<T: Element> Kernel for Chains<T> {
    type Output = f32;
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let factor = simd.splat(black_box(0.5));
        let term = simd.splat(black_box(0.25));
        let mut sums = [simd.splat(black_box(1.0)); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = if const { by_blocks::<S, T::Word>() } {
                    simd.multiply_blocks(factor, term, *sum)
                } else {
                    T::Word::multiply_add(simd, factor, term, *sum)
                };
            }
        }
        let mut total = sums[0];
        for &sum in &sums[1..] {
            total = simd.add(total, sum);
        }
        let mut lanes = [0.0; super::MAX_LANES];
        simd.store(total, &mut lanes);
        lanes[0]
    }
}

/// Floating-point operations per second of all threads of the current pool together, with nothing
/// but the multiply-adds of products of this type, each counted as two; the best of a few short runs.
pub fn peak_flops<T: Element>(isa: Isa) -> f64 {
    let products = isa.step::<T::Word>() * isa.lanes::<T>();
    let operations = (2 * products * CHAINS * STEPS) as f64;
    let run = || {
        let rates = rayon::broadcast(|_| {
            let start = Instant::now();
            let mut done = 0.0;
            while start.elapsed() < RUN {
                black_box(isa.run(Chains::<T>(PhantomData)));
                done += operations;
            }
            done / start.elapsed().as_secs_f64()
        });
        rates.iter().sum::<f64>()
    };
    (0..RUNS).map(|_| run()).fold(0.0, f64::max)
}
