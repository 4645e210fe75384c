//! `senet classify`: the most probable classes of pictures.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::args::{ModelArgs, PreprocessArgs};
use super::inputs::{self, Input};
use super::output::{Messages, Results};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::image::{self, DecodeOptions, ImageError};
use crate::model::{Model, Prediction, Prepared, prepare_ahead};

/// Tell what pictures show
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet classify photo.jpg\n  \
    senet classify --model se-resnet50 --top-k 3 photos/ more/*.png\n  \
    find . -name '*.jpg' | senet classify --files-from - --json > answers.jsonl\n  \
    curl -s https://example.org/cat.jpg | senet classify -\n\n\
    A picture that cannot be read is a row with its error; the exit code is then 1.")]
pub(super) struct Arguments {
    /// Pictures, folders (searched recursively), or - for one picture on standard input
    #[arg(value_name = "INPUT", required_unless_present = "files_from")]
    inputs: Vec<PathBuf>,
    /// Read paths from a file, one a line (- for standard input)
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// Number of classes to show
    #[arg(short = 'k', long, value_name = "K", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,
    /// One JSON object a line for each picture
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// A header line, then one line for each class of each picture
    #[arg(long)]
    csv: bool,
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
    preprocess: PreprocessArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LabelStyle {
    /// The first name
    Name,
    /// The WordNet id, where the classes have one
    Wnid,
    /// All names
    Full,
}

impl LabelStyle {
    fn of(self, prediction: &Prediction<'_>) -> String {
        let label = prediction.label;
        match self {
            Self::Name => label.name.clone(),
            Self::Wnid => label.id.clone().unwrap_or_else(|| label.name.clone()),
            Self::Full => label.full.clone(),
        }
    }
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let inputs = inputs::collect(&arguments.inputs, arguments.files_from.as_deref())?;
    let adapt = |spec: &mut crate::ModelSpec| arguments.preprocess.apply(&mut spec.input);
    let model = session::open(&arguments.model, adapt, messages)?;
    let mut writer = Writer::new(arguments, &model.spec().name, results)?;
    let stop = stop_on_interrupt()?;
    let bar = messages.bar(
        inputs.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} pictures  {per_sec}  {eta}",
    );
    let decode = arguments.preprocess.decode_options();
    let prepare = |input: &Input, slot: &mut [f32]| prepare(input, &model, &decode, slot);

    let mut outcome = Ok(());
    let mut failed = 0;
    let mut done = 0;
    let batch_size = (arguments.batch_size as usize).min(inputs.len());
    prepare_ahead(&inputs, batch_size, model.picture_len(), prepare, |batch| {
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let rows = classify(&model, batch, arguments.top_k as usize, &inputs);
        failed += rows.iter().filter(|row| row.answer.is_err()).count();
        done += rows.len();
        outcome = bar.suspend(|| {
            rows.iter()
                .try_for_each(|row| writer.row(row))
                .and_then(|()| writer.flush())
        });
        bar.inc(rows.len() as u64);
        if outcome.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    bar.finish_and_clear();
    outcome?;
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

/// The first Ctrl-C lets the batch end, so that every printed row is whole; the second kills.
fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user has asked twice")]
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

fn prepare(
    input: &Input,
    model: &Model,
    options: &DecodeOptions,
    slot: &mut [f32],
) -> Result<(), RowError> {
    let picture = match input {
        Input::File(path) => image::open(path, options),
        Input::Stdin(bytes) => image::decode(bytes, options),
        Input::Unreadable { reason, .. } => {
            return Err(RowError {
                text: reason.clone(),
                hint: None,
            });
        }
    };
    model
        .transform()
        .write(&picture.map_err(|error| RowError::image(&error))?, slot);
    Ok(())
}

/// Why a picture has no answer.
#[derive(Debug)]
struct RowError {
    text: String,
    hint: Option<String>,
}

impl RowError {
    fn image(error: &ImageError) -> Self {
        Self {
            text: with_causes(error),
            hint: error.hint(),
        }
    }

    fn network(error: &Error) -> Self {
        Self {
            text: with_causes(error),
            hint: error.hint(),
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.contains(&error.to_string()) {
            text += &format!(": {error}");
        }
        cause = error.source();
    }
    text
}

struct Row<'a> {
    input: &'a Input,
    answer: Result<Vec<Prediction<'a>>, RowError>,
}

fn classify<'a>(
    model: &'a Model,
    batch: Prepared<RowError>,
    top_k: usize,
    inputs: &'a [Input],
) -> Vec<Row<'a>> {
    let good = batch
        .outcomes
        .iter()
        .filter(|outcome| outcome.is_ok())
        .count();
    let mut answers = answers(model, batch.values, good, top_k).into_iter();
    let inputs = &inputs[batch.first..];
    let rows = inputs.iter().zip(batch.outcomes);
    rows.map(|(input, outcome)| {
        let missing = || {
            Err(RowError {
                text: "the network gave no answer".into(),
                hint: None,
            })
        };
        let answer = outcome.and_then(|()| answers.next().unwrap_or_else(missing));
        Row { input, answer }
    })
    .collect()
}

/// One answer for each of the `count` pictures in `values`. If the batch fails, each picture is
/// tried alone, so that one cannot take the others with it.
fn answers(
    model: &Model,
    values: Vec<f32>,
    count: usize,
    top_k: usize,
) -> Vec<Result<Vec<Prediction<'_>>, RowError>> {
    let run = |values: Vec<f32>| {
        let batch = model.batch_from(values)?;
        model.classify_batch(&batch, top_k)
    };
    if count == 0 {
        return Vec::new();
    }
    if count == 1 {
        let answer = run(values).map_err(|error| RowError::network(&error));
        return vec![answer.map(|mut rows| rows.pop().unwrap_or_default())];
    }
    match run(values.clone()) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(_) => values
            .chunks_exact(model.picture_len())
            .flat_map(|picture| answers(model, picture.to_vec(), 1, top_k))
            .collect(),
    }
}

/// The forms in which rows are printed.
enum Writer<'a> {
    Text {
        results: &'a mut Results,
        labels: LabelStyle,
    },
    Json {
        results: &'a mut Results,
        labels: LabelStyle,
        model: &'a str,
    },
    Csv {
        csv: csv::Writer<&'a mut Results>,
        labels: LabelStyle,
    },
}

#[derive(Serialize)]
struct JsonRow<'a> {
    path: String,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<Vec<JsonPrediction<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonPrediction<'a> {
    index: usize,
    wnid: Option<&'a str>,
    label: String,
    probability: f64,
    logit: f32,
}

impl<'a> Writer<'a> {
    fn new(
        arguments: &Arguments,
        model: &'a str,
        results: &'a mut Results,
    ) -> anyhow::Result<Self> {
        let labels = arguments.labels;
        if arguments.json {
            return Ok(Self::Json {
                results,
                labels,
                model,
            });
        }
        if !arguments.csv {
            return Ok(Self::Text { results, labels });
        }
        let mut csv = csv::Writer::from_writer(results);
        csv.write_record([
            "path",
            "rank",
            "index",
            "wnid",
            "label",
            "probability",
            "logit",
            "error",
        ])?;
        Ok(Self::Csv { csv, labels })
    }

    fn row(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        match self {
            Self::Text { results, labels } => text_row(results, *labels, row),
            Self::Json {
                results,
                labels,
                model,
            } => {
                let path = row.input.to_string();
                Ok(results.json(&match &row.answer {
                    Ok(predictions) => JsonRow {
                        path,
                        model,
                        predictions: Some(
                            predictions
                                .iter()
                                .map(|p| json_prediction(*labels, p))
                                .collect(),
                        ),
                        error: None,
                    },
                    Err(error) => JsonRow {
                        path,
                        model,
                        predictions: None,
                        error: Some(&error.text),
                    },
                })?)
            }
            Self::Csv { csv, labels } => csv_row(csv, *labels, row),
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Text { results, .. } | Self::Json { results, .. } => results.flush()?,
            Self::Csv { csv, .. } => csv.flush()?,
        }
        Ok(())
    }
}

fn json_prediction<'a>(labels: LabelStyle, prediction: &Prediction<'a>) -> JsonPrediction<'a> {
    JsonPrediction {
        index: prediction.index,
        wnid: prediction.label.id.as_deref(),
        label: labels.of(prediction),
        probability: prediction.probability,
        logit: prediction.logit,
    }
}

fn csv_row(
    csv: &mut csv::Writer<&mut Results>,
    labels: LabelStyle,
    row: &Row<'_>,
) -> anyhow::Result<()> {
    let path = row.input.to_string();
    match &row.answer {
        Ok(predictions) => {
            for (rank, prediction) in predictions.iter().enumerate() {
                csv.write_record([
                    path.as_str(),
                    &(rank + 1).to_string(),
                    &prediction.index.to_string(),
                    prediction.label.id.as_deref().unwrap_or_default(),
                    &labels.of(prediction),
                    &prediction.probability.to_string(),
                    &prediction.logit.to_string(),
                    "",
                ])?;
            }
        }
        Err(error) => csv.write_record([path.as_str(), "", "", "", "", "", "", &error.text])?,
    }
    Ok(())
}

fn text_row(results: &mut Results, labels: LabelStyle, row: &Row<'_>) -> anyhow::Result<()> {
    let style = results.style;
    results.line(style.bold(&row.input.to_string()))?;
    match &row.answer {
        Ok(predictions) => {
            let names: Vec<String> = predictions.iter().map(|p| labels.of(p)).collect();
            let width = names
                .iter()
                .map(|name| name.chars().count())
                .max()
                .unwrap_or(0);
            for (name, prediction) in names.iter().zip(predictions) {
                let blanks = " ".repeat(width - name.chars().count());
                let per_cent = prediction.probability * 100.0;
                let bar = style.cyan(&bar(prediction.probability));
                results.line(format!("  {per_cent:6.2}%  {name}{blanks}  {bar}").trim_end())?;
            }
        }
        Err(error) => {
            results.line(format!("  {} {}", style.red("error:"), error.text))?;
            if let Some(hint) = &error.hint {
                results.line(format!("  {} {hint}", style.cyan("hint:")))?;
            }
        }
    }
    Ok(())
}

/// Twenty characters for certainty, in eighths.
fn bar(probability: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (probability * 160.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}
