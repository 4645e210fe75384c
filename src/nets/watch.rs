//! Observing a network while it runs: tensors at given points, and the time of each layer.

use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::NetError;
use crate::nn::{Backend, Map, Work};

/// A place in the network whose tensor can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point<'a> {
    /// After the stem's last activation, before its pool.
    Stem,
    /// After the stem's pool, where there is one.
    StemPool,
    /// After the last block of a stage, counted from 1.
    Stage(usize),
    /// After the final 1x1 convolution, or the norm or activation that ends a network of pre-activated
    /// blocks, where there is one.
    FinalConv,
    /// A module's gate: `[N, C]` factors of an SE module, `[N, 2, C]` weights of an SK unit. The
    /// name is the module's in the weights file, such as `layer1.0.se` or `layer1.0.conv1.attn`.
    Gate(&'a str),
    /// The pooled features `[N, num_features]`.
    PreLogits,
}

/// Called with the tensor at each point of a forward pass; an error stops the pass.
pub type Observer<'a> = dyn FnMut(Point<'_>, &Tensor) -> Result<(), NetError> + Send + 'a;

/// The time that a layer took in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerTime {
    /// As in [`Plan::trace`](super::Plan::trace), but an SE module and the attention of an SK unit count
    /// as one layer each; `BLOCK.tail` is a block's scale, sum and last activation. Two convolutions that
    /// are computed together have both names, with [`LayerTime::AND`] between them.
    pub name: String,
    /// What computes it, such as `direct, avx2 f32 6x16`; `None` for pools and tails.
    pub kernel: Option<String>,
    /// Wall-clock time, summed over the portions of a batch.
    pub time: Duration,
    /// What a GPU was given to do, likewise summed; `None` for our kernels on the CPU.
    pub work: Option<Work>,
}

impl LayerTime {
    /// Between the names of two layers.
    pub const AND: &'static str = " + ";
}

/// Optional observer and timer; free when absent.
#[derive(Default)]
pub(super) struct Watch<'a, 'b> {
    pub(super) observer: Option<&'a mut Observer<'b>>,
    pub(super) clock: Option<Clock>,
}

impl Watch<'_, '_> {
    pub(super) fn see(&mut self, point: Point<'_>, x: &Tensor) -> Result<(), NetError> {
        match &mut self.observer {
            Some(observer) => observer(point, x),
            None => Ok(()),
        }
    }

    /// Converts the map to a tensor only if there is an observer.
    pub(super) fn see_map(&mut self, point: Point<'_>, x: &Map) -> Result<(), NetError> {
        match &mut self.observer {
            Some(observer) => observer(point, &x.to_tensor()?),
            None => Ok(()),
        }
    }

    /// Forgets the layers so far, as the pass begins again.
    pub(super) fn restart(&mut self) {
        if let Some(clock) = &mut self.clock {
            *clock = Clock::start(&clock.backend);
        }
    }

    /// Records the time since the last call for the layer `name`; `part` names a step without tensors.
    pub(super) fn lap(&mut self, name: &str, part: &str) -> Result<(), NetError> {
        match &mut self.clock {
            Some(clock) => clock.lap(format!("{name}{part}"), None),
            None => Ok(()),
        }
    }

    /// As [`Watch::lap`], for a layer that has its own kernel.
    pub(super) fn lap_on(
        &mut self,
        name: &str,
        kernel: impl FnOnce() -> String,
    ) -> Result<(), NetError> {
        match &mut self.clock {
            Some(clock) => clock.lap(name.into(), Some(kernel())),
            None => Ok(()),
        }
    }
}

/// The layer times of one pass.
pub(super) struct Clock {
    backend: Backend,
    last: Instant,
    last_work: Option<Work>,
    pub(super) laps: Vec<LayerTime>,
}

impl Clock {
    pub(super) fn start(backend: &Backend) -> Self {
        Self {
            backend: backend.clone(),
            last: Instant::now(),
            last_work: backend.work(),
            laps: Vec::new(),
        }
    }

    /// Waits for the device first: a GPU runs operations asynchronously.
    fn lap(&mut self, name: String, kernel: Option<String>) -> Result<(), NetError> {
        self.backend.device().synchronize()?;
        let (now, work_now) = (Instant::now(), self.backend.work());
        let time = now - self.last;
        let work = match (work_now, self.last_work) {
            (Some(now), Some(before)) => Some(now - before),
            _ => None,
        };
        // A layer runs once for each portion of a batch.
        match self.laps.iter_mut().find(|lap| lap.name == name) {
            Some(lap) => {
                lap.time += time;
                lap.work = lap.work.zip(work).map(|(sum, work)| sum + work);
            }
            None => self.laps.push(LayerTime {
                name,
                kernel,
                time,
                work,
            }),
        }
        (self.last, self.last_work) = (Instant::now(), work_now);
        Ok(())
    }
}
