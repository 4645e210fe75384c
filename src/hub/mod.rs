//! Files of the Hugging Face hub: the protocol, the cache, the download.
//!
//! A file in the cache is used without a request; any other is downloaded, and checked before it gets
//! its name in the cache. Nothing here knows models: see [`crate::store`].
//!
//! `hf-hub` supplies the layout of the cache, which is Python's, so that both share one: the names of
//! folders, where a commit's files are, and the token file. Its client is not used. Written by hand,
//! because that client lacks it, are:
//!
//! * requests and redirects: it sends the token to the host that a file is redirected to, and reads no
//!   `NO_PROXY`, `SSL_CERT_FILE` or `HF_HUB_DOWNLOAD_TIMEOUT`;
//! * the transfer: it does not resume after a restart, check the contents, retry after `Retry-After`,
//!   look at a header before the rest comes or keep disk space free;
//! * looking up a file: its `CacheRepo::get` finds no file of a commit without a branch, and accepts
//!   a dangling link;
//! * the file lock that Python's client takes, atomic writes of `refs`, caches without links.

mod address;
mod answer;
mod archive;
mod authorities;
pub(crate) mod cache;
mod error;
pub(crate) mod file_lock;
pub(crate) mod files;
mod hashing;
mod header;
mod hints;
mod http;
mod image;
mod location;
mod lockfile;
mod no_proxy;
mod options;
mod partial;
mod progress;
mod proxy;
pub(crate) mod release;
mod remote;
mod retry;
mod transfer;

use std::path::PathBuf;

pub use error::{Denial, HubError};
pub use image::fetch_image;
pub use location::Location;
pub use lockfile::{LockedFile, Lockfile};
pub use options::{DEFAULT_ENDPOINT, HubOptions, Patience};
pub use progress::Progress;
pub use proxy::Proxies;
pub use release::Release;
pub(crate) use release::ReleaseFile;
pub(crate) use remote::{RemoteFile, known_files};

/// The branch if no revision is named.
pub const DEFAULT_REVISION: &str = "main";

/// A file of a repository if it is in the cache; makes no request.
///
/// A branch stands for the commit that it was at when it was last downloaded.
pub fn find(repo: &str, revision: &str, file: &str, options: &HubOptions) -> Option<PathBuf> {
    RemoteFile::new(repo, revision, file, options).ok()?.find()
}

/// A file of a repository, downloaded if it is not in the cache.
///
/// # Errors
/// [`HubError`]: whether the name, the access, the network, the server or the disk is at fault. After an
/// error the cache is unchanged except for the partial file, which the next call resumes.
pub fn ensure(
    repo: &str,
    revision: &str,
    file: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    RemoteFile::new(repo, revision, file, options)?.ensure(None, progress)
}

/// A file of a repository, downloaded whether it is in the cache or not. A cached file stays until the
/// new one is complete and checked.
///
/// # Errors
/// As [`ensure`].
pub fn replace(
    repo: &str,
    revision: &str,
    file: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    RemoteFile::new(repo, revision, file, options)?.replace(progress)
}

/// A release file, downloaded whether it is in the cache or not, as [`replace`] does.
///
/// # Errors
/// As [`ensure`].
pub fn replace_release(
    release: Release<'_>,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    ReleaseFile::new(release, options)?.replace(progress)
}
