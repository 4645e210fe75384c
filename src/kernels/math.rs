//! Functions that the machine has no instruction for.

use super::activation::Activation;
use super::simd::Simd;

/// `e^x` within 2 units in the last place, over the whole range: infinity above 88.73, 0 below
/// -103.98, NaN for NaN.
///
/// `x = n ln 2 + r` with whole `n` and |r| <= ln 2 / 2; the polynomial for `e^r` and the two parts
/// of ln 2 are those of `expf` in Cephes (S. L. Moshier, netlib.org/cephes).
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
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

    // Beyond these the result is 0 or infinite anyway, and `n` could leave the range of `scale`.
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

/// `1 + e^-x`.
#[inline(always)]
fn one_plus_exp_of_minus<S: Simd>(simd: S, x: S::V) -> S::V {
    let exp = exp(simd, simd.sub(simd.splat(0.0), x));
    simd.add(simd.splat(1.0), exp)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    simd.div(simd.splat(1.0), one_plus_exp_of_minus(simd, x))
}

/// `x * sigmoid(x)`, with one rounding less.
#[inline(always)]
fn silu<S: Simd>(simd: S, x: S::V) -> S::V {
    simd.div(x, one_plus_exp_of_minus(simd, x))
}

/// `min(max(x + 3, 0), 6) / 6`.
#[inline(always)]
fn hard_sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    let shifted = simd.clamp(simd.add(x, simd.splat(3.0)), 0.0, 6.0);
    simd.mul(shifted, simd.splat(1.0 / 6.0))
}

/// `x P(x)` with the normal distribution's cumulative function `P`, as
/// `max(x, 0) - |x| P(-|x|)`, so that no digits cancel where `P` is small.
///
/// `P(-a) = e^(-a^2 / 2) q(a)` with `q(a) = u p(u)`, `u = 1 / (1 + 0.3 a)`; the polynomial `p` is
/// within 2e-7 of `q(a) / u` for `a` up to 15 (a least-squares fit with weights moved to where the
/// relative error is largest).
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::V) -> S::V {
    const POLYNOMIAL: [f32; 8] = [
        0.035_178_427,
        -0.155_141_12,
        0.202_814_3,
        -0.050_442_368,
        0.126_857_77,
        0.100_425_646,
        0.120_672_73,
        0.119_634_54,
    ];
    let one = simd.splat(1.0);
    let size = simd.max(x, simd.sub(simd.splat(0.0), x));
    // Beyond 15 the result is 0 or `x`.
    let size = simd.clamp(size, 0.0, 15.0);
    let u = simd.div(one, simd.fma(size, simd.splat(0.3), one));
    let mut sum = simd.splat(POLYNOMIAL[0]);
    for &coefficient in &POLYNOMIAL[1..] {
        sum = simd.fma(sum, u, simd.splat(coefficient));
    }
    let exp = exp(simd, simd.mul(simd.mul(size, size), simd.splat(-0.5)));
    let tail = simd.mul(simd.mul(size, exp), simd.mul(u, sum));
    simd.sub(simd.relu(x), tail)
}

/// `x / 2 * (1 + tanh(w))` with `w = sqrt(2 / pi) (x + 0.044715 x^3)`, which is `x sigmoid(2 w)`.
#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = 0.071_354_814;
    let factor = simd.fma(simd.mul(x, x), simd.splat(-CUBIC), simd.splat(-LINEAR));
    let exp = exp(simd, simd.mul(x, factor));
    simd.div(x, simd.add(simd.splat(1.0), exp))
}

/// The activation of every lane.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, x: S::V, activation: Activation) -> S::V {
    match activation {
        Activation::Relu => simd.relu(x),
        Activation::Relu6 => simd.clamp(x, 0.0, 6.0),
        Activation::Silu => silu(simd, x),
        Activation::HardSwish => simd.mul(x, hard_sigmoid(simd, x)),
        Activation::Sigmoid => sigmoid(simd, x),
        Activation::HardSigmoid => hard_sigmoid(simd, x),
        Activation::Gelu => gelu(simd, x),
        Activation::GeluTanh => gelu_tanh(simd, x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference;
    use crate::kernels::simd::{Isa, Kernel};

    /// What a function makes of the lanes of a vector.
    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Activate(Activation),
        /// The larger of `x` and a constant.
        Max(f32),
    }

    struct Apply<'a> {
        function: Function,
        values: &'a [f32],
    }

    impl Kernel for Apply<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut found = vec![0.0; self.values.len()];
            for (x, y) in self.values.chunks(S::LANES).zip(found.chunks_mut(S::LANES)) {
                let x = simd.load_some(x);
                let result = match self.function {
                    Function::Exp => exp(simd, x),
                    Function::Activate(activation) => activate(simd, x, activation),
                    Function::Max(other) => simd.max(simd.splat(other), x),
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

    /// Values of every sign and exponent, subnormal ones and what is not finite, and the range
    /// in which an activation bends.
    fn samples() -> Vec<f32> {
        let all = (0..=u32::MAX).step_by(32_771).map(f32::from_bits);
        let near = (-12_000..=12_000).map(|i| i as f32 * 1e-3);
        let ends = [
            0.0,
            -0.0,
            1e-45,
            -1e-45,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NAN,
            -f32::NAN,
        ];
        all.chain(near).chain(ends).collect()
    }

    #[test]
    fn activations_over_all_values() {
        let values = &samples();
        for isa in Isa::available() {
            for activation in Activation::ALL {
                let function = Function::Activate(activation);
                let found = isa.run(Apply { function, values });
                for (&x, &y) in values.iter().zip(&found) {
                    let name = isa.name();
                    if x.is_nan() {
                        assert!(y.is_nan(), "{name} {activation:?}({x}) = {y}");
                        continue;
                    }
                    let exact = reference::activate(f64::from(x), Some(activation));
                    if exact.is_nan() || exact.is_infinite() {
                        let is_limit = x < 0.0 && y == 0.0 || f64::from(y) == exact;
                        assert!(y.is_nan() || is_limit, "{name} {activation:?}({x}) = {y}");
                        continue;
                    }
                    // A rounded exponent errs the more the larger it is: by x^2 for GELU.
                    let square = f64::from(x).powi(2).min(400.0);
                    let allowed = (1e-6 + 2e-7 * square) * exact.abs() + 1e-36;
                    let error = (f64::from(y) - exact).abs();
                    assert!(
                        error <= allowed,
                        "{name} {activation:?}({x}) = {y} for {exact}"
                    );
                }
            }
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
}
