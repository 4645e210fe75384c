//! Weights on the Hugging Face hub: the `[weights]` table of a card, the cache, the download.
//!
//! A file is taken from the cache, without a request, where it is there; else it is downloaded and
//! checked before it gets a name in the cache. `hf-hub` supplies the addresses, the folder layout
//! (which is Python's, so both share one cache), the token file and the list of a repository's
//! files; the transfer is done here.

mod address;
mod answer;
mod authorities;
mod cache;
mod clear;
mod error;
mod file_lock;
mod files;
mod folder;
mod hashing;
mod header;
mod http;
mod location;
mod lockfile;
mod no_proxy;
mod options;
mod partial;
mod picture;
mod progress;
mod proxy;
mod release;
mod remote;
mod scan;
mod sweep;
mod transfer;

use std::path::PathBuf;

pub use clear::{Waste, WasteKind, clear_releases, release_removal, release_waste, remove_release};
pub use error::{Denial, HubError};
pub use location::Location;
pub use lockfile::{LockedFile, Lockfile};
pub use options::{DEFAULT_ENDPOINT, HubOptions, Patience};
pub use picture::fetch_picture;
pub use progress::Progress;
pub use proxy::Proxies;
pub(crate) use release::release_name;
pub use remote::Look;
pub use scan::{
    CachedFile, CachedRepo, CachedRevision, Condition, check_release, fingerprint, scan,
    scan_releases,
};

pub use sweep::{Left, LeftKind, Removal};

use crate::zoo::{DEFAULT_FILE, WeightsRef};
use remote::{Present, RemoteFile};

/// Branch that is meant where a card names no revision.
pub const DEFAULT_REVISION: &str = "main";

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
    let (repo, revision, file) = weights.hub_file()?;
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
    let Some((repo, revision, file)) = weights.hub_file() else {
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
    let Some((repo, revision, file)) = weights.hub_file() else {
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
