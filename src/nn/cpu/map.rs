//! Maps on the CPU: plain memory that is used again and again.

use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};

use crate::kernels::{Isa, SLACK, line_start};

/// The kernels of one instruction set and the memory that their maps live in.
#[derive(Clone, Debug)]
pub struct Engine {
    isa: Isa,
    /// Memory that no map uses.
    free: Arc<Mutex<Vec<Buffer>>>,
}

impl Engine {
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            free: Arc::default(),
        }
    }

    pub(in crate::nn) fn isa(&self) -> Isa {
        self.isa
    }

    /// A map of whatever its memory held before.
    pub(super) fn map(&self, dims: [usize; 4]) -> Map {
        let len = dims.iter().product();
        Map {
            memory: Memory::Own(self.take(len).unwrap_or_else(|| Buffer::new(len))),
            dims,
            engine: self.clone(),
        }
    }

    /// The values of a tensor `[N, H, W, C]` as a map, without a copy.
    pub(super) fn borrowed(&self, tensor: Tensor) -> Result<Map> {
        let (batch, height, width, channels) = tensor.dims4()?;
        Values::of(&tensor)?;
        Ok(Map {
            memory: Memory::Borrowed(tensor),
            dims: [batch, height, width, channels],
            engine: self.clone(),
        })
    }

    /// The smallest free buffer of at least `len` values, unless it is far too large: a small map
    /// must not keep a large one's memory from it.
    fn take(&self, len: usize) -> Option<Buffer> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = free.iter().map(Buffer::len).enumerate();
        let fits = sizes.filter(|&(_, size)| size >= len && size <= 2 * len.max(1 << 12));
        let (index, _) = fits.min_by_key(|&(_, size)| size)?;
        Some(free.swap_remove(index))
    }
}

/// Values from the start of a cache line on.
#[derive(Debug, Default)]
struct Buffer {
    values: Vec<f32>,
    start: usize,
}

impl Buffer {
    fn new(len: usize) -> Self {
        let values = vec![0.0; len + SLACK];
        let start = line_start(&values);
        Self { values, start }
    }

    fn len(&self) -> usize {
        self.values.len() - self.start
    }
}

/// Where a map's values are.
#[derive(Debug)]
enum Memory {
    Own(Buffer),
    /// Contiguous f32 values on the CPU.
    Borrowed(Tensor),
}

/// A batch of maps `[N, H, W, C]`. Its memory goes back to the engine with it.
#[derive(Debug)]
pub struct Map {
    memory: Memory,
    /// Batch, height, width, channels.
    pub(super) dims: [usize; 4],
    pub(super) engine: Engine,
}

impl Map {
    pub(super) fn values(&self) -> Result<Values<'_>> {
        match &self.memory {
            Memory::Own(buffer) => {
                let len = self.dims.iter().product::<usize>();
                Ok(Values::Slice(&buffer.values[buffer.start..][..len]))
            }
            Memory::Borrowed(tensor) => Values::of(tensor),
        }
    }

    /// The values to be changed: a copy of those that are borrowed.
    pub(super) fn values_mut(&mut self) -> Result<&mut [f32]> {
        let len = self.dims.iter().product::<usize>();
        if let Memory::Borrowed(tensor) = &self.memory {
            let mut own = Buffer::new(len);
            own.values[own.start..][..len].copy_from_slice(&Values::of(tensor)?);
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

impl Drop for Map {
    fn drop(&mut self) {
        if let Memory::Own(buffer) = &mut self.memory {
            let buffer = std::mem::take(buffer);
            let free = self.engine.free.lock();
            free.unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

/// Values to be read, of a map or a tensor.
pub(super) enum Values<'a> {
    Slice(&'a [f32]),
    /// Candle's lock on the storage, whose type has no public name.
    Tensor(Box<dyn Deref<Target = Storage> + 'a>, Range<usize>),
}

impl<'a> Values<'a> {
    /// Of a contiguous f32 tensor on the CPU.
    pub(super) fn of(x: &'a Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => {
                Ok(Self::Tensor(Box::new(storage), start..end))
            }
            _ => bail!("expected contiguous f32 values on the CPU"),
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Slice(values) => values,
            Self::Tensor(storage, range) => match &***storage {
                Storage::Cpu(CpuStorage::F32(values)) => &values[range.clone()],
                _ => &[],
            },
        }
    }
}
