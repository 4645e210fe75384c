//! The tail of a residual block: scale by the gate, add the shortcut, activate.

use candle_core::{CpuStorage, D, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor};

use super::conv::{contiguous, f32_values, f32_values_mut};
use super::{Activation, activate};
use crate::kernels::{MapShape, scale_add_activate};

/// `activation(branch * gate + shortcut)` for maps `[N, C, H, W]` and a gate `[N, C]`.
///
/// Takes the branch by value: on the CPU its memory becomes the result, in one pass. It must be
/// the caller's own, not a view that somebody else reads.
///
/// # Errors
/// If the shapes differ or the device fails.
pub fn residual_tail(
    branch: Tensor,
    gate: Option<&Tensor>,
    shortcut: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    if !matches!(branch.device(), Device::Cpu) {
        return plain_tail(&branch, gate, shortcut, activation);
    }
    let tail = Tail { activation };
    let shortcut = shortcut.contiguous()?;
    match gate {
        Some(gate) => branch.inplace_op3(&shortcut, &gate.contiguous()?, &tail)?,
        None => branch.inplace_op2(&shortcut, &tail)?,
    }
    Ok(branch)
}

/// The same in Candle's operations, for every device.
fn plain_tail(
    branch: &Tensor,
    gate: Option<&Tensor>,
    shortcut: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    let sum = match gate {
        Some(gate) => {
            let gate = gate.unsqueeze(D::Minus1)?.unsqueeze(D::Minus1)?;
            (branch.broadcast_mul(&gate)? + shortcut)?
        }
        None => (branch + shortcut)?,
    };
    activate(&sum, Some(activation))
}

fn values<'a>((storage, layout): (&'a CpuStorage, &Layout)) -> Result<&'a [f32]> {
    let (start, end) = contiguous(layout, NAME)?;
    Ok(&f32_values(storage)?[start..end])
}

const NAME: &str = "residual-tail";

struct Tail {
    activation: Activation,
}

impl Tail {
    fn run(
        &self,
        map: (&mut CpuStorage, &Layout),
        shortcut: (&CpuStorage, &Layout),
        gate: Option<(&CpuStorage, &Layout)>,
    ) -> Result<()> {
        let (batch, channels, height, width) = map.1.shape().dims4()?;
        let shape = MapShape {
            channels,
            plane: height * width,
        };
        if shortcut.1.shape() != map.1.shape() {
            candle_core::bail!(
                "{NAME}: shortcut {:?} and branch {:?} differ",
                shortcut.1.shape(),
                map.1.shape()
            );
        }
        let gate = gate.map(values).transpose()?;
        if gate.is_some_and(|gate| gate.len() != batch * channels) {
            candle_core::bail!("{NAME}: expected one gate per channel of each picture");
        }
        let (start, end) = contiguous(map.1, NAME)?;
        let map = &mut f32_values_mut(map.0)?[start..end];
        scale_add_activate(map, gate, values(shortcut)?, shape, self.activation);
        Ok(())
    }
}

impl InplaceOp2 for Tail {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        map: &mut CpuStorage,
        map_layout: &Layout,
        shortcut: &CpuStorage,
        shortcut_layout: &Layout,
    ) -> Result<()> {
        self.run((map, map_layout), (shortcut, shortcut_layout), None)
    }
}

impl InplaceOp3 for Tail {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        map: &mut CpuStorage,
        map_layout: &Layout,
        shortcut: &CpuStorage,
        shortcut_layout: &Layout,
        gate: &CpuStorage,
        gate_layout: &Layout,
    ) -> Result<()> {
        self.run(
            (map, map_layout),
            (shortcut, shortcut_layout),
            Some((gate, gate_layout)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_equals_candles_operations() {
        let device = Device::Cpu;
        for (n, c, h, w) in [(1, 1, 1, 1), (2, 3, 5, 7), (3, 8, 14, 14)] {
            let random = || Tensor::randn(0f32, 1., (n, c, h, w), &device).unwrap();
            let (branch, shortcut) = (random(), random());
            let gate = Tensor::rand(0f32, 1., (n, c), &device).unwrap();
            for gate in [None, Some(&gate)] {
                for activation in [Activation::Relu, Activation::Silu] {
                    let expected = plain_tail(&branch, gate, &shortcut, activation).unwrap();
                    let copy = branch.copy().unwrap();
                    let found = residual_tail(copy, gate, &shortcut, activation).unwrap();
                    let difference = (found - expected)
                        .unwrap()
                        .abs()
                        .unwrap()
                        .max_all()
                        .unwrap();
                    assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
                }
            }
        }
    }
}
