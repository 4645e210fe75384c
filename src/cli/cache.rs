//! `senet cache`: what the checkpoints take on the disk, whether it is whole, and deleting it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::args::HubArgs;
use super::output::{Messages, Results, Table, human_bytes};
use super::transfers::Transfers;
use super::{SOME_FAILED, SUCCESS, session};
use crate::cards::WeightsSource;
use crate::error::Error;
use crate::hub::{self, CachedRepo, Condition, HubOptions, WasteKind};
use crate::model;

const DAY: u64 = 24 * 60 * 60;

/// Show, check and clear what is downloaded
///
/// The Hugging Face cache is shared with other programs; their models are left alone.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Subcommand, Debug)]
enum CacheCommand {
    /// Repositories and release files with their sizes, and when they were last read
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print the cache's folder, or where a model's file is
    Path {
        #[arg(value_name = "MODEL")]
        model: Option<String>,
    },
    /// Read everything and compare it with its hash
    Verify {
        /// Models to check [default: all]
        #[arg(value_name = "MODEL")]
        models: Vec<String>,
        /// Download again what is not right
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Delete models from the cache
    Remove {
        #[arg(value_name = "MODEL", required = true)]
        models: Vec<String>,
        #[command(flatten)]
        deletion: Deletion,
    },
    /// Delete what nothing uses: interrupted downloads, superseded commits, contents without a name
    Prune {
        #[command(flatten)]
        deletion: Deletion,
    },
}

#[derive(Args, Debug)]
struct Deletion {
    /// Say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Delete without asking
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let options = || session::hub_options(true);
    match &arguments.command {
        CacheCommand::List { json } => list(*json, &options()?, results),
        CacheCommand::Path { model } => path(model.as_deref(), &options()?, messages, results),
        CacheCommand::Verify {
            models,
            repair,
            hub,
        } => verify(models, *repair, &session::hub_from(hub)?, messages, results),
        CacheCommand::Remove { models, deletion } => {
            remove(models, deletion, &options()?, messages, results)
        }
        CacheCommand::Prune { deletion } => prune(deletion, &options()?, results),
    }
}

#[derive(Serialize)]
struct Entry {
    name: String,
    /// Bytes.
    size: u64,
    /// Seconds since 1970.
    last_used: Option<u64>,
    path: PathBuf,
}

fn list(json: bool, hub: &HubOptions, results: &mut Results) -> anyhow::Result<u8> {
    let seconds = |time: Option<SystemTime>| {
        Some(time?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
    };
    let mut entries: Vec<Entry> = model::cached(hub)?
        .into_iter()
        .map(|repo| Entry {
            size: repo.size(),
            last_used: seconds(repo.used()),
            name: repo.repo,
            path: repo.folder,
        })
        .collect();
    let releases = hub::scan_releases(hub).map_err(Error::from)?;
    entries.extend(releases.into_iter().map(|file| Entry {
        size: file.size.unwrap_or(0),
        last_used: seconds(file.used),
        name: file.name,
        path: file.path,
    }));
    if json {
        entries.iter().try_for_each(|entry| results.json(entry))?;
        return Ok(SUCCESS);
    }
    let now = seconds(Some(SystemTime::now())).unwrap_or(0);
    let mut table = Table::new(&["name", ">size", "last read"]);
    for entry in &entries {
        let age = entry.last_used.map(|used| now.saturating_sub(used) / DAY);
        table.row(vec![
            entry.name.clone(),
            human_bytes(entry.size),
            match age {
                None => "-".to_owned(),
                Some(0) => "today".to_owned(),
                Some(1) => "yesterday".to_owned(),
                Some(days) => format!("{days} days ago"),
            },
        ]);
    }
    table.print(results)?;
    let total = entries.iter().map(|entry| entry.size).sum();
    results.line(format!("{} in all", human_bytes(total)))?;
    Ok(SUCCESS)
}

fn path(
    model: Option<&str>,
    hub: &HubOptions,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let Some(model) = model else {
        results.line(hub.cache.display().to_string())?;
        return Ok(SUCCESS);
    };
    let spec = session::find(model, hub, messages)?;
    let path = match &spec.weights {
        WeightsSource::File(path) => path.clone(),
        WeightsSource::Reference(reference) if reference.embedded.is_some() => {
            bail!("{} is part of the program: it has no file", spec.name)
        }
        WeightsSource::Reference(reference) => model::fetch(reference, hub, &())?,
    };
    results.line(path.display().to_string())?;
    Ok(SUCCESS)
}

/// The repositories that models come from. A name that is not in the cache is an error.
fn of_models(
    models: &[String],
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<Vec<CachedRepo>> {
    let cached = model::cached(hub)?;
    if models.is_empty() {
        return Ok(cached);
    }
    let mut wanted = Vec::new();
    for name in models {
        let spec = session::find(name, hub, messages)?;
        let repo = match &spec.weights {
            WeightsSource::Reference(reference) => reference.repo.clone(),
            WeightsSource::File(_) => None,
        };
        match cached
            .iter()
            .find(|entry| Some(&entry.repo) == repo.as_ref())
        {
            Some(entry) => wanted.push(entry.clone()),
            None => bail!("{} is not in the cache", spec.name),
        }
    }
    Ok(wanted)
}

fn verify(
    models: &[String],
    repair: bool,
    hub: &HubOptions,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let transfers = Transfers::new(messages);
    let mut bad = 0;
    let mut good = 0;
    for repo in of_models(models, hub, messages)? {
        for revision in &repo.revisions {
            for file in &revision.files {
                let condition = repo.check(file).map_err(Error::from)?;
                let name = format!("{}@{} {}", repo.repo, revision.commit, file.name);
                let Some(problem) = describe(&condition) else {
                    good += 1;
                    continue;
                };
                results.line(format!("{name}: {problem}"))?;
                if condition == Condition::Unknown {
                    continue;
                }
                if !repair {
                    bad += 1;
                    continue;
                }
                repo.discard(file).map_err(Error::from)?;
                let progress = transfers.progress(&repo.repo);
                match hub::fetch(&repo.repo, &revision.commit, &file.name, hub, &progress) {
                    Ok(_) => {
                        good += 1;
                        results.line(format!("{name}: downloaded again"))?;
                    }
                    Err(error) => {
                        bad += 1;
                        super::report(&Error::from(error).into());
                    }
                }
            }
        }
    }
    let releases = hub::scan_releases(hub).map_err(Error::from)?;
    for file in releases.iter().filter(|_| models.is_empty()) {
        let condition = hub::check_release(file).map_err(Error::from)?;
        match describe(&condition) {
            None => good += 1,
            Some(problem) => {
                bad += 1;
                results.line(format!("{}: {problem}", file.name))?;
            }
        }
    }
    results.line(format!("files that are right: {good}, that are not: {bad}"))?;
    Ok(if bad == 0 { SUCCESS } else { SOME_FAILED })
}

fn describe(condition: &Condition) -> Option<String> {
    match condition {
        Condition::Good => None,
        Condition::Bad { expected, found } => {
            Some(format!("expected the hash {expected}, found {found}"))
        }
        Condition::Missing => Some("the contents are missing".to_owned()),
        Condition::Unknown => Some("it has no hash to compare with".to_owned()),
    }
}

fn remove(
    models: &[String],
    deletion: &Deletion,
    hub: &HubOptions,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let repos = of_models(models, hub, messages)?;
    for repo in &repos {
        results.line(format!(
            "{}  {}",
            human_bytes(repo.size()),
            repo.folder.display()
        ))?;
    }
    if confirm(deletion, repos.iter().map(CachedRepo::size).sum(), results)? {
        for repo in &repos {
            repo.remove().map_err(Error::from)?;
        }
    }
    Ok(SUCCESS)
}

fn prune(deletion: &Deletion, hub: &HubOptions, results: &mut Results) -> anyhow::Result<u8> {
    let keep = model::pinned_commits()?;
    let repos = model::cached(hub)?;
    let mut waste: Vec<_> = repos.iter().flat_map(|repo| repo.waste(&keep)).collect();
    waste.extend(hub::release_waste(hub).map_err(Error::from)?);
    for item in &waste {
        let kind = match item.kind {
            WasteKind::Partial => "interrupted download",
            WasteKind::Contents => "contents without a name",
            WasteKind::Revision => "superseded commit",
        };
        let size = human_bytes(item.size);
        results.line(format!("{size}  {kind}  {}", item.path.display()))?;
    }
    if waste.is_empty() {
        results.line("nothing to delete")?;
    } else if confirm(deletion, waste.iter().map(|item| item.size).sum(), results)? {
        for item in &waste {
            item.remove().map_err(Error::from)?;
        }
    }
    Ok(SUCCESS)
}

/// Whether to delete what was listed: `--yes`, or a person who says so.
fn confirm(deletion: &Deletion, size: u64, results: &mut Results) -> anyhow::Result<bool> {
    results.flush()?;
    if deletion.dry_run {
        results.line(format!("{} would be deleted", human_bytes(size)))?;
        return Ok(false);
    }
    if deletion.yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!("nothing was deleted: without a terminal to ask at, `--yes` is needed");
    }
    write!(io::stderr(), "Delete {}? [y/N] ", human_bytes(size))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
