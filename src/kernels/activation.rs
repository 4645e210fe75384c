//! The nonlinearities.

use serde::{Deserialize, Serialize};

/// A nonlinearity. NaN stays NaN, so that a damaged input cannot pass for an answer.
///
/// Where a product has a factor that vanishes (SiLU, hard swish, GELU), negative infinity gives 0 or
/// NaN, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
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
    /// As `Gelu`, by the approximation with the hyperbolic tangent in the same paper.
    GeluTanh,
}

impl Activation {
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
}
