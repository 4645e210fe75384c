//! Pictures that come as a stream.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::{EvalError, Source};

/// Keeps pictures of what can be read only once, or only from its beginning, in one temporary file.
/// The file has no name, so that nothing is left of it whatever becomes of the process.
#[derive(Debug, Default)]
pub(super) struct Spool {
    file: Option<Arc<Mutex<File>>>,
    /// Bytes in the file.
    pub length: u64,
}

impl Spool {
    /// Appends the bytes of a picture.
    ///
    /// # Errors
    /// [`EvalError::Spool`].
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Result<Source, EvalError> {
        let mut keep = || {
            let file = match &mut self.file {
                Some(file) => file,
                file => file.insert(Arc::new(Mutex::new(tempfile::tempfile()?))),
            };
            let mut open = file.lock().unwrap_or_else(PoisonError::into_inner);
            open.write_all(bytes)?;
            Ok(Arc::clone(file))
        };
        let file = keep().map_err(|error| EvalError::Spool {
            folder: std::env::temp_dir().display().to_string(),
            error,
        })?;
        let offset = self.length;
        self.length += bytes.len() as u64;
        Ok(Source::Spooled {
            file,
            offset,
            length: bytes.len(),
        })
    }
}

/// The bytes of a picture that was kept.
pub(super) fn read(file: &Mutex<File>, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
