//! `senet eval`: accuracy on a validation set.

mod html;
mod print;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};

use super::args::{InputArgs, ModelArgs};
use super::output::{Messages, Results};
use super::rows::RowError;
use super::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::cards::{ModelSpec, Zoo};
use crate::error::Error;
use crate::eval::{
    Answer, Classes, Dataset, Header, Interval, Item, Log, Options, Outcome, Pair, Record, Report,
    Shard, merge,
};
use crate::image::{self, DecodeOptions};
use crate::model::{Model, Prepared, prepare_ahead};

/// Measure accuracy on a folder of labelled pictures
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
        senet eval compare senet154.jsonl se-resnet50.jsonl\n\n\
        A class folder is a WordNet id, a class name or an index. A picture that cannot be read is\n\
        counted as failed, told on stderr, and part of no share; the exit code is then 1."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Folder with a folder of pictures for each class, or with --labels
    #[arg(value_name = "FOLDER", required = true)]
    data: Option<PathBuf>,
    /// File that names each picture's class: a name in FOLDER, a tab, comma or blank, the class
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// File that says which class a folder or label means, in the same form; - leaves it out
    #[arg(long, value_name = "FILE")]
    class_map: Option<PathBuf>,
    /// No more than N pictures, evenly spread over the whole set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// One of COUNT parts of the set, from 1/COUNT to COUNT/COUNT
    #[arg(long, value_name = "INDEX/COUNT")]
    shard: Option<Shard>,
    /// Write one JSON object a line for each picture
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
    #[command(flatten)]
    model: ModelArgs,
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
    /// Compare two models picture by picture, by their results on one data set
    Compare {
        /// What `senet eval --results` wrote for one model
        #[arg(value_name = "FIRST")]
        first: PathBuf,
        /// And for the other
        #[arg(value_name = "SECOND")]
        second: PathBuf,
        /// One JSON object, with every picture that one alone has right
        #[arg(long)]
        json: bool,
    },
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
    match (&arguments.command, &arguments.data) {
        (Some(Command::Merge { files, form }), _) => run_merge(files, form, messages, results),
        (
            Some(Command::Compare {
                first,
                second,
                json,
            }),
            _,
        ) => {
            let pair = Pair::open(first, second).map_err(Error::from)?;
            print::pair(&pair, *json, results)?;
            Ok(SUCCESS)
        }
        (None, Some(folder)) => run_eval(folder, arguments, messages, results),
        (None, None) => bail!("expected a folder of pictures"),
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
    if let Some(page) = page {
        page.write(&header, &report, &records, None, |_| None)?;
    }
    print::report(&report, None, form.json, results)?;
    let complete = missing == 0 && report.failed == 0;
    Ok(if complete { SUCCESS } else { SOME_FAILED })
}

fn run_eval(
    folder: &std::path::Path,
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let page = arguments.form.page()?;
    let hub = session::hub_options(arguments.model.offline)?;
    let mut spec = session::find(&arguments.model.model, &hub, messages)?;
    adapt(&mut spec, arguments)?;
    let dataset = open_dataset(folder, &spec, arguments)?;
    if dataset.left_out > 0 {
        messages.note(format!("{} pictures left out: no class", dataset.left_out));
    }
    let device = session::open_device(&arguments.model.device, &spec.name, messages)?;
    let weights = arguments.model.weights.as_deref();
    let weights = session::open_weights(&spec, weights, &hub, messages)?;
    let mut header = Header {
        senet_eval: Header::VERSION,
        model: spec.name.clone(),
        weights: String::new(),
        input: spec.input.clone(),
        exif: arguments.exif,
        pictures: dataset.items.len(),
        data: String::new(),
        classes: spec.labels.entries.iter().map(|l| l.name.clone()).collect(),
    };
    let (mut log, mut records) = match &arguments.results {
        Some(path) => {
            header.weights = weights.fingerprint().map_err(Error::from)?;
            header.data = dataset.fingerprint();
            let (log, records) = if arguments.resume {
                Log::resume(path, &header).map_err(Error::from)?
            } else {
                (Log::create(path, &header).map_err(Error::from)?, Vec::new())
            };
            (Some(log), records)
        }
        None => (None, Vec::new()),
    };
    let model = Model::new(spec, &weights, &device)?;
    drop(weights);

    let done: HashSet<usize> = records.iter().map(|record| record.index).collect();
    let shard = arguments.shard.unwrap_or(Shard { index: 1, count: 1 });
    let todo: Vec<&Item> = dataset
        .shard(shard)
        .filter(|item| !done.contains(&item.index))
        .collect();
    let stopped = measure(&model, &todo, arguments, messages, |new| {
        if let Some(log) = &mut log {
            log.append(&new).map_err(Error::from)?;
        }
        records.extend(new);
        Ok(())
    })?;
    records.sort_by_key(|record| record.index);

    let report = Report::new(&header, &records, &arguments.form.ks());
    if stopped {
        messages.note(format!(
            "interrupted after {} of {} pictures{}",
            records.len(),
            dataset.shard(shard).count(),
            if log.is_some() {
                "; --resume goes on"
            } else {
                ""
            }
        ));
        return Ok(INTERRUPTED);
    }
    let comparison = if arguments.expect {
        Some(compare(&records, &model)?)
    } else {
        None
    };
    if let Some(warning) = report.warning(header.classes.len()) {
        messages.note(warning);
    }
    if let Some(page) = page {
        let picture = |record: &Record| {
            let item = dataset.items.get(record.index)?;
            image::open(&item.path, &decode_options(arguments)).ok()
        };
        page.write(&header, &report, &records, comparison.as_ref(), picture)?;
    }
    print::report(&report, comparison.as_ref(), arguments.form.json, results)?;
    let agrees = comparison.is_none_or(|comparison| comparison.agrees);
    Ok(if report.failed == 0 && agrees {
        SUCCESS
    } else {
        SOME_FAILED
    })
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

fn decode_options(arguments: &Arguments) -> DecodeOptions {
    DecodeOptions {
        max_pixels: arguments.input.max_pixels,
        exif: arguments.exif,
    }
}

fn open_dataset(
    folder: &std::path::Path,
    spec: &ModelSpec,
    arguments: &Arguments,
) -> anyhow::Result<Dataset> {
    let mut classes = Classes::new(&spec.labels);
    if let Some(map) = &arguments.class_map {
        classes.read_map(map).map_err(Error::from)?;
    }
    let options = Options {
        labels: arguments.labels.as_deref(),
        limit: arguments.limit.map(|limit| limit as usize),
    };
    Ok(Dataset::open(folder, &classes, &options).map_err(Error::from)?)
}

/// Runs the network over all items, a batch at a time; whether Ctrl-C ended it early.
fn measure(
    model: &Model,
    items: &[&Item],
    arguments: &Arguments,
    messages: Messages,
    mut keep: impl FnMut(Vec<Record>) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let stop = session::stop_on_interrupt()?;
    let bar = messages.bar(
        items.len() as u64,
        "{bar:30.cyan/dim} {pos} of {len} pictures  {rate}  {eta}  {msg}",
    );
    let decode = decode_options(arguments);
    let preparing = AtomicU64::new(0);
    let prepare = |item: &&Item, slot: &mut [f32]| {
        let start = Instant::now();
        let picture = image::open(&item.path, &decode);
        let outcome = picture
            .map(|picture| model.transform().write(&picture, slot))
            .map_err(|error| {
                let text = RowError::from(&Error::from(error)).text;
                // Where the data set lies differs between machines.
                let prefix = format!("`{}`: ", item.path.display());
                text.strip_prefix(&prefix)
                    .map_or(text.clone(), str::to_owned)
            });
        preparing.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        outcome
    };
    let start = Instant::now();
    let mut network = Duration::ZERO;
    let (mut answered, mut correct, mut stopped) = (0_usize, 0_usize, false);
    let mut outcome = Ok(());
    let batch_size = (arguments.batch_size as usize).min(items.len().max(1));
    prepare_ahead(items, batch_size, model.picture_len(), prepare, |batch| {
        if stop.load(Ordering::Relaxed) {
            stopped = true;
            return ControlFlow::Break(());
        }
        let clock = Instant::now();
        let records = records(model, batch, items);
        network += clock.elapsed();
        for record in &records {
            match &record.outcome {
                Outcome::Answer(answer) => {
                    answered += 1;
                    correct += usize::from(answer.rank == 1);
                }
                Outcome::Error { error } => {
                    bar.suspend(|| messages.failure(format!("{}: {error}", record.picture)));
                }
            }
        }
        bar.inc(records.len() as u64);
        if answered > 0 {
            let percent = 100.0 * correct as f64 / answered as f64;
            bar.set_message(format!("top-1 {percent:.2} %"));
        }
        outcome = keep(records);
        if outcome.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    bar.finish_and_clear();
    outcome?;
    let seconds = start.elapsed().as_secs_f64();
    messages.note(format!(
        "{answered} pictures in {seconds:.1} s, {:.0} a second; decoding and preprocessing took \
         {:.1} s of all threads, the network {:.1} s",
        answered as f64 / seconds,
        preparing.into_inner() as f64 / 1e9,
        network.as_secs_f64()
    ));
    Ok(stopped)
}

/// One record for each picture of the batch.
fn records(model: &Model, batch: Prepared<String>, items: &[&Item]) -> Vec<Record> {
    let mut rows = model.logits_each(&batch.values).into_iter();
    let mut next = || match rows.next() {
        Some(Ok(logits)) => Ok(logits),
        Some(Err(error)) => Err(RowError::from(&error).text),
        None => Err("the network gave no answer".into()),
    };
    let items = items[batch.first..].iter().zip(batch.outcomes);
    items
        .map(|(item, prepared)| Record {
            index: item.index,
            picture: item.name.clone(),
            label: item.label,
            outcome: match prepared.and_then(|()| next()) {
                Ok(logits) => Outcome::Answer(Answer::new(&logits, item.label)),
                Err(error) => Outcome::Error { error },
            },
        })
        .collect()
}

/// Measured beside published.
#[derive(serde::Serialize)]
struct Comparison {
    top1: f64,
    top5: f64,
    source: String,
    /// Both lie in the intervals of what was measured.
    agrees: bool,
}

fn compare(records: &[Record], model: &Model) -> anyhow::Result<Comparison> {
    let (spec, input) = (model.spec(), &model.spec().input);
    let zoo = Zoo::builtin().map_err(Error::from)?;
    let card = zoo.get(&spec.name);
    let published = card.and_then(|card| {
        card.published.iter().find(|published| {
            published.size == input.size && (published.crop_pct - input.crop_pct).abs() < 1e-9
        })
    });
    let Some(published) = published else {
        let [height, width] = input.size;
        bail!(
            "nothing was published for {} at {height}x{width} px with crop_pct {} \
             (`senet info` shows what was)",
            spec.name,
            input.crop_pct
        );
    };
    let answers: Vec<&Answer> = records.iter().filter_map(Record::answer).collect();
    let within = |k: usize, percent: f64| {
        let correct = answers.iter().filter(|answer| answer.rank <= k).count();
        Interval::of(correct, answers.len()).contains(percent / 100.0)
    };
    Ok(Comparison {
        top1: published.top1,
        top5: published.top5,
        source: published.source.clone(),
        agrees: !answers.is_empty() && within(1, published.top1) && within(5, published.top5),
    })
}
