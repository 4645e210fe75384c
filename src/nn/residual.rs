//! The tail of a residual block: scale by the gate, add the shortcut, activate.

use candle_core::{D, Result, Tensor};

use super::map::OnSlices;
use super::{Activation, Map, activate};
use crate::kernels::Elementwise;

/// `activation(branch * gate + shortcut)` for two maps and a gate `[N, C]`.
///
/// Takes the branch by value: on the engine its memory becomes the result, in one pass.
///
/// # Errors
/// If the shapes differ or the device fails.
pub fn residual_tail(
    branch: Map,
    gate: Option<&Tensor>,
    shortcut: &Map,
    activation: Option<Activation>,
) -> Result<Map> {
    if branch.tensor.shape() != shortcut.tensor.shape() {
        candle_core::bail!(
            "shortcut {:?} and branch {:?} differ",
            shortcut.tensor.shape(),
            branch.tensor.shape()
        );
    }
    let Some(engine) = branch.engine() else {
        let sum = match gate {
            Some(gate) => (branch.tensor.broadcast_mul(&planes(gate)?)? + &shortcut.tensor)?,
            None => (&branch.tensor + &shortcut.tensor)?,
        };
        return Ok(Map::plain(activate(&sum, activation)?));
    };
    let (batch, height, width, channels) = branch.tensor.dims4()?;
    if gate.is_some_and(|gate| gate.dims() != [batch, channels]) {
        candle_core::bail!("expected one gate per channel of each picture");
    }
    let picture = height * width * channels;
    let tail = |y: &mut [f32], shortcut: &[f32], gate: Option<&[f32]>| {
        for (n, y) in y.chunks_exact_mut(picture).enumerate() {
            let tail = Elementwise::Tail {
                gate: gate.map(|gate| &gate[n * channels..][..channels]),
                shortcut: &shortcut[n * picture..][..picture],
                activation,
            };
            tail.run(engine.isa, y, channels);
        }
    };
    match gate {
        Some(gate) => {
            let kernel = |y: &mut [f32], s: &[f32], gate: &[f32]| tail(y, s, Some(gate));
            branch
                .tensor
                .inplace_op3(&shortcut.tensor, &gate.contiguous()?, &OnSlices(kernel))?;
        }
        None => {
            let kernel = |y: &mut [f32], s: &[f32]| tail(y, s, None);
            branch
                .tensor
                .inplace_op2(&shortcut.tensor, &OnSlices(kernel))?;
        }
    }
    Ok(branch)
}

/// `map * gate`, a factor `[N, C]` per channel of each picture, in the map's own memory.
///
/// # Errors
/// If the shapes do not fit or the device fails.
pub fn scale(map: Map, gate: &Tensor) -> Result<Map> {
    let Some(engine) = map.engine() else {
        return Ok(Map::plain(map.tensor.broadcast_mul(&planes(gate)?)?));
    };
    let (batch, height, width, channels) = map.tensor.dims4()?;
    if gate.dims() != [batch, channels] {
        candle_core::bail!("expected one gate per channel of each picture");
    }
    map.fill_from(&gate.contiguous()?, |y, gate| {
        let pictures = y.chunks_exact_mut(height * width * channels);
        for (y, gate) in pictures.zip(gate.chunks_exact(channels)) {
            Elementwise::Scale(gate).run(engine.isa, y, channels);
        }
    })?;
    Ok(map)
}

/// `[N, C]` beside maps `[N, C, H, W]`.
pub(super) fn planes(gate: &Tensor) -> Result<Tensor> {
    gate.unsqueeze(D::Minus1)?.unsqueeze(D::Minus1)
}
