//! Gates averaged by class, and how they are printed.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::cli::format::{Row, cell};
use crate::cli::output::{Messages, Results, Table};
use crate::cli::session;
use crate::error::Error;
use crate::eval::{Dataset, Item};
use crate::explain::page::PageGates;
use crate::explain::{Explainer, GateReport, GatesByClass, Module, ModuleReport, Verdict};
use crate::model::{Model, prefetch};
use crate::nn::Precision;
use crate::preprocess::DecodeOptions;

/// Images per forward pass.
const BATCH: usize = 8;
/// Classes that are drawn if the user names none: as many as in the paper.
const DRAWN: usize = 4;

/// The gates of a data set.
pub(super) struct Averaged {
    pub(super) report: GateReport,
    pub(super) failed: usize,
    /// By Ctrl-C.
    pub(super) stopped: bool,
}

/// Averages the gates of the images of a data set; `None` if all of them failed. Images that fail are
/// reported on standard error.
pub(super) fn average(
    model: &Model,
    explainer: &Explainer<'_>,
    data: &Dataset,
    decode: &DecodeOptions,
    stop: &AtomicBool,
    messages: Messages,
) -> anyhow::Result<Option<Averaged>> {
    let transform = model.transform().map_err(Error::from)?;
    let prepare = |item: &Item, slot: &mut [f32]| {
        let image = item.source.open(decode);
        let image = image.map_err(|error| Error::from(error).with_causes())?;
        transform.write(&image, slot);
        Ok::<(), String>(())
    };
    let mut gates = GatesByClass::new(explainer.modules());
    let (mut failed, mut done, mut stopped) = (0, 0, false);
    let items = &data.items;
    let bar = messages.bar(
        items.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}",
    );
    prefetch(items, BATCH, model.image_len(), prepare, |batch| {
        if session::is_stopped(stop) {
            stopped = true;
            return ControlFlow::Break(());
        }
        let mut observed = explainer.observe_each(model, batch.values).into_iter();
        for (item, outcome) in items[batch.first..].iter().zip(batch.outcomes) {
            let found = outcome.and_then(|()| match observed.next() {
                Some(observed) => observed.map_err(|error| error.with_causes()),
                None => Err("the network returned no output for this image".to_owned()),
            });
            match found {
                Ok(observed) => gates.add(item.labels[0], &observed.gates),
                Err(error) => {
                    failed += 1;
                    bar.suspend(|| messages.failure(format!("{}: {error}", item.name)));
                }
            }
            done += 1;
            bar.inc(1);
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    if stopped {
        messages.note(format!(
            "interrupted after {done} of {} images",
            items.len()
        ));
    }
    if let Some(note) = data.passed.note() {
        messages.note(note);
    }
    if done == failed && !stopped {
        messages.failure(format!(
            "no image of `--gates` could be read: all {failed} failed"
        ));
        return Ok(None);
    }
    Ok(Some(Averaged {
        report: gates.report(),
        failed,
        stopped,
    }))
}

impl Averaged {
    /// Notes which of the `chosen` classes have no image, so no line on the page.
    pub(super) fn note_missing(&self, model: &Model, chosen: &[usize], messages: Messages) {
        for &class in chosen {
            if !self.report.classes.iter().any(|c| c.index == class) {
                let name = &model.spec().labels.entries[class].name;
                messages.note(format!("no image of `{name}`: the page does not draw it"));
            }
        }
    }

    /// The section of the page, with lines for `chosen` classes, or else for those with the most images.
    pub(super) fn page(&self, model: &Model, chosen: &[usize]) -> PageGates<'_> {
        let report = &self.report;
        let place = |class: &usize| report.classes.iter().position(|c| c.index == *class);
        let mut places: Vec<usize> = chosen.iter().filter_map(place).collect();
        if places.is_empty() {
            places = (0..report.classes.len()).collect();
            places.sort_by_key(|&place| std::cmp::Reverse(report.classes[place].images));
            places.truncate(DRAWN);
            places.sort_unstable();
        }
        let labels = &model.spec().labels.entries;
        let lines = places.into_iter().map(|place| {
            let class = report.classes[place].index;
            (place, labels[class].name.clone())
        });
        PageGates {
            report,
            lines: lines.collect(),
        }
    }
}

/// The gates of a data set, in JSON.
#[derive(Serialize)]
pub(super) struct ClassGates<'a> {
    model: &'a str,
    precision: Precision,
    images: usize,
    failed: usize,
    classes: Vec<CountedClass<'a>>,
    modules: Vec<ModuleRow<'a>>,
}

#[derive(Serialize)]
struct CountedClass<'a> {
    index: usize,
    wnid: Option<&'a str>,
    label: &'a str,
    images: usize,
}

/// A module's gates.
#[derive(Clone, Serialize)]
pub(super) struct ModuleRow<'a> {
    #[serde(flatten)]
    module: &'a Module,
    mean: f64,
    std: f64,
    between_share: Option<f64>,
    adjusted_share: Option<f64>,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    overall: Option<&'a [f64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_class: Option<&'a [Vec<f64>]>,
}

impl<'a> ClassGates<'a> {
    pub(super) fn new(model: &'a Model, averaged: &'a Averaged, full: bool) -> Self {
        let report = &averaged.report;
        let labels = &model.spec().labels.entries;
        let classes = report.classes.iter().map(|class| CountedClass {
            index: class.index,
            wnid: labels[class.index].id.as_deref(),
            label: &labels[class.index].name,
            images: class.images,
        });
        let modules = report
            .modules
            .iter()
            .map(|module| ModuleRow::new(module, full));
        Self {
            model: &model.spec().name,
            precision: model.network().precision(),
            images: report.images,
            failed: averaged.failed,
            classes: classes.collect(),
            modules: modules.collect(),
        }
    }

    pub(super) fn rows(&self) -> Vec<ModuleRow<'a>> {
        self.modules.clone()
    }

    pub(super) fn print(&self, results: &mut Results) -> anyhow::Result<()> {
        let (images, classes) = (self.images, self.classes.len());
        results.line(format!(
            "{}: gates of {images} image{}, {classes} class{}",
            self.model,
            if images == 1 { "" } else { "s" },
            if classes == 1 { "" } else { "es" }
        ))?;
        let headings = [
            "module",
            ">channels",
            ">mean",
            ">std",
            ">between",
            ">adjusted",
            "gates",
        ];
        let mut table = Table::new(&headings);
        let percent = |share: Option<f64>| {
            share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
        };
        for row in &self.modules {
            table.row(vec![
                row.module.name.clone(),
                row.module.channels.to_string(),
                format!("{:.3}", row.mean),
                format!("{:.4}", row.std),
                percent(row.between_share),
                percent(row.adjusted_share),
                row.verdict.describe().to_owned(),
            ]);
        }
        Ok(table.print(results)?)
    }
}

impl<'a> ModuleRow<'a> {
    fn new(report: &'a ModuleReport, full: bool) -> Self {
        Self {
            module: &report.module,
            mean: report.mean,
            std: report.std,
            between_share: report.between_share,
            adjusted_share: report.adjusted_share,
            verdict: report.verdict,
            overall: full.then_some(&report.overall),
            by_class: full.then_some(&report.means),
        }
    }
}

impl Row for ModuleRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "module",
        "block",
        "stage",
        "kind",
        "channels",
        "mean",
        "std",
        "between_share",
        "adjusted_share",
        "verdict",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.module.name),
            cell(&self.module.block),
            cell(self.module.stage),
            cell(self.module.kind),
            cell(self.module.channels),
            cell(self.mean),
            cell(self.std),
            cell(self.between_share),
            cell(self.adjusted_share),
            cell(self.verdict),
        ]]
    }
}
