//! The fields of `[network]` with `kind = "resnet"`.
//!
//! Every historical quirk of the family is a named field with its reason, so a new variant is a
//! new table and not a new code path.

use serde::{Deserialize, Serialize};

use crate::nets::families::runs::{Numbers, Run};
use crate::nets::families::shared::{Stem, is_pytorch_eps, pytorch_eps};
use crate::nets::plan::{Activation, StemPool};

/// Topology of a ResNet, SE-ResNet, SE-ResNeXt, SENet-154, SKNet or ResNet-RS.
///
/// Sources: He et al. 2015 (arXiv:1512.03385), Hu et al. 2017 (arXiv:1709.01507), Li et al. 2019
/// (arXiv:1903.06586), timm's `resnet.py`, `senet.py`, `sknet.py` and `byobnet.py`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResnetSpec {
    /// Two 3x3 convolutions, or 1x1, 3x3, 1x1.
    pub block: BlockKind,
    /// The convolutions before the first stage.
    pub stem: Stem,
    /// The pool between stem and first stage.
    pub stem_pool: StemPool,
    /// Which convolution has a block's stride.
    pub stride_on: StrideOn,
    /// The projection where a block changes shape.
    pub shortcut: Shortcut,
    /// After the stem, inside the blocks and after each sum.
    pub activation: Activation,
    /// No activation follows the sum (RegNetZ).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linear_end: bool,
    /// The activation follows the last stage, before the pooling (regnetz_040).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub final_activation: bool,
    /// Added to the variance in every BatchNorm.
    #[serde(default = "pytorch_eps", skip_serializing_if = "is_pytorch_eps")]
    pub eps: f64,
    /// Squeeze-and-excitation modules in the runs that have `reduced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<SeSpec>,
    /// Selective-kernel units in place of the 3x3 convolution, in all runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sk: Option<SkSpec>,
    /// Channels of a final 1x1 convolution before the pooling (seresnet33ts only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_conv: Option<usize>,
    /// The blocks, in running order.
    pub runs: Vec<ResnetRun>,
}

/// Equal blocks in a row.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResnetRun {
    /// From 1. Most stages are one run; the runs of a stage follow each other.
    pub stage: usize,
    /// How many blocks.
    pub blocks: usize,
    /// Of the first block; the others keep the resolution.
    pub stride: usize,
    /// Output channels of the 3x3 convolution (the first one of a basic block).
    pub width: usize,
    /// Output channels of a bottleneck's first 1x1 convolution where they differ from `width`:
    /// SENet-154 halves them to save parameters (arXiv:1709.01507, section 6.1, footnote on SENet-154).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conv1_width: Option<usize>,
    /// Output channels of the blocks.
    pub channels: usize,
    /// Groups of the 3x3 convolution.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Channels inside the SE module or the selective-kernel unit. Listed, because the families round
    /// C/16 differently: `senet.py` divides, `resnet.py` takes the nearest multiple of 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduced: Option<usize>,
}

impl Run for ResnetRun {
    fn numbers(&self) -> Numbers {
        Numbers {
            stage: self.stage,
            blocks: self.blocks,
            stride: self.stride,
            channels: self.channels,
        }
    }
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_one(groups: &usize) -> bool {
    *groups == 1
}

/// The convolutions of a block's branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockKind {
    /// 3x3, 3x3.
    Basic,
    /// 1x1, 3x3, 1x1.
    Bottleneck,
}

/// Which layer of a block reduces the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StrideOn {
    /// The block's first convolution: basic blocks (selective-kernel ones too), and the legacy
    /// SE-ResNets, which follow Caffe's ResNet ("v1") and put it on the 1x1.
    Conv1,
    /// The 3x3 convolution of a bottleneck ("v1.5"), or both paths of its selective kernel.
    Conv2,
    /// The 3x3 keeps the resolution and a 2x2 average pool (size rounded down) follows its
    /// activation: the anti-aliased models.
    AvgAfterConv2,
}

/// The projection of a block that changes shape; elsewhere the shortcut is the identity. Where the
/// resolution stays, the projection is always a plain 1x1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shortcut {
    /// 1x1 with the stride.
    Conv1x1,
    /// 3x3 with the stride, padding 1: SENet-154.
    Conv3x3,
    /// Average 2x2, stride 2 (size rounded up, the border not counted), then 1x1: the "d", "t" and
    /// "aa" models.
    AvgConv1x1,
    /// Nothing: such a block has no shortcut (RegNetZ).
    None,
}

/// Squeeze-and-excitation: mean over the map, 1x1 with bias, `hidden`, 1x1 with bias, `gate`, scale.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SeSpec {
    /// Where the module is in a block.
    pub position: SePosition,
    /// ReLU after the last BatchNorm and before the module: only the basic block of `senet.py`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relu_before: bool,
    /// Activation between the two layers.
    #[serde(default = "relu", skip_serializing_if = "is_relu")]
    pub hidden: Activation,
    /// Activation after the second layer, whose output scales the channels.
    #[serde(default = "sigmoid", skip_serializing_if = "is_sigmoid")]
    pub gate: Activation,
}

fn relu() -> Activation {
    Activation::Relu
}

fn sigmoid() -> Activation {
    Activation::Sigmoid
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_relu(hidden: &Activation) -> bool {
    *hidden == relu()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_sigmoid(gate: &Activation) -> bool {
    *gate == sigmoid()
}

/// Where a squeeze-and-excitation module is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SePosition {
    /// On the block's output, before the shortcut is added (arXiv:1709.01507, figure 3).
    AfterLastNorm,
    /// On the narrow map, before the last 1x1: the "ts" models.
    BeforeLastConv,
}

/// Selective kernels: two 3x3 paths with dilation 1 and 2, weighed by a softmax over the paths.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkSpec {
    /// Each path sees half of the input channels (skresnet18/34) instead of all of them.
    pub split_input: bool,
}
