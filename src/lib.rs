//! Image classification with Squeeze-and-Excitation networks: SENet-154, SE-ResNet, SE-ResNeXt, their
//! relatives, and SKNet, with their published weights and the numbers of
//! [timm](https://github.com/huggingface/pytorch-image-models).
//!
//! ```no_run
//! use senet::Model;
//! use senet::preprocess::{DecodeOptions, open};
//!
//! # fn main() -> senet::Result<()> {
//! // The weights come from the Hugging Face cache, or are downloaded into it.
//! let model = Model::builder("se-resnet50").open()?;
//! let image = open("photo.jpg", &DecodeOptions::default())?;
//! for best in &model.classify(&[image], 5)?[0] {
//!     println!("{:.3} {}", best.probability, best.label.name);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Where to begin
//!
//! | for | see |
//! |---|---|
//! | classes of images | [`Model`], [`Model::builder`], [`Model::classify`] |
//! | logits, pooled features, the maps of every stage and the gates of every block | [`Model::network`], then [`forward`](nets::Network::forward), [`features`](nets::Network::features), [`forward_observed`](nets::Network::forward_observed) |
//! | images in, tensors out, as Pillow and torchvision make them | [`preprocess`] |
//! | accuracy on a data set | [`eval`] |
//! | which checkpoints there are, and what is known about each | [`Zoo`], [`Card`] |
//! | downloads and the cache | [`hub`] |
//! | weights files: safetensors and PyTorch's | [`weights`] |
//! | comparing a network with stored numbers | [`verify`] |
//!
//! The directory `examples` has programs of 30 lines that classify images, compare them by their embeddings,
//! and evaluate a model. The [guides](guide) describe the files that are read, every form of output, and what was measured; the
//! [architecture](guide::architecture) page says how the code is laid out and how to add to it.
//!
//! # Errors and panics
//!
//! Each module has an error of its own, and [`enum@Error`] joins them; [`Error::hint`] says what to do next. Data
//! from users, disks and networks never causes a panic. Nothing here prints or exits.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `cli` (default) | what only the `senet` program needs |
//! | `parquet` | data sets in Parquet files, and results as such |
//! | `turbojpeg` | JPEG through libjpeg-turbo, equal to Pillow's bit for bit |
//! | `cuda`, `cudnn`, `metal` | GPUs, through Candle |
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
#[doc(hidden)]
pub mod kernels;
pub mod labels;
mod logits;
pub mod model;
pub mod nets;
#[doc(hidden)]
pub mod nn;
pub mod preprocess;
mod quote;
pub mod store;
pub mod text;
pub mod verify;
mod walk;
pub mod weights;
pub mod zoo;

/// The tensors that the library takes and returns.
pub use candle_core;
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use model::{Model, ModelOptions, Prediction};
pub use zoo::{Card, ModelSpec, Zoo};

/// The README's example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
