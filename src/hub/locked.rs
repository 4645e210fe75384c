//! A lock file: which files of the hub a piece of work uses, to the byte.
//!
//! It is TOML, one `[[file]]` for each file, in two forms:
//!
//! ```toml
//! version = 1
//!
//! [[file]]
//! repo = "timm/seresnet50.ra2_in1k"
//! revision = "main"  # what a card or a user asks for
//! commit = "0123456789abcdef0123456789abcdef01234567"  # what it stood for
//! file = "model.safetensors"
//! size = 112610000
//! sha256 = "…"
//!
//! [[file]]
//! release = "https://example.org/se_resnet50-ce0d4300.pth"
//! size = 112611220
//! sha256 = "…"
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HubError;
use super::cache::{disk, is_commit};
use super::digest;
use super::error::Location;
use super::partial::write_whole;

/// The format that this program writes and reads.
const VERSION: u32 = 1;

/// The files that may be used, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockFile {
    /// Where it lies; for messages.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<LockedFile>,
}

/// One file of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum LockedFile {
    /// A file of a repository.
    Hub {
        /// `organisation/name`
        repo: String,
        /// Branch, tag or commit that is asked for.
        revision: String,
        /// Commit that it stood for.
        commit: String,
        /// Path in the repository.
        file: String,
        /// Length in bytes.
        size: u64,
        /// SHA-256 of the contents, 64 hexadecimal digits.
        sha256: String,
    },
    /// A file outside the hub.
    Release {
        /// Its address.
        release: String,
        /// Length in bytes.
        size: u64,
        /// SHA-256 of the contents, 64 hexadecimal digits.
        sha256: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(rename = "file", default)]
    files: Vec<LockedFile>,
}

impl LockedFile {
    /// Length in bytes, and SHA-256.
    fn promise(&self) -> (u64, &str) {
        match self {
            Self::Hub { size, sha256, .. } | Self::Release { size, sha256, .. } => (*size, sha256),
        }
    }

    /// SHA-256 of the contents, 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        self.promise().1
    }
}

impl LockFile {
    /// Reads a lock file.
    ///
    /// # Errors
    /// [`HubError::Disk`]; [`HubError::LockFile`] for what is none.
    pub fn read(path: &Path) -> Result<Self, HubError> {
        let bad = |problem: String| HubError::LockFile {
            path: path.to_owned(),
            problem,
        };
        let text = fs::read_to_string(path).map_err(disk("read", path))?;
        let document: Document =
            toml::from_str(&text).map_err(|error| bad(error.to_string().trim_end().to_owned()))?;
        if document.version != VERSION {
            let found = document.version;
            return Err(bad(format!("expected version {VERSION}, found {found}")));
        }
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_hexdigit());
        for (index, file) in document.files.iter().enumerate() {
            if !digits(file.sha256(), 64) {
                let number = index + 1;
                return Err(bad(format!(
                    "file {number}: expected 64 hexadecimal digits in `sha256`, found `{}`",
                    file.sha256()
                )));
            }
            if let LockedFile::Hub { commit, .. } = file
                && !is_commit(commit)
            {
                let number = index + 1;
                return Err(bad(format!(
                    "file {number}: expected 40 hexadecimal digits in `commit`, found `{commit}`"
                )));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            files: document.files,
        })
    }

    /// Writes the lock file: whole, or not at all.
    ///
    /// # Errors
    /// [`HubError::Disk`].
    pub fn write(&self) -> Result<(), HubError> {
        let document = Document {
            version: VERSION,
            files: self.files.clone(),
        };
        let text = toml::to_string(&document).map_err(|error| HubError::LockFile {
            path: self.path.clone(),
            problem: error.to_string(),
        })?;
        let text = format!("# Written by `senet lock`; read by `--locked`.\n{text}");
        write_whole(&self.path, text.as_bytes()).map_err(disk("write", &self.path))
    }

    /// The entry of a file of a repository; the revision may be the one that was asked for, or its
    /// commit.
    pub(super) fn find(&self, repo: &str, revision: &str, file: &str) -> Option<(&str, &str)> {
        self.files.iter().find_map(|entry| match entry {
            LockedFile::Hub {
                repo: r,
                revision: asked,
                commit,
                file: f,
                sha256,
                ..
            } if r == repo
                && f == file
                && (asked == revision || commit.eq_ignore_ascii_case(revision)) =>
            {
                Some((commit.as_str(), sha256.as_str()))
            }
            _ => None,
        })
    }

    pub(super) fn has_release(&self, url: &str) -> bool {
        let is_it = |entry: &LockedFile| matches!(entry, LockedFile::Release { release, .. } if release == url);
        self.files.iter().any(is_it)
    }

    pub(super) fn refuse(&self, location: &Location) -> HubError {
        HubError::NotLocked {
            what: location.to_string(),
            lock: self.path.clone(),
        }
    }

    /// Checks that the contents of a file on this machine are those of one in the lock file: of the
    /// one with the hash that is `expected`, if that is known. They are read for that: a name proves
    /// nothing.
    ///
    /// # Errors
    /// [`HubError::NotLocked`], [`HubError::Disk`].
    pub fn check(&self, path: &Path, expected: Option<&str>) -> Result<(), HubError> {
        let size = fs::metadata(path).map_err(disk("read", path))?.len();
        let expected = |hash: &str| expected.is_none_or(|own| own.eq_ignore_ascii_case(hash));
        let fits = |file: &&LockedFile| file.promise().0 == size && expected(file.sha256());
        let candidates = || self.files.iter().filter(fits);
        // The length alone rules most files out.
        let is_listed = candidates().next().is_some() && {
            let found = digest::sha256(path).map_err(disk("read", path))?;
            candidates().any(|file| file.sha256().eq_ignore_ascii_case(&found))
        };
        if is_listed {
            return Ok(());
        }
        Err(HubError::NotLocked {
            what: path.display().to_string(),
            lock: self.path.clone(),
        })
    }
}
