//! What `senet classify` prints for an image.

use std::ffi::OsString;

use clap::ValueEnum;
use serde::Serialize;

use super::format::Row;
use super::hints;
use super::inputs::Input;
use super::output::{Results, Tone, escaped};
use crate::error::Error;
use crate::model::{OutputActivation, Prediction};
use crate::nn::Precision;
use crate::quote::path_bytes;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LabelStyle {
    /// First of the class's names
    Name,
    /// WordNet id, or the first name if the class has none
    Wnid,
    /// All of the class's names
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

/// Why an image has no answer.
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
        Self {
            text: error.with_causes(),
            hint: hints::hint(error),
        }
    }
}

/// One image and the model's answer.
#[derive(Serialize)]
pub(super) struct AnswerRow<'a> {
    path: String,
    /// In base64, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    model: &'a str,
    precision: Precision,
    /// Absent for softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<OutputActivation>,
    #[serde(flatten)]
    answer: Answer,
    /// The path byte for byte, for CSV.
    #[serde(skip)]
    raw_path: OsString,
    #[serde(skip)]
    hint: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Predictions(Vec<AnswerPrediction>),
    Error(String),
}

#[derive(Serialize)]
struct AnswerPrediction {
    index: usize,
    wnid: Option<String>,
    label: String,
    probability: f64,
    logit: f32,
}

impl<'a> AnswerRow<'a> {
    pub(super) fn new(
        input: &Input,
        model: (&'a str, Precision),
        activation: Option<OutputActivation>,
        labels: LabelStyle,
        answer: Result<Vec<Prediction<'_>>, RowError>,
    ) -> Self {
        let path = input.to_string();
        let (answer, hint) = match answer {
            Ok(predictions) => {
                let predictions = predictions.iter().map(|p| AnswerPrediction {
                    index: p.index,
                    wnid: p.label.id.clone(),
                    label: labels.of(p),
                    probability: p.probability,
                    logit: p.logit,
                });
                (Answer::Predictions(predictions.collect()), None)
            }
            Err(RowError { text, hint }) => {
                // The row already begins with the path.
                let short = text.strip_prefix(&format!("`{path}`: "));
                (Answer::Error(short.unwrap_or(&text).to_owned()), hint)
            }
        };
        Self {
            path_bytes: input.path().and_then(path_bytes),
            raw_path: input.path().map_or_else(|| path.clone().into(), Into::into),
            path,
            model: model.0,
            precision: model.1,
            activation: activation.filter(|_| matches!(answer, Answer::Predictions(_))),
            answer,
            hint,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self.answer, Answer::Error(_))
    }

    /// Prints the row as text; for an empty answer, `threshold` is what no class exceeded.
    pub(super) fn print(&self, threshold: f64, results: &mut Results) -> anyhow::Result<()> {
        results.pieces(&[(Tone::Bold, &self.path)])?;
        match &self.answer {
            Answer::Predictions(predictions) if predictions.is_empty() => {
                results.line(format!("  no class above {threshold}"))?;
            }
            Answer::Predictions(predictions) => {
                // Escaped before the widths are computed.
                let names: Vec<String> = predictions.iter().map(|p| escaped(&p.label)).collect();
                let width = names.iter().map(|name| name.chars().count()).max();
                for (name, prediction) in names.iter().zip(predictions) {
                    let blanks = " ".repeat(width.unwrap_or(0) - name.chars().count());
                    let percent = prediction.probability * 100.0;
                    let bar = bar(prediction.probability);
                    let text = format!("  {percent:6.2}%  {name}{blanks}  ");
                    let text = if bar.is_empty() {
                        text.trim_end()
                    } else {
                        &text
                    };
                    results.pieces(&[(Tone::Plain, text), (Tone::Cyan, &bar)])?;
                }
            }
            Answer::Error(error) => {
                let text = format!(" {error}");
                results.pieces(&[(Tone::Red, "  error:"), (Tone::Plain, &text)])?;
                if let Some(hint) = &self.hint {
                    results
                        .pieces(&[(Tone::Cyan, "  hint:"), (Tone::Plain, &format!(" {hint}"))])?;
                }
            }
        }
        Ok(())
    }
}

impl Row for AnswerRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "path",
        "rank",
        "index",
        "wnid",
        "label",
        "probability",
        "logit",
        "error",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        let record = |cells: [String; 7]| {
            let cells = cells.into_iter().map(OsString::from);
            [self.raw_path.clone()].into_iter().chain(cells).collect()
        };
        match &self.answer {
            // Every image has a row.
            Answer::Predictions(predictions) if predictions.is_empty() => {
                vec![record(Default::default())]
            }
            Answer::Predictions(predictions) => {
                let ranked = (1..).zip(predictions);
                let records = ranked.map(|(rank, p): (usize, _)| {
                    record([
                        rank.to_string(),
                        p.index.to_string(),
                        p.wnid.clone().unwrap_or_default(),
                        p.label.clone(),
                        p.probability.to_string(),
                        p.logit.to_string(),
                        String::new(),
                    ])
                });
                records.collect()
            }
            Answer::Error(error) => {
                let mut cells: [String; 7] = Default::default();
                cells[6].clone_from(error);
                vec![record(cells)]
            }
        }
    }
}

/// A bar of 20 characters for probability 1, in steps of an eighth.
fn bar(probability: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (probability * 160.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}
