#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod bounded;
pub mod cards;
#[cfg(feature = "cli")]
pub mod cli;
pub mod device;
pub mod error;
pub mod eval;
mod files;
pub mod golden;
pub mod guide;
pub mod hub;
pub mod image;
pub mod kernels;
pub mod labels;
pub mod model;
pub mod nets;
pub mod nn;
mod quote;
pub mod text;
mod walk;
pub mod weights;

pub use cards::{Card, ModelSpec, Zoo};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use model::{Model, Prediction};
