//! `senet eval`: accuracy on a validation set.

mod arguments;
mod files;
mod measure;
mod print;
mod published;
mod track;

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::args::note_clipped;
use super::output::{Messages, Results, human_bytes};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::eval::{
    Classes, Dataset, FolderOrder, Item, MultiReport, Numbering, Options, Outcome, Pair, Record,
    Report, Shard, merge,
};
use crate::hub::HubOptions;
use crate::zoo::ModelSpec;
pub(super) use arguments::{Arguments, RunArgs, SelectionArgs};
use arguments::{Command, Form, LabelIds, check};
use files::{Files, Paper};
use measure::measure;
pub(super) use print::pair as print_pair;
use track::{Track, check_results, tracks};

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
    tell_failures(&records, messages);
    let missing = header.pictures - records.len();
    if missing > 0 {
        messages.note(format!(
            "{missing} of {} pictures have no result in these files",
            header.pictures
        ));
    }
    if header.multi_label {
        let report = MultiReport::new(&header, &records, form.threshold());
        let complete = missing == 0 && report.failed == 0;
        print::multi_label(&[report], form.json, results)?;
        return Ok(if complete { SUCCESS } else { SOME_FAILED });
    }
    let report = Report::new(&header, &records, &form.ks());
    let warnings = report.warnings(&header, &records, None);
    for warning in &warnings {
        messages.note(warning);
    }
    let paper = Paper {
        header: &header,
        report: &report,
        records: &records,
        warnings: &warnings,
        comparison: None,
    };
    let written = outputs.write(&paper, |_| None);
    print::report(&report, None, form.json, results)?;
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
    let (specs, hub) = models(arguments, messages)?;
    // Found out before the run that nothing was published.
    let published = specs
        .iter()
        .filter(|_| arguments.expect)
        .map(|spec| published::find(&spec.name, &spec.input))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let labels = specs[0].labels.clone();
    let classes = classes(&labels, arguments)?;
    let Some((mut tracks, dataset)) = measured(specs, &hub, &classes, arguments, messages)? else {
        return Ok(INTERRUPTED);
    };
    for (track, published) in tracks.iter_mut().zip(published) {
        track.published = Some(published);
    }
    finish(
        &tracks, &dataset, &outputs, &classes, arguments, messages, results,
    )
}

/// Compares two models on the same pictures; nothing if Ctrl-C ended it early.
pub(super) fn pair(arguments: &Arguments, messages: Messages) -> anyhow::Result<Option<Pair>> {
    let (specs, hub) = models(arguments, messages)?;
    let labels = specs[0].labels.clone();
    let classes = classes(&labels, arguments)?;
    let Some((tracks, _)) = measured(specs, &hub, &classes, arguments, messages)? else {
        return Ok(None);
    };
    let [first, second] = &tracks[..] else {
        bail!("two models are compared, and {} are given", tracks.len());
    };
    Ok(Some(Pair::new(
        (&first.header, first.records()),
        (&second.header, second.records()),
    )))
}

/// The models as they are to be run.
fn models(
    arguments: &Arguments,
    messages: Messages,
) -> anyhow::Result<(Vec<ModelSpec>, HubOptions)> {
    check(arguments)?;
    let hub = session::hub_from(&arguments.run.hub)?;
    let from = &arguments.run.hub.source;
    let overrides = arguments.run.input.overrides();
    let mut specs: Vec<ModelSpec> = Vec::new();
    for name in &arguments.models {
        let mut spec = session::find_at(name, from, &overrides, &hub, messages)?;
        adapt(&mut spec, arguments)?;
        // Found out before the run that no image fits the network.
        spec.transform().map_err(Error::from)?;
        if spec.classes() == 1 && !arguments.multi_label {
            bail!(
                "{} has one output, and `senet eval` measures single-label models, which choose one \
                 of several classes: `--multi-label --labels FILE` measures this one, with \
                 {{\"a.jpg\": [0], \"b.jpg\": []}} in the file",
                spec.name
            );
        }
        if let Some(first) = specs.first()
            && first.labels.entries != spec.labels.entries
        {
            bail!(
                "{} and {} do not have the same classes ({} and {})",
                first.name,
                spec.name,
                first.labels.name,
                spec.labels.name
            );
        }
        specs.push(spec);
    }
    Ok((specs, hub))
}

/// The data set and what the models say of it; nothing if Ctrl-C ended it early.
fn measured(
    specs: Vec<ModelSpec>,
    hub: &HubOptions,
    classes: &Classes<'_>,
    arguments: &Arguments,
    messages: Messages,
) -> anyhow::Result<Option<(Vec<Track>, Dataset)>> {
    let valid = match &arguments.selection.valid_labels {
        Some(name) => Some(classes.subset(name).map_err(Error::from)?),
        None => None,
    };
    let options = Options {
        labels: arguments.selection.labels.as_deref(),
        only: valid.as_deref(),
        limit: arguments.selection.limit.map(|limit| limit as usize),
        order: arguments.selection.folder_order.map(FolderOrder::from),
        allow_empty: arguments.selection.allow_empty_classes,
        multi_label: arguments.multi_label,
    };
    check_results(&specs, arguments)?;
    let dataset = Dataset::open(&arguments.data, classes, &options).map_err(Error::from)?;
    if dataset.spooled > 0 {
        messages.note(format!(
            "{} of pictures kept in a temporary file in {}",
            human_bytes(dataset.spooled),
            std::env::temp_dir().display()
        ));
    }
    if dataset.left_out > 0 {
        messages.note(format!("{} pictures left out: no class", dataset.left_out));
    }
    if !dataset.empty.is_empty() {
        let folders = dataset.empty.join(", ");
        messages.note(format!("class folders without an image: {folders}"));
    }
    let several = dataset.items.iter().filter(|item| item.labels.len() != 1);
    if arguments.multi_label && several.count() == 0 {
        messages
            .note("every image has one class: without `--multi-label` such a set has an accuracy");
    }
    let (mut tracks, models) = tracks(specs, &dataset, valid, arguments, hub, messages)?;
    tell_failures(tracks[0].records(), messages);
    let shard = arguments.shard.unwrap_or(Shard { index: 1, count: 1 });
    let todo: Vec<&Item> = dataset
        .shard(shard)
        .filter(|item| !tracks.iter().all(|track| track.has(item.index)))
        .collect();
    let passed = dataset.passed.note();
    let stopped = measure(&models, &mut tracks, &todo, arguments, messages)?;
    note_clipped(messages);
    if let Some(note) = passed {
        messages.note(note);
    }
    if stopped {
        messages.note(format!(
            "interrupted after {} of {} pictures{}",
            tracks[0].records().len(),
            dataset.shard(shard).count(),
            if arguments.results.is_some() {
                "; --resume goes on"
            } else {
                ""
            }
        ));
        return Ok(None);
    }
    Ok(Some((tracks, dataset)))
}

/// Reports on what was measured.
fn finish(
    tracks: &[Track],
    dataset: &Dataset,
    outputs: &Files,
    classes: &Classes<'_>,
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    if arguments.multi_label {
        let threshold = arguments.form.threshold();
        let report = |track: &Track| MultiReport::new(&track.header, track.records(), threshold);
        let reports: Vec<MultiReport> = tracks.iter().map(report).collect();
        print::multi_label(&reports, arguments.form.json, results)?;
        let fine = reports.iter().all(|report| report.failed == 0);
        return Ok(if fine { SUCCESS } else { SOME_FAILED });
    }
    let ks = arguments.form.ks();
    let mut reports = Vec::new();
    let mut fine = true;
    let mut written = Ok(());
    for track in tracks {
        let report = Report::new(&track.header, track.records(), &ks);
        let warnings = report.warnings(&track.header, track.records(), Some((dataset, classes)));
        for warning in &warnings {
            messages.note(if tracks.len() == 1 {
                warning.clone()
            } else {
                format!("{}: {warning}", report.model)
            });
        }
        let published = track.published;
        let comparison = published.map(|found| published::compare(found, track.records()));
        let paper = Paper {
            header: &track.header,
            report: &report,
            records: track.records(),
            warnings: &warnings,
            comparison: comparison.as_ref(),
        };
        let decode = arguments.decode_options();
        written = written.and(outputs.write(&paper, |record: &Record| {
            dataset.items.get(record.index)?.source.open(&decode).ok()
        }));
        fine &= report.failed == 0 && comparison.as_ref().is_none_or(|c| c.agrees);
        reports.push((report, comparison));
    }
    match &reports[..] {
        [(report, comparison)] => {
            print::report(report, comparison.as_ref(), arguments.form.json, results)?;
        }
        _ => {
            let mut pairs = Vec::new();
            for (place, first) in tracks.iter().enumerate() {
                for second in &tracks[place + 1..] {
                    pairs.push(Pair::new(
                        (&first.header, first.records()),
                        (&second.header, second.records()),
                    ));
                }
            }
            print::several(&reports, &pairs, arguments.form.json, results)?;
        }
    }
    // The run is not to be lost with what could not be written beside its report.
    written?;
    Ok(if fine { SUCCESS } else { SOME_FAILED })
}

/// The pictures that failed in earlier runs; those of this run are told as they fail.
fn tell_failures(records: &[Record], messages: Messages) {
    for record in records {
        if let Outcome::Error { error } = &record.outcome {
            messages.failure(format!("{}: {error}", record.picture));
        }
    }
}

fn adapt(spec: &mut ModelSpec, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.run.test_size {
        let Some(size) = spec.input.test_size else {
            bail!("the card of {} has no test size", spec.name);
        };
        spec.input.size = size;
        spec.input.crop_pct = spec.input.test_crop_pct.unwrap_or(spec.input.crop_pct);
    }
    Ok(())
}

fn classes<'a>(
    labels: &'a crate::labels::LabelSet,
    arguments: &Arguments,
) -> anyhow::Result<Classes<'a>> {
    let mut classes = Classes::new(labels);
    if let Some(map) = &arguments.selection.class_map {
        classes.read_map(map).map_err(Error::from)?;
    }
    if let Some(ids) = arguments.selection.label_ids {
        let numbering = match ids {
            LabelIds::Index => Numbering::Index,
            LabelIds::Devkit => Numbering::Devkit,
            LabelIds::FromOne => Numbering::FromOne,
        };
        classes.number_by(numbering).map_err(Error::from)?;
    }
    Ok(classes)
}
