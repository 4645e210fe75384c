//! What several families have in their `[network]` tables and planners.

use serde::{Deserialize, Serialize};

use crate::nets::NetError;
use crate::nets::names::ConvName;
use crate::nets::plan::{Activation, ConvGeometry, ConvPlan, NormPlan, Shift};

/// Far above any real network; keeps products in a hostile spec from overflowing.
pub(super) const MAX_CHANNELS: usize = 1 << 16;
pub(super) const MAX_BLOCKS: usize = 1000;
const MAX_KERNEL: usize = 31;

/// The convolutions before the first stage, each followed by BatchNorm and the activation.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stem {
    /// Channels of the input: 3, except in fine-tunes for grey images or other sensors.
    #[serde(default = "colours", skip_serializing_if = "is_colours")]
    pub inputs: usize,
    /// Kernel size of every stem convolution; the padding is half of it.
    pub kernel: usize,
    /// Output channels of each convolution: one for the 7x7 stem, three for the deep ("d") and
    /// tiered ("t") stems.
    pub widths: Vec<usize>,
    /// Stride of each convolution; as many as `widths`.
    pub strides: Vec<usize>,
}

/// Red, green and blue.
const COLOURS: usize = 3;

pub(super) fn colours() -> usize {
    COLOURS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(super) fn is_colours(inputs: &usize) -> bool {
    *inputs == COLOURS
}

/// The default of PyTorch's `BatchNorm2d`.
const PYTORCH_EPS: f64 = 1e-5;

pub(super) fn pytorch_eps() -> f64 {
    PYTORCH_EPS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(super) fn is_pytorch_eps(eps: &f64) -> bool {
    *eps == PYTORCH_EPS
}

impl Stem {
    pub(super) fn check(&self) -> Result<(), NetError> {
        count("network.stem.inputs", self.inputs, MAX_CHANNELS)?;
        let convs = self.widths.len();
        if !(1..=8).contains(&convs) {
            let reason = format!("expected one to eight entries, found {convs}");
            return Err(NetError::spec("network.stem.widths", reason));
        }
        if self.strides.len() != convs {
            let reason = format!("expected {convs} entries, found {}", self.strides.len());
            return Err(NetError::spec("network.stem.strides", reason));
        }
        for (&width, &stride) in self.widths.iter().zip(&self.strides) {
            count("network.stem.widths", width, MAX_CHANNELS)?;
            count("network.stem.strides", stride, 8)?;
        }
        kernel("network.stem.kernel", self.kernel)
    }

    /// Channels after the last convolution.
    pub(super) fn outputs(&self) -> usize {
        self.widths.last().copied().unwrap_or(0)
    }

    /// Its convolutions, of which `conv` makes the plan.
    pub(super) fn plan(
        &self,
        names: &[ConvName],
        conv: impl Fn([String; 2], ConvGeometry) -> ConvPlan,
    ) -> Vec<ConvPlan> {
        let mut inputs = self.inputs;
        let mut convs = Vec::with_capacity(names.len());
        for ((name, &outputs), &stride) in names.iter().zip(&self.widths).zip(&self.strides) {
            let geometry = ConvGeometry {
                stride,
                ..ConvGeometry::dense(inputs, outputs, self.kernel)
            };
            convs.push(conv(name.map(str::to_owned), geometry));
            inputs = outputs;
        }
        convs
    }
}

/// A convolution whose BatchNorm adds `eps` to the variance.
pub(super) fn normed(
    [name, norm]: [String; 2],
    eps: f64,
    geometry: ConvGeometry,
    activation: Option<Activation>,
) -> ConvPlan {
    ConvPlan {
        name,
        geometry,
        shift: Shift::Norm(NormPlan { name: norm, eps }),
        activation,
    }
}

/// `value` is between 1 and `most`.
pub(super) fn count(field: &'static str, value: usize, most: usize) -> Result<(), NetError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let reason = format!("expected 1 to {most}, found {value}");
    Err(NetError::spec(field, reason))
}

/// A kernel has a pixel in its middle.
pub(super) fn kernel(field: &'static str, size: usize) -> Result<(), NetError> {
    if size % 2 == 1 && size <= MAX_KERNEL {
        return Ok(());
    }
    let reason = format!("expected an odd size up to {MAX_KERNEL}, found {size}");
    Err(NetError::spec(field, reason))
}

pub(super) fn check_eps(eps: f64) -> Result<(), NetError> {
    if eps > 0.0 && eps < 1.0 {
        return Ok(());
    }
    let reason = format!("expected a number between 0 and 1, found {eps}");
    Err(NetError::spec("network.eps", reason))
}
