//! ResNet and its descendants: residual blocks of two or three convolutions, plain or with SE modules or
//! selective kernels.

mod check;
mod planner;
mod spec;

pub(super) use planner::{Place, module, summary};
pub use spec::{BlockKind, ResnetRun, ResnetSpec, SePosition, SeSpec, Shortcut, SkSpec, StrideOn};
