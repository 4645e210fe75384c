//! `senet list`: the known checkpoints and architectures.

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;

use super::format::{FormatArgs, Row, cell, shape};
use super::output::{Results, Table};
use super::{SUCCESS, session};
use crate::error::Error;
use crate::hub::HubOptions;
use crate::nets::NetError;
use crate::quote::path_bytes;
use crate::store;
use crate::zoo::{Architecture, Card, Published, Zoo, squash};

/// List the known checkpoints, with size and published accuracy
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  senet list\n  senet list resnext\n  senet list --json\n  \
    senet list --architectures\n\n\
    The accuracy is the best published one, at the input size in column `at`; `senet info MODEL` \
    prints all of them with their sources. An asterisk marks the default checkpoint of an architecture."
)]
pub(super) struct Arguments {
    /// List only names that contain this text
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// List architectures instead, including those without a published checkpoint (for your own
    /// weights)
    #[arg(long)]
    architectures: bool,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct CheckpointRow<'a> {
    name: String,
    recommended: bool,
    params: usize,
    gmacs: Option<f64>,
    size: [usize; 2],
    published: &'a [Published],
    embedded: bool,
    /// Path of the file in the cache.
    cached: Option<String>,
    /// In base64, where its path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_bytes: Option<String>,
    #[serde(skip)]
    raw_cached: OsString,
    #[serde(skip)]
    best: Option<&'a Published>,
}

pub(super) fn run(arguments: &Arguments, results: &mut Results) -> anyhow::Result<u8> {
    let hub = session::hub_options(true)?;
    let wanted = arguments.filter.as_deref().map(squash);
    let zoo = Zoo::builtin();
    let matches = |name: &str| {
        let wanted = wanted.as_ref();
        wanted.is_none_or(|wanted| squash(name).contains(wanted))
    };
    if arguments.architectures {
        return list_architectures(arguments, zoo, matches, results);
    }
    let cards: Vec<&Card> = zoo
        .cards()
        .filter(|card| matches(&card.name.to_string()))
        .collect();
    if let (Some(filter), true) = (&arguments.filter, cards.is_empty()) {
        anyhow::bail!("no checkpoint's name contains `{filter}`; `senet list` shows all");
    }
    list_checkpoints(&arguments.format, &cards, zoo, &hub, results)?;
    Ok(SUCCESS)
}

#[derive(Serialize)]
struct ArchitectureRow {
    name: String,
    params: usize,
    num_features: usize,
    size: [usize; 2],
    checkpoints: Vec<String>,
}

fn list_architectures(
    arguments: &Arguments,
    zoo: &Zoo,
    matches: impl Fn(&str) -> bool,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let all = zoo.architectures().into_iter();
    let mut names: Vec<&str> = all.chain(zoo.untrained_names()).collect();
    names.retain(|name| matches(name));
    names.sort_unstable();
    if let (Some(filter), true) = (&arguments.filter, names.is_empty()) {
        anyhow::bail!(
            "no architecture's name contains `{filter}`; `senet list --architectures` shows all"
        );
    }
    let mut rows = arguments.format.rows::<ArchitectureRow>(results)?;
    let mut table = Table::new(&[
        "architecture",
        ">params M",
        ">features",
        ">input",
        ">checkpoints",
    ]);
    for known in names.into_iter().filter_map(|name| zoo.architecture(name)) {
        let row = architecture_row(known, zoo).map_err(Error::from)?;
        rows.write(&row, |_| {
            table.row(vec![
                row.name.clone(),
                format!("{:.2}", row.params as f64 / 1e6),
                row.num_features.to_string(),
                row.size[0].to_string(),
                row.checkpoints.len().to_string(),
            ]);
            Ok(())
        })?;
    }
    rows.text(|results| Ok(table.print(results)?))?;
    Ok(SUCCESS)
}

impl Row for ArchitectureRow {
    const COLUMNS: &'static [&'static str] =
        &["name", "params", "num_features", "size", "checkpoints"];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.name),
            cell(self.params),
            cell(self.num_features),
            shape(&self.size),
            self.checkpoints.join(" ").into(),
        ]]
    }
}

fn architecture_row(known: Architecture, zoo: &Zoo) -> Result<ArchitectureRow, NetError> {
    let of_it = zoo.names().filter(|name| name.architecture() == known.name);
    Ok(ArchitectureRow {
        checkpoints: of_it.map(ToString::to_string).collect(),
        num_features: known.network.plan(known.naming, 1)?.num_features(),
        name: known.name,
        params: known.params,
        size: known.input.size,
    })
}

impl<'a> CheckpointRow<'a> {
    fn new(card: &'a Card, zoo: &Zoo, hub: &HubOptions) -> Self {
        let cached = store::find(&card.weights, hub);
        Self {
            name: card.name.to_string(),
            recommended: is_default(card, zoo),
            params: card.params,
            gmacs: card.gmacs,
            size: card.input.size,
            published: &card.published,
            embedded: card.weights.embedded.is_some(),
            cached_bytes: cached.as_deref().and_then(path_bytes),
            cached: cached.as_ref().map(|path| path.display().to_string()),
            raw_cached: cached.map_or_else(OsString::new, OsString::from),
            best: best(card),
        }
    }
}

impl Row for CheckpointRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "recommended",
        "params",
        "gmacs",
        "size",
        "top1",
        "top5",
        "published_size",
        "embedded",
        "cached",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.name),
            cell(self.recommended),
            cell(self.params),
            cell(self.gmacs),
            shape(&self.size),
            cell(self.best.map(|best| best.top1)),
            cell(self.best.map(|best| best.top5)),
            self.best.map(|best| shape(&best.size)).unwrap_or_default(),
            cell(self.embedded),
            self.raw_cached.clone(),
        ]]
    }
}

fn is_default(card: &Card, zoo: &Zoo) -> bool {
    zoo.default_of(card.name.architecture())
        .is_some_and(|default| default.name == card.name)
}

/// The published figures with the highest top-1 accuracy.
pub(super) fn best(card: &Card) -> Option<&Published> {
    card.published
        .iter()
        .max_by(|a, b| a.top1.total_cmp(&b.top1))
}

fn list_checkpoints(
    format: &FormatArgs,
    cards: &[&Card],
    zoo: &Zoo,
    hub: &HubOptions,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut rows = format.rows::<CheckpointRow<'_>>(results)?;
    let mut table = Table::new(&[
        "model",
        "",
        ">params M",
        ">GMACs",
        ">input",
        ">top-1",
        ">top-5",
        ">at",
        "weights",
    ]);
    let figure =
        |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
    for card in cards {
        let row = CheckpointRow::new(card, zoo, hub);
        rows.write(&row, |_| {
            let best = row.best;
            let state = match (row.embedded, &row.cached) {
                (true, _) => "built in",
                (false, Some(_)) => "cached",
                (false, None) => "",
            };
            table.row(vec![
                row.name.clone(),
                if row.recommended { "*" } else { "" }.into(),
                figure(Some(row.params as f64 / 1e6)),
                figure(row.gmacs),
                row.size[0].to_string(),
                figure(best.map(|best| best.top1)),
                figure(best.map(|best| best.top5)),
                best.map_or_else(|| "-".into(), |best| best.size[0].to_string()),
                state.into(),
            ]);
            Ok(())
        })?;
    }
    rows.text(|results| Ok(table.print(results)?))
}
