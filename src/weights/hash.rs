//! The hash that PyTorch puts into the names of its release files.

use std::path::Path;

use super::WeightsError;
use crate::digest::Digest;

/// Fewest digits that make a file name a promise about its content.
const MIN_DIGITS: usize = 8;
/// All digits of a SHA-256.
const MAX_DIGITS: usize = 64;

/// The first digits of the SHA-256 that the name of a release file promises: `c7b49a05` for
/// `senet154-c7b49a05.pth`, `None` for a name without any.
///
/// As in `torch.hub`, they are lower-case, follow a `-` and end at a `.`, wherever in the name that
/// is. Unlike there, at least 8 are needed: fewer would promise little.
pub(crate) fn release_digits(file_name: &str) -> Option<&str> {
    file_name.match_indices('-').find_map(|(at, _)| {
        let (digits, _) = file_name[at + 1..].split_once('.')?;
        let hexadecimal = digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hexadecimal && (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())).then_some(digits)
    })
}

/// Compares the content of a release file with its digest, such as the digits in its name, as `check_hash` of
/// `torch.hub` does after a download.
///
/// # Errors
/// [`WeightsError::HashMismatch`], [`WeightsError::Unreadable`].
pub(crate) fn check_release(path: &Path, digest: &Digest) -> Result<(), WeightsError> {
    let file = || path.display().to_string();
    let found = digest
        .of_file(path)
        .map_err(|error| WeightsError::Unreadable {
            file: file(),
            error,
        })?;
    if digest.matches(&found) {
        return Ok(());
    }
    Err(WeightsError::HashMismatch {
        file: file(),
        kind: digest.kind(),
        expected: digest.shown(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_found_wherever_torch_hub_finds_them() {
        for name in [
            "se_resnet50-ba7816bf.pth",
            "v0.1-ba7816bf.pth",
            "net-ba7816bf.v2.pth",
            "net-ba7816bf.pth.tar",
        ] {
            assert_eq!(release_digits(name), Some("ba7816bf"), "{name}");
        }
        for name in [
            "model.pth",
            "model-ba78.pth",
            "model-ba7816bx.pth",
            "model-BA7816BF.pth",
            "model-ba7816bf",
            "-",
        ] {
            assert_eq!(release_digits(name), None, "{name}");
        }
    }

    #[test]
    fn a_release_has_the_hash_in_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any name");
        std::fs::write(&path, b"abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sha256 = |digits: &str| Digest::Sha256(digits.to_owned());
        check_release(&path, &sha256("ba7816bf")).unwrap();
        check_release(&path, &sha256(sha)).unwrap();
        match check_release(&path, &sha256("ce0d4300")) {
            Err(WeightsError::HashMismatch {
                expected, found, ..
            }) => {
                assert_eq!((expected.as_str(), found.as_str()), ("ce0d4300…", sha));
            }
            other => panic!("{other:?}"),
        }
    }
}
