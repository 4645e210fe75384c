//! SHA-256 of a file, and the hash that PyTorch puts into the names of its release files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::WeightsError;

/// Fewest digits that make a file name a promise about its content.
const MIN_DIGITS: usize = 8;

/// SHA-256 of the file at `path`, as 64 lower-case hexadecimal digits. Reads it in small pieces.
///
/// # Errors
/// [`WeightsError::Unreadable`].
pub fn sha256_of(path: &Path) -> Result<String, WeightsError> {
    let unreadable = |error| WeightsError::Unreadable {
        file: path.display().to_string(),
        error,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Checks the content of `path` against the hash in a release's `file_name`.
///
/// PyTorch names a release `name-<first digits of its SHA-256>.pth` and compares them after a
/// download (`check_hash` of `torch.hub`). The two arguments differ where a download has another
/// name on disk.
///
/// # Errors
/// [`WeightsError::HashMismatch`]; [`WeightsError::NotReleaseName`] where `file_name` has fewer
/// than 8 digits; [`WeightsError::Unreadable`].
pub fn check_release_name(path: &Path, file_name: &str) -> Result<(), WeightsError> {
    let stem = file_name
        .rsplit_once('.')
        .map_or(file_name, |(stem, _)| stem);
    let digits = stem
        .rsplit_once('-')
        .map(|(_, digits)| digits)
        .filter(|digits| (MIN_DIGITS..=64).contains(&digits.len()))
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(|| WeightsError::NotReleaseName {
            file_name: file_name.to_owned(),
        })?
        .to_ascii_lowercase();
    let found = sha256_of(path)?;
    if found.starts_with(&digits) {
        return Ok(());
    }
    Err(WeightsError::HashMismatch {
        file: path.display().to_string(),
        expected: digits,
        found,
    })
}
