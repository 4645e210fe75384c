//! The Hugging Face cache on disk, in the layout that Python's `huggingface_hub` uses:
//! `models--ORG--NAME/{blobs/ETAG, refs/BRANCH, snapshots/COMMIT/FILE -> ../../blobs/ETAG}`.
//!
//! Every file is written beside its place under a name of its own and then renamed, so a name that
//! the layout knows always stands for a whole file. One that is downloaded lies at
//! `blobs/ETAG.incomplete` until then, and `.locks/models--ORG--NAME/ETAG.lock` keeps others out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::{Cache, CacheRepo, Repo};

use super::HubError;
use super::digest::{self, Digest};
use super::partial::{INCOMPLETE, write_from};
use crate::bounded;

/// Folder of the locks in the cache.
pub(super) const LOCKS: &str = ".locks";

/// One repository's folder in the cache.
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
    files: CacheRepo,
    revision: String,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &Repo) -> Self {
        Self {
            folder: cache.join(repo.folder_name()),
            locks: cache.join(LOCKS).join(repo.folder_name()),
            files: Cache::new(cache.to_owned()).repo(repo.clone()),
            revision: repo.revision().to_owned(),
        }
    }

    /// The file at the repository's revision, if it is here.
    pub(super) fn find(&self, file: &str) -> Option<PathBuf> {
        // `is_file` follows the link: a link whose blob was deleted is not a cached file.
        Some(self.snapshot()?.join(file)).filter(|path| path.is_file())
    }

    /// Names of the files at the repository's revision that are here, sorted; those in folders are left
    /// out.
    pub(super) fn names(&self) -> Vec<String> {
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
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.files.blob_path(etag)
    }

    /// The file whose lock belongs to these contents.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// Makes the folder of a commit, without which Python calls the cache damaged.
    pub(super) fn prepare(&self, commit: &str) -> Result<(), HubError> {
        let folder = self.files.pointer_path(commit);
        fs::create_dir_all(&folder).map_err(disk("create the folder", &folder))
    }

    /// Checks, before anything is downloaded, that publishing it would replace nothing but what is the
    /// cache's own.
    ///
    /// # Errors
    /// [`HubError::Foreign`].
    pub(super) fn check_places(
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
    pub(super) fn publish(
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
            // Whatever lies in `refs` is taken for a branch.
            let temporary = beside(&self.folder.join("ref"));
            write_from(&temporary, &reference, commit.as_bytes())
                .map_err(disk("write", &reference))?;
        }
        Ok(pointer)
    }

    fn ref_path(&self) -> PathBuf {
        self.folder.join("refs").join(&self.revision)
    }
}

/// Whether a revision is a full commit hash, which cannot move as a branch does.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The commit that an entry in `refs` holds.
pub(super) fn read_commit(path: &Path) -> Option<String> {
    let text = bounded::read_found(path, bounded::SMALL).ok()?;
    Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
}

/// Whether a hub's etag can name a file.
pub(super) fn is_etag(etag: &str) -> bool {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !etag.starts_with('.') && (1..=128).contains(&etag.len()) && etag.bytes().all(safe)
}

/// The name of the blob of the repository in `folder` that a link leads to, whether it is there or not.
pub(super) fn blob_name(link: &Path, folder: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    blob_of_target(link, &target, folder)
}

/// The same, of a link that has been read.
pub(super) fn blob_of_target(link: &Path, target: &Path, folder: &Path) -> Option<String> {
    let target = plain(&link.parent()?.join(target));
    let name = target.strip_prefix(folder.join("blobs")).ok()?.to_str()?;
    is_etag(name).then(|| name.to_owned())
}

/// `a/../b` is `b`: the name of a blob that may be missing cannot be asked of the system.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Checks that a file at `path` would replace nothing, a regular file of this `cache`, or what
/// `is_own` says is the cache's. A file in a folder that a link below the cache leads to may be
/// anybody's.
///
/// # Errors
/// [`HubError::Foreign`].
pub(super) fn check_place(
    cache: &Path,
    path: &Path,
    is_own: impl FnOnce(&fs::Metadata) -> bool,
) -> Result<(), HubError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if is_own(&metadata) {
        return Ok(());
    }
    if metadata.is_file() {
        return match link_above(cache, path) {
            Some(link) => Err(foreign(
                path,
                format!("a file behind the link {}", link.display()),
            )),
            None => Ok(()),
        };
    }
    Err(foreign(path, kind_of(&metadata)))
}

/// What lies where a regular file should be.
pub(super) fn kind_of(metadata: &fs::Metadata) -> &'static str {
    if metadata.is_symlink() {
        "a link"
    } else if metadata.is_dir() {
        "a folder"
    } else {
        "a device, a pipe or a socket"
    }
}

pub(super) fn foreign(path: &Path, found: impl Into<String>) -> HubError {
    HubError::Foreign {
        path: path.to_owned(),
        found: found.into(),
    }
}

/// The first folder between `root` and `path` that is a link.
fn link_above<'a>(root: &Path, path: &'a Path) -> Option<&'a Path> {
    let folders = path.ancestors().skip(1);
    folders
        .take_while(|folder| *folder != root)
        .find(|folder| folder.is_symlink())
}

/// Whether a file of a snapshot is the one with this SHA-256. Where it is a link, the name of its blob
/// tells; else it is read.
pub(super) fn admits(path: &Path, sha256: &str) -> bool {
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

/// Replaces `pointer` by a link to the blob, where there is a `target` for one. Else both names get the
/// same contents, or the blob moves: there is one copy, whatever the file system can do.
fn show(blob: &Path, pointer: &Path, target: Option<&Path>) -> io::Result<()> {
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = beside(pointer);
    let linked = target.is_some_and(|target| symlink(target, &temporary).is_ok())
        || fs::hard_link(blob, &temporary).is_ok();
    if linked {
        let result = fs::rename(&temporary, pointer);
        // Where both are names of one file already, POSIX lets `rename` succeed and do nothing.
        drop(fs::remove_file(&temporary));
        result
    } else {
        fs::rename(blob, pointer)
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// A name in the same folder that no other thread or process uses.
pub(super) fn beside(target: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = target.file_name().unwrap_or_default().to_owned();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}{INCOMPLETE}", std::process::id()));
    target.with_file_name(name)
}

/// Names the file in a failure of the file system.
pub(super) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Disk {
        action,
        path,
        source,
    }
}
