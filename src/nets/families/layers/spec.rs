//! The fields of `[network]` with `kind = "layers"`.

use serde::{Deserialize, Serialize};

use crate::nets::families::shared::{colours, is_colours, is_pytorch_eps, pytorch_eps};
use crate::nets::plan::{Activation, Pool};

/// Topology of a network that no rule makes: each layer is written out, with the name that it has in
/// weights files.
///
/// Sources: the SENet authors' `SE-BN-Inception.prototxt`, torchvision's `inception.py`, timm's
/// `inception_resnet_v2.py` and `vgg.py`, pytorchcv's `shufflenet.py`; Hu et al. 2017 (arXiv:1709.01507,
/// section 3.3 and table 3) for where the modules are.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LayersSpec {
    /// Channels of the input: 3, except in fine-tunes for grey images or other sensors.
    #[serde(default = "colours", skip_serializing_if = "is_colours")]
    pub inputs: usize,
    /// After every convolution that is not `linear`, and after the sums.
    pub activation: Activation,
    /// Added to the variance in every BatchNorm.
    #[serde(default = "pytorch_eps", skip_serializing_if = "is_pytorch_eps")]
    pub eps: f64,
    /// The convolutions before the first block.
    pub stem: Vec<LayerSpec>,
    /// The blocks, in running order.
    pub blocks: Vec<BlockSpec>,
}

/// Layers in a row, which belong to one stage.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// From 1.
    pub stage: usize,
    /// What the names of its layers begin with.
    pub name: String,
    /// How many equal blocks, whose names have their number in place of `{n}`.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub repeat: usize,
    /// The number of the first of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first: usize,
    /// Its layers, in running order.
    pub layers: Vec<LayerSpec>,
    /// The block's input is added to what the layers make of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub residual: bool,
    /// No activation follows that sum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linear: bool,
}

/// One layer: exactly one of `conv`, `pool`, `se`, `join`, `shuffle` and `activate` says which.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSpec {
    /// Below the block's name: of a convolution, and of an SE module whose name does not follow from the
    /// block's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Below the block's name, of the BatchNorm after a convolution, where it does not follow from the
    /// convolution's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<String>,
    /// A convolution with so many outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conv: Option<usize>,
    /// Of a convolution: 1x1 if left out.
    #[serde(default, skip_serializing_if = "KernelSpec::is_pixel")]
    pub kernel: KernelSpec,
    /// Of a convolution: 1 if left out.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub stride: usize,
    /// Of a convolution: 1 if left out.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// A convolution without padding. Elsewhere it is half of the kernel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub valid: bool,
    /// What is added to the products of a convolution: a BatchNorm if left out.
    #[serde(default, skip_serializing_if = "ShiftSpec::is_norm")]
    pub shift: ShiftSpec,
    /// A factor of a convolution with `shift = "bias"`: the residual scaling of Inception-ResNet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// No activation follows the convolution.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linear: bool,
    /// A pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// A squeeze-and-excitation module with so many channels inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<usize>,
    /// Branches side by side, each a list of layers, whose channels are joined in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Vec<Vec<LayerSpec>>>,
    /// The channels of so many groups dealt out in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<usize>,
    /// An activation alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activate: Option<Activation>,
}

/// Height and width of a kernel, or one number for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "expected a number of pixels, or height and width"
)]
pub enum KernelSpec {
    /// As high as it is wide.
    Square(usize),
    /// Height and width, of which one is 1.
    Sides([usize; 2]),
}

impl KernelSpec {
    fn is_pixel(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for KernelSpec {
    fn default() -> Self {
        Self::Square(1)
    }
}

/// What is added to the products of a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShiftSpec {
    /// A BatchNorm.
    #[default]
    Norm,
    /// The convolution's own bias.
    Bias,
    /// The convolution's own bias, then a BatchNorm.
    BiasAndNorm,
}

impl ShiftSpec {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_norm(&self) -> bool {
        *self == Self::Norm
    }
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_one(value: &usize) -> bool {
    *value == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}
