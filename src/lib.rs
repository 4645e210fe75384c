#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod bounded;
#[cfg(feature = "cli")]
pub mod cli;
pub mod device;
mod digest;
pub mod error;
pub mod eval;
mod files;
pub mod guide;
pub mod hub;
pub mod kernels;
pub mod labels;
pub mod model;
pub mod nets;
pub mod nn;
pub mod preprocess;
mod quote;
pub mod text;
pub mod verify;
mod walk;
pub mod weights;
pub mod zoo;

pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use model::{Model, Prediction};
pub use zoo::{Card, ModelSpec, Zoo};
