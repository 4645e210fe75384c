//! The tensor names of torchvision's files (`mobilenetv3.py`, `efficientnet.py`, `regnet.py`), and of mmpretrain's
//! (`seresnet.py`).

use super::{Branch, ConvName, EFFICIENTNET, Names, REGNET, RESNET, SE, SeNames};

/// A convolution and its norm are a `Sequential`, and so are the steps of a block.
const STEP: ConvName = ["block.{step}.0", "block.{step}.1"];

const SE_STEP: SeNames<'static> = SeNames {
    module: "block.{step}",
    ..SE
};

/// Stem, blocks and last convolution are one `Sequential`.
pub(super) const TORCHVISION_MOBILENET: Names = Names {
    stems: &[&[["features.0.0", "features.0.1"]]],
    block: "features.{number+1}",
    branches: &[
        (Branch::Separable, &[STEP, STEP]),
        (Branch::Inverted, &[STEP, STEP, STEP]),
        // The last convolution before the pool.
        (Branch::Single, &[["0", "1"]]),
    ],
    se: Some(SE_STEP),
    head_conv: None,
    pooled_conv: Some("classifier.0"),
    layers: None,
    classifier: "classifier.3",
    ..EFFICIENTNET
};

/// Stem, stages and last convolution are one `Sequential`.
pub(super) const TORCHVISION_EFFICIENTNET: Names = Names {
    block: "features.{stage+1}.{block}",
    branches: &[
        (Branch::Separable, &[STEP, STEP]),
        (Branch::Inverted, &[STEP, STEP, STEP]),
        (Branch::Fused, &[STEP, STEP]),
        (Branch::Single, &[STEP]),
    ],
    head_conv: Some(["features.{stages+1}.0", "features.{stages+1}.1"]),
    pooled_conv: None,
    classifier: "classifier.1",
    ..TORCHVISION_MOBILENET
};

pub(super) const TORCHVISION_REGNET: Names = Names {
    stems: &[&[["stem.0", "stem.1"]]],
    block: "trunk_output.block{stage+1}.block{stage+1}-{block}",
    branches: &[(
        Branch::Bottleneck,
        &[["f.a.0", "f.a.1"], ["f.b.0", "f.b.1"], ["f.c.0", "f.c.1"]],
    )],
    se: Some(SeNames {
        module: "f.se",
        ..SE
    }),
    shortcut: ["proj.0", "proj.1"],
    head_conv: None,
    classifier: "fc",
    ..REGNET
};

pub(super) const MMPRETRAIN: Names = Names {
    stems: &[&[["backbone.conv1", "backbone.bn1"]]],
    block: "backbone.layer{stage+1}.{block}",
    se: Some(SeNames {
        module: "se_layer",
        reduce: "conv1.conv",
        expand: "conv2.conv",
    }),
    classifier: "head.fc",
    ..RESNET
};
