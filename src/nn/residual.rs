//! The tail of a residual block: scale by the gate, add the shortcut, activate.

use candle_core::{Result, Tensor};

use super::map::mismatch;
use super::{Activation, Map, candle, cpu};

/// `activation(branch * gate + shortcut)` for two maps and a gate `[N, C]`.
///
/// Takes the branch by value: on the CPU its memory becomes the result, in one pass.
///
/// # Errors
/// If the shapes differ or the device fails.
pub fn residual_tail(
    branch: Map,
    gate: Option<&Tensor>,
    shortcut: &Map,
    activation: Option<Activation>,
) -> Result<Map> {
    match (branch, shortcut) {
        (Map::Cpu(branch), Map::Cpu(shortcut)) => {
            cpu::residual_tail(branch, gate, shortcut, activation).map(Map::Cpu)
        }
        (Map::Candle(branch), Map::Candle(shortcut)) => {
            candle::residual_tail(&branch, gate, shortcut, activation).map(Map::Candle)
        }
        _ => Err(mismatch()),
    }
}
