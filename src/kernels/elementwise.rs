//! One pass over an activation map `[batch, channels, height * width]`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The nonlinearity of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    Relu,
    /// `x * sigmoid(x)`, also called swish (arXiv:1702.03118).
    Silu,
}

impl Activation {
    /// The activation of one value. NaN stays NaN, so a damaged input cannot pass for an answer.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu => x,
            Self::Silu => x / (1.0 + (-x).exp()),
        }
    }
}

/// The shape of a map: planes of `plane` values, `channels` planes to a picture.
#[derive(Clone, Copy, Debug)]
pub struct MapShape {
    pub channels: usize,
    pub plane: usize,
}

/// Enough values for a task to be worth handing to another thread.
const TASK: usize = 1 << 14;

/// Planes that make up a task.
fn planes_per_task(shape: MapShape) -> usize {
    (TASK / shape.plane.max(1)).max(1)
}

/// `map = activation(map + bias[channel])`, in place.
///
/// # Panics
/// If `bias` does not have one value per channel, or a plane has no values.
pub fn bias_activate(
    map: &mut [f32],
    bias: &[f32],
    shape: MapShape,
    activation: Option<Activation>,
) {
    assert_eq!(bias.len(), shape.channels);
    let planes = map
        .par_chunks_exact_mut(shape.plane)
        .with_min_len(planes_per_task(shape));
    planes.enumerate().for_each(|(index, plane)| {
        let bias = bias[index % shape.channels];
        match activation {
            Some(Activation::Relu) => plane
                .iter_mut()
                .for_each(|x| *x = Activation::Relu.apply(*x + bias)),
            Some(Activation::Silu) => plane
                .iter_mut()
                .for_each(|x| *x = Activation::Silu.apply(*x + bias)),
            None => plane.iter_mut().for_each(|x| *x += bias),
        }
    });
}

/// The tail of a residual block, in place: `map = activation(map * gate[picture, channel] +
/// shortcut)`; without a gate the map is taken as it is.
///
/// # Panics
/// If `shortcut` is not as long as `map`, the gate does not have one value per plane, or a plane has
/// no values.
pub fn scale_add_activate(
    map: &mut [f32],
    gate: Option<&[f32]>,
    shortcut: &[f32],
    shape: MapShape,
    activation: Activation,
) {
    assert_eq!(map.len(), shortcut.len());
    assert!(gate.is_none_or(|gate| gate.len() * shape.plane == map.len()));
    let planes = map
        .par_chunks_exact_mut(shape.plane)
        .with_min_len(planes_per_task(shape));
    planes
        .zip(shortcut.par_chunks_exact(shape.plane))
        .enumerate()
        .for_each(|(index, (plane, shortcut))| {
            let gate = gate.map_or(1.0, |gate| gate[index]);
            let values = plane.iter_mut().zip(shortcut);
            match activation {
                Activation::Relu => {
                    values.for_each(|(x, s)| *x = Activation::Relu.apply(*x * gate + s));
                }
                Activation::Silu => {
                    values.for_each(|(x, s)| *x = Activation::Silu.apply(*x * gate + s));
                }
            }
        });
}
