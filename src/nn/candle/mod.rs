//! The layers on Candle's devices: its matrix products, and the kernels of `kernels.h` for all that is
//! between them.
//!
//! Maps are `[C, N, H, W]`, so that a convolution is one product for a whole batch. On the CPU this is the
//! reference for our own engine.

#[cfg(feature = "cuda")]
mod cuda;
mod engine;
mod host;
mod launch;
#[cfg(feature = "metal")]
mod metal;
mod product;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};

use crate::kernels::{Activation, ConvGeometry, Pool};

pub(crate) use engine::is_out_of_memory;
pub use engine::{Engine, Work};
use launch::{Kernel, Launch, Params};
use product::Product;

/// What the layers report as their kernel.
pub(super) const NAME: &str = "candle";

/// A batch of maps.
#[derive(Debug)]
pub struct Map {
    engine: Engine,
    /// `[C, N, H, W]`, in the engine's element type.
    values: Tensor,
    /// Still to be added: one for each channel. The sum at a block's end adds it on the way.
    bias: Option<Tensor>,
}

impl Map {
    /// `[C, N, H, W]` with the bias added.
    fn settled(&self) -> Result<Tensor> {
        let Some(bias) = &self.bias else {
            return Ok(self.values.clone());
        };
        let y = self.engine.copy(&self.values)?;
        let launch = Launch::new(Kernel::Epilogue, params_of(&y)?);
        let bias = Some(bias);
        Launch { bias, ..launch }.in_place(&self.engine, &y)?;
        Ok(y)
    }
}

/// The parameters of a kernel that reads a map `[C, N, H, W]`, or works on it in place, and computes a map
/// of `channels` and this height and width.
fn params(x: &Tensor, channels: usize, [out_height, out_width]: [usize; 2]) -> Result<Params> {
    let (_, batch, height, width) = x.dims4()?;
    Ok(Params {
        channels: channels as u32,
        inner: (batch * out_height * out_width) as u32,
        batch: batch as u32,
        height: height as u32,
        width: width as u32,
        out_height: out_height as u32,
        out_width: out_width as u32,
        ..Params::default()
    })
}

/// As [`params`], for a result of the same shape.
fn params_of(x: &Tensor) -> Result<Params> {
    let (channels, _, height, width) = x.dims4()?;
    params(x, channels, [height, width])
}

/// A convolution with its weights on a device.
#[derive(Debug)]
pub(super) struct Conv {
    geometry: ConvGeometry,
    filters: Filters,
    /// One for each output.
    bias: Tensor,
    activation: Option<Activation>,
}

#[derive(Debug)]
enum Filters {
    Product(Product),
    /// `[C, k, k]` in f32, for groups of one input channel each.
    Depthwise(Tensor),
}

impl Conv {
    pub(super) fn new(
        filters: &[f32],
        bias: Vec<f32>,
        geometry: ConvGeometry,
        activation: Option<Activation>,
        engine: &Engine,
    ) -> Result<Self> {
        let device = engine.device();
        let filters = if geometry.groups == geometry.inputs && geometry.groups > 1 {
            Filters::Depthwise(Tensor::from_slice(filters, filters.len(), device)?)
        } else {
            Filters::Product(Product::new(filters, &geometry, engine)?)
        };
        Ok(Self {
            geometry,
            filters,
            bias: Tensor::from_vec(bias, geometry.outputs, device)?,
            activation,
        })
    }

    pub(super) fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The parameters of the kernels that read `x`, `[C, N, H, W]`.
    fn params(&self, x: &Tensor) -> Result<Params> {
        let geometry = &self.geometry;
        let (inputs, _, height, width) = x.dims4()?;
        if inputs != geometry.inputs {
            bail!(
                "expected a map of {} channels, found {inputs}",
                geometry.inputs
            );
        }
        let size = geometry.output_size([height, width]);
        if size.contains(&0) {
            bail!("a map of {height}x{width} is too small for {geometry:?}");
        }
        let ([kernel_height, kernel_width], [down, across]) = (geometry.kernel(), geometry.axes());
        Ok(Params {
            kernel_height: kernel_height as u32,
            kernel_width: kernel_width as u32,
            stride: geometry.stride as u32,
            dilation: geometry.dilation as u32,
            top: down.zeros(height)[0] as u32,
            left: across.zeros(width)[0] as u32,
            multiplier: (geometry.outputs / geometry.inputs) as u32,
            ..params(x, geometry.outputs, size)?
        })
    }
}

/// A matrix product with its weights on a device, always in f32.
#[derive(Debug)]
pub(super) struct Linear {
    engine: Engine,
    /// `[inputs, outputs]`: transposed once, on load.
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(weight: &[f32], bias: Vec<f32>, engine: &Engine) -> Result<Self> {
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len().max(1));
        let weight = Tensor::from_slice(weight, (outputs, inputs), &Device::Cpu)?;
        let weight = weight.t()?.contiguous()?;
        Ok(Self {
            engine: engine.clone(),
            weight: weight.to_device(engine.device())?,
            bias: Tensor::from_vec(bias, outputs, engine.device())?,
        })
    }
}

/// Images `[N, C, H, W]` as a map, always a copy: maps are changed in place.
pub(super) fn enter(engine: &Engine, x: &Tensor) -> Result<Map> {
    engine.reserve(x.elem_count(), engine.dtype())?;
    let x = x.transpose(0, 1)?;
    let values = if x.dtype() == engine.dtype() {
        engine.copy(&x)?
    } else {
        engine.contiguous(&x, engine.dtype())?
    };
    Ok(Map {
        values,
        bias: None,
        engine: engine.clone(),
    })
}

/// `[N, C, H, W]` in f32; it may share the map's memory.
pub(super) fn to_tensor(x: &Map) -> Result<Tensor> {
    x.engine
        .contiguous(&x.settled()?.transpose(0, 1)?, DType::F32)
}

/// The convolved map without bias and activation, unless one kernel computes it all.
fn convolved(conv: &Conv, x: &Map) -> Result<(Tensor, bool)> {
    let engine = &x.engine;
    let values = x.settled()?;
    let params = conv.params(&values)?;
    let shape = [
        params.channels,
        params.batch,
        params.out_height,
        params.out_width,
    ];
    let shape = Shape::from_dims(&shape.map(|size| size as usize));
    match &conv.filters {
        Filters::Product(product) => {
            let y = product.forward(engine, &values, params)?;
            Ok((y.reshape(shape)?, false))
        }
        Filters::Depthwise(filters) => {
            let launch = Launch {
                activation: conv.activation,
                bias: Some(&conv.bias),
                factors: Some(filters),
                ..Launch::new(Kernel::Depthwise, params)
            };
            let y = launch.compute(engine, &values, shape, engine.dtype())?;
            engine.record_macs(y.elem_count() * conv.geometry.depth());
            Ok((y, true))
        }
    }
}

pub(super) fn conv(conv: &Conv, x: &Map) -> Result<Map> {
    let (values, is_done) = convolved(conv, x)?;
    if !is_done {
        let launch = Launch {
            activation: conv.activation,
            bias: Some(&conv.bias),
            ..Launch::new(Kernel::Epilogue, params_of(&values)?)
        };
        launch.in_place(&x.engine, &values)?;
    }
    Ok(Map {
        engine: x.engine.clone(),
        values,
        bias: None,
    })
}

/// The convolved map, and the mean of each channel.
pub(super) fn conv_squeezed(layer: &Conv, x: &Map) -> Result<(Map, Tensor)> {
    let y = if layer.activation.is_none() && matches!(layer.filters, Filters::Product(_)) {
        Map {
            engine: x.engine.clone(),
            values: convolved(layer, x)?.0,
            bias: Some(layer.bias.clone()),
        }
    } else {
        conv(layer, x)?
    };
    let means = mean(&y, None)?;
    Ok((y, means))
}

pub(super) fn linear(
    linear: &Linear,
    x: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let y = linear.engine.exact_product(x, &linear.weight)?;
    let params = Params {
        channels: y.dim(1)? as u32,
        inner: 1,
        out_height: 1,
        out_width: 1,
        ..Params::default()
    };
    let launch = Launch {
        activation,
        bias: Some(&linear.bias),
        ..Launch::new(Kernel::Epilogue, params)
    };
    launch.in_place(&linear.engine, &y)?;
    Ok(y)
}

/// Softmax over the second of three dimensions.
pub(super) fn softmax(layer: &Linear, x: &Tensor) -> Result<Tensor> {
    let y = candle_nn::ops::softmax(x, 1)?;
    // The maximum, the difference, the exponential, its sum and the quotient.
    layer.engine.record(5, &[x, x, x, x, &y]);
    Ok(y)
}

/// Mean over the pixels of `x`, or of `x + y`: `[N, C]` in f32.
pub(super) fn mean(x: &Map, y: Option<&Map>) -> Result<Tensor> {
    let (channels, batch, ..) = x.values.dims4()?;
    let other = y.map(Map::settled).transpose()?;
    check_shape(&x.values, other.as_ref())?;
    let launch = Launch {
        other: other.as_ref(),
        bias: x.bias.as_ref(),
        ..Launch::new(Kernel::Squeeze, params_of(&x.values)?)
    };
    launch.compute(&x.engine, &x.values, (batch, channels), DType::F32)
}

fn check_shape(x: &Tensor, y: Option<&Tensor>) -> Result<()> {
    match y {
        Some(y) if y.dims() != x.dims() => {
            bail!(
                "two maps [C, N, H, W] differ: {:?} and {:?}",
                x.dims(),
                y.dims()
            )
        }
        _ => Ok(()),
    }
}

/// The gates of a map: `paths` for each channel of each image.
fn check_gate(map: &Tensor, gate: Option<&Tensor>, paths: usize) -> Result<()> {
    let (channels, batch, ..) = map.dims4()?;
    match gate {
        Some(gate) if gate.elem_count() != paths * channels * batch => {
            bail!(
                "expected {paths} gates per channel of each image, found {:?}",
                gate.dims()
            )
        }
        _ => Ok(()),
    }
}

/// In the branch's memory.
pub(super) fn add_shortcut(
    mut branch: Map,
    gate: Option<&Tensor>,
    shortcut: &Map,
    activation: Option<Activation>,
) -> Result<Map> {
    let shortcut = shortcut.settled()?;
    check_shape(&branch.values, Some(&shortcut))?;
    scale_and_add(&mut branch, gate, Some(&shortcut), activation)?;
    Ok(branch)
}

/// In the map's memory.
pub(super) fn scale(mut map: Map, gate: &Tensor) -> Result<Map> {
    scale_and_add(&mut map, Some(gate), None, None)?;
    Ok(map)
}

/// `activation((map + bias) * gate + shortcut)` in the map's memory, of which each part may be missing.
fn scale_and_add(
    map: &mut Map,
    gate: Option<&Tensor>,
    shortcut: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<()> {
    check_gate(&map.values, gate, 1)?;
    let bias = map.bias.take();
    let launch = Launch {
        activation,
        other: shortcut,
        bias: bias.as_ref(),
        factors: gate,
        ..Launch::new(Kernel::Epilogue, params_of(&map.values)?)
    };
    launch.in_place(&map.engine, &map.values)
}

/// The sum of the paths with weights `[N, 2, C]`, in the first one's memory.
pub(super) fn select([first, second]: [Map; 2], gate: &Tensor) -> Result<Map> {
    let (values, other) = (first.settled()?, second.settled()?);
    check_shape(&values, Some(&other))?;
    check_gate(&values, Some(gate), 2)?;
    let launch = Launch {
        other: Some(&other),
        factors: Some(gate),
        ..Launch::new(Kernel::Weigh, params_of(&values)?)
    };
    launch.in_place(&first.engine, &values)?;
    Ok(Map {
        values,
        bias: None,
        engine: first.engine,
    })
}

/// `count` channels from `start` on, copied: both parts may be changed in place.
pub(super) fn channels(x: &Map, start: usize, count: usize) -> Result<Map> {
    let values = x.settled()?.narrow(0, start, count)?;
    Ok(Map {
        engine: x.engine.clone(),
        values: x.engine.copy(&values)?,
        bias: None,
    })
}

/// The channels of the maps side by side, scaled by a gate if there is one.
pub(super) fn join(maps: &[&Map], gate: Option<&Tensor>) -> Result<Map> {
    let Some(first) = maps.first() else {
        bail!("no maps to join");
    };
    let engine = &first.engine;
    let parts = maps.iter().map(|map| map.settled());
    let parts = parts.collect::<Result<Vec<_>>>()?;
    engine.reserve(parts.iter().map(Tensor::elem_count).sum(), engine.dtype())?;
    let values = Tensor::cat(&parts, 0)?;
    engine.record(parts.len() as u64, &[&values, &values]);
    let mut map = Map {
        values,
        bias: None,
        engine: engine.clone(),
    };
    if gate.is_some() {
        scale_and_add(&mut map, gate, None, None)?;
    }
    Ok(map)
}

/// The channels, `groups` runs of equal length, dealt out in turn.
pub(super) fn shuffle(x: &Map, groups: usize) -> Result<Map> {
    let values = x.settled()?;
    let (channels, batch, height, width) = values.dims4()?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        bail!("{channels} channels do not divide into {groups} groups");
    }
    let runs = values.reshape((groups, channels / groups, batch * height * width))?;
    let values = x.engine.copy(&runs.transpose(0, 1)?)?;
    Ok(Map {
        values: values.reshape((channels, batch, height, width))?,
        bias: None,
        engine: x.engine.clone(),
    })
}

/// In the map's memory.
pub(super) fn activate(mut map: Map, activation: Activation) -> Result<Map> {
    scale_and_add(&mut map, None, None, Some(activation))?;
    Ok(map)
}

pub(super) fn pool(pool: Pool, x: &Map) -> Result<Map> {
    let values = x.settled()?;
    let (channels, batch, height, width) = values.dims4()?;
    let size = [height, width].map(|size| pool.output(size));
    if size.contains(&0) {
        bail!("a map of {height}x{width} is too small to pool");
    }
    let shape = (channels, batch, size[0], size[1]);
    let windows = pool.windows();
    let (side, padding) = (windows.size as u32, windows.padding as u32);
    let params = Params {
        kernel_height: side,
        kernel_width: side,
        stride: windows.stride as u32,
        top: padding,
        left: padding,
        is_max: u32::from(pool.is_max()),
        counts_padding: u32::from(pool.counts_padding()),
        ..params(&values, channels, size)?
    };
    let launch = Launch::new(Kernel::Pool, params);
    let values = launch.compute(&x.engine, &values, shape, x.engine.dtype())?;
    Ok(Map {
        engine: x.engine.clone(),
        values,
        bias: None,
    })
}
