//! Weights for measurements of speed, which does not depend on their values.

use std::borrow::Cow;
use std::io;

use half::bf16;
use safetensors::tensor::View;
use safetensors::{Dtype, serialize};

use super::{NetError, Plan, TensorPlan};
use crate::weights::{Weights, WeightsError};

/// Random weights for a plan, the same in each run. Every layer's output is of about the magnitude of its
/// input, so nothing overflows, and nothing becomes so small that processors take longer for it.
///
/// # Errors
/// [`NetError::Weights`] if the file in memory cannot be made.
pub fn random_weights(plan: &Plan) -> Result<Weights, NetError> {
    let tensors = plan.tensors();
    let named = tensors.iter().map(|tensor| (&tensor.name, Random(tensor)));
    let file = "random weights";
    let bytes = serialize(named, None).map_err(|error| WeightsError::Unwritable {
        file: file.into(),
        error: io::Error::other(error),
    })?;
    Ok(Weights::from_bytes(file, bytes)?)
}

/// A tensor in bf16, which takes half the memory of f32.
struct Random<'a>(&'a TensorPlan);

impl View for Random<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::BF16
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let TensorPlan { name, shape, .. } = self.0;
        let count = shape.iter().product();
        let fan_in: usize = shape.iter().skip(1).product();
        let (center, spread) = match shape.len() {
            // Variances and scales, and the rest of a BatchNorm.
            1 if name.ends_with(".running_var") || name.ends_with(".weight") => (1.0, 0.0),
            1 => (0.0, 0.1),
            _ => (0.0, (3.0 / fan_in as f32).sqrt()),
        };
        let mut state = 0x9E37_79B9_u32;
        let mut bytes = Vec::with_capacity(2 * count);
        for _ in 0..count {
            // The generator of "Numerical Recipes"; its high bits are the random ones.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            bytes.extend(bf16::from_f32(center + spread * value).to_le_bytes());
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        2 * self.0.shape.iter().product::<usize>()
    }
}
