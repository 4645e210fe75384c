//! `senet list`: the known checkpoints and architectures.

mod architectures;
mod checkpoints;
mod choice;

use clap::{Args, ValueEnum};

use self::choice::Choice;
use super::format::FormatArgs;
use super::output::Results;
use super::{SUCCESS, session};

/// List the known checkpoints, with size and published accuracy
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  senet list\n  senet list resnext\n  \
    senet list --max-params 10M --sort top1\n  senet list --license permissive --json\n  \
    senet list --architectures\n\n\
    The accuracy is the best published one, at the input size in column `at`, on ImageNet-1k unless the \
    last column names other classes; `senet info MODEL` prints all of them with their sources. An asterisk \
    marks the default checkpoint of an architecture. A licence is shown if it is not permissive.")]
pub(super) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// List architectures instead, including those without published weights (for your own weights)
    #[arg(long, conflicts_with_all = ["license", "sort"])]
    architectures: bool,
    /// Sort all checkpoints by accuracy, parameters or multiply-accumulates, the best first, instead of
    /// grouping them by family
    #[arg(long, value_name = "BY")]
    sort: Option<Sort>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Highest published top-1 accuracy first; those on other classes than ImageNet-1k's last
    Top1,
    /// Fewest parameters first
    Params,
    /// Fewest multiply-accumulates first
    Macs,
}

pub(super) fn run(arguments: &Arguments, results: &mut Results) -> anyhow::Result<u8> {
    if arguments.architectures {
        architectures::list(&arguments.choice, &arguments.format, results)?;
    } else {
        let hub = session::hub_options(true)?;
        let mut cards = arguments.choice.checkpoints()?;
        checkpoints::sort(&mut cards, arguments.sort);
        let grouped = arguments.sort.is_none();
        checkpoints::list(&cards, grouped, &arguments.format, &hub, results)?;
    }
    Ok(SUCCESS)
}
