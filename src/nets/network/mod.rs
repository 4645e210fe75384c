//! The network that runs.

mod blocks;
mod pass;

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::NetError;
use super::check::read;
use super::fit::fit;
use super::load::Loader;
use super::plan::{BlockPlan, ConvPlan, Plan};
use super::watch::{Clock, LayerTime, Observer, Point, Watch};
use crate::nn::{Backend, Conv, Linear, Precision};
use crate::weights::Weights;
use blocks::{Block, Ending, Named};

/// Most values of a map on other devices than the CPU, 1 GiB in f32: their kernels count with 31 bits, and
/// a larger map is not computed faster.
const MOST_VALUES: usize = 1 << 28;

/// A network with its weights on a device, in evaluation mode, BatchNorm folded.
#[derive(Debug)]
pub struct Network {
    plan: Plan,
    backend: Backend,
    stem: Vec<Named<Conv>>,
    stages: Vec<Vec<Block>>,
    ending: Option<Ending>,
    head_conv: Option<Named<Conv>>,
    pooled_conv: Option<Named<Conv>>,
    classifier: Linear,
    /// Most values of a map that is computed at once on other devices than the CPU.
    most_values: usize,
    /// Most images at once there. Halved when the device has no memory left. `Relaxed`: nothing else depends
    /// on it, and a thread that reads an old value runs out of memory once more and lowers it itself.
    most_images: AtomicUsize,
    /// How its tensors were found in the file.
    notes: Vec<String>,
}

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
            let stem = || {
                let convs = plan.stem.iter().enumerate();
                let convs = convs
                    .map(|(index, conv)| Named::conv_of(conv, plan.bgr && index == 0, &loader));
                convs.collect::<Result<_, _>>()
            };
            let one = |plan: &Option<ConvPlan>| plan.as_ref().map(conv).transpose();
            rayon::join(
                || {
                    let ending = plan.ending.as_ref().map(|plan| Ending::load(plan, &loader));
                    let head = (one(&plan.head_conv)?, one(&plan.pooled_conv)?);
                    Ok::<_, NetError>((stem()?, ending.transpose()?, head))
                },
                || loader.classifier(&plan.classifier),
            )
        });
        let (stem, ending, (head_conv, pooled_conv)) = others?;
        Ok(Self {
            stem,
            stages: stages?,
            ending,
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
}
