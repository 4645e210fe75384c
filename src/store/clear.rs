//! Deletes from the caches what a user names, and what nothing can use.
//!
//! A download holds the lock of its contents, so a deletion acquires that lock first. What was unused
//! when it was listed may be in use by now, so it is checked again before it is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::scan::{CachedFile, CachedRepo, CachedRevision, scan_repo};
use super::sweep::{Removal, Room, sweep};
use crate::hub::file_lock::FileLock;
use crate::hub::files::{INCOMPLETE, entries, finished_name, incomplete, is_unfinished, same_file};
use crate::hub::release::{FOLDER, lock_path};
use crate::hub::{HubError, HubOptions};

/// Something in the cache that nothing uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaimable {
    /// File or folder.
    pub path: PathBuf,
    /// Bytes that deleting it alone frees.
    pub size: u64,
    /// What it is.
    pub kind: ReclaimableKind,
    /// A process that holds one of these may be about to use it.
    locks: Vec<PathBuf>,
}

/// Why nothing uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReclaimableKind {
    /// A partial file.
    Partial,
    /// Contents that no commit in the cache refers to.
    Contents,
    /// A commit that no branch points to.
    Revision,
}

impl Reclaimable {
    fn is_busy(&self) -> bool {
        self.locks.iter().any(|lock| is_held(lock))
    }

    fn needs(&self) -> impl Iterator<Item = (PathBuf, &Path)> {
        let locks = self.locks.iter().cloned();
        locks.map(|lock| (lock, self.path.as_path()))
    }
}

impl CachedRepo {
    /// What nothing can use: contents that no commit refers to, partial files that no process is
    /// downloading, and commits that no branch or tag points to, unless they are in `keep`. What the
    /// cache did not create is not listed.
    ///
    /// # Errors
    /// [`HubError::Disk`].
    pub fn reclaimable(&self, keep: &BTreeSet<String>) -> Result<Vec<Reclaimable>, HubError> {
        let mut items = self.unused(keep);
        items.retain(|item| item.kind != ReclaimableKind::Partial || !item.is_busy());
        let moved = self.has_moved_contents(&items);
        let removal = self.sweep(moved, &|path| is_in(path, &items), false)?;
        for item in &mut items {
            item.size = removal.size_in(&item.path);
        }
        items.retain(|item| removal.has(&item.path));
        Ok(items)
    }

    fn unused(&self, keep: &BTreeSet<String>) -> Vec<Reclaimable> {
        let is_old = |revision: &&CachedRevision| {
            revision.refs.is_empty() && !keep.contains(&revision.commit)
        };
        let (old, current): (Vec<_>, Vec<_>) = self.revisions.iter().partition(is_old);
        let current: Vec<&CachedFile> = current.iter().flat_map(|r| &r.files).collect();
        let is_used = |blob: &Path| {
            let of = |file: &&CachedFile| file.blob == blob || same_file(&file.blob, blob);
            current.iter().any(of)
        };
        let mut items: Vec<Reclaimable> = old
            .iter()
            .map(|revision| {
                let blobs = revision.files.iter().filter_map(|file| self.blob_of(file));
                Reclaimable {
                    path: revision.folder.clone(),
                    size: 0,
                    kind: ReclaimableKind::Revision,
                    locks: blobs.map(|blob| self.lock(blob)).collect(),
                }
            })
            .collect();
        let file = |path: &PathBuf, kind, locks| Reclaimable {
            path: path.clone(),
            size: 0,
            kind,
            locks,
        };
        let blobs = self.blobs.iter().filter(|blob| !is_used(blob));
        items
            .extend(blobs.map(|path| file(path, ReclaimableKind::Contents, vec![self.lock(path)])));
        let partials = self.partials.iter();
        items.extend(
            partials.map(|path| file(path, ReclaimableKind::Partial, vec![self.lock(path)])),
        );
        // Its name does not say whose it is, but a process about to rename it holds one of the locks.
        let leftovers = self.leftovers.iter();
        items.extend(leftovers.map(|path| file(path, ReclaimableKind::Partial, self.all_locks())));
        items
    }

    /// Deletes those of `items` that are still unused; `keep` is as for [`Self::reclaimable`]. Returns
    /// what was deleted and what was left.
    ///
    /// # Errors
    /// [`HubError::Busy`] if another process is using some of it; then nothing is deleted.
    /// [`HubError::Disk`].
    pub fn clear(
        &self,
        items: &[Reclaimable],
        keep: &BTreeSet<String>,
    ) -> Result<Removal, HubError> {
        let _locks = hold(items.iter().flat_map(Reclaimable::needs))?;
        let now = self.rescan()?;
        let is_listed = |path: &Path| items.iter().any(|item| item.path == path);
        // A commit that was added since then stays.
        let new = now.revisions.iter().filter(|new| !is_listed(&new.folder));
        let mut keep = keep.clone();
        keep.extend(new.map(|revision| revision.commit.clone()));
        let mut still = now.unused(&keep);
        still.retain(|item| is_listed(&item.path));
        if still.is_empty() {
            return Ok(Removal::default());
        }
        let moved = now.has_moved_contents(&still);
        self.sweep(moved, &|path| is_in(path, &still), true)
    }

    /// Whether a remaining commit has files that are not links. Only then may such files of other
    /// commits be deleted; otherwise a user may have put them there.
    fn has_moved_contents(&self, items: &[Reclaimable]) -> bool {
        let stay = self.revisions.iter();
        let stay = stay.filter(|revision| !is_in(&revision.folder, items));
        let mut files = stay.flat_map(|revision| &revision.files);
        files.any(|file| file.blob == file.path && file.size.is_some())
    }

    /// What [`Self::remove`] would delete, and what it would leave.
    ///
    /// # Errors
    /// [`HubError::Disk`].
    pub fn removal(&self) -> Result<Removal, HubError> {
        self.sweep(true, &|_| true, false)
    }

    /// Deletes the repository from the cache: links before their targets, so that an interruption leaves
    /// no name without contents. What the cache did not create is left and listed in the result.
    ///
    /// # Errors
    /// [`HubError::Busy`] if one of its files is being downloaded; then nothing is deleted.
    /// [`HubError::Disk`].
    pub fn remove(&self) -> Result<Removal, HubError> {
        let planned = self.removal()?;
        let blobs = self.folder.join("blobs");
        let contents = planned
            .gone
            .keys()
            .filter(|path| path.parent() == Some(&blobs));
        let own = contents.map(|path| (self.lock(path), path.as_path()));
        let others = self.all_locks().into_iter();
        let others = others.map(|lock| (lock, self.folder.as_path()));
        let _locks = hold(others.chain(own))?;
        // A download that begins at this moment keeps its blob and the folder.
        let done = self.sweep(true, &|path| planned.gone.contains_key(path), true)?;
        // The locks stay: another process may hold one or wait for it.
        Ok(Removal {
            left: planned.left,
            ..done
        })
    }

    fn sweep(
        &self,
        moved: bool,
        wanted: &dyn Fn(&Path) -> bool,
        delete: bool,
    ) -> Result<Removal, HubError> {
        let (Some(cache), Some(name)) = (self.folder.parent(), self.folder.file_name()) else {
            return Ok(Removal::default());
        };
        sweep(cache, name, Room::Repository, moved, wanted, delete)
    }

    /// The repository as it is now.
    fn rescan(&self) -> Result<Self, HubError> {
        scan_repo(self.repo.clone(), self.folder.clone(), self.locks.clone())
    }

    /// The lock of a blob or of its partial file.
    fn lock(&self, blob: &Path) -> PathBuf {
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        let etag = name.strip_suffix(INCOMPLETE).unwrap_or(&name);
        self.locks.join(format!("{etag}.lock"))
    }

    fn all_locks(&self) -> Vec<PathBuf> {
        let mut paths = entries(&self.locks).unwrap_or_default();
        paths.retain(|path| path.extension().is_some_and(|end| end == "lock") && path.is_file());
        paths
    }
}

/// Interrupted downloads of release files that no process is continuing.
///
/// # Errors
/// [`HubError::Disk`].
pub fn reclaimable_releases(options: &HubOptions) -> Result<Vec<Reclaimable>, HubError> {
    let removal = sweep_releases(options, &is_unfinished, false)?;
    let items = removal.gone.into_iter().map(|(path, size)| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Reclaimable {
            locks: vec![lock_path(finished_name(&name), options)],
            size,
            kind: ReclaimableKind::Partial,
            path,
        }
    });
    Ok(items.filter(|item| !item.is_busy()).collect())
}

/// Deletes what [`reclaimable_releases`] has listed.
///
/// # Errors
/// [`HubError::Busy`] for the first that another process is continuing; [`HubError::Disk`].
pub fn clear_releases(items: &[Reclaimable], options: &HubOptions) -> Result<Removal, HubError> {
    let mut done = Removal::default();
    for item in items {
        let _locks = hold(item.needs())?;
        done.add(sweep_releases(options, &|path| path == item.path, true)?);
    }
    Ok(done)
}

/// What [`remove_release`] would delete, and what it would leave.
///
/// # Errors
/// [`HubError::Disk`].
pub fn release_removal(file: &CachedFile, options: &HubOptions) -> Result<Removal, HubError> {
    sweep_releases(options, &is_of_release(file), false)
}

/// Deletes a release file, and its interrupted download if there is one. What the cache did not create
/// is left and listed in the result.
///
/// # Errors
/// [`HubError::Busy`] while it is being downloaded; [`HubError::Disk`].
pub fn remove_release(file: &CachedFile, options: &HubOptions) -> Result<Removal, HubError> {
    let _locks = hold([(lock_path(&file.name, options), file.path.as_path())])?;
    sweep_releases(options, &is_of_release(file), true)
}

fn is_of_release(file: &CachedFile) -> impl Fn(&Path) -> bool {
    let paths = [file.path.clone(), incomplete(&file.path)];
    move |path| paths.iter().any(|own| own == path)
}

fn sweep_releases(
    options: &HubOptions,
    wanted: &dyn Fn(&Path) -> bool,
    delete: bool,
) -> Result<Removal, HubError> {
    sweep(
        &options.own_cache,
        FOLDER.as_ref(),
        Room::Release,
        false,
        wanted,
        delete,
    )
}

/// Whether a path is one of `items` or inside one.
fn is_in(path: &Path, items: &[Reclaimable]) -> bool {
    items.iter().any(|item| path.starts_with(&item.path))
}

/// Acquires all locks or none; each comes with the path it protects.
fn hold<'a>(
    needed: impl IntoIterator<Item = (PathBuf, &'a Path)>,
) -> Result<Vec<FileLock>, HubError> {
    // A lock that is acquired twice would seem to be held by another process.
    let needed: BTreeMap<PathBuf, &Path> = needed.into_iter().collect();
    let take = |(lock, what): (PathBuf, &Path)| {
        FileLock::try_acquire(&lock)?.ok_or_else(|| HubError::Busy {
            path: what.to_owned(),
        })
    };
    needed.into_iter().map(take).collect()
}

fn is_held(lock: &Path) -> bool {
    lock.is_file() && matches!(FileLock::try_acquire(lock), Ok(None) | Err(_))
}
