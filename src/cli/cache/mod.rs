//! `senet cache`: lists, checks and deletes downloaded checkpoints.

mod verify;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::args::SourceArgs;
use crate::cli::format::{FormatArgs, Row, cell};
use crate::cli::output::{Messages, Results, Table, human_bytes};
use crate::cli::{SOME_FAILED, SUCCESS, session};
use crate::error::Error;
use crate::hub::{HubError, HubOptions};
use crate::quote::path_bytes;
use crate::store::{self, CachedRelease, CachedRepo, Reclaimable, ReclaimableKind, Removal};
use crate::zoo::{Overrides, WeightsSource};

const DAY: u64 = 24 * 60 * 60;

/// List, check and delete downloaded checkpoints
///
/// The Hugging Face cache is shared with other programs. Their models are not touched unless you name
/// them as hf-hub:ORG/REPO.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Subcommand, Debug)]
enum CacheCommand {
    /// List cached repositories and release files with size and last use
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Print the path of the cache, or of a model's weights file
    Path {
        /// Model whose weights file path to print [default: print the path of the cache]
        #[arg(value_name = "MODEL")]
        model: Option<String>,
    },
    /// Compare cached files with their hashes
    Verify {
        /// Models to check [default: all]
        #[arg(value_name = "MODEL")]
        models: Vec<String>,
        /// Download damaged and missing files again
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        format: FormatArgs,
        /// Never access the network (the default without --repair)
        #[arg(long, conflicts_with = "repair")]
        offline: bool,
        /// URL of the hub or a mirror [default: HF_ENDPOINT or https://huggingface.co]
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
    },
    /// Delete models from the cache
    ///
    /// Deletes only files that the cache created. Links to other places, their targets and foreign
    /// files are kept and reported, and the exit code is 1.
    Remove {
        /// Models to delete
        #[arg(value_name = "MODEL", required = true)]
        models: Vec<String>,
        #[command(flatten)]
        deletion: Deletion,
    },
    /// Delete unused files: partial downloads, unreferenced commits and file contents
    ///
    /// A commit is unreferenced if no branch or tag in the cache points to it and no known checkpoint
    /// is pinned to it. As with `hf cache prune`, this includes files downloaded by commit
    /// (`--revision COMMIT`, `hf-hub:ORG/REPO@COMMIT`).
    Prune {
        #[command(flatten)]
        deletion: Deletion,
    },
}

#[derive(Args, Debug)]
struct Deletion {
    /// Print what would be deleted, without deleting it
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
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
        CacheCommand::List { format } => list(format, &options()?, results),
        CacheCommand::Path { model } => path(model.as_deref(), &options()?, messages, results),
        CacheCommand::Verify {
            models,
            repair,
            format,
            offline,
            endpoint,
        } => {
            let source = SourceArgs {
                endpoint: endpoint.clone(),
                ..SourceArgs::default()
            };
            let hub = session::source(session::hub_options(*offline)?, &source)?;
            verify::run(models, *repair, format, &hub, messages, results)
        }
        CacheCommand::Remove { models, deletion } => {
            remove(models, deletion, &options()?, messages, results)
        }
        CacheCommand::Prune { deletion } => prune(deletion, &options()?, messages, results),
    }
}

#[derive(Serialize)]
struct CacheRow {
    name: String,
    /// Bytes.
    size: u64,
    /// Seconds since 1970.
    last_used: Option<u64>,
    path: String,
    /// In base64, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(skip)]
    raw_path: PathBuf,
}

impl Row for CacheRow {
    const COLUMNS: &'static [&'static str] = &["name", "size", "last_used", "path"];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.name),
            cell(self.size),
            cell(self.last_used),
            self.raw_path.clone().into(),
        ]]
    }
}

fn list(format: &FormatArgs, hub: &HubOptions, results: &mut Results) -> anyhow::Result<u8> {
    let seconds = |time: Option<SystemTime>| {
        Some(time?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
    };
    let mut entries: Vec<CacheRow> = store::list(hub)?
        .into_iter()
        .map(|repo| CacheRow {
            size: repo.size(),
            last_used: seconds(repo.used()),
            name: repo.repo,
            path_bytes: path_bytes(&repo.folder),
            path: repo.folder.display().to_string(),
            raw_path: repo.folder,
        })
        .collect();
    let releases = store::list_releases(hub)?.into_iter();
    entries.extend(releases.map(|CachedRelease { file, .. }| CacheRow {
        size: file.size.unwrap_or(0),
        last_used: seconds(file.used),
        name: file.name,
        path_bytes: path_bytes(&file.path),
        path: file.path.display().to_string(),
        raw_path: file.path,
    }));
    let now = seconds(Some(SystemTime::now())).unwrap_or(0);
    let mut rows = format.rows::<CacheRow>(results)?;
    let mut table = Table::new(&["name", ">size", "last read"]);
    for entry in &entries {
        let age = entry.last_used.map(|used| now.saturating_sub(used) / DAY);
        let age = match age {
            None => "-".to_owned(),
            Some(0) => "today".to_owned(),
            Some(1) => "yesterday".to_owned(),
            Some(days) => format!("{days} days ago"),
        };
        rows.write(entry, |_| {
            table.row(vec![entry.name.clone(), human_bytes(entry.size), age]);
            Ok(())
        })?;
    }
    rows.text(|results| {
        table.print(results)?;
        let total = entries.iter().map(|entry| entry.size).sum();
        Ok(results.line(format!("{} in total", human_bytes(total)))?)
    })?;
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
    let spec = session::find(model, &Overrides::ALL, hub, messages)?;
    let path = match (&spec.weights, store::local_weights(&spec)?) {
        (WeightsSource::Reference(reference), _) if reference.embedded.is_some() => {
            bail!("{} is built in: it has no file", spec.name)
        }
        (WeightsSource::Reference(reference), _) => {
            store::ensure(reference, Some(&spec), hub, &())?
        }
        (_, path) => path.unwrap_or_default(),
    };
    results.line(path.display().to_string())?;
    Ok(SUCCESS)
}

/// The contents of the caches, limited to `models` if there are any. A model that is not cached is an
/// error.
fn of_models(
    models: &[String],
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<(Vec<CachedRepo>, Vec<CachedRelease>)> {
    let mut releases = store::list_releases(hub)?;
    if models.is_empty() {
        return Ok((store::list(hub)?, releases));
    }
    let mut repos = store::scan(hub).map_err(Error::from)?;
    let (mut wanted, mut urls) = (BTreeSet::new(), BTreeSet::new());
    for name in models {
        let (name, repo, url) = sources(name, hub, messages)?;
        let is_repo = |entry: &CachedRepo| Some(&entry.repo) == repo.as_ref();
        let is_release = |entry: &CachedRelease| url.is_some() && entry.url == url;
        if !repos.iter().any(is_repo) && !releases.iter().any(is_release) {
            bail!("{name} is not in the cache");
        }
        wanted.extend(repo);
        urls.extend(url);
    }
    repos.retain(|entry| wanted.contains(&entry.repo));
    releases.retain(|entry| entry.url.as_ref().is_some_and(|url| urls.contains(url)));
    Ok((repos, releases))
}

/// A model's full name, its repository and its release file. The contents of the repository are not
/// read: they may be damaged.
fn sources(
    name: &str,
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<(String, Option<String>, Option<String>)> {
    if let Some((repo, _)) = store::named_repository(name) {
        return Ok((name.to_owned(), Some(repo), None));
    }
    let spec = session::find(name, &Overrides::ALL, hub, messages)?;
    let (repo, release) = match spec.weights {
        WeightsSource::Reference(reference) => (reference.repo, reference.release),
        WeightsSource::File(_) | WeightsSource::Directory(_) => (None, None),
    };
    Ok((spec.name, repo, release))
}

fn remove(
    models: &[String],
    deletion: &Deletion,
    hub: &HubOptions,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let (repos, releases) = of_models(models, hub, messages)?;
    let of_repos = repos.iter().map(|repo| (repo.removal(), &repo.folder));
    let of_releases = releases
        .iter()
        .map(|CachedRelease { file, .. }| (store::release_removal(file, hub), &file.path));
    let mut total = 0;
    for (removal, path) in of_repos.chain(of_releases) {
        let removal = removal.map_err(Error::from)?;
        total += removal.size;
        results.line(format!("{}  {}", human_bytes(removal.size), path.display()))?;
        if deletion.dry_run {
            for left in &removal.left {
                messages.note(format!("would be kept: {left}"));
            }
        }
    }
    if !confirm(deletion, total, results)? {
        return Ok(SUCCESS);
    }
    let releases = releases
        .iter()
        .map(|release| store::remove_release(&release.file, hub));
    let repos = repos.iter().map(CachedRepo::remove);
    Ok(exit_code(repos.chain(releases), messages))
}

fn prune(
    deletion: &Deletion,
    hub: &HubOptions,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let keep = store::pinned_commits();
    let mut of_repos: Vec<(CachedRepo, Vec<Reclaimable>)> = Vec::new();
    for repo in store::list(hub)? {
        let items = repo.reclaimable(&keep).map_err(Error::from)?;
        of_repos.push((repo, items));
    }
    let of_releases = store::reclaimable_releases(hub).map_err(Error::from)?;
    let items = || {
        of_repos
            .iter()
            .flat_map(|(_, items)| items)
            .chain(&of_releases)
    };
    for item in items() {
        let kind = match item.kind {
            ReclaimableKind::Partial => "partial download",
            ReclaimableKind::Contents => "unreferenced contents",
            ReclaimableKind::Revision => "unreferenced commit",
        };
        let size = human_bytes(item.size);
        results.line(format!("{size}  {kind}  {}", item.path.display()))?;
    }
    if items().next().is_none() {
        results.line("nothing to delete")?;
        return Ok(SUCCESS);
    }
    if !confirm(deletion, items().map(|item| item.size).sum(), results)? {
        return Ok(SUCCESS);
    }
    let repos = of_repos
        .iter()
        .map(|(repo, items)| repo.clear(items, &keep));
    let releases = store::clear_releases(&of_releases, hub);
    Ok(exit_code(repos.chain([releases]), messages))
}

/// Reports what could not be deleted and what was kept.
fn exit_code(outcomes: impl Iterator<Item = Result<Removal, HubError>>, messages: Messages) -> u8 {
    let mut code = SUCCESS;
    for outcome in outcomes {
        match outcome {
            Ok(removal) => {
                for left in removal.left {
                    messages.failure(format!("kept: {left}"));
                    code = SOME_FAILED;
                }
            }
            Err(error) => {
                crate::cli::report(&Error::from(error).into());
                code = SOME_FAILED;
            }
        }
    }
    code
}

/// Whether to delete what was listed: with `--yes`, or after asking.
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
        bail!("nothing was deleted: confirm with `--yes` where there is no terminal");
    }
    write!(io::stderr(), "Delete {}? [y/N] ", human_bytes(size))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
