//! What `senet explain` prints for an image.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::cli::format::{Row, cell};
use crate::cli::inputs::Input;
use crate::cli::output::{Results, Tone, escaped};
use crate::cli::rows::RowError;
use crate::explain::{Cam, Check, Form, GateSummary, Module};
use crate::model::OutputActivation;
use crate::nets::Grid;
use crate::nn::Precision;
use crate::preprocess::Placement;
use crate::quote::path_bytes;

/// One image and its explanations.
#[derive(Serialize)]
pub(super) struct ExplainRow<'a> {
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
    explained: Option<Explained>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The path byte for byte, for CSV.
    #[serde(skip)]
    raw_path: OsString,
    #[serde(skip)]
    hint: Option<String>,
}

/// What was found out about an image.
#[derive(Serialize)]
pub(super) struct Explained {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) gates: Vec<Gates>,
    pub(super) explanations: Vec<Explanation>,
}

/// Where the cells of the maps lie in the image, in pixels, `[y, x]`.
#[derive(Serialize)]
pub(super) struct Place {
    size: [usize; 2],
    /// First and last edge of the part that the network sees.
    crop: [[f64; 2]; 2],
    /// Centre of the first cell.
    first_cell: [f64; 2],
    /// From one centre to the next.
    cell_step: [f64; 2],
}

/// The gates of a module.
#[derive(Serialize)]
pub(super) struct Gates {
    #[serde(flatten)]
    module: Module,
    #[serde(flatten)]
    summary: GateSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<f32>>,
}

/// A class and what the network thinks of it.
#[derive(Serialize)]
pub(super) struct Class {
    pub(super) index: usize,
    pub(super) wnid: Option<String>,
    pub(super) label: String,
    pub(super) probability: f64,
    pub(super) logit: f32,
}

/// Why a class has its logit, or one class more than another.
#[derive(Serialize)]
pub(super) struct Explanation {
    #[serde(flatten)]
    pub(super) class: Class,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) versus: Option<Class>,
    #[serde(flatten, serialize_with = "map")]
    pub(super) cam: Cam,
    /// Centre of the highest cell, `[y, x]` in pixels of the image.
    pub(super) peak: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "path")]
    pub(super) overlay: Option<PathBuf>,
}

/// A map as rows.
fn map<S: Serializer>(cam: &Cam, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Map<'a> {
        bias: f64,
        form: Form,
        cam: Vec<&'a [f64]>,
    }
    let map = Map {
        bias: cam.bias,
        form: cam.form,
        cam: cam.values.chunks(cam.columns).collect(),
    };
    map.serialize(serializer)
}

fn path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(serializer)
}

impl Place {
    pub(super) fn new(grid: &Grid, placement: &Placement) -> Self {
        let [rows, columns] = placement.crop();
        let [down, across] = placement.scale();
        Self {
            size: placement.image(),
            crop: [[rows.start, rows.end], [columns.start, columns.end]],
            first_cell: placement.in_image([grid.rows.first, grid.columns.first]),
            cell_step: [down * grid.rows.step, across * grid.columns.step],
        }
    }
}

/// The gates of each module on one image, with all values if they are to be `full`.
pub(super) fn gates(modules: &[Module], gates: &[Vec<f32>], full: bool) -> Vec<Gates> {
    let both = modules.iter().zip(gates);
    both.map(|(module, gates)| Gates {
        module: module.clone(),
        summary: GateSummary::new(gates),
        values: full.then(|| gates.clone()),
    })
    .collect()
}

impl<'a> ExplainRow<'a> {
    pub(super) fn new(
        input: &Input,
        model: (&'a str, Precision),
        activation: OutputActivation,
        explained: Result<Explained, RowError>,
    ) -> Self {
        let path = input.to_string();
        let (explained, error, hint) = match explained {
            Ok(explained) => (Some(explained), None, None),
            Err(RowError { text, hint }) => {
                // The row already begins with the path.
                let short = text.strip_prefix(&format!("`{path}`: "));
                (None, Some(short.unwrap_or(&text).to_owned()), hint)
            }
        };
        let is_sigmoid = explained.is_some() && activation == OutputActivation::Sigmoid;
        Self {
            path_bytes: input.path().and_then(path_bytes),
            raw_path: input.path().map_or_else(|| path.clone().into(), Into::into),
            path,
            model: model.0,
            precision: model.1,
            activation: is_sigmoid.then_some(activation),
            explained,
            error,
            hint,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn print(&self, results: &mut Results) -> anyhow::Result<()> {
        results.pieces(&[(Tone::Bold, &self.path)])?;
        if let Some(error) = &self.error {
            results.pieces(&[(Tone::Red, "  error:"), (Tone::Plain, &format!(" {error}"))])?;
            if let Some(hint) = &self.hint {
                results.pieces(&[(Tone::Cyan, "  hint:"), (Tone::Plain, &format!(" {hint}"))])?;
            }
        }
        let Some(explained) = &self.explained else {
            return Ok(());
        };
        for explanation in &explained.explanations {
            explanation.print(&explained.place, results)?;
        }
        Ok(())
    }
}

impl Explanation {
    fn print(&self, place: &Place, results: &mut Results) -> anyhow::Result<()> {
        const INDENT: &str = "           ";
        let class = &self.class;
        let percent = class.probability * 100.0;
        let name = escaped(&class.label);
        let line = match &self.versus {
            None => format!("  {percent:6.2}%  {name}"),
            Some(other) => {
                let versus = escaped(&other.label);
                let percent_other = other.probability * 100.0;
                format!("  {percent:6.2}%  {name} versus {versus} ({percent_other:.2}%)")
            }
        };
        results.line(line)?;
        let (what, logit) = match &self.versus {
            None => ("logit", class.logit),
            Some(other) => ("difference", class.logit - other.logit),
        };
        let form = match self.cam.form {
            Form::Exact => "",
            Form::Gradient => ", gradient at this image",
        };
        results.line(format!(
            "{INDENT}{what} {logit:.3} = {:.3} (mean of the map{form}) {} {:.3} (bias)",
            self.cam.mean(),
            if self.cam.bias < 0.0 { "-" } else { "+" },
            self.cam.bias.abs()
        ))?;
        let ([y, x], [height, width]) = (self.peak, place.size);
        results.line(format!(
            "{INDENT}peak at x {x:.0}, y {y:.0} of {width} x {height} pixels"
        ))?;
        if let Some(check) = &self.check {
            let points = |drop: f64| -drop * 100.0;
            results.line(format!(
                "{INDENT}occlusion check: probability {:+.2} points without the top tenth, {:+.2} without a random tenth",
                points(check.top_drop),
                points(check.random_drop)
            ))?;
        }
        if let Some(overlay) = &self.overlay {
            results.line(format!("{INDENT}{}", overlay.display()))?;
        }
        Ok(())
    }
}

impl Row for ExplainRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "path",
        "index",
        "wnid",
        "label",
        "probability",
        "logit",
        "bias",
        "versus",
        "y",
        "x",
        "top_drop",
        "random_drop",
        "overlay",
        "error",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        let explanations = self.explained.iter().flat_map(|found| &found.explanations);
        let records = explanations.map(|explanation| {
            let class = &explanation.class;
            let overlay = explanation.overlay.clone().map(PathBuf::into_os_string);
            vec![
                self.raw_path.clone(),
                cell(class.index),
                cell(&class.wnid),
                cell(&class.label),
                cell(class.probability),
                cell(class.logit),
                cell(explanation.cam.bias),
                cell(explanation.versus.as_ref().map(|other| other.index)),
                cell(explanation.peak[0]),
                cell(explanation.peak[1]),
                cell(explanation.check.map(|check| check.top_drop)),
                cell(explanation.check.map(|check| check.random_drop)),
                overlay.unwrap_or_default(),
                OsString::new(),
            ]
        });
        let mut records: Vec<Vec<OsString>> = records.collect();
        if let Some(error) = &self.error {
            let mut record = vec![OsString::new(); Self::COLUMNS.len()];
            record[0].clone_from(&self.raw_path);
            record[Self::COLUMNS.len() - 1] = error.into();
            records.push(record);
        }
        records
    }
}
