//! `senet train`: a classifier of the user's own classes.

mod arguments;
mod features;
mod learn;
mod report;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
pub(super) use arguments::Arguments;
use features::features;
use learn::{Learned, Lesson};
use report::Facts;

use super::args::note_clipped;
use super::eval::Output;
use super::output::{Messages, Results, human_bytes};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::eval::page::{Alike, Doubtful, Page, Thumbnail, Training, surest_mistakes};
use crate::eval::{
    Classes, Dataset, DatasetOptions, DiscoverOptions, Discovered, EvalError, EvalOptions,
    Evaluation, Header, Member, Record, Report, ReportContext,
};
use crate::labels::LabelSet;
use crate::model::{HeadFile, HeadInfo, Model, ModelOptions};
use crate::preprocess::Views;
use crate::train::{ModelCard, OutputDirectory, TrainError, license};
use crate::weights::Weights;
use crate::zoo::ModelSpec;

/// Doubts whose images a page shows.
const SHOWN: usize = 60;

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    arguments.check()?;
    let mut options = arguments.options();
    options.check().map_err(Error::from)?;
    let place = |needed| OutputDirectory::check(&arguments.output, arguments.force, needed);
    // Found out before anything is read or downloaded.
    place(0).map_err(Error::from)?;
    let page = arguments.html.as_deref();
    let page = page.map(|path| Output::new(path, &arguments.kept()));
    let page = page.transpose()?;
    let mut discover = DiscoverOptions::default();
    discover.labels.clone_from(&arguments.labels);
    discover.group_by.clone_from(&arguments.group_by);
    let found = Dataset::discover(&arguments.data, &discover).map_err(Error::from)?;
    note_data(&found.data, messages);
    let labels = &found.labels;
    check_classes(&found)?;
    let classes = Classes::new(labels);
    let validation = match &arguments.val[..] {
        [] => None,
        paths => {
            let options = DatasetOptions {
                allow_empty: true,
                ..DatasetOptions::default()
            };
            let data = Dataset::open(paths, &classes, &options).map_err(not_learned)?;
            note_data(&data, messages);
            Some(data)
        }
    };

    let hub = session::hub_from(&arguments.hub)?;
    let overrides = arguments.preprocess.input.overrides();
    let source = &arguments.hub.source;
    let mut spec = session::find_at(&arguments.model, source, &overrides, &hub, messages)?;
    // The classifier is learned for one input size.
    (spec.input.test_size, spec.input.test_crop_pct) = (None, None);
    spec.transform().map_err(Error::from)?;
    let device = session::open_device(&arguments.device, &spec.name, messages)?;
    let weights = session::open_weights(&spec, arguments.weights.as_deref(), &hub, messages)?;
    let fingerprint = weights.fingerprint().map_err(Error::from)?;
    let output = place(size(&spec, labels.len(), arguments.head_only)?).map_err(Error::from)?;
    let model = session::load(spec.clone(), &weights, &device, messages)?;
    let stop = session::stop_on_interrupt()?;
    options.stop = Some(Arc::clone(&stop));

    let read = features(
        arguments,
        &model,
        &fingerprint,
        &found.data,
        &stop,
        messages,
    )?;
    let Some(features) = read else {
        return Ok(INTERRUPTED);
    };
    note_clipped(messages);
    if let Some(note) = found.data.passed.note() {
        messages.note(note);
    }
    let failed = features.failures.len();
    if features.items.is_empty() {
        anyhow::bail!("none of the {failed} images could be read");
    }
    let header = header(arguments, &model, &fingerprint, &found.data);
    let lesson = Lesson {
        features: &features,
        data: &found.data,
        labels,
        groups: arguments.group_by.as_ref().map(|_| &*found.groups),
        header: &header,
        options: &options,
    };
    let Some(learned) = lesson.learn(messages)? else {
        return Ok(INTERRUPTED);
    };
    drop(model);

    let head = head(arguments, &spec, fingerprint, labels, &learned)?;
    let validated = match &validation {
        None => None,
        Some(data) => {
            let decode = arguments.preprocess.decode_options();
            let options = EvalOptions {
                decode,
                ..EvalOptions::default()
            };
            match validate(
                &spec, &weights, &head, &device, data, options, &stop, messages,
            )? {
                None => return Ok(INTERRUPTED),
                report => report,
            }
        }
    };
    let weights_file = arguments.weights.as_deref().map(name);
    let license = match &weights_file {
        Some(_) => None,
        None => license(&spec),
    };
    let names: Vec<String> = arguments.data.iter().map(|path| name(path)).collect();
    let card = ModelCard {
        base: &spec,
        weights_file: weights_file.as_deref(),
        license: license.as_deref(),
        head: head.info(),
        head_only: arguments.head_only,
        data: &names,
        options: &options,
        flipped: arguments.augment.is_some(),
        chosen: &learned.chosen,
        cross_validation: &learned.report,
        nested: learned.nested.as_ref(),
        validation: validated.as_ref(),
        curve: &learned.curve,
    }
    .to_string();
    match arguments.head_only {
        true => output.write_head(&head, &card)?,
        false => output.write_model(&spec, &weights, &head, license.as_deref(), &card)?,
    }
    let facts = Facts {
        arguments,
        data: &found.data,
        labels,
        items: &features.items,
        failures: &features.failures,
        width: features.width,
        options: &options,
        learned: &learned,
        validation: validated.as_ref(),
    };
    let written = page.map(|page| page.replace(html(arguments, &facts, &header).as_bytes()));
    let report = facts.report();
    let format = &arguments.format;
    format.report(&report, std::slice::from_ref(&report), results, |results| {
        facts.print(results)
    })?;
    // The report does not depend on what could not be written beside it.
    written.transpose()?;
    let all = failed + validated.map_or(0, |report| report.failed);
    if failed > 0 {
        let images = found.data.items.len();
        messages.note(format!(
            "{failed} of {images} images could not be learned from"
        ));
    }
    Ok(if all == 0 { SUCCESS } else { SOME_FAILED })
}

/// The advice of `senet eval` about unknown classes is about its own options.
fn not_learned(error: EvalError) -> anyhow::Error {
    match error {
        EvalError::UnknownClasses { .. } => {
            anyhow!("{error}; `--val` takes images of classes that are learned")
        }
        error => Error::from(error).into(),
    }
}

fn note_data(data: &Dataset, messages: Messages) {
    if data.spooled > 0 {
        messages.note(format!(
            "{} of images kept in a temporary file in {}",
            human_bytes(data.spooled),
            std::env::temp_dir().display()
        ));
    }
    if data.left_out > 0 {
        messages.note(format!("{} images left out: no class", data.left_out));
    }
    if !data.empty.is_empty() {
        messages.note(format!(
            "directories without an image that is read: {}",
            data.empty.join(", ")
        ));
    }
}

/// What can be found out before the images are read.
fn check_classes(found: &Discovered) -> anyhow::Result<()> {
    let classes = found.labels.len();
    if classes < 2 {
        let name = &found.labels.entries[0].name;
        let error = Error::from(TrainError::OneClass { classes });
        return Err(anyhow::Error::new(error).context(format!("`{name}` is the only class")));
    }
    let mut counts = vec![0_usize; classes];
    for item in &found.data.items {
        counts[item.labels[0]] += 1;
    }
    let few = counts.iter().position(|&images| images < 2);
    if let Some(class) = few {
        let name = &found.labels.entries[class].name;
        let images = counts[class];
        let error = Error::from(TrainError::TooFewImages { class, images });
        return Err(anyhow::Error::new(error).context(format!("`{name}` cannot be learned")));
    }
    Ok(())
}

/// Bytes that the directory takes, in f32.
fn size(spec: &ModelSpec, classes: usize, head_only: bool) -> anyhow::Result<u64> {
    const REST: usize = 1 << 20;
    let plan = spec.network.plan(spec.naming, classes);
    let plan = plan.map_err(Error::from)?;
    let tensors = plan.tensors();
    let tensors = tensors
        .iter()
        .filter(|tensor| !head_only || tensor.name.starts_with(&plan.classifier.name));
    let values: usize = tensors
        .map(|tensor| tensor.shape.iter().product::<usize>())
        .sum();
    Ok((values * size_of::<f32>() + REST) as u64)
}

/// What the records of cross-validation belong to.
fn header(arguments: &Arguments, model: &Model, fingerprint: &str, data: &Dataset) -> Header {
    let decode = arguments.preprocess.decode_options();
    let spec = model.spec();
    Header {
        senet_eval: Header::VERSION,
        members: vec![Member {
            model: spec.name.clone(),
            weights: fingerprint.to_owned(),
            input: spec.input.clone(),
            precision: model.network().precision(),
        }],
        views: Views::One,
        exif: decode.exif,
        scale_16bit: decode.scale_16bit,
        multi_label: false,
        valid: None,
        images: data.items.len(),
        data: data.fingerprint(),
        classes: data.class_names(),
    }
}

fn head(
    arguments: &Arguments,
    spec: &ModelSpec,
    fingerprint: String,
    labels: &LabelSet,
    learned: &Learned,
) -> anyhow::Result<HeadFile> {
    let names = labels.entries.iter().map(|label| label.name.clone());
    let info = HeadInfo {
        model: spec.name.clone(),
        weights: fingerprint,
        input: spec.input.clone(),
        exif: arguments.preprocess.decode_options().exif,
        labels: names.collect(),
        temperature: learned.report.temperature.map(|best| best.value),
    };
    Ok(HeadFile::new(
        info,
        &learned.head.weight,
        &learned.head.bias,
    )?)
}

/// The figures of the learned model on other images, as `senet eval` measures them; `None` if Ctrl-C
/// stopped it.
#[expect(
    clippy::too_many_arguments,
    reason = "a model, data, and how to run it"
)]
fn validate(
    base: &ModelSpec,
    weights: &Weights,
    head: &HeadFile,
    device: &ModelOptions,
    data: &Dataset,
    mut options: EvalOptions,
    stop: &Arc<AtomicBool>,
    messages: Messages,
) -> anyhow::Result<Option<Report>> {
    let mut spec = base.clone();
    let attached = head.clone().attach(&mut spec);
    // As the report of cross-validation calls it.
    spec.name.clone_from(&base.name);
    let merged = attached.merged(weights)?;
    let model = Model::with_options(spec, &merged, device)?;
    options.stop = Some(Arc::clone(stop));
    let bar = messages.bar(
        data.items.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}",
    );
    let mut evaluation = Evaluation::new([&model], data, options).map_err(Error::from)?;
    let summary = evaluation.run(|records| {
        for record in &records[0] {
            if let crate::eval::Outcome::Error { error } = &record.outcome {
                bar.suspend(|| messages.failure(format!("{}: {error}", record.image)));
            }
        }
        bar.inc(records[0].len() as u64);
    });
    bar.finish_and_clear();
    if summary.map_err(Error::from)?.stopped {
        messages.note("interrupted");
        return Ok(None);
    }
    Ok(Some(evaluation.runs()[0].report(&[1, 5])))
}

/// The name of a data set or file in the card.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The page: that of an evaluation, and what is particular to training.
fn html(arguments: &Arguments, facts: &Facts<'_>, header: &Header) -> String {
    let decode = arguments.preprocess.decode_options();
    let thumbnail = |item: usize| {
        let image = facts.data.items[item].source.open(&decode).ok()?;
        Thumbnail::new(&image)
    };
    let learned = facts.learned;
    let of_record = |record: &Record| Some((record.index, thumbnail(record.index)?));
    let thumbnails: BTreeMap<usize, Thumbnail> = surest_mistakes(&learned.records)
        .into_iter()
        .filter_map(of_record)
        .collect();
    let rows = facts.doubts();
    let shown = rows.iter().zip(&learned.doubts).take(SHOWN);
    let doubtful: Vec<Doubtful<'_>> = shown
        .map(|(row, doubt)| Doubtful {
            image: row.image,
            label: row.label_name,
            prediction: row.prediction_name,
            label_probability: row.label_probability,
            probability: row.probability,
            thumbnail: thumbnail(facts.items[doubt.image]),
        })
        .collect();
    let pairs = facts.pairs();
    let alike: Vec<Alike<'_>> = pairs
        .iter()
        .take(SHOWN)
        .map(|pair| Alike {
            first: [pair.first, pair.first_label],
            second: [pair.second, pair.second_label],
            similarity: pair.similarity,
        })
        .collect();
    let page = Page {
        context: ReportContext {
            header,
            report: &learned.report,
            records: &learned.records,
            warnings: &[],
            comparison: None,
        },
        thumbnails: &thumbnails,
        training: Some(Training {
            facts: &facts.facts(),
            doubts: rows.len(),
            doubtful: &doubtful,
            alike: &alike,
        }),
    };
    page.to_string()
}
