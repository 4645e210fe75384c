//! Downloads from a hub on 127.0.0.1: what ends up in the cache, and the errors when they fail.

mod archive;
mod cache;
mod clear;
#[cfg(unix)]
mod damaged;
mod failures;
mod fit;
mod image;
mod locked;
mod proxy;
mod release;
mod resume;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::hub_server::{HubServer, Mode, sha256};
use senet::hub::{HubError, HubOptions, Progress, ensure, find};
use senet::store;
use senet::zoo::WeightsRef;

const REPO: &str = "timm/seresnet50.ra2_in1k";
const FILE: &str = "model.safetensors";
const TOKEN: &str = "hf_verysecret";

/// Long enough for several reads.
fn weights() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * 31 % 251) as u8).collect()
}

struct Setup {
    server: HubServer,
    folder: tempfile::TempDir,
    options: HubOptions,
}

fn setup() -> Setup {
    let server = HubServer::start(&[
        (REPO, FILE, &weights()),
        (REPO, "config.json", b"{}"),
        (REPO, "deep folder/part 1.bin", b"one"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let mut options = HubOptions::default();
    options.cache = folder.path().join("hub");
    options.own_cache = folder.path().join("senet");
    server.url().clone_into(&mut options.endpoint);
    options.patience.silence = Duration::from_secs(5);
    options.patience.attempts = 3;
    options.patience.delay = Duration::from_millis(5);
    options.patience.image = Duration::from_secs(5);
    Setup {
        server,
        folder,
        options,
    }
}

impl Setup {
    fn fetch(&self) -> Result<PathBuf, HubError> {
        ensure(REPO, "main", FILE, &self.options, &())
    }

    /// The error in this mode, after a check that it left nothing behind.
    fn fail(&self, mode: Mode) -> HubError {
        self.server.set(mode);
        let error = self.fetch().expect_err(&format!("{mode:?} succeeded"));
        let others: Vec<PathBuf> = files_in(self.folder.path())
            .into_iter()
            .filter(|path| !path.ends_with(incomplete()))
            .collect();
        assert_eq!(others, Vec::<PathBuf>::new(), "{mode:?} left files");
        assert_eq!(find(REPO, "main", FILE, &self.options), None);
        self.server.set(Mode::Direct);
        let path = self
            .fetch()
            .unwrap_or_else(|error| panic!("after {mode:?}: {error}"));
        assert_eq!(fs::read(path).unwrap(), weights(), "after {mode:?}");
        fs::remove_dir_all(&self.options.cache).unwrap();
        error
    }
}

/// The file of a card's `[weights]`, downloaded if it is not in the cache.
fn download(
    weights: &WeightsRef,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    store::ensure(weights, None, options, progress).map_err(|error| match error {
        senet::Error::Hub(error) => error,
        other => panic!("{other:?}"),
    })
}

/// The temporary file of an interrupted download.
fn incomplete() -> String {
    format!("{}.incomplete", sha256(&weights()))
}

/// Everything but directories and empty lock files, relative to `folder`.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry
                .path()
                .extension()
                .is_none_or(|ending| ending != "lock")
            {
                found.push(entry.path().strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The message with its causes, as the program prints it.
fn chain(error: &HubError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text + &error
        .hint()
        .map(|hint| format!(" [{hint}]"))
        .unwrap_or_default()
}
