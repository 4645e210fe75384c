//! `senet explain`: why a network answers as it does.

mod arguments;
mod gates;
mod images;
mod overlays;
mod row;

use std::sync::atomic::AtomicBool;

use super::args::note_clipped;
use super::eval::Output;
use super::format::Rows;
use super::inputs::{self, Input};
use super::output::{Messages, Results};
use super::{INTERRUPTED, NOTHING_DONE, SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::eval::Dataset;
use crate::explain::Explainer;
use crate::explain::page::{Page, PageImage};
use crate::hub::HubOptions;
use crate::model::{Model, OutputActivation};
pub(super) use arguments::Arguments;
use gates::{ClassGates, ModuleRow};
use images::Images;
use overlays::Overlays;
use row::ExplainRow;

/// Images that a page shows.
const SHOWN: usize = 100;

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    arguments.check()?;
    let (inputs, passed) = match arguments.inputs.is_empty() {
        true => Default::default(),
        false => inputs::collect(&arguments.inputs, None, false)?,
    };
    let page = arguments.html.as_deref();
    let page = page.map(|path| Output::new(path, &arguments.kept()));
    let page = page.transpose()?;
    let (found, hub) = find(arguments, messages)?;
    let labels = found.spec.labels.clone();
    let classes = arguments.selection.classes(&labels)?;
    let wanted = arguments.wanted(&classes)?;
    let data = match arguments.data.is_empty() {
        true => None,
        false => {
            let options = arguments.selection.dataset_options(&classes, false)?;
            Some(Dataset::open(&arguments.data, &classes, &options).map_err(Error::from)?)
        }
    };
    let out = arguments.out.as_deref();
    let overlays = out
        .map(|folder| Overlays::new(folder, &inputs))
        .transpose()?;
    let options = session::open_device(&arguments.model.device, &found.spec.name, messages)?;
    let weights = found.open_weights(arguments.model.weights.as_deref(), &hub, messages)?;
    let model = session::load(found.spec, &weights, &options, messages)?;
    let explainer = Explainer::new(model.network(), &weights).map_err(Error::from)?;
    drop(weights);
    if data.is_some() && explainer.modules().is_empty() {
        anyhow::bail!("{} has no modules with gates", model.spec().name);
    }
    note_activation(&model, messages);
    let stop = session::stop_on_interrupt()?;
    let mut images = Images {
        model: &model,
        explainer: &explainer,
        wanted: &wanted,
        arguments,
        hub: &hub,
        overlays,
    };
    let shown = explain_all(&mut images, &inputs, &stop, messages, results)?;
    let mut outcome = shown.outcome;
    let gates = match &data {
        Some(data) if outcome != INTERRUPTED => {
            let decode = arguments.preprocess.decode_options();
            let gates = gates::average(&model, &explainer, data, &decode, &stop, messages)?;
            match &gates {
                // Then nothing has a result.
                None if inputs.is_empty() => return Ok(NOTHING_DONE),
                Some(gates) if gates.stopped => outcome = INTERRUPTED,
                Some(gates) if gates.failed == 0 => {}
                _ => outcome = SOME_FAILED,
            }
            gates.filter(|gates| !gates.stopped)
        }
        _ => None,
    };
    note_clipped(messages);
    if let Some(note) = passed.note() {
        messages.note(note);
    }
    let written = match &page {
        Some(page) if outcome != INTERRUPTED => {
            let gates = gates.as_ref();
            if let Some(gates) = gates {
                gates.note_missing(&model, &wanted.classes, messages);
            }
            let document = Page {
                model: &model.spec().name,
                images: &shown.images,
                more: shown.more,
                gates: gates.map(|gates| gates.page(&model, &wanted.classes)),
            };
            page.replace(document.to_string().as_bytes())
        }
        _ => Ok(()),
    };
    if let Some(gates) = &gates {
        let report = ClassGates::new(&model, gates, arguments.full);
        let rows: Vec<ModuleRow<'_>> = report.rows();
        arguments
            .format
            .report(&report, &rows, results, |results| report.print(results))?;
    }
    // The results do not depend on what could not be written beside them.
    written?;
    Ok(outcome)
}

/// The model that the arguments name, with the classifier of `--head`, and where its weights come from.
fn find(
    arguments: &Arguments,
    messages: Messages,
) -> anyhow::Result<(session::FoundModel, HubOptions)> {
    let hub = session::hub_options(arguments.model.offline)?;
    let hub = session::source(hub, &arguments.source)?;
    let overrides = arguments.preprocess.input.overrides();
    let name = &arguments.model.model;
    let spec = session::find_at(name, &arguments.source, &overrides, &hub, messages)?;
    let head = arguments.model.head.as_deref();
    let found = session::FoundModel::new(spec, head, &overrides)?;
    found.spec.transform().map_err(Error::from)?;
    Ok((found, hub))
}

fn note_activation(model: &Model, messages: Messages) {
    if model.activation() == OutputActivation::Sigmoid {
        messages.note(format!(
            "{} has one output: its sigmoid is the probability of `{}`",
            model.spec().name,
            model.spec().labels.entries[0].name
        ));
    }
}

/// What was explained.
struct Shown {
    outcome: u8,
    /// For the page, if there is one.
    images: Vec<PageImage>,
    /// Images for which the page has no room.
    more: usize,
}

/// Explains each image and prints its row.
fn explain_all(
    images: &mut Images<'_>,
    inputs: &[Input],
    stop: &AtomicBool,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<Shown> {
    let mut shown = Shown {
        outcome: SUCCESS,
        images: Vec::new(),
        more: 0,
    };
    if inputs.is_empty() {
        return Ok(shown);
    }
    let mut printed: Rows<'_> = images.arguments.format.rows::<ExplainRow<'_>>(results)?;
    let bar = messages.bar(
        inputs.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}",
    );
    let mut failed = 0;
    for (done, input) in inputs.iter().enumerate() {
        if session::is_stopped(stop) {
            bar.finish_and_clear();
            messages.note(format!(
                "interrupted after {done} of {} images",
                inputs.len()
            ));
            shown.outcome = INTERRUPTED;
            return Ok(shown);
        }
        let has_room = images.arguments.html.is_some() && shown.images.len() < SHOWN;
        let (row, on_page) = images.row(input, has_room);
        failed += usize::from(row.is_error());
        shown.images.extend(on_page);
        shown.more += usize::from(images.arguments.html.is_some() && !has_room);
        bar.suspend(|| printed.write(&row, |results| row.print(results)))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed > 0 {
        let count = inputs.len();
        messages.note(format!("{failed} of {count} images could not be explained"));
        shown.outcome = SOME_FAILED;
    }
    Ok(shown)
}
