//! The end of a residual block: scale by the gate, add the shortcut, activate.

use candle_core::{Result, Tensor};

use super::map::mismatch;
use super::{Activation, Map, candle, cpu};

/// `activation(branch * gate + shortcut)` for two maps and a gate `[N, C]`.
///
/// Takes the branch by value: the result is computed in its memory, in one pass.
///
/// # Errors
/// If the shapes differ or the device fails.
pub fn add_shortcut(
    branch: Map,
    gate: Option<&Tensor>,
    shortcut: &Map,
    activation: Option<Activation>,
) -> Result<Map> {
    match (branch, shortcut) {
        (Map::Cpu(branch), Map::Cpu(shortcut)) => {
            cpu::add_shortcut(branch, gate, shortcut, activation).map(Map::Cpu)
        }
        (Map::Bf16(branch), Map::Bf16(shortcut)) => {
            cpu::add_shortcut(branch, gate, shortcut, activation).map(Map::Bf16)
        }
        (Map::Candle(branch), Map::Candle(shortcut)) => {
            candle::add_shortcut(branch, gate, shortcut, activation).map(Map::Candle)
        }
        _ => Err(mismatch()),
    }
}
