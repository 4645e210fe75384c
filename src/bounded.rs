//! Files that are read whole, but never beyond a limit: a name may stand for a device without an end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::text;

/// The longest configuration, card or lockfile, in bytes.
pub(crate) const SMALL: u64 = 16 << 20;

/// Reads a file that the user has named, which may be a pipe.
///
/// # Errors
/// If it cannot be read or has more than `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let reason = format!("it has more than {most} bytes, the limit for such a file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// The same of a text, in any encoding that [`text`] knows; an empty one is an error.
pub(crate) fn read_to_string(path: &Path, most: u64) -> io::Result<String> {
    Ok(text::read(path, most)?)
}

/// Reads a text that lies where the program looks: a pipe there would be waited for without end.
///
/// # Errors
/// As [`read`]; and if it is not a regular file.
pub(crate) fn read_found(path: &Path, most: u64) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    read_to_string(path, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_last_length_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_found(&path, 4).unwrap(), "four");
        let error = read(&path, 3).unwrap_err().to_string();
        assert_eq!(error, "it has more than 3 bytes, the limit for such a file");
        let error = read_found(folder.path(), 4).unwrap_err().to_string();
        assert_eq!(error, "it is not a regular file");
    }
}
