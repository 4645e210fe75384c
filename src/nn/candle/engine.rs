//! A device, the precision of its products, and a count of the work that it is given.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, DType, Device, Result, Tensor, bail};

use serde::Serialize;

use super::launch::{Kernel, Launch};
use crate::nn::Precision;

/// A device whose layers are Candle's matrix products and the kernels of `kernels.h`.
#[derive(Clone, Debug)]
pub struct Engine {
    device: Device,
    precision: Precision,
    counts: Arc<Counts>,
}

/// Each is a number by itself and orders nothing else, so `Relaxed` suffices: whoever reads a count has
/// waited for the work, by a join, and then sees all of it.
#[derive(Debug)]
struct Counts {
    launches: AtomicU64,
    bytes: AtomicU64,
    macs: AtomicU64,
    /// Largest allowed result in bytes; tests lower it to simulate a device without memory.
    most_bytes: AtomicUsize,
}

/// What a device was given to do between a network's input and its logits. On the CPU, what a GPU would be
/// given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Operations queued: our kernels, and one for each product, reduction and copy of Candle's. (cuBLAS may
    /// divide a product between two kernels.)
    pub launches: u64,
    /// Bytes read and written, counting each operand of a launch once.
    pub bytes: u64,
    /// Multiply-accumulate operations of products, the zeros of merged groups included.
    pub macs: u64,
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            launches: self.launches + other.launches,
            bytes: self.bytes + other.bytes,
            macs: self.macs + other.macs,
        }
    }
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            launches: self.launches - earlier.launches,
            bytes: self.bytes - earlier.bytes,
            macs: self.macs - earlier.macs,
        }
    }
}

impl Engine {
    /// For an open device.
    ///
    /// # Errors
    /// If the device is a CUDA device on which each thread has a stream of its own, as
    /// [`Device::new_cuda`] opens it: a tensor of one thread could be read by another before it is
    /// written. Also if the kernels do not run on the device.
    pub fn new(device: &Device, precision: Precision) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(cuda) = device
            && cuda.is_event_tracking()
        {
            bail!(
                "this CUDA device has a stream for each thread, or tracks events; open it with `DeviceChoice`"
            );
        }
        let engine = Self {
            device: device.clone(),
            precision,
            counts: Arc::new(Counts {
                launches: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                macs: AtomicU64::new(0),
                most_bytes: AtomicUsize::new(usize::MAX),
            }),
        };
        if !device.is_cpu() {
            // A driver may be too old for the kernels, which shows when the first one is launched.
            let y = Tensor::zeros((1, 1, 1, 1), engine.dtype(), device)?;
            Launch::new(Kernel::Epilogue, super::params_of(&y)?).in_place(&engine, &y)?;
            device.synchronize()?;
        }
        Ok(engine)
    }

    pub(in crate::nn) fn device(&self) -> &Device {
        &self.device
    }

    pub(in crate::nn) fn precision(&self) -> Precision {
        self.precision
    }

    /// The element type of maps and filters.
    pub(super) fn dtype(&self) -> DType {
        match self.precision {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        }
    }

    /// All work so far, of this engine and its clones.
    pub fn work(&self) -> Work {
        Work {
            launches: self.counts.launches.load(Ordering::Relaxed),
            bytes: self.counts.bytes.load(Ordering::Relaxed),
            macs: self.counts.macs.load(Ordering::Relaxed),
        }
    }

    /// Simulates a device without memory for results of more bytes.
    #[doc(hidden)]
    pub fn set_most_bytes(&self, bytes: usize) {
        self.counts.most_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts launches that read and write these tensors.
    pub(super) fn record(&self, launches: u64, tensors: &[&Tensor]) {
        let bytes: usize = tensors
            .iter()
            .map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes())
            .sum();
        self.counts.launches.fetch_add(launches, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn record_macs(&self, macs: usize) {
        self.counts.macs.fetch_add(macs as u64, Ordering::Relaxed);
    }

    /// Checks that there may be a result of `values` values: kernels count them with 31 bits.
    pub(super) fn reserve(&self, values: usize, dtype: DType) -> Result<u32> {
        let bytes = values.saturating_mul(dtype.size_in_bytes());
        if bytes > self.counts.most_bytes.load(Ordering::Relaxed) {
            bail!("{OUT_OF_MEMORY}: {bytes} bytes");
        }
        match u32::try_from(values) {
            Ok(count) if count < 1 << 31 => Ok(count),
            _ => bail!("a map of {values} values is too large for this device"),
        }
    }

    /// The product of filters `[blocks, outputs, depth]` and columns `[blocks, depth, pixels]`, in the
    /// engine's precision.
    pub(super) fn product(&self, filters: &Tensor, columns: &Tensor) -> Result<Tensor> {
        self.multiply(filters, columns, self.precision == Precision::Tf32)
    }

    /// The product of `[batch, inputs]` and `[inputs, outputs]` in f32, whatever the precision.
    pub(super) fn exact_product(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.multiply(x, weight, false)
    }

    fn multiply(&self, a: &Tensor, b: &Tensor, tf32: bool) -> Result<Tensor> {
        let (depth, columns) = (a.dim(D::Minus1)?, b.dim(D::Minus1)?);
        let rows = a.elem_count() / depth.max(1);
        self.reserve(rows * columns, a.dtype())?;
        // Candle has one setting for the whole process, and reads it when it launches a product.
        static SETTING: Mutex<()> = Mutex::new(());
        let setting = self.device.is_cuda().then(|| {
            let guard = SETTING.lock().unwrap_or_else(PoisonError::into_inner);
            candle_core::cuda::set_gemm_reduced_precision_f32(tf32);
            guard
        });
        let y = a.matmul(b)?;
        drop(setting);
        self.record(1, &[a, b, &y]);
        self.record_macs(rows * depth * columns);
        Ok(y)
    }

    /// A copy without steps between its values.
    pub(super) fn copy(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.force_contiguous()?;
        self.record(1, &[&y, &y]);
        Ok(y)
    }

    /// `x` in this type, and without steps between its values.
    pub(super) fn contiguous(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        let mut y = x.clone();
        if y.dtype() != dtype {
            y = y.to_dtype(dtype)?;
            self.record(1, &[x, &y]);
        }
        if y.is_contiguous() {
            Ok(y)
        } else {
            self.copy(&y)
        }
    }
}

/// How [`Engine::reserve`] begins its message.
const OUT_OF_MEMORY: &str = "out of memory";

/// Whether a device had no memory left. Neither Candle nor the drivers have a type for it: these are parts
/// of the messages of the CUDA driver, cuBLAS, a buffer on Metal and a command buffer there.
pub(crate) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let text = error.to_string();
    [
        OUT_OF_MEMORY,
        "OUT_OF_MEMORY",
        "ALLOC_FAILED",
        "Failed to create metal resource: Buffer",
        "OutOfMemory",
    ]
    .iter()
    .any(|part| text.contains(part))
}
