//! `senet info`: everything that is known about a model.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::args::{HubArgs, InputArgs};
use super::output::{Messages, Results, Table, Tone};
use super::{SUCCESS, session};
use crate::cards::{Card, ModelSpec, Published, WeightsSource, Zoo};
use crate::error::Error;
use crate::hub::{self, HubOptions, WeightsRef};
use crate::image::InputSpec;
use crate::model;
use crate::nets::{LayerTrace, NetError, NetworkSpec, Plan};
use crate::quote::path_bytes;

/// Show everything on a model's card
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  senet info se-resnet50\n  senet info senet154 --layers --img-size 320"
)]
pub(super) struct Arguments {
    /// Checkpoint, architecture, local directory with config.json, or hf-hub:ORG/REPO[@REVISION]
    #[arg(value_name = "MODEL")]
    model: String,
    /// Show every layer with its output shape, parameters and multiply-accumulates
    #[arg(long)]
    layers: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
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
    /// What a card says beyond that; absent for a model without one.
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
    let overrides = arguments.input.overrides();
    let (spec, hub) = session::find_from(&arguments.model, &overrides, &arguments.hub, messages)?;
    let card = Zoo::builtin().map_err(Error::from)?.get(&spec.name);
    let plan = spec
        .network
        .plan(spec.naming, spec.classes())
        .map_err(Error::from)?;
    let layers = arguments.layers.then(|| trace(&plan, &spec)).transpose();
    let layers = layers.map_err(Error::from)?;
    if arguments.json {
        results.json_pretty(&Information {
            name: &spec.name,
            params: plan.param_count(),
            num_features: plan.num_features(),
            classes: spec.classes(),
            labels: &spec.labels.name,
            network: &spec.network,
            input: &spec.input,
            weights: match &spec.weights {
                WeightsSource::Reference(reference) => Some(reference),
                WeightsSource::File(_) => None,
            },
            file_bytes: local_file(&spec, &hub).as_deref().and_then(path_bytes),
            file: local_file(&spec, &hub).map(|path| path.display().to_string()),
            card: card.map(FromCard::from),
            layers: layers.as_deref(),
        })?;
        return Ok(SUCCESS);
    }
    results.pieces(&[(Tone::Bold, &spec.name)])?;
    for (field, value) in fields(&spec, card, &plan, &hub) {
        results.line(format!("  {field:<14} {value}"))?;
    }
    if let Some(layers) = layers {
        results.line("")?;
        print_layers(&layers, results)?;
    }
    Ok(SUCCESS)
}

fn trace(plan: &Plan, spec: &ModelSpec) -> Result<Vec<LayerTrace>, NetError> {
    let [height, width] = spec.input.size;
    plan.trace(height, width)
}

fn local_file(spec: &ModelSpec, hub: &HubOptions) -> Option<PathBuf> {
    match &spec.weights {
        WeightsSource::File(path) => Some(path.clone()),
        WeightsSource::Reference(reference) => model::downloaded(reference, hub),
    }
}

fn fields(
    spec: &ModelSpec,
    card: Option<&Card>,
    plan: &Plan,
    hub: &HubOptions,
) -> Vec<(&'static str, String)> {
    let mut fields = vec![("parameters", thousands(plan.param_count()))];
    if let Some((card, gmacs)) = card.and_then(|card| Some((card, card.gmacs?))) {
        let at = size(card.input.size);
        fields.push(("GMACs", format!("{gmacs} at {at}")));
    }
    fields.push(("network", describe(&spec.network)));
    fields.push(("features", plan.num_features().to_string()));
    fields.push((
        "classes",
        format!("{} ({})", thousands(spec.classes()), spec.labels.name),
    ));
    fields.extend(input_fields(&spec.input));
    for published in card.iter().flat_map(|card| &card.published) {
        let at = format!("{} crop {}", size(published.size), published.crop_pct);
        let figures = format!("top-1 {} %, top-5 {} %", published.top1, published.top5);
        fields.push((
            "published",
            format!("{figures} at {at} ({})", published.source),
        ));
    }
    if let WeightsSource::Reference(reference) = &spec.weights {
        fields.extend(reference_fields(reference));
    }
    let embedded = matches!(&spec.weights, WeightsSource::Reference(r) if r.embedded.is_some());
    let file = local_file(spec, hub).map(|path| path.display().to_string());
    let not_here = if embedded {
        "part of the program"
    } else {
        "not on this machine"
    };
    fields.push(("file", file.unwrap_or_else(|| not_here.into())));
    if let Some(card) = card {
        let papers = card.paper.iter().map(|id| format!("arXiv:{id}"));
        fields.push(("paper", papers.collect::<Vec<_>>().join(", ")));
        fields.push(("licence", card.license.clone()));
        fields.push(("origin", card.origin.clone()));
        fields.extend(card.notes.iter().map(|note| ("note", note.clone())));
    }
    fields
}

fn input_fields(input: &InputSpec) -> Vec<(&'static str, String)> {
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
    if let Some(test_size) = input.test_size {
        fields.push((
            "test input",
            how(test_size, input.test_crop_pct.unwrap_or(input.crop_pct)),
        ));
    }
    fields.push(("mean, std", format!("{:?}, {:?}", input.mean, input.std)));
    fields
}

fn reference_fields(reference: &WeightsRef) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if let Some(repo) = &reference.repo {
        let at = reference
            .revision
            .as_ref()
            .map(|revision| format!("@{revision}"));
        let file = reference.file.as_deref().unwrap_or(hub::DEFAULT_FILE);
        fields.push(("hub", format!("{repo}{}, {file}", at.unwrap_or_default())));
    }
    fields.extend(reference.release.iter().map(|url| ("release", url.clone())));
    fields.extend(
        reference
            .sha256
            .iter()
            .map(|sha256| ("sha256", sha256.clone())),
    );
    fields
}

fn describe(network: &NetworkSpec) -> String {
    let groups = network
        .groups
        .as_ref()
        .map(|groups| format!(", groups {groups:?}"));
    format!(
        "{:?} blocks {:?}, channels {:?}, widths {:?}{}",
        network.block,
        network.layers,
        network.channels,
        network.widths,
        groups.unwrap_or_default()
    )
    .to_lowercase()
}

fn size([height, width]: [usize; 2]) -> String {
    if height == width {
        format!("{height} px")
    } else {
        format!("{height}x{width} px")
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
    row("all", "", String::new(), params, macs);
    Ok(table.print(results)?)
}
