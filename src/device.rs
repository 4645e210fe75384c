//! Where the network runs: CPU, CUDA or Metal.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

/// The device to run on, as a user chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The first of CUDA, Metal and CPU that works.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
    /// The GPU of a Mac.
    Metal,
}

/// An open device, and why better ones were not opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenDevice {
    /// The device, for Candle and for [`ModelOptions::device`](crate::ModelOptions::device).
    pub device: Device,
    /// The choice that it stands for, such as `cuda:0`; never `auto`.
    pub choice: DeviceChoice,
    /// For each better device that this build supports but could not open, the reason.
    pub passed_over: Vec<String>,
}

/// A device that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The text names no device.
    #[error("unknown device `{0}`, expected auto, cpu, cuda, cuda:N or metal")]
    Unknown(String),
    /// Support for this kind of device was not compiled in.
    #[error("this program was built without {0} support")]
    NotBuilt(&'static str),
    /// The machine does not have the device, or its driver does not work.
    #[error("the device {choice} cannot be opened: {reason}")]
    Unavailable {
        /// The device asked for.
        choice: DeviceChoice,
        /// What the driver reported.
        reason: String,
    },
}

impl DeviceError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotBuilt("CUDA") => Some(
                "build it on a machine with the CUDA toolkit: `cargo install --path . --features cuda`"
                    .into(),
            ),
            Self::NotBuilt(_) => {
                Some("build it on macOS: `cargo install --path . --features metal`".into())
            }
            Self::Unavailable { .. } => Some("choose the device `auto` or `cpu`".into()),
            Self::Unknown(_) => None,
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => {
                let index = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                index.parse().map(Self::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// [`DeviceError`] if this build does not support it or the machine does not have it; never for
    /// `auto` and `cpu`.
    pub fn open(self) -> Result<OpenDevice, DeviceError> {
        let opened = |device| OpenDevice {
            device,
            choice: self,
            passed_over: Vec::new(),
        };
        match self {
            Self::Cpu => Ok(opened(Device::Cpu)),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(DeviceError::NotBuilt("CUDA")),
            Self::Metal if !cfg!(feature = "metal") => Err(DeviceError::NotBuilt("Metal")),
            Self::Cuda(index) => self.attempt(|| open_cuda(index)).map(opened),
            Self::Metal => self.attempt(|| Device::new_metal(0)).map(opened),
            Self::Auto => Ok(Self::open_best()),
        }
    }

    fn open_best() -> OpenDevice {
        let mut passed_over = Vec::new();
        for choice in [Self::Cuda(0), Self::Metal] {
            match choice.open() {
                Ok(open) => {
                    return OpenDevice {
                        passed_over,
                        ..open
                    };
                }
                // Devices that were not compiled in are not worth a note.
                Err(DeviceError::NotBuilt(_)) => {}
                Err(error) => passed_over.push(error.to_string()),
            }
        }
        OpenDevice {
            device: Device::Cpu,
            choice: Self::Cpu,
            passed_over,
        }
    }

    /// Opens a device. If the driver library is missing, Candle panics instead of returning an error.
    fn attempt(
        self,
        open: impl FnOnce() -> candle_core::Result<Device>,
    ) -> Result<Device, DeviceError> {
        let unavailable = |reason| DeviceError::Unavailable {
            choice: self,
            reason,
        };
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)) {
            Ok(Ok(device)) => Ok(device),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable("the driver library could not be loaded".into())),
        }
    }
}

/// A device whose work is all queued on one stream, whatever thread it comes from: on Candle's usual
/// device each thread has a stream of its own, and a tensor of one thread could be read by another
/// before it is written.
#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> candle_core::Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    // SAFETY: the events would order several streams. This device has one, which runs its work in the
    // order in which it was queued, and frees memory in that order, too.
    #[allow(unsafe_code)]
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
    }
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> candle_core::Result<Device> {
    Device::new_cuda(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for name in ["auto", "cpu", "cuda:0", "cuda:7", "metal"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        assert_eq!(
            "cuda".parse::<DeviceChoice>().unwrap(),
            DeviceChoice::Cuda(0)
        );
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert!(name.parse::<DeviceChoice>().is_err(), "{name}");
        }
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_cpu_program_says_which_build_has_cuda() {
        let error = DeviceChoice::Cuda(0).open().unwrap_err();
        assert!(error.hint().unwrap().contains("--features cuda`"), "{error}");
        assert_eq!(DeviceChoice::Auto.open().unwrap().choice, DeviceChoice::Cpu);
    }
}
