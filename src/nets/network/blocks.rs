//! The blocks of a network and the layers in them: loading, and one pass.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::nets::NetError;
use crate::nets::load::Loader;
use crate::nets::plan::{
    BlockPlan, ConvPlan, EndingPlan, NormActPlan, ProjectionPlan, SePlan, ShortcutPlan, StepPlan,
    SumPlan,
};
use crate::nets::watch::{LayerTime, Point, Watch};
use crate::nn::{self, Activation, Conv, KernelAttention, Map, Pool, SqueezeExcite};

#[derive(Debug)]
pub(super) struct Named<T> {
    name: String,
    layer: T,
}

#[derive(Debug)]
pub(super) struct Block {
    name: String,
    entry: Option<Named<Conv>>,
    steps: Vec<Step>,
    sum: Option<Sum>,
}

#[derive(Debug)]
enum Step {
    Conv(Named<Conv>),
    Pool(Pool),
    Se(Named<SqueezeExcite>),
    Sk(Box<Sk>),
    Branches(Vec<Vec<Step>>),
    Shuffle(usize),
    Activate(Activation),
}

/// The map between two steps.
enum Flow<'a> {
    /// The block's input, which others need, too.
    Input(&'a Map),
    Made(Map),
}

impl Flow<'_> {
    fn map(&self) -> &Map {
        match self {
            Self::Input(map) => map,
            Self::Made(map) => map,
        }
    }

    /// The map, to be changed in place.
    fn made(self) -> Result<Map, NetError> {
        match self {
            Self::Input(map) => Ok(Map::join(&[map], None)?),
            Self::Made(map) => Ok(map),
        }
    }
}

/// What follows the last block.
#[derive(Debug)]
pub(super) enum Ending {
    Activate(Activation),
    Norm(Named<Conv>),
}

impl Ending {
    pub(super) fn load(plan: &EndingPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(match plan {
            EndingPlan::Activate(activation) => Self::Activate(*activation),
            EndingPlan::Norm(norm) => Self::Norm(Named::norm(norm, loader)?),
        })
    }

    /// The ended map and its squeeze.
    pub(super) fn forward(
        &self,
        x: Map,
        watch: &mut Watch<'_, '_>,
    ) -> Result<(Map, Tensor), NetError> {
        match self {
            Self::Norm(norm) => norm.forward_squeezed(&x, watch),
            Self::Activate(activation) => {
                let y = x.activate(*activation)?;
                let mean = y.mean()?;
                Ok((y, mean))
            }
        }
    }
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
    Activated,
    Projection(Projection),
}

#[derive(Debug)]
struct Projection {
    avg_pool: bool,
    conv: Named<Conv>,
}

impl Named<Conv> {
    pub(super) fn conv(plan: &ConvPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Self::conv_of(plan, false, loader)
    }

    /// With the filters' input channels in reverse order if `reversed`.
    pub(super) fn conv_of(
        plan: &ConvPlan,
        reversed: bool,
        loader: &Loader<'_>,
    ) -> Result<Self, NetError> {
        Ok(Self {
            name: plan.name.clone(),
            layer: loader.conv(plan, reversed)?,
        })
    }

    /// Two convolutions as one layer.
    fn pair(first: &ConvPlan, second: &ConvPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(Self {
            name: [&first.name[..], &second.name].join(LayerTime::AND),
            layer: loader.conv_pair(first, second)?,
        })
    }

    pub(super) fn norm(plan: &NormActPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(Self {
            name: plan.norm.name.clone(),
            layer: loader.norm_act(plan)?,
        })
    }

    pub(super) fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let y = self.layer.forward(x)?;
        watch.lap_on(&self.name, || self.layer.kernel())?;
        Ok(y)
    }

    fn forward_gated(
        &self,
        x: &Map,
        gate: &Tensor,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Map, NetError> {
        let y = self.layer.forward_gated(x, gate)?;
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
        // Parallel within a block, too: the last stage's blocks are too large to balance well.
        let (steps, sum) = rayon::join(
            || Step::load_all(&plan.steps, loader),
            || {
                plan.sum
                    .as_ref()
                    .map(|sum| Sum::load(sum, loader))
                    .transpose()
            },
        );
        Ok(Self {
            name: plan.name.clone(),
            entry: match &plan.entry {
                Some(entry) => Some(Named::norm(entry, loader)?),
                None => None,
            },
            steps: steps?,
            sum: sum?,
        })
    }

    pub(super) fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let entered = match &self.entry {
            Some(entry) => Some(entry.forward(x, watch)?),
            None => None,
        };
        let begin = entered.as_ref().unwrap_or(x);
        let projected = match self.sum.as_ref().map(|sum| &sum.shortcut) {
            Some(Shortcut::Projection(projection)) => {
                Some(projection.forward(begin, &self.name, watch)?)
            }
            Some(Shortcut::Identity | Shortcut::Activated) | None => None,
        };
        let of_sum = self.sum.as_ref().is_some_and(|sum| sum.se.is_some());
        let (y, squeeze) = run(&self.steps, Flow::Input(begin), of_sum, &self.name, watch)?;
        let y = y.made()?;
        let Some(sum) = &self.sum else {
            return Ok(y);
        };
        let gate = match &sum.se {
            Some(se) => Some(se.gate(&squeeze_of(&y, squeeze)?, watch)?),
            None => None,
        };
        let shortcut = match (&sum.shortcut, &projected) {
            (Shortcut::Activated, _) => begin,
            (_, Some(projected)) => projected,
            (_, None) => x,
        };
        let y = nn::add_shortcut(y, gate.as_ref(), shortcut, sum.activation)?;
        watch.lap(&self.name, ".tail")?;
        Ok(y)
    }
}

/// What the steps of the block `block` make of a map, and its squeeze if the module that needs it follows and
/// the last step has it at hand.
fn run<'a>(
    steps: &[Step],
    x: Flow<'a>,
    squeezed: bool,
    block: &str,
    watch: &mut Watch<'_, '_>,
) -> Result<(Flow<'a>, Option<Tensor>), NetError> {
    let mut flow = x;
    let mut squeeze = None;
    let mut steps = steps.iter().peekable();
    while let Some(step) = steps.next() {
        let squeezed = match steps.peek() {
            Some(next) => matches!(next, Step::Se(_)),
            None => squeezed,
        };
        let x = flow.map();
        flow = Flow::Made(match step {
            Step::Conv(conv) if squeezed => {
                let (y, mean) = conv.forward_squeezed(x, watch)?;
                squeeze = Some(mean);
                y
            }
            Step::Conv(conv) => conv.forward(x, watch)?,
            Step::Pool(pool) => {
                let y = x.pool(*pool)?;
                watch.lap(block, ".pool")?;
                y
            }
            Step::Se(se) => {
                let mean = squeeze_of(x, squeeze.take())?;
                let gate = se.gate(&mean, watch)?;
                let scales = |next: &&Step| matches!(next, Step::Conv(conv) if conv.layer.scales());
                match steps.next_if(scales) {
                    // On the way into the next convolution: the map is not written again.
                    Some(Step::Conv(conv)) => conv.forward_gated(x, &gate, watch)?,
                    _ => {
                        let y = flow.made()?.scale(&gate)?;
                        watch.lap(block, ".scale")?;
                        y
                    }
                }
            }
            Step::Sk(sk) => sk.forward(x, watch)?,
            Step::Branches(branches) => {
                let mut ends = Vec::with_capacity(branches.len());
                let mut means = Vec::new();
                for steps in branches {
                    let (end, mean) = run(steps, Flow::Input(x), squeezed, block, watch)?;
                    if squeezed {
                        means.push(squeeze_of(end.map(), mean)?);
                    }
                    ends.push(end);
                }
                if squeezed {
                    squeeze = Some(Tensor::cat(&means, 1)?);
                }
                // The module's factors on the way: the map is written once.
                let mut gate = None;
                if let Some(Step::Se(se)) = steps.next_if(|next| matches!(next, Step::Se(_)))
                    && let Some(mean) = squeeze.take()
                {
                    gate = Some(se.gate(&mean, watch)?);
                }
                let ends: Vec<&Map> = ends.iter().map(Flow::map).collect();
                let y = Map::join(&ends, gate.as_ref())?;
                watch.lap(block, ".join")?;
                y
            }
            Step::Shuffle(groups) => {
                let y = x.shuffle(*groups)?;
                watch.lap(block, ".shuffle")?;
                y
            }
            Step::Activate(activation) => flow.made()?.activate(*activation)?,
        });
    }
    Ok((flow, squeeze))
}

/// The mean of each channel, unless it is known already.
fn squeeze_of(map: &Map, known: Option<Tensor>) -> Result<Tensor, NetError> {
    match known {
        Some(mean) => Ok(mean),
        None => Ok(map.mean()?),
    }
}

impl Step {
    fn load_all(plans: &[StepPlan], loader: &Loader<'_>) -> Result<Vec<Self>, NetError> {
        Self::parts(plans, loader)
            .into_par_iter()
            .map(|part| match part {
                [StepPlan::Conv(first), StepPlan::Conv(second)] => {
                    Ok(Self::Conv(Named::pair(first, second, loader)?))
                }
                part => Self::load(&part[0], loader),
            })
            .collect()
    }

    /// What each layer is made of: one step, or two convolutions.
    fn parts<'a>(mut plans: &'a [StepPlan], loader: &Loader<'_>) -> Vec<&'a [StepPlan]> {
        let mut parts = Vec::with_capacity(plans.len());
        while !plans.is_empty() {
            let count = match plans {
                [StepPlan::Conv(first), StepPlan::Conv(second), ..]
                    if loader.joins(first, second) =>
                {
                    2
                }
                _ => 1,
            };
            let (part, rest) = plans.split_at(count);
            parts.push(part);
            plans = rest;
        }
        parts
    }

    fn load(plan: &StepPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(match plan {
            StepPlan::Conv(conv) => Self::Conv(Named::conv(conv, loader)?),
            StepPlan::Pool(pool) => Self::Pool(*pool),
            StepPlan::Se(se) => Self::Se(Named::se(se, loader)?),
            StepPlan::Sk(sk) => Self::Sk(Box::new(Sk {
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
            StepPlan::Branches(branches) => {
                let branches = branches
                    .par_iter()
                    .map(|plans| Self::load_all(plans, loader));
                Self::Branches(branches.collect::<Result<_, _>>()?)
            }
            StepPlan::Shuffle(groups) => Self::Shuffle(*groups),
            StepPlan::Activate(activation) => Self::Activate(*activation),
            StepPlan::Norm(norm) => Self::Conv(Named::norm(norm, loader)?),
        })
    }
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
                ShortcutPlan::Activated => Shortcut::Activated,
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

    /// The gate of a map whose squeeze, the mean of each channel, is this.
    fn gate(&self, squeeze: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        let gate = self.layer.gate(squeeze)?;
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
