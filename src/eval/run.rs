//! Runs images through the networks, one batch at a time.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::scores::restrict;
use super::{
    Answer, Dataset, EvalError, Header, Item, Member, ModelRun, NO_LABEL, Outcome, Record, Scores,
    Shard, model_run,
};
use crate::error::Error;
use crate::logits::{average, mean};
use crate::model::{Model, Prepared, SharedInputs, prefetch, sigmoid};
use crate::preprocess::{DecodeOptions, ImageError, Views};

/// How models are measured, and where their results are written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EvalOptions {
    /// Images per forward pass.
    pub batch_size: usize,
    /// The views of each image; their probabilities are averaged.
    pub views: Views,
    /// How images are decoded; published accuracies were measured without EXIF orientation.
    pub decode: DecodeOptions,
    /// The shard of the data set to evaluate.
    pub shard: Shard,
    /// Also evaluate the average of the models' probabilities.
    pub ensemble: bool,
    /// Results file, appended to after every batch; for several models a directory of such files,
    /// which is created.
    pub results: Option<PathBuf>,
    /// Keep the results in existing files, and evaluate only the remaining images.
    pub resume: bool,
    /// The [fingerprint](crate::weights::Weights::fingerprint) of each model's weights, or empty.
    /// Results contain it, so that those of other weights are not resumed or merged.
    pub fingerprints: Vec<String>,
    /// Stops the run before the next batch once this is true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            batch_size: 8,
            views: Views::default(),
            decode: DecodeOptions::default(),
            shard: Shard::default(),
            ensemble: false,
            results: None,
            resume: false,
            fingerprints: Vec::new(),
            stop: None,
        }
    }
}

impl EvalOptions {
    /// Whether results of models with these names can be written. To be called before data is read,
    /// which may take long and, from a stream, is possible only once.
    ///
    /// # Errors
    /// [`EvalError::Exists`] if there are results and they are not to be resumed.
    pub fn check_results(&self, names: &[&str]) -> Result<(), EvalError> {
        if self.resume {
            return Ok(());
        }
        let mut files = model_run::files(self, names).into_iter();
        files.try_for_each(|file| super::log::Log::check(&file))
    }
}

/// Models and the data set they are evaluated on. Each image is decoded once for all models.
///
/// ```no_run
/// # use senet::eval::{Classes, Dataset, DatasetOptions, EvalOptions, Evaluation};
/// # use senet::{Model, hub::HubOptions};
/// # fn main() -> senet::Result<()> {
/// let hub = HubOptions::from_env()?;
/// let model = Model::open("se-resnet50", &hub, &senet::device::DeviceChoice::Auto.open()?.device)?;
/// let classes = Classes::new(&model.spec().labels);
/// let data = Dataset::open(&["imagenet/val"], &classes, &DatasetOptions::default())?;
/// let mut evaluation = Evaluation::new([&model], &data, EvalOptions::default())?;
/// evaluation.run(|records| eprintln!("{} more images", records[0].len()))?;
/// let report = evaluation.runs()[0].report(&[1, 5]);
/// println!("top-1 {:?}, top-5 {:?}", report.top[0].accuracy, report.top[1].accuracy);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Evaluation<'a> {
    models: Vec<&'a Model>,
    inputs: SharedInputs,
    data: &'a Dataset,
    options: EvalOptions,
    runs: Vec<ModelRun>,
}

/// How a run ended, and where the time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSummary {
    /// Whether [`EvalOptions::stop`] stopped it.
    pub stopped: bool,
    /// Of the whole run.
    pub elapsed: Duration,
    /// Summed over all threads.
    pub decoding: Duration,
    /// Summed over all threads.
    pub preprocessing: Duration,
    /// The networks' time, during which the next batch is decoded.
    pub network: Duration,
}

impl<'a> Evaluation<'a> {
    /// Opens the results files, if there are to be any.
    ///
    /// # Errors
    /// [`EvalError::OtherClasses`] if the models' classes differ from each other or from those that
    /// the data set was labelled with, [`EvalError::Input`], [`EvalError::OneOutput`],
    /// [`EvalError::EnsembleOfOne`]; as
    /// [`EvalOptions::check_results`]; and if a file cannot be written, is in use by another run,
    /// or has results of something else.
    pub fn new(
        models: impl IntoIterator<Item = &'a Model>,
        data: &'a Dataset,
        options: EvalOptions,
    ) -> Result<Self, EvalError> {
        let models: Vec<&Model> = models.into_iter().collect();
        let mut transforms = Vec::new();
        for model in &models {
            data.check_classes(&model.spec().labels)?;
            transforms.push(model.transform().map_err(|error| EvalError::Input {
                model: model.spec().name.clone(),
                error,
            })?);
            if model.spec().classes() == 1 && !data.multi_label {
                let model = model.spec().name.clone();
                return Err(EvalError::OneOutput { model });
            }
        }
        if options.ensemble && models.len() < 2 {
            return Err(EvalError::EnsembleOfOne);
        }
        let keeps = options.results.is_some() || !options.fingerprints.is_empty();
        let fingerprints = options.fingerprints.iter().cloned();
        let fingerprints = fingerprints.chain(std::iter::repeat(String::new()));
        let members = models
            .iter()
            .zip(fingerprints)
            .map(|(model, weights)| Member {
                model: model.spec().name.clone(),
                weights,
                input: model.spec().input.clone(),
                precision: model.network().precision(),
            });
        let header = Header {
            senet_eval: Header::VERSION,
            members: members.collect(),
            views: options.views,
            exif: options.decode.exif,
            scale_16bit: options.decode.scale_16bit,
            multi_label: data.multi_label,
            valid: data.valid.clone(),
            images: data.items.len(),
            data: if keeps {
                data.fingerprint()
            } else {
                String::new()
            },
            classes: data.class_names(),
        };
        Ok(Self {
            runs: model_run::open(&header, &options)?,
            inputs: SharedInputs::new(transforms, options.views),
            models,
            data,
            options,
        })
    }

    /// One for each model, and the last for the ensemble if there is one; before [`Self::run`],
    /// with the results of earlier runs.
    pub fn runs(&self) -> &[ModelRun] {
        &self.runs
    }

    /// As [`Self::runs`], by value.
    pub fn into_runs(self) -> Vec<ModelRun> {
        self.runs
    }

    /// The images of the shard that lack results of any model.
    pub fn remaining(&self) -> impl Iterator<Item = &'a Item> {
        let has_all = |item: &Item| self.runs.iter().all(|run| run.has(item.index));
        self.data
            .shard(self.options.shard)
            .filter(move |item| !has_all(item))
    }

    /// Evaluates the models on the remaining images. `on_batch` receives the records of each batch,
    /// a list for each of [`Self::runs`], once they are written.
    ///
    /// An image that cannot be read, or on which a network fails, gets a record with the error and
    /// does not end the run.
    ///
    /// # Errors
    /// [`EvalError::Unwritable`] if the results cannot be written.
    pub fn run(
        &mut self,
        mut on_batch: impl FnMut(&[Vec<Record>]),
    ) -> Result<RunSummary, EvalError> {
        let items: Vec<&Item> = self.remaining().collect();
        let Self {
            models,
            inputs,
            data,
            options,
            runs,
        } = self;
        let batch_size = options.batch_size.clamp(1, items.len().max(1));
        let scoring = Scoring {
            views: options.views,
            batch_size,
            multi_label: data.multi_label,
            valid: data.valid.as_deref(),
        };
        // Sums alone, read when all threads have ended: `Relaxed` suffices.
        let (decoding, preprocessing) = (AtomicU64::new(0), AtomicU64::new(0));
        let prepare = |item: &&Item, slot: &mut [f32]| {
            let start = Instant::now();
            let image = item.source.open(&options.decode);
            add(&decoding, start);
            let start = Instant::now();
            let outcome = image.map(|image| inputs.write(&image, slot));
            add(&preprocessing, start);
            outcome.map_err(|error: ImageError| Error::from(error).with_causes())
        };
        let start = Instant::now();
        let (mut network, mut stopped) = (Duration::ZERO, false);
        let mut outcome = Ok(());
        prefetch(&items, batch_size, inputs.slot_len(), prepare, |batch| {
            let stop = options.stop.as_ref();
            // Relaxed: the flag is all that is told.
            if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                stopped = true;
                return ControlFlow::Break(());
            }
            let clock = Instant::now();
            let records = scoring.records(models, runs.len(), inputs, batch, &items);
            network += clock.elapsed();
            for (run, records) in runs.iter_mut().zip(&records) {
                outcome = run.keep(records);
                if outcome.is_err() {
                    return ControlFlow::Break(());
                }
            }
            on_batch(&records);
            ControlFlow::Continue(())
        });
        runs.iter_mut().for_each(ModelRun::sort);
        outcome?;
        Ok(RunSummary {
            stopped,
            elapsed: start.elapsed(),
            decoding: Duration::from_nanos(decoding.into_inner()),
            preprocessing: Duration::from_nanos(preprocessing.into_inner()),
            network,
        })
    }
}

fn add(nanoseconds: &AtomicU64, start: Instant) {
    nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
}

/// How the models' outputs become records.
struct Scoring<'a> {
    views: Views,
    batch_size: usize,
    /// Whether each class has its own probability.
    multi_label: bool,
    /// The classes that the models may answer with, if restricted.
    valid: Option<&'a [usize]>,
}

impl Scoring<'_> {
    /// One record for each run and each image in the batch.
    fn records(
        &self,
        models: &[&Model],
        runs: usize,
        inputs: &SharedInputs,
        batch: Prepared<String>,
        items: &[&Item],
    ) -> Vec<Vec<Record>> {
        let mut scores = vec![Vec::new().into_iter(); models.len()];
        let prepared = batch.outcomes.iter().filter(|outcome| outcome.is_ok());
        let prepared = prepared.count();
        for (inputs, sharing) in inputs.batches(models, batch.values) {
            let inputs = inputs.and_then(|inputs| self.split(&inputs));
            let inputs = inputs.map_err(|error| error.with_causes());
            for &index in sharing {
                scores[index] = match &inputs {
                    Ok(inputs) => self.scores(models[index], inputs),
                    Err(error) => vec![Err(error.clone()); prepared],
                }
                .into_iter();
            }
        }
        let mut records = vec![Vec::new(); runs];
        for (item, prepared) in items[batch.first..].iter().zip(&batch.outcomes) {
            let mut outcomes: Vec<Result<Vec<f64>, String>> = match prepared {
                Ok(()) => {
                    let missing = || Err("the network gave no answer".into());
                    let next = scores.iter_mut().map(Iterator::next);
                    next.map(|scores| scores.unwrap_or_else(missing)).collect()
                }
                Err(error) => vec![Err(error.clone()); models.len()],
            };
            if runs > models.len() {
                let members = outcomes.iter().zip(models).map(|(outcome, model)| {
                    outcome.clone().map_err(|error| match prepared {
                        Ok(()) => format!("{}: {error}", model.spec().name),
                        Err(_) => error,
                    })
                });
                let members: Result<Vec<Vec<f64>>, String> = members.collect();
                outcomes.push(members.map(|members| self.combine(&members)));
            }
            for (records, scores) in records.iter_mut().zip(outcomes) {
                records.push(record(item, scores, self.multi_label));
            }
        }
        records
    }

    /// The inputs of a batch of images, each with all its views, in batches that a network takes.
    fn split(&self, inputs: &Tensor) -> crate::error::Result<Vec<Tensor>> {
        let count = inputs.dim(0)?;
        let starts = (0..count).step_by(self.batch_size);
        starts
            .map(|start| Ok(inputs.narrow(0, start, self.batch_size.min(count - start))?))
            .collect()
    }

    /// One model's scores for each prepared image, over all its views.
    fn scores(&self, model: &Model, inputs: &[Tensor]) -> Vec<Result<Vec<f64>, String>> {
        let rows: Vec<_> = inputs
            .iter()
            .flat_map(|inputs| model.logits_of_each(inputs))
            .map(|row| {
                let row = row.map_err(|error| error.with_causes())?;
                let mut row: Vec<f64> = row.into_iter().map(f64::from).collect();
                if let Some(valid) = self.valid {
                    restrict(&mut row, valid);
                }
                if self.multi_label {
                    row.iter_mut().for_each(|logit| *logit = sigmoid(*logit));
                }
                Ok(row)
            })
            .collect();
        let views = rows.chunks(self.views.count());
        views
            .map(|rows| {
                let rows: Result<Vec<_>, String> = rows.iter().cloned().collect();
                Ok(self.combine(&rows?))
            })
            .collect()
    }

    /// Combines several views or networks into one.
    fn combine(&self, rows: &[Vec<f64>]) -> Vec<f64> {
        match self.multi_label {
            true => mean(rows),
            false => average(rows),
        }
    }
}

fn record(item: &Item, scores: Result<Vec<f64>, String>, multi_label: bool) -> Record {
    let (label, outcome) = match scores {
        Ok(scores) if multi_label => {
            let labels = item.labels.clone();
            (NO_LABEL, Outcome::Scores(Scores { labels, scores }))
        }
        Ok(scores) => {
            let (label, answer) = Answer::new(&scores, &item.labels);
            (label, Outcome::Answer(answer))
        }
        Err(error) if multi_label => (NO_LABEL, Outcome::Error { error }),
        Err(error) => (item.labels[0], Outcome::Error { error }),
    };
    Record {
        index: item.index,
        image: item.name.clone(),
        image_bytes: item.name_bytes.clone(),
        label,
        outcome,
    }
}
