//! Networks: a topology as data ([`NetworkSpec`]), the layers it means ([`Plan`]), and the network
//! that runs ([`Network`]).

mod check;
mod error;
mod families;
mod fit;
mod grid;
mod head;
mod load;
mod names;
mod network;
mod plan;
mod random;
mod trace;
mod watch;

pub use error::{NetError, OtherEnds, TensorMismatch};
pub use families::{
    BlockKind, BlockSpec, GateSpec, HeadSpec, InvertedResidualRun, InvertedResidualSpec,
    KernelSpec, LayerSpec, LayersSpec, MobileBlock, NetworkEnd, NetworkSpec, PaddingRule,
    PreresnetShortcut, PreresnetSpec, ResnetRun, ResnetSpec, SePosition, SeSpec, ShiftSpec,
    Shortcut, SkSpec, Stem, StrideOn,
};
pub use grid::{Axis, Grid};
pub use head::Head;
pub use names::Naming;
pub use network::Network;
pub use plan::{
    Activation, BlockPlan, ConvGeometry, ConvPlan, EndingPlan, KernelShape, LinearPlan,
    NormActPlan, NormPlan, Padding, Plan, Pool, ProjectionPlan, SePlan, Shift, ShortcutPlan,
    SkPlan, StemPool, StepPlan, SumPlan, TensorPlan,
};
pub use random::random_weights;
pub use trace::LayerTrace;
pub use watch::{LayerTime, Observer, Point};
