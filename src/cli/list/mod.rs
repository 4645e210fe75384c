//! `senet list`: the known checkpoints and architectures.

mod architectures;
mod checkpoints;
mod choice;
mod measure;
mod pareto;
mod plot;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use self::choice::Choice;
use self::measure::Times;
use self::pareto::Cost;
use super::args::DeviceArgs;
use super::format::FormatArgs;
use super::output::{Messages, Results};
use super::{SUCCESS, session};

/// List the known checkpoints, with size and published accuracy
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  senet list\n  senet list resnext\n  \
    senet list --max-params 10M --sort top1\n  senet list --license permissive --json\n  \
    senet list --architectures\n  senet list --pareto --license permissive --svg pareto.svg\n  \
    senet list --pareto --measure --max-params 30M\n\n\
    The accuracy is the best published one, at the input size in column `at`, on ImageNet-1k unless the \
    last column names other classes; `senet info MODEL` prints all of them with their sources. An asterisk \
    marks the default checkpoint of an architecture. A licence is shown if it is not permissive.")]
pub(super) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// List architectures instead, including those without published weights (for your own weights)
    #[arg(long, conflicts_with_all = ["license", "sort", "pareto", "measure"])]
    architectures: bool,
    /// Sort all checkpoints, the best first, instead of grouping them by family
    #[arg(long, value_name = "BY")]
    sort: Option<Sort>,
    /// List only checkpoints that no other beats in accuracy at the same cost; the default cost is params, or
    /// speed with --measure. Every published accuracy on ImageNet-1k is compared, at its input size
    #[arg(long, value_name = "COST", num_args = 0..=1, require_equals = true, conflicts_with = "sort")]
    pareto: Option<Option<Cost>>,
    /// With --pareto: also draw accuracy by cost, as SVG
    #[arg(long, value_name = "FILE", requires = "pareto")]
    svg: Option<PathBuf>,
    /// Time every network on this machine, one image at a time, with random weights, as speed does not depend
    /// on the weights; Ctrl-C keeps what is timed
    #[arg(long)]
    measure: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten, next_help_heading = "Options for --measure")]
    device: DeviceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Highest published top-1 accuracy first; those on other classes than ImageNet-1k's last
    Top1,
    /// Fewest parameters first
    Params,
    /// Fewest multiply-accumulates first
    Macs,
    /// Fewest milliseconds for one image on this machine first; needs --measure
    Speed,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let Arguments { choice, format, .. } = arguments;
    if arguments.architectures {
        architectures::list(choice, format, results)?;
        return Ok(SUCCESS);
    }
    let cost = arguments
        .pareto
        .map(|cost| match (cost, arguments.measure) {
            (Some(cost), _) => cost,
            (None, true) => Cost::Speed,
            (None, false) => Cost::Params,
        });
    let by_speed = arguments.sort == Some(Sort::Speed) || cost == Some(Cost::Speed);
    if by_speed && !arguments.measure {
        bail!("speed is that of this machine: add `--measure`, which times the listed networks");
    }
    let mut cards = choice.checkpoints()?;
    let points = match cost {
        Some(_) => pareto::points(&cards),
        None => cards.iter().map(|card| (*card, card.input.size)).collect(),
    };
    let times = match arguments.measure {
        true => Times::measure(points, &arguments.device, messages)?,
        false => Times::default(),
    };
    if by_speed && !times.any() && times.code != SUCCESS {
        // Interrupted before the first, or all have failed: both are said, and there is nothing to compare.
        return Ok(times.code);
    }
    match cost {
        Some(cost) => {
            let svg = arguments.svg.as_deref();
            pareto::list(&cards, cost, &times, svg, format, messages, results)?;
        }
        None => {
            let hub = session::hub_options(true)?;
            checkpoints::sort(&mut cards, arguments.sort, &times);
            let grouped = arguments.sort.is_none();
            checkpoints::list(&cards, grouped, &times, format, &hub, results)?;
        }
    }
    Ok(times.code)
}
