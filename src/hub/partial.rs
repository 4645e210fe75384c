//! An unfinished file, under a temporary name until it is complete.
//!
//! It outlives the process, so that the next one can resume.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use super::HubError;
use super::file_lock::FileLock;
use super::files::{disk, foreign, has_other_names, incomplete, kind_of, temporary_path};
use super::hashing::{Hashing, PIECE};

/// Free space that a download leaves on the disk for everything else, in bytes.
const RESERVE: u64 = 16 << 20;

/// Bytes between syncs to the disk, so that little is left to write at the end.
const SYNC_EVERY: u64 = 16 << 20;

/// A partial file. It is kept unless it is discarded.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    /// The hash of what is there.
    hash: Hashing,
    /// Whether another process may resume it.
    kept: bool,
    /// Syncs to the disk alongside the download; a failure appears again at the end.
    sync: Option<JoinHandle<()>>,
    /// Length at which the next sync starts.
    next_sync: u64,
}

impl Partial {
    /// Opens `target.incomplete` to resume it, or creates it.
    ///
    /// If the lock cannot keep other processes out, the file gets a name that none of them uses.
    ///
    /// # Errors
    /// [`HubError::Foreign`], [`HubError::Disk`].
    pub(super) fn open(target: &Path, lock: &FileLock) -> Result<Self, HubError> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(disk("create the folder", folder))?;
        }
        let kept = lock.is_exclusive();
        let path = if kept {
            incomplete(target)
        } else {
            temporary_path(target)
        };
        if let Ok(metadata) = fs::symlink_metadata(&path) {
            if !metadata.is_file() {
                return Err(foreign(&path, kind_of(&metadata)));
            }
            // Resuming would change the file under its other name, too.
            if has_other_names(&metadata) {
                return Err(foreign(&path, "a file that has another name, too"));
            }
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(disk("create", &path))?;
        let mut partial = Self {
            path,
            file,
            len: 0,
            hash: Hashing::default(),
            kept,
            sync: None,
            next_sync: SYNC_EVERY,
        };
        partial.load()?;
        Ok(partial)
    }

    /// Hashes what an earlier attempt left; writing continues at its end.
    fn load(&mut self) -> Result<(), HubError> {
        let mut buffer = vec![0; PIECE];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    buffer = self.hash.add(buffer, count);
                    self.len += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(disk("read", &self.path)(error)),
            }
        }
    }

    /// Bytes that are there.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// SHA-256 of the bytes that are there.
    pub(super) fn sha256(&mut self) -> String {
        self.hash.hex()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the first `count` bytes of `buffer` and returns another buffer of [`PIECE`] bytes.
    ///
    /// # Errors
    /// [`HubError::Disk`].
    pub(super) fn append(&mut self, buffer: Vec<u8>, count: usize) -> Result<Vec<u8>, HubError> {
        self.file
            .write_all(&buffer[..count])
            .map_err(disk("write", &self.path))?;
        self.len += count as u64;
        if self.len >= self.next_sync {
            self.sync_in_background();
        }
        Ok(self.hash.add(buffer, count))
    }

    fn sync_in_background(&mut self) {
        self.next_sync = self.len + SYNC_EVERY;
        // One sync at a time, however slow the disk is.
        let is_busy = self.sync.as_ref().is_some_and(|sync| !sync.is_finished());
        if !is_busy && let Ok(file) = self.file.try_clone() {
            self.sync = Some(thread::spawn(move || drop(file.sync_data())));
        }
    }

    /// Discards the bytes that are there.
    pub(super) fn restart(&mut self) -> Result<(), HubError> {
        let empty = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0)).map(drop)
        };
        empty(&mut self.file).map_err(disk("write", &self.path))?;
        self.hash = Hashing::default();
        self.len = 0;
        self.next_sync = SYNC_EVERY;
        Ok(())
    }

    /// Fails if there is not enough disk space for the rest of a file of `size` bytes.
    ///
    /// # Errors
    /// [`HubError::NoSpace`]. A disk that does not report its free space passes.
    pub(super) fn check_space(&self, size: u64) -> Result<(), HubError> {
        check_space(&self.path, size.saturating_sub(self.len))
    }

    /// Gives the file its name, once its bytes are on the disk: a crash must not leave a short file
    /// under a final name.
    pub(super) fn finish(mut self, target: &Path) -> Result<(), HubError> {
        self.file.sync_all().map_err(disk("write", &self.path))?;
        fs::rename(&self.path, target).map_err(disk("write", target))?;
        self.kept = true;
        Ok(())
    }

    /// Deletes the file: its bytes are not what was promised.
    pub(super) fn discard(mut self) {
        self.kept = false;
    }
}

/// Fails if there is not enough space for `needed` more bytes on the disk of the file at `path`.
///
/// # Errors
/// [`HubError::NoSpace`]. A disk that does not report its free space passes.
pub(super) fn check_space(path: &Path, needed: u64) -> Result<(), HubError> {
    let Ok(available) = fs4::available_space(path) else {
        return Ok(());
    };
    if needed == 0 || needed.saturating_add(RESERVE) <= available {
        return Ok(());
    }
    Err(HubError::NoSpace {
        folder: path.parent().unwrap_or(path).to_owned(),
        needed,
        reserve: RESERVE,
        available,
    })
}

impl Drop for Partial {
    fn drop(&mut self) {
        // An empty file does not help the next attempt.
        if !self.kept || self.len == 0 && is_empty(&self.file) {
            // A failure to delete it cannot be reported from here.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() == 0)
}
