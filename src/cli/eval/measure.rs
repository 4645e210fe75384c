//! From arguments to results: the models, the data, one pass over the data.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::arguments::{RunArgs, SelectionArgs};
use crate::cli::args::note_clipped;
use crate::cli::output::{Messages, human_bytes};
use crate::cli::session::{self, FoundModel};
use crate::error::Error;
use crate::eval::{Classes, Dataset, EvalOptions, Evaluation, ModelRun, Outcome, Record};
use crate::hub::HubOptions;
use crate::model::Model;

/// The models and data to evaluate: what `senet eval` and `senet compare` have in common.
pub(in crate::cli) struct Request<'a> {
    pub models: &'a [String],
    /// Used instead of the only model's own weights.
    pub weights: Option<&'a Path>,
    /// Used instead of the only model's own classifier.
    pub head: Option<&'a Path>,
    pub data: &'a [PathBuf],
    pub selection: &'a SelectionArgs,
    pub run: &'a RunArgs,
    pub multi_label: bool,
    pub messages: Messages,
}

/// The results and the data set.
pub(in crate::cli) type Measured = (Vec<ModelRun>, Dataset);

impl Request<'_> {
    /// The checks that clap cannot express.
    fn check(&self) -> anyhow::Result<()> {
        let streams = self.data.iter().filter(|path| path.as_os_str() == "-");
        if streams.count() > 1 {
            bail!("standard input can be read only once");
        }
        let files = [("--weights", self.weights), ("--head", self.head)];
        session::check_models(self.models, files, &self.run.hub.source)
    }

    /// The specs of the models, as changed by the arguments.
    pub(in crate::cli) fn find(&self) -> anyhow::Result<(Vec<FoundModel>, HubOptions)> {
        self.check()?;
        let hub = session::hub_from(&self.run.hub)?;
        let from = &self.run.hub.source;
        let overrides = self.run.input.overrides();
        let mut all: Vec<FoundModel> = Vec::new();
        for name in self.models {
            let spec = session::find_at(name, from, &overrides, &hub, self.messages)?;
            let mut found = FoundModel::new(spec, self.head, &overrides)?;
            self.run.adapt(&mut found.spec)?;
            let spec = &found.spec;
            // Fails before the run if the network does not take images.
            spec.transform().map_err(Error::from)?;
            if spec.classes() == 1 && !self.multi_label {
                bail!(
                    "{} has one output, and `senet eval` measures single-label models, which choose \
                     one of several classes: `--multi-label --labels FILE` measures this one, with \
                     {{\"a.jpg\": [0], \"b.jpg\": []}} in the file",
                    spec.name
                );
            }
            if let Some(FoundModel { spec: first, .. }) = all.first()
                && first.labels.entries != spec.labels.entries
            {
                bail!(
                    "{} and {} do not have the same classes ({} and {})",
                    first.name,
                    spec.name,
                    first.labels.name,
                    spec.labels.name
                );
            }
            all.push(found);
        }
        Ok((all, hub))
    }

    /// Evaluates the models on the data; `None` if Ctrl-C stopped it. With `fingerprints`, the
    /// results identify the weights and the data.
    pub(in crate::cli) fn measure(
        &self,
        found: Vec<FoundModel>,
        hub: &HubOptions,
        classes: &Classes<'_>,
        mut options: EvalOptions,
        fingerprints: bool,
    ) -> anyhow::Result<Option<Measured>> {
        let names: Vec<&str> = found.iter().map(|found| &*found.spec.name).collect();
        let dataset_options = self.selection.dataset_options(classes, self.multi_label)?;
        options.check_results(&names).map_err(Error::from)?;
        let data = Dataset::open(self.data, classes, &dataset_options).map_err(Error::from)?;
        self.note_data(&data);
        let place = session::open_device(&self.run.device, &names.join(", "), self.messages)?;
        let given = self.run.batch_size;
        options.batch_size =
            session::batch_size(given, data.items.len(), &place.device, self.messages);
        let mut models = Vec::new();
        for found in found {
            let weights = found.open_weights(self.weights, hub, self.messages)?;
            if fingerprints {
                let fingerprint = weights.fingerprint().map_err(Error::from)?;
                options.fingerprints.push(fingerprint);
            }
            models.push(session::load(found.spec, &weights, &place, self.messages)?);
        }
        let runs = self.evaluate(&models, &data, options)?;
        for model in &models {
            session::note_reduced_batch(model, self.messages);
        }
        Ok(runs.map(|runs| (runs, data)))
    }

    fn note_data(&self, data: &Dataset) {
        let note = |text: String| self.messages.note(text);
        if data.spooled > 0 {
            note(format!(
                "{} of images kept in a temporary file in {}",
                human_bytes(data.spooled),
                std::env::temp_dir().display()
            ));
        }
        if data.left_out > 0 {
            note(format!("{} images left out: no class", data.left_out));
        }
        if !data.empty.is_empty() {
            let folders = data.empty.join(", ");
            note(format!("class folders without an image: {folders}"));
        }
        if self.multi_label && data.items.iter().all(|item| item.labels.len() == 1) {
            note(
                "every image has one class: without `--multi-label` such a set has an accuracy"
                    .into(),
            );
        }
    }

    fn evaluate(
        &self,
        models: &[Model],
        data: &Dataset,
        mut options: EvalOptions,
    ) -> anyhow::Result<Option<Vec<ModelRun>>> {
        let messages = self.messages;
        let (shard, keeps) = (options.shard, options.results.is_some());
        options.stop = Some(session::stop_on_interrupt()?);
        let mut evaluation = Evaluation::new(models, data, options).map_err(Error::from)?;
        print_failures(evaluation.runs()[0].records(), messages);
        let bar = messages.bar(
            evaluation.remaining().count() as u64,
            "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}  {msg}",
        );
        let (mut answered, mut correct) = (0_usize, 0_usize);
        let summary = evaluation.run(|batch| {
            let records = &batch[0];
            bar.suspend(|| print_failures(records, messages));
            let failed = |record: &&Record| matches!(record.outcome, Outcome::Error { .. });
            answered += records.len() - records.iter().filter(failed).count();
            let answers = records.iter().filter_map(Record::answer);
            correct += answers.filter(|answer| answer.rank == 1).count();
            bar.inc(records.len() as u64);
            if answered > 0 && !self.multi_label {
                let percent = 100.0 * correct as f64 / answered as f64;
                bar.set_message(format!("top-1 {percent:.2} %"));
            }
        });
        bar.finish_and_clear();
        let summary = summary.map_err(Error::from)?;
        let seconds = summary.elapsed.as_secs_f64();
        messages.note(format!(
            "{answered} images in {seconds:.1} s, {:.0} a second; all threads decoded for {:.1} s \
             and preprocessed for {:.1} s, the network took {:.1} s",
            answered as f64 / seconds,
            summary.decoding.as_secs_f64(),
            summary.preprocessing.as_secs_f64(),
            summary.network.as_secs_f64()
        ));
        session::note_long_run(&models[0], summary.network, messages);
        note_clipped(messages);
        if let Some(note) = data.passed.note() {
            messages.note(note);
        }
        if summary.stopped {
            messages.note(format!(
                "interrupted after {} of {} images{}",
                evaluation.runs()[0].records().len(),
                data.shard(shard).count(),
                if keeps {
                    "; continue it with --resume"
                } else {
                    ""
                }
            ));
            return Ok(None);
        }
        Ok(Some(evaluation.into_runs()))
    }
}

/// Prints the images that failed.
pub(super) fn print_failures(records: &[Record], messages: Messages) {
    for record in records {
        if let Outcome::Error { error } = &record.outcome {
            messages.failure(format!("{}: {error}", record.image));
        }
    }
}
