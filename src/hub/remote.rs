//! One file of one repository: its address, its place in the cache, and the download from one to the
//! other.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::{Repo, RepoType};
use serde::Deserialize;

use super::address::{is_name_byte, is_path, percent_encode, without_password};
use super::answer::Metadata;
use super::cache::{RepoCache, has_sha256, is_commit};
use super::file_lock::FileLock;
use super::header;
use super::http::{Client, Start};
use super::location::Location;
use super::partial::Partial;
use super::retry::Attempts;
use super::transfer::{self, Expected, Outcome};
use super::{HubError, HubOptions, LockedFile, Progress};
use crate::digest::Digest;

/// Rejects a safetensors file by its beginning, up to the end of its header.
pub(crate) type HeaderCheck<'a, E> = &'a dyn Fn(&[u8]) -> Result<(), E>;

/// What to do with a file that is already cached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfCached {
    Use,
    Replace,
}

/// A file of a repository of one hub, with its place in the cache.
pub(crate) struct RemoteFile<'a> {
    options: &'a HubOptions,
    repo: String,
    revision: String,
    file: String,
    /// SHA-256 that the contents must have.
    pin: Option<String>,
    cache: RepoCache,
    location: Location,
    /// The entry in the lockfile.
    locked: Option<&'a LockedFile>,
}

impl<'a> RemoteFile<'a> {
    /// Checks the names, which become part of an address and of paths.
    ///
    /// # Errors
    /// [`HubError::BadName`]; [`HubError::NotLocked`] where there is a lockfile without this file.
    pub(crate) fn new(
        repo: &str,
        revision: &str,
        file: &str,
        options: &'a HubOptions,
    ) -> Result<Self, HubError> {
        let asked = repository(repo, revision)?;
        if !is_path(file) {
            return Err(bad_name("the file name", file, "a relative path with `/`"));
        }
        let endpoint = options.endpoint.as_str();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(bad_name("the address of the hub", endpoint, "https://…"));
        }
        let location = Location::Hub {
            endpoint: without_password(endpoint),
            repo: repo.to_owned(),
            revision: asked.revision().to_owned(),
            file: file.to_owned(),
        };
        let locked = match &options.locked {
            Some(lock) => {
                let found = lock.find(repo, asked.revision(), file);
                Some(found.ok_or_else(|| lock.not_listed(&location))?)
            }
            None => None,
        };
        let at = match locked {
            Some(LockedFile::Hub { commit, .. }) => Repo::with_revision(
                repo.to_owned(),
                RepoType::Model,
                commit.to_ascii_lowercase(),
            ),
            _ => asked,
        };
        Ok(Self {
            options,
            repo: repo.to_owned(),
            revision: at.revision().to_owned(),
            file: file.to_owned(),
            pin: locked.map(|entry| entry.sha256().to_owned()),
            cache: RepoCache::new(&options.cache, &at),
            location,
            locked,
        })
    }

    /// The same file, whose contents must have this SHA-256. That of a lockfile takes precedence.
    pub(crate) fn pinned(mut self, sha256: Option<&str>) -> Self {
        self.pin = self.pin.or_else(|| sha256.map(str::to_owned));
        self
    }

    /// Path in the repository.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The file if it is in the cache. Makes no request.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let path = self.cache.find(&self.file)?;
        // What differs from the lockfile is reported, not replaced.
        (self.locked.is_some() || self.has_pin(&path)).then_some(path)
    }

    fn has_pin(&self, path: &std::path::Path) -> bool {
        let pin = self.pin.as_deref();
        pin.is_none_or(|sha256| has_sha256(path, sha256))
    }

    /// The file, downloaded if it is not in the cache. `check` may reject it before the download.
    ///
    /// # Errors
    /// As [`super::ensure`], and what `check` returns.
    pub(crate) fn ensure<E: From<HubError>>(
        &self,
        check: Option<HeaderCheck<'_, E>>,
        progress: &dyn Progress,
    ) -> Result<PathBuf, E> {
        match self.find() {
            Some(path) => Ok(self.as_locked(path)?),
            None => self.download(check, IfCached::Use, progress),
        }
    }

    /// The file, downloaded whether it is in the cache or not.
    ///
    /// # Errors
    /// As [`super::replace`].
    pub(crate) fn replace(&self, progress: &dyn Progress) -> Result<PathBuf, HubError> {
        self.download(None, IfCached::Replace, progress)
    }

    /// Length in bytes, as the hub reports it.
    ///
    /// # Errors
    /// As [`super::ensure`].
    pub(crate) fn size(&self, progress: &dyn Progress) -> Result<Option<u64>, HubError> {
        self.check_online()?;
        let url = self.url();
        let metadata = self.ask(&self.client(&url)?, progress);
        metadata
            .map(|metadata| metadata.size)
            .map_err(|error| self.explain(error))
    }

    /// A file in the cache, if it is what the lockfile lists.
    fn as_locked(&self, path: PathBuf) -> Result<PathBuf, HubError> {
        if let (Some(lock), Some(entry)) = (&self.options.locked, self.locked) {
            lock.check(&path, &[entry])?;
        }
        Ok(path)
    }

    fn download<E: From<HubError>>(
        &self,
        check: Option<HeaderCheck<'_, E>>,
        cached: IfCached,
        progress: &dyn Progress,
    ) -> Result<PathBuf, E> {
        self.check_online()?;
        let url = self.url();
        let client = self.client(&url)?;
        // The branch may move between two requests; several times in a row means something else.
        for _ in 0..3 {
            let metadata = self
                .ask(&client, progress)
                .map_err(|error| self.explain(error))?;
            let path = self.download_version(&client, &metadata, check, cached, progress)?;
            if let Some(path) = path {
                return Ok(self.as_locked(path)?);
            }
        }
        let problem = "it keeps changing while it is being downloaded";
        Err(self.bad_answer(problem.to_owned()).into())
    }

    fn check_online(&self) -> Result<(), HubError> {
        if self.options.offline {
            return Err(HubError::Offline {
                location: Box::new(self.location.clone()),
                cache: self.options.cache.clone(),
            });
        }
        let mut token = self.options.token.iter().flat_map(|token| token.bytes());
        if token.all(|byte| byte.is_ascii_graphic()) {
            Ok(())
        } else {
            Err(HubError::BadToken)
        }
    }

    fn client<'c>(&'c self, url: &'c str) -> Result<Client<'c>, HubError> {
        let token = self.options.token.as_deref();
        Client::new(url, token, &self.location, self.options)
    }

    fn ask(&self, client: &Client<'_>, progress: &dyn Progress) -> Result<Metadata, HubError> {
        let mut attempts = Attempts::new(&self.options.patience, false);
        let metadata = loop {
            match client.head() {
                Ok(metadata) => break metadata,
                Err(error) => attempts.wait(error, &self.location, progress)?,
            }
        };
        // A request for a commit must be answered with that commit.
        if is_commit(&self.revision) && self.revision != metadata.commit {
            let commit = metadata.commit;
            return Err(self.bad_answer(format!("expected that commit, found {commit}")));
        }
        Ok(metadata)
    }

    /// Downloads the contents that the hub announced; `None` if they have changed since.
    fn download_version<E: From<HubError>>(
        &self,
        client: &Client<'_>,
        metadata: &Metadata,
        check: Option<HeaderCheck<'_, E>>,
        cached: IfCached,
        progress: &dyn Progress,
    ) -> Result<Option<PathBuf>, E> {
        let promised = Digest::of_etag(&metadata.etag);
        let pinned = self
            .pin
            .as_ref()
            .map(|pin| Digest::Sha256(pin.to_ascii_lowercase()));
        if let (Some(pinned), Some(Digest::Sha256(announced))) = (&pinned, &promised) {
            // Saves a download that would be thrown away.
            transfer::check_digest(&self.location, pinned, announced)?;
        }
        let (etag, commit) = (&metadata.etag, &metadata.commit);
        self.cache.check_places(etag, commit, &self.file)?;
        let blob = self.cache.blob(etag);
        let lock = FileLock::acquire(&self.cache.lock(etag), || progress.wait(&self.file))?;
        self.cache.prepare(commit)?;
        // Another process may have downloaded it, or another revision has the same contents.
        let here = fs::metadata(&blob).is_ok_and(|blob| Some(blob.len()) == metadata.size);
        let trusted = pinned
            .as_ref()
            .is_none_or(|pin| promised.as_ref() == Some(pin))
            && cached == IfCached::Use;
        if !(here && trusted) {
            // On a file system without links the blob has moved to the snapshot. A pin rules out the file
            // of the branch's previous commit.
            let found = self.cache.find(&self.file).filter(|_| trusted);
            if let Some(path) = found.filter(|path| self.has_pin(path)) {
                return Ok(Some(path));
            }
            let expected = Expected {
                size: metadata.size,
                digests: promised.into_iter().chain(pinned).collect(),
                etag: Some(metadata.etag.clone()),
                validator: metadata.validator.clone(),
            };
            let mut partial = Partial::open(&blob, &lock)?;
            if let Some(check) = check.filter(|_| partial.len() == 0)
                && self.is_worth_a_look(metadata)
                && let Some(header) = header::read(client, metadata)
            {
                check(&header)?;
            }
            let patience = &self.options.patience;
            match transfer::complete(client, &expected, &mut partial, patience, progress) {
                Ok(Outcome::Done) => partial.finish(&blob)?,
                Ok(Outcome::Changed) => {
                    partial.discard();
                    return Ok(None);
                }
                Err(error) => {
                    if let HubError::Checksum { .. } = error {
                        partial.discard();
                    }
                    return Err(error.into());
                }
            }
        }
        let symlinks = self.options.symlinks;
        let path = self.cache.publish(etag, commit, &self.file, symlinks)?;
        Ok(Some(path))
    }

    fn is_worth_a_look(&self, metadata: &Metadata) -> bool {
        let is_large = metadata.size.is_none_or(|size| size > header::WORTH_A_LOOK);
        is_large && self.file.ends_with(".safetensors")
    }

    fn bad_answer(&self, problem: String) -> HubError {
        HubError::BadAnswer {
            location: Box::new(self.location.clone()),
            problem,
        }
    }

    /// Adds the repository's files to the error about a missing one. Not every mirror says what is
    /// missing, but one that lists the revision's files has the repository and the revision.
    fn explain(&self, error: HubError) -> HubError {
        match error {
            HubError::FileNotFound { location, .. } => HubError::FileNotFound {
                location,
                present: self.files().unwrap_or_default(),
            },
            HubError::NotFound { location } => match self.files() {
                Some(present) => HubError::FileNotFound { location, present },
                None => HubError::NotFound { location },
            },
            other => other,
        }
    }

    /// The files of the repository at its revision, or `None` on any failure: they only improve a
    /// message.
    fn files(&self) -> Option<Vec<String>> {
        const LIMIT: Duration = Duration::from_secs(10);
        #[derive(Deserialize)]
        struct Listing {
            siblings: Vec<Listed>,
        }
        #[derive(Deserialize)]
        struct Listed {
            rfilename: String,
        }
        let (endpoint, revision) = (self.endpoint(), self.url_revision());
        let url = format!("{endpoint}/api/models/{}/revision/{revision}", self.repo);
        let client = self.client(&url).ok()?.within(LIMIT);
        let mut response = client.get(Start::default()).ok()?.response;
        let listing: Listing = response.body_mut().read_json().ok()?;
        let names = listing.siblings.into_iter().map(|file| file.rfilename);
        Some(names.collect())
    }

    fn url(&self) -> String {
        let (endpoint, revision) = (self.endpoint(), self.url_revision());
        let file = percent_encode(&self.file);
        format!("{endpoint}/{}/resolve/{revision}/{file}", self.repo)
    }

    fn endpoint(&self) -> &str {
        self.options.endpoint.trim_end_matches('/')
    }

    /// A branch may have `/` in its name.
    fn url_revision(&self) -> String {
        self.revision.replace('/', "%2F")
    }
}

/// Names of the files of a repository that may be used without asking the hub: those that the lockfile
/// lists, or those in the cache. Files in folders of the repository are not included.
pub(crate) fn known_files(repo: &str, revision: &str, options: &HubOptions) -> Vec<String> {
    match &options.locked {
        Some(lock) => lock.names(repo, revision),
        None => repository(repo, revision).map_or_else(
            |_| Vec::new(),
            |repo| RepoCache::new(&options.cache, &repo).names(),
        ),
    }
}

/// Checks the names of a repository and a revision.
fn repository(repo: &str, revision: &str) -> Result<Repo, HubError> {
    if !is_path(repo) || repo.matches('/').count() > 1 || !repo.bytes().all(is_name_byte) {
        return Err(bad_name("the repository", repo, "`organisation/name`"));
    }
    if !is_path(revision) || !revision.bytes().all(is_name_byte) {
        return Err(bad_name(
            "the revision",
            revision,
            "a branch, tag or commit",
        ));
    }
    // Hubs and Python's cache write a commit in lower case.
    let revision = if is_commit(revision) {
        revision.to_ascii_lowercase()
    } else {
        revision.to_owned()
    };
    Ok(Repo::with_revision(
        repo.to_owned(),
        RepoType::Model,
        revision,
    ))
}

fn bad_name(what: &'static str, value: &str, expected: &'static str) -> HubError {
    HubError::BadName {
        what,
        value: value.to_owned(),
        expected,
    }
}
