//! The fields of `[network]` with `kind = "preresnet"`.

use serde::{Deserialize, Serialize};

use crate::nets::families::resnet::{BlockKind, ResnetRun, SeSpec, StrideOn};
use crate::nets::families::shared::{Stem, is_pytorch_eps, pytorch_eps};
use crate::nets::plan::{Activation, StemPool};

/// Topology of an SE-PreResNet or a RegNetV: each convolution of a block follows a norm and an activation,
/// nothing follows the sum, and projections have no norm.
///
/// Sources: He et al. 2016 (arXiv:1603.05027), pytorchcv's `sepreresnet.py` and `sepreresnet_cifar.py`,
/// timm's `regnet.py` (`PreBottleneck`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PreresnetSpec {
    /// Two 3x3 convolutions, or 1x1, 3x3, 1x1.
    pub block: BlockKind,
    /// The convolutions before the first stage.
    pub stem: Stem,
    /// No norm and no activation follow the stem's last convolution: the first block begins with them
    /// (RegNetV).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bare_stem: bool,
    /// The pool between stem and first stage.
    pub stem_pool: StemPool,
    /// Which convolution has a block's stride.
    pub stride_on: StrideOn,
    /// The shortcut.
    pub shortcut: PreresnetShortcut,
    /// An unchanged shortcut, too, is the input after the block's first norm and activation (RegNetV);
    /// a projection is always of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortcut_activated: bool,
    /// After each norm.
    pub activation: Activation,
    /// Added to the variance in every BatchNorm.
    #[serde(default = "pytorch_eps", skip_serializing_if = "is_pytorch_eps")]
    pub eps: f64,
    /// Squeeze-and-excitation modules in the runs that have `reduced`: `before_last_conv` is before its norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<SeSpec>,
    /// What follows the last block.
    pub end: NetworkEnd,
    /// The blocks, in running order.
    pub runs: Vec<ResnetRun>,
}

/// The projection of a block that changes shape; elsewhere the shortcut is the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PreresnetShortcut {
    /// 1x1 with the stride.
    Conv1x1,
    /// Average 2x2, stride 2 (size rounded up, the border not counted), then 1x1.
    AvgConv1x1,
}

/// What follows the last block, before the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NetworkEnd {
    /// A norm and the activation.
    Norm,
    /// The activation alone (RegNetV).
    Activation,
    /// Nothing (pytorchcv's networks for CIFAR).
    None,
}
