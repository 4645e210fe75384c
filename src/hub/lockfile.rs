//! A lockfile: exactly which files a piece of work uses.
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
use super::files::disk;
use super::location::Location;
use crate::bounded;
use crate::digest;
use crate::files;
use crate::quote::excerpt;

/// The action in errors about a lockfile, which is not part of a cache.
pub(super) const WRITE_LOCK: &str = "write the lockfile";

/// The format that this program writes and reads.
const VERSION: u32 = 1;

/// The files that may be used, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockfile {
    /// Its path, for messages.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<LockedFile>,
}

/// One file of a lockfile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
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

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(rename = "file")]
    files: &'a [LockedFile],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    version: u32,
    #[serde(rename = "file", default)]
    files: Vec<Row>,
}

/// A file in either form, before it is known which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    repo: Option<String>,
    revision: Option<String>,
    commit: Option<String>,
    file: Option<String>,
    release: Option<String>,
    size: u64,
    sha256: String,
}

impl Row {
    /// # Errors
    /// What was expected and what was found.
    fn check(self) -> Result<LockedFile, String> {
        let digits = |name: &str, text: &str, count: usize| {
            if text.len() == count && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Ok(());
            }
            Err(format!(
                "expected {count} hexadecimal digits in `{name}`, found `{text}`"
            ))
        };
        digits("sha256", &self.sha256, 64)?;
        let (size, sha256) = (self.size, self.sha256);
        match (
            self.repo,
            self.revision,
            self.commit,
            self.file,
            self.release,
        ) {
            (None, None, None, None, Some(release)) => Ok(LockedFile::Release {
                release,
                size,
                sha256,
            }),
            (Some(repo), Some(revision), Some(commit), Some(file), None) => {
                digits("commit", &commit, 40)?;
                Ok(LockedFile::Hub {
                    repo,
                    revision,
                    commit,
                    file,
                    size,
                    sha256,
                })
            }
            (repo, revision, commit, file, release) => {
                let names = ["repo", "revision", "commit", "file", "release"];
                let found: Vec<String> = names
                    .iter()
                    .zip([repo, revision, commit, file, release])
                    .filter(|(_, value)| value.is_some())
                    .map(|(name, _)| format!("`{name}`"))
                    .collect();
                let found = match &found[..] {
                    [] => "none of them".to_owned(),
                    some => some.join(", "),
                };
                Err(format!(
                    "expected either `repo`, `revision`, `commit` and `file`, or `release`, found {found}"
                ))
            }
        }
    }
}

impl LockedFile {
    /// Length in bytes, and SHA-256.
    fn promise(&self) -> (u64, &str) {
        match self {
            Self::Hub { size, sha256, .. } | Self::Release { size, sha256, .. } => (*size, sha256),
        }
    }

    /// The file's name, if it is one of this repository at this revision or commit.
    fn name_in(&self, repository: &str, at: &str) -> Option<&str> {
        match self {
            Self::Hub {
                repo,
                revision,
                commit,
                file,
                ..
            } if repo == repository && (revision == at || commit.eq_ignore_ascii_case(at)) => {
                Some(file)
            }
            _ => None,
        }
    }

    /// SHA-256 of the contents, 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        self.promise().1
    }
}

impl Lockfile {
    /// Reads a lockfile.
    ///
    /// # Errors
    /// [`HubError::Disk`]; [`HubError::Lockfile`] if it is not a valid lockfile.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, HubError> {
        let path = path.as_ref();
        let bad = |problem: String| HubError::Lockfile {
            path: path.to_owned(),
            problem,
        };
        let text = bounded::read_to_string(path, bounded::SMALL).map_err(disk("read", path))?;
        let rows: Rows = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or(&text).matches('\n').count() + 1;
            bad(format!("line {line}: {}", excerpt(error.message())))
        })?;
        if rows.version != VERSION {
            let found = rows.version;
            return Err(bad(format!("expected version {VERSION}, found {found}")));
        }
        let numbered = (1..).zip(rows.files);
        let files = numbered.map(|(number, row)| {
            row.check()
                .map_err(|problem| bad(format!("file {number}: {problem}")))
        });
        Ok(Self {
            path: path.to_owned(),
            files: files.collect::<Result<_, _>>()?,
        })
    }

    /// Writes the lockfile atomically. A link is kept, and a device, pipe or socket is written to.
    ///
    /// # Errors
    /// [`HubError::Disk`].
    pub fn write(&self) -> Result<(), HubError> {
        let document = Document {
            version: VERSION,
            files: &self.files,
        };
        let text = toml::to_string(&document).map_err(|error| HubError::Lockfile {
            path: self.path.clone(),
            problem: error.to_string(),
        })?;
        let text = format!("# The files of models that may be used, written by senet.\n{text}");
        let folder = self.path.parent().unwrap_or(&self.path);
        let written =
            fs::create_dir_all(folder).and_then(|()| files::write(&self.path, text.as_bytes()));
        written.map_err(disk(WRITE_LOCK, &self.path))
    }

    /// The entry of a file of a repository; the revision may be the one that was asked for, or its
    /// commit.
    pub(crate) fn find(&self, repo: &str, revision: &str, file: &str) -> Option<&LockedFile> {
        self.files
            .iter()
            .find(|entry| entry.name_in(repo, revision) == Some(file))
    }

    /// The entries of a repository at a revision.
    pub(crate) fn entries(&self, repo: &str, revision: &str) -> impl Iterator<Item = &LockedFile> {
        let is_its = move |entry: &&LockedFile| entry.name_in(repo, revision).is_some();
        self.files.iter().filter(is_its)
    }

    /// Names of a repository's files that are listed at a revision, sorted.
    pub(crate) fn names(&self, repo: &str, revision: &str) -> Vec<String> {
        let listed = self.files.iter();
        let listed = listed.filter_map(|entry| entry.name_in(repo, revision));
        let mut names: Vec<String> = listed.map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The entry of a release file.
    pub(crate) fn find_release(&self, url: &str) -> Option<&LockedFile> {
        let is_it = |entry: &&LockedFile| matches!(entry, LockedFile::Release { release, .. } if release == url);
        self.files.iter().find(is_it)
    }

    pub(super) fn not_listed(&self, location: &Location) -> HubError {
        HubError::NotLocked {
            what: location.to_string(),
            lock: self.path.clone(),
        }
    }

    /// Checks that a file has the contents of one of the entries, by reading it: a name proves nothing.
    pub(crate) fn check(&self, path: &Path, entries: &[&LockedFile]) -> Result<(), HubError> {
        let size = fs::metadata(path).map_err(disk("read", path))?.len();
        // The length alone rules most files out.
        let candidates = entries.iter().filter(|entry| entry.promise().0 == size);
        let found = match candidates.clone().next() {
            Some(_) => Some(digest::sha256(path).map_err(disk("read", path))?),
            None => None,
        };
        let mut candidates = candidates.map(|entry| entry.sha256());
        if let Some(found) = &found
            && candidates.any(|sha256| sha256.eq_ignore_ascii_case(found))
        {
            return Ok(());
        }
        let shown = |(size, sha256): (u64, Option<&str>)| {
            let hash = sha256.map(|sha256| format!(" with the SHA-256 {sha256}"));
            format!("{size} bytes{}", hash.unwrap_or_default())
        };
        match entries {
            [entry] => {
                let (expected_size, sha256) = entry.promise();
                Err(HubError::NotAsLocked {
                    path: path.to_owned(),
                    lock: self.path.clone(),
                    expected: shown((expected_size, Some(sha256))),
                    found: shown((size, found.as_deref())),
                })
            }
            _ => Err(HubError::NotLocked {
                what: path.display().to_string(),
                lock: self.path.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_lockfile_is_an_error_that_says_where_and_what() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.lock");
        let file = |lines: &str| format!("version = 1\n[[file]]\nsize = 1\n{lines}");
        let hash = "a".repeat(64);
        for (text, words) in [
            ("version = 2\n".to_owned(), "expected version 1, found 2"),
            ("[[file]]\n".to_owned(), "missing field `size`"),
            (
                file("sha256 = \"abc\"\nrelease = \"x\"\n"),
                "file 1: expected 64 hexadecimal digits in `sha256`, found `abc`",
            ),
            (
                file(&format!(
                    "sha256 = \"{hash}\"\nrepo = \"a/b\"\nfile = \"c\"\n"
                )),
                "file 1: expected either `repo`, `revision`, `commit` and `file`, or `release`, \
                 found `repo`, `file`",
            ),
            (
                file(&format!("sha256 = \"{hash}\"\n")),
                "found none of them",
            ),
            (file("sha265 = \"abc\"\n"), "line 4"),
        ] {
            fs::write(&path, &text).unwrap();
            let message = Lockfile::read(&path).unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
            assert!(message.contains("my.lock"), "{message}");
        }
    }
}
