//! One process at a time downloads a file; the others wait for it.
//!
//! The lock is the operating system's, on the file that Python's client locks for the same contents
//! (`.locks/models--ORG--NAME/ETAG.lock` in the cache), so the two wait for each other as well. It is
//! released when its process ends, however that happens. The empty file stays, as Python's does:
//! deleting it could let two processes hold a lock of the same name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::HubError;
use super::files::{disk, foreign, kind_of};
use crate::files::has_no_locks;

/// How often a waiting process tries again.
const INTERVAL: Duration = Duration::from_millis(100);

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    /// `None` where the file system has no locks.
    file: Option<File>,
}

impl FileLock {
    /// Whether no other process writes; false where the file system has no locks.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.file.is_some()
    }

    /// Waits for the lock, without a limit: a download may take hours. `waiting` is called once if
    /// another holds it.
    ///
    /// # Errors
    /// As [`Self::try_acquire`].
    pub(crate) fn acquire(path: &Path, waiting: impl FnOnce()) -> Result<Self, HubError> {
        let mut waiting = Some(waiting);
        loop {
            match Self::try_acquire(path)? {
                Some(lock) => return Ok(lock),
                None => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    thread::sleep(INTERVAL);
                }
            }
        }
    }

    /// The lock, or `None` if another holds it.
    ///
    /// # Errors
    /// [`HubError::Foreign`], [`HubError::Disk`].
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>, HubError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(disk("create the folder", folder))?;
        }
        if let Ok(metadata) = fs::symlink_metadata(path)
            && !metadata.is_file()
        {
            return Err(foreign(path, kind_of(&metadata)));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(disk("open", path))?;
        match file.try_lock() {
            // A previous holder may have deleted the file, and others may have locked a new one.
            Ok(()) if !is_at(&file, path) => Ok(None),
            Ok(()) => Ok(Some(Self { file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                Ok(Some(Self { file: None }))
            }
            Err(TryLockError::Error(error)) => Err(disk("lock", path)(error)),
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// An open file cannot be deleted there.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.lock");
        let first = FileLock::acquire(&path, || panic!("nobody holds it")).unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        let mut told = false;
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(30));
                drop(first);
            });
            drop(FileLock::acquire(&path, || told = true).unwrap());
        });
        assert!(told);
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_on_a_deleted_file_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.lock");
        let held = FileLock::try_acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = FileLock::try_acquire(&path).unwrap();
        assert!(held.is_some() && second.is_some());
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
    }
}
