//! Weights on the Hugging Face hub: the `[weights]` table of a card, the cache, the download.
//!
//! A file is taken from the cache, without a request, where it is there; else it is downloaded and
//! checked before it gets a name in the cache. `hf-hub` supplies the addresses, the folder layout
//! (which is Python's, so both share one cache), the token file and the list of a repository's
//! files; [`fetch`] does the transfer itself.

mod cache;
mod error;
mod options;
mod release;
mod transfer;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};

pub use error::{Denial, HubError, Location};
pub use options::{DEFAULT_ENDPOINT, HubOptions};

use cache::{Part, RepoCache, is_commit};

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
    /// The authors' release file outside the hub. Its name ends in `-` and the first 8 hexadecimal
    /// digits of its SHA-256, as PyTorch's `check_hash` expects.
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
    /// `done` of `total` bytes of `file` are here; `total` is `None` where the server does not say.
    /// The first call has `done` 0. A call with a smaller `done` starts another file.
    fn advance(&self, file: &str, done: u64, total: Option<u64>);
}

/// Keeps silent.
impl Progress for () {
    fn advance(&self, _file: &str, _done: u64, _total: Option<u64>) {}
}

/// The file of a card's `[weights]` if it is on this machine; makes no request.
///
/// The repository's file comes first, then the release file.
pub fn downloaded(weights: &WeightsRef, options: &HubOptions) -> Option<PathBuf> {
    let from_hub = || {
        let (repo, revision, file) = hub_file(weights)?;
        cached(repo, revision, file, options)
    };
    from_hub().or_else(|| release::cached(weights.release.as_deref()?, options))
}

/// The file of a card's `[weights]`, downloaded if it is not on this machine.
///
/// Where the hub does not give the file and the card names a release file, that one is taken: it
/// holds the same weights in PyTorch's format. If both fail, the hub's error is returned.
///
/// # Errors
/// [`HubError`]; [`HubError::NoRemote`] where the table has neither a repository nor a release.
pub fn download(
    weights: &WeightsRef,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    if let Some(path) = downloaded(weights, options) {
        return Ok(path);
    }
    let release = weights.release.as_deref();
    let Some((repo, revision, file)) = hub_file(weights) else {
        return release::fetch(release.ok_or(HubError::NoRemote)?, options, progress);
    };
    let pin = weights.sha256.as_deref();
    match (
        Remote::new(repo, revision, file, options)?.fetch(pin, options, progress),
        release,
    ) {
        (Err(error), Some(release)) if error.is_refusal() => {
            release::fetch(release, options, progress).map_err(|_| error)
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
    Remote::new(repo, revision, file, options)
        .ok()?
        .cache
        .find(file)
}

/// A file of a repository, downloaded if it is not in the cache.
///
/// # Errors
/// [`HubError`]: it says whether the name, the access, the network, the server or the disk is at
/// fault. After an error the cache is as before.
pub fn fetch(
    repo: &str,
    revision: &str,
    file: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    Remote::new(repo, revision, file, options)?.fetch(None, options, progress)
}

/// A file of a repository of one hub, with its place in the cache.
struct Remote<'a> {
    revision: &'a str,
    file: &'a str,
    repo: Repo,
    cache: RepoCache,
    location: Location,
}

impl<'a> Remote<'a> {
    /// Checks the names: they become part of an address and of paths.
    fn new(
        repo: &str,
        revision: &'a str,
        file: &'a str,
        options: &HubOptions,
    ) -> Result<Self, HubError> {
        let bad = |what, value: &str, expected| HubError::BadName {
            what,
            value: value.to_owned(),
            expected,
        };
        if !is_path(repo) || repo.matches('/').count() > 1 || !repo.bytes().all(is_name_byte) {
            return Err(bad("the repository", repo, "`organisation/name`"));
        }
        if !is_path(revision) || !revision.bytes().all(is_name_byte) {
            return Err(bad("the revision", revision, "a branch, tag or commit"));
        }
        if !is_path(file) {
            return Err(bad("the file name", file, "a relative path with `/`"));
        }
        let endpoint = options.endpoint.as_str();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(bad("the address of the hub", endpoint, "https://…"));
        }
        let location = Location::Hub {
            endpoint: options::without_password(endpoint),
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            file: file.to_owned(),
        };
        let repo = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
        let cache = RepoCache::new(&options.cache, &repo);
        Ok(Self {
            revision,
            file,
            repo,
            cache,
            location,
        })
    }

    fn fetch(
        &self,
        pin: Option<&str>,
        options: &HubOptions,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        if let Some(path) = self.cache.find(self.file) {
            return Ok(path);
        }
        let location = || Box::new(self.location.clone());
        if options.offline {
            return Err(HubError::Offline {
                location: location(),
                cache: options.cache.clone(),
            });
        }
        let bad = |problem: String| HubError::BadAnswer {
            location: location(),
            problem,
        };
        let api = self.api(options).map_err(|error| bad(error.to_string()))?;
        let url = api.url(&percent_encode(self.file));
        let incoming = transfer::open(&url, options.token.as_deref(), &self.location)
            .map_err(|error| self.explain(error, &api))?;
        let metadata = incoming
            .metadata
            .clone()
            .ok_or_else(|| bad("it lacks the header X-Repo-Commit of a hub".to_owned()))?;
        if is_commit(self.revision) && !self.revision.eq_ignore_ascii_case(&metadata.commit) {
            return Err(bad(format!(
                "expected that commit, found {}",
                metadata.commit
            )));
        }
        let checksum = |expected: &str, found: &str| {
            if expected.eq_ignore_ascii_case(found) {
                return Ok(());
            }
            Err(HubError::Checksum {
                location: location(),
                expected: expected.to_owned(),
                found: found.to_owned(),
            })
        };
        if let (Some(pin), Some(announced)) = (pin, &metadata.sha256) {
            checksum(pin, announced)?;
        }
        let expected = pin.or(metadata.sha256.as_deref());
        let blob = self.cache.blob(&metadata.etag);
        // Another revision may have brought the same contents.
        let here = fs::metadata(&blob).is_ok_and(|blob| Some(blob.len()) == incoming.total);
        let trusted = expected.is_none_or(|sha256| sha256.eq_ignore_ascii_case(&metadata.etag));
        if !(here && trusted) {
            let mut part = Part::create(&blob)?;
            let found = incoming.save(&mut part, &self.location, progress)?;
            if let Some(expected) = expected {
                checksum(expected, &found)?;
            }
            part.persist(&blob)?;
        }
        self.cache
            .publish(&metadata.etag, &metadata.commit, self.file)
    }

    fn api(&self, options: &HubOptions) -> Result<ApiRepo, hf_hub::api::sync::ApiError> {
        let api = ApiBuilder::from_cache(Cache::new(options.cache.clone()))
            .with_endpoint(options.endpoint.trim_end_matches('/').to_owned())
            .with_token(options.token.clone())
            .build()?;
        Ok(api.repo(self.repo.clone()))
    }

    /// Adds to a missing file which files the repository has. Not every mirror says what is missing,
    /// but one that lists the revision's files has the repository and the revision.
    fn explain(&self, error: HubError, api: &ApiRepo) -> HubError {
        match error {
            HubError::FileNotFound { location, .. } => HubError::FileNotFound {
                location,
                present: files(api).unwrap_or_default(),
            },
            HubError::NotFound { location } => match files(api) {
                Some(present) => HubError::FileNotFound { location, present },
                None => HubError::NotFound { location },
            },
            other => other,
        }
    }
}

/// The files of a repository at its revision, or `None` for whatever reason: it only helps a message.
fn files(api: &ApiRepo) -> Option<Vec<String>> {
    const LIMIT: Duration = Duration::from_secs(10);
    let request = api
        .info_request()
        .config()
        .timeout_global(Some(LIMIT))
        .build();
    let info: RepoInfo = request.call().ok()?.body_mut().read_json().ok()?;
    Some(
        info.siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect(),
    )
}

/// Whether a name is a relative path that stays inside its folder on every system.
fn is_path(name: &str) -> bool {
    name.split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..")
        && !name.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
}

/// Characters of repositories and revisions that mean themselves in an address.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~' | b'+' | b'@' | b'=')
}

/// A file name as a part of an address.
fn percent_encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if is_name_byte(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
