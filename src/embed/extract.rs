//! Runs images through a network, one batch at a time, and hands on the features of each.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{EmbedError, Layer};
use crate::error::{Error, Result};
use crate::eval::Item;
use crate::model::{Model, Prepared, prefetch};
use crate::preprocess::{DecodeOptions, ImageError, Views};

/// Which features of an image, and how it is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExtractOptions {
    /// The layer that the features come from.
    pub layer: Layer,
    /// The views of each image: with [`Views::Flip`], the features of its mirror image follow.
    pub views: Views,
    /// Divide the values of each view by their Euclidean length; zeros stay zeros.
    pub l2: bool,
    /// How images are decoded.
    pub decode: DecodeOptions,
    /// Images per forward pass.
    pub batch_size: usize,
    /// Stops before the next batch once this is true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            layer: Layer::default(),
            views: Views::default(),
            l2: false,
            decode: DecodeOptions::default(),
            batch_size: 8,
            stop: None,
        }
    }
}

/// The features of consecutive images.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch {
    /// Place of the first image in the list.
    pub first: usize,
    /// The values of each image, or why there are none.
    pub rows: Vec<Result<Vec<f32>, String>>,
}

impl Batch {
    /// The rows of images from the place `first` on.
    pub fn new(first: usize, rows: Vec<Result<Vec<f32>, String>>) -> Self {
        Self { first, rows }
    }
}

/// How the images were run, and where the time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtractSummary {
    /// Whether [`ExtractOptions::stop`] stopped it.
    pub stopped: bool,
    /// Of the whole run.
    pub elapsed: Duration,
    /// The network's time, during which the next batch is decoded.
    pub network: Duration,
}

/// The features of `items`, in their order; the next batch is decoded while the network works on one.
///
/// An image that cannot be read, or on which the network fails, is an error in its place and affects no
/// other. On the CPU, rows are the same to the last bit whatever the size of the batches and the number of
/// threads.
///
/// # Errors
/// The error of [`Layer::shape`], and that of `on_batch`, which ends the run.
pub fn extract(
    model: &Model,
    items: &[&Item],
    options: &ExtractOptions,
    mut on_batch: impl FnMut(Batch) -> Result<(), EmbedError>,
) -> Result<ExtractSummary, EmbedError> {
    let network = model.network();
    options
        .layer
        .shape(network.plan(), model.spec().input.size)?;
    let transform = model.transform()?;
    let batch_size = options.batch_size.max(1);
    let slot_len = options.views.count() * model.image_len();
    let prepare = |item: &&Item, slot: &mut [f32]| {
        let image = item.source.open(&options.decode);
        let image = image.map_err(|error: ImageError| Error::from(error).with_causes())?;
        transform.write_views(&image, options.views, slot);
        Ok(())
    };
    let start = Instant::now();
    let (mut computing, mut stopped, mut outcome) = (Duration::ZERO, false, Ok(()));
    prefetch(items, batch_size, slot_len, prepare, |prepared| {
        let stop = options.stop.as_ref();
        // Relaxed: the flag is all that is told.
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            stopped = true;
            return ControlFlow::Break(());
        }
        let clock = Instant::now();
        let batch = run(model, options, batch_size, prepared);
        computing += clock.elapsed();
        outcome = on_batch(batch);
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    outcome?;
    Ok(ExtractSummary {
        stopped,
        elapsed: start.elapsed(),
        network: computing,
    })
}

fn run(
    model: &Model,
    options: &ExtractOptions,
    batch_size: usize,
    prepared: Prepared<String>,
) -> Batch {
    Batch {
        first: prepared.first,
        rows: features(model, options, batch_size, prepared),
    }
}

/// The features of each image of a batch, of which the values are those of
/// [`Transform::write_views`](crate::preprocess::Transform::write_views).
pub(crate) fn features<E: From<String>>(
    model: &Model,
    options: &ExtractOptions,
    batch_size: usize,
    prepared: Prepared<E>,
) -> Vec<Result<Vec<f32>, E>> {
    let views = options.views.count();
    let whole = prepared.outcomes.iter().filter(|outcome| outcome.is_ok());
    let inputs = whole.count() * views;
    let mut rows = outputs(model, options, batch_size, prepared.values, inputs).into_iter();
    let mut row = || -> Result<Vec<f32>, String> {
        let missing = || Err("the network gave no answer".to_owned());
        // All views are taken, also where the first one failed.
        let views: Vec<_> = (0..views)
            .map(|_| rows.next().unwrap_or_else(missing))
            .collect();
        let mut values = Vec::new();
        for view in views {
            let mut view = view?;
            if options.l2 {
                normalize(&mut view);
            }
            values.append(&mut view);
        }
        Ok(values)
    };
    let outcomes = prepared.outcomes.into_iter();
    outcomes
        .map(|outcome| outcome.and_then(|()| row().map_err(E::from)))
        .collect()
}

/// The layer's output for each of `count` inputs.
fn outputs(
    model: &Model,
    options: &ExtractOptions,
    batch_size: usize,
    values: Vec<f32>,
    count: usize,
) -> Vec<Result<Vec<f32>, String>> {
    if count == 0 {
        return Vec::new();
    }
    let pass = |batch: &_| options.layer.run(model.network(), batch);
    let each = || {
        let all = model.stored(values)?;
        let mut rows = Vec::new();
        for start in (0..count).step_by(batch_size) {
            let batch = all.narrow(0, start, batch_size.min(count - start))?;
            rows.extend(model.rows_of_each(&batch, pass));
        }
        Ok::<_, Error>(rows)
    };
    match each() {
        Ok(rows) => {
            let rows = rows.into_iter();
            rows.map(|row| row.map_err(|error| error.with_causes()))
                .collect()
        }
        Err(error) => vec![Err(error.with_causes()); count],
    }
}

/// Divides the values by their Euclidean length, which is summed in f64.
fn normalize(values: &mut [f32]) {
    let squares = values.iter().map(|&value| f64::from(value).powi(2));
    let length = squares.sum::<f64>().sqrt();
    if length > 0.0 {
        for value in values {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}
