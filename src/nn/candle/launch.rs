//! Launches of the kernels of `kernels.h` on Candle's tensors.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::Engine;
use super::host::{self, Operands};
use crate::kernels::Activation;

/// A kernel, by its name in `kernels.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kernel {
    Epilogue,
    Squeeze,
    Depthwise,
    Unfold,
    Weigh,
    Pool,
}

impl Kernel {
    #[cfg(any(test, feature = "cuda", feature = "metal"))]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Epilogue => "epilogue",
            Self::Squeeze => "squeeze",
            Self::Depthwise => "depthwise",
            Self::Unfold => "unfold",
            Self::Weigh => "weigh",
            Self::Pool => "pool",
        }
    }

    /// Threads for each value that is computed.
    pub(super) fn threads(self) -> u32 {
        if self == Self::Squeeze { 32 } else { 1 }
    }
}

/// As in `kernels.h`, which explains the fields. The last three of them are set by [`Launch`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Params {
    pub channels: u32,
    pub inner: u32,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub kernel_height: u32,
    pub kernel_width: u32,
    pub stride: u32,
    pub dilation: u32,
    pub top: u32,
    pub left: u32,
    pub multiplier: u32,
    pub is_max: u32,
    pub counts_padding: u32,
    pub count: u32,
    pub activation: u32,
    pub operands: u32,
}

/// A kernel with its operands, apart from the map that it reads or works on in place.
#[derive(Clone, Copy)]
pub(super) struct Launch<'a> {
    pub kernel: Kernel,
    pub params: Params,
    pub activation: Option<Activation>,
    pub other: Option<&'a Tensor>,
    pub bias: Option<&'a Tensor>,
    pub factors: Option<&'a Tensor>,
}

impl<'a> Launch<'a> {
    /// A launch without optional operands.
    pub(super) fn new(kernel: Kernel, params: Params) -> Self {
        Self {
            kernel,
            params,
            activation: None,
            other: None,
            bias: None,
            factors: None,
        }
    }

    /// Changes `y`.
    pub(super) fn in_place(mut self, engine: &Engine, y: &Tensor) -> Result<()> {
        self.complete(engine, y, y.elem_count(), y.dtype())?;
        y.inplace_op1(&self)?;
        engine.record(1, &self.tensors([y, y]));
        Ok(())
    }

    /// Computes a tensor from `x`.
    pub(super) fn compute(
        mut self,
        engine: &Engine,
        x: &Tensor,
        shape: impl Into<Shape>,
        dtype: DType,
    ) -> Result<Tensor> {
        let shape = shape.into();
        self.complete(engine, x, shape.elem_count(), dtype)?;
        let y = x.apply_op1_no_bwd(&Computation {
            launch: self,
            shape,
            dtype,
        })?;
        engine.record(1, &self.tensors([x, &y]));
        Ok(y)
    }

    /// Checks the operands and sets the last parameters, for a kernel that reads `map` and computes
    /// `count` values.
    fn complete(
        &mut self,
        engine: &Engine,
        map: &Tensor,
        count: usize,
        dtype: DType,
    ) -> Result<()> {
        self.check(map)?;
        let number = |activation| {
            let all = &mut Activation::ALL.iter();
            all.position(|&other| other == activation)
                .map_or(0, |index| index as u32 + 1)
        };
        self.params.count = engine.reserve(count, dtype)?;
        if self
            .params
            .count
            .checked_mul(self.kernel.threads())
            .is_none()
        {
            bail!("{count} values are too many for one launch");
        }
        self.params.activation = self.activation.map_or(0, number);
        self.params.operands = [self.other, self.bias, self.factors]
            .iter()
            .zip([1, 2, 4])
            .filter_map(|(operand, bit)| operand.map(|_| bit))
            .sum();
        Ok(())
    }

    /// Checks what the kernels assume: on a device they are given plain addresses.
    fn check(&self, map: &Tensor) -> Result<()> {
        let maps = [Some(map), self.other].into_iter().flatten();
        let maps = maps.map(|tensor| (tensor, map.dtype()));
        let floats = [self.bias, self.factors].into_iter().flatten();
        let floats = floats.map(|tensor| (tensor, DType::F32));
        for (tensor, dtype) in maps.chain(floats) {
            let is_here = tensor.device().same_device(map.device());
            if tensor.dtype() != dtype || !tensor.is_contiguous() || !is_here {
                bail!(
                    "expected a contiguous tensor of {dtype:?} on {:?}, found {:?}, {:?}, on {:?}",
                    map.device().location(),
                    tensor.dtype(),
                    tensor.layout(),
                    tensor.device().location()
                );
            }
        }
        let channels = self.params.channels as usize;
        match self.bias {
            Some(bias) if bias.elem_count() != channels => {
                bail!(
                    "{} biases do not fit {channels} channels",
                    bias.elem_count()
                )
            }
            _ => Ok(()),
        }
    }

    fn tensors(&self, maps: [&'a Tensor; 2]) -> Vec<&'a Tensor> {
        let operands = [self.other, self.bias, self.factors];
        operands.into_iter().flatten().chain(maps).collect()
    }

    /// Runs the kernel on the CPU: `y` holds what it works on, or nothing.
    fn on_host(&self, x: &[f32], y: &mut [f32]) -> Result<()> {
        let [other, bias, factors] = [self.other, self.bias, self.factors].map(operand);
        let (other, bias, factors) = (other?, bias?, factors?);
        let operands = Operands {
            x,
            other: &other,
            bias: &bias,
            factors: &factors,
        };
        host::run(self.kernel, &self.params, &operands, self.activation, y);
        Ok(())
    }
}

/// The values of an operand in the CPU's memory; none if it is missing.
fn operand(tensor: Option<&Tensor>) -> Result<Vec<f32>> {
    let Some(tensor) = tensor else {
        return Ok(Vec::new());
    };
    match &*tensor.storage_and_layout().0 {
        Storage::Cpu(storage) => values(storage, tensor.layout()),
        _ => bail!("expected a tensor on the CPU"),
    }
}

fn values(storage: &CpuStorage, layout: &Layout) -> Result<Vec<f32>> {
    match storage.to_dtype(layout, DType::F32)? {
        CpuStorage::F32(values) => Ok(values),
        _ => bail!("expected values in f32"),
    }
}

fn stored(values: Vec<f32>, dtype: DType) -> Result<CpuStorage> {
    let layout = Layout::contiguous(values.len());
    CpuStorage::F32(values).to_dtype(&layout, dtype)
}

/// Where the values of a tensor without steps between them start.
#[cfg(any(feature = "cuda", feature = "metal"))]
pub(super) fn start(layout: &Layout) -> Result<usize> {
    match layout.contiguous_offsets() {
        Some((start, _)) => Ok(start),
        None => bail!("expected a contiguous tensor, found {layout:?}"),
    }
}

/// A launch that makes a new tensor.
struct Computation<'a> {
    launch: Launch<'a>,
    shape: Shape,
    dtype: DType,
}

impl CustomOp1 for Computation<'_> {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = vec![0.0; self.shape.elem_count()];
        self.launch.on_host(&values(x, layout)?, &mut y)?;
        Ok((stored(y, self.dtype)?, self.shape.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let y = super::cuda::compute(&self.launch, x, layout, self.dtype)?;
        Ok((y, self.shape.clone()))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        let y = super::metal::compute(&self.launch, x, layout, self.dtype)?;
        Ok((y, self.shape.clone()))
    }
}

impl InplaceOp1 for Launch<'_> {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let dtype = y.dtype();
        let mut changed = values(y, layout)?;
        self.on_host(&[], &mut changed)?;
        *y = stored(changed, dtype)?;
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, y: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
        super::cuda::in_place(self, y, layout)
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(&self, y: &mut candle_core::MetalStorage, layout: &Layout) -> Result<()> {
        super::metal::in_place(self, y, layout)
    }
}
