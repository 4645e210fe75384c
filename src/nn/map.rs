//! Where a batch of activation maps lives.

use candle_core::{Device, Result, Tensor, bail};

use super::{Activation, Engine, Precision, Work, candle, cpu};
use crate::kernels::{Bf16, Element, Isa, Pool};

/// What computes a network's layers.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Our kernels on the CPU, in f32.
    Cpu(Engine),
    /// The same in bf16.
    Bf16(Engine<Bf16>),
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
            Device::Cpu => Self::cpu(Isa::best(), precision)?,
            device => Self::Candle(candle::Engine::new(device, precision)?),
        })
    }

    /// Our kernels on the CPU, for an instruction set.
    ///
    /// # Errors
    /// If there are none for the precision.
    pub fn cpu(isa: Isa, precision: Precision) -> Result<Self> {
        match precision {
            Precision::F32 => Ok(Self::Cpu(Engine::new(isa))),
            Precision::Bf16 => Ok(Self::Bf16(Engine::new(isa))),
            Precision::Tf32 => bail!("there are no kernels in {precision} for the CPU"),
        }
    }

    /// The device of its maps.
    pub fn device(&self) -> &Device {
        match self {
            Self::Cpu(_) | Self::Bf16(_) => &Device::Cpu,
            Self::Candle(engine) => engine.device(),
        }
    }

    /// The precision of its products.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu(_) => Precision::F32,
            Self::Bf16(_) => Precision::Bf16,
            Self::Candle(engine) => engine.precision(),
        }
    }

    /// What the device was given to do so far; `None` for our kernels on the CPU.
    pub fn work(&self) -> Option<Work> {
        match self {
            Self::Cpu(_) | Self::Bf16(_) => None,
            Self::Candle(engine) => Some(engine.work()),
        }
    }

    /// Whether its maps are `[N, H, W, C]`, so that a batch that is stored like this is entered fastest.
    pub fn is_channels_last(&self) -> bool {
        matches!(self, Self::Cpu(_) | Self::Bf16(_))
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
            Self::Bf16(engine) => cpu::enter(engine, &x).map(Map::Bf16),
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
    /// `[N, H, W, C]` in plain memory, in f32.
    Cpu(cpu::Map),
    /// The same in bf16.
    Bf16(cpu::Map<Bf16>),
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
            Self::Bf16(map) => cpu::to_tensor(map),
            Self::Candle(map) => candle::to_tensor(map),
        }
    }

    /// Several maps as one batch, on the CPU alone.
    ///
    /// # Errors
    /// If there are none, their sizes differ or they are on another device.
    pub fn cat(maps: &[Self]) -> Result<Self> {
        match maps.first() {
            Some(Self::Bf16(_)) => {
                let maps = maps.iter().map(|map| match map {
                    Self::Bf16(map) => Some(map),
                    _ => None,
                });
                cat(maps).map(Self::Bf16)
            }
            _ => {
                let maps = maps.iter().map(|map| match map {
                    Self::Cpu(map) => Some(map),
                    _ => None,
                });
                cat(maps).map(Self::Cpu)
            }
        }
    }

    /// `count` channels from `start` on, as a map of its own.
    ///
    /// # Errors
    /// If there are fewer channels or the device fails.
    pub fn channels(&self, start: usize, count: usize) -> Result<Self> {
        match self {
            Self::Cpu(map) => cpu::channels(map, start, count).map(Self::Cpu),
            Self::Bf16(map) => cpu::channels(map, start, count).map(Self::Bf16),
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
            Self::Bf16(map) => cpu::pool(pool, map).map(Self::Bf16),
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
            Self::Bf16(map) => cpu::mean(map, None),
            Self::Candle(x) => candle::mean(x, None),
        }
    }

    /// The channels of several maps side by side, scaled by a gate `[N, C]` if there is one.
    ///
    /// # Errors
    /// If there are no maps, their sizes or backends differ, or the device fails.
    pub fn join(maps: &[&Self], gate: Option<&Tensor>) -> Result<Self> {
        match maps.first() {
            Some(Self::Bf16(_)) => {
                let maps = all(maps, |map| match map {
                    Self::Bf16(map) => Some(map),
                    _ => None,
                });
                cpu::join(&maps?, gate).map(Self::Bf16)
            }
            Some(Self::Candle(_)) => {
                let maps = all(maps, |map| match map {
                    Self::Candle(map) => Some(map),
                    _ => None,
                });
                candle::join(&maps?, gate).map(Self::Candle)
            }
            _ => {
                let maps = all(maps, |map| match map {
                    Self::Cpu(map) => Some(map),
                    _ => None,
                });
                cpu::join(&maps?, gate).map(Self::Cpu)
            }
        }
    }

    /// The channels, `groups` runs of equal length, dealt out in turn: the first of each run, then the
    /// second of each.
    ///
    /// # Errors
    /// If the groups do not divide the channels or the device fails.
    pub fn shuffle(&self, groups: usize) -> Result<Self> {
        match self {
            Self::Cpu(map) => cpu::shuffle(map, groups).map(Self::Cpu),
            Self::Bf16(map) => cpu::shuffle(map, groups).map(Self::Bf16),
            Self::Candle(x) => candle::shuffle(x, groups).map(Self::Candle),
        }
    }

    /// `activation(map)`, in the map's own memory.
    ///
    /// # Errors
    /// If the device fails.
    pub fn activate(self, activation: Activation) -> Result<Self> {
        match self {
            Self::Cpu(map) => cpu::activate(map, activation).map(Self::Cpu),
            Self::Bf16(map) => cpu::activate(map, activation).map(Self::Bf16),
            Self::Candle(x) => candle::activate(x, activation).map(Self::Candle),
        }
    }

    /// `map * gate`, with a factor per channel of each image, `[N, C]`, in the map's own memory.
    ///
    /// # Errors
    /// If the shapes do not fit or the device fails.
    pub fn scale(self, gate: &Tensor) -> Result<Self> {
        match self {
            Self::Cpu(map) => cpu::scale(map, gate).map(Self::Cpu),
            Self::Bf16(map) => cpu::scale(map, gate).map(Self::Bf16),
            Self::Candle(x) => candle::scale(x, gate).map(Self::Candle),
        }
    }
}

/// The maps, if `of` finds all of them in its backend.
fn all<'a, M>(maps: &[&'a Map], of: impl Fn(&'a Map) -> Option<&'a M>) -> Result<Vec<&'a M>> {
    let maps: Option<Vec<_>> = maps.iter().map(|map| of(map)).collect();
    maps.ok_or_else(mismatch)
}

/// The maps as one batch, if all are of one backend.
fn cat<'a, T: Element>(maps: impl Iterator<Item = Option<&'a cpu::Map<T>>>) -> Result<cpu::Map<T>> {
    let maps: Option<Vec<_>> = maps.collect();
    cpu::cat(&maps.ok_or_else(mismatch)?)
}

/// For a layer and a map, or two maps, of different backends.
pub(super) fn mismatch() -> candle_core::Error {
    candle_core::Error::Msg("the map and the layer or other map have different backends".into())
}
