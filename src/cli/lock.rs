//! `senet lock`: writes a lockfile of the cached checkpoints.

use std::path::PathBuf;

use clap::Args;

use super::output::{Messages, Results};
use super::{SUCCESS, session};
use crate::error::Error;
use crate::hub::Lockfile;
use crate::store;

/// Write a lockfile with commit, size and SHA-256 of the cached checkpoints
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  senet lock senet.lock\n  \
    senet classify photo.jpg --locked senet.lock\n\n\
    With --locked, commands accept only the files listed in the lockfile.")]
pub(super) struct Arguments {
    /// Lockfile to write (TOML)
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
        messages.note("no checkpoint is cached: with this lockfile, no model is accepted");
    }
    lock.write().map_err(Error::from)?;
    results.line(format!(
        "files listed in {}: {}",
        arguments.file.display(),
        lock.files.len()
    ))?;
    Ok(SUCCESS)
}
