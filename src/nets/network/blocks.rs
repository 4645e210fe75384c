//! The blocks of a network and the layers in them: loading, and one pass.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::nets::NetError;
use crate::nets::load::Loader;
use crate::nets::plan::{
    BlockPlan, ConvPlan, ProjectionPlan, SePlan, ShortcutPlan, StepPlan, SumPlan,
};
use crate::nets::watch::{Point, Watch};
use crate::nn::{self, Activation, Conv, KernelAttention, Map, Pool, SqueezeExcite};

#[derive(Debug)]
pub(super) struct Named<T> {
    name: String,
    layer: T,
}

#[derive(Debug)]
pub(super) struct Block {
    name: String,
    steps: Vec<Step>,
    sum: Option<Sum>,
}

#[derive(Debug)]
enum Step {
    Conv(Named<Conv>),
    AvgPool,
    Se(Named<SqueezeExcite>),
    Sk(Box<Sk>),
}

#[derive(Debug)]
struct Sk {
    paths: [Named<Conv>; 2],
    split_input: bool,
    attention: Named<KernelAttention>,
}

#[derive(Debug)]
struct Sum {
    se: Option<Named<SqueezeExcite>>,
    shortcut: Shortcut,
    activation: Option<Activation>,
}

#[derive(Debug)]
enum Shortcut {
    Identity,
    Projection(Projection),
}

#[derive(Debug)]
struct Projection {
    avg_pool: bool,
    conv: Named<Conv>,
}

impl Named<Conv> {
    pub(super) fn conv(plan: &ConvPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(Self {
            name: plan.name.clone(),
            layer: loader.conv(plan)?,
        })
    }

    pub(super) fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let y = self.layer.forward(x)?;
        watch.lap_on(&self.name, || self.layer.kernel())?;
        Ok(y)
    }

    pub(super) fn forward_squeezed(
        &self,
        x: &Map,
        watch: &mut Watch<'_, '_>,
    ) -> Result<(Map, Tensor), NetError> {
        let both = self.layer.forward_squeezed(x)?;
        watch.lap_on(&self.name, || self.layer.kernel())?;
        Ok(both)
    }
}

impl Block {
    pub(super) fn load(plan: &BlockPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        let step = |step: &StepPlan| -> Result<Step, NetError> {
            Ok(match step {
                StepPlan::Conv(conv) => Step::Conv(Named::conv(conv, loader)?),
                StepPlan::AvgPool => Step::AvgPool,
                StepPlan::Se(se) => Step::Se(Named::se(se, loader)?),
                StepPlan::Sk(sk) => Step::Sk(Box::new(Sk {
                    paths: [
                        Named::conv(&sk.paths[0], loader)?,
                        Named::conv(&sk.paths[1], loader)?,
                    ],
                    split_input: sk.split_input,
                    attention: Named {
                        name: sk.attention.clone(),
                        layer: loader.attention(sk)?,
                    },
                })),
            })
        };
        // Parallel within a block, too: the last stage's blocks are too large to balance well.
        let (steps, sum) = rayon::join(
            || plan.steps.par_iter().map(step).collect::<Result<_, _>>(),
            || {
                plan.sum
                    .as_ref()
                    .map(|sum| Sum::load(sum, loader))
                    .transpose()
            },
        );
        Ok(Self {
            name: plan.name.clone(),
            steps: steps?,
            sum: sum?,
        })
    }

    pub(super) fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let projected = match self.sum.as_ref().map(|sum| &sum.shortcut) {
            Some(Shortcut::Projection(projection)) => {
                Some(projection.forward(x, &self.name, watch)?)
            }
            Some(Shortcut::Identity) | None => None,
        };
        let mut branch = None;
        let mut squeeze = None;
        for (index, step) in self.steps.iter().enumerate() {
            let y = branch.as_ref().unwrap_or(x);
            let squeezed = match self.steps.get(index + 1) {
                Some(next) => matches!(next, Step::Se(_)),
                None => self.sum.as_ref().is_some_and(|sum| sum.se.is_some()),
            };
            branch = Some(match step {
                Step::Conv(conv) if squeezed => {
                    let (y, mean) = conv.forward_squeezed(y, watch)?;
                    squeeze = Some(mean);
                    y
                }
                Step::Conv(conv) => conv.forward(y, watch)?,
                Step::AvgPool => {
                    let y = y.pool(Pool::Average)?;
                    watch.lap(&self.name, ".pool")?;
                    y
                }
                Step::Se(se) => {
                    let gate = se.gate(y, squeeze.take(), watch)?;
                    match branch.take() {
                        Some(y) => y.scale(&gate)?,
                        None => return Err(empty_branch()),
                    }
                }
                Step::Sk(sk) => sk.forward(y, watch)?,
            });
        }
        let y = branch.ok_or_else(empty_branch)?;
        let Some(sum) = &self.sum else {
            return Ok(y);
        };
        let gate = match &sum.se {
            Some(se) => Some(se.gate(&y, squeeze, watch)?),
            None => None,
        };
        let shortcut = projected.as_ref().unwrap_or(x);
        let y = nn::add_shortcut(y, gate.as_ref(), shortcut, sum.activation)?;
        watch.lap(&self.name, ".tail")?;
        Ok(y)
    }
}

/// For a block that no planner makes: its branch does not begin with a convolution.
fn empty_branch() -> NetError {
    NetError::spec("block", "a block's branch begins with a convolution")
}

impl Sum {
    fn load(plan: &SumPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(Self {
            se: match &plan.se {
                Some(se) => Some(Named::se(se, loader)?),
                None => None,
            },
            shortcut: match &plan.shortcut {
                ShortcutPlan::Identity => Shortcut::Identity,
                ShortcutPlan::Projection(ProjectionPlan { avg_pool, conv }) => {
                    Shortcut::Projection(Projection {
                        avg_pool: *avg_pool,
                        conv: Named::conv(conv, loader)?,
                    })
                }
            },
            activation: plan.activation,
        })
    }
}

impl Projection {
    fn forward(&self, x: &Map, block: &str, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        if self.avg_pool {
            let x = x.pool(Pool::AverageCeil)?;
            watch.lap(block, ".shortcut pool")?;
            self.conv.forward(&x, watch)
        } else {
            self.conv.forward(x, watch)
        }
    }
}

impl Named<SqueezeExcite> {
    fn se(plan: &SePlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(Self {
            name: plan.name.clone(),
            layer: loader.se(plan)?,
        })
    }

    /// The gate of `y`, whose mean may have been computed already.
    fn gate(
        &self,
        y: &Map,
        squeeze: Option<Tensor>,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Tensor, NetError> {
        let squeeze = match squeeze {
            Some(squeeze) => squeeze,
            None => y.mean()?,
        };
        let gate = self.layer.gate(&squeeze)?;
        watch.lap_on(&self.name, || self.layer.fc1.kernel())?;
        watch.see(Point::Gate(&self.name), &gate)?;
        Ok(gate)
    }
}

impl Sk {
    fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let paths = if self.split_input {
            let half = self.paths[0].layer.inputs();
            [
                self.paths[0].forward(&x.channels(0, half)?, watch)?,
                self.paths[1].forward(&x.channels(half, half)?, watch)?,
            ]
        } else {
            [
                self.paths[0].forward(x, watch)?,
                self.paths[1].forward(x, watch)?,
            ]
        };
        let Named { name, layer } = &self.attention;
        let gate = layer.gate([&paths[0], &paths[1]])?;
        watch.see(Point::Gate(name), &gate)?;
        let y = KernelAttention::weigh(paths, &gate)?;
        watch.lap(name, "")?;
        Ok(y)
    }
}
