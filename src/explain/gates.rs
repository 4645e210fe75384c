//! The gates of squeeze-and-excitation modules, and what selective-kernel units have in their place.

use candle_core::Tensor;
use serde::Serialize;

use super::cam::on_cpu;
use crate::nets::{BlockPlan, Plan, StepPlan};

/// Gates below this let through so little of their channel that they count as closed.
pub const CLOSED: f32 = 0.1;

/// A module that has gates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Its name in the weights file, such as `layer1.0.se`.
    #[serde(rename = "module")]
    pub name: String,
    /// The block that it is in, such as `layer1.0`.
    pub block: String,
    /// The stage of that, counted from 1.
    pub stage: usize,
    /// What the gates are.
    pub kind: ModuleKind,
    /// Number of gates.
    pub channels: usize,
}

/// What the gates of a module are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ModuleKind {
    /// Squeeze-and-excitation: the factor of each channel (arXiv:1709.01507).
    Se,
    /// Selective kernels: the softmax weight of the path with the larger kernel. The other path has what it
    /// leaves of 1 (arXiv:1903.06586).
    Sk,
}

impl ModuleKind {
    /// The gates `[N, C]` from what a network shows at [`Point::Gate`](crate::nets::Point::Gate).
    pub(super) fn gates(self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = on_cpu(x)?;
        match self {
            Self::Se => Ok(x),
            Self::Sk => x.narrow(1, 1, 1)?.squeeze(1),
        }
    }
}

/// The modules of a plan, in the order in which they run.
pub fn modules(plan: &Plan) -> Vec<Module> {
    let mut all = Vec::new();
    for (stage, blocks) in (1..).zip(&plan.stages) {
        all.extend(blocks.iter().flat_map(|block| of_block(stage, block)));
    }
    all
}

fn of_block(stage: usize, block: &BlockPlan) -> impl Iterator<Item = Module> + '_ {
    let steps = block
        .flat_steps()
        .into_iter()
        .filter_map(|step| match step {
            StepPlan::Se(se) => Some((ModuleKind::Se, &se.name, se.channels)),
            StepPlan::Sk(sk) => Some((ModuleKind::Sk, &sk.attention, sk.channels)),
            _ => None,
        });
    let of_sum = block.sum.iter().filter_map(|sum| sum.se.as_ref());
    let of_sum = of_sum.map(|se| (ModuleKind::Se, &se.name, se.channels));
    steps
        .chain(of_sum)
        .map(move |(kind, name, channels)| Module {
            name: name.clone(),
            block: block.name.clone(),
            stage,
            kind,
            channels,
        })
}

/// The gates of a module on one image, in figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GateSummary {
    /// Over the channels.
    pub mean: f64,
    /// Standard deviation over the channels.
    pub std: f64,
    /// Share of the gates below [`CLOSED`].
    pub share_closed: f64,
}

impl GateSummary {
    /// Of one gate or more.
    pub fn new(gates: &[f32]) -> Self {
        let count = gates.len() as f64;
        let mean = gates.iter().copied().map(f64::from).sum::<f64>() / count;
        let squares = gates.iter().map(|&gate| (f64::from(gate) - mean).powi(2));
        let closed = gates.iter().filter(|&&gate| gate < CLOSED).count();
        Self {
            mean,
            std: (squares.sum::<f64>() / count).sqrt(),
            share_closed: closed as f64 / count,
        }
    }
}
