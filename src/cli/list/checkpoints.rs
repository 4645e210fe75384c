//! The checkpoints: by family, or sorted.

use std::ffi::OsString;

use serde::Serialize;

use super::Sort;
use super::measure::Times;
use crate::cli::format::{FormatArgs, Row, cell, shape};
use crate::cli::output::{Results, Table};
use crate::hub::HubOptions;
use crate::quote::path_bytes;
use crate::store;
use crate::zoo::{Card, Published, Zoo};

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
    family: &'a str,
    labels: &'a str,
    license: &'a str,
    /// Only with `--measure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    #[serde(skip)]
    raw_cached: OsString,
    #[serde(skip)]
    best: Option<&'a Published>,
}

impl<'a> CheckpointRow<'a> {
    fn new(card: &'a Card, times: &Times, hub: &HubOptions) -> Self {
        let cached = store::find(&card.weights, hub);
        Self {
            name: card.name.to_string(),
            recommended: Zoo::builtin().is_default(card),
            params: card.params,
            gmacs: card.gmacs,
            size: card.input.size,
            published: &card.published,
            embedded: card.weights.embedded.is_some(),
            cached_bytes: cached.as_deref().and_then(path_bytes),
            cached: cached.as_ref().map(|path| path.display().to_string()),
            family: &card.family,
            labels: &card.labels,
            license: &card.license,
            ms: times.of((card, card.input.size)),
            raw_cached: cached.map_or_else(OsString::new, OsString::from),
            best: best(card),
        }
    }

    fn cells(&self, card: &Card, timed: bool) -> Vec<String> {
        let figure =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        let best = self.best;
        let mut cells = vec![
            self.name.clone(),
            if self.recommended { "*" } else { "" }.into(),
            figure(Some(self.params as f64 / 1e6)),
            figure(self.gmacs),
        ];
        cells.extend(timed.then(|| figure(self.ms)));
        cells.extend([
            self.size[0].to_string(),
            figure(best.map(|best| best.top1)),
            figure(best.and_then(|best| best.top5)),
            best.map_or_else(|| "-".into(), |best| best.size[0].to_string()),
            self.remarks(card),
        ]);
        cells
    }

    /// What most checkpoints lack: a file on this machine, other classes, a licence with conditions.
    fn remarks(&self, card: &Card) -> String {
        let state = match (self.embedded, &self.cached) {
            (true, _) => Some("built in"),
            (false, Some(_)) => Some("cached"),
            (false, None) => None,
        };
        let labels = (!card.is_imagenet()).then_some(self.labels);
        let license = (!card.is_permissive()).then_some(self.license);
        let remarks: Vec<&str> = [state, labels, license].into_iter().flatten().collect();
        remarks.join(", ")
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
        "family",
        "labels",
        "license",
        "ms",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.name),
            cell(self.recommended),
            cell(self.params),
            cell(self.gmacs),
            shape(&self.size),
            cell(self.best.map(|best| best.top1)),
            cell(self.best.and_then(|best| best.top5)),
            self.best.map(|best| shape(&best.size)).unwrap_or_default(),
            cell(self.embedded),
            self.raw_cached.clone(),
            cell(self.family),
            cell(self.labels),
            cell(self.license),
            cell(self.ms),
        ]]
    }
}

/// The published figures with the highest top-1 accuracy.
fn best(card: &Card) -> Option<&Published> {
    card.published
        .iter()
        .max_by(|a, b| a.top1.total_cmp(&b.top1))
}

/// Sorts by family and name unless something else is asked for.
pub(super) fn sort(cards: &mut [&Card], by: Option<Sort>, times: &Times) {
    match by {
        None => cards.sort_by(|a, b| (&a.family, &a.name).cmp(&(&b.family, &b.name))),
        Some(Sort::Top1) => cards.sort_by(|a, b| {
            let order = |card: &Card| (!card.is_imagenet(), best(card).is_none());
            let top1 = |card: &Card| best(card).map_or(0.0, |best| best.top1);
            order(a).cmp(&order(b)).then(top1(b).total_cmp(&top1(a)))
        }),
        Some(Sort::Params) => cards.sort_by_key(|card| card.params),
        Some(Sort::Macs) => cards.sort_by(|a, b| {
            let macs = |card: &Card| card.gmacs.unwrap_or(f64::INFINITY);
            macs(a).total_cmp(&macs(b))
        }),
        Some(Sort::Speed) => cards.sort_by(|a, b| {
            let ms = |card: &Card| times.of((card, card.input.size)).unwrap_or(f64::INFINITY);
            ms(a).total_cmp(&ms(b))
        }),
    }
}

pub(super) fn list(
    cards: &[&Card],
    grouped: bool,
    times: &Times,
    format: &FormatArgs,
    hub: &HubOptions,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut rows = format.rows::<CheckpointRow<'_>>(results)?;
    let mut headings = vec!["model", "", ">params M", ">GMACs"];
    headings.extend(times.any().then_some(">ms"));
    headings.extend([">input", ">top-1", ">top-5", ">at", ""]);
    let mut table = Table::new(&headings);
    let mut family = "";
    for card in cards {
        let row = CheckpointRow::new(card, times, hub);
        rows.write(&row, |_| {
            if grouped && family != card.family {
                family = &card.family;
                table.section(family);
            }
            table.row(row.cells(card, times.any()));
            Ok(())
        })?;
    }
    rows.text(|results| Ok(table.print(results)?))
}
