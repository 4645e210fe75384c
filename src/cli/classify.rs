//! `senet classify`: the most probable classes of pictures.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use clap::Args;

use super::args::{ModelArgs, PreprocessArgs, SourceArgs, note_clipped, probability};
use super::format::FormatArgs;
use super::inputs::{self, Input};
use super::output::{Messages, Results};
use super::rows::{AnswerRow, LabelStyle, RowError};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::hub::{self, HubOptions};
use crate::model::{Activation, Model, Prepared, prepare_beside};
use crate::preprocess::{self, DecodeOptions, MAX_FILE_BYTES, Transform};

/// Tell what pictures show
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet classify photo.jpg\n  \
    senet classify --model se-resnet50 --top-k 3 photos/ more/*.png\n  \
    find . -name '*.jpg' | senet classify --files-from - --json > answers.jsonl\n  \
    senet classify https://example.org/cat.jpg\n  \
    curl -s https://example.org/cat.jpg | senet classify -\n\n\
    A picture that cannot be read is a row with its error; the exit code is then 1.")]
pub(super) struct Arguments {
    /// Pictures, folders (searched recursively), https:// addresses, or - for one picture on standard input
    #[arg(value_name = "INPUT", required_unless_present = "files_from")]
    inputs: Vec<PathBuf>,
    /// Read paths from a file, one a line (- for standard input)
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// The paths of the list have NUL bytes between them, as from `find -print0`; found out
    /// otherwise
    #[arg(short = '0', long, requires = "files_from")]
    null: bool,
    /// Number of classes to show; with --multi-label the most [default: 5, or all above the threshold]
    #[arg(short = 'k', long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Judge each class by itself (sigmoid), and show every one above the threshold
    #[arg(long)]
    multi_label: bool,
    /// Probability above which a class is shown
    #[arg(long, value_name = "P", default_value_t = 0.5, requires = "multi_label",
        value_parser = probability)]
    threshold: f64,
    #[command(flatten)]
    format: FormatArgs,
    /// What to call the classes
    #[arg(long, value_name = "STYLE", default_value = "name")]
    labels: LabelStyle,
    /// Pictures that go through the network together
    #[arg(short, long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: u32,
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
    let batch_size = (arguments.batch_size as usize).min(inputs.len());
    // The first pictures are decoded while the network is loaded.
    prepare_beside(
        &inputs,
        batch_size,
        transform.picture_len(),
        is_remote,
        prepare,
        |batches| {
            let model = opened.load()?;
            let code = answer(arguments, &inputs, &model, batches, messages, results)?;
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
    let single = model.activation() == Activation::Sigmoid;
    if single && !arguments.multi_label {
        messages.note(format!(
            "{} has one output: its probability is the sigmoid, of `{}` or not",
            model.spec().name,
            model.spec().labels.entries[0].name
        ));
    }
    let sigmoid = single || arguments.multi_label;
    let activation = sigmoid.then_some(Activation::Sigmoid);
    let mut printed = arguments.format.rows::<AnswerRow>(results)?;
    let stop = session::stop_on_interrupt()?;
    let bar = messages.bar(
        inputs.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} pictures  {rate}  {eta}",
    );
    let mut outcome = Ok(());
    let mut failed = 0;
    let mut done = 0;
    for batch in batches {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let rows = classify(model, activation, batch, arguments, inputs);
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
    note_clipped(messages);
    if failed > 0 {
        messages.note(format!(
            "{failed} of {done} pictures could not be classified"
        ));
    }
    if stop.load(Ordering::Relaxed) && done < inputs.len() {
        messages.note(format!(
            "interrupted after {done} of {} pictures",
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
    let picture = match input {
        Input::File(path) => preprocess::open(path, options),
        Input::Url(url) => {
            let bytes = hub::fetch_image(url, MAX_FILE_BYTES, hub);
            let bytes = bytes.map_err(|error| RowError::from(&Error::from(error)))?;
            preprocess::decode(&bytes, options)
        }
        Input::Stdin(bytes) => preprocess::decode(bytes, options),
        Input::Unreadable { reason, .. } => return Err(RowError::new(reason)),
    };
    let picture = picture.map_err(|error| RowError::from(&Error::from(error)))?;
    transform.write(&picture, slot);
    Ok(())
}

fn classify<'a>(
    model: &'a Model,
    activation: Option<Activation>,
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
        None => Err(RowError::new("the network gave no answer")),
    };
    let inputs = &inputs[batch.first..];
    let rows = inputs.iter().zip(batch.outcomes);
    rows.map(|(input, outcome)| {
        let answer = outcome.and_then(|()| next());
        let name = &model.spec().name;
        AnswerRow::new(input, name, activation, arguments.labels, answer)
    })
    .collect()
}
