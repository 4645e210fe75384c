//! `senet eval`: accuracy on a validation set.

mod html;
mod measure;
mod print;
mod published;
mod track;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use super::args::{DeviceArgs, HubArgs, InputArgs};
use super::output::{Messages, Results, human_bytes};
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::cards::ModelSpec;
use crate::error::Error;
use crate::eval::{Classes, Dataset, Item, Numbering, Options, Pair, Record, Report, Shard, merge};
use crate::image::{DecodeOptions, Views};
use measure::measure;
pub(super) use print::pair as print_pair;
use track::{Track, tracks};

/// Measure accuracy on labelled pictures
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
        senet eval imagenet/val --model se-resnet50 --expect\n  \
        senet eval pictures/ --labels labels.csv --json\n  \
        senet eval pictures/ --html report.html\n  \
        senet eval imagenet/val --results a.jsonl --shard 1/2     # on one machine\n  \
        senet eval imagenet/val --results b.jsonl --shard 2/2     # on another\n  \
        senet eval merge a.jsonl b.jsonl\n  \
        senet eval shards/ -m senet154 -m se-resnet50 --ensemble  # tar archives, decoded once\n  \
        curl -sL URL/000.tar.gz | senet eval - -m senet154\n  \
        senet eval imagenet-r/ --valid-labels imagenet-r\n\n\
        A class folder is a WordNet id, a class name or an index. A picture that cannot be read is\n\
        counted as failed, told on stderr, and part of no share; the exit code is then 1."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Folders with a folder of pictures for each class, tar archives (of such folders or in
    /// WebDataset form, also .tar.gz), Parquet tables, folders of these, or - for an archive on
    /// standard input
    #[arg(value_name = "DATA", required = true)]
    data: Vec<PathBuf>,
    /// File with each picture's class: a name in DATA, a tab, comma or blank, the class; or a
    /// number or (in JSON) a list of them for each picture whose name ends in a number
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What numbers of classes count: the model's outputs from 0 (also Caffe's lists), or the
    /// classes of ImageNet's development kit from 1
    #[arg(long, value_name = "WHAT")]
    label_ids: Option<LabelIds>,
    /// Let the model answer with these classes alone: imagenet-a, imagenet-r, or a file with one
    /// class a line
    #[arg(long, value_name = "CLASSES")]
    valid_labels: Option<String>,
    /// File that says which class a folder or label means, in the same form; - leaves it out
    #[arg(long, value_name = "FILE")]
    class_map: Option<PathBuf>,
    /// No more than N pictures, evenly spread over the whole set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// One of COUNT parts of the set, from 1/COUNT to COUNT/COUNT
    #[arg(long, value_name = "INDEX/COUNT")]
    shard: Option<Shard>,
    /// Write one JSON object a line for each picture; with several models, a folder of such files
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Go on with the results of an earlier run that ended before its time
    #[arg(long, requires = "results")]
    resume: bool,
    /// Compare with the accuracy that was published for this input size and crop
    #[arg(long)]
    expect: bool,
    #[command(flatten)]
    form: Form,
    /// Pictures that go through the network together
    #[arg(short, long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: u32,
    /// Model as for `senet classify`; several see each picture in one pass
    #[arg(short, long = "model", value_name = "MODEL", default_value = crate::cards::DEFAULT_MODEL)]
    models: Vec<String>,
    /// Also average the probabilities of the models
    #[arg(long)]
    ensemble: bool,
    /// Weights file (.safetensors, .bin, .pth) in place of the model's own
    #[arg(short, long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    hub: HubArgs,
    /// Average the probabilities of several views of each picture
    #[arg(
        long,
        value_name = "VIEWS",
        default_value = "one",
        hide_default_value = true
    )]
    views: ViewsArg,
    /// The larger input size that the recipe was tested at, where the card has one
    #[arg(long, conflicts_with_all = ["img_size", "crop_pct"])]
    test_size: bool,
    #[command(flatten)]
    input: InputArgs,
    /// Turn pictures as their EXIF orientation says; published accuracies hold without
    #[arg(long)]
    exif: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Report on the results of all shards together
    Merge {
        /// Files that `senet eval --results` wrote
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LabelIds {
    Index,
    Devkit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ViewsArg {
    #[value(hide = true)]
    One,
    /// The crop and its mirror image
    Flip,
    /// The corners and the centre, and their mirror images
    TenCrop,
}

impl Arguments {
    fn decode_options(&self) -> DecodeOptions {
        DecodeOptions {
            max_pixels: self.input.max_pixels,
            exif: self.exif,
        }
    }
}

impl From<ViewsArg> for Views {
    fn from(views: ViewsArg) -> Self {
        match views {
            ViewsArg::One => Self::One,
            ViewsArg::Flip => Self::Flip,
            ViewsArg::TenCrop => Self::TenCrop,
        }
    }
}

/// What is reported, and how.
#[derive(Args, Debug)]
struct Form {
    /// Numbers of guesses to count the right class in, with commas between them
    #[arg(short = 'k', long, value_name = "K", default_value = "1,5", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Vec<u32>,
    /// One JSON object with all figures
    #[arg(long)]
    json: bool,
    /// Write the report as a page for the browser too, with the surest mistakes as pictures where
    /// they are at hand
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Form {
    fn page(&self) -> anyhow::Result<Option<html::Output>> {
        Ok(self.html.as_deref().map(html::Output::new).transpose()?)
    }

    fn ks(&self) -> Vec<usize> {
        self.top_k.iter().map(|&k| k as usize).collect()
    }
}

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
    let page = form.page()?;
    let (header, records) = merge(files).map_err(Error::from)?;
    let report = Report::new(&header, &records, &form.ks());
    let missing = header.pictures - records.len();
    if missing > 0 {
        messages.note(format!(
            "{missing} of {} pictures have no result in these files",
            header.pictures
        ));
    }
    let warnings = report.warnings(&header, &records, None);
    for warning in &warnings {
        messages.note(warning);
    }
    if let Some(page) = page {
        page.write(&header, &report, &records, &warnings, None, |_| None)?;
    }
    print::report(&report, None, form.json, results)?;
    let complete = missing == 0 && report.failed == 0;
    Ok(if complete { SUCCESS } else { SOME_FAILED })
}

fn run_eval(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let page = arguments.form.page()?;
    check(arguments)?;
    let hub = session::hub_from(&arguments.hub)?;
    let revision = arguments.hub.source.revision.as_deref();
    let mut specs = Vec::new();
    for name in &arguments.models {
        let mut spec = session::find_at(name, revision, &hub, messages)?;
        adapt(&mut spec, arguments)?;
        specs.push(spec);
    }
    // Found out before the run that nothing was published.
    let published = specs
        .iter()
        .filter(|_| arguments.expect)
        .map(|spec| published::find(&spec.name, &spec.input))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let labels = specs[0].labels.clone();
    if let Some(other) = specs
        .iter()
        .find(|spec| spec.labels.entries != labels.entries)
    {
        bail!(
            "{} and {} do not have the same classes ({} and {})",
            specs[0].name,
            other.name,
            labels.name,
            other.labels.name
        );
    }
    let classes = classes(&labels, arguments)?;
    let valid = match &arguments.valid_labels {
        Some(name) => Some(classes.subset(name).map_err(Error::from)?),
        None => None,
    };
    let options = Options {
        labels: arguments.labels.as_deref(),
        only: valid.as_deref(),
        limit: arguments.limit.map(|limit| limit as usize),
    };
    let dataset = Dataset::open(&arguments.data, &classes, &options).map_err(Error::from)?;
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
    let (mut tracks, models) = tracks(specs, &dataset, valid, arguments, &hub, messages)?;
    for (track, published) in tracks.iter_mut().zip(published) {
        track.published = Some(published);
    }

    let shard = arguments.shard.unwrap_or(Shard { index: 1, count: 1 });
    let todo: Vec<&Item> = dataset
        .shard(shard)
        .filter(|item| !tracks.iter().all(|track| track.has(item.index)))
        .collect();
    let stopped = measure(&models, &mut tracks, &todo, arguments, messages)?;
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
        return Ok(INTERRUPTED);
    }
    finish(
        &tracks, &dataset, page, &classes, arguments, messages, results,
    )
}

/// Reports on what was measured.
fn finish(
    tracks: &[Track],
    dataset: &Dataset,
    page: Option<html::Output>,
    classes: &Classes<'_>,
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let ks = arguments.form.ks();
    let mut reports = Vec::new();
    let mut fine = true;
    for track in tracks {
        let report = Report::new(&track.header, track.records(), &ks);
        let warnings = report.warnings(&track.header, track.records(), Some(classes));
        for warning in &warnings {
            messages.note(if tracks.len() == 1 {
                warning.clone()
            } else {
                format!("{}: {warning}", report.model)
            });
        }
        let published = track.published;
        let comparison = published.map(|found| published::compare(found, track.records()));
        if let (Some(page), 1) = (&page, tracks.len()) {
            let decode = arguments.decode_options();
            page.write(
                &track.header,
                &report,
                track.records(),
                &warnings,
                comparison.as_ref(),
                |record: &Record| dataset.items.get(record.index)?.source.open(&decode).ok(),
            )?;
        }
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
    Ok(if fine { SUCCESS } else { SOME_FAILED })
}

/// What clap cannot say.
fn check(arguments: &Arguments) -> anyhow::Result<()> {
    let models = &arguments.models;
    if arguments
        .data
        .iter()
        .filter(|path| path.as_os_str() == "-")
        .count()
        > 1
    {
        bail!("standard input can be read only once");
    }
    if models.len() > 1 && arguments.form.html.is_some() {
        bail!(
            "a page shows one model: `--results` keeps all, and \
             `senet eval merge FILE --html PAGE` makes a page of each"
        );
    }
    if models.len() > 1 && arguments.hub.source.revision.is_some() {
        bail!("`--revision` is for one model: `-m hf-hub:ORG/REPO@REVISION` names one of several");
    }
    if models.len() > 1 && arguments.weights.is_some() {
        bail!(
            "`--weights` is for one model, and {} are given",
            models.len()
        );
    }
    if arguments.expect
        && (arguments.valid_labels.is_some() || !matches!(arguments.views, ViewsArg::One))
    {
        bail!("published accuracies are those of one view and all classes");
    }
    if models.len() < 2 && arguments.ensemble {
        bail!("an ensemble has several members: `-m MODEL -m MODEL --ensemble`");
    }
    if let Some(twice) = (1..models.len()).find(|&place| models[..place].contains(&models[place])) {
        bail!("{} is given twice", models[twice]);
    }
    Ok(())
}

fn adapt(spec: &mut ModelSpec, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.test_size {
        let Some(size) = spec.input.test_size else {
            bail!("the card of {} has no test size", spec.name);
        };
        spec.input.size = size;
        spec.input.crop_pct = spec.input.test_crop_pct.unwrap_or(spec.input.crop_pct);
    }
    arguments.input.apply(&mut spec.input);
    Ok(())
}

fn classes<'a>(
    labels: &'a crate::labels::LabelSet,
    arguments: &Arguments,
) -> anyhow::Result<Classes<'a>> {
    let mut classes = Classes::new(labels);
    if let Some(map) = &arguments.class_map {
        classes.read_map(map).map_err(Error::from)?;
    }
    if let Some(ids) = arguments.label_ids {
        let numbering = match ids {
            LabelIds::Index => Numbering::Index,
            LabelIds::Devkit => Numbering::Devkit,
        };
        classes.number_by(numbering).map_err(Error::from)?;
    }
    Ok(classes)
}
