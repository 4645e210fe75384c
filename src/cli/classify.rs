//! `senet classify`: the most probable classes of images.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use super::args::{ModelsArgs, PreprocessArgs, note_clipped, probability};
use super::format::FormatArgs;
use super::inputs::{self, Input};
use super::output::{Messages, Results};
use super::rows::{AnswerRow, LabelStyle, MembersRow, Predicted, RowError};
use super::session::{self, Opened};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::hub::HubOptions;
use crate::model::{Ensemble, OutputActivation, Prepared, SharedInputs, prefetch_while};
use crate::preprocess::{DecodeOptions, Views};

/// Classify images
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet classify photo.jpg\n  \
    senet classify --model se-resnet50 --top-k 3 photos/ more/*.png\n  \
    senet classify -m senet154 -m se-resnet50 --members photo.jpg\n  \
    find . -name '*.jpg' | senet classify --files-from - --json > answers.jsonl\n  \
    senet classify https://example.org/cat.jpg\n  \
    curl -s https://example.org/cat.jpg | senet classify -\n\n\
    If an image cannot be read, its row has the error instead of predictions, and the exit code is 1.")]
pub(super) struct Arguments {
    /// Image files, directories (searched recursively), https:// URLs, or - for one image on standard
    /// input
    #[arg(value_name = "INPUT", required_unless_present = "files_from")]
    inputs: Vec<PathBuf>,
    /// Read more inputs from this file, one per line (- for standard input)
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// Inputs in --files-from are separated by NUL bytes, as from `find -print0`; detected if not given
    #[arg(short = '0', long, requires = "files_from")]
    null: bool,
    /// Largest number of classes to print per image [default: 5; with --multi-label, all above
    /// --threshold]
    #[arg(short = 'k', long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Score each class independently (sigmoid) and print all above the threshold
    #[arg(long)]
    multi_label: bool,
    /// Probability above which --multi-label prints a class
    #[arg(long, value_name = "P", default_value_t = 0.5, requires = "multi_label",
        value_parser = probability)]
    threshold: f64,
    /// With several models, print the answer of each as well
    #[arg(long)]
    members: bool,
    #[command(flatten)]
    format: FormatArgs,
    /// How to print class labels
    #[arg(long, value_name = "STYLE", default_value = "name")]
    labels: LabelStyle,
    /// Images per forward pass [default: 8, on a GPU 64]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: Option<u32>,
    #[command(flatten)]
    models: ModelsArgs,
    #[command(flatten)]
    preprocess: PreprocessArgs,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let (inputs, passed) = inputs::collect(
        &arguments.inputs,
        arguments.files_from.as_deref(),
        arguments.null,
    )?;
    let models = &arguments.models;
    if arguments.members && models.models.len() < 2 {
        bail!("`--members` is for several models: `-m MODEL -m MODEL --members`");
    }
    let overrides = arguments.preprocess.input.overrides();
    let opened = session::open_all(models, &overrides, messages)?;
    let shared = SharedInputs::new(opened.iter().map(|opened| &opened.transform), Views::One);
    let (hub, device) = (opened[0].hub.clone(), &opened[0].options.device);
    let decode = arguments.preprocess.decode_options();
    let is_remote = |input: &Input| matches!(input, Input::Url(_));
    let prepare = |input: &Input, slot: &mut [f32]| prepare(input, &shared, &decode, &hub, slot);
    let batch_size = session::batch_size(arguments.batch_size, inputs.len(), device, messages);
    // The first images are decoded while the networks are loaded.
    prefetch_while(
        &inputs,
        batch_size.min(inputs.len()),
        shared.slot_len(),
        is_remote,
        prepare,
        |batches| {
            let models = opened.into_iter().map(Opened::load);
            let ensemble = Ensemble::new(models.collect::<anyhow::Result<_>>()?)?;
            let code = answer(arguments, &inputs, &ensemble, batches, messages, results)?;
            for model in ensemble.members() {
                session::note_reduced_batch(model, messages);
            }
            if let Some(note) = passed.note() {
                messages.note(note);
            }
            Ok(code)
        },
    )
}

fn answer(
    arguments: &Arguments,
    inputs: &[Input],
    ensemble: &Ensemble,
    batches: Receiver<Prepared<RowError>>,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let single = ensemble.activation() == OutputActivation::Sigmoid;
    let name = ensemble.name();
    if single && !arguments.multi_label {
        messages.note(format!(
            "{name} has one output: its sigmoid is the probability of `{}`",
            ensemble.labels()[0].name
        ));
    }
    let sigmoid = single || arguments.multi_label;
    let answers = Answers {
        ensemble,
        name: &name,
        activation: sigmoid.then_some(OutputActivation::Sigmoid),
        arguments,
    };
    let mut printed = match arguments.members {
        true => arguments.format.rows::<MembersRow>(results)?,
        false => arguments.format.rows::<AnswerRow>(results)?,
    };
    let stop = session::stop_on_interrupt()?;
    let bar = messages.bar(
        inputs.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}",
    );
    let mut outcome = Ok(());
    let mut failed = 0;
    let mut done = 0;
    let mut computed = Duration::ZERO;
    for batch in batches {
        if session::is_stopped(&stop) {
            break;
        }
        let start = Instant::now();
        let rows = answers.rows(batch, inputs);
        computed += start.elapsed();
        failed += rows.iter().filter(|row| row.is_error()).count();
        done += rows.len();
        bar.inc(rows.len() as u64);
        outcome = bar.suspend(|| {
            rows.into_iter().try_for_each(|row| {
                let threshold = arguments.threshold;
                match arguments.members {
                    true => {
                        let row = MembersRow(row);
                        printed.write(&row, |results| row.0.print(threshold, results))
                    }
                    false => printed.write(&row, |results| row.print(threshold, results)),
                }
            })
        });
        if outcome.is_err() {
            break;
        }
    }
    bar.finish_and_clear();
    outcome?;
    session::note_long_run(&ensemble.members()[0], computed, messages);
    note_clipped(messages);
    if failed > 0 {
        messages.note(format!("{failed} of {done} images could not be classified"));
    }
    if session::is_stopped(&stop) && done < inputs.len() {
        messages.note(format!(
            "interrupted after {done} of {} images",
            inputs.len()
        ));
        return Ok(INTERRUPTED);
    }
    Ok(if failed == 0 { SUCCESS } else { SOME_FAILED })
}

fn prepare(
    input: &Input,
    shared: &SharedInputs,
    options: &DecodeOptions,
    hub: &HubOptions,
    slot: &mut [f32],
) -> Result<(), RowError> {
    let image = input.open(options, hub)?;
    shared.write(&image, slot);
    Ok(())
}

/// How batches become rows.
struct Answers<'a> {
    ensemble: &'a Ensemble,
    name: &'a str,
    activation: Option<OutputActivation>,
    arguments: &'a Arguments,
}

impl<'a> Answers<'a> {
    fn rows(&self, batch: Prepared<RowError>, inputs: &[Input]) -> Vec<AnswerRow<'a>> {
        let (logits, missing) = match self.ensemble.logits_each(batch.values) {
            Ok(logits) => {
                let missing = "the network returned no output for this image";
                (logits, RowError::new(missing))
            }
            Err(error) => (Vec::new(), RowError::from(&error)),
        };
        let mut logits = logits.into_iter();
        let precision = self.ensemble.members()[0].network().precision();
        let rows = inputs[batch.first..].iter().zip(batch.outcomes);
        rows.map(|(input, outcome)| {
            let logits = outcome.and_then(|()| logits.next().ok_or_else(|| missing.clone()));
            let (answer, members) = match logits {
                Ok(logits) => self.answer(logits),
                Err(error) => (Err(error), Vec::new()),
            };
            let (model, labels) = ((self.name, precision), self.arguments.labels);
            AnswerRow::new(input, model, self.activation, labels, answer, members)
        })
        .collect()
    }

    /// The answer to an image and, with `--members`, that of each model, from the logits of each.
    fn answer(
        &self,
        logits: Vec<crate::error::Result<Vec<f32>>>,
    ) -> (Predicted<'a>, Vec<(&'a str, Predicted<'a>)>) {
        let multi_label = self.arguments.multi_label;
        let threshold = self.arguments.threshold;
        let k = self.arguments.top_k.map(|k| k as usize);
        let k = k.unwrap_or(if multi_label { usize::MAX } else { 5 });
        let models = self.ensemble.members().iter();
        let models = models.map(|model| (model, &*model.spec().name));
        let logits = logits.into_iter();
        let logits: Vec<Result<Vec<f32>, RowError>> = logits
            .map(|logits| logits.map_err(|error| RowError::from(&error)))
            .collect();
        let members = models.clone().zip(&logits).map(|((model, name), logits)| {
            let answer = match logits {
                Ok(logits) if multi_label => Ok(model.above(logits, threshold, k)),
                Ok(logits) => Ok(model.best(logits, k)),
                Err(error) => Err(error.clone()),
            };
            (name, answer)
        });
        let members = members.filter(|_| self.arguments.members).collect();
        let several = logits.len() > 1;
        let logits = models.zip(logits).map(|((_, name), logits)| {
            logits.map_err(|error| if several { error.of(name) } else { error })
        });
        let answer = logits
            .collect::<Result<Vec<_>, _>>()
            .map(|logits| match multi_label {
                true => self.ensemble.above(&logits, threshold, k),
                false => self.ensemble.best(&logits, k),
            });
        (answer, members)
    }
}
