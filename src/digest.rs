//! What promises the contents of a file: SHA-256 for large files, git's SHA-1 for small ones, plain SHA-1
//! and SHA-384 for some authors' releases.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384};

/// A promise about the contents of a file, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    /// SHA-256, all 64 digits or the first ones.
    Sha256(String),
    /// SHA-1 of the contents as git stores them: 40 digits.
    GitBlob(String),
    /// SHA-1 of the contents: 40 digits.
    Sha1(String),
    /// SHA-384: 96 digits.
    Sha384(String),
}

impl Digest {
    /// What the name of a blob in the cache promises: it is the hub's etag. `None` for the etags of
    /// servers that count in another way.
    pub(crate) fn of_etag(etag: &str) -> Option<Self> {
        let hexadecimal = etag.bytes().all(|b| b.is_ascii_hexdigit());
        match etag.len() {
            64 if hexadecimal => Some(Self::Sha256(etag.to_ascii_lowercase())),
            40 if hexadecimal => Some(Self::GitBlob(etag.to_ascii_lowercase())),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::GitBlob(_) => "git SHA-1",
            Self::Sha1(_) => "SHA-1",
            Self::Sha384(_) => "SHA-384",
        }
    }

    /// The digits, with a mark where they are only the first ones.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Sha256(digits) if digits.len() < 64 => format!("{digits}…"),
            _ => self.digits().to_owned(),
        }
    }

    fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits)
            | Self::GitBlob(digits)
            | Self::Sha1(digits)
            | Self::Sha384(digits) => digits,
        }
    }

    /// Whether `found`, all digits of the same kind, keeps the promise.
    pub(crate) fn matches(&self, found: &str) -> bool {
        found.starts_with(self.digits())
    }

    /// This kind of digest of a file.
    pub(crate) fn of_file(&self, path: &Path) -> io::Result<String> {
        match self {
            Self::Sha256(_) => sha256(path),
            Self::GitBlob(_) => git_blob(path),
            Self::Sha1(_) => sha1(path),
            Self::Sha384(_) => sha384(path),
        }
    }
}

/// Two lower-case digits a byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a file in 64 lower-case hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    read_all(File::open(path)?, |bytes| hasher.update(bytes))?;
    Ok(hexadecimal(&hasher.finalize()))
}

fn sha384(path: &Path) -> io::Result<String> {
    let mut hasher = Sha384::new();
    read_all(File::open(path)?, |bytes| hasher.update(bytes))?;
    Ok(hexadecimal(&hasher.finalize()))
}

fn sha1(path: &Path) -> io::Result<String> {
    let mut hasher = Sha1::new();
    read_all(File::open(path)?, |bytes| hasher.update(bytes))?;
    Ok(hexadecimal(&hasher.finalize()))
}

/// <https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>: the kind and the length come first.
fn git_blob(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", file.metadata()?.len()));
    read_all(file, |bytes| hasher.update(bytes))?;
    Ok(hexadecimal(&hasher.finalize()))
}

/// Copies all bytes of `from` to `to`, and returns their SHA-1 in 40 lower-case hexadecimal digits.
pub(crate) fn copy_with_sha1(from: impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut hasher = Sha1::new();
    try_read_all(from, |bytes| {
        hasher.update(bytes);
        to.write_all(bytes)
    })?;
    Ok(hexadecimal(&hasher.finalize()))
}

/// Hands all bytes to `take`, in pieces.
fn read_all(file: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    try_read_all(file, |bytes| {
        take(bytes);
        Ok(())
    })
}

/// As [`read_all`], until `take` fails.
fn try_read_all(
    mut file: impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object x` and `sha256sum x`
        let git = Digest::of_etag("CE013625030BA8DBA906F756967F9E9CA394464A").unwrap();
        assert_eq!(git.of_file(&path).unwrap(), git.shown());
        let sha256 = Digest::Sha256("5891b5b5".to_owned());
        let found = sha256.of_file(&path).unwrap();
        assert!(
            sha256.matches(&found) && found.ends_with("6be03"),
            "{found}"
        );
        // `sha1sum x`
        let sha1 = Digest::Sha1("f572d396fae9206628714fb2ce00f72e94f2258f".to_owned());
        assert_eq!(sha1.of_file(&path).unwrap(), sha1.shown());
        // `sha384sum x`
        let sha384 = Digest::Sha384(
            "1d0f284efe3edea4b9ca3bd514fa134b17eae361ccc7a1eefeff801b9bd6604e\
             01f21f6bf249ef030599f0c218f2ba8c"
                .to_owned(),
        );
        assert_eq!(sha384.of_file(&path).unwrap(), sha384.shown());
        assert_eq!(Digest::of_etag("abc-1"), None);
    }
}
