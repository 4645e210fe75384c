//! The tensor names of weights files: one table of patterns for each naming scheme.
//!
//! A planner looks up the names of its layers in the table and never asks which scheme it is. A scheme
//! has no row for layers that its source file lacks; a plan that needs such a row is rejected.

mod pytorchcv;
mod torchvision;

use serde::{Deserialize, Serialize};

use super::NetError;
use pytorchcv::{PYTORCHCV, PYTORCHCV_CIFAR, PYTORCHCV_PRERESNET, PYTORCHCV_SENET};
use torchvision::{
    MMPRETRAIN, TORCHVISION_EFFICIENTNET, TORCHVISION_MOBILENET, TORCHVISION_REGNET,
};

/// Whose tensor names a weights file uses: the timm source file that defines the model, or pytorchcv's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Naming {
    /// `conv1`, `layer1.0.conv1`, `se.fc1`, `fc` (timm `resnet.py`).
    Resnet,
    /// `layer0.conv1`, `se_module.fc1`, `last_linear` (timm `senet.py`, Cadene's package).
    Senet,
    /// `stem.conv1.conv`, `stages.0.0.conv1_1x1.conv`, `head.fc` (timm `byobnet.py`).
    Byobnet,
    /// `conv1`, `layer1.0.conv1.paths.0.conv`, `fc` (timm `sknet.py`).
    Sknet,
    /// `stem.conv`, `s1.b1.conv1.conv`, `head.fc` (timm `regnet.py`).
    Regnet,
    /// `conv_stem`, `blocks.0.0.conv_pw`, `se.conv_reduce`, `classifier` (timm `efficientnet.py` and
    /// `mobilenetv3.py`).
    Efficientnet,
    /// `conv1/7x7_s2`, `inception_3a/1x1`, `inception_3a_1x1_down`, `classifier` (the SENet authors' Caffe
    /// files). Their filters take blue before green and red.
    Caffe,
    /// `Conv2d_1a_3x3.conv`, `Mixed_5b.branch1x1.conv`, `Mixed_5b.se.fc1`, `fc` (torchvision `inception.py`,
    /// timm `inception_v3.py`).
    Inception,
    /// `conv2d_1a.conv`, `repeat.0.branch0.conv`, `repeat.0.se.fc1`, `classif` (timm `inception_resnet_v2.py`).
    InceptionResnet,
    /// `features.0`, `features.3.fc1`, `pre_logits.fc1`, `head.fc` (timm `vgg.py`, with modules between the layers).
    Vgg,
    /// `features.stage1.unit1.compress_conv1`, `.se.conv1`, `output` (pytorchcv `shufflenet.py`).
    Shufflenet,
    /// `features.init_block.conv.conv`, `features.stage1.unit1.body.conv1.conv`, `output` (pytorchcv,
    /// `seresnet.py`, `seresnext.py`).
    Pytorchcv,
    /// The same without a pool: `features.init_block.conv` (pytorchcv, `seresnet_cifar.py`).
    PytorchcvCifar,
    /// The same with three convolutions in the stem, and `output.fc` (pytorchcv, `senet.py`).
    PytorchcvSenet,
    /// `features.init_block.conv`, `features.post_activ.bn`, and projections without a norm (pytorchcv,
    /// `sepreresnet.py`).
    PytorchcvPreresnet,
    /// `stem`, `s1.b1.norm1`, `s1.b1.conv1`, `head.fc` (timm `regnet.py`, pre-activated).
    Regnetv,
    /// `features.0.0`, `features.4.block.2.fc1`, `classifier.0`, `classifier.3` (torchvision `mobilenetv3.py`).
    TorchvisionMobilenet,
    /// `features.0.0`, `features.2.0.block.2.fc1`, `classifier.1` (torchvision `efficientnet.py`).
    TorchvisionEfficientnet,
    /// `stem.0`, `trunk_output.block1.block1-0.f.a.0`, `fc` (torchvision `regnet.py`).
    TorchvisionRegnet,
    /// `backbone.layer1.0.se_layer.conv1.conv`, `head.fc` (mmpretrain `seresnet.py`).
    Mmpretrain,
}

/// Prefix of a convolution's `weight`, and of its BatchNorm's four vectors.
pub(super) type ConvName = [&'static str; 2];

/// What the branch of a block consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    Basic,
    Bottleneck,
    /// Depthwise, 1x1.
    Separable,
    /// 1x1, depthwise, 1x1.
    Inverted,
    /// kxk, 1x1.
    Fused,
    /// kxk.
    Single,
}

/// The patterns of one scheme. Names inside a block are those below the block's own.
pub(super) struct Names {
    /// One row for each number of convolutions that a stem can have.
    stems: &'static [&'static [ConvName]],
    /// `{stage}` and `{block}` count from 0, `{stage+1}` and `{block+1}` from 1; `{number}` counts the blocks of
    /// all stages.
    block: &'static str,
    /// The convolutions of a block's branch, in running order; `{step}` counts them and the module before the last
    /// from 0.
    branches: &'static [(Branch, &'static [ConvName])],
    se: Option<SeNames<'static>>,
    selective: Option<SelectiveNames>,
    pub(super) shortcut: ConvName,
    /// The shortcut's convolution in a network whose shortcuts begin with a pool, also where a block
    /// has no pool: timm keeps the pool's place in the `Sequential`.
    pub(super) pooled_shortcut: ConvName,
    /// `{stages}` is the number of stages.
    head_conv: Option<ConvName>,
    /// A convolution without a norm, after the pool.
    pooled_conv: Option<&'static str>,
    /// The norm between the last block and the pool.
    last_norm: Option<&'static str>,
    /// Of networks that are written out layer by layer.
    layers: Option<&'static LayerNames>,
    pub(super) classifier: &'static str,
}

/// What is put between and behind the names that a spec has written out.
pub(super) struct LayerNames {
    /// Between a block's name and that of a layer in it.
    pub(super) separator: &'static str,
    /// Behind the name of a convolution that has a BatchNorm.
    pub(super) conv: &'static str,
    /// Behind the same name for that norm; `None` where no rule gives its name.
    pub(super) norm: Option<&'static str>,
    /// Behind a block's name for its squeeze-and-excitation module.
    pub(super) se: &'static str,
    /// Behind that for the module's layers.
    pub(super) reduce: &'static str,
    pub(super) expand: &'static str,
    /// The first convolution's filters take blue before green and red.
    pub(super) bgr: bool,
}

/// A squeeze-and-excitation module, and its two layers below that.
#[derive(Clone, Copy)]
pub(super) struct SeNames<'n> {
    pub(super) module: &'n str,
    pub(super) reduce: &'n str,
    pub(super) expand: &'n str,
}

/// A selective-kernel unit: `{n}` is the number of the convolution that it replaces, from 1.
#[derive(Clone, Copy)]
pub(super) struct SelectiveNames {
    pub(super) paths: [ConvName; 2],
    pub(super) attention: &'static str,
}

const SE: SeNames<'static> = SeNames {
    module: "se",
    reduce: "fc1",
    expand: "fc2",
};

const RESNET: Names = Names {
    stems: &[
        &[["conv1", "bn1"]],
        // A Sequential of convolution, norm and activation whose last norm lies outside.
        &[
            ["conv1.0", "conv1.1"],
            ["conv1.3", "conv1.4"],
            ["conv1.6", "bn1"],
        ],
        // ResNet-RS: a convolution that replaces the pool, under the pool's name.
        &[
            ["conv1.0", "conv1.1"],
            ["conv1.3", "conv1.4"],
            ["conv1.6", "bn1"],
            ["maxpool.0", "maxpool.1"],
        ],
    ],
    block: "layer{stage+1}.{block}",
    branches: &[
        (Branch::Basic, &[["conv1", "bn1"], ["conv2", "bn2"]]),
        (
            Branch::Bottleneck,
            &[["conv1", "bn1"], ["conv2", "bn2"], ["conv3", "bn3"]],
        ),
    ],
    se: Some(SE),
    selective: None,
    shortcut: ["downsample.0", "downsample.1"],
    pooled_shortcut: ["downsample.1", "downsample.2"],
    head_conv: None,
    pooled_conv: None,
    last_norm: None,
    layers: None,
    classifier: "fc",
};

const SENET: Names = Names {
    stems: &[
        &[["layer0.conv1", "layer0.bn1"]],
        &[
            ["layer0.conv1", "layer0.bn1"],
            ["layer0.conv2", "layer0.bn2"],
            ["layer0.conv3", "layer0.bn3"],
        ],
    ],
    se: Some(SeNames {
        module: "se_module",
        ..SE
    }),
    classifier: "last_linear",
    ..RESNET
};

const BYOBNET: Names = Names {
    stems: &[
        &[["stem.conv", "stem.bn"]],
        &[
            ["stem.conv1.conv", "stem.conv1.bn"],
            ["stem.conv2.conv", "stem.conv2.bn"],
            ["stem.conv3.conv", "stem.conv3.bn"],
        ],
    ],
    block: "stages.{stage}.{block}",
    branches: &[(
        Branch::Bottleneck,
        &[
            ["conv1_1x1.conv", "conv1_1x1.bn"],
            ["conv2_kxk.conv", "conv2_kxk.bn"],
            ["conv3_1x1.conv", "conv3_1x1.bn"],
        ],
    )],
    se: Some(SeNames {
        module: "attn",
        ..SE
    }),
    selective: None,
    shortcut: ["shortcut.conv", "shortcut.bn"],
    pooled_shortcut: ["shortcut.conv", "shortcut.bn"],
    head_conv: Some(["final_conv.conv", "final_conv.bn"]),
    pooled_conv: None,
    last_norm: None,
    layers: None,
    classifier: "head.fc",
};

const REGNET: Names = Names {
    stems: &[&[["stem.conv", "stem.bn"]]],
    block: "s{stage+1}.b{block+1}",
    branches: &[(
        Branch::Bottleneck,
        &[
            ["conv1.conv", "conv1.bn"],
            ["conv2.conv", "conv2.bn"],
            ["conv3.conv", "conv3.bn"],
        ],
    )],
    shortcut: ["downsample.conv", "downsample.bn"],
    head_conv: Some(["final_conv.conv", "final_conv.bn"]),
    classifier: "head.fc",
    ..RESNET
};

const EFFICIENTNET: Names = Names {
    stems: &[&[["conv_stem", "bn1"]]],
    block: "blocks.{stage}.{block}",
    branches: &[
        (Branch::Separable, &[["conv_dw", "bn1"], ["conv_pw", "bn2"]]),
        (
            Branch::Inverted,
            &[["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
        ),
        (Branch::Fused, &[["conv_exp", "bn1"], ["conv_pwl", "bn2"]]),
        (Branch::Single, &[["conv", "bn1"]]),
    ],
    se: Some(SeNames {
        module: "se",
        reduce: "conv_reduce",
        expand: "conv_expand",
    }),
    head_conv: Some(["conv_head", "bn2"]),
    pooled_conv: Some("conv_head"),
    last_norm: None,
    layers: Some(&LayerNames {
        reduce: ".conv_reduce",
        expand: ".conv_expand",
        ..IN_FULL
    }),
    classifier: "classifier",
    ..RESNET
};

const SKNET: Names = Names {
    branches: &[
        (
            Branch::Basic,
            &[["conv1.conv", "conv1.bn"], ["conv2.conv", "conv2.bn"]],
        ),
        (
            Branch::Bottleneck,
            &[
                ["conv1.conv", "conv1.bn"],
                ["conv2.conv", "conv2.bn"],
                ["conv3.conv", "conv3.bn"],
            ],
        ),
    ],
    se: None,
    selective: Some(SelectiveNames {
        paths: [
            ["conv{n}.paths.0.conv", "conv{n}.paths.0.bn"],
            ["conv{n}.paths.1.conv", "conv{n}.paths.1.bn"],
        ],
        attention: "conv{n}.attn",
    }),
    ..RESNET
};

/// Without names for anything that follows a rule.
const WRITTEN_OUT: Names = Names {
    stems: &[],
    branches: &[],
    se: None,
    ..RESNET
};

const CAFFE: Names = Names {
    layers: Some(&LayerNames {
        separator: "/",
        conv: "",
        norm: Some("/bn"),
        se: "_1x1",
        reduce: "_down",
        expand: "_up",
        bgr: true,
    }),
    classifier: "classifier",
    ..WRITTEN_OUT
};

const INCEPTION: Names = Names {
    layers: Some(&LayerNames {
        separator: ".",
        conv: ".conv",
        norm: Some(".bn"),
        se: ".se",
        reduce: ".fc1",
        expand: ".fc2",
        bgr: false,
    }),
    ..WRITTEN_OUT
};

const REGNETV: Names = Names {
    stems: &[&[["stem", ""]]],
    // Of each convolution, the norm before it.
    branches: &[(
        Branch::Bottleneck,
        &[["conv1", "norm1"], ["conv2", "norm2"], ["conv3", "norm3"]],
    )],
    shortcut: ["downsample", ""],
    pooled_shortcut: ["downsample.1", ""],
    ..REGNET
};

const INCEPTION_RESNET: Names = Names {
    classifier: "classif",
    ..INCEPTION
};

/// Names that a spec has in full.
const IN_FULL: LayerNames = LayerNames {
    separator: ".",
    conv: "",
    norm: None,
    se: ".se",
    reduce: ".fc1",
    expand: ".fc2",
    bgr: false,
};

const VGG: Names = Names {
    layers: Some(&IN_FULL),
    classifier: "head.fc",
    ..WRITTEN_OUT
};

const SHUFFLENET: Names = Names {
    layers: Some(&LayerNames {
        reduce: ".conv1",
        expand: ".conv2",
        ..IN_FULL
    }),
    classifier: "output",
    ..WRITTEN_OUT
};

impl Naming {
    /// Whether the scheme is one of timm's.
    pub(crate) fn is_timms(self) -> bool {
        matches!(
            self,
            Self::Resnet
                | Self::Senet
                | Self::Byobnet
                | Self::Sknet
                | Self::Regnet
                | Self::Efficientnet
                | Self::Regnetv
        )
    }

    /// Who publishes files with these names that no card is about.
    pub fn publisher(self) -> Option<&'static str> {
        match self {
            Self::TorchvisionMobilenet
            | Self::TorchvisionEfficientnet
            | Self::TorchvisionRegnet => Some("torchvision"),
            Self::Mmpretrain => Some("mmpretrain"),
            _ => None,
        }
    }

    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Resnet => &RESNET,
            Self::Senet => &SENET,
            Self::Byobnet => &BYOBNET,
            Self::Sknet => &SKNET,
            Self::Regnet => &REGNET,
            Self::Efficientnet => &EFFICIENTNET,
            Self::Caffe => &CAFFE,
            Self::Inception => &INCEPTION,
            Self::InceptionResnet => &INCEPTION_RESNET,
            Self::Vgg => &VGG,
            Self::Shufflenet => &SHUFFLENET,
            Self::Pytorchcv => &PYTORCHCV,
            Self::PytorchcvCifar => &PYTORCHCV_CIFAR,
            Self::PytorchcvSenet => &PYTORCHCV_SENET,
            Self::PytorchcvPreresnet => &PYTORCHCV_PRERESNET,
            Self::Regnetv => &REGNETV,
            Self::TorchvisionMobilenet => &TORCHVISION_MOBILENET,
            Self::TorchvisionEfficientnet => &TORCHVISION_EFFICIENTNET,
            Self::TorchvisionRegnet => &TORCHVISION_REGNET,
            Self::Mmpretrain => &MMPRETRAIN,
        }
    }
}

impl Names {
    /// # Errors
    /// Here and below [`NetError::Spec`] if the scheme has no row for it.
    pub(super) fn stem(&self, convs: usize) -> Result<&'static [ConvName], NetError> {
        let row = self.stems.iter().find(|names| names.len() == convs);
        row.copied()
            .ok_or_else(|| missing(&format!("a stem of {convs} convolutions")))
    }

    /// Prefix of a block's tensors; all numbers count from 0.
    pub(super) fn block(&self, stage: usize, block: usize, number: usize) -> String {
        let numbers = [("stage", stage), ("block", block), ("number", number)];
        numbers
            .into_iter()
            .fold(self.block.to_owned(), |name, (what, number)| {
                numbered(&name, what, number)
            })
    }

    pub(super) fn branch(&self, branch: Branch) -> Result<&'static [ConvName], NetError> {
        let row = self.branches.iter().find(|(of, _)| *of == branch);
        row.map(|&(_, names)| names)
            .ok_or_else(|| missing(&format!("blocks of the kind {branch:?}")))
    }

    pub(super) fn se(&self) -> Result<SeNames<'static>, NetError> {
        self.se
            .ok_or_else(|| missing("squeeze-and-excitation modules"))
    }

    pub(super) fn selective(&self) -> Result<SelectiveNames, NetError> {
        self.selective
            .ok_or_else(|| missing("selective-kernel units"))
    }

    pub(super) fn layers(&self) -> Result<&'static LayerNames, NetError> {
        self.layers
            .ok_or_else(|| missing("layers that are written out"))
    }

    pub(super) fn last_norm(&self) -> Result<&'static str, NetError> {
        self.last_norm
            .ok_or_else(|| missing("a norm before the pool"))
    }

    pub(super) fn head_conv(&self, stages: usize) -> Result<[String; 2], NetError> {
        let name = self.head_conv;
        let name = name.ok_or_else(|| missing("a convolution before the pool"))?;
        Ok(name.map(|part| numbered(part, "stages", stages)))
    }

    pub(super) fn pooled_conv(&self) -> Result<&'static str, NetError> {
        self.pooled_conv
            .ok_or_else(|| missing("a convolution after the pool"))
    }
}

/// Puts a number in the place of `{what}`, and the next in that of `{what+1}`.
pub(super) fn numbered(name: &str, what: &str, number: usize) -> String {
    name.replace(&format!("{{{what}}}"), &number.to_string())
        .replace(&format!("{{{what}+1}}"), &(number + 1).to_string())
}

fn missing(what: &str) -> NetError {
    let reason = format!("this naming scheme has no names for {what}");
    NetError::spec("tensors.naming", reason)
}
