//! `senet verify`: compares a network with stored reference outputs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::args::{DeviceArgs, HubArgs};
use super::format::{FormatArgs, Row, cell, shape};
use super::output::{Messages, Results, Table, Tone};
use super::{SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::nn::Precision;
use crate::verify::{
    self, DEFAULT_TOLERANCE, Golden, LOW_PRECISION_RELATIVE, LOW_PRECISION_TOLERANCE, VerifyReport,
    largest_logit, suggested_tolerance,
};
use crate::weights::Weights;
use crate::zoo::Overrides;

/// Compare a network's outputs with a file of reference outputs
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  senet verify seresnet50.ra2_in1k --golden golden.safetensors --weights model.safetensors\n\n\
    The golden file holds the tensor `input` and the reference's outputs for it: `logits`, \
    `pre_logits`, their `_f64` versions, `stage.*` and `gate.*`. For the last two, it may hold the reference's own \
    error in single precision, as `error.stage.*` and `error.gate.*`. The exit code is 1 if a difference exceeds the \
    tolerance."
)]
pub(super) struct Arguments {
    /// Checkpoint, architecture, family, local directory with config.json, or hf-hub:ORG/REPO[@REVISION]
    #[arg(value_name = "MODEL")]
    model: String,
    /// File of reference outputs (.safetensors)
    #[arg(long, value_name = "FILE")]
    golden: PathBuf,
    /// Use this weights file instead of the model's own
    #[arg(short, long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Largest allowed difference of a logit; for other tensors, relative to their largest value, and at least
    /// twenty times the reference's own error where the golden file states it
    /// [default: the one in the golden file's JSON report, or 0.001; in tf32 and bf16, 0.006 times the
    /// largest logit, and 0.05 for other tensors]
    #[arg(long, value_name = "DIFFERENCE", value_parser = positive)]
    tolerance: Option<f64>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    hub: HubArgs,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a finite number above 0".into()),
    }
}

#[derive(Serialize)]
struct ModelReport<'a> {
    model: &'a str,
    precision: Precision,
    tolerance: f64,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let (spec, hub) =
        session::find_from(&arguments.model, &Overrides::ALL, &arguments.hub, messages)?;
    let file = Weights::open(&arguments.golden).map_err(Error::from)?;
    let largest = largest_logit(&file).map_err(Error::from)?;
    let suggested = suggested_tolerance(&arguments.golden).map_err(Error::from)?;
    let options = session::open_device(&arguments.device, &spec.name, messages)?;
    let tolerance = arguments.tolerance.unwrap_or(match options.precision {
        Precision::F32 => suggested.unwrap_or(DEFAULT_TOLERANCE),
        _ => LOW_PRECISION_TOLERANCE * largest,
    });
    let mut golden = Golden::read(&file, tolerance).map_err(Error::from)?;
    if arguments.tolerance.is_none() && options.precision != Precision::F32 {
        golden = golden.with_relative_tolerance(LOW_PRECISION_RELATIVE);
    }
    let weights = session::open_weights(&spec, arguments.weights.as_deref(), &hub, messages)?;
    let model = session::load(spec, &weights, &options, messages)?;
    let report = golden.compare(model.network()).map_err(Error::from)?;
    let answer = ModelReport {
        model: &model.spec().name,
        precision: options.precision,
        tolerance,
        report: &report,
    };
    let format = &arguments.format;
    format.report(&answer, &report.rows, results, |results| {
        print_report(&report, results)
    })?;
    Ok(if report.ok { SUCCESS } else { SOME_FAILED })
}

impl Row for verify::VerifyRow {
    const COLUMNS: &'static [&'static str] = &[
        "tensor",
        "shape",
        "max_abs",
        "max_rel",
        "tolerance",
        "ok",
        "images",
        "top1",
        "top5",
        "note",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.tensor),
            shape(&self.shape),
            cell(self.max_abs),
            cell(self.max_rel),
            cell(self.tolerance),
            cell(self.ok),
            cell(self.top_k.map(|top| top.images)),
            cell(self.top_k.map(|top| top.top1)),
            cell(self.top_k.map(|top| top.top5)),
            cell(&self.note),
        ]]
    }
}

fn print_report(report: &VerifyReport, results: &mut Results) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "tensor",
        "shape",
        ">max abs",
        ">max rel",
        ">tolerance",
        "",
        "",
    ]);
    for row in &report.rows {
        let figure =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.1e}"));
        let shape: Vec<String> = row.shape.iter().map(usize::to_string).collect();
        let answers = row.top_k.map(|top| {
            format!(
                "top-1 {0} of {2}, top-5 {1} of {2}",
                top.top1, top.top5, top.images
            )
        });
        table.row(vec![
            row.tensor.clone(),
            shape.join("x"),
            figure(row.max_abs),
            figure(row.max_rel),
            figure(Some(row.tolerance)),
            if row.ok { "ok" } else { "DIFFERS" }.into(),
            answers.or_else(|| row.note.clone()).unwrap_or_default(),
        ]);
    }
    for (index, line) in table.lines().iter().enumerate() {
        let bad = index > 0 && !report.rows[index - 1].ok;
        let tone = match index {
            0 => Tone::Bold,
            _ if bad => Tone::Red,
            _ => Tone::Plain,
        };
        results.pieces(&[(tone, line)])?;
    }
    for name in &report.unknown {
        results.line(format!("{name}: unknown tensor, not compared"))?;
    }
    let bad = report.rows.iter().filter(|row| !row.ok).count();
    results.line(match bad {
        0 => format!("all {} tensors agree", report.rows.len()),
        _ => format!("{bad} of {} tensors differ", report.rows.len()),
    })?;
    Ok(())
}
