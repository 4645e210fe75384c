//! Pictures through the networks, a batch at a time.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Arguments, Track};
use crate::cli::output::Messages;
use crate::cli::rows::RowError;
use crate::cli::session;
use crate::error::Error;
use crate::eval::{Answer, Item, NO_LABEL, Outcome, Record, Scores, average, mean, restrict};
use crate::model::{Model, Prepared, prepare_ahead, sigmoid};
use crate::preprocess::{ImageError, Views};

/// Runs all models over all items; whether Ctrl-C ended it early. Each picture is decoded once.
pub(super) fn measure(
    models: &[Model],
    tracks: &mut [Track],
    items: &[&Item],
    arguments: &Arguments,
    messages: Messages,
) -> anyhow::Result<bool> {
    let stop = session::stop_on_interrupt()?;
    let bar = messages.bar(
        items.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} pictures  {rate}  {eta}  {msg}",
    );
    let decode = arguments.decode_options();
    let layout = Layout {
        multi_label: arguments.multi_label,
        ..Layout::new(models, arguments.run.views.into())
    };
    let (decoding, transforming) = (AtomicU64::new(0), AtomicU64::new(0));
    let prepare = |item: &&Item, slot: &mut [f32]| {
        let start = Instant::now();
        let picture = item.source.open(&decode);
        add(&decoding, start);
        let start = Instant::now();
        let outcome = picture.and_then(|picture| {
            for &writer in &layout.writers {
                let model = &models[writer];
                let slot = &mut slot[layout.places[writer]..][..layout.length(model)];
                let transform = model.transform()?;
                transform.write_views(&picture, layout.views, slot);
            }
            Ok(())
        });
        add(&transforming, start);
        outcome.map_err(|error: ImageError| RowError::from(&Error::from(error)).text)
    };
    let start = Instant::now();
    let mut network = Duration::ZERO;
    let (mut answered, mut correct, mut stopped) = (0_usize, 0_usize, false);
    let mut outcome = Ok(());
    let batch_size = (arguments.run.batch_size as usize).min(items.len().max(1));
    prepare_ahead(items, batch_size, layout.slot, prepare, |batch| {
        if stop.load(Ordering::Relaxed) {
            stopped = true;
            return ControlFlow::Break(());
        }
        let clock = Instant::now();
        let records = layout.records(models, tracks, &batch, items, batch_size);
        network += clock.elapsed();
        for record in &records[0] {
            match &record.outcome {
                Outcome::Answer(answer) => {
                    answered += 1;
                    correct += usize::from(answer.rank == 1);
                }
                Outcome::Scores(_) => answered += 1,
                Outcome::Error { error } => {
                    bar.suspend(|| messages.failure(format!("{}: {error}", record.picture)));
                }
            }
        }
        bar.inc(records[0].len() as u64);
        if answered > 0 && !arguments.multi_label {
            let percent = 100.0 * correct as f64 / answered as f64;
            bar.set_message(format!("top-1 {percent:.2} %"));
        }
        for (track, records) in tracks.iter_mut().zip(records) {
            if outcome.is_ok() {
                outcome = track.keep(records);
            }
        }
        if outcome.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    bar.finish_and_clear();
    outcome?;
    for track in tracks {
        track.sort();
    }
    let seconds = start.elapsed().as_secs_f64();
    messages.note(format!(
        "{answered} pictures in {seconds:.1} s, {:.0} a second; all threads decoded for {:.1} s and \
         preprocessed for {:.1} s, the network took {:.1} s",
        answered as f64 / seconds,
        decoding.into_inner() as f64 / 1e9,
        transforming.into_inner() as f64 / 1e9,
        network.as_secs_f64()
    ));
    Ok(stopped)
}

fn add(nanoseconds: &AtomicU64, start: Instant) {
    nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
}

/// Where the inputs of each model lie in the slot of a picture. Models with the same preprocessing
/// share theirs.
struct Layout {
    views: Views,
    /// Whether each class has its own probability.
    multi_label: bool,
    /// Of each model, in values from the start of the slot.
    places: Vec<usize>,
    /// The first model of each preprocessing.
    writers: Vec<usize>,
    /// Values for one picture.
    slot: usize,
}

impl Layout {
    fn new(models: &[Model], views: Views) -> Self {
        let mut layout = Self {
            views,
            multi_label: false,
            places: Vec::new(),
            writers: Vec::new(),
            slot: 0,
        };
        for (index, model) in models.iter().enumerate() {
            let form = |model: &Model| (model.spec().input.clone(), model.spec().channels());
            let same = |&writer: &usize| form(&models[writer]) == form(model);
            let known = layout.writers.iter().copied().find(same);
            layout.places.push(match known {
                Some(writer) => layout.places[writer],
                None => layout.slot,
            });
            if known.is_none() {
                layout.writers.push(index);
                layout.slot += layout.length(model);
            }
        }
        layout
    }

    /// Values that a model takes of one picture.
    fn length(&self, model: &Model) -> usize {
        self.views.count() * model.picture_len()
    }

    /// One record for each track and each picture of the batch.
    fn records(
        &self,
        models: &[Model],
        tracks: &[Track],
        batch: &Prepared<String>,
        items: &[&Item],
        batch_size: usize,
    ) -> Vec<Vec<Record>> {
        let valid = tracks[0].header.valid.as_deref();
        let mut scores: Vec<_> = models
            .iter()
            .zip(&self.places)
            .map(|(model, &place)| self.scores(model, place, &batch.values, valid, batch_size))
            .map(Vec::into_iter)
            .collect();
        let mut records = vec![Vec::new(); tracks.len()];
        for (item, prepared) in items[batch.first..].iter().zip(&batch.outcomes) {
            let mut outcomes: Vec<Result<Vec<f64>, String>> = match prepared {
                Ok(()) => {
                    let missing = || Err("the network gave no answer".into());
                    let next = scores.iter_mut().map(Iterator::next);
                    next.map(|scores| scores.unwrap_or_else(missing)).collect()
                }
                Err(error) => vec![Err(error.clone()); models.len()],
            };
            if tracks.len() > models.len() {
                let members: Result<Vec<Vec<f64>>, String> = outcomes.iter().cloned().collect();
                outcomes.push(members.map(|members| self.combine(&members)));
            }
            for (records, scores) in records.iter_mut().zip(outcomes) {
                records.push(record(item, scores, self.multi_label));
            }
        }
        records
    }

    /// What one model says of each prepared picture, over all of its views.
    fn scores(
        &self,
        model: &Model,
        place: usize,
        values: &[f32],
        valid: Option<&[usize]>,
        batch_size: usize,
    ) -> Vec<Result<Vec<f64>, String>> {
        let length = self.length(model);
        let gathered: Vec<f32>;
        let inputs = if length == self.slot {
            values
        } else {
            let slots = values.chunks_exact(self.slot);
            gathered = slots
                .flat_map(|slot| &slot[place..][..length])
                .copied()
                .collect();
            &gathered
        };
        let rows: Vec<_> = inputs
            .chunks(batch_size * model.picture_len())
            .flat_map(|inputs| model.logits_each(inputs))
            .map(|row| {
                let row = row.map_err(|error| RowError::from(&error).text)?;
                let mut row: Vec<f64> = row.into_iter().map(f64::from).collect();
                if self.multi_label {
                    row.iter_mut().for_each(|logit| *logit = sigmoid(*logit));
                }
                if let Some(valid) = valid {
                    restrict(&mut row, valid);
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

    /// Several views or networks as one.
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
        picture: item.name.clone(),
        picture_bytes: item.name_bytes.clone(),
        label,
        outcome,
    }
}
