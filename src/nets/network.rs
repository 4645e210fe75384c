//! The network that runs.

use candle_core::{DType, Device, Tensor};

use super::NetError;
use super::load::{Loader, check_tensors};
use super::plan::{BlockPlan, PICTURE_CHANNELS, Plan, SePlan, StepPlan};
use super::spec::StemPool;
use crate::nn::{self, Activation, Conv, KernelAttention, Linear, SqueezeExcite};
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
pub type Observer<'a> = dyn FnMut(Point<'_>, &Tensor) -> Result<(), NetError> + 'a;

/// A network with its weights on a device, in evaluation mode, BatchNorm folded.
#[derive(Debug)]
pub struct Network {
    plan: Plan,
    device: Device,
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
        check_tensors(plan, weights)?;
        let loader = Loader { weights, device };
        let stage = |blocks: &Vec<BlockPlan>| {
            blocks
                .iter()
                .map(|block| Block::load(block, &loader))
                .collect()
        };
        Ok(Self {
            stem: plan
                .stem
                .iter()
                .map(|conv| loader.conv(conv))
                .collect::<Result<_, _>>()?,
            stages: plan.stages.iter().map(stage).collect::<Result<_, _>>()?,
            head_conv: plan
                .head_conv
                .as_ref()
                .map(|conv| loader.conv(conv))
                .transpose()?,
            classifier: loader.classifier(&plan.classifier)?,
            plan: plan.clone(),
            device: device.clone(),
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn device(&self) -> &Device {
        &self.device
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
        let mut x = x
            .to_dtype(DType::F32)?
            .to_device(&self.device)?
            .contiguous()?;
        for conv in &self.stem {
            x = conv.forward(&x)?;
        }
        watch.see(Point::Stem, &x)?;
        x = match self.plan.stem_pool {
            StemPool::MaxPad => nn::max_pool_pad(&x)?,
            StemPool::MaxCeil => nn::max_pool_ceil(&x)?,
            StemPool::Avg => nn::avg_pool(&x)?,
            StemPool::None => x,
        };
        if self.plan.stem_pool != StemPool::None {
            watch.see(Point::StemPool, &x)?;
        }
        for (index, stage) in self.stages.iter().enumerate() {
            for block in stage {
                x = block.forward(&x, watch)?;
            }
            watch.see(Point::Stage(index + 1), &x)?;
        }
        if let Some(conv) = &self.head_conv {
            x = conv.forward(&x)?;
            watch.see(Point::FinalConv, &x)?;
        }
        let features = nn::global_mean(&x)?;
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

    fn forward(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        let mut y = x.clone();
        for step in &self.steps {
            y = match step {
                Step::Conv(conv) => conv.forward(&y)?,
                Step::AvgPool => nn::avg_pool(&y)?,
                Step::Se(se) => {
                    let gate = se.gate(&y, watch)?;
                    y.broadcast_mul(&gate.unsqueeze(2)?.unsqueeze(3)?)?
                }
                Step::Sk(sk) => sk.forward(&y, watch)?,
            };
        }
        let gate = match &self.se {
            Some(se) => Some(se.gate(&y, watch)?),
            None => None,
        };
        let shortcut = match &self.shortcut {
            Some(projection) => projection.forward(x)?,
            None => x.clone(),
        };
        // `y` is the last step's own output: every branch ends in a convolution.
        Ok(nn::residual_tail(
            y,
            gate.as_ref(),
            &shortcut,
            self.activation,
        )?)
    }
}

impl Projection {
    fn forward(&self, x: &Tensor) -> Result<Tensor, NetError> {
        let x = if self.avg_pool {
            &nn::avg_pool_ceil(x)?
        } else {
            x
        };
        Ok(self.conv.forward(x)?)
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

    fn gate(&self, y: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        let gate = self.module.gate(y)?;
        watch.see(Point::Gate(&self.name), &gate)?;
        Ok(gate)
    }
}

impl Sk {
    fn forward(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        let inputs = if self.split_input {
            let half = x.dim(1)? / 2;
            [
                x.narrow(1, 0, half)?.contiguous()?,
                x.narrow(1, half, half)?.contiguous()?,
            ]
        } else {
            [x.clone(), x.clone()]
        };
        let first = self.paths[0].forward(&inputs[0])?;
        let second = self.paths[1].forward(&inputs[1])?;
        let gate = self.attention.gate([&first, &second])?;
        watch.see(Point::Gate(&self.name), &gate)?;
        Ok(nn::select([&first, &second], &gate)?)
    }
}
