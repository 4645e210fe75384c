//! `senet download`: fetches weights into the cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::bail;
use clap::Args;
use serde::{Serialize, Serializer};

use super::args::HubArgs;
use super::format::{FormatArgs, Row, cell};
use super::output::{Messages, Results, Table, human_bytes};
use super::rows::RowError;
use super::session;
use super::transfers::Transfers;
use super::{NOTHING_DONE, SOME_FAILED, SUCCESS};
use crate::error::Error;
use crate::hub::HubOptions;
use crate::quote::path_bytes;
use crate::store;
use crate::zoo::{ModelSpec, Overrides, WeightsRef, WeightsSource, Zoo, squash};

/// Parallel downloads: enough to fill most connections, few enough for any server.
const PARALLEL: usize = 4;

/// Download weights into the Hugging Face cache and print their paths
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  senet download se-resnet50\n  senet download senet154 seresnext50_32x4d.racm_in1k\n  \
    senet download --filter seresnext --dry-run\n  \
    senet download hf-hub:timm/seresnet50.a1_in1k@main\n\n\
    The cache is shared with Python's huggingface_hub: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME or \
    ~/.cache/huggingface/hub. Cached files are not downloaded again, and interrupted downloads are \
    resumed. These variables are respected: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, \
    HF_HUB_DOWNLOAD_TIMEOUT, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, \
    REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.\n\n\
    Exit codes: 0 all models downloaded or cached, 1 some failed, 2 all failed, 130 interrupted."
)]
pub(super) struct Arguments {
    /// Checkpoints, architectures, families or hf-hub:ORG/REPO[@REVISION]
    #[arg(value_name = "MODEL", required_unless_present_any = ["all", "filter"])]
    models: Vec<String>,
    /// Download every checkpoint of `senet list`
    #[arg(long, conflicts_with_all = ["models", "filter"])]
    all: bool,
    /// Download the checkpoints of `senet list TEXT`
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print sizes without downloading
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// A model and its weights file; with `--dry-run`, one that is not downloaded yet.
#[derive(Debug, Serialize)]
struct DownloadRow {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// Absent if there is no file yet.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy")]
    path: Option<PathBuf>,
    /// In base64, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    /// Length in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl DownloadRow {
    fn failed(name: &str, error: &anyhow::Error) -> Self {
        let text = match error.downcast_ref::<Error>() {
            Some(error) => RowError::from(error).text,
            None => error.to_string(),
        };
        Self {
            model: name.to_owned(),
            state: None,
            path: None,
            path_bytes: None,
            size: None,
            error: Some(text),
        }
    }
}

impl Row for DownloadRow {
    const COLUMNS: &'static [&'static str] = &["model", "state", "path", "size", "error"];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.model),
            cell(self.state),
            self.path.clone().unwrap_or_default().into(),
            cell(self.size),
            cell(&self.error),
        ]]
    }
}

fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    let path = path.as_deref().unwrap_or(Path::new(""));
    serializer.collect_str(&path.display())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Built into the program.
    Embedded,
    /// A file outside the cache.
    Local,
    /// In the cache already.
    Cached,
    Downloaded,
    /// Only with `--dry-run`.
    ToDownload,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let hub = session::hub_from(&arguments.hub)?;
    let names = names(arguments)?;
    session::exit_on_interrupt()?;
    let transfers = Transfers::new(messages);
    let mut rows = arguments.format.rows::<DownloadRow>(results)?;
    let mut plan = Table::new(&["model", ">size", "state"]);
    // An alias is shorter than the name of its checkpoint.
    plan.reserve(0, names.iter().map(String::len).max().unwrap_or(0).max(28));
    plan.reserve(1, "999.9 MB".len());
    let mut total = 0;
    let mut failed = 0;
    let job = |name: &str| download(name, arguments, &hub, messages, &transfers);
    in_parallel(&names, job, |name, outcome| {
        let row = match outcome {
            Ok(row) => row,
            Err(error) => {
                failed += 1;
                transfers.suspend(|| super::report(&error));
                DownloadRow::failed(name, &error)
            }
        };
        let print = |results: &mut Results| {
            if row.error.is_some() {
                return Ok(());
            }
            if !arguments.dry_run {
                return Ok(results.line(place(&row))?);
            }
            if row.state == Some(State::ToDownload) {
                total += row.size.unwrap_or(0);
            }
            plan.row(plan_cells(&row));
            Ok(plan.print(results)?)
        };
        transfers.suspend(|| rows.write(&row, print))
    })?;
    if arguments.dry_run {
        let line = format!("{} to download", human_bytes(total));
        rows.text(|results| Ok(results.line(line)?))?;
    }
    Ok(match failed {
        0 => SUCCESS,
        _ if failed == names.len() => NOTHING_DONE,
        _ => SOME_FAILED,
    })
}

/// The names of all models to download, without duplicates.
fn names(arguments: &Arguments) -> anyhow::Result<Vec<String>> {
    let zoo = Zoo::builtin();
    let all = || zoo.names().map(ToString::to_string);
    let mut names: Vec<String> = Vec::new();
    let mut push = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    arguments.models.iter().cloned().for_each(&mut push);
    if arguments.all {
        all().for_each(&mut push);
    }
    if let Some(filter) = &arguments.filter {
        let wanted = squash(filter);
        all()
            .filter(|name| squash(name).contains(&wanted))
            .for_each(&mut push);
        if names.len() == arguments.models.len() {
            bail!("no checkpoint's name contains `{filter}` (`senet list` shows all)");
        }
    }
    Ok(names)
}

/// Runs `job` for a few names at a time, and `finish` in this thread in the order of the names.
fn in_parallel<T: Send>(
    names: &[String],
    job: impl Fn(&str) -> T + Sync,
    mut finish: impl FnMut(&str, T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(names.len()) {
            let sender = sender.clone();
            let (next, job) = (&next, &job);
            scope.spawn(move || {
                loop {
                    // Relaxed: each index is given once; results go through the channel.
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(index) else {
                        return;
                    };
                    if sender.send((index, job(name))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early: Vec<Option<T>> = names.iter().map(|_| None).collect();
        let mut shown = 0;
        for (index, done) in receiver {
            early[index] = Some(done);
            while let Some(done) = early.get_mut(shown).and_then(Option::take) {
                finish(&names[shown], done)?;
                shown += 1;
            }
        }
        Ok(())
    })
}

fn download(
    name: &str,
    arguments: &Arguments,
    hub: &HubOptions,
    messages: Messages,
    transfers: &Transfers,
) -> anyhow::Result<DownloadRow> {
    let from = &arguments.hub.source;
    let spec = session::find_at(name, from, &Overrides::ALL, hub, messages)?;
    let row = |state, path: Option<PathBuf>, size| DownloadRow {
        model: spec.name.clone(),
        state: Some(state),
        path_bytes: path.as_deref().and_then(path_bytes),
        path,
        size,
        error: None,
    };
    let WeightsSource::Reference(reference) = &spec.weights else {
        let path = store::local_weights(&spec)?;
        let size = path.as_deref().and_then(store::length_of);
        return Ok(row(State::Local, path, size));
    };
    if reference.embedded.is_some() {
        transfers.note(format!(
            "{} is built in: there is nothing to download",
            spec.name
        ));
        return Ok(row(State::Embedded, None, None));
    }
    let before = store::find(reference, hub);
    if arguments.dry_run {
        return Ok(match before {
            Some(path) => row(State::Cached, Some(path.clone()), store::length_of(&path)),
            None => row(State::ToDownload, None, remote_size(&spec, reference, hub)?),
        });
    }
    let path = store::ensure(reference, Some(&spec), hub, &transfers.progress(&spec.name))?;
    let state = if before.as_ref() == Some(&path) {
        State::Cached
    } else {
        State::Downloaded
    };
    let size = store::length_of(&path);
    Ok(row(state, Some(path), size))
}

fn remote_size(
    spec: &ModelSpec,
    reference: &WeightsRef,
    hub: &HubOptions,
) -> anyhow::Result<Option<u64>> {
    let transfers = Transfers::new(Messages { quiet: true });
    let progress = transfers.progress(&spec.name);
    Ok(store::size(reference, hub, &progress)?)
}

fn place(row: &DownloadRow) -> String {
    match &row.path {
        Some(path) => path.display().to_string(),
        None => format!("embedded:{}", row.model),
    }
}

/// A line of `--dry-run`.
fn plan_cells(row: &DownloadRow) -> Vec<String> {
    let state = match row.state {
        Some(State::Embedded) => "built in",
        Some(State::Local) => "local",
        Some(State::Cached) => "cached",
        _ => "to download",
    };
    let size = row.size.map_or_else(|| "-".to_owned(), human_bytes);
    vec![row.model.clone(), size, state.to_owned()]
}
