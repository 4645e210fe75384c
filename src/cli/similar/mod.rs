//! `senet similar`: nearest neighbours and near-duplicates in a file of features.

mod duplicates;
mod query;
mod rows;
mod sheet;

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{SourceArgs, probability};
use super::eval::Output;
use super::format::FormatArgs;
use super::output::{Messages, Results};
use crate::device::DeviceChoice;
use crate::embed::{EmbedError, FeatureFile, Format};
use crate::error::Error;
use crate::preprocess::DecodeOptions;
use crate::similar::SimilarError;

/// Find similar images in a file of features
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet embed photos -m se-resnet50 -o photos.safetensors\n  \
    senet similar cat.jpg --in photos.safetensors\n  \
    senet similar cats/ --in photos.safetensors -k 3 --json\n  \
    senet similar cat.jpg --in photos.safetensors --html sheet.html --data photos\n  \
    senet similar --in photos.safetensors --duplicates --threshold 0.95\n  \
    senet similar --in photos.safetensors --duplicates --new today.safetensors\n\n\
    Similarity is the cosine of the features, from -1 to 1. The model, its weights and the preprocessing\n\
    of the images are those of the file, which `senet embed` writes.")]
pub(super) struct Arguments {
    /// Images to find neighbors of: files, directories (searched recursively), https:// URLs, or - for
    /// one image on standard input
    #[arg(
        value_name = "QUERY",
        required_unless_present = "duplicates",
        conflicts_with = "duplicates"
    )]
    queries: Vec<PathBuf>,
    /// File of features to search
    #[arg(long = "in", value_name = "FILE")]
    features: PathBuf,
    /// Number of neighbors to print per query
    #[arg(short = 'k', long, value_name = "K", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "duplicates")]
    top_k: u32,
    /// Print groups of near-duplicates instead: all pairs of images are compared, and every image of a
    /// group has another one in it that is at least as similar as --threshold
    #[arg(long)]
    duplicates: bool,
    /// Similarity from which on two images are near-duplicates
    #[arg(long, value_name = "SIMILARITY", default_value_t = 0.97, requires = "duplicates",
        conflicts_with = "queries",
        value_parser = probability)]
    threshold: f64,
    /// Compare only the images of this file of features with those of --in
    #[arg(
        long,
        value_name = "FILE",
        requires = "duplicates",
        conflicts_with = "queries"
    )]
    new: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    /// Also write a page with the images, as far as they can be read
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Data set that the features were computed from, for the images of --html [default: the paths in the
    /// file, from the current directory]
    #[arg(long, value_name = "DATA", requires = "html")]
    data: Vec<PathBuf>,
    /// Model of the features, if it has to be found elsewhere [default: the one that the file names]
    #[arg(short, long, value_name = "MODEL", conflicts_with = "duplicates")]
    model: Option<String>,
    /// Use this weights file (.safetensors, .bin or .pth) instead of the model's own
    #[arg(short, long, value_name = "FILE", conflicts_with = "duplicates")]
    weights: Option<PathBuf>,
    /// Classifier that the features were computed with, as in `senet embed --head`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duplicates", "num_classes"])]
    head: Option<PathBuf>,
    /// Device to run on: auto (CUDA, then Metal, then CPU), cpu, cuda, cuda:N or metal
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "auto",
        conflicts_with = "duplicates"
    )]
    device: DeviceChoice,
    /// Number of CPU threads [default: one per physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Use only cached files; never access the network
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    source: SourceArgs,
    /// Refuse images with more pixels than this (width times height)
    #[arg(long, value_name = "PIXELS", default_value_t = DecodeOptions::default().max_pixels)]
    max_pixels: u64,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let kept = [Some(&*arguments.features), arguments.new.as_deref()];
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    let page = arguments.html.as_deref();
    let page = page.map(|path| Output::new(path, &kept)).transpose()?;
    let file = open(&arguments.features)?;
    if arguments.duplicates {
        duplicates::run(arguments, &file, page, messages, results)
    } else {
        query::run(arguments, &file, page, messages, results)
    }
}

/// Opens a file of features.
fn open(path: &Path) -> Result<FeatureFile, Error> {
    FeatureFile::open(path).map_err(|error| match error {
        EmbedError::Damaged {
            path: file,
            problem,
        } => Error::from(match Format::of(path) {
            Ok(Format::Npy | Format::JsonLines | Format::Parquet) => {
                SimilarError::NoHeader { file }
            }
            _ => SimilarError::NoFeatures { file, problem },
        }),
        error => Error::from(error),
    })
}

/// The error of a file of features whose header is not the expected one.
fn foreign(error: EmbedError) -> Error {
    match error {
        EmbedError::Mismatch {
            path,
            field,
            expected,
            found,
        } => Error::from(SimilarError::Foreign {
            file: path,
            field,
            expected,
            found,
        }),
        error => Error::from(error),
    }
}

/// The error of a search, with the image that it is about.
fn search_error(error: SimilarError, path: impl Fn(usize) -> String) -> anyhow::Error {
    let place = match error {
        SimilarError::NotFinite { index } => Some(path(index)),
        _ => None,
    };
    let error = anyhow::Error::new(Error::from(error));
    match place {
        Some(place) => error.context(format!("cannot compare {place}")),
        None => error,
    }
}
