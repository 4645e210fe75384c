//! SHA-256 of a file, and the hash that PyTorch puts into the names of its release files.

use std::path::Path;

use super::WeightsError;
use crate::digest;

/// Fewest digits that make a file name a promise about its content.
const MIN_DIGITS: usize = 8;
/// All digits of a SHA-256.
const MAX_DIGITS: usize = 64;

/// SHA-256 of the file at `path`, as 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`WeightsError::Unreadable`].
pub fn sha256_of(path: &Path) -> Result<String, WeightsError> {
    digest::sha256(path).map_err(|error| WeightsError::Unreadable {
        file: path.display().to_string(),
        error,
    })
}

/// The first digits of the SHA-256 that the name of a release file promises: `c7b49a05` for
/// `senet154-c7b49a05.pth`, `None` for a name without any.
///
/// As in `torch.hub`, they are lower-case, follow a `-` and end at a `.`, wherever in the name that
/// is. Unlike there, at least 8 are needed: fewer would promise little.
pub fn release_digits(file_name: &str) -> Option<&str> {
    file_name.match_indices('-').find_map(|(at, _)| {
        let (digits, _) = file_name[at + 1..].split_once('.')?;
        let hexadecimal = digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hexadecimal && (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())).then_some(digits)
    })
}

/// Checks the content of `path` against the hash in a release's `file_name`.
///
/// PyTorch names a release `name-<first digits of its SHA-256>.pth` and compares them after a
/// download (`check_hash` of `torch.hub`). The two arguments differ where a download has another
/// name on disk.
///
/// # Errors
/// [`WeightsError::HashMismatch`]; [`WeightsError::NotReleaseName`] where `file_name` has no
/// [`release_digits`]; [`WeightsError::Unreadable`].
pub fn check_release_name(path: &Path, file_name: &str) -> Result<(), WeightsError> {
    let digits = release_digits(file_name).ok_or_else(|| WeightsError::NotReleaseName {
        file_name: file_name.to_owned(),
    })?;
    let found = sha256_of(path)?;
    if found.starts_with(digits) {
        return Ok(());
    }
    Err(WeightsError::HashMismatch {
        file: path.display().to_string(),
        expected: digits.to_owned(),
        found,
    })
}
