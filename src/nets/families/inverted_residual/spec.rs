//! The fields of `[network]` with `kind = "inverted_residual"`.

use serde::{Deserialize, Serialize};

use crate::nets::families::runs::{Numbers, Run};
use crate::nets::families::shared::{Stem, is_pytorch_eps, pytorch_eps};
use crate::nets::plan::Activation;

/// Topology of a MobileNetV3, an EfficientNet or a relative.
///
/// Sources: Sandler et al. 2018 (arXiv:1801.04381, the block), Tan et al. 2018 (arXiv:1807.11626), Howard et al.
/// 2019 (arXiv:1905.02244), Tan and Le 2019 and 2021 (arXiv:1905.11946, 2104.00298), timm's
/// `_efficientnet_blocks.py`, `efficientnet.py` and `mobilenetv3.py`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InvertedResidualSpec {
    /// The convolution before the first stage.
    pub stem: Stem,
    /// After the stem, inside the blocks of runs without an activation of their own, and after the head's
    /// convolution.
    pub activation: Activation,
    /// The activation follows a block's last BatchNorm, too (LCNet). Elsewhere a block ends linearly.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub activation_at_end: bool,
    /// Added to the variance in every BatchNorm.
    #[serde(default = "pytorch_eps", skip_serializing_if = "is_pytorch_eps")]
    pub eps: f64,
    /// Zeros around the maps.
    #[serde(default, skip_serializing_if = "PaddingRule::is_symmetric")]
    pub padding: PaddingRule,
    /// The activations of the squeeze-and-excitation modules, in the runs that have `reduced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<GateSpec>,
    /// The 1x1 convolution between the last stage and the classifier; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadSpec>,
    /// The blocks, in running order.
    pub runs: Vec<InvertedResidualRun>,
}

/// Equal blocks in a row. The input is added where a block keeps resolution and channels.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InvertedResidualRun {
    /// From 1.
    pub stage: usize,
    /// The convolutions of a block.
    pub block: MobileBlock,
    /// How many blocks.
    pub blocks: usize,
    /// Of the first block; the others keep the resolution.
    pub stride: usize,
    /// Kernel size of the convolution that has the stride.
    pub kernel: usize,
    /// Channels between the convolutions of an inverted or a fused block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Output channels of the blocks.
    pub channels: usize,
    /// Channels inside the SE module; a run without it has no module. Listed, because the families derive
    /// them from the block's input or from its width, and round differently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduced: Option<usize>,
    /// Inside the blocks, where it is not the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// `false` where the input is not added although its shape would allow it.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub shortcut: bool,
}

impl Run for InvertedResidualRun {
    fn numbers(&self) -> Numbers {
        Numbers {
            stage: self.stage,
            blocks: self.blocks,
            stride: self.stride,
            channels: self.channels,
        }
    }
}

fn yes() -> bool {
    true
}

/// The convolutions of a block, each with a BatchNorm. Where there are several, the SE module is before the
/// last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MobileBlock {
    /// Depthwise, 1x1.
    Separable,
    /// 1x1 that expands, depthwise, 1x1.
    Inverted,
    /// Dense kxk that expands, 1x1 (EfficientNetV2).
    Fused,
    /// Dense kxk alone, with the activation.
    Conv,
}

/// Zeros around the map that a convolution slides over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PaddingRule {
    /// Half of the kernel on every side.
    #[default]
    Symmetric,
    /// TensorFlow's: what the size needs, and less above and to the left than below and to the right.
    Same,
}

impl PaddingRule {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_symmetric(&self) -> bool {
        *self == Self::Symmetric
    }
}

/// Squeeze-and-excitation: mean over the map, 1x1 with bias, `hidden`, 1x1 with bias, `gate`, scale.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// Activation between the two layers; that of the block if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Activation>,
    /// Activation after the second layer, whose output scales the channels.
    pub gate: Activation,
}

/// The 1x1 convolution between the last stage and the classifier.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSpec {
    /// Its output channels: the width of the features.
    pub channels: usize,
    /// On the pooled pixel and without a BatchNorm (MobileNetV3), not on the map.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_pool: bool,
    /// With a bias, after the pool alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bias: bool,
}
