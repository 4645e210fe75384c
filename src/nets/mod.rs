//! The networks: SE-ResNet, SE-ResNeXt, SENet and SKNet from one spec type.

mod spec;

pub use spec::*;
