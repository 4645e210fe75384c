//! Image classification with Squeeze-and-Excitation networks and their published weights: SENet-154,
//! SE-ResNet, SE-ResNeXt, ResNet-RS and SKNet, with the numbers of
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
//! | classes by several models | [`Ensemble`] |
//! | logits, pooled features, feature maps of every stage, gates of every block | [`Model::network`], then [`forward`](nets::Network::forward), [`features`](nets::Network::features), [`forward_observed`](nets::Network::forward_observed) |
//! | images in, tensors out, as Pillow and torchvision make them | [`preprocess`] |
//! | accuracy on a data set | [`eval`] |
//! | features of a data set, in a file | [`embed`] |
//! | nearest neighbours and near-duplicates of feature vectors | [`similar`] |
//! | classifiers of other classes on a network's features | [`train`] |
//! | why a network answers as it does | [`explain`] |
//! | the known checkpoints, with size, accuracy and source | [`Zoo`], [`Card`] |
//! | downloads and the cache | [`hub`] |
//! | weights files: safetensors and PyTorch's | [`weights`] |
//! | comparing a network with stored numbers | [`verify`] |
//! | how many threads a pool should have | [`machine::threads`] |
//!
//! The directory `examples` has programs of 30 lines that classify images, compare them by their embeddings,
//! and evaluate a model. The [guides](guide) describe the files that are read, every form of output, and all
//! measurements; the [architecture](guide::architecture) page describes the code and how to extend it.
//!
//! # Errors and panics
//!
//! Each module has its own error type, and [`enum@Error`] joins them; [`Error::hint`] says what to do next.
//! Data from users, disks and networks never causes a panic. The library never prints or exits.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `cli` (default) | what only the `senet` program needs |
//! | `parquet` | data sets in Parquet files, and results as Parquet |
//! | `turbojpeg` | decodes JPEG with libjpeg-turbo, bit for bit as Pillow does |
//! | `cuda`, `metal` | GPUs, through Candle |
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod bounded;
#[cfg(feature = "cli")]
pub mod cli;
pub mod device;
mod digest;
pub mod embed;
pub mod error;
pub mod eval;
pub mod explain;
mod files;
pub mod guide;
pub mod hub;
#[doc(hidden)]
pub mod kernels;
pub mod labels;
mod logits;
pub mod machine;
pub mod model;
pub mod nets;
#[doc(hidden)]
pub mod nn;
pub mod preprocess;
mod quote;
pub mod similar;
pub mod store;
pub mod text;
pub mod train;
pub mod verify;
mod walk;
pub mod weights;
pub mod zoo;

/// The tensors that the library takes and returns.
pub use candle_core;
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use model::{Ensemble, Model, ModelOptions, Prediction};
pub use nn::{Precision, PrecisionChoice};
pub use zoo::{Card, ModelSpec, Zoo};

/// The README's example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
