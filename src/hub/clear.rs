//! Deleting from the caches: what a user names, and what nothing can use.
//!
//! Who downloads contents holds their lock, so they are deleted by who holds it alone. And what was of
//! no use when it was listed may be of use by now: it is looked at again before it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::cache::disk;
use super::lock::Lock;
use super::partial::{INCOMPLETE, incomplete};
use super::release::lock_path;
use super::scan::{entries, is_unfinished, length, same_file, scan_repo};
use super::{CachedFile, CachedRepo, CachedRevision, HubError, HubOptions};

/// Something in the cache that is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waste {
    /// File or folder.
    pub path: PathBuf,
    /// Bytes that its deletion frees by itself.
    pub size: u64,
    /// What it is.
    pub kind: WasteKind,
    /// Who holds one of these may be about to use it.
    locks: Vec<PathBuf>,
}

/// Why something is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WasteKind {
    /// The beginning of a file.
    Partial,
    /// Contents that no commit in the cache has.
    Contents,
    /// A commit that no branch stands for.
    Revision,
}

impl Waste {
    fn is_busy(&self) -> bool {
        self.locks.iter().any(|lock| is_held(lock))
    }

    fn needs(&self) -> impl Iterator<Item = (PathBuf, &Path)> {
        let locks = self.locks.iter().cloned();
        locks.map(|lock| (lock, self.path.as_path()))
    }
}

impl CachedRepo {
    /// What nothing can use: contents that no commit has, beginnings of files that nobody is
    /// downloading, and commits that no branch or tag stands for, unless they are in `keep`.
    pub fn waste(&self, keep: &BTreeSet<String>) -> Vec<Waste> {
        let mut waste = self.unused(keep);
        waste.retain(|item| item.kind != WasteKind::Partial || !item.is_busy());
        waste
    }

    fn unused(&self, keep: &BTreeSet<String>) -> Vec<Waste> {
        let is_old = |revision: &&CachedRevision| {
            revision.refs.is_empty() && !keep.contains(&revision.commit)
        };
        let (old, current): (Vec<_>, Vec<_>) = self.revisions.iter().partition(is_old);
        let current: Vec<&CachedFile> = current.iter().flat_map(|r| &r.files).collect();
        let is_used = |blob: &Path| {
            let of = |file: &&CachedFile| file.blob == blob || same_file(&file.blob, blob);
            current.iter().any(of)
        };
        let mut waste: Vec<Waste> = old
            .iter()
            .map(|revision| {
                let blobs = revision.files.iter().filter_map(|file| self.blob_of(file));
                Waste {
                    path: revision.folder.clone(),
                    size: 0,
                    kind: WasteKind::Revision,
                    locks: blobs.map(|blob| self.lock(blob)).collect(),
                }
            })
            .collect();
        let file = |path: &PathBuf, kind, locks| Waste {
            path: path.clone(),
            size: fs::symlink_metadata(path).map_or(0, |metadata| metadata.len()),
            kind,
            locks,
        };
        let blobs = self.blobs.iter().filter(|blob| !is_used(blob));
        waste.extend(blobs.map(|path| file(path, WasteKind::Contents, vec![self.lock(path)])));
        let partials = self.partials.iter();
        waste.extend(partials.map(|path| file(path, WasteKind::Partial, vec![self.lock(path)])));
        // It does not tell whose it is, but who is about to rename it holds some lock.
        let leftovers = self.leftovers.iter();
        waste.extend(leftovers.map(|path| file(path, WasteKind::Partial, self.all_locks())));
        waste
    }

    /// Deletes what `waste` lists, as far as it is still of no use; `keep` is as for [`Self::waste`].
    ///
    /// # Errors
    /// [`HubError::Busy`] while another process works on some of it: then nothing is deleted.
    /// [`HubError::Disk`].
    pub fn clear(&self, waste: &[Waste], keep: &BTreeSet<String>) -> Result<(), HubError> {
        let _locks = hold(waste.iter().flat_map(Waste::needs))?;
        let now = self.again()?;
        let is_listed = |path: &Path| waste.iter().any(|item| item.path == path);
        // A commit that has come since is not one that was asked about.
        let new = now.revisions.iter().filter(|new| !is_listed(&new.folder));
        let mut keep = keep.clone();
        keep.extend(new.map(|revision| revision.commit.clone()));
        for item in now.unused(&keep) {
            if is_listed(&item.path) {
                delete(&item.path)?;
            }
        }
        Ok(())
    }

    /// Deletes the repository from the cache: first what points to others, so that no name without
    /// contents is left if that is interrupted.
    ///
    /// # Errors
    /// [`HubError::Busy`] while a file of it is being downloaded: then nothing is deleted.
    /// [`HubError::Disk`].
    pub fn remove(&self) -> Result<(), HubError> {
        let now = self.again()?;
        let contents = || now.blobs.iter().chain(&now.partials);
        let own = contents().map(|path| (now.lock(path), path.as_path()));
        let others = now.all_locks().into_iter();
        let others = others.map(|lock| (lock, now.folder.as_path()));
        let _locks = hold(others.chain(own))?;
        // A download that begins at this moment has its own blob, and its folder.
        let (blobs, snapshots) = (now.folder.join("blobs"), now.folder.join("snapshots"));
        for path in entries(&now.folder)? {
            if path != blobs && path != snapshots {
                delete(&path)?;
            }
        }
        let files = now.revisions.iter().flat_map(|revision| &revision.files);
        let files = files.map(|file| &file.path).chain(&now.leftovers);
        for path in files.chain(contents()) {
            delete(path)?;
        }
        for folder in [&snapshots, &blobs, &now.folder] {
            delete_empty(folder)?;
        }
        // The locks stay: another process may hold one or wait for it.
        Ok(())
    }

    /// As it is now.
    fn again(&self) -> Result<Self, HubError> {
        scan_repo(self.repo.clone(), self.folder.clone(), self.locks.clone())
    }

    /// The lock of contents, or of their beginning.
    fn lock(&self, blob: &Path) -> PathBuf {
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        let etag = name.strip_suffix(INCOMPLETE).unwrap_or(&name);
        self.locks.join(format!("{etag}.lock"))
    }

    fn all_locks(&self) -> Vec<PathBuf> {
        entries(&self.locks).unwrap_or_default()
    }
}

/// Interrupted downloads of release files that nobody goes on with.
///
/// # Errors
/// [`HubError::Disk`].
pub fn release_waste(options: &HubOptions) -> Result<Vec<Waste>, HubError> {
    let paths = entries(&options.own_cache.join("release"))?;
    let partials = paths.into_iter().filter(|path| is_unfinished(path));
    let waste = partials.map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(INCOMPLETE).unwrap_or(&name);
        Waste {
            locks: vec![lock_path(name, options)],
            size: length(&path),
            kind: WasteKind::Partial,
            path,
        }
    });
    Ok(waste.filter(|item| !item.is_busy()).collect())
}

/// Deletes what [`release_waste`] has listed.
///
/// # Errors
/// [`HubError::Busy`] for the first that another process goes on with; [`HubError::Disk`].
pub fn clear_releases(waste: &[Waste]) -> Result<(), HubError> {
    for item in waste {
        let _locks = hold(item.needs())?;
        delete(&item.path)?;
    }
    Ok(())
}

/// Deletes a release file, and what may be left of an interrupted download of it.
///
/// # Errors
/// [`HubError::Busy`] while it is being downloaded; [`HubError::Disk`].
pub fn remove_release(file: &CachedFile, options: &HubOptions) -> Result<(), HubError> {
    let _locks = hold([(lock_path(&file.name, options), file.path.as_path())])?;
    delete(&file.path)?;
    delete(&incomplete(&file.path))
}

/// Takes locks, each with what it is needed for: all or none.
fn hold<'a>(needed: impl IntoIterator<Item = (PathBuf, &'a Path)>) -> Result<Vec<Lock>, HubError> {
    // Taken twice, a lock would wait for itself.
    let needed: BTreeMap<PathBuf, &Path> = needed.into_iter().collect();
    let take = |(lock, what): (PathBuf, &Path)| {
        Lock::attempt(&lock)?.ok_or_else(|| HubError::Busy {
            path: what.to_owned(),
        })
    };
    needed.into_iter().map(take).collect()
}

fn is_held(lock: &Path) -> bool {
    lock.is_file() && matches!(Lock::attempt(lock), Ok(None) | Err(_))
}

/// Deletes a file, a link or a folder, if it is there.
fn delete(path: &Path) -> Result<(), HubError> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(disk("delete", path)),
    }
}

/// Deletes a folder as far as there is nothing but folders in it.
fn delete_empty(folder: &Path) -> Result<(), HubError> {
    let entries = WalkDir::new(folder).contents_first(true).into_iter();
    for entry in entries.flatten().filter(|entry| entry.file_type().is_dir()) {
        match fs::remove_dir(entry.path()) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) =>
            {
                return Err(disk("delete", entry.path())(error));
            }
            _ => {}
        }
    }
    Ok(())
}
