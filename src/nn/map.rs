//! Where a batch of activation maps lives.

use candle_core::{Device, Result, Tensor};

use super::{Engine, Precision, Work, candle, cpu};
use crate::kernels::{Isa, Pool};

/// What computes a network's layers.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Our kernels on the CPU.
    Cpu(Engine),
    /// Candle's products on any device, with the kernels between them. On the CPU they are the reference
    /// for our kernels.
    Candle(candle::Engine),
}

impl Backend {
    /// Our kernels on the CPU, Candle's elsewhere.
    ///
    /// # Errors
    /// As [`CandleEngine::new`](super::CandleEngine::new).
    pub fn of(device: &Device, precision: Precision) -> Result<Self> {
        Ok(match device {
            Device::Cpu => Self::Cpu(Engine::new(Isa::best())),
            device => Self::Candle(candle::Engine::new(device, precision)?),
        })
    }

    /// The device of its maps.
    pub fn device(&self) -> &Device {
        match self {
            Self::Cpu(_) => &Device::Cpu,
            Self::Candle(engine) => engine.device(),
        }
    }

    /// The precision of its products.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu(_) => Precision::F32,
            Self::Candle(engine) => engine.precision(),
        }
    }

    /// What the device was given to do so far; `None` for our kernels on the CPU.
    pub fn work(&self) -> Option<Work> {
        match self {
            Self::Cpu(_) => None,
            Self::Candle(engine) => Some(engine.work()),
        }
    }

    /// Whether [`Backend::enter`] avoids a copy for a batch stored as `[N, H, W, C]`.
    pub fn is_channels_last(&self) -> bool {
        matches!(self, Self::Cpu(_))
    }

    /// A batch `[N, C, H, W]` of normalised images as a map, without a copy if it is already stored
    /// in this backend's layout.
    ///
    /// # Errors
    /// If the device fails.
    pub fn enter(&self, x: &Tensor) -> Result<Map> {
        let x = x.to_device(self.device())?;
        match self {
            Self::Cpu(engine) => cpu::enter(engine, &x).map(Map::Cpu),
            Self::Candle(engine) => candle::enter(engine, &x).map(Map::Candle),
        }
    }
}

/// A batch `[N, C, H, W]` as `[N, H, W, C]` without a copy, if it is stored in this order.
///
/// # Errors
/// If `x` does not have four dimensions.
pub fn stored_channels_last(x: &Tensor) -> Result<Option<Tensor>> {
    let last = x.permute((0, 2, 3, 1))?;
    Ok(last.is_contiguous().then_some(last))
}

/// A batch of maps.
#[derive(Debug)]
pub enum Map {
    /// `[N, H, W, C]` in plain memory.
    Cpu(cpu::Map),
    /// `[C, N, H, W]` on a device.
    Candle(candle::Map),
}

impl Map {
    /// `[N, C, H, W]` in f32; it may share the map's memory.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match self {
            Self::Cpu(map) => cpu::to_tensor(map),
            Self::Candle(map) => candle::to_tensor(map),
        }
    }

    /// Several maps as one batch, on the CPU alone.
    ///
    /// # Errors
    /// If there are none, their sizes differ or they are on another device.
    pub fn cat(maps: &[Self]) -> Result<Self> {
        let maps = maps.iter().map(|map| match map {
            Self::Cpu(map) => Ok(map),
            Self::Candle(_) => Err(mismatch()),
        });
        cpu::cat(&maps.collect::<Result<Vec<_>>>()?).map(Self::Cpu)
    }

    /// `count` channels from `start` on, as a map of its own.
    ///
    /// # Errors
    /// If there are fewer channels or the device fails.
    pub fn channels(&self, start: usize, count: usize) -> Result<Self> {
        match self {
            Self::Cpu(map) => cpu::channels(map, start, count).map(Self::Cpu),
            Self::Candle(x) => candle::channels(x, start, count).map(Self::Candle),
        }
    }

    /// The pooled map.
    ///
    /// # Errors
    /// If the map is smaller than a window or the device fails.
    pub fn pool(&self, pool: Pool) -> Result<Self> {
        match self {
            Self::Cpu(map) => cpu::pool(pool, map).map(Self::Cpu),
            Self::Candle(x) => candle::pool(pool, x).map(Self::Candle),
        }
    }

    /// Mean over height and width: `[N, C]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn mean(&self) -> Result<Tensor> {
        match self {
            Self::Cpu(map) => cpu::mean(map, None),
            Self::Candle(x) => candle::mean(x, None),
        }
    }

    /// `map * gate`, with a factor per channel of each image, `[N, C]`, in the map's own memory.
    ///
    /// # Errors
    /// If the shapes do not fit or the device fails.
    pub fn scale(self, gate: &Tensor) -> Result<Self> {
        match self {
            Self::Cpu(map) => cpu::scale(map, gate).map(Self::Cpu),
            Self::Candle(x) => candle::scale(x, gate).map(Self::Candle),
        }
    }
}

/// For a layer and a map, or two maps, of different backends.
pub(super) fn mismatch() -> candle_core::Error {
    candle_core::Error::Msg("the map and the layer or other map have different backends".into())
}
