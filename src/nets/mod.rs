//! Networks: a topology as data ([`NetworkSpec`]), the layers it means ([`Plan`]), and the network
//! that runs ([`Network`]).

mod check;
mod error;
mod fit;
mod load;
mod names;
mod network;
mod plan;
mod planner;
mod spec;
mod trace;
mod watch;

pub use error::{NetError, OtherEnds, TensorMismatch};
pub use names::Naming;
pub use network::Network;
pub use plan::{
    BlockPlan, ConvPlan, LinearPlan, Plan, SePlan, ShortcutPlan, SkPlan, StepPlan, TensorPlan,
};
pub use spec::{
    Activation, BlockKind, NetworkSpec, SePosition, SeSpec, Shortcut, SkSpec, Stem, StemPool,
    StrideOn,
};
pub use trace::LayerTrace;
pub use watch::{LayerTime, Observer, Point};
