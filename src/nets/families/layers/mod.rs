//! Networks that are written out layer by layer: plain stacks and parallel branches.

mod check;
mod planner;
mod spec;

pub use spec::{BlockSpec, KernelSpec, LayerSpec, LayersSpec, ShiftSpec};
