//! A batch of activation maps in the layout of the layers that work on it.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor};

use crate::kernels::{Isa, SLACK, line_start, to_channels_last};

/// Which layers a network is made of.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Our kernels on the CPU: channels-last maps in memory that is used again and again.
    Engine(Engine),
    /// Candle's operations, on any device; on the CPU the reference for the kernels.
    Candle(Device),
}

impl Backend {
    /// Our kernels where they can run, Candle's elsewhere.
    pub fn of(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Engine(Engine::new(Isa::best())),
            device => Self::Candle(device.clone()),
        }
    }

    pub fn device(&self) -> &Device {
        match self {
            Self::Engine(_) => &Device::Cpu,
            Self::Candle(device) => device,
        }
    }

    /// Whether [`Backend::enter`] takes a batch as it is if its values are stored `[N, H, W, C]`.
    pub fn is_channels_last(&self) -> bool {
        matches!(self, Self::Engine(_))
    }

    /// A batch `[N, C, H, W]` of normalised images in this backend's layout: without a copy if that
    /// is how it is stored.
    ///
    /// # Errors
    /// If the device fails.
    pub fn enter(&self, x: &Tensor) -> Result<Map> {
        let x = x.to_device(self.device())?;
        match self {
            Self::Candle(_) => Ok(Map::plain(x.contiguous()?)),
            Self::Engine(engine) => {
                if let Some(tensor) = stored_channels_last(&x)? {
                    return Ok(engine.borrowed(tensor));
                }
                let x = x.contiguous()?;
                let (batch, channels, height, width) = x.dims4()?;
                let map = engine.map([batch, height, width, channels])?;
                map.fill_from(&x, |y, x| {
                    to_channels_last(x, [channels, height * width], y)
                })?;
                Ok(map)
            }
        }
    }
}

/// The kernels of one instruction set and the memory that their maps live in.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) isa: Isa,
    /// Flat tensors that no map uses.
    free: Arc<Mutex<Vec<Tensor>>>,
}

impl Engine {
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            free: Arc::default(),
        }
    }

    /// A map `[N, H, W, C]` of whatever its memory held before.
    pub(super) fn map(&self, dims: [usize; 4]) -> Result<Map> {
        let len = dims.iter().product();
        let memory = match self.take(len) {
            Some(memory) => memory,
            None => {
                let values = vec![0f32; len + SLACK];
                let start = line_start(&values);
                let memory = Tensor::from_vec(values, len + SLACK, &Device::Cpu)?;
                memory.narrow(0, start, memory.elem_count() - start)?
            }
        };
        let tensor = memory.narrow(0, 0, len)?.reshape(&dims)?;
        Ok(Map {
            tensor,
            lease: Some(Lease {
                memory: Some(memory),
                engine: self.clone(),
            }),
        })
    }

    /// A map `[N, H, W, C]` in memory that is not the engine's.
    fn borrowed(&self, tensor: Tensor) -> Map {
        Map {
            tensor,
            lease: Some(Lease {
                memory: None,
                engine: self.clone(),
            }),
        }
    }

    /// The smallest free tensor of at least `len` values, unless it is far too large: a small map
    /// must not keep a large one's memory from it.
    fn take(&self, len: usize) -> Option<Tensor> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |tensor: &&(usize, usize)| tensor.1 >= len && tensor.1 <= 2 * len.max(1 << 12);
        let sizes: Vec<_> = free.iter().map(Tensor::elem_count).enumerate().collect();
        let (index, _) = *sizes.iter().filter(fits).min_by_key(|(_, size)| *size)?;
        Some(free.swap_remove(index))
    }
}

/// A batch `[N, C, H, W]` as `[N, H, W, C]` without a copy, if its values are stored in this order.
///
/// # Errors
/// If `x` has not four dimensions.
pub fn stored_channels_last(x: &Tensor) -> Result<Option<Tensor>> {
    let last = x.permute((0, 2, 3, 1))?;
    Ok(last.is_contiguous().then_some(last))
}

/// A batch of maps: `[N, H, W, C]` on the engine, `[N, C, H, W]` in Candle's operations.
#[derive(Debug)]
pub struct Map {
    pub(super) tensor: Tensor,
    lease: Option<Lease>,
}

/// The engine of a map, and the memory that goes back to it with the map.
#[derive(Debug)]
struct Lease {
    memory: Option<Tensor>,
    engine: Engine,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut free = self
            .engine
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.extend(self.memory.take());
    }
}

impl Map {
    pub(super) fn plain(tensor: Tensor) -> Self {
        Self {
            tensor,
            lease: None,
        }
    }

    /// The engine whose layout this is, if it is one's.
    pub(super) fn engine(&self) -> Option<&Engine> {
        self.lease.as_ref().map(|lease| &lease.engine)
    }

    /// `[N, C, H, W]`: a copy on the engine, so that it stays what it is.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match &self.lease {
            None => Ok(self.tensor.clone()),
            Some(_) => self.tensor.permute((0, 3, 1, 2))?.force_contiguous(),
        }
    }

    /// The pictures of several of the engine's maps as one batch.
    ///
    /// # Errors
    /// If there are none, the sizes differ or the device fails.
    pub fn cat(parts: &[Self]) -> Result<Self> {
        let Some((first, engine)) = parts.first().and_then(|part| Some((part, part.engine()?)))
        else {
            candle_core::bail!("no maps of the engine to put together");
        };
        let (_, height, width, channels) = first.tensor.dims4()?;
        let mut batch = 0;
        for part in parts {
            let (count, h, w, c) = part.tensor.dims4()?;
            if (h, w, c) != (height, width, channels) {
                candle_core::bail!("maps of {:?} and {:?}", first.tensor, part.tensor);
            }
            batch += count;
        }
        let whole = engine.map([batch, height, width, channels])?;
        let mut start = 0;
        for part in parts {
            let count = part.tensor.dim(0)?;
            let place = Self::plain(whole.tensor.narrow(0, start, count)?);
            place.fill_from(&part.tensor, <[f32]>::copy_from_slice)?;
            start += count;
        }
        Ok(whole)
    }

    /// Channels of this map from `start` on, as a map of its own.
    ///
    /// # Errors
    /// If there are fewer channels or the device fails.
    pub fn channels(&self, start: usize, count: usize) -> Result<Self> {
        let Some(engine) = self.engine() else {
            let part = self.tensor.narrow(1, start, count)?.contiguous()?;
            return Ok(Self::plain(part));
        };
        let (batch, height, width, channels) = self.tensor.dims4()?;
        let part = engine.map([batch, height, width, count])?;
        part.fill_from(&self.tensor, |y, x| {
            for (y, x) in y.chunks_exact_mut(count).zip(x.chunks_exact(channels)) {
                y.copy_from_slice(&x[start..start + count]);
            }
        })?;
        Ok(part)
    }

    /// Writes this map, which must be the engine's, from the values of `x`.
    pub(super) fn fill_from(&self, x: &Tensor, kernel: impl Fn(&mut [f32], &[f32])) -> Result<()> {
        self.tensor.inplace_op2(x, &OnSlices(kernel))
    }
}

/// A kernel as an operation on contiguous f32 tensors on the CPU: it changes the first.
pub(super) struct OnSlices<F>(pub F);

impl<F: Fn(&mut [f32], &[f32])> InplaceOp2 for OnSlices<F> {
    fn name(&self) -> &'static str {
        "senet-kernel"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        (self.0)(values_mut(y, y_layout)?, values(x, x_layout)?);
        Ok(())
    }
}

impl<F: Fn(&mut [f32], &[f32], &[f32])> InplaceOp3 for OnSlices<F> {
    fn name(&self) -> &'static str {
        "senet-kernel"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        (self.0)(
            values_mut(y, y_layout)?,
            values(a, a_layout)?,
            values(b, b_layout)?,
        );
        Ok(())
    }
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("expected contiguous f32 values"),
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("expected contiguous f32 values"),
    }
}
