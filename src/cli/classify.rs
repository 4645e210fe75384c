//! `senet classify`: the most probable classes of images.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use clap::Args;

use super::args::{ModelArgs, PreprocessArgs, SourceArgs, note_clipped, probability};
use super::format::FormatArgs;
use super::inputs::{self, Input};
use super::output::{Messages, Results};
use super::rows::{AnswerRow, LabelStyle, RowError};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::hub::{self, HubOptions};
use crate::model::{Model, OutputActivation, Prepared, prefetch_while};
use crate::preprocess::{self, DecodeOptions, MAX_FILE_BYTES, Transform};

/// Classify images
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet classify photo.jpg\n  \
    senet classify --model se-resnet50 --top-k 3 photos/ more/*.png\n  \
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
    #[command(flatten)]
    format: FormatArgs,
    /// How to print class labels
    #[arg(long, value_name = "STYLE", default_value = "name")]
    labels: LabelStyle,
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
    let overrides = arguments.preprocess.input.overrides();
    let opened = session::open(&arguments.model, &arguments.source, &overrides, messages)?;
    let (transform, hub) = (opened.transform.clone(), opened.hub.clone());
    let decode = arguments.preprocess.decode_options();
    let is_remote = |input: &Input| matches!(input, Input::Url(_));
    let prepare = |input: &Input, slot: &mut [f32]| prepare(input, &transform, &decode, &hub, slot);
    let (given, device) = (arguments.batch_size, &opened.options.device);
    let batch_size = session::batch_size(given, inputs.len(), device, messages).min(inputs.len());
    // The first images are decoded while the network is loaded.
    prefetch_while(
        &inputs,
        batch_size,
        transform.image_len(),
        is_remote,
        prepare,
        |batches| {
            let model = opened.load()?;
            let code = answer(arguments, &inputs, &model, batches, messages, results)?;
            session::note_reduced_batch(&model, messages);
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
    model: &Model,
    batches: Receiver<Prepared<RowError>>,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let single = model.activation() == OutputActivation::Sigmoid;
    if single && !arguments.multi_label {
        messages.note(format!(
            "{} has one output: its sigmoid is the probability of `{}`",
            model.spec().name,
            model.spec().labels.entries[0].name
        ));
    }
    let sigmoid = single || arguments.multi_label;
    let activation = sigmoid.then_some(OutputActivation::Sigmoid);
    let mut printed = arguments.format.rows::<AnswerRow>(results)?;
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
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let start = Instant::now();
        let rows = classify(model, activation, batch, arguments, inputs);
        computed += start.elapsed();
        failed += rows.iter().filter(|row| row.is_error()).count();
        done += rows.len();
        outcome = bar.suspend(|| {
            let mut rows = rows.iter();
            rows.try_for_each(|row| {
                printed.write(row, |results| row.print(arguments.threshold, results))
            })
        });
        bar.inc(rows.len() as u64);
        if outcome.is_err() {
            break;
        }
    }
    bar.finish_and_clear();
    outcome?;
    session::note_long_run(model, computed, messages);
    note_clipped(messages);
    if failed > 0 {
        messages.note(format!("{failed} of {done} images could not be classified"));
    }
    if stop.load(Ordering::Relaxed) && done < inputs.len() {
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
    transform: &Transform,
    options: &DecodeOptions,
    hub: &HubOptions,
    slot: &mut [f32],
) -> Result<(), RowError> {
    let image = match input {
        Input::File(path) => preprocess::open(path, options),
        Input::Url(url) => {
            let bytes = hub::fetch_image(url, MAX_FILE_BYTES, hub);
            let bytes = bytes.map_err(|error| RowError::from(&Error::from(error)))?;
            preprocess::decode(&bytes, options)
        }
        Input::Stdin(bytes) => preprocess::decode(bytes, options),
        Input::Unreadable { reason, .. } => return Err(RowError::new(reason)),
    };
    let image = image.map_err(|error| RowError::from(&Error::from(error)))?;
    transform.write(&image, slot);
    Ok(())
}

fn classify<'a>(
    model: &'a Model,
    activation: Option<OutputActivation>,
    batch: Prepared<RowError>,
    arguments: &Arguments,
    inputs: &[Input],
) -> Vec<AnswerRow<'a>> {
    let mut rows = model.logits_each(batch.values).into_iter();
    let k = |default| arguments.top_k.map_or(default, |k| k as usize);
    let answer = |logits: &[f32]| match arguments.multi_label {
        true => model.above(logits, arguments.threshold, k(usize::MAX)),
        false => model.best(logits, k(5)),
    };
    let mut next = || match rows.next() {
        Some(Ok(logits)) => Ok(answer(&logits)),
        Some(Err(error)) => Err(RowError::from(&error)),
        None => Err(RowError::new(
            "the network returned no output for this image",
        )),
    };
    let inputs = &inputs[batch.first..];
    let rows = inputs.iter().zip(batch.outcomes);
    rows.map(|(input, outcome)| {
        let answer = outcome.and_then(|()| next());
        let name = (&*model.spec().name, model.network().precision());
        AnswerRow::new(input, name, activation, arguments.labels, answer)
    })
    .collect()
}
