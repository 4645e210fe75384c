//! The checkpoints that no other beats in accuracy at the same cost.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;

use super::measure::{Point, Times};
use super::plot::{Mark, Plot};
use crate::cli::format::{FormatArgs, Row, cell, shape};
use crate::cli::output::{Messages, Results, Table};
use crate::error::Error;
use crate::files;
use crate::zoo::{Card, Published};

const IMAGENET_CLASSES: usize = 1000;

/// What accuracy costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cost {
    /// Parameters
    Params,
    /// Multiply-accumulates for one image
    Macs,
    /// Milliseconds for one image on this machine; needs --measure
    Speed,
}

/// A checkpoint with one of its published accuracies.
#[derive(Serialize)]
pub(super) struct Candidate<'a> {
    name: String,
    family: &'a str,
    params: usize,
    gmacs: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    size: [usize; 2],
    top1: f64,
    top5: Option<f64>,
    license: &'a str,
    cost: Cost,
    #[serde(skip)]
    card: &'a Card,
}

/// The published accuracies on ImageNet-1k, which alone can be compared.
pub(super) fn points<'a>(cards: &[&'a Card]) -> Vec<Point<'a>> {
    let cards = cards.iter().filter(|card| card.is_imagenet());
    let of_card = |card: &&'a Card| {
        let (card, published) = (*card, card.published.iter());
        published.map(move |published| (card, published.size))
    };
    cards.flat_map(of_card).collect()
}

impl<'a> Candidate<'a> {
    fn all(cards: &[&'a Card], cost: Cost, times: &Times) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for card in cards.iter().filter(|card| card.is_imagenet()) {
            for published in &card.published {
                let ms = times.of((card, published.size));
                if cost != Cost::Speed || ms.is_some() {
                    all.push(Self::new(card, published, cost, ms)?);
                }
            }
        }
        Ok(all)
    }

    fn new(
        card: &'a Card,
        published: &Published,
        cost: Cost,
        ms: Option<f64>,
    ) -> anyhow::Result<Self> {
        let [height, width] = published.size;
        let plan = card
            .network
            .plan(card.naming, IMAGENET_CLASSES)
            .map_err(Error::from)?;
        let layers = plan.trace(height, width).map_err(Error::from)?;
        let macs: u64 = layers.iter().map(|layer| layer.macs).sum();
        Ok(Self {
            name: card.name.to_string(),
            family: &card.family,
            params: card.params,
            gmacs: macs as f64 / 1e9,
            ms,
            size: published.size,
            top1: published.top1,
            top5: published.top5,
            license: &card.license,
            cost,
            card,
        })
    }

    fn amount(&self) -> f64 {
        match self.cost {
            Cost::Params => self.params as f64 / 1e6,
            Cost::Macs => self.gmacs,
            Cost::Speed => self.ms.unwrap_or(f64::INFINITY),
        }
    }
}

/// Sorts by cost, the more accurate first where it is the same.
fn sort(candidates: &mut [Candidate<'_>]) {
    candidates.sort_by(|a, b| {
        let cost = a.amount().total_cmp(&b.amount());
        cost.then(b.top1.total_cmp(&a.top1))
            .then(a.name.cmp(&b.name))
    });
}

/// Which of the sorted candidates no other beats: none of at most their cost is more accurate, and none of
/// less cost as accurate.
fn frontier(candidates: &[Candidate<'_>]) -> Vec<bool> {
    let mut last: Option<(f64, f64)> = None;
    let is_best = |candidate: &Candidate<'_>| {
        let this = (candidate.amount(), candidate.top1);
        let best = last.is_none_or(|(_, top1)| candidate.top1 > top1) || last == Some(this);
        if best {
            last = Some(this);
        }
        best
    };
    candidates.iter().map(is_best).collect()
}

pub(super) fn list(
    cards: &[&Card],
    cost: Cost,
    times: &Times,
    svg: Option<&Path>,
    format: &FormatArgs,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut candidates = Candidate::all(cards, cost, times)?;
    sort(&mut candidates);
    let best = frontier(&candidates);
    if candidates.is_empty() {
        bail!("none of these checkpoints has a published accuracy on ImageNet-1k");
    }
    let left_out = cards
        .iter()
        .filter(|card| !card.is_imagenet() || card.published.is_empty());
    match left_out.count() {
        0 => {}
        count => messages.note(format!(
            "{count} of {} checkpoints have no published accuracy on ImageNet-1k and are left out",
            cards.len()
        )),
    }
    if let Some(path) = svg {
        let marks = candidates.iter().zip(&best);
        let marks = marks.map(|(candidate, &best)| Mark {
            name: format!("{} @{}", candidate.name, candidate.size[0]),
            cost: candidate.amount(),
            top1: candidate.top1,
            best,
        });
        let plot = Plot::new(&marks.collect::<Vec<_>>(), cost);
        files::write(path, plot.to_string().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut rows = format.rows::<Candidate<'_>>(results)?;
    let timed = times.any();
    let mut headings = vec!["model", ">params M", ">GMACs"];
    headings.extend(timed.then_some(">ms"));
    headings.extend([">at", ">top-1", ""]);
    let mut table = Table::new(&headings);
    for (candidate, _) in candidates.iter().zip(best).filter(|(_, best)| *best) {
        rows.write(candidate, |_| {
            table.row(candidate.cells(timed));
            Ok(())
        })?;
    }
    rows.text(|results| Ok(table.print(results)?))
}

impl Candidate<'_> {
    fn cells(&self, timed: bool) -> Vec<String> {
        let license = (!self.card.is_permissive()).then_some(self.license);
        let mut cells = vec![
            self.name.clone(),
            format!("{:.2}", self.params as f64 / 1e6),
            format!("{:.2}", self.gmacs),
        ];
        if timed {
            cells.push(self.ms.map_or_else(|| "-".into(), |ms| format!("{ms:.2}")));
        }
        cells.extend([
            self.size[0].to_string(),
            format!("{:.2}", self.top1),
            license.unwrap_or_default().into(),
        ]);
        cells
    }
}

impl Row for Candidate<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "name", "family", "params", "gmacs", "ms", "size", "top1", "top5", "license", "cost",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.name),
            cell(self.family),
            cell(self.params),
            cell(self.gmacs),
            cell(self.ms),
            shape(&self.size),
            cell(self.top1),
            cell(self.top5),
            cell(self.license),
            cell(self.cost),
        ]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo::Zoo;

    #[test]
    fn no_other_beats_those_of_the_frontier() {
        let cards: Vec<&Card> = Zoo::builtin().cards().collect();
        for cost in [Cost::Params, Cost::Macs] {
            let mut all = Candidate::all(&cards, cost, &Times::default()).unwrap();
            sort(&mut all);
            let best = frontier(&all);
            for (one, best) in all.iter().zip(&best) {
                let beaten = all.iter().any(|other| {
                    let (cost, top1) = (other.amount(), other.top1);
                    cost <= one.amount() && top1 > one.top1
                        || cost < one.amount() && top1 >= one.top1
                });
                assert_eq!(*best, !beaten, "{} at {:?}", one.name, one.size);
            }
            assert!(best.iter().any(|best| *best));
        }
    }
}
