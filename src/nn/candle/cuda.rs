//! Launches on CUDA.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaStorage, DType, Layout, Result, Storage, Tensor, bail};

use super::launch::{Launch, Params, start};

const TEXT: &str = concat!(include_str!("cuda.h"), include_str!("kernels.h"));

/// The code of the kernels, or the compiler's message.
type Compiled = std::result::Result<String, String>;

/// Threads of a block.
const BLOCK: u32 = 256;

// SAFETY: a structure of plain numbers in C's layout, as in the text of the kernels.
unsafe impl DeviceRepr for Params {}

/// The kernels for maps of this type: a name for the module, and its code for any GPU.
fn module(dtype: DType) -> Result<(&'static str, &'static str)> {
    static F32: OnceLock<Compiled> = OnceLock::new();
    static BF16: OnceLock<Compiled> = OnceLock::new();
    let (code, name, definition) = match dtype {
        DType::F32 => (&F32, "senet_f32", ""),
        DType::BF16 => (&BF16, "senet_bf16", "#define BF16\n"),
        dtype => bail!("no kernels for maps of {dtype:?}"),
    };
    let compiled = code.get_or_init(|| {
        let code = compile_ptx(format!("{definition}{TEXT}"));
        code.map(|code| code.to_src())
            .map_err(|error| error.to_string())
    });
    match compiled {
        Ok(code) => Ok((name, code)),
        Err(error) => bail!("the kernels cannot be compiled: {error}"),
    }
}

/// Where the values of a contiguous tensor start.
fn address(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let stream = storage.device().cuda_stream();
    let first = match &storage.slice {
        CudaStorageSlice::F32(values) => values.device_ptr(&stream).0,
        CudaStorageSlice::BF16(values) => values.device_ptr(&stream).0,
        _ => bail!("expected f32 or bf16, found {:?}", storage.dtype()),
    };
    Ok(first + (start(layout)? * storage.dtype().size_in_bytes()) as u64)
}

/// As [`address`]; 0 for a missing operand.
fn operand(tensor: Option<&Tensor>) -> Result<u64> {
    let Some(tensor) = tensor else {
        return Ok(0);
    };
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => address(storage, layout),
        _ => bail!("expected a tensor on the CUDA device"),
    }
}

/// Computes a new tensor of `launch.params.count` values from `x`.
pub(super) fn compute(
    launch: &Launch<'_>,
    x: &CudaStorage,
    layout: &Layout,
    dtype: DType,
) -> Result<CudaStorage> {
    let device = x.device();
    let count = launch.params.count as usize;
    // SAFETY: the kernel writes every value before anything reads it, on the same stream.
    let slice = unsafe {
        match dtype {
            DType::F32 => CudaStorageSlice::F32(device.alloc(count)?),
            DType::BF16 => CudaStorageSlice::BF16(device.alloc(count)?),
            dtype => bail!("no kernels for maps of {dtype:?}"),
        }
    };
    let y = CudaStorage {
        slice,
        device: device.clone(),
    };
    let to = address(&y, &Layout::contiguous(count))?;
    run(launch, x, address(x, layout)?, to)?;
    Ok(y)
}

/// Changes `y`.
pub(super) fn in_place(launch: &Launch<'_>, y: &CudaStorage, layout: &Layout) -> Result<()> {
    let place = address(y, layout)?;
    run(launch, y, place, place)
}

/// Runs the kernel for maps of the type of `map`, on its device.
fn run(launch: &Launch<'_>, map: &CudaStorage, x: u64, y: u64) -> Result<()> {
    let (module, code) = module(map.dtype())?;
    let kernel = launch.kernel;
    let function = map
        .device()
        .get_or_load_custom_func(kernel.name(), module, code)?;
    let [other, bias, factors] = [launch.other, launch.bias, launch.factors].map(operand);
    let (other, bias, factors) = (other?, bias?, factors?);
    let threads = launch.params.count * kernel.threads();
    let mut arguments = function.builder();
    arguments
        .arg(&y)
        .arg(&x)
        .arg(&other)
        .arg(&bias)
        .arg(&factors);
    arguments.arg(&launch.params);
    let config = LaunchConfig {
        grid_dim: (threads.div_ceil(BLOCK), 1, 1),
        block_dim: (BLOCK, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: these are the operands of every kernel in `kernels.h`, in their order. All addresses are of
    // tensors on this device which are alive here, and their memory is freed after the kernel, on the same
    // stream. `Launch` has checked their types and that they are contiguous, and the layers take the shapes
    // in the parameters from them; that the kernels stay within these shapes, the tests show by running the
    // same text on the CPU.
    unsafe { arguments.launch(config) }.w()?;
    Ok(())
}
