//! A temporary file for images that come as a stream.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::{EvalError, Source};

/// Keeps the images of what can be read only once, or only sequentially, in one temporary file. The
/// file is unlinked, so nothing is left of it however the process ends.
#[derive(Debug, Default)]
pub(super) struct Spool {
    file: Option<Arc<Mutex<File>>>,
    /// Bytes in the file.
    pub length: u64,
}

impl Spool {
    /// Appends bytes of an image.
    ///
    /// # Errors
    /// [`EvalError::Spool`].
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), EvalError> {
        let file = self.file()?;
        let mut open = file.lock().unwrap_or_else(PoisonError::into_inner);
        open.write_all(bytes).map_err(unusable)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The image whose bytes were appended from `offset` on.
    ///
    /// # Errors
    /// [`EvalError::Spool`].
    pub(super) fn since(&mut self, offset: u64) -> Result<Source, EvalError> {
        Ok(Source::Spooled {
            file: self.file()?,
            offset,
            length: usize::try_from(self.length - offset)
                .map_err(|error| unusable(io::Error::other(error)))?,
        })
    }

    fn file(&mut self) -> Result<Arc<Mutex<File>>, EvalError> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(Mutex::new(tempfile::tempfile().map_err(unusable)?));
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

fn unusable(error: io::Error) -> EvalError {
    EvalError::Spool {
        folder: std::env::temp_dir().display().to_string(),
        error,
    }
}

/// The bytes of a stored image.
pub(super) fn read(file: &Mutex<File>, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
