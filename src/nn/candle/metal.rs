//! Launches on Metal.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::metal_backend::{DeviceId, MetalDevice, MetalError};
use candle_core::{DType, Layout, MetalStorage, Result, Storage, Tensor, bail};
use candle_metal_kernels::metal::{Buffer, ComputePipeline};
use objc2_metal::{MTLCompileOptions, MTLSize};

use super::launch::{Kernel, Launch, start};

const TEXT: &str = concat!(include_str!("metal.h"), include_str!("kernels.h"));

/// Threads of a group.
const GROUP: usize = 256;

/// A buffer and the byte at which its values start.
type Place = (Buffer, usize);

/// A kernel of a device, for maps of this type.
type Key = (DeviceId, Kernel, DType);

/// The compiled kernel; the first call of each compiles.
fn pipeline(device: &MetalDevice, kernel: Kernel, dtype: DType) -> Result<ComputePipeline> {
    static PIPELINES: LazyLock<Mutex<HashMap<Key, ComputePipeline>>> =
        LazyLock::new(Mutex::default);
    let mut pipelines = PIPELINES.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (device.id(), kernel, dtype);
    if let Some(pipeline) = pipelines.get(&key) {
        return Ok(pipeline.clone());
    }
    let definition = match dtype {
        DType::F32 => "",
        DType::BF16 => "#define BF16\n",
        dtype => bail!("no kernels for maps of {dtype:?}"),
    };
    let options = MTLCompileOptions::new();
    // With fast math, NaN could pass for a number. The method's replacement needs macOS 15.
    #[allow(deprecated)]
    options.setFastMathEnabled(false);
    let metal = device.metal_device();
    let library = metal
        .new_library_with_source(&format!("{definition}{TEXT}"), Some(&options))
        .map_err(MetalError::from)?;
    let function = library
        .get_function(kernel.name(), None)
        .map_err(MetalError::from)?;
    let pipeline = metal
        .new_compute_pipeline_state_with_function(&function)
        .map_err(MetalError::from)?;
    if pipeline.max_total_threads_per_threadgroup() < GROUP {
        bail!("this GPU runs fewer than {GROUP} threads in a group");
    }
    pipelines.insert(key, pipeline.clone());
    Ok(pipeline)
}

/// Where the values of a contiguous tensor start.
fn place(storage: &MetalStorage, layout: &Layout) -> Result<Place> {
    let offset = start(layout)? * storage.dtype().size_in_bytes();
    Ok((storage.buffer().clone(), offset))
}

/// As [`place`], if there is the operand.
fn operand(tensor: Option<&Tensor>) -> Result<Option<Place>> {
    let Some(tensor) = tensor else {
        return Ok(None);
    };
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Metal(storage) => place(storage, layout).map(Some),
        _ => bail!("expected a tensor on the Metal device"),
    }
}

/// Computes a new tensor of `launch.params.count` values from `x`.
pub(super) fn compute(
    launch: &Launch<'_>,
    x: &MetalStorage,
    layout: &Layout,
    dtype: DType,
) -> Result<MetalStorage> {
    let device = x.device();
    let count = launch.params.count as usize;
    let y = device.new_buffer(count, dtype, launch.kernel.name())?;
    run(
        launch,
        device,
        x.dtype(),
        place(x, layout)?,
        (Buffer::clone(&y), 0),
    )?;
    Ok(MetalStorage::new(y, device.clone(), count, dtype))
}

/// Changes `y`.
pub(super) fn in_place(launch: &Launch<'_>, y: &MetalStorage, layout: &Layout) -> Result<()> {
    let place = place(y, layout)?;
    run(launch, y.device(), y.dtype(), place.clone(), place)
}

/// Queues the kernel for maps of type `dtype`.
fn run(launch: &Launch<'_>, device: &MetalDevice, dtype: DType, x: Place, y: Place) -> Result<()> {
    let pipeline = pipeline(device, launch.kernel, dtype)?;
    let operands = [launch.other, launch.bias, launch.factors].map(operand);
    let threads = launch.params.count as usize * launch.kernel.threads() as usize;
    let encoder = device.command_encoder()?;
    let encoder = encoder.as_ref();
    encoder.set_compute_pipeline_state(&pipeline);
    // The slots of `OPERANDS` in `kernels.h`. Every slot is bound: for a missing operand, to `x`.
    encoder.set_output_buffer(0, Some(&y.0), y.1);
    encoder.set_input_buffer(1, Some(&x.0), x.1);
    for (slot, operand) in (2..).zip(operands) {
        let (buffer, offset) = operand?.unwrap_or_else(|| x.clone());
        encoder.set_input_buffer(slot, Some(&buffer), offset);
    }
    encoder.set_bytes(5, &launch.params);
    let line = |width| MTLSize {
        width,
        height: 1,
        depth: 1,
    };
    encoder.dispatch_thread_groups(line(threads.div_ceil(GROUP)), line(GROUP));
    Ok(())
}
