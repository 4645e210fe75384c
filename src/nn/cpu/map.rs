//! Maps on the CPU, in plain memory that is reused.

use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};

use crate::kernels::{Element, Isa, line_start, slack};

/// An instruction set for the kernels, and a pool of memory for their maps.
#[derive(Clone, Debug)]
pub struct Engine<T = f32> {
    isa: Isa,
    /// Buffers that no map uses, the one that was used last at the end.
    free: Arc<Mutex<Vec<Buffer<T>>>>,
}

impl<T: Element> Engine<T> {
    /// With an empty pool.
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            free: Arc::default(),
        }
    }

    pub(in crate::nn) fn isa(&self) -> Isa {
        self.isa
    }

    /// A map of arbitrary content.
    pub(super) fn map(&self, dims: [usize; 4]) -> Map<T> {
        let len = dims.iter().product();
        Map {
            memory: Memory::Own(self.take(len).unwrap_or_else(|| Buffer::new(len))),
            dims,
            engine: self.clone(),
        }
    }

    /// The values of a tensor `[N, H, W, C]` in f32 as a map, without a copy; `None` if they must be
    /// converted.
    pub(super) fn borrowed(&self, tensor: &Tensor) -> Result<Option<Map<T>>> {
        if T::NARROW {
            return Ok(None);
        }
        let (batch, height, width, channels) = tensor.dims4()?;
        Values::<T>::of(tensor)?;
        Ok(Some(Map {
            memory: Memory::Borrowed(tensor.clone()),
            dims: [batch, height, width, channels],
            engine: self.clone(),
        }))
    }

    /// The free buffer of at least `len` values that was used last, as it may still be in the caches; unless it is
    /// far too large: a small map must not occupy the memory of a large one.
    fn take(&self, len: usize) -> Option<Buffer<T>> {
        const MOST: usize = 16;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Buffer<T>| {
            let size = buffer.len();
            size >= len && size <= MOST * len.max(1 << 12)
        };
        let index = free.iter().rposition(fits)?;
        Some(free.remove(index))
    }
}

/// Values of which the one at `start` starts a cache line.
#[derive(Debug)]
struct Buffer<T> {
    values: Vec<T>,
    start: usize,
}

impl<T: Element> Buffer<T> {
    fn new(len: usize) -> Self {
        let values = vec![T::zeroed(); len + slack::<T>()];
        let start = line_start(&values);
        Self { values, start }
    }

    fn len(&self) -> usize {
        self.values.len() - self.start
    }
}

/// Where a map's values are.
#[derive(Debug)]
enum Memory<T> {
    Own(Buffer<T>),
    /// Contiguous values in f32 on the CPU, which is `T`.
    Borrowed(Tensor),
}

/// A batch of maps `[N, H, W, C]`. On drop its memory returns to the engine.
#[derive(Debug)]
pub struct Map<T = f32> {
    memory: Memory<T>,
    /// Batch, height, width, channels.
    pub(super) dims: [usize; 4],
    pub(super) engine: Engine<T>,
}

impl<T: Element> Map<T> {
    pub(super) fn values(&self) -> Result<Values<'_, T>> {
        match &self.memory {
            Memory::Own(buffer) => {
                let len = self.dims.iter().product::<usize>();
                Ok(Values::Slice(&buffer.values[buffer.start..][..len]))
            }
            Memory::Borrowed(tensor) => Values::of(tensor),
        }
    }

    /// The values, mutably: borrowed ones are copied first.
    pub(super) fn values_mut(&mut self) -> Result<&mut [T]> {
        let len = self.dims.iter().product::<usize>();
        if let Memory::Borrowed(tensor) = &self.memory {
            let mut own = Buffer::new(len);
            own.values[own.start..][..len].copy_from_slice(&Values::<T>::of(tensor)?);
            self.memory = Memory::Own(own);
        }
        match &mut self.memory {
            Memory::Own(buffer) => Ok(&mut buffer.values[buffer.start..][..len]),
            Memory::Borrowed(_) => bail!("the values are borrowed"),
        }
    }

    /// Values of one image.
    pub(super) fn image_len(&self) -> usize {
        self.dims[1..].iter().product()
    }

    pub(super) fn channels(&self) -> usize {
        self.dims[3]
    }
}

impl<T> Drop for Map<T> {
    fn drop(&mut self) {
        if let Memory::Own(buffer) = &mut self.memory {
            let buffer = Buffer {
                values: std::mem::take(&mut buffer.values),
                start: buffer.start,
            };
            let free = self.engine.free.lock();
            free.unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

/// Read access to the values of a map or a tensor.
pub(super) enum Values<'a, T = f32> {
    Slice(&'a [T]),
    /// Candle's lock on the storage, whose type has no public name. The type is f32.
    Tensor(Box<dyn Deref<Target = Storage> + 'a>, Range<usize>),
}

impl<'a, T: Element> Values<'a, T> {
    /// Of a contiguous tensor in f32 on the CPU, for a map or a matrix of that type.
    pub(super) fn of(x: &'a Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) if !T::NARROW => {
                Ok(Self::Tensor(Box::new(storage), start..end))
            }
            _ => bail!("expected contiguous {} values on the CPU", T::NAME),
        }
    }
}

impl<T: Element> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Slice(values) => values,
            Self::Tensor(storage, range) => match &***storage {
                Storage::Cpu(CpuStorage::F32(values)) => {
                    T::of_f32(&values[range.clone()]).unwrap_or_default()
                }
                _ => &[],
            },
        }
    }
}
