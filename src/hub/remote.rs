//! One file of one repository: its address, its place in the cache, and the way from one to the
//! other.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::address::{is_name_byte, is_path, percent_encode, without_password};
use super::answer::Metadata;
use super::cache::{self, RepoCache, is_commit};
use super::file_lock::FileLock;
use super::header;
use super::http::{Client, Start};
use super::location::Location;
use super::partial::Partial;
use super::transfer::{self, Attempts, Expected, Outcome};
use super::{HubError, HubOptions, LockedFile, Progress};
use crate::digest::Digest;

/// Decides by the beginning of a safetensors file, up to the end of its header, whether it is wanted.
pub type Look<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What a file in the cache means that has the right name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// It is the file that is wanted.
    Counts,
    /// It is damaged.
    IsReplaced,
}

/// A file of a repository of one hub, with its place in the cache.
pub(super) struct RemoteFile<'a> {
    revision: Cow<'a, str>,
    file: &'a str,
    repo: Repo,
    cache: RepoCache,
    location: Location,
    /// The entry in the lock file.
    locked: Option<LockedFile>,
}

impl<'a> RemoteFile<'a> {
    /// Checks the names: they become part of an address and of paths.
    pub(super) fn new(
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
        // Hubs and Python's cache write a commit in lower case.
        let revision = if is_commit(revision) {
            Cow::Owned(revision.to_ascii_lowercase())
        } else {
            Cow::Borrowed(revision)
        };
        let location = Location::Hub {
            endpoint: without_password(endpoint),
            repo: repo.to_owned(),
            revision: revision.clone().into_owned(),
            file: file.to_owned(),
        };
        let locked = match &options.locked {
            Some(lock) => {
                let found = lock.find(repo, &revision, file);
                Some(found.ok_or_else(|| lock.refuse(&location))?.clone())
            }
            None => None,
        };
        let revision = match &locked {
            Some(LockedFile::Hub { commit, .. }) => Cow::Owned(commit.to_ascii_lowercase()),
            _ => revision,
        };
        let repo = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_string());
        let cache = RepoCache::new(&options.cache, &repo);
        Ok(Self {
            revision,
            file,
            repo,
            cache,
            location,
            locked,
        })
    }

    /// The file if it is in the cache.
    pub(super) fn cached(&self) -> Option<PathBuf> {
        self.cache.find(self.file)
    }

    /// Names of the files at the repository's revision that are in the cache.
    pub(super) fn cached_names(&self) -> Vec<String> {
        self.cache.names()
    }

    /// The file, from the cache or from the hub. `pin` is the SHA-256 that it must have; `look` may
    /// refuse it before it is downloaded.
    pub(super) fn fetch(
        &self,
        pin: Option<&str>,
        look: Option<Look<'_>>,
        options: &HubOptions,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        if let Some(path) = self.cached()
            && (self.locked.is_some() || pin.is_none_or(|pin| cache::admits(&path, pin)))
        {
            return self.admitted(path, options);
        }
        self.download(pin, look, Present::Counts, options, progress)
    }

    /// The file from the hub, whatever is in the cache.
    pub(super) fn fetch_again(
        &self,
        options: &HubOptions,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        self.download(None, None, Present::IsReplaced, options, progress)
    }

    /// A file in the cache, if the lock file admits it.
    pub(super) fn admitted(
        &self,
        path: PathBuf,
        options: &HubOptions,
    ) -> Result<PathBuf, HubError> {
        if let (Some(lock), Some(entry)) = (&options.locked, &self.locked) {
            lock.check(&path, &[entry])?;
        }
        Ok(path)
    }

    fn download(
        &self,
        pin: Option<&str>,
        look: Option<Look<'_>>,
        present: Present,
        options: &HubOptions,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let pin = self.locked.as_ref().map(LockedFile::sha256).or(pin);
        let api = self.online(options)?;
        let url = api.url(&percent_encode(self.file));
        let client = self.client(&url, options)?;
        // The branch may move on between two requests; twice in a row means something else.
        for _ in 0..3 {
            let metadata = self
                .ask(&client, options, progress)
                .map_err(|error| self.explain(error, &api, options))?;
            let path = self.bring(&client, &metadata, (pin, look), present, options, progress)?;
            if let Some(path) = path {
                return self.admitted(path, options);
            }
        }
        Err(self.bad_answer("it changes again and again while it is downloaded".to_owned()))
    }

    /// Length of the file, as the hub says.
    pub(super) fn size(
        &self,
        options: &HubOptions,
        progress: &dyn Progress,
    ) -> Result<Option<u64>, HubError> {
        let api = self.online(options)?;
        let url = api.url(&percent_encode(self.file));
        let metadata = self.ask(&self.client(&url, options)?, options, progress);
        metadata
            .map(|metadata| metadata.size)
            .map_err(|error| self.explain(error, &api, options))
    }

    fn online(&self, options: &HubOptions) -> Result<ApiRepo, HubError> {
        if options.offline {
            return Err(HubError::Offline {
                location: Box::new(self.location.clone()),
                cache: options.cache.clone(),
            });
        }
        let mut token = options.token.iter().flat_map(|token| token.bytes());
        if !token.all(|byte| byte.is_ascii_graphic()) {
            return Err(HubError::BadToken);
        }
        self.api(options)
            .map_err(|error| self.bad_answer(error.to_string()))
    }

    fn client<'c>(&'c self, url: &'c str, options: &'c HubOptions) -> Result<Client<'c>, HubError> {
        let token = options.token.as_deref();
        Client::new(url, token, &self.location, options)
    }

    fn ask(
        &self,
        client: &Client<'_>,
        options: &HubOptions,
        progress: &dyn Progress,
    ) -> Result<Metadata, HubError> {
        let mut attempts = Attempts::new(&options.patience, false);
        let metadata = loop {
            match client.head() {
                Ok(metadata) => break metadata,
                Err(error) => attempts.wait(error, &self.location, progress)?,
            }
        };
        // A commit has to be answered by itself.
        if is_commit(&self.revision) && self.revision != metadata.commit {
            let commit = metadata.commit;
            return Err(self.bad_answer(format!("expected that commit, found {commit}")));
        }
        Ok(metadata)
    }

    /// Brings the contents that the hub announced into the cache; `None` if they have changed since.
    fn bring(
        &self,
        client: &Client<'_>,
        metadata: &Metadata,
        (pin, look): (Option<&str>, Option<Look<'_>>),
        present: Present,
        options: &HubOptions,
        progress: &dyn Progress,
    ) -> Result<Option<PathBuf>, HubError> {
        let promised = Digest::of_etag(&metadata.etag);
        let pinned = pin.map(|pin| Digest::Sha256(pin.to_ascii_lowercase()));
        if let (Some(pinned), Some(Digest::Sha256(announced))) = (&pinned, &promised) {
            // Saves a download that would be thrown away.
            transfer::check_digest(&self.location, pinned, announced)?;
        }
        let (etag, commit) = (&metadata.etag, &metadata.commit);
        self.cache.check_places(etag, commit, self.file)?;
        let blob = self.cache.blob(&metadata.etag);
        let lock = FileLock::acquire(&self.cache.lock(&metadata.etag), || {
            progress.wait(self.file)
        })?;
        self.cache.prepare(&metadata.commit)?;
        // Another process may have brought it, or another revision has the same contents.
        let here = fs::metadata(&blob).is_ok_and(|blob| Some(blob.len()) == metadata.size);
        let trusted = pinned
            .as_ref()
            .is_none_or(|pin| promised.as_ref() == Some(pin))
            && present == Present::Counts;
        if !(here && trusted) {
            // On a file system without links the blob has moved there. What the branch stood for
            // before is no file with that pin.
            let is_it = |path: &PathBuf| pin.is_none_or(|pin| cache::admits(path, pin));
            if let Some(path) = self.cached().filter(|path| trusted && is_it(path)) {
                return Ok(Some(path));
            }
            let expected = Expected {
                size: metadata.size,
                digests: promised.into_iter().chain(pinned).collect(),
                etag: Some(metadata.etag.clone()),
                validator: metadata.validator.clone(),
            };
            let mut partial = Partial::open(&blob, &lock)?;
            let is_large = metadata.size.is_none_or(|size| size > header::WORTH_A_LOOK);
            if let Some(look) = look
                && self.file.ends_with(".safetensors")
                && is_large
                && partial.len() == 0
                && let Some(header) = header::read(client, metadata)
                && !look(&header)
            {
                return Err(HubError::Unwanted {
                    location: Box::new(self.location.clone()),
                });
            }
            match transfer::complete(client, &expected, &mut partial, &options.patience, progress) {
                Ok(Outcome::Done) => partial.finish(&blob)?,
                Ok(Outcome::Changed) => {
                    partial.discard();
                    return Ok(None);
                }
                Err(error) => {
                    if let HubError::Checksum { .. } = error {
                        partial.discard();
                    }
                    return Err(error);
                }
            }
        }
        let path = self
            .cache
            .publish(etag, commit, self.file, options.symlinks)?;
        Ok(Some(path))
    }

    fn bad_answer(&self, problem: String) -> HubError {
        HubError::BadAnswer {
            location: Box::new(self.location.clone()),
            problem,
        }
    }

    fn api(&self, options: &HubOptions) -> Result<ApiRepo, ApiError> {
        let api = ApiBuilder::from_cache(Cache::new(options.cache.clone()))
            .with_endpoint(options.endpoint.trim_end_matches('/').to_owned())
            .with_token(options.token.clone())
            .build()?;
        Ok(api.repo(self.repo.clone()))
    }

    /// Adds to a missing file which files the repository has. Not every mirror says what is missing,
    /// but one that lists the revision's files has the repository and the revision.
    fn explain(&self, error: HubError, api: &ApiRepo, options: &HubOptions) -> HubError {
        match error {
            HubError::FileNotFound { location, .. } => HubError::FileNotFound {
                location,
                present: self.files(api, options).unwrap_or_default(),
            },
            HubError::NotFound { location } => match self.files(api, options) {
                Some(present) => HubError::FileNotFound { location, present },
                None => HubError::NotFound { location },
            },
            other => other,
        }
    }

    /// The files of the repository at its revision, or `None` for whatever reason: it only helps a
    /// message.
    fn files(&self, api: &ApiRepo, options: &HubOptions) -> Option<Vec<String>> {
        const LIMIT: Duration = Duration::from_secs(10);
        // hf-hub's own client would send the token along to another port of the same host.
        let url = api.info_request().uri_ref()?.to_string();
        let client = self.client(&url, options).ok()?.within(LIMIT);
        let mut response = client.get(Start::default()).ok()?.response;
        let info: RepoInfo = response.body_mut().read_json().ok()?;
        let names = info.siblings.into_iter().map(|file| file.rfilename);
        Some(names.collect())
    }
}
