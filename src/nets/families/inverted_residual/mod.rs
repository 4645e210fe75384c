//! Networks of inverted residual blocks with depthwise convolutions: MobileNetV3, LCNet, MnasNet,
//! HardCoRe-NAS, FBNetV3, TinyNet, EfficientNet and EfficientNetV2.

mod check;
mod planner;
mod spec;

pub use spec::{
    GateSpec, HeadSpec, InvertedResidualRun, InvertedResidualSpec, MobileBlock, PaddingRule,
};
