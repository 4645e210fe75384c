//! Features of every image of a data set: one row of numbers each, in a file.
//!
//! [`extract`] runs images through a network and hands their rows on, batch by batch, in order. A
//! [`FeatureWriter`] puts them into a file that an interrupted run resumes, and a [`FeatureFile`] reads
//! it, mapped into memory. The [`FeatureHeader`] in the file says what the rows are of, so that features
//! of another model, other weights or another preprocessing are never mixed.
//!
//! Memory holds the list of images and a few batches, however many rows there are.

mod container;
mod error;
mod extract;
mod file;
mod format;
mod header;
mod journal;
mod json;
mod kept;
mod layer;
mod names;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod places;
mod sample;
mod writer;

pub use error::EmbedError;
#[cfg(feature = "cli")]
pub(crate) use extract::features;
pub use extract::{Batch, ExtractOptions, ExtractSummary, extract};
pub use file::FeatureFile;
pub use format::Format;
pub use header::{FeatureHeader, FeatureType};
pub use layer::Layer;
pub use sample::check_images;
pub use writer::{FeatureWriter, Opened, Start, WriterOptions, Written};
