//! The tensor names of pytorchcv's files (osmr, `seresnet.py`, `seresnext.py`, `seresnet_cifar.py`, `senet.py`).

use super::{Branch, Names, SeNames};

pub(super) const PYTORCHCV: Names = Names {
    stems: &[&[[
        "features.init_block.conv.conv",
        "features.init_block.conv.bn",
    ]]],
    block: "features.stage{stage+1}.unit{block+1}",
    branches: &[
        (
            Branch::Basic,
            &[
                ["body.conv1.conv", "body.conv1.bn"],
                ["body.conv2.conv", "body.conv2.bn"],
            ],
        ),
        (
            Branch::Bottleneck,
            &[
                ["body.conv1.conv", "body.conv1.bn"],
                ["body.conv2.conv", "body.conv2.bn"],
                ["body.conv3.conv", "body.conv3.bn"],
            ],
        ),
    ],
    se: Some(SeNames {
        module: "se",
        reduce: "conv1",
        expand: "conv2",
    }),
    selective: None,
    shortcut: ["identity_conv.conv", "identity_conv.bn"],
    pooled_shortcut: ["identity_conv.conv", "identity_conv.bn"],
    head_conv: None,
    pooled_conv: None,
    last_norm: None,
    layers: None,
    classifier: "output",
};

pub(super) const PYTORCHCV_CIFAR: Names = Names {
    stems: &[&[["features.init_block.conv", "features.init_block.bn"]]],
    ..PYTORCHCV
};

pub(super) const PYTORCHCV_SENET: Names = Names {
    stems: &[&[
        [
            "features.init_block.conv1.conv",
            "features.init_block.conv1.bn",
        ],
        [
            "features.init_block.conv2.conv",
            "features.init_block.conv2.bn",
        ],
        [
            "features.init_block.conv3.conv",
            "features.init_block.conv3.bn",
        ],
    ]],
    classifier: "output.fc",
    ..PYTORCHCV
};

pub(super) const PYTORCHCV_PRERESNET: Names = Names {
    // In the branches, the norm comes before the convolution of its name.
    shortcut: ["identity_conv", ""],
    pooled_shortcut: ["identity_conv", ""],
    last_norm: Some("features.post_activ.bn"),
    ..PYTORCHCV_CIFAR
};
