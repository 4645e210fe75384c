//! Where the network runs: CPU, CUDA or Metal.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor};

use crate::machine;

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

/// What a driver or the system reports about an open device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceDetails {
    /// What its maker calls it; for the CPU known on Linux alone.
    pub name: Option<String>,
    /// Bytes of a GPU's memory, or, on a Mac, of what the GPU may use of it.
    pub total_memory: Option<u64>,
    /// Bytes of it that no program uses now; known on CUDA alone.
    pub free_memory: Option<u64>,
    /// Which instructions a CUDA device has, such as 8.0 as `(8, 0)`.
    pub compute_capability: Option<(i32, i32)>,
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
    /// There are CUDA devices, but fewer.
    #[error("there is no device {choice}: this machine has {}", cuda_devices(*.count))]
    NoSuch {
        /// The device asked for.
        choice: DeviceChoice,
        /// Number of CUDA devices, at least 1.
        count: usize,
    },
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
                "build it on a machine with the CUDA toolkit: `cargo install --path . --features \
                 cuda`"
                    .into(),
            ),
            Self::NotBuilt(_) => {
                Some("build it on macOS: `cargo install --path . --features metal`".into())
            }
            Self::NoSuch { .. } | Self::Unavailable { .. } => {
                Some("choose the device `auto` or `cpu`".into())
            }
            Self::Unknown(_) => None,
        }
    }
}

fn cuda_devices(count: usize) -> String {
    match count {
        0 | 1 => "cuda:0 alone".into(),
        _ => format!("cuda:0 to cuda:{}", count - 1),
    }
}

impl DeviceDetails {
    /// Asks the driver or the system.
    pub fn of(device: &Device) -> Self {
        match device {
            Device::Cpu => Self {
                name: machine::cpu_name(),
                ..Self::default()
            },
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                let stream = device.cuda_stream();
                let context = stream.context();
                let memory = context.mem_get_info().ok();
                Self {
                    name: context.name().ok(),
                    total_memory: memory.map(|(_, total)| total as u64),
                    free_memory: memory.map(|(free, _)| free as u64),
                    compute_capability: context.compute_capability().ok(),
                }
            }
            #[cfg(feature = "metal")]
            Device::Metal(device) => {
                let device = device.metal_device();
                Self {
                    name: Some(device.architecture_name()),
                    total_memory: Some(device.recommended_max_working_set_size() as u64),
                    ..Self::default()
                }
            }
            #[cfg(not(all(feature = "cuda", feature = "metal")))]
            _ => Self::default(),
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
    /// The devices of this machine, in the order in which [`DeviceChoice::Auto`] tries them. A kind that
    /// this build does not support, or that does not work, has one entry, whose opening says why.
    pub fn all() -> Vec<Self> {
        let cuda = (0..cuda_count().max(1)).map(Self::Cuda);
        cuda.chain([Self::Metal, Self::Cpu]).collect()
    }

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
            Self::Cuda(index) => {
                check_index(index, cuda_count())?;
                self.attempt(|| open_cuda(index)).map(opened)
            }
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

    /// Opens a device. On a Mac without one, Candle panics instead of returning an error.
    fn attempt(
        self,
        open: impl FnOnce() -> candle_core::Result<Device>,
    ) -> Result<Device, DeviceError> {
        let unavailable = |reason| DeviceError::Unavailable {
            choice: self,
            reason,
        };
        let open = || open().and_then(computes);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)) {
            Ok(Ok(device)) => Ok(device),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable("there is none, or its driver failed".into())),
        }
    }
}

/// With a count of 0, opening the device reports the reason: there may be no driver.
fn check_index(index: usize, count: usize) -> Result<(), DeviceError> {
    if count == 0 || index < count {
        return Ok(());
    }
    Err(DeviceError::NoSuch {
        choice: DeviceChoice::Cuda(index),
        count,
    })
}

/// The number of CUDA devices that work; 0 without a driver.
#[cfg(feature = "cuda")]
fn cuda_count() -> usize {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;
    let count = CudaContext::device_count().unwrap_or(0);
    usize::try_from(count).unwrap_or(0)
}

#[cfg(not(feature = "cuda"))]
fn cuda_count() -> usize {
    0
}

/// The device, if it computes: a driver may open a device, but refuse kernels newer than itself.
fn computes(device: Device) -> candle_core::Result<Device> {
    let two = (Tensor::ones((), DType::F32, &device)? * 2.0)?;
    match two.to_scalar::<f32>()? {
        2.0 => Ok(device),
        other => candle_core::bail!("1 * 2 is {other} there"),
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

    #[test]
    fn a_device_that_is_not_there_lists_those_that_are() {
        for (index, count) in [(0, 0), (3, 0), (0, 1), (3, 4)] {
            assert!(check_index(index, count).is_ok(), "{index} of {count}");
        }
        for (index, count, list) in [(1, 1, "cuda:0 alone"), (3, 2, "cuda:0 to cuda:1")] {
            let error = check_index(index, count).unwrap_err();
            let text = format!("there is no device cuda:{index}: this machine has {list}");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let opened = DeviceChoice::Metal.attempt(|| panic!("no device"));
        let text = "the device metal cannot be opened: there is none, or its driver failed";
        assert_eq!(opened.unwrap_err().to_string(), text);
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_cpu_program_says_which_build_has_cuda() {
        let error = DeviceChoice::Cuda(0).open().unwrap_err();
        assert!(
            error.hint().unwrap().contains("--features cuda`"),
            "{error}"
        );
        assert_eq!(DeviceChoice::Auto.open().unwrap().choice, DeviceChoice::Cpu);
    }
}
