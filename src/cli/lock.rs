//! `senet lock`: the files in the cache, written down to the byte.

use std::path::PathBuf;

use clap::Args;

use super::output::{Messages, Results};
use super::{SUCCESS, session};
use crate::error::Error;
use crate::hub::Lockfile;
use crate::store;

/// Write down commit, size and SHA-256 of the cached checkpoints, for --locked
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  senet lock senet.lock\n  \
    senet classify photo.jpg --locked senet.lock\n\n\
    Every checkpoint in the cache is hashed and listed, and nothing else is accepted with --locked.")]
pub(super) struct Arguments {
    /// The lock file, TOML
    #[arg(value_name = "FILE", default_value = "senet.lock")]
    file: PathBuf,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let hub = session::hub_options(true)?;
    let lock = Lockfile {
        path: arguments.file.clone(),
        files: store::lock(&hub)?,
    };
    if lock.files.is_empty() {
        messages.note("no checkpoint is in the cache: the lock file admits nothing");
    }
    lock.write().map_err(Error::from)?;
    results.line(format!(
        "files listed in {}: {}",
        arguments.file.display(),
        lock.files.len()
    ))?;
    Ok(SUCCESS)
}
