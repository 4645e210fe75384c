//! The nonlinearities.

use serde::{Deserialize, Serialize};

/// The nonlinearity of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    Relu,
    /// `x * sigmoid(x)`, also called swish (arXiv:1702.03118).
    Silu,
}

impl Activation {
    /// The activation of one value. NaN stays NaN, so a damaged input cannot pass for an answer.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu => x,
            Self::Silu => x / (1.0 + (-x).exp()),
        }
    }
}
