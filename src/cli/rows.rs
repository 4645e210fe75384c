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

/// The predictions for an image, or why there are none.
pub(super) type Predicted<'a> = Result<Vec<Prediction<'a>>, RowError>;

/// Why an image has no answer.
#[derive(Clone, Debug)]
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

    /// The error of one of several models.
    pub(super) fn of(self, model: &str) -> Self {
        Self {
            text: format!("{model}: {}", self.text),
            ..self
        }
    }
}

impl From<String> for RowError {
    fn from(text: String) -> Self {
        Self { text, hint: None }
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

/// One image and the answer of the model, or of several together.
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
    /// The answer of each model, if wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberAnswer<'a>>,
    /// The path byte for byte, for CSV.
    #[serde(skip)]
    raw_path: OsString,
}

/// The answer of one of several models.
#[derive(Serialize)]
struct MemberAnswer<'a> {
    model: &'a str,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Predictions {
        predictions: Vec<AnswerPrediction>,
    },
    Error {
        error: String,
        #[serde(skip)]
        hint: Option<String>,
    },
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
        (model, precision): (&'a str, Precision),
        activation: Option<OutputActivation>,
        labels: LabelStyle,
        answer: Predicted<'_>,
        members: Vec<(&'a str, Predicted<'_>)>,
    ) -> Self {
        let path = input.to_string();
        let answer = Answer::new(answer, labels, &path);
        let members = members.into_iter().map(|(model, answer)| MemberAnswer {
            model,
            answer: Answer::new(answer, labels, &path),
        });
        Self {
            path_bytes: input.path().and_then(path_bytes),
            raw_path: input.path().map_or_else(|| path.clone().into(), Into::into),
            members: members.collect(),
            path,
            model,
            precision,
            activation: activation.filter(|_| matches!(answer, Answer::Predictions { .. })),
            answer,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self.answer, Answer::Error { .. })
    }

    /// Prints the row as text; for an empty answer, `threshold` is what no class exceeded.
    pub(super) fn print(&self, threshold: f64, results: &mut Results) -> anyhow::Result<()> {
        results.pieces(&[(Tone::Bold, &self.path)])?;
        self.answer.print("  ", threshold, results)?;
        for member in &self.members {
            results.pieces(&[(Tone::Plain, "  "), (Tone::Bold, member.model)])?;
            member.answer.print("    ", threshold, results)?;
        }
        Ok(())
    }
}

impl Answer {
    fn new(answer: Predicted<'_>, labels: LabelStyle, path: &str) -> Self {
        match answer {
            Ok(predictions) => {
                let predictions = predictions.iter().map(|p| AnswerPrediction {
                    index: p.index,
                    wnid: p.label.id.clone(),
                    label: labels.of(p),
                    probability: p.probability,
                    logit: p.logit,
                });
                Self::Predictions {
                    predictions: predictions.collect(),
                }
            }
            Err(RowError { text, hint }) => {
                // The row already begins with the path.
                let short = text.strip_prefix(&format!("`{path}`: "));
                Self::Error {
                    error: short.unwrap_or(&text).to_owned(),
                    hint,
                }
            }
        }
    }

    /// Prints the answer as text, each line with `indent` before it.
    fn print(&self, indent: &str, threshold: f64, results: &mut Results) -> anyhow::Result<()> {
        match self {
            Self::Predictions { predictions } if predictions.is_empty() => {
                results.line(format!("{indent}no class above {threshold}"))?;
            }
            Self::Predictions { predictions } => {
                // Escaped before the widths are computed.
                let names: Vec<String> = predictions.iter().map(|p| escaped(&p.label)).collect();
                let width = names.iter().map(|name| name.chars().count()).max();
                for (name, prediction) in names.iter().zip(predictions) {
                    let blanks = " ".repeat(width.unwrap_or(0) - name.chars().count());
                    let percent = prediction.probability * 100.0;
                    let bar = bar(prediction.probability);
                    let text = format!("{indent}{percent:6.2}%  {name}{blanks}  ");
                    let text = if bar.is_empty() {
                        text.trim_end()
                    } else {
                        &text
                    };
                    results.pieces(&[(Tone::Plain, text), (Tone::Cyan, &bar)])?;
                }
            }
            Self::Error { error, hint } => {
                let lines = [
                    ("error:", Tone::Red, Some(error)),
                    ("hint:", Tone::Cyan, hint.as_ref()),
                ];
                for (title, tone, text) in lines {
                    let Some(text) = text else { continue };
                    let title = format!("{indent}{title}");
                    results.pieces(&[(tone, &title), (Tone::Plain, &format!(" {text}"))])?;
                }
            }
        }
        Ok(())
    }

    /// The CSV records, without path and model.
    fn cells(&self) -> Vec<[String; 7]> {
        match self {
            // Every answer has a record.
            Self::Predictions { predictions } if predictions.is_empty() => {
                vec![Default::default()]
            }
            Self::Predictions { predictions } => {
                let ranked = (1..).zip(predictions);
                let records = ranked.map(|(rank, p): (usize, _)| {
                    [
                        rank.to_string(),
                        p.index.to_string(),
                        p.wnid.clone().unwrap_or_default(),
                        p.label.clone(),
                        p.probability.to_string(),
                        p.logit.to_string(),
                        String::new(),
                    ]
                });
                records.collect()
            }
            Self::Error { error, .. } => {
                let mut cells: [String; 7] = Default::default();
                cells[6].clone_from(error);
                vec![cells]
            }
        }
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
        let records = self.answer.cells().into_iter().map(|cells| {
            let cells = cells.into_iter().map(OsString::from);
            [self.raw_path.clone()].into_iter().chain(cells).collect()
        });
        records.collect()
    }
}

/// The same row, which in CSV says which model each record is of.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct MembersRow<'a>(pub AnswerRow<'a>);

impl Row for MembersRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "path",
        "model",
        "rank",
        "index",
        "wnid",
        "label",
        "probability",
        "logit",
        "error",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        let row = &self.0;
        let members = row
            .members
            .iter()
            .map(|member| (member.model, &member.answer));
        let answers = [(row.model, &row.answer)].into_iter().chain(members);
        let records = answers.flat_map(|(model, answer)| {
            answer.cells().into_iter().map(move |cells| {
                let cells = cells.into_iter().map(OsString::from);
                let start = [row.raw_path.clone(), model.into()];
                start.into_iter().chain(cells).collect()
            })
        });
        records.collect()
    }
}

/// A bar of 20 characters for probability 1, in steps of an eighth.
fn bar(probability: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (probability * 160.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}
