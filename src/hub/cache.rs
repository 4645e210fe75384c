//! The Hugging Face cache on disk, in the layout that Python's `huggingface_hub` uses:
//! `models--ORG--NAME/{blobs/ETAG, refs/BRANCH, snapshots/COMMIT/FILE -> ../../blobs/ETAG}`.
//!
//! Every file is written beside its place under a name of its own and then renamed, so a name that
//! the layout knows always stands for a whole file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::{Cache, CacheRepo, Repo};

use super::HubError;

/// One repository's folder in the cache.
pub(super) struct RepoCache {
    folder: PathBuf,
    files: CacheRepo,
    revision: String,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &Repo) -> Self {
        Self {
            folder: cache.join(repo.folder_name()),
            files: Cache::new(cache.to_owned()).repo(repo.clone()),
            revision: repo.revision().to_owned(),
        }
    }

    /// The file at the repository's revision, if it is here. A commit needs no entry in `refs`:
    /// Python writes none for it.
    pub(super) fn find(&self, file: &str) -> Option<PathBuf> {
        let commit = if is_commit(&self.revision) {
            self.revision.clone()
        } else {
            fs::read_to_string(self.ref_path()).ok()?.trim().to_owned()
        };
        if !is_commit(&commit) {
            return None;
        }
        // `is_file` follows the link: a link whose blob was deleted is not a cached file.
        Some(self.files.pointer_path(&commit).join(file)).filter(|path| path.is_file())
    }

    /// Where the contents with this etag are kept.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.files.blob_path(etag)
    }

    /// Makes the contents with this etag appear as `file` of `commit`, and the revision stand for
    /// that commit.
    pub(super) fn publish(
        &self,
        etag: &str,
        commit: &str,
        file: &str,
    ) -> Result<PathBuf, HubError> {
        let pointer = self.files.pointer_path(commit).join(file);
        link(&self.blob(etag), &pointer, &link_target(etag, file))
            .map_err(disk("write", &pointer))?;
        if self.revision != commit {
            let reference = self.ref_path();
            let mut part = Part::create(&reference)?;
            part.write_all(commit.as_bytes())
                .map_err(disk("write", &reference))?;
            part.persist(&reference)?;
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

/// `../../blobs/ETAG`, with one more `..` for each folder in the file's name.
fn link_target(etag: &str, file: &str) -> PathBuf {
    let mut target = PathBuf::from("../..");
    for _ in file.matches('/') {
        target.push("..");
    }
    target.join("blobs").join(etag)
}

/// Replaces `pointer` by a link to the blob, or by the blob itself where links are not allowed.
fn link(blob: &Path, pointer: &Path, target: &Path) -> io::Result<()> {
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = beside(pointer);
    symlink(target, &temporary)
        .or_else(|_| fs::hard_link(blob, &temporary))
        .or_else(|_| fs::copy(blob, &temporary).map(drop))
        .and_then(|()| fs::rename(&temporary, pointer))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// A file that is not whole yet. It is deleted unless it is persisted.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    persisted: bool,
}

impl Part {
    /// Starts a file that will be named `target`, in the same folder, which is made if need be.
    pub(super) fn create(target: &Path) -> Result<Self, HubError> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(disk("create the folder", folder))?;
        }
        let path = beside(target);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(disk("create", &path))?;
        Ok(Self {
            path,
            file,
            persisted: false,
        })
    }

    /// Gives the file its name, once its bytes are on the disk: a crash must not leave a short file
    /// under a final name.
    pub(super) fn persist(mut self, target: &Path) -> Result<(), HubError> {
        self.file.sync_all().map_err(disk("write", &self.path))?;
        fs::rename(&self.path, target).map_err(disk("write", target))?;
        self.persisted = true;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.persisted {
            // Nobody else knows this name, and there is no one to tell if it cannot be deleted.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// A name in the same folder that no other thread or process uses.
fn beside(target: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = target.file_name().unwrap_or_default().to_owned();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}.incomplete", std::process::id()));
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
