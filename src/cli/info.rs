//! `senet info`: what is known about a model.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::args::{HubArgs, InputArgs};
use super::format::{FormatArgs, Row, cell, shape};
use super::output::{Messages, Results, Table, Tone, human_bytes};
use super::{SUCCESS, session};
use crate::error::Error;
use crate::hub::HubOptions;
use crate::nets::{LayerTrace, NetError, NetworkSpec, Plan};
use crate::preprocess::InputSpec;
use crate::quote::path_bytes;
use crate::store;
use crate::text::thousands;
use crate::weights::shard_names;
use crate::zoo::{Card, ModelSpec, Published, WeightsRef, WeightsSource, Zoo, accuracies};

/// Show a model's architecture, input, accuracy, weights and licence
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  senet info se-resnet50\n  senet info senet154 --layers --img-size 320"
)]
pub(super) struct Arguments {
    /// Checkpoint, architecture, family, local directory with config.json, or hf-hub:ORG/REPO[@REVISION]
    #[arg(value_name = "MODEL")]
    model: String,
    /// Use this weights file instead of the model's own, and check that it fits
    #[arg(short, long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Show every layer with its output shape, parameter count and multiply-accumulates
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Serialize)]
struct Information<'a> {
    name: &'a str,
    params: usize,
    num_features: usize,
    classes: usize,
    labels: &'a str,
    network: &'a NetworkSpec,
    input: &'a InputSpec,
    weights: Option<&'a WeightsRef>,
    file: Option<String>,
    /// In base64, where the path of the file is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<String>,
    /// The files that `file` is an index of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<String>,
    /// Absent for a model without a card.
    #[serde(flatten)]
    card: Option<FromCard<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<&'a [LayerTrace]>,
}

#[derive(Serialize)]
struct FromCard<'a> {
    gmacs: Option<f64>,
    published: &'a [Published],
    paper: &'a [String],
    license: &'a str,
    origin: &'a str,
    cadene: Option<&'a str>,
    notes: &'a [String],
}

impl<'a> From<&'a Card> for FromCard<'a> {
    fn from(card: &'a Card) -> Self {
        Self {
            gmacs: card.gmacs,
            published: &card.published,
            paper: &card.paper,
            license: &card.license,
            origin: &card.origin,
            cadene: card.cadene.as_deref(),
            notes: &card.notes,
        }
    }
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    if arguments.format.is_csv() && !arguments.layers {
        anyhow::bail!("CSV has only the layers: `senet info MODEL --layers --csv`");
    }
    let overrides = arguments.input.overrides();
    let (spec, hub) = session::find_from(&arguments.model, &overrides, &arguments.hub, messages)?;
    let card = Zoo::builtin().get(&spec.name);
    let plan = spec
        .network
        .plan(spec.naming, spec.classes())
        .map_err(Error::from)?;
    let layers = arguments.layers.then(|| trace(&plan, &spec)).transpose();
    let layers = layers.map_err(Error::from)?;
    let file = match &arguments.weights {
        Some(path) => {
            let weights = session::open_weights(&spec, Some(path), &hub, messages)?;
            let notes = store::check_weights(&spec, &weights)?;
            notes.into_iter().for_each(|note| messages.note(note));
            Some(path.clone())
        }
        None => local_file(&spec, &hub, messages)?,
    };
    let information = Information {
        name: &spec.name,
        params: plan.param_count(),
        num_features: plan.num_features(),
        classes: spec.classes(),
        labels: &spec.labels.name,
        network: &spec.network,
        input: &spec.input,
        weights: match &spec.weights {
            WeightsSource::Reference(reference) => Some(reference),
            WeightsSource::File(_) | WeightsSource::Directory(_) => None,
        },
        file: file.as_ref().map(|path| path.display().to_string()),
        shards: match &file {
            Some(path) => shard_names(path).map_err(Error::from)?,
            None => Vec::new(),
        },
        file_bytes: file.as_deref().and_then(path_bytes),
        card: card.map(FromCard::from),
        layers: layers.as_deref(),
    };
    let rows = layers.as_deref().unwrap_or_default();
    let format = &arguments.format;
    format.report(&information, rows, results, |results| {
        results.pieces(&[(Tone::Bold, &spec.name)])?;
        for (field, value) in fields(&spec, card, &plan, file.as_deref()) {
            results.line(format!("  {field:<14} {value}"))?;
        }
        if !rows.is_empty() {
            results.line("")?;
            print_layers(rows, results)?;
        }
        Ok(())
    })?;
    Ok(SUCCESS)
}

impl Row for LayerTrace {
    const COLUMNS: &'static [&'static str] = &["name", "kind", "output", "params", "macs"];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.name),
            cell(&self.kind),
            shape(&self.output),
            cell(self.params),
            cell(self.macs),
        ]]
    }
}

fn trace(plan: &Plan, spec: &ModelSpec) -> Result<Vec<LayerTrace>, NetError> {
    let [height, width] = spec.input.size;
    plan.trace(height, width)
}

/// The weights file if it is on this machine.
fn local_file(
    spec: &ModelSpec,
    hub: &HubOptions,
    messages: Messages,
) -> Result<Option<PathBuf>, Error> {
    if let WeightsSource::Reference(reference) = &spec.weights {
        return Ok(store::find(reference, hub));
    }
    match store::local_weights(spec) {
        Err(Error::Pick(choice)) => {
            messages.note(choice.to_string());
            Ok(None)
        }
        found => found,
    }
}

fn fields(
    spec: &ModelSpec,
    card: Option<&Card>,
    plan: &Plan,
    file: Option<&Path>,
) -> Vec<(&'static str, String)> {
    let mut fields = vec![("parameters", thousands(plan.param_count()))];
    if let Some((card, gmacs)) = card.and_then(|card| Some((card, card.gmacs?))) {
        let at = size(card.input.size);
        fields.push(("GMACs", format!("{gmacs} at {at}")));
    }
    fields.push(("network", spec.network.summary()));
    fields.push(("features", plan.num_features().to_string()));
    fields.push((
        "classes",
        format!("{} ({})", thousands(spec.classes()), spec.labels.name),
    ));
    fields.extend(input_fields(&spec.input, spec.channels()));
    for published in card.iter().flat_map(|card| &card.published) {
        let at = format!("{} crop {}", size(published.size), published.crop_pct);
        let figures = accuracies(published.top1, published.top5);
        fields.push((
            "published",
            format!("{figures} at {at} ({})", published.source),
        ));
    }
    if let WeightsSource::Reference(reference) = &spec.weights {
        fields.extend(reference_fields(reference));
    }
    let embedded = matches!(&spec.weights, WeightsSource::Reference(r) if r.embedded.is_some());
    fields.push(match file {
        Some(path) => ("file", path.display().to_string()),
        None if embedded => ("file", "built in".into()),
        None => ("file", "not on this machine".into()),
    });
    fields.extend(file.and_then(shards));
    if let Some(card) = card {
        let papers = card.paper.iter().map(|id| format!("arXiv:{id}"));
        fields.push(("paper", papers.collect::<Vec<_>>().join(", ")));
        fields.push(("licence", card.license.clone()));
        fields.push(("origin", card.origin.clone()));
        fields.extend(card.notes.iter().map(|note| ("note", note.clone())));
    }
    fields
}

fn input_fields(input: &InputSpec, channels: usize) -> Vec<(&'static str, String)> {
    let how = |at: [usize; 2], crop_pct: f64| {
        format!(
            "{}, crop_pct {crop_pct}, {} {:?}",
            size(at),
            input.interpolation.name(),
            input.crop_mode
        )
        .to_lowercase()
    };
    let mut fields = vec![("input", how(input.size, input.crop_pct))];
    match channels {
        3 => {}
        1 => fields.push(("channels", "1 (greyscale)".into())),
        more => fields.push(("channels", format!("{more} (images have 1 or 3)"))),
    }
    if let Some(test_size) = input.test_size {
        fields.push((
            "test input",
            how(test_size, input.test_crop_pct.unwrap_or(input.crop_pct)),
        ));
    }
    fields.push(match channels {
        1 => (
            "mean, std",
            format!("{:?}, {:?}", input.mean[0], input.std[0]),
        ),
        _ => ("mean, std", format!("{:?}, {:?}", input.mean, input.std)),
    });
    fields
}

fn reference_fields(reference: &WeightsRef) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if let Some(repo) = &reference.repo {
        let at = reference
            .revision
            .as_ref()
            .map(|revision| format!("@{revision}"));
        let file = reference.file();
        fields.push(("hub", format!("{repo}{}, {file}", at.unwrap_or_default())));
    }
    fields.extend(reference.release.iter().map(|url| ("release", url.clone())));
    fields.extend(reference.sha1.iter().map(|sha1| ("sha1", sha1.clone())));
    fields.extend(
        reference
            .sha384
            .iter()
            .map(|sha384| ("sha384", sha384.clone())),
    );
    fields.extend(
        reference
            .sha256
            .iter()
            .map(|sha256| ("sha256", sha256.clone())),
    );
    fields
}

/// Number and total size of the files that an index lists.
fn shards(path: &Path) -> Option<(&'static str, String)> {
    let count = shard_names(path).ok()?.len();
    let size = store::length_of(path).map_or_else(|| "incomplete".into(), human_bytes);
    (count > 0).then(|| ("shards", format!("{count}, {size}")))
}

fn size([height, width]: [usize; 2]) -> String {
    if height == width {
        format!("{height} px")
    } else {
        format!("{height}x{width} px")
    }
}

fn print_layers(layers: &[LayerTrace], results: &mut Results) -> anyhow::Result<()> {
    let mut table = Table::new(&["layer", "kind", ">output", ">params", ">MMACs"]);
    let mut row = |name: &str, kind: &str, output: String, params: usize, macs: u64| {
        let mega = format!("{:.2}", macs as f64 / 1e6);
        table.row(vec![
            name.into(),
            kind.into(),
            output,
            thousands(params),
            mega,
        ]);
    };
    for layer in layers {
        let [channels, height, width] = layer.output;
        let output = format!("{channels}x{height}x{width}");
        row(&layer.name, &layer.kind, output, layer.params, layer.macs);
    }
    let params = layers.iter().map(|layer| layer.params).sum();
    let macs = layers.iter().map(|layer| layer.macs).sum();
    row("total", "", String::new(), params, macs);
    Ok(table.print(results)?)
}
