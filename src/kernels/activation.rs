//! The activation functions: the name, the vectorised formula and the plain definition of each.

use serde::{Deserialize, Serialize};

use super::math::exp;
use super::simd::Simd;

/// An activation function. NaN stays NaN, so that a damaged input cannot pass for an answer.
///
/// Where a product has a factor that vanishes (SiLU, hard swish, GELU), negative infinity gives 0
/// or NaN, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)` (arXiv:1704.04861).
    Relu6,
    /// `x * sigmoid(x)`, also called swish (arXiv:1702.03118).
    Silu,
    /// `x * hard_sigmoid(x)` (arXiv:1905.02244).
    HardSwish,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `min(max(x + 3, 0), 6) / 6` (arXiv:1905.02244).
    HardSigmoid,
    /// `x` times the normal distribution's cumulative function (arXiv:1606.08415).
    Gelu,
    /// The approximation of `Gelu` by the hyperbolic tangent, from the same paper.
    GeluTanh,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Relu,
        Self::Relu6,
        Self::Silu,
        Self::HardSwish,
        Self::Sigmoid,
        Self::HardSigmoid,
        Self::Gelu,
        Self::GeluTanh,
    ];

    /// Its plain definition.
    pub fn value(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let hard_sigmoid = (x + 3.0).clamp(0.0, 6.0) / 6.0;
        match self {
            Self::Relu => x.clamp(0.0, f64::INFINITY),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Silu => x * sigmoid(x),
            Self::HardSwish => x * hard_sigmoid,
            Self::Sigmoid => sigmoid(x),
            Self::HardSigmoid => hard_sigmoid,
            Self::Gelu => x * normal_cdf(x),
            Self::GeluTanh => {
                let w = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                x * sigmoid(2.0 * w)
            }
        }
    }

    /// Its derivative. Where it has a kink, that of the left side, as in PyTorch.
    pub fn derivative(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let inside = |low: f64, high: f64| if x > low && x < high { 1.0 } else { 0.0 };
        match self {
            Self::Relu => inside(0.0, f64::INFINITY),
            Self::Relu6 => inside(0.0, 6.0),
            Self::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
            Self::HardSwish if x <= -3.0 => 0.0,
            Self::HardSwish if x < 3.0 => (2.0 * x + 3.0) / 6.0,
            Self::HardSwish => 1.0,
            Self::Sigmoid => sigmoid(x) * sigmoid(-x),
            Self::HardSigmoid => inside(-3.0, 3.0) / 6.0,
            Self::Gelu => normal_cdf(x) + x * normal_density(x),
            Self::GeluTanh => {
                let root = (2.0 / std::f64::consts::PI).sqrt();
                let w = root * (x + 0.044_715 * x.powi(3));
                let slope = root * (1.0 + 3.0 * 0.044_715 * x.powi(2));
                let s = sigmoid(2.0 * w);
                s + 2.0 * x * slope * s * sigmoid(-2.0 * w)
            }
        }
    }
}

/// The normal distribution's density.
fn normal_density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The normal distribution's cumulative function.
fn normal_cdf(x: f64) -> f64 {
    let a = x.abs();
    let density = normal_density(a);
    let below = if a > 4.0 {
        // a + 1 / (a + 2 / (a + 3 / ...)), from its end.
        density / (1..80).rev().fold(a, |rest, k| a + f64::from(k) / rest)
    } else {
        // a + a^3 / 3 + a^5 / (3 * 5) + ...
        let terms = (1..60).scan(a, |term, k| {
            let this = *term;
            *term *= a * a / f64::from(2 * k + 1);
            Some(this)
        });
        0.5 - density * terms.sum::<f64>()
    };
    if x < 0.0 { below } else { 1.0 - below }
}

/// The activation of every lane.
#[inline(always)]
pub(super) fn activate<S: Simd>(simd: S, x: S::V, activation: Activation) -> S::V {
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
    let below = simd.mul(simd.mul(size, exp), simd.mul(u, sum));
    simd.sub(simd.relu(x), below)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::epilogue::ActivateRows;
    use crate::kernels::matrix::MatMut;
    use crate::kernels::simd::Isa;

    #[test]
    fn names_are_in_snake_case() {
        let names = serde_json::to_string(&Activation::ALL).unwrap();
        let expected =
            r#"["relu","relu6","silu","hard_swish","sigmoid","hard_sigmoid","gelu","gelu_tanh"]"#;
        assert_eq!(names, expected);
    }

    #[test]
    fn derivatives_are_slopes() {
        const STEP: f64 = 1e-5;
        for activation in Activation::ALL {
            for x in (-80..=80).map(|tenth| f64::from(tenth) / 10.0 + 0.05) {
                let rise = activation.value(x + STEP) - activation.value(x - STEP);
                let (slope, found) = (rise / (2.0 * STEP), activation.derivative(x));
                assert!(
                    (found - slope).abs() < 1e-8,
                    "{activation:?} at {x}: {found}, not {slope}"
                );
            }
        }
        assert_eq!(Activation::Relu.derivative(0.0), 0.0);
    }

    /// Values of every sign and exponent, subnormal and not finite ones, and the range in which the
    /// functions bend.
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
        let values = samples();
        for isa in Isa::available() {
            for activation in Activation::ALL {
                let mut found = values.clone();
                let rows = MatMut::new(&mut found, values.len());
                isa.run(ActivateRows {
                    rows,
                    from: None,
                    activation,
                });
                for (&x, &y) in values.iter().zip(&found) {
                    let name = isa.name();
                    if x.is_nan() {
                        assert!(y.is_nan(), "{name} {activation:?}({x}) = {y}");
                        continue;
                    }
                    let exact = activation.value(f64::from(x));
                    if exact.is_nan() || exact.is_infinite() {
                        let is_limit = x < 0.0 && y == 0.0 || f64::from(y) == exact;
                        assert!(y.is_nan() || is_limit, "{name} {activation:?}({x}) = {y}");
                        continue;
                    }
                    // The error of a rounded exponent grows with the exponent, which is x^2 / 2 for
                    // GELU.
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
}
