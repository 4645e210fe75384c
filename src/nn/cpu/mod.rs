//! The layers on our kernels: channels-last maps in plain memory.
//!
//! Matrices with one row per image (squeezes, gates, features) are small and stay tensors.

mod map;

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::kernels::{
    self, Activation, Element, Elementwise, Pool, Word, convert, to_channels_last,
};

use super::stored_channels_last;
use map::Values;
pub use map::{Engine, Map};

/// A convolution with its packed weights.
pub(super) type Conv<T = f32> = kernels::Conv<T>;
/// A matrix product with its packed weights.
pub(super) type Linear<T = f32> = kernels::Linear<<T as Element>::Linear>;

/// Images `[N, C, H, W]` as a map: without a copy if they are stored channels-last and in its type.
pub(super) fn enter<T: Element>(engine: &Engine<T>, x: &Tensor) -> Result<Map<T>> {
    let x = x.to_dtype(DType::F32)?;
    if let Some(tensor) = stored_channels_last(&x)? {
        if let Some(map) = engine.borrowed(&tensor)? {
            return Ok(map);
        }
        let (batch, height, width, channels) = tensor.dims4()?;
        let mut map = engine.map([batch, height, width, channels]);
        convert(
            engine.isa(),
            &Values::<f32>::of(&tensor)?,
            map.values_mut()?,
        );
        return Ok(map);
    }
    let x = x.contiguous()?;
    let (batch, channels, height, width) = x.dims4()?;
    let mut map = engine.map([batch, height, width, channels]);
    let plane = height * width;
    to_channels_last(
        &Values::<f32>::of(&x)?,
        [channels, plane],
        map.values_mut()?,
    );
    Ok(map)
}

/// `[N, C, H, W]`.
pub(super) fn to_tensor<T: Element>(x: &Map<T>) -> Result<Tensor> {
    let values: Vec<f32> = x.values()?.iter().map(|value| value.to_f32()).collect();
    let tensor = Tensor::from_vec(values, &x.dims, &Device::Cpu)?;
    tensor.permute((0, 3, 1, 2))?.force_contiguous()
}

/// The convolved map, and optionally the sums of its channels in `sums`, `[N, outputs]`.
fn conv_with<T: Element>(conv: &Conv<T>, x: &Map<T>, sums: Option<&mut [f32]>) -> Result<Map<T>> {
    let (mut y, size) = output(conv, x)?;
    conv.run(&x.values()?, size, y.values_mut()?, sums);
    Ok(y)
}

/// A map for the output of a convolution, and batch and size of its input.
fn output<T: Element>(conv: &Conv<T>, x: &Map<T>) -> Result<(Map<T>, [usize; 3])> {
    let [batch, height, width, channels] = x.dims;
    let geometry = conv.geometry();
    if channels != conv.inputs() {
        let inputs = conv.inputs();
        bail!("expected a map of {inputs} channels, found {channels}");
    }
    let [h, w] = geometry.output_size([height, width]);
    let y = x.engine.map([batch, h, w, geometry.outputs]);
    Ok((y, [batch, height, width]))
}

pub(super) fn conv<T: Element>(conv: &Conv<T>, x: &Map<T>) -> Result<Map<T>> {
    conv_with(conv, x, None)
}

/// The convolution of the map with each channel times its gate, `[N, C]`; for a convolution that scales.
pub(super) fn conv_gated<T: Element>(conv: &Conv<T>, x: &Map<T>, gate: &Tensor) -> Result<Map<T>> {
    let (mut y, size) = output(conv, x)?;
    let gates = gates(gate, x, 1)?;
    conv.run_scaled(&x.values()?, &gates, size, y.values_mut()?);
    Ok(y)
}

/// The convolved map, and the mean of each channel.
pub(super) fn conv_squeezed<T: Element>(conv: &Conv<T>, x: &Map<T>) -> Result<(Map<T>, Tensor)> {
    let (batch, outputs) = (x.dims[0], conv.geometry().outputs);
    let mut sums = vec![0.0; batch * outputs];
    let y = conv_with(conv, x, Some(&mut sums))?;
    let pixels = (y.image_len() / outputs) as f32;
    sums.iter_mut().for_each(|sum| *sum /= pixels);
    Ok((y, Tensor::from_vec(sums, (batch, outputs), &Device::Cpu)?))
}

pub(super) fn linear<W: Word<Element = f32>>(
    linear: &kernels::Linear<W>,
    x: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (batch, inputs) = x.dims2()?;
    if inputs != linear.inputs() {
        let expected = linear.inputs();
        bail!("expected {expected} inputs, found {inputs}");
    }
    let mut y = vec![0.0; batch * linear.outputs()];
    let x = x.contiguous()?;
    linear.run(&Values::<f32>::of(&x)?, &mut y, activation);
    Tensor::from_vec(y, (batch, linear.outputs()), &Device::Cpu)
}

/// Mean over the pixels of `x`, or of `x + y`: `[N, C]`.
pub(super) fn mean<T: Element>(x: &Map<T>, y: Option<&Map<T>>) -> Result<Tensor> {
    if y.is_some_and(|y| y.dims != x.dims) {
        bail!("the two maps differ in shape");
    }
    let (batch, channels, image) = (x.dims[0], x.channels(), x.image_len());
    let mut means = vec![0.0; batch * channels];
    let (x_values, y_values) = (x.values()?, y.map(Map::values).transpose()?);
    for (n, means) in means.chunks_exact_mut(channels).enumerate() {
        let of_image = n * image..(n + 1) * image;
        let y = y_values.as_ref().map(|y| &y[of_image.clone()]);
        kernels::mean(x.engine.isa(), &x_values[of_image], y, channels, means);
    }
    Tensor::from_vec(means, (batch, channels), &Device::Cpu)
}

pub(super) fn pool<T: Element>(pool: Pool, x: &Map<T>) -> Result<Map<T>> {
    let [batch, height, width, channels] = x.dims;
    let dims = [batch, pool.output(height), pool.output(width), channels];
    let mut y = x.engine.map(dims);
    pool.run(x.engine.isa(), &x.values()?, x.dims, y.values_mut()?);
    Ok(y)
}

/// In the branch's memory, in one pass.
pub(super) fn add_shortcut<T: Element>(
    mut branch: Map<T>,
    gate: Option<&Tensor>,
    shortcut: &Map<T>,
    activation: Option<Activation>,
) -> Result<Map<T>> {
    if branch.dims != shortcut.dims {
        bail!(
            "shortcut {:?} and branch {:?} differ",
            shortcut.dims,
            branch.dims
        );
    }
    let (image, channels) = (branch.image_len(), branch.channels());
    let gates = gate.map(|gate| gates(gate, &branch, 1)).transpose()?;
    let shortcut = shortcut.values()?;
    each_image(&mut branch, |n| Elementwise::AddShortcut {
        gate: gates
            .as_ref()
            .map(|gates| &gates[n * channels..][..channels]),
        shortcut: &shortcut[n * image..][..image],
        activation,
    })?;
    Ok(branch)
}

/// In the map's memory.
pub(super) fn scale<T: Element>(mut map: Map<T>, gate: &Tensor) -> Result<Map<T>> {
    let (gates, channels) = (gates(gate, &map, 1)?, map.channels());
    each_image(&mut map, |n| {
        Elementwise::Scale(&gates[n * channels..][..channels])
    })?;
    Ok(map)
}

/// In the first map's memory.
pub(super) fn select<T: Element>(
    [mut first, second]: [Map<T>; 2],
    gate: &Tensor,
) -> Result<Map<T>> {
    if second.dims != first.dims {
        bail!("the two paths differ in shape");
    }
    let (image, channels) = (first.image_len(), first.channels());
    let gates = gates(gate, &first, 2)?;
    let other = second.values()?;
    each_image(&mut first, |n| {
        let (a, b) = gates[2 * n * channels..][..2 * channels].split_at(channels);
        Elementwise::Select {
            gates: [a, b],
            other: &other[n * image..][..image],
        }
    })?;
    Ok(first)
}

/// `count` channels from `start` on.
pub(super) fn channels<T: Element>(x: &Map<T>, start: usize, count: usize) -> Result<Map<T>> {
    let [batch, height, width, channels] = x.dims;
    if start + count > channels {
        bail!(
            "expected at least {} channels, found {channels}",
            start + count
        );
    }
    let mut y = x.engine.map([batch, height, width, count]);
    let pixels = y.values_mut()?.chunks_exact_mut(count);
    for (y, x) in pixels.zip(x.values()?.chunks_exact(channels)) {
        y.copy_from_slice(&x[start..start + count]);
    }
    Ok(y)
}

/// The channels of the maps side by side, scaled by a gate if there is one.
pub(super) fn join<T: Element>(maps: &[&Map<T>], gate: Option<&Tensor>) -> Result<Map<T>> {
    let Some(first) = maps.first() else {
        bail!("no maps to join");
    };
    if maps.iter().any(|map| map.dims[..3] != first.dims[..3]) {
        bail!("the maps differ in shape");
    }
    let [batch, height, width, _] = first.dims;
    let channels = maps.iter().map(|map| map.channels()).sum();
    let mut joined = first.engine.map([batch, height, width, channels]);
    let gates = gate.map(|gate| gates(gate, &joined, 1)).transpose()?;
    let values = maps.iter().map(|map| map.values());
    let values = values.collect::<Result<Vec<_>>>()?;
    let image = joined.image_len().max(1);
    let isa = first.engine.isa();
    for (n, y) in joined.values_mut()?.chunks_exact_mut(image).enumerate() {
        let parts: Vec<_> = maps
            .iter()
            .zip(&values)
            .map(|(map, values)| {
                let len = map.image_len();
                (&values[n * len..][..len], map.channels())
            })
            .collect();
        let gate = gates
            .as_ref()
            .map(|gates| &gates[n * channels..][..channels]);
        kernels::join(isa, &parts, gate, y);
    }
    Ok(joined)
}

/// The channels, `groups` runs of equal length, dealt out in turn.
pub(super) fn shuffle<T: Element>(x: &Map<T>, groups: usize) -> Result<Map<T>> {
    let channels = x.channels();
    if groups == 0 || !channels.is_multiple_of(groups) {
        bail!("{channels} channels do not divide into {groups} groups");
    }
    let mut y = x.engine.map(x.dims);
    kernels::shuffle(&x.values()?, channels, groups, y.values_mut()?);
    Ok(y)
}

/// In the map's memory.
pub(super) fn activate<T: Element>(mut map: Map<T>, activation: Activation) -> Result<Map<T>> {
    each_image(&mut map, |_| Elementwise::Activate(activation))?;
    Ok(map)
}

/// The images of several maps as one batch.
pub(super) fn cat<T: Element>(maps: &[&Map<T>]) -> Result<Map<T>> {
    let Some(first) = maps.first() else {
        bail!("no maps to concatenate");
    };
    if maps.iter().any(|map| map.dims[1..] != first.dims[1..]) {
        bail!("maps of different sizes cannot form a batch");
    }
    let [_, height, width, channels] = first.dims;
    let batch = maps.iter().map(|map| map.dims[0]).sum();
    let mut batched = first.engine.map([batch, height, width, channels]);
    let mut rest = batched.values_mut()?;
    for map in maps {
        let values = map.values()?;
        let (start, after) = rest.split_at_mut(values.len());
        start.copy_from_slice(&values);
        rest = after;
    }
    Ok(batched)
}

/// Applies to each image the operation for its index.
fn each_image<'a, T: Element>(
    map: &mut Map<T>,
    operation: impl Fn(usize) -> Elementwise<'a, T>,
) -> Result<()> {
    let (isa, channels, image) = (map.engine.isa(), map.channels(), map.image_len());
    let images = map.values_mut()?.chunks_exact_mut(image.max(1));
    for (n, y) in images.enumerate() {
        operation(n).run(isa, y, channels);
    }
    Ok(())
}

/// The values of a gate: `paths` factors per channel of each image.
fn gates<T: Element>(gate: &Tensor, map: &Map<T>, paths: usize) -> Result<Vec<f32>> {
    if gate.elem_count() != map.dims[0] * paths * map.channels() {
        bail!("expected {paths} gates per channel of each image");
    }
    gate.flatten_all()?.to_vec1()
}
