//! The Hugging Face cache on disk, in the layout that Python's `huggingface_hub` uses:
//! `models--ORG--NAME/{blobs/ETAG, refs/BRANCH, snapshots/COMMIT/FILE -> ../../blobs/ETAG}`.
//!
//! Every file is written next to its destination under a temporary name and then renamed, so the names
//! of the layout only ever hold complete files. A download is kept at `blobs/ETAG.incomplete` until
//! then, and `.locks/models--ORG--NAME/ETAG.lock` keeps other processes out.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo};

use super::HubError;
use super::files::{
    INCOMPLETE, check_place, disk, foreign, link_above, plain, show, temporary_path, write_whole,
};
use crate::bounded;
use crate::digest::{self, Digest};

/// Folder of the locks in the cache.
pub(crate) const LOCKS: &str = ".locks";

/// One repository's folder in the cache.
pub(crate) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
    files: CacheRepo,
    revision: String,
}

impl RepoCache {
    pub(crate) fn new(cache: &Path, repo: &Repo) -> Self {
        Self {
            folder: cache.join(repo.folder_name()),
            locks: cache.join(LOCKS).join(repo.folder_name()),
            files: Cache::new(cache.to_owned()).repo(repo.clone()),
            revision: repo.revision().to_owned(),
        }
    }

    /// The file at the repository's revision, if it is here.
    pub(crate) fn find(&self, file: &str) -> Option<PathBuf> {
        // `is_file` follows the link: a link whose blob was deleted is not a cached file.
        Some(self.snapshot()?.join(file)).filter(|path| path.is_file())
    }

    /// Names of the files at the repository's revision that are here, sorted, without those in folders.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.snapshot().and_then(|folder| fs::read_dir(folder).ok());
        let files = entries.into_iter().flatten().flatten();
        let mut names: Vec<String> = files
            .filter(|entry| entry.path().is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.ends_with(INCOMPLETE))
            .collect();
        names.sort_unstable();
        names
    }

    /// The folder of the commit that the revision stands for. A commit needs no entry in `refs`: Python
    /// writes none for it.
    fn snapshot(&self) -> Option<PathBuf> {
        let commit = if is_commit(&self.revision) {
            self.revision.clone()
        } else {
            read_commit(&self.ref_path())?
        };
        Some(self.files.pointer_path(&commit))
    }

    /// Where the contents with this etag are kept.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The file whose lock belongs to these contents.
    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// Makes the folder of a commit, without which Python calls the cache damaged.
    pub(crate) fn prepare(&self, commit: &str) -> Result<(), HubError> {
        let folder = self.files.pointer_path(commit);
        fs::create_dir_all(&folder).map_err(disk("create the folder", &folder))
    }

    /// Checks, before the download, that publishing the file would replace only what the cache itself
    /// created.
    ///
    /// # Errors
    /// [`HubError::Foreign`].
    pub(crate) fn check_places(
        &self,
        etag: &str,
        commit: &str,
        file: &str,
    ) -> Result<(), HubError> {
        let cache = self.folder.parent().unwrap_or(&self.folder);
        check_place(cache, &self.blob(etag), |_| false)?;
        let reference = self.ref_path();
        check_place(cache, &reference, |metadata| {
            metadata.is_file() && read_commit(&reference).is_some()
        })?;
        let pointer = self.files.pointer_path(commit).join(file);
        // A link to `../../blobs` would lead elsewhere from there.
        if let Some(link) = link_above(&self.folder, &pointer) {
            return Err(foreign(link, "a link"));
        }
        check_place(cache, &pointer, |_| {
            blob_name(&pointer, &self.folder).is_some()
        })
    }

    /// Makes the contents with this etag appear as `file` of `commit`, and the revision stand for
    /// that commit.
    pub(crate) fn publish(
        &self,
        etag: &str,
        commit: &str,
        file: &str,
        symlinks: bool,
    ) -> Result<PathBuf, HubError> {
        let pointer = self.files.pointer_path(commit).join(file);
        let target = link_target(etag, file);
        let target = symlinks.then_some(target.as_path());
        show(&self.blob(etag), &pointer, target).map_err(disk("write", &pointer))?;
        if self.revision != commit {
            let reference = self.ref_path();
            // Not in `refs`, where every file counts as a branch.
            let temporary = temporary_path(&self.folder.join("ref"));
            write_whole(&temporary, &reference, commit.as_bytes())
                .map_err(disk("write", &reference))?;
        }
        Ok(pointer)
    }

    fn ref_path(&self) -> PathBuf {
        self.folder.join("refs").join(&self.revision)
    }
}

/// Whether a revision is a full commit hash, which cannot move as a branch does.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The commit that an entry in `refs` holds.
pub(crate) fn read_commit(path: &Path) -> Option<String> {
    let text = bounded::read_found(path, bounded::SMALL).ok()?;
    Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
}

/// Whether a hub's etag can name a file.
pub(crate) fn is_etag(etag: &str) -> bool {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !etag.starts_with('.') && (1..=128).contains(&etag.len()) && etag.bytes().all(safe)
}

/// The name of the blob that a link points to, in the repository at `folder`; the blob may be missing.
pub(crate) fn blob_name(link: &Path, folder: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    blob_of_target(link, &target, folder)
}

/// As [`blob_name`], for a link whose target has been read.
pub(crate) fn blob_of_target(link: &Path, target: &Path, folder: &Path) -> Option<String> {
    let target = plain(&link.parent()?.join(target));
    let name = target.strip_prefix(folder.join("blobs")).ok()?.to_str()?;
    is_etag(name).then(|| name.to_owned())
}

/// Whether a file of a snapshot has this SHA-256. A link to a blob that is named by its SHA-256 is not
/// read.
pub(crate) fn has_sha256(path: &Path, sha256: &str) -> bool {
    let blob = fs::read_link(path).ok();
    let name = blob
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    match name.and_then(Digest::of_etag) {
        Some(Digest::Sha256(found)) => found.eq_ignore_ascii_case(sha256),
        _ => digest::sha256(path).is_ok_and(|found| found.eq_ignore_ascii_case(sha256)),
    }
}

/// `../../blobs/ETAG`, with one more `..` for each folder in the file's name.
fn link_target(etag: &str, file: &str) -> PathBuf {
    let mut target = PathBuf::from("../..");
    for _ in file.matches('/') {
        target.push("..");
    }
    target.join("blobs").join(etag)
}
