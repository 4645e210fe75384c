//! `senet compare`: two models picture by picture.

use std::path::PathBuf;

use clap::Args;

use super::SUCCESS;
use super::output::Results;
use crate::error::Error;
use crate::eval::Pair;

/// Compare two models picture by picture, by their results on one data set
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
        senet eval imagenet/val -m senet154 -m se-resnet50 --results runs/\n  \
        senet compare runs/senet154.jsonl runs/se-resnet50.jsonl")]
pub(super) struct Arguments {
    /// What `senet eval --results` wrote for one model
    #[arg(value_name = "FIRST")]
    first: PathBuf,
    /// And for the other
    #[arg(value_name = "SECOND")]
    second: PathBuf,
    /// One JSON object, with every picture that one alone has right
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, results: &mut Results) -> anyhow::Result<u8> {
    let pair = Pair::open(&arguments.first, &arguments.second).map_err(Error::from)?;
    super::eval::print_pair(&pair, arguments.json, results)?;
    Ok(SUCCESS)
}
