//! The network that runs.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::NetError;
use super::load::{Loader, check_tensors};
use super::plan::{BlockPlan, PICTURE_CHANNELS, Plan, SePlan, StepPlan};
use super::spec::StemPool;
use crate::nn::{self, Activation, Backend, Conv, KernelAttention, Linear, Map, SqueezeExcite};
use crate::weights::Weights;

/// A place in the network whose tensor can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point<'a> {
    /// After the stem's last activation, before its pool.
    Stem,
    /// After the stem's pool, where there is one.
    StemPool,
    /// After the last block of a stage, counted from 1.
    Stage(usize),
    /// After the final 1x1 convolution, where there is one.
    FinalConv,
    /// A module's gate: `[N, C]` factors of an SE module, `[N, 2, C]` weights of an SK unit. The
    /// name is the module's in the weights file, such as `layer1.0.se` or `layer1.0.conv1.attn`.
    Gate(&'a str),
    /// The pooled features `[N, num_features]`.
    PreLogits,
}

/// Sees a tensor as the network passes a point; an error stops the run.
pub type Observer<'a> = dyn FnMut(Point<'_>, &Tensor) -> Result<(), NetError> + Send + 'a;

/// A network with its weights on a device, in evaluation mode, BatchNorm folded.
#[derive(Debug)]
pub struct Network {
    plan: Plan,
    backend: Backend,
    stem: Vec<Conv>,
    stages: Vec<Vec<Block>>,
    head_conv: Option<Conv>,
    classifier: Linear,
}

#[derive(Debug)]
struct Block {
    steps: Vec<Step>,
    se: Option<Se>,
    shortcut: Option<Projection>,
    activation: Activation,
}

#[derive(Debug)]
enum Step {
    Conv(Conv),
    AvgPool,
    Se(Se),
    Sk(Sk),
}

#[derive(Debug)]
struct Se {
    name: String,
    module: SqueezeExcite,
}

#[derive(Debug)]
struct Sk {
    name: String,
    paths: [Conv; 2],
    split_input: bool,
    attention: KernelAttention,
}

#[derive(Debug)]
struct Projection {
    avg_pool: bool,
    conv: Conv,
}

impl Network {
    /// Builds the plan's layers from a file's tensors.
    ///
    /// # Errors
    /// [`NetError::Tensors`] if the file does not hold exactly the plan's tensors (BatchNorm's
    /// `num_batches_tracked` aside), [`NetError::NotFinite`] if one holds NaN or infinity.
    pub fn load(plan: &Plan, weights: &Weights, device: &Device) -> Result<Self, NetError> {
        Self::load_on(plan, weights, Backend::of(device))
    }

    /// As [`Network::load`], made of the layers of `backend`.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn load_on(plan: &Plan, weights: &Weights, backend: Backend) -> Result<Self, NetError> {
        check_tensors(plan, weights)?;
        let loader = Loader {
            weights,
            backend: &backend,
        };
        let stage = |blocks: &Vec<BlockPlan>| {
            blocks
                .par_iter()
                .map(|block| Block::load(block, &loader))
                .collect()
        };
        Ok(Self {
            stem: plan
                .stem
                .iter()
                .map(|conv| loader.conv(conv))
                .collect::<Result<_, _>>()?,
            stages: plan
                .stages
                .par_iter()
                .map(stage)
                .collect::<Result<_, _>>()?,
            head_conv: plan
                .head_conv
                .as_ref()
                .map(|conv| loader.conv(conv))
                .transpose()?,
            classifier: loader.classifier(&plan.classifier)?,
            plan: plan.clone(),
            backend,
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn device(&self) -> &Device {
        self.backend.device()
    }

    /// Logits `[N, classes]` of normalised pictures `[N, 3, H, W]` in f32, on the network's device.
    ///
    /// # Errors
    /// If the input is no such batch, does not fit the network, or numbers are not finite.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, NetError> {
        self.run(x, None)
    }

    /// As [`Network::forward`], showing `observer` the tensor at every [`Point`] on the way.
    ///
    /// # Errors
    /// As [`Network::forward`], and whatever the observer returns.
    pub fn forward_observed(
        &self,
        x: &Tensor,
        observer: &mut Observer<'_>,
    ) -> Result<Tensor, NetError> {
        self.run(x, Some(observer))
    }

    /// Pooled features before the classifier, `[N, num_features]`.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn features(&self, x: &Tensor) -> Result<Tensor, NetError> {
        let features = self.pooled(x, &mut Watch(None))?;
        if all_finite(&features)? {
            Ok(features)
        } else {
            Err(NetError::NumbersNotFinite)
        }
    }

    fn run(&self, x: &Tensor, observer: Option<&mut Observer<'_>>) -> Result<Tensor, NetError> {
        let features = self.pooled(x, &mut Watch(observer))?;
        let logits = self.classifier.forward(&features)?;
        if all_finite(&logits)? {
            Ok(logits)
        } else {
            Err(NetError::NumbersNotFinite)
        }
    }

    fn check_input(&self, x: &Tensor) -> Result<(), NetError> {
        let (height, width) = match *x.dims() {
            [batch, PICTURE_CHANNELS, height, width] if batch > 0 => (height, width),
            _ => {
                return Err(NetError::InputShape {
                    found: x.dims().to_vec(),
                });
            }
        };
        self.plan.check_size(height, width)?;
        if all_finite(x)? {
            Ok(())
        } else {
            Err(NetError::InputNotFinite)
        }
    }

    fn pooled(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        self.check_input(x)?;
        // On a thread of the pool from start to end: from outside, every layer would have to wake it.
        rayon::scope(|_| self.run_layers(x, watch))
    }

    fn run_layers(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        let mut x = self.backend.enter(&x.to_dtype(DType::F32)?)?;
        for conv in &self.stem {
            x = conv.forward(&x)?;
        }
        watch.see_map(Point::Stem, &x)?;
        x = match self.plan.stem_pool {
            StemPool::MaxPad => nn::max_pool_pad(&x)?,
            StemPool::MaxCeil => nn::max_pool_ceil(&x)?,
            StemPool::Avg => nn::avg_pool(&x)?,
            StemPool::None => x,
        };
        if self.plan.stem_pool != StemPool::None {
            watch.see_map(Point::StemPool, &x)?;
        }
        for (index, stage) in self.stages.iter().enumerate() {
            for block in stage {
                x = block.forward(&x, watch)?;
            }
            watch.see_map(Point::Stage(index + 1), &x)?;
        }
        let features = match &self.head_conv {
            Some(conv) => {
                let (x, features) = conv.forward_squeezed(&x)?;
                watch.see_map(Point::FinalConv, &x)?;
                features
            }
            None => nn::global_mean(&x)?,
        };
        watch.see(Point::PreLogits, &features)?;
        Ok(features)
    }
}

/// The sum over all values is finite exactly if they are, short of a sum beyond 3.4e38.
fn all_finite(x: &Tensor) -> Result<bool, NetError> {
    let sum = x.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    Ok(sum.is_finite())
}

/// The observer, if anybody looks.
struct Watch<'a, 'b>(Option<&'a mut Observer<'b>>);

impl Watch<'_, '_> {
    fn see(&mut self, point: Point<'_>, x: &Tensor) -> Result<(), NetError> {
        match &mut self.0 {
            Some(observer) => observer(point, x),
            None => Ok(()),
        }
    }

    /// The map is put into the layout of tensors only if somebody looks.
    fn see_map(&mut self, point: Point<'_>, x: &Map) -> Result<(), NetError> {
        match &mut self.0 {
            Some(observer) => observer(point, &x.to_tensor()?),
            None => Ok(()),
        }
    }
}

impl Block {
    fn load(plan: &BlockPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        let step = |step: &StepPlan| -> Result<Step, NetError> {
            Ok(match step {
                StepPlan::Conv(conv) => Step::Conv(loader.conv(conv)?),
                StepPlan::AvgPool => Step::AvgPool,
                StepPlan::Se(se) => Step::Se(Se::load(se, loader)?),
                StepPlan::Sk(sk) => Step::Sk(Sk {
                    name: sk.attention.clone(),
                    paths: [loader.conv(&sk.paths[0])?, loader.conv(&sk.paths[1])?],
                    split_input: sk.split_input,
                    attention: loader.attention(sk)?,
                }),
            })
        };
        let projection = |shortcut: &super::ShortcutPlan| {
            let conv = loader.conv(&shortcut.conv)?;
            Ok::<_, NetError>(Projection {
                avg_pool: shortcut.avg_pool,
                conv,
            })
        };
        Ok(Self {
            steps: plan.steps.iter().map(step).collect::<Result<_, _>>()?,
            se: plan
                .se
                .as_ref()
                .map(|se| Se::load(se, loader))
                .transpose()?,
            shortcut: plan.shortcut.as_ref().map(projection).transpose()?,
            activation: plan.activation,
        })
    }

    fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let shortcut = match &self.shortcut {
            Some(projection) => Some(projection.forward(x)?),
            None => None,
        };
        let mut branch = None;
        let mut squeeze = None;
        for (index, step) in self.steps.iter().enumerate() {
            let y = branch.as_ref().unwrap_or(x);
            let squeezed = match self.steps.get(index + 1) {
                Some(next) => matches!(next, Step::Se(_)),
                None => self.se.is_some(),
            };
            branch = Some(match step {
                Step::Conv(conv) if squeezed => {
                    let (y, mean) = conv.forward_squeezed(y)?;
                    squeeze = Some(mean);
                    y
                }
                Step::Conv(conv) => conv.forward(y)?,
                Step::AvgPool => nn::avg_pool(y)?,
                Step::Se(se) => {
                    let gate = se.gate(y, squeeze.take(), watch)?;
                    match branch.take() {
                        Some(y) => nn::scale(y, &gate)?,
                        None => return Err(empty_branch()),
                    }
                }
                Step::Sk(sk) => sk.forward(y, watch)?,
            });
        }
        let y = branch.ok_or_else(empty_branch)?;
        let gate = match &self.se {
            Some(se) => Some(se.gate(&y, squeeze, watch)?),
            None => None,
        };
        let shortcut = shortcut.as_ref().unwrap_or(x);
        Ok(nn::residual_tail(
            y,
            gate.as_ref(),
            shortcut,
            self.activation,
        )?)
    }
}

/// A planner never makes one; the planned blocks begin with a convolution.
fn empty_branch() -> NetError {
    NetError::spec("block", "a block's branch begins with a convolution")
}

impl Projection {
    fn forward(&self, x: &Map) -> Result<Map, NetError> {
        if self.avg_pool {
            Ok(self.conv.forward(&nn::avg_pool_ceil(x)?)?)
        } else {
            Ok(self.conv.forward(x)?)
        }
    }
}

impl Se {
    fn load(plan: &SePlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        let module = loader.se(plan)?;
        Ok(Self {
            name: plan.name.clone(),
            module,
        })
    }

    /// The gate of `y`, whose squeeze may be known already.
    fn gate(
        &self,
        y: &Map,
        squeeze: Option<Tensor>,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Tensor, NetError> {
        let squeeze = match squeeze {
            Some(squeeze) => squeeze,
            None => nn::global_mean(y)?,
        };
        let gate = self.module.gate(&squeeze)?;
        watch.see(Point::Gate(&self.name), &gate)?;
        Ok(gate)
    }
}

impl Sk {
    fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let paths = if self.split_input {
            let half = self.paths[0].inputs();
            [
                self.paths[0].forward(&x.channels(0, half)?)?,
                self.paths[1].forward(&x.channels(half, half)?)?,
            ]
        } else {
            [self.paths[0].forward(x)?, self.paths[1].forward(x)?]
        };
        let gate = self.attention.gate([&paths[0], &paths[1]])?;
        watch.see(Point::Gate(&self.name), &gate)?;
        Ok(nn::select(paths, &gate)?)
    }
}
