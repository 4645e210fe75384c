//! The network that runs.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::NetError;
use super::check::{Input, read};
use super::fit::fit;
use super::load::Loader;
use super::plan::{
    BlockPlan, ConvPlan, Plan, ProjectionPlan, SePlan, ShortcutPlan, StepPlan, SumPlan,
};
use super::watch::{Clock, LayerTime, Observer, Point, Watch};
use crate::nn::{
    self, Activation, Backend, Conv, KernelAttention, Linear, Map, Pool, Precision, SqueezeExcite,
};
use crate::weights::Weights;

/// A network with its weights on a device, in evaluation mode, BatchNorm folded.
#[derive(Debug)]
pub struct Network {
    plan: Plan,
    backend: Backend,
    stem: Vec<Named<Conv>>,
    stages: Vec<Vec<Block>>,
    head_conv: Option<Named<Conv>>,
    pooled_conv: Option<Named<Conv>>,
    classifier: Linear,
    /// Most values of a map that is computed at once on other devices than the CPU.
    most_values: usize,
    /// Most images at once there. Halved when the device has no memory left.
    most_images: AtomicUsize,
    /// How its tensors were found in the file.
    notes: Vec<String>,
}

/// A layer and its name in the weights file.
#[derive(Debug)]
struct Named<T> {
    name: String,
    layer: T,
}

#[derive(Debug)]
struct Block {
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

/// Name of the work outside the layers: checking the input, converting it to the backend's layout, and
/// joining the portions of a batch.
const ENTRY: &str = "input";

/// Most values of a map on other devices than the CPU, 1 GiB in f32: their kernels count with 31 bits, and
/// a larger map is not computed faster.
const MOST_VALUES: usize = 1 << 28;

/// Leading stages whose activations are larger than their weights; the stem is the first.
const FIRST_STAGES: usize = 2;

/// Input pixels per thread for which the activations of the first stages fit in L2: the largest have 16
/// values per pixel.
const NEAR_PIXELS: usize = 1 << 15;

impl Network {
    /// Builds the plan's layers from a file's tensors, on a device and in the precision of its products.
    ///
    /// # Errors
    /// [`NetError::Tensors`] if the file does not hold exactly the plan's tensors (BatchNorm's
    /// `num_batches_tracked` aside), [`NetError::NotFinite`] if one holds NaN or infinity,
    /// [`NetError::Precision`] if the device does not compute in it.
    pub fn load(
        plan: &Plan,
        weights: &Weights,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, NetError> {
        precision.check(device)?;
        Self::load_on(plan, weights, Backend::of(device, precision)?)
    }

    /// As [`Network::load`], made of the layers of `backend`.
    ///
    /// # Errors
    /// As [`Network::load`].
    #[doc(hidden)]
    pub fn load_on(plan: &Plan, weights: &Weights, backend: Backend) -> Result<Self, NetError> {
        let (weights, notes) = fit(plan, weights)?;
        let loader = Loader::new(&weights, &backend);
        let stage = |blocks: &Vec<BlockPlan>| {
            blocks
                .par_iter()
                .map(|block| Block::load(block, &loader))
                .collect::<Result<Vec<_>, _>>()
        };
        let conv = |plan: &ConvPlan| Named::conv(plan, &loader);
        // From the last one on: the largest tensors are there, and while one is converted it takes memory that
        // the packed weights of the others do not need yet.
        let last_to_first = || {
            let stages = plan.stages.par_iter().rev().map(stage);
            let mut stages = stages.collect::<Result<Vec<_>, NetError>>()?;
            stages.reverse();
            Ok::<_, NetError>(stages)
        };
        let (stages, (others, classifier)) = rayon::join(last_to_first, || {
            let stem = || plan.stem.iter().map(conv).collect::<Result<_, _>>();
            let one = |plan: &Option<ConvPlan>| plan.as_ref().map(conv).transpose();
            rayon::join(
                || Ok::<_, NetError>((stem()?, one(&plan.head_conv)?, one(&plan.pooled_conv)?)),
                || loader.classifier(&plan.classifier),
            )
        });
        let (stem, head_conv, pooled_conv) = others?;
        Ok(Self {
            stem,
            stages: stages?,
            head_conv,
            pooled_conv,
            classifier: classifier?,
            plan: plan.clone(),
            backend,
            most_values: MOST_VALUES,
            most_images: AtomicUsize::new(usize::MAX),
            notes,
        })
    }

    /// Sets the most values of a map that is computed at once on other devices than the CPU.
    #[doc(hidden)]
    pub fn set_most_values(&mut self, values: usize) {
        self.most_values = values;
    }

    /// Notes for the user: how the file's names were changed to match the network's, and which of the
    /// file's tensors are not used.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The plan that it was loaded from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many images the device has memory for, if it could not take a whole batch. A batch is
    /// computed in portions then.
    pub fn reduced_batch(&self) -> Option<usize> {
        let images = self.most_images.load(Ordering::Relaxed);
        (images != usize::MAX).then_some(images)
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        self.backend.device()
    }

    /// The precision of its products.
    pub fn precision(&self) -> Precision {
        self.backend.precision()
    }

    /// Whether the network takes a batch stored as `[N, H, W, C]` without copying it.
    pub fn is_channels_last(&self) -> bool {
        self.backend.is_channels_last()
    }

    /// Logits `[N, classes]` of normalised images `[N, C, H, W]`, in f32 and on the CPU; C is the plan's
    /// number of inputs.
    ///
    /// # Errors
    /// If the input has another shape, a size that the network cannot take, or values that are not finite,
    /// if the network's values overflow, or if the device has too little memory for one image.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, NetError> {
        self.run(x, &mut Watch::default())
    }

    /// As [`Network::forward`], showing `observer` the tensor at every [`Point`] on the way. The
    /// logits may differ in their last bits, because the batch is not split into portions.
    ///
    /// # Errors
    /// As [`Network::forward`], and whatever the observer returns.
    pub fn forward_observed(
        &self,
        x: &Tensor,
        observer: &mut Observer<'_>,
    ) -> Result<Tensor, NetError> {
        let mut watch = Watch {
            observer: Some(observer),
            clock: None,
        };
        self.run(x, &mut watch)
    }

    /// The time of every layer in one pass, in running order: a shortcut's layers come before the
    /// branch's. On the CPU a layer's work is done when the next one begins; other devices are
    /// waited for after each layer, which makes the whole slower than [`Network::forward`].
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn layer_times(&self, x: &Tensor) -> Result<Vec<LayerTime>, NetError> {
        let mut watch = Watch {
            observer: None,
            clock: Some(Clock::start(&self.backend)),
        };
        self.run(x, &mut watch)?;
        Ok(watch.clock.map(|clock| clock.laps).unwrap_or_default())
    }

    /// Pooled features before the classifier, `[N, num_features]`, in f32 and on the CPU.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn features(&self, x: &Tensor) -> Result<Tensor, NetError> {
        self.compute(x, &mut Watch::default(), |features, _| Ok(features))
    }

    /// The map `[N, C, H, W]` at [`Point::Stem`] or a [`Point::Stage`], in f32 and on the CPU. Layers after
    /// it do not run.
    ///
    /// # Errors
    /// As [`Network::forward`], and [`NetError::Spec`] if the network has no map there.
    pub fn map_at(&self, point: Point<'_>, x: &Tensor) -> Result<Tensor, NetError> {
        let mut map = None;
        let mut observer = |seen: Point<'_>, tensor: &Tensor| {
            if seen != point {
                return Ok(());
            }
            map = Some(tensor.clone());
            // Ends the pass; nobody sees it.
            Err(NetError::spec("point", "the pass ends here"))
        };
        let pass = self.forward_observed(x, &mut observer);
        match (map, pass) {
            (Some(map), _) => read(&map.to_dtype(DType::F32)?, None),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(NetError::spec("point", "the network has no such map")),
        }
    }

    fn run(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        self.compute(x, watch, |features, watch| {
            let logits = self.classifier.forward(&features)?;
            watch.lap_on(&self.plan.classifier.name, || self.classifier.kernel())?;
            Ok(logits)
        })
    }

    /// What `head` makes of the pooled features. Where the device has no memory left, with fewer images
    /// at once.
    fn compute(
        &self,
        x: &Tensor,
        watch: &mut Watch<'_, '_>,
        head: impl Fn(Tensor, &mut Watch<'_, '_>) -> Result<Tensor, NetError>,
    ) -> Result<Tensor, NetError> {
        // A tensor of another device, or of another handle of this one, whose work is queued elsewhere.
        let moved;
        let x = if x.device().is_cpu() || x.device().same_device(self.device()) {
            x
        } else {
            x.device().synchronize()?;
            moved = x.to_device(self.device())?;
            &moved
        };
        let input = Input::check(&self.plan, x)?;
        loop {
            let most_images = self.most_images.load(Ordering::Relaxed);
            let images = match &self.backend {
                Backend::Candle(_) if watch.observer.is_none() => {
                    let portion = (self.most_values / input.largest).max(1);
                    portion.min(most_images).min(input.batch)
                }
                _ => input.batch,
            };
            let result = self
                .pooled(x, images, watch)
                .and_then(|features| read(&head(features, watch)?, input.sum.as_ref()));
            match result {
                Err(error) if error.is_out_of_memory() => {
                    let is_candle = matches!(self.backend, Backend::Candle(_));
                    if !is_candle || images == 1 || watch.observer.is_some() {
                        return Err(input.out_of_memory(images));
                    }
                    self.most_images.fetch_min(images / 2, Ordering::Relaxed);
                    watch.restart();
                }
                result => return result,
            }
        }
    }

    /// The pooled features of all images, which a device computes `images` at a time.
    fn pooled(
        &self,
        x: &Tensor,
        images: usize,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Tensor, NetError> {
        match &self.backend {
            // The whole pass runs inside the thread pool: entered from outside, every layer would wake
            // it anew.
            Backend::Cpu(_) | Backend::Bf16(_) => rayon::scope(|_| self.run_layers(x, watch)),
            // On the caller's thread, as all work of a device.
            Backend::Candle(_) => {
                let batch = x.dim(0)?;
                let mut features = Vec::new();
                for start in (0..batch).step_by(images) {
                    let mut part = x.narrow(0, start, images.min(batch - start))?;
                    if part.device().is_cpu() && !self.device().is_cpu() {
                        // Otherwise, all of the memory that the part lies in would be uploaded.
                        part = part.force_contiguous()?;
                    }
                    features.push(self.run_layers(&part, watch)?);
                }
                match &features[..] {
                    [all] => Ok(all.clone()),
                    parts => Ok(Tensor::cat(parts, 0)?),
                }
            }
        }
    }

    fn run_layers(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        let x = x.to_dtype(DType::F32)?;
        let first = 0..FIRST_STAGES.min(self.stages.len());
        let last = first.end..self.stages.len();
        let x = match self.portion(&x, watch)? {
            None => {
                let x = self.run_stem(&x, watch)?;
                self.run_stages(first, x, watch)?
            }
            Some(portion) => {
                let mut parts = Vec::new();
                let batch = x.dim(0)?;
                for start in (0..batch).step_by(portion) {
                    let part = x.narrow(0, start, portion.min(batch - start))?;
                    let part = self.run_stem(&part, watch)?;
                    parts.push(self.run_stages(first.clone(), part, watch)?);
                }
                let x = Map::cat(&parts)?;
                watch.lap(ENTRY, "")?;
                x
            }
        };
        let x = self.run_stages(last, x, watch)?;
        let mut features = match &self.head_conv {
            Some(conv) => {
                let (x, features) = conv.forward_squeezed(&x, watch)?;
                watch.see_map(Point::FinalConv, &x)?;
                features
            }
            None => x.mean()?,
        };
        watch.lap("pool", "")?;
        if let Some(conv) = &self.pooled_conv {
            let (batch, channels) = features.dims2()?;
            let pixel = features.reshape((batch, channels, 1, 1))?;
            // The mean of one pixel is the pixel.
            (_, features) = conv.forward_squeezed(&self.backend.enter(&pixel)?, watch)?;
        }
        watch.see(Point::PreLogits, &features)?;
        Ok(features)
    }

    /// How many images go through the first stages at a time: on the CPU, as many as have activations that
    /// fit in the caches. In later stages the weights are larger. With an observer, the whole batch.
    fn portion(&self, x: &Tensor, watch: &Watch<'_, '_>) -> Result<Option<usize>, NetError> {
        let (batch, _, height, width) = x.dims4()?;
        let is_cpu = matches!(self.backend, Backend::Cpu(_) | Backend::Bf16(_));
        let portion = (rayon::current_num_threads() * NEAR_PIXELS / (height * width)).max(1);
        Ok((is_cpu && watch.observer.is_none() && portion < batch).then_some(portion))
    }

    fn run_stem(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let mut x = self.backend.enter(x)?;
        watch.lap(ENTRY, "")?;
        for conv in &self.stem {
            x = conv.forward(&x, watch)?;
        }
        watch.see_map(Point::Stem, &x)?;
        if let Some(pool) = self.plan.stem_pool.pool() {
            x = x.pool(pool)?;
            watch.lap("stem pool", "")?;
            watch.see_map(Point::StemPool, &x)?;
        }
        Ok(x)
    }

    fn run_stages(
        &self,
        stages: Range<usize>,
        mut x: Map,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Map, NetError> {
        for index in stages {
            for block in &self.stages[index] {
                x = block.forward(&x, watch)?;
            }
            watch.see_map(Point::Stage(index + 1), &x)?;
        }
        Ok(x)
    }
}

impl Named<Conv> {
    fn conv(plan: &ConvPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
        Ok(Self {
            name: plan.name.clone(),
            layer: loader.conv(plan)?,
        })
    }

    fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let y = self.layer.forward(x)?;
        watch.lap_on(&self.name, || self.layer.kernel())?;
        Ok(y)
    }

    fn forward_squeezed(
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
    fn load(plan: &BlockPlan, loader: &Loader<'_>) -> Result<Self, NetError> {
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

    fn forward(&self, x: &Map, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
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
