//! Elementary functions on vectors.

use super::simd::Simd;

/// `e^x` within 2 units in the last place, over the whole range: infinity above 88.73, 0 below
/// -103.98, NaN for NaN.
///
/// `x = n ln 2 + r` with whole `n` and |r| <= ln 2 / 2; the polynomial for `e^r` and the two parts
/// of ln 2 are those of `expf` in Cephes (S. L. Moshier, netlib.org/cephes).
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
    // Adding and subtracting 1.5 * 2^23 leaves the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];

    // Beyond these bounds the result is 0 or infinity, and `n` could leave the range of `scale`.
    let x = simd.clamp(x, -104.0, 89.0);
    let shifted = simd.fma(x, simd.splat(std::f32::consts::LOG2_E), simd.splat(ROUND));
    let n = simd.sub(shifted, simd.splat(ROUND));
    let r = simd.fma(n, simd.splat(-LN_2_HIGH), x);
    let r = simd.fma(n, simd.splat(-LN_2_LOW), r);

    let mut sum = simd.splat(POLYNOMIAL[0]);
    for &coefficient in &POLYNOMIAL[1..] {
        sum = simd.fma(sum, r, simd.splat(coefficient));
    }
    let sum = simd.fma(simd.mul(sum, r), r, r);
    simd.scale(simd.add(sum, simd.splat(1.0)), n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::{Isa, Kernel};

    /// A function of every lane.
    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        /// The larger of `x` and a constant.
        Max(f32),
        /// `x` and the products with the second and the fourth value of a vector.
        Elements,
    }

    struct Apply<'a> {
        function: Function,
        values: &'a [f32],
    }

    impl Kernel for Apply<'_> {
        type Output = Vec<f32>;
        type Element = f32;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut found = vec![0.0; self.values.len()];
            for (x, y) in self.values.chunks(S::LANES).zip(found.chunks_mut(S::LANES)) {
                let x = simd.load_some(x);
                let result = match self.function {
                    Function::Exp => exp(simd, x),
                    Function::Max(other) => simd.max(simd.splat(other), x),
                    Function::Elements => {
                        let factors = simd.load(&[2.0, 3.0, 5.0, 7.0].repeat(4));
                        let sum = simd.fma_element::<1>(factors, x, x);
                        simd.fma_element::<3>(factors, x, sum)
                    }
                };
                simd.store_some(result, y);
            }
            found
        }
    }

    /// Distance in units in the last place of the value found.
    fn ulps(found: f32, exact: f64) -> f64 {
        let rounded = exact as f32;
        if found == rounded {
            return 0.0;
        }
        let ulp = f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs());
        (f64::from(found) - exact).abs() / ulp
    }

    #[test]
    fn exp_is_within_two_ulps() {
        let values: Vec<f32> = (-110_000..100_000)
            .map(|i| i as f32 * 1e-3 + 3e-5)
            .chain((-40..10).map(|e| 1.5 * 2f32.powi(e)))
            .chain((-40..10).map(|e| -1.5 * 2f32.powi(e)))
            .collect();
        for isa in Isa::available() {
            let function = Function::Exp;
            let values = &values;
            let found = isa.run(Apply { function, values });
            for (&x, &y) in values.iter().zip(&found) {
                let error = ulps(y, f64::from(x).exp());
                assert!(error <= 2.0, "{}: exp({x}) = {y}: {error}", isa.name());
            }
        }
    }

    #[test]
    fn exp_at_the_ends() {
        let values = &[
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            f32::NAN,
            0.0,
        ];
        let function = Function::Exp;
        for isa in Isa::available() {
            let found = isa.run(Apply { function, values });
            assert_eq!(found[..4], [f32::INFINITY, 0.0, f32::INFINITY, 0.0]);
            assert!(found[4].is_nan());
            assert_eq!(found[5], 1.0);
        }
    }

    #[test]
    fn max_keeps_nan_of_either() {
        for isa in Isa::available() {
            let values = &[1.0, -3.0, f32::NAN, f32::NEG_INFINITY];
            let function = Function::Max(0.5);
            let found = isa.run(Apply { function, values });
            assert_eq!((found[0], found[1], found[3]), (1.0, 0.5, 0.5));
            assert!(found[2].is_nan());
            let function = Function::Max(f32::NAN);
            let found = isa.run(Apply { function, values });
            assert!(found.iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    fn products_with_an_element() {
        for isa in Isa::available() {
            let values = &[1.0, -3.0, 0.5, 0.0, 2.0];
            let function = Function::Elements;
            let found = isa.run(Apply { function, values });
            assert_eq!(found, [11.0, -33.0, 5.5, 0.0, 22.0], "{}", isa.name());
        }
    }
}
