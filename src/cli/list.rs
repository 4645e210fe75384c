//! `senet list`: the checkpoints that the program knows.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::output::{Results, Table};
use super::{SUCCESS, session};
use crate::cards::{Card, Published, Zoo};
use crate::error::Error;
use crate::hub::HubOptions;
use crate::model;

/// List the checkpoints with their size and published accuracy
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  senet list\n  senet list resnext\n  senet list --json\n\n\
    The accuracy is the best published one, with the input size it was measured at; \
    `senet info MODEL`\ntells all of them with their sources. An asterisk marks the checkpoint that \
    the architecture's\nname alone stands for."
)]
pub(super) struct Arguments {
    /// Only names that contain this text
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: String,
    recommended: bool,
    params: usize,
    gmacs: Option<f64>,
    size: [usize; 2],
    published: &'a [Published],
    embedded: bool,
    /// The file in the cache.
    cached: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, results: &mut Results) -> anyhow::Result<u8> {
    let hub = session::hub_options(true)?;
    let wanted = arguments.filter.as_deref().map(normalise);
    let zoo = Zoo::builtin().map_err(Error::from)?;
    let matches = |card: &&Card| {
        wanted
            .as_ref()
            .is_none_or(|wanted| normalise(&card.name.to_string()).contains(wanted))
    };
    let cards: Vec<&Card> = zoo.cards().iter().filter(matches).collect();
    if let (Some(filter), true) = (&arguments.filter, cards.is_empty()) {
        anyhow::bail!("no checkpoint's name contains `{filter}`; `senet list` shows all");
    }
    if arguments.json {
        let entries: Vec<Entry<'_>> = cards.iter().map(|card| entry(card, zoo, &hub)).collect();
        results.json_pretty(&entries)?;
    } else {
        print_table(&cards, zoo, &hub, results)?;
    }
    Ok(SUCCESS)
}

/// As names are typed: `SE-ResNet` and `se_resnet` find `seresnet`.
pub(super) fn normalise(text: &str) -> String {
    text.to_lowercase().replace(['-', '_'], "")
}

fn entry<'a>(card: &'a Card, zoo: &Zoo, hub: &HubOptions) -> Entry<'a> {
    Entry {
        name: card.name.to_string(),
        recommended: is_default(card, zoo),
        params: card.params,
        gmacs: card.gmacs,
        size: card.input.size,
        published: &card.published,
        embedded: card.weights.embedded.is_some(),
        cached: model::downloaded(&card.weights, hub),
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

fn print_table(
    cards: &[&Card],
    zoo: &Zoo,
    hub: &HubOptions,
    results: &mut Results,
) -> anyhow::Result<()> {
    let headings = [
        "model",
        "",
        ">params M",
        ">GMACs",
        ">input",
        ">top-1",
        ">top-5",
        ">at",
        "weights",
    ];
    let mut table = Table::new(&headings);
    for card in cards {
        let best = best(card);
        let figure =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        let state = match (
            &card.weights.embedded,
            model::downloaded(&card.weights, hub),
        ) {
            (Some(_), _) => "in the program",
            (None, Some(_)) => "cached",
            (None, None) => "",
        };
        table.row(vec![
            card.name.to_string(),
            if is_default(card, zoo) { "*" } else { "" }.into(),
            figure(Some(card.params as f64 / 1e6)),
            figure(card.gmacs),
            card.input.size[0].to_string(),
            figure(best.map(|best| best.top1)),
            figure(best.map(|best| best.top5)),
            best.map_or_else(|| "-".into(), |best| best.size[0].to_string()),
            state.into(),
        ]);
    }
    Ok(table.print(results)?)
}
