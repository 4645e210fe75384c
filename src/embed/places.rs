//! Where a file of features is written, and what is there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::file::beside;
use super::writer::{Start, WriterOptions};
use super::{EmbedError, FeatureFile, FeatureHeader, Format, journal};
use crate::files::Target;

/// The file and those beside it.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) file: PathBuf,
    pub(super) part: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) errors: PathBuf,
}

impl Places {
    pub(super) fn new(path: &Path) -> Result<Self, EmbedError> {
        let file = match Target::find(path).map_err(EmbedError::unwritable(path))? {
            Target::File(file) => file,
            Target::Stream(_) => {
                let error = io::Error::other("it is not a regular file");
                return Err(EmbedError::unwritable(path)(error));
            }
        };
        Ok(Self {
            part: beside(&file, ".part"),
            journal: beside(&file, ".journal"),
            errors: beside(&file, ".errors.jsonl"),
            file,
        })
    }

    /// Whether a run is to be resumed.
    pub(super) fn check(&self, path: &Path, options: &WriterOptions) -> Result<bool, EmbedError> {
        let shown = || path.display().to_string();
        if journal::is_locked(&self.journal) {
            return Err(EmbedError::InUse { path: shown() });
        }
        if self.file.exists() && !self.part.exists() {
            // A run was killed between its last two steps, or before its first one.
            self.remove_journal()?;
        }
        let unfinished = self.part.exists() || self.journal.exists();
        match options.start {
            Start::New if unfinished => Err(EmbedError::Unfinished { path: shown() }),
            Start::New if self.file.exists() && !options.append => {
                Err(EmbedError::Exists { path: shown() })
            }
            Start::New | Start::Replace => Ok(false),
            // A whole file of another format does not say what it is of.
            Start::Resume
                if !unfinished && self.file.exists() && options.format != Format::Safetensors =>
            {
                Err(EmbedError::Exists { path: shown() })
            }
            Start::Resume => Ok(unfinished),
        }
    }

    pub(super) fn remove_journal(&self) -> Result<(), EmbedError> {
        match fs::remove_file(&self.journal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EmbedError::unwritable(&self.journal)(error))
            }
            _ => Ok(()),
        }
    }

    /// The file that is there, if there is one and its features are of the same kind.
    pub(super) fn old(
        &self,
        path: &Path,
        header: &FeatureHeader,
    ) -> Result<Option<FeatureFile>, EmbedError> {
        if !self.file.exists() {
            return Ok(None);
        }
        let old = FeatureFile::open(path)?;
        header.check_same(old.header(), path)?;
        Ok(Some(old))
    }

    /// The file that rows are added to, with those that count: so many bytes of it.
    pub(super) fn part(&self, length: u64, begins: bool) -> Result<File, EmbedError> {
        let open = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(begins)
                .open(&self.part)?;
            let found = file.metadata()?.len();
            if begins || found >= length {
                file.set_len(length)?;
            }
            file.seek(SeekFrom::End(0))?;
            Ok((file, found))
        };
        let (file, found) = open().map_err(EmbedError::unwritable(&self.part))?;
        if !begins && found < length {
            return Err(EmbedError::Damaged {
                path: self.part.display().to_string(),
                problem: format!(
                    "expected the {length} bytes of the last checkpoint, found {found}"
                ),
            });
        }
        Ok(file)
    }
}
