//! `senet embed`: features of every image of a data set, in a file.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::args::{ModelArgs, PreprocessArgs, SourceArgs, note_clipped};
use super::output::{Messages, human_bytes};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::embed::{
    EmbedError, ExtractOptions, ExtractSummary, FeatureFile, FeatureHeader, FeatureType,
    FeatureWriter, Format, Layer, Opened, Start, WriterOptions, check_images, extract,
};
use crate::error::Error;
use crate::eval::Dataset;
use crate::model::Model;

/// Write the features of images to a file, for search, clustering and training
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet embed photos/ -m se-resnet50 -o photos.safetensors\n  \
    senet embed photos/ -m se-resnet50 -o photos.safetensors --append  # photos that came later\n  \
    senet embed photos/ a.jpg more.tar --l2 --dtype f16 -o all.npy\n  \
    senet embed photos/ --layer stage5 -o maps.safetensors\n\n\
    An image that fails has no row: FILE.errors.jsonl lists it, and the exit code is 1. While the run\n\
    lasts, rows are in FILE.part, and FILE.journal says how far it has come.")]
pub(super) struct Arguments {
    /// Image files; directories (searched recursively); tar archives (.tar, .tar.gz); Parquet files
    /// (builds with the feature parquet); directories of archives; or - for a tar archive on standard
    /// input
    #[arg(value_name = "DATA", required = true)]
    data: Vec<PathBuf>,
    /// File to write, in the format of its extension: .safetensors, .npy (paths in FILE.paths.txt),
    /// .jsonl, or .parquet (builds with the feature parquet)
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Layer whose output is written: pooled (the classifier's input), logits, or a map, from stage1
    /// (the stem) to stage5
    #[arg(long, value_name = "LAYER", default_value_t)]
    layer: Layer,
    /// Divide the features of each image by their Euclidean length
    #[arg(long)]
    l2: bool,
    /// Type of the stored numbers; f16 only in .safetensors and .npy
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: Dtype,
    /// Continue an interrupted run, or start a new one if there is none. A whole .safetensors file is
    /// checked and kept
    #[arg(long)]
    resume: bool,
    /// Keep the rows of FILE and add those of images whose path is not in it; without FILE, start a new
    /// one. Only for .safetensors
    #[arg(long)]
    append: bool,
    /// Replace FILE, and discard an interrupted run
    #[arg(long, conflicts_with_all = ["resume", "append"])]
    force: bool,
    /// Images per forward pass [default: 8, on a GPU 64]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: Option<u32>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    preprocess: PreprocessArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    F16,
}

impl From<Dtype> for FeatureType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
        }
    }
}

pub(super) fn run(arguments: &Arguments, messages: Messages) -> anyhow::Result<u8> {
    let writer_options = check(arguments)?;
    let data = Dataset::unlabelled(&arguments.data).map_err(Error::from)?;
    if data.spooled > 0 {
        messages.note(format!(
            "{} of images kept in a temporary file in {}",
            human_bytes(data.spooled),
            std::env::temp_dir().display()
        ));
    }
    if let Some(note) = data.passed.note() {
        messages.note(note);
    }
    let overrides = arguments.preprocess.input.overrides();
    let opened = session::open(&arguments.model, &arguments.source, &overrides, messages)?;
    let weights = opened.fingerprint()?;
    let (given, device) = (arguments.batch_size, &opened.options.device);
    let batch_size = session::batch_size(given, data.items.len(), device, messages);
    let model = opened.load()?;
    let options = ExtractOptions {
        layer: arguments.layer,
        l2: arguments.l2,
        decode: arguments.preprocess.decode_options(),
        batch_size,
        stop: Some(session::stop_on_interrupt()?),
        ..ExtractOptions::default()
    };
    let header = FeatureHeader::new(&model, weights, &options, arguments.dtype.into());
    let header = header.map_err(Error::from)?;
    if arguments.append || arguments.resume {
        let same = check_images(&arguments.out, &header, &model, &data.items, &options);
        same.map_err(Error::from)?;
    }
    let opened = FeatureWriter::open(&arguments.out, header, &data.items, &writer_options);
    match opened.map_err(Error::from)? {
        Opened::Whole(file) => Ok(keep(&file, arguments.append, data.items.len(), messages)),
        Opened::Writer(writer) => write(&arguments.out, *writer, &model, &options, messages),
    }
}

/// The checks that clap cannot express, and those of the file that come before the work.
fn check(arguments: &Arguments) -> anyhow::Result<WriterOptions> {
    let streams = arguments.data.iter().filter(|path| path.as_os_str() == "-");
    if streams.count() > 1 {
        bail!("standard input can be read only once");
    }
    if arguments.l2 && matches!(arguments.layer, Layer::Stage(_)) {
        bail!("`--l2` is for pooled features and logits: a map is not one vector");
    }
    let out = &arguments.out;
    let same = |path: &PathBuf| match (path.canonicalize(), out.canonicalize()) {
        (Ok(path), Ok(out)) => path == out,
        _ => false,
    };
    let mut inputs = arguments.data.iter().chain(&arguments.model.weights);
    if inputs.any(same) {
        bail!("{} is an input and cannot be the output", out.display());
    }
    let options = WriterOptions {
        format: Format::of(out).map_err(Error::from)?,
        start: match (arguments.resume, arguments.force) {
            (true, _) => Start::Resume,
            (_, true) => Start::Replace,
            _ => Start::New,
        },
        append: arguments.append,
        ..WriterOptions::default()
    };
    FeatureWriter::check(out, arguments.dtype.into(), &options).map_err(Error::from)?;
    Ok(options)
}

/// Leaves a whole file as it is, which has a row for each of the images that did not fail.
fn keep(file: &FeatureFile, append: bool, images: usize, messages: Messages) -> u8 {
    let path = file.source().display();
    if append {
        messages.note(format!(
            "{path} already has the rows of {}, which it knows by path",
            counted(images)
        ));
        return SUCCESS;
    }
    messages.note(format!("{path} is whole"));
    match images.saturating_sub(file.len()) {
        0 => SUCCESS,
        failed => note_failed(path, failed, messages),
    }
}

fn note_failed(path: impl Display, failed: usize, messages: Messages) -> u8 {
    messages.note(format!(
        "{} failed: {path}.errors.jsonl lists {}",
        counted(failed),
        if failed == 1 { "it" } else { "them" }
    ));
    SOME_FAILED
}

/// Images and their number.
fn counted(images: usize) -> String {
    format!("{images} image{}", if images == 1 { "" } else { "s" })
}

fn write(
    out: &Path,
    mut writer: FeatureWriter<'_>,
    model: &Model,
    options: &ExtractOptions,
    messages: Messages,
) -> anyhow::Result<u8> {
    if writer.known() > 0 {
        messages.note(format!(
            "{} already has the rows of {} of {}, which it knows by path",
            out.display(),
            writer.known(),
            counted(writer.known() + writer.images())
        ));
    }
    let remaining = writer.remaining();
    let done = writer.images() - remaining.len();
    if done > 0 {
        messages.note(format!(
            "{done} of {} were done before",
            counted(writer.images())
        ));
    }
    let bar = messages.bar(
        remaining.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}",
    );
    let summary = extract(model, &remaining, options, |batch| {
        writer.push(&batch)?;
        bar.suspend(|| {
            for (path, error) in writer.failures() {
                messages.failure(format!("{path}: {error}"));
            }
        });
        bar.inc(batch.rows.len() as u64);
        Ok::<_, EmbedError>(())
    });
    bar.finish_and_clear();
    let summary = summary.map_err(Error::from)?;
    session::note_long_run(model, summary.network, messages);
    session::note_reduced_batch(model, messages);
    note_clipped(messages);
    if summary.stopped {
        writer.save().map_err(Error::from)?;
        let left = writer.remaining().len();
        messages.note(format!(
            "interrupted after {} of {}; continue with --resume",
            writer.images() - left,
            counted(writer.images())
        ));
        return Ok(INTERRUPTED);
    }
    finish(out, writer, remaining.len(), &summary, messages)
}

fn finish(
    out: &Path,
    writer: FeatureWriter<'_>,
    images: usize,
    summary: &ExtractSummary,
    messages: Messages,
) -> anyhow::Result<u8> {
    let shape = writer.header().shape.iter().map(usize::to_string);
    let shape = shape.collect::<Vec<_>>().join("x");
    let written = writer.finish().map_err(Error::from)?;
    let seconds = summary.elapsed.as_secs_f64();
    messages.note(format!(
        "{} in {seconds:.1} s, {:.0} a second; the network took {:.1} s",
        counted(images),
        images as f64 / seconds.max(f64::MIN_POSITIVE),
        summary.network.as_secs_f64()
    ));
    let path = out.display();
    messages.note(format!(
        "{path} has {} row{} of {shape} features",
        written.rows,
        if written.rows == 1 { "" } else { "s" }
    ));
    match written.failed {
        0 => Ok(SUCCESS),
        failed => Ok(note_failed(path, failed, messages)),
    }
}
