//! Residual networks whose norms and activations come before the convolutions: SE-PreResNet and RegNetV.

mod check;
mod planner;
mod spec;

pub use spec::{NetworkEnd, PreresnetShortcut, PreresnetSpec};
