//! The features of the images: from the file that keeps them, and the network for the others.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use serde::Deserialize;

use super::arguments::Arguments;
use crate::cli::output::Messages;
use crate::cli::session;
use crate::embed::{
    EmbedError, ExtractOptions, FeatureFile, FeatureHeader, FeatureType, FeatureWriter, Opened,
    Start, WriterOptions, check_images, extract,
};
use crate::error::Error;
use crate::eval::{Dataset, Item};
use crate::model::Model;
use crate::preprocess::Views;

/// The features of the images that could be read, in the order of the data set.
pub(super) struct Features {
    /// `[images, width]`.
    pub values: Vec<f32>,
    /// Those of their mirror images, if they are learned from.
    pub flipped: Option<Vec<f32>>,
    pub width: usize,
    /// Place in the data set of each.
    pub items: Vec<usize>,
    /// Place in the data set of each other image, and its error.
    pub failures: Vec<(usize, String)>,
}

/// `None` if Ctrl-C stopped it.
pub(super) fn features(
    arguments: &Arguments,
    model: &Model,
    fingerprint: &str,
    data: &Dataset,
    stop: &Arc<AtomicBool>,
    messages: Messages,
) -> anyhow::Result<Option<Features>> {
    let images = data.items.len();
    let device = model.network().device();
    let options = ExtractOptions {
        views: match arguments.augment {
            Some(_) => Views::Flip,
            None => Views::One,
        },
        decode: arguments.preprocess.decode_options(),
        batch_size: session::batch_size(arguments.batch_size, images, device, messages),
        stop: Some(Arc::clone(stop)),
        ..ExtractOptions::default()
    };
    let header = FeatureHeader::new(model, fingerprint.to_owned(), &options, FeatureType::F32);
    let header = header.map_err(Error::from)?;
    // What is not kept is deleted in the end.
    let folder = tempfile::tempdir()?;
    let path = match &arguments.features {
        Some(path) => path.clone(),
        None => folder.path().join("features.safetensors"),
    };
    let writing = WriterOptions {
        start: Start::Resume,
        append: true,
        ..WriterOptions::default()
    };
    check_images(&path, &header, model, &data.items, &options).map_err(unusable)?;
    let opened = FeatureWriter::open(&path, header, &data.items, &writing).map_err(unusable)?;
    let (file, failures) = match opened {
        Opened::Whole(file) => {
            messages.note(format!("all features are in {}", path.display()));
            (*file, HashMap::new())
        }
        Opened::Writer(mut writer) => {
            let remaining = writer.remaining();
            if remaining.len() < images {
                messages.note(format!(
                    "{} of {images} images have their features in {}",
                    images - remaining.len(),
                    path.display()
                ));
            }
            let bar = messages.bar(
                remaining.len() as u64,
                "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}",
            );
            let summary = extract(model, &remaining, &options, |batch| {
                bar.suspend(|| {
                    for (item, row) in remaining[batch.first..].iter().zip(&batch.rows) {
                        if let Err(error) = row {
                            messages.failure(format!("{}: {error}", item.name));
                        }
                    }
                });
                writer.push(&batch)?;
                bar.inc(batch.rows.len() as u64);
                Ok(())
            });
            bar.finish_and_clear();
            let summary = summary.map_err(Error::from)?;
            session::note_reduced_batch(model, messages);
            session::note_long_run(model, summary.network, messages);
            if summary.stopped {
                writer.save().map_err(Error::from)?;
                messages.note(match &arguments.features {
                    Some(_) => "interrupted; the same command continues",
                    None => "interrupted; with `--features FILE` the same command would continue",
                });
                return Ok(None);
            }
            let written = writer.finish().map_err(Error::from)?;
            messages.note(format!(
                "features of {} images in {:.1} s",
                remaining.len(),
                summary.elapsed.as_secs_f64()
            ));
            let failures = match written.failed {
                0 => HashMap::new(),
                _ => failures(&path)?,
            };
            (FeatureFile::open(&path).map_err(Error::from)?, failures)
        }
    };
    Ok(Some(gather(&file, data, &failures, options.views)))
}

/// The advice of `senet embed` is about its own options.
fn unusable(error: EmbedError) -> anyhow::Error {
    match error {
        EmbedError::Mismatch { .. }
        | EmbedError::Damaged { .. }
        | EmbedError::OtherImage { .. } => {
            anyhow!("{error}: give another file as `--features`, or delete this one")
        }
        error => Error::from(error).into(),
    }
}

/// The errors of the images that have no row, by the paths in the data set.
fn failures(features: &Path) -> anyhow::Result<HashMap<String, String>> {
    #[derive(Deserialize)]
    struct Failure {
        path: String,
        error: String,
    }
    let mut path = features.as_os_str().to_owned();
    path.push(".errors.jsonl");
    let lines = BufReader::new(std::fs::File::open(PathBuf::from(path))?).lines();
    let failures = lines.map(|line| {
        let Failure { path, error } = serde_json::from_str(&line?)?;
        Ok((path, error))
    });
    failures.collect()
}

/// The rows of the images of the data set: a file may have others, and in another order.
fn gather(
    file: &FeatureFile,
    data: &Dataset,
    failures: &HashMap<String, String>,
    views: Views,
) -> Features {
    let rows: HashMap<&[u8], usize> = file.paths().zip(0..).collect();
    let width = file.width() / views.count();
    let values = || Vec::with_capacity(data.items.len() * width);
    let mut features = Features {
        values: values(),
        flipped: (views.count() > 1).then(values),
        width,
        items: Vec::new(),
        failures: Vec::new(),
    };
    for (place, item) in data.items.iter().enumerate() {
        match rows.get(&*item.path()) {
            Some(&row) => {
                let row = file.row(row);
                let (values, flipped) = row.split_at(width);
                features.values.extend(values);
                if let Some(all) = &mut features.flipped {
                    all.extend(flipped);
                }
                features.items.push(place);
            }
            None => features.failures.push((place, error(item, failures))),
        }
    }
    features
}

fn error(item: &Item, failures: &HashMap<String, String>) -> String {
    let known = failures.get(&item.name).cloned();
    known.unwrap_or_else(|| "it could not be read".to_owned())
}
