//! What is in the caches: listing and checking it. Nothing here makes a request.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use super::list::CachedRelease;
use crate::digest::{self, Digest};
use crate::hub::cache::{LOCKS, is_commit, read_commit};
use crate::hub::files::{disk, entries, is_unfinished, length, plain, same_file};
use crate::hub::release::FOLDER;
use crate::hub::{HubError, HubOptions};
use crate::weights::release_digits;

/// Prefix of the folders of model repositories.
const PREFIX: &str = "models--";

/// One repository in the cache.
#[derive(Clone, Debug)]
pub struct CachedRepo {
    /// `organisation/name`
    pub repo: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its commits.
    pub revisions: Vec<CachedRevision>,
    /// Complete blobs, each once, whether a commit uses them or not.
    pub blobs: Vec<PathBuf>,
    /// Partial files whose download was interrupted, or is still running.
    pub partials: Vec<PathBuf>,
    /// Temporary files that a killed process left before renaming them.
    pub(super) leftovers: Vec<PathBuf>,
    pub(super) locks: PathBuf,
}

/// One commit of a repository.
#[derive(Clone, Debug)]
pub struct CachedRevision {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// Branches and tags that pointed to it when they were last asked for.
    pub refs: Vec<String>,
    /// Its files, by name.
    pub files: Vec<CachedFile>,
    pub(super) folder: PathBuf,
}

/// One file of a commit, or a release file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedFile {
    /// Path in the repository, or name of the release file.
    pub name: String,
    /// Path in the cache.
    pub path: PathBuf,
    /// Where the contents are: elsewhere if the path is a link.
    pub blob: PathBuf,
    /// Length in bytes; `None` if the contents are missing or are not a regular file.
    pub size: Option<u64>,
    /// When the contents were last read, as far as the file system says.
    pub used: Option<SystemTime>,
}

/// What a check of contents found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Integrity {
    /// They match the digest in their name.
    Good,
    /// They do not match it.
    Bad {
        /// The digest that was promised.
        expected: String,
        /// That of the contents.
        found: String,
    },
    /// The name exists, the contents do not.
    Missing,
    /// Their name contains no digest.
    Unknown,
}

impl CachedRepo {
    /// Bytes of everything in it, each counted once.
    pub fn size(&self) -> u64 {
        let moved = self.revisions.iter().flat_map(|revision| &revision.files);
        let moved = moved.filter(|file| self.blob_of(file).is_none());
        let files: u64 = moved.filter_map(|file| file.size).sum();
        let blobs: u64 = self.blobs.iter().chain(&self.partials).map(length).sum();
        files + blobs
    }

    /// When anything in it was last read.
    pub fn used(&self) -> Option<SystemTime> {
        let files = self.revisions.iter().flat_map(|revision| &revision.files);
        files.filter_map(|file| file.used).max()
    }

    /// The blob of a file, whose name contains the digest. Without symbolic links, the two may be hard
    /// links to the same contents, or the blob may have moved.
    pub(super) fn blob_of<'a>(&'a self, file: &'a CachedFile) -> Option<&'a Path> {
        if file.blob != file.path {
            return Some(&file.blob);
        }
        let twin = self.blobs.iter().find(|blob| same_file(blob, &file.path));
        twin.map(PathBuf::as_path)
    }

    /// Compares the contents of a file of this repository with the digest in the blob's name.
    ///
    /// # Errors
    /// [`HubError::Disk`].
    pub fn check(&self, file: &CachedFile) -> Result<Integrity, HubError> {
        if file.size.is_none() {
            return Ok(Integrity::Missing);
        }
        let blob = self.blob_of(file);
        let name = blob.and_then(|blob| blob.file_name()?.to_str());
        match name.and_then(Digest::of_etag) {
            Some(digest) => check_contents(&file.blob, &digest),
            None => Ok(Integrity::Unknown),
        }
    }
}

/// The repositories with models in the cache, by name. Those that this user may not read are skipped.
///
/// # Errors
/// [`HubError::Disk`] if the cache cannot be read; it need not exist.
pub fn scan(options: &HubOptions) -> Result<Vec<CachedRepo>, HubError> {
    let mut repos = Vec::new();
    for folder in entries(&options.cache)? {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(repo) = name.strip_prefix(PREFIX).filter(|_| folder.is_dir()) else {
            continue;
        };
        let locks = options.cache.join(LOCKS).join(name);
        let repo = repo.replace("--", "/");
        match scan_repo(repo, folder, locks) {
            Err(HubError::Disk { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied => {}
            repo => repos.push(repo?),
        }
    }
    repos.sort_by(|a, b| a.repo.cmp(&b.repo));
    Ok(repos)
}

pub(super) fn scan_repo(
    repo: String,
    folder: PathBuf,
    locks: PathBuf,
) -> Result<CachedRepo, HubError> {
    // Something else may be there, such as a file or a loop of links.
    let inside = |name: &str| {
        let folder = folder.join(name);
        if folder.is_dir() {
            entries(&folder)
        } else {
            Ok(Vec::new())
        }
    };
    let (partials, blobs) = inside("blobs")?
        .into_iter()
        .partition(|path| is_unfinished(path));
    let unplaced = entries(&folder)?.into_iter().chain(
        ["refs", "snapshots"]
            .iter()
            .flat_map(|part| WalkDir::new(folder.join(part)).into_iter().flatten())
            .filter(|entry| !entry.file_type().is_dir())
            .map(walkdir::DirEntry::into_path),
    );
    let leftovers = unplaced.filter(|path| is_unfinished(path)).collect();
    let refs = references(&folder.join("refs"));
    let mut revisions = Vec::new();
    for snapshot in inside("snapshots")? {
        let name = snapshot.file_name().and_then(|name| name.to_str());
        let Some(commit) = name.filter(|name| is_commit(name)).map(str::to_owned) else {
            continue;
        };
        let of = |(_, at): &&(String, String)| *at == commit;
        revisions.push(CachedRevision {
            refs: refs
                .iter()
                .filter(of)
                .map(|(name, _)| name.clone())
                .collect(),
            files: files(&snapshot),
            folder: snapshot,
            commit,
        });
    }
    Ok(CachedRepo {
        repo,
        folder,
        revisions,
        blobs,
        partials,
        leftovers,
        locks,
    })
}

/// Branches and tags with their commits.
fn references(folder: &Path) -> Vec<(String, String)> {
    let files = WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .flatten();
    files
        .filter(|entry| !entry.file_type().is_dir() && !is_unfinished(entry.path()))
        .filter_map(|entry| {
            let name = relative(entry.path(), folder)?;
            Some((name, read_commit(entry.path())?))
        })
        .collect()
}

fn files(snapshot: &Path) -> Vec<CachedFile> {
    let entries = WalkDir::new(snapshot)
        .sort_by_file_name()
        .into_iter()
        .flatten();
    entries
        .filter(|entry| !entry.file_type().is_dir() && !is_unfinished(entry.path()))
        .filter_map(|entry| {
            let path = entry.path();
            let blob = fs::read_link(path).map_or_else(
                |_| path.to_owned(),
                |target| plain(&path.parent().unwrap_or(snapshot).join(target)),
            );
            Some(file(relative(path, snapshot)?, path.to_owned(), blob))
        })
        .collect()
}

fn file(name: String, path: PathBuf, blob: PathBuf) -> CachedFile {
    let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file);
    CachedFile {
        size: metadata.as_ref().map(fs::Metadata::len),
        used: metadata.and_then(|metadata| metadata.accessed().ok()),
        name,
        path,
        blob,
    }
}

fn relative(path: &Path, folder: &Path) -> Option<String> {
    let path = path.strip_prefix(folder).ok()?;
    let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

/// The release files in the program's own cache, by name.
///
/// # Errors
/// As [`scan`].
pub fn scan_releases(options: &HubOptions) -> Result<Vec<CachedFile>, HubError> {
    let paths = entries(&options.own_cache.join(FOLDER))?;
    let files = paths.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        (path.is_file() && !is_unfinished(&path)).then(|| file(name, path.clone(), path))
    });
    Ok(files.collect())
}

/// Compares a release file with the digest that its card or the digits in its name promise.
///
/// # Errors
/// [`HubError::Disk`].
pub fn check_release(release: &CachedRelease) -> Result<Integrity, HubError> {
    let of_card = release.release().and_then(|release| release.digest());
    let of_name = || release_digits(&release.file.name).map(|d| Digest::Sha256(d.to_owned()));
    match of_card.or_else(of_name) {
        Some(digest) => check_contents(&release.file.path, &digest),
        None => Ok(Integrity::Unknown),
    }
}

/// SHA-256 of a file in the cache, and its length in bytes.
///
/// # Errors
/// [`HubError::Disk`].
pub(super) fn fingerprint(path: &Path) -> Result<(String, u64), HubError> {
    let measure = || Ok((digest::sha256(path)?, fs::metadata(path)?.len()));
    measure().map_err(disk("read", path))
}

fn check_contents(path: &Path, digest: &Digest) -> Result<Integrity, HubError> {
    let found = match digest.of_file(path) {
        // It may have been deleted since the scan.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Integrity::Missing),
        found => found.map_err(disk("read", path))?,
    };
    Ok(if digest.matches(&found) {
        Integrity::Good
    } else {
        Integrity::Bad {
            expected: digest.shown(),
            found,
        }
    })
}
