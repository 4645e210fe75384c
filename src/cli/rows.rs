//! The forms in which answers are printed.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::inputs::Input;
use super::output::{Results, Tone, escaped};
use crate::error::Error;
use crate::model::{Activation, Prediction};
use crate::quote::path_bytes;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LabelStyle {
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

/// Why a picture has no answer.
#[derive(Debug)]
pub(super) struct RowError {
    pub text: String,
    pub hint: Option<String>,
}

impl RowError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
        }
    }
}

impl From<&Error> for RowError {
    fn from(error: &Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            // Transparent errors repeat their cause.
            if !text.contains(&error.to_string()) {
                text += &format!(": {error}");
            }
            cause = error.source();
        }
        Self {
            text,
            hint: error.hint(),
        }
    }
}

/// One picture and what was made of it.
pub(super) struct Row<'a> {
    pub input: &'a Input,
    pub answer: Result<Vec<Prediction<'a>>, RowError>,
}

impl Row<'_> {
    /// The error without the path, which the row begins with.
    fn error_text<'e>(&self, error: &'e RowError) -> &'e str {
        error
            .text
            .strip_prefix(&format!("`{}`: ", self.input))
            .unwrap_or(&error.text)
    }
}

const CSV_COLUMNS: [&str; 8] = [
    "path",
    "rank",
    "index",
    "wnid",
    "label",
    "probability",
    "logit",
    "error",
];

/// Prints rows in one of the forms.
pub(super) enum Writer<'a> {
    Text {
        results: &'a mut Results,
        labels: LabelStyle,
        /// What no class of an image without a class is above.
        threshold: f64,
    },
    Json {
        results: &'a mut Results,
        labels: LabelStyle,
        model: &'a str,
        activation: Option<Activation>,
    },
    Csv {
        csv: Box<csv::Writer<&'a mut Results>>,
        labels: LabelStyle,
    },
}

#[derive(Serialize)]
struct JsonRow<'a> {
    path: String,
    /// In base64, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    model: &'a str,
    /// Where it is not the softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<Activation>,
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
    pub(super) fn text(results: &'a mut Results, labels: LabelStyle, threshold: f64) -> Self {
        Self::Text {
            results,
            labels,
            threshold,
        }
    }

    pub(super) fn json(
        results: &'a mut Results,
        labels: LabelStyle,
        model: &'a str,
        activation: Option<Activation>,
    ) -> Self {
        Self::Json {
            results,
            labels,
            model,
            activation,
        }
    }

    pub(super) fn csv(results: &'a mut Results, labels: LabelStyle) -> anyhow::Result<Self> {
        let mut csv = csv::Writer::from_writer(results);
        csv.write_record(CSV_COLUMNS)?;
        Ok(Self::Csv {
            csv: Box::new(csv),
            labels,
        })
    }

    pub(super) fn row(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        match self {
            Self::Text {
                results,
                labels,
                threshold,
            } => text_row(results, *labels, *threshold, row),
            Self::Json {
                results,
                labels,
                model,
                activation,
            } => {
                let path = row.input.to_string();
                let path_bytes = row.input.path().and_then(path_bytes);
                Ok(results.json(&match &row.answer {
                    Ok(predictions) => JsonRow {
                        path,
                        path_bytes,
                        model,
                        activation: *activation,
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
                        path_bytes,
                        model,
                        activation: None,
                        predictions: None,
                        error: Some(row.error_text(error)),
                    },
                })?)
            }
            Self::Csv { csv, labels } => csv_row(csv, *labels, row),
        }
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
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
    let shown = row.input.to_string();
    let path = row
        .input
        .path()
        .map_or(shown.as_bytes(), |path| path.as_os_str().as_encoded_bytes());
    match &row.answer {
        // No image vanishes.
        Ok(predictions) if predictions.is_empty() => {
            csv.write_record([path, b"", b"", b"", b"", b"", b"", b""])?;
        }
        Ok(predictions) => {
            for (rank, prediction) in predictions.iter().enumerate() {
                csv.write_record([
                    path,
                    (rank + 1).to_string().as_bytes(),
                    prediction.index.to_string().as_bytes(),
                    prediction
                        .label
                        .id
                        .as_deref()
                        .unwrap_or_default()
                        .as_bytes(),
                    labels.of(prediction).as_bytes(),
                    prediction.probability.to_string().as_bytes(),
                    prediction.logit.to_string().as_bytes(),
                    b"",
                ])?;
            }
        }
        Err(error) => {
            let error = row.error_text(error).as_bytes();
            csv.write_record([path, b"", b"", b"", b"", b"", b"", error])?
        }
    }
    Ok(())
}

fn text_row(
    results: &mut Results,
    labels: LabelStyle,
    threshold: f64,
    row: &Row<'_>,
) -> anyhow::Result<()> {
    results.pieces(&[(Tone::Bold, &row.input.to_string())])?;
    match &row.answer {
        Ok(predictions) if predictions.is_empty() => {
            results.line(format!("  no class above {threshold}"))?;
        }
        Ok(predictions) => {
            // Escaped before the widths are taken.
            let names: Vec<String> = predictions.iter().map(|p| escaped(&labels.of(p))).collect();
            let width = names
                .iter()
                .map(|name| name.chars().count())
                .max()
                .unwrap_or(0);
            for (name, prediction) in names.iter().zip(predictions) {
                let blanks = " ".repeat(width - name.chars().count());
                let per_cent = prediction.probability * 100.0;
                let bar = bar(prediction.probability);
                let text = format!("  {per_cent:6.2}%  {name}{blanks}  ");
                let text = if bar.is_empty() {
                    text.trim_end()
                } else {
                    &text
                };
                results.pieces(&[(Tone::Plain, text), (Tone::Cyan, &bar)])?;
            }
        }
        Err(error) => {
            let text = format!(" {}", row.error_text(error));
            results.pieces(&[(Tone::Red, "  error:"), (Tone::Plain, &text)])?;
            if let Some(hint) = &error.hint {
                results.pieces(&[(Tone::Cyan, "  hint:"), (Tone::Plain, &format!(" {hint}"))])?;
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
