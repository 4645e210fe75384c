//! In which precision a network computes.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::device::DeviceDetails;
use crate::kernels::Isa;

/// The precision of a network's maps and of the factors of its products. Products accumulate in f32, and
/// biases, squeezes, gates and logits are f32 whatever it is. There is no f16: sums can exceed its largest
/// number, 65,504.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 32-bit maps, whose values are rounded to 10 bits of fraction before they are multiplied: NVIDIA's
    /// TensorFloat-32.
    Tf32,
    /// 16-bit maps and filters with the range of f32 and 7 bits of fraction: bfloat16.
    Bf16,
}

/// The precision to run in, as a user chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrecisionChoice {
    /// The fastest one on CUDA and the CPU, f32 on Metal.
    Auto,
    /// This one.
    Exactly(Precision),
}

/// An unknown precision, or one that the device does not support.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrecisionError {
    /// The text names no precision.
    #[error("unknown precision `{0}`, expected auto, f32, tf32 or bf16")]
    Unknown(String),
    /// The device does not compute in it.
    #[error("{device} does not compute in {precision}; it has {}", names(.available))]
    Unavailable {
        /// The precision asked for.
        precision: Precision,
        /// The kind of device.
        device: &'static str,
        /// What the device has.
        available: &'static [Precision],
    },
}

fn names(precisions: &[Precision]) -> String {
    let names: Vec<String> = precisions.iter().map(Precision::to_string).collect();
    names.join(", ")
}

impl Precision {
    /// The precisions of a device, the most precise first.
    pub fn available(device: &Device) -> &'static [Self] {
        match device {
            Device::Cpu => &[Self::F32, Self::Bf16],
            Device::Metal(_) => &[Self::F32, Self::Bf16],
            Device::Cuda(_) if is_ampere(device) => &[Self::F32, Self::Tf32, Self::Bf16],
            Device::Cuda(_) => &[Self::F32],
        }
    }

    /// The precision in which the device computes fastest, as far as that is known.
    pub fn fastest(device: &Device) -> Self {
        let available = Self::available(device).iter().rev();
        let mut native = available.filter(|precision| precision.is_native(device));
        match device {
            Device::Metal(_) => Self::F32,
            _ => native.next().copied().unwrap_or_default(),
        }
    }

    /// Whether the device has instructions for this precision. A CPU without those for bf16 computes in f32
    /// and rounds, which takes longer than f32 alone.
    pub fn is_native(self, device: &Device) -> bool {
        self != Self::Bf16 || !device.is_cpu() || Isa::best().has_bf16()
    }

    /// Whether the device computes in this precision.
    ///
    /// # Errors
    /// [`PrecisionError::Unavailable`] if it does not.
    pub fn check(self, device: &Device) -> Result<(), PrecisionError> {
        let available = Self::available(device);
        if available.contains(&self) {
            return Ok(());
        }
        Err(PrecisionError::Unavailable {
            precision: self,
            device: match device {
                Device::Cpu => "the CPU",
                Device::Metal(_) => "Metal",
                Device::Cuda(_) => "this CUDA device",
            },
            available,
        })
    }
}

/// Whether it has the instructions for TF32 and bf16.
fn is_ampere(device: &Device) -> bool {
    DeviceDetails::of(device).compute_capability >= Some((8, 0))
}

impl PrecisionChoice {
    /// What it means on a device.
    ///
    /// # Errors
    /// [`PrecisionError::Unavailable`] if the device does not have it.
    pub fn resolve(self, device: &Device) -> Result<Precision, PrecisionError> {
        let precision = match self {
            Self::Exactly(precision) => precision,
            Self::Auto => Precision::fastest(device),
        };
        precision.check(device)?;
        Ok(precision)
    }
}

impl Default for PrecisionChoice {
    fn default() -> Self {
        Self::Exactly(Precision::F32)
    }
}

impl FromStr for PrecisionChoice {
    type Err = PrecisionError;

    fn from_str(text: &str) -> Result<Self, PrecisionError> {
        Ok(match text {
            "auto" => Self::Auto,
            "f32" => Self::Exactly(Precision::F32),
            "tf32" => Self::Exactly(Precision::Tf32),
            "bf16" => Self::Exactly(Precision::Bf16),
            _ => return Err(PrecisionError::Unknown(text.to_owned())),
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(precision) => precision.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for name in ["auto", "f32", "tf32", "bf16"] {
            let choice: PrecisionChoice = name.parse().unwrap();
            assert_eq!(choice.to_string(), name);
        }
        let error = "f16".parse::<PrecisionChoice>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown precision `f16`, expected auto, f32, tf32 or bf16"
        );
    }

    #[test]
    fn the_cpu_chooses_bf16_if_it_has_the_instructions() {
        let auto = PrecisionChoice::Auto.resolve(&Device::Cpu).unwrap();
        assert_eq!(auto == Precision::Bf16, Isa::best().has_bf16());
        assert!(auto.is_native(&Device::Cpu));
        let bf16 = PrecisionChoice::Exactly(Precision::Bf16);
        assert_eq!(bf16.resolve(&Device::Cpu).unwrap(), Precision::Bf16);
        let error = PrecisionChoice::Exactly(Precision::Tf32)
            .resolve(&Device::Cpu)
            .unwrap_err();
        let text = "the CPU does not compute in tf32; it has f32, bf16";
        assert_eq!(error.to_string(), text);
    }
}
