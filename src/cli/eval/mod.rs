//! `senet eval`: accuracy on a validation set.

mod arguments;
mod files;
mod measure;
mod print;

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::hints;
use super::output::{Messages, Results};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::error::Error;
use crate::eval::{
    Classes, Comparison, Dataset, ModelRun, MultiReport, Pair, Record, Report, ReportContext,
    merge, published,
};
use crate::preprocess::DecodeOptions;
use crate::zoo::{ModelSpec, Published};
pub(super) use arguments::{Arguments, RunArgs, SelectionArgs};
use arguments::{Command, Form, check};
use files::Files;
pub(super) use files::{Output, place};
pub(super) use measure::Request;
use measure::print_failures;
pub(super) use print::{ModelRow, interval, pair as print_pair, percent, text as print_text};

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    match &arguments.command {
        Some(Command::Merge { files, form }) => run_merge(files, form, messages, results),
        None => run_eval(arguments, messages, results),
    }
}

fn run_merge(
    files: &[PathBuf],
    form: &Form,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let kept: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let outputs = form.files(&kept)?;
    let (header, records) = merge(files).map_err(Error::from)?;
    form.check(header.multi_label)?;
    print_failures(&records, messages);
    let missing = header.images - records.len();
    if missing > 0 {
        messages.note(format!(
            "{missing} of {} images have no result in these files",
            header.images
        ));
    }
    if header.multi_label {
        let report = MultiReport::new(&header, &records, form.threshold());
        let complete = missing == 0 && report.failed == 0;
        print::multi_label(&[report], &form.format, results)?;
        return Ok(if complete { SUCCESS } else { SOME_FAILED });
    }
    let report = Report::new(&header, &records, &form.ks());
    let warnings = report.warnings(&header, &records, None);
    let warnings: Vec<String> = warnings.iter().map(hints::warning).collect();
    for warning in &warnings {
        messages.note(warning);
    }
    let context = ReportContext {
        header: &header,
        report: &report,
        records: &records,
        warnings: &warnings,
        comparison: None,
    };
    let written = outputs.write(&context, |_| None);
    print::report(&report, None, &form.format, results)?;
    // The report does not depend on what could not be written beside it.
    written?;
    let complete = missing == 0 && report.failed == 0;
    Ok(if complete { SUCCESS } else { SOME_FAILED })
}

fn run_eval(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let outputs = arguments.form.files(&arguments.kept())?;
    check(arguments)?;
    let request = arguments.request(messages);
    let (found, hub) = request.find()?;
    // Found out before the run that nothing was published.
    let published = found
        .iter()
        .filter(|_| arguments.expect)
        .map(|found| expected(&found.spec));
    let published = published.collect::<anyhow::Result<Vec<_>>>()?;
    let labels = found[0].spec.labels.clone();
    let classes = arguments.selection.classes(&labels)?;
    let options = arguments.options();
    let decode = options.decode;
    let keeps = arguments.results.is_some() || arguments.form.parquet.is_some();
    let Some((runs, data)) = request.measure(found, &hub, &classes, options, keeps)? else {
        return Ok(INTERRUPTED);
    };
    if arguments.multi_label {
        return finish_multi_label(&runs, &arguments.form, results);
    }
    let finish = Finish {
        published,
        outputs,
        classes: &classes,
        data: &data,
        decode,
        form: &arguments.form,
    };
    finish.run(&runs, messages, results)
}

/// What was published for a model as it is to be run.
fn expected(spec: &ModelSpec) -> anyhow::Result<&'static Published> {
    let Some(published) = published(&spec.name, &spec.input) else {
        let [height, width] = spec.input.size;
        bail!(
            "nothing was published for {} at {height}x{width} px with crop_pct {} \
             (`senet info` shows what was)",
            spec.name,
            spec.input.crop_pct
        );
    };
    Ok(published)
}

fn finish_multi_label(runs: &[ModelRun], form: &Form, results: &mut Results) -> anyhow::Result<u8> {
    let reports = runs
        .iter()
        .map(|run| run.multi_label_report(form.threshold()));
    let reports: Vec<MultiReport> = reports.collect();
    print::multi_label(&reports, &form.format, results)?;
    let fine = reports.iter().all(|report| report.failed == 0);
    Ok(if fine { SUCCESS } else { SOME_FAILED })
}

/// What the reports on what was measured are made with.
struct Finish<'a> {
    /// Of each model; nothing where it is not asked for.
    published: Vec<&'static Published>,
    outputs: Files,
    classes: &'a Classes<'a>,
    data: &'a Dataset,
    decode: DecodeOptions,
    form: &'a Form,
}

impl Finish<'_> {
    /// Reports on what was measured.
    fn run(
        &self,
        runs: &[ModelRun],
        messages: Messages,
        results: &mut Results,
    ) -> anyhow::Result<u8> {
        let mut reports = Vec::new();
        let mut fine = true;
        let mut written = Ok(());
        for (place, run) in runs.iter().enumerate() {
            let report = run.report(&self.form.ks());
            let warnings = run.warnings(&report, self.data, self.classes);
            let warnings: Vec<String> = warnings.iter().map(hints::warning).collect();
            for warning in &warnings {
                messages.note(if runs.len() == 1 {
                    warning.clone()
                } else {
                    format!("{}: {warning}", report.model)
                });
            }
            // The ensemble is in no table.
            let published = self.published.get(place);
            let comparison = published.map(|found| Comparison::new(found, run.records()));
            let context = ReportContext {
                header: run.header(),
                report: &report,
                records: run.records(),
                warnings: &warnings,
                comparison: comparison.as_ref(),
            };
            written = written.and(self.outputs.write(&context, |record: &Record| {
                let item = self.data.items.get(record.index)?;
                item.source.open(&self.decode).ok()
            }));
            fine &= report.failed == 0 && comparison.as_ref().is_none_or(|c| c.agrees);
            reports.push((report, comparison));
        }
        let format = &self.form.format;
        match &reports[..] {
            [(report, comparison)] => {
                print::report(report, comparison.as_ref(), format, results)?;
            }
            _ => print::several(&reports, &pairs(runs), format, results)?,
        }
        // The run is not to be lost with what could not be written beside its report.
        written?;
        Ok(if fine { SUCCESS } else { SOME_FAILED })
    }
}

/// Every model compared with every later one.
fn pairs(runs: &[ModelRun]) -> Vec<Pair> {
    let pairs = runs.iter().enumerate().flat_map(|(place, first)| {
        let later = &runs[place + 1..];
        later.iter().map(move |second| Pair::of(first, second))
    });
    pairs.collect()
}
