//! `senet compare`: compares two models image by image.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use super::eval::{self, Request, RunArgs, SelectionArgs};
use super::format::{FormatArgs, Row, cell};
use super::output::{Messages, Results};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::error::Error;
use crate::eval::{Difference, Pair};
use crate::zoo::Overrides;

/// Compare two models image by image, on labelled images or from results files
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        senet compare senet154 se-resnet50 imagenet/val --limit 1000\n  \
        senet eval imagenet/val -m senet154 -m se-resnet50 --results runs/\n  \
        senet compare runs/senet154.gluon_in1k.jsonl runs/seresnet50.ra2_in1k.jsonl")]
pub(super) struct Arguments {
    /// First model; without DATA, its results file from `senet eval --results`
    #[arg(value_name = "FIRST")]
    first: String,
    /// Second model, or its results file
    #[arg(value_name = "SECOND")]
    second: String,
    /// Labelled images as for `senet eval`; both models run on them in one pass
    #[arg(value_name = "DATA")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    run: RunArgs,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let format = &arguments.format;
    let pair = if arguments.data.is_empty() {
        if arguments.run.input.overrides() != Overrides::default() {
            bail!(
                "results files keep the preprocessing of their run: to change it, name the DATA too"
            );
        }
        of_results(&arguments.first, &arguments.second)?
    } else {
        match on_data(arguments, messages)? {
            Some(pair) => pair,
            None => return Ok(INTERRUPTED),
        }
    };
    format.report(&pair, &pair.differing, results, |results| {
        eval::print_pair(&pair, results)
    })?;
    if pair.unanswered == 0 {
        return Ok(SUCCESS);
    }
    messages.note(format!(
        "{} of {} images were not answered by both models",
        pair.unanswered,
        pair.images + pair.unanswered
    ));
    Ok(SOME_FAILED)
}

impl Row for Difference {
    const COLUMNS: &'static [&'static str] = &["image", "label", "first", "second"];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.image),
            cell(&self.label),
            cell(&self.first),
            cell(&self.second),
        ]]
    }
}

/// `None` if Ctrl-C stopped it.
fn on_data(arguments: &Arguments, messages: Messages) -> anyhow::Result<Option<Pair>> {
    let request = Request {
        models: &[arguments.first.clone(), arguments.second.clone()],
        weights: None,
        head: None,
        data: &arguments.data,
        selection: &arguments.selection,
        run: &arguments.run,
        multi_label: false,
        messages,
    };
    let (found, hub) = request.find()?;
    let labels = found[0].spec.labels.clone();
    let classes = arguments.selection.classes(&labels)?;
    let options = arguments.run.options();
    let measured = request.measure(found, &hub, &classes, options, false)?;
    Ok(measured.map(|(runs, _)| Pair::of(&runs[0], &runs[1])))
}

fn of_results(first: &str, second: &str) -> anyhow::Result<Pair> {
    let (first, second) = (Path::new(first), Path::new(second));
    let is_none = |path: &Path| !path.exists() || path.is_dir();
    if is_none(first) && is_none(second) {
        bail!(
            "no results files {} and {}; to compare models, name the data: \
             `senet compare FIRST SECOND DATA`",
            first.display(),
            second.display()
        );
    }
    Ok(Pair::open(first, second).map_err(Error::from)?)
}
