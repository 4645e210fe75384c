//! Weights on the Hugging Face hub: the `[weights]` table of a card, the cache, the download.
//!
//! A file is taken from the cache, without a request, where it is there; else it is downloaded and
//! checked before it gets a name in the cache. `hf-hub` supplies the addresses, the folder layout
//! (which is Python's, so both share one cache), the token file and the list of a repository's
//! files; the transfer is done here.

mod answer;
mod authorities;
mod cache;
mod clear;
mod digest;
mod error;
mod excepted;
mod folder;
mod hashing;
mod header;
mod http;
mod location;
mod lock;
mod locked;
mod network;
mod options;
mod partial;
mod picture;
mod release;
mod remote;
mod scan;
mod sweep;
mod transfer;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use clear::{Waste, WasteKind, clear_releases, release_removal, release_waste, remove_release};
pub use error::{Denial, HubError};
pub use location::Location;
pub use locked::{LockFile, LockedFile};
pub use network::Network;
pub use options::{DEFAULT_ENDPOINT, HubOptions, Patience};
pub use picture::fetch_picture;
pub(crate) use release::release_name;
pub use scan::{
    CachedFile, CachedRepo, CachedRevision, Condition, check_release, fingerprint, scan,
    scan_releases,
};

pub use sweep::{Left, LeftKind, Removal};

use remote::RemoteFile;

/// What a file in the cache means that has the right name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Present {
    /// It is the file that is wanted.
    Counts,
    /// It is damaged.
    IsReplaced,
}

/// Where a checkpoint's weights are. At least one of `repo`, `release` and `embedded` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsRef {
    /// Hub repository, `organisation/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Commit (40 hexadecimal digits); the branch `main` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// File name inside the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SHA-256 of that file, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The authors' release file outside the hub. Its name has the first digits of its SHA-256; see
    /// [`release_digits`](crate::weights::release_digits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// File under `models/weights/` that is part of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
}

/// File that timm's repositories keep their weights in; meant where a card names no file.
pub const DEFAULT_FILE: &str = "model.safetensors";
/// Branch that is meant where a card names no revision.
pub const DEFAULT_REVISION: &str = "main";

/// Told how far a download has come, in the thread that downloads.
pub trait Progress {
    /// `done` of `total` bytes of `file` are here; `total` is `None` where the server does not say,
    /// until the end has come.
    /// The first call says what an earlier attempt left. A smaller `done` than before means another
    /// file, or that this one has to be sent again from its beginning.
    ///
    /// `file` is the name of the file that is being fetched: of the release file where that one
    /// stands in for the repository's.
    fn advance(&self, file: &str, done: u64, total: Option<u64>);

    /// Another process is downloading `file`: this one waits for it.
    fn wait(&self, _file: &str) {}

    /// The download of `file` failed with `error` and is tried again after `delay`.
    fn retry(&self, _file: &str, _error: &HubError, _delay: Duration) {}

    /// Something about the files that the user should know.
    fn note(&self, _text: &str) {}
}

/// Keeps silent.
impl Progress for () {
    fn advance(&self, _file: &str, _done: u64, _total: Option<u64>) {}
}

/// The file of a card's `[weights]` if it is on this machine; makes no request.
///
/// The repository's file comes first, then the release file.
pub fn downloaded(weights: &WeightsRef, options: &HubOptions) -> Option<PathBuf> {
    let from_hub = hub_cached(weights, options).map(|(_, path)| path);
    from_hub.or_else(|| release::cached(weights.release.as_deref()?, options))
}

fn hub_cached<'a>(
    weights: &'a WeightsRef,
    options: &HubOptions,
) -> Option<(RemoteFile<'a>, PathBuf)> {
    let (repo, revision, file) = hub_file(weights)?;
    let remote = RemoteFile::new(repo, revision, file, options).ok()?;
    let path = remote.cached()?;
    let pin = weights.sha256.as_deref();
    let is_it = pin.is_none_or(|pin| cache::admits(&path, pin));
    is_it.then_some((remote, path))
}

/// The file of a card's `[weights]`, downloaded if it is not on this machine.
///
/// Where the hub does not give the file and the card names a release file, that one is taken: the
/// file that the authors publish themselves, as a PyTorch pickle. Whether it holds the same numbers
/// as the repository's is said in the card's notes, as far as it is known. `progress` and the path
/// tell which of the two it is. If both fail, the hub's error is returned.
///
/// # Errors
/// [`HubError`]; [`HubError::NoRemote`] where the table has neither a repository nor a release.
pub fn download(
    weights: &WeightsRef,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    download_if(weights, options, progress, None)
}

/// Decides by the beginning of a safetensors file, up to the end of its header, whether it is wanted.
pub type Look<'a> = &'a dyn Fn(&[u8]) -> bool;

/// As [`download`], and before a safetensors file of some length is downloaded, `look` is asked. It is not
/// where the download has begun, and where the server does not send parts of files.
///
/// # Errors
/// As [`download`]; [`HubError::Unwanted`] if `look` says so.
pub fn download_if(
    weights: &WeightsRef,
    options: &HubOptions,
    progress: &dyn Progress,
    look: Option<Look<'_>>,
) -> Result<PathBuf, HubError> {
    if let Some((remote, path)) = hub_cached(weights, options) {
        return remote.admitted(path, options);
    }
    let release = weights.release.as_deref();
    let from_release = |url| release::fetch(url, Present::Counts, options, progress);
    let is_listed = |url: &&str| {
        let lock = options.locked.as_ref();
        lock.is_none_or(|lock| lock.find_release(url).is_some())
    };
    let is_here = |url: &&str| release::cached(url, options).is_some();
    if let Some(url) = release.filter(is_listed).filter(is_here) {
        return from_release(url);
    }
    let Some((repo, revision, file)) = hub_file(weights) else {
        return from_release(release.ok_or(HubError::NoRemote)?);
    };
    let remote = RemoteFile::new(repo, revision, file, options);
    let fetched =
        remote.and_then(|remote| remote.fetch(weights.sha256.as_deref(), look, options, progress));
    match (fetched, release) {
        (Err(error), Some(url)) if error.is_refusal() => from_release(url).map_err(|_| error),
        // A lock file that was written without the hub lists the release.
        (Err(HubError::NotLocked { .. }), Some(url)) if is_listed(&url) => from_release(url),
        (result, _) => result,
    }
}

/// Length in bytes of the file that [`download`] would get, as far as its server says. The file itself
/// is not asked for.
///
/// # Errors
/// As [`download`].
pub fn size(
    weights: &WeightsRef,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<Option<u64>, HubError> {
    let release = weights.release.as_deref();
    let Some((repo, revision, file)) = hub_file(weights) else {
        return release::size(release.ok_or(HubError::NoRemote)?, options);
    };
    let found = RemoteFile::new(repo, revision, file, options)?.size(options, progress);
    match (found, release) {
        (Err(error), Some(release)) if error.is_refusal() => {
            release::size(release, options).map_err(|_| error)
        }
        (result, _) => result,
    }
}

fn hub_file(weights: &WeightsRef) -> Option<(&str, &str, &str)> {
    Some((
        weights.repo.as_deref()?,
        weights.revision.as_deref().unwrap_or(DEFAULT_REVISION),
        weights.file.as_deref().unwrap_or(DEFAULT_FILE),
    ))
}

/// A file of a repository if it is in the cache; makes no request.
///
/// A branch stands for the commit that it was at when it was last downloaded.
pub fn cached(repo: &str, revision: &str, file: &str, options: &HubOptions) -> Option<PathBuf> {
    RemoteFile::new(repo, revision, file, options)
        .ok()?
        .cached()
}

/// Names of the files of a repository that may be used without asking the hub: those that the lock file
/// lists, or those in the cache. Files in folders of the repository are left out.
pub fn known_files(repo: &str, revision: &str, options: &HubOptions) -> Vec<String> {
    match &options.locked {
        Some(lock) => lock.names(repo, revision),
        None => RemoteFile::new(repo, revision, DEFAULT_FILE, options)
            .map_or_else(|_| Vec::new(), |remote| remote.cached_names()),
    }
}

/// A file of a repository, downloaded if it is not in the cache.
///
/// # Errors
/// [`HubError`]: it says whether the name, the access, the network, the server or the disk is at
/// fault. After an error the cache is as before, but for the beginning of the file, with which the next
/// call goes on.
pub fn fetch(
    repo: &str,
    revision: &str,
    file: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    RemoteFile::new(repo, revision, file, options)?.fetch(None, None, options, progress)
}

/// A file of a repository, downloaded whether it is in the cache or not. What is there stays until the
/// new file is whole and right.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_again(
    repo: &str,
    revision: &str,
    file: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    RemoteFile::new(repo, revision, file, options)?.fetch_again(options, progress)
}

/// A release file, downloaded whether it is there or not, as [`fetch_again`] does.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_release_again(
    url: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    release::fetch(url, Present::IsReplaced, options, progress)
}
