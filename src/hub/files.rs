//! Files of the caches: names of unfinished ones, writing and replacing, and what must not be replaced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::HubError;
#[cfg(not(unix))]
use crate::digest::Digest;

/// Name of the partial file of `target`. Python's client used the same.
pub(crate) fn incomplete(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(INCOMPLETE);
    target.with_file_name(name)
}

/// What the name of every unfinished file ends with.
pub(crate) const INCOMPLETE: &str = ".incomplete";

/// Whether a name is one that [`temporary_path`] gives.
pub(crate) fn is_leftover(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_suffix(INCOMPLETE)
        .and_then(|name| name.rsplit_once('.')?.1.split_once('-'))
        .is_some_and(|(process, count)| is_number(process) && is_number(count))
}

/// Name of the file that an unfinished one becomes, whichever of [`incomplete`] and [`temporary_path`] named
/// it.
pub(crate) fn finished_name(name: &str) -> &str {
    let rest = name.strip_suffix(INCOMPLETE).unwrap_or(name);
    match rest.rsplit_once('.') {
        Some((finished, _)) if is_leftover(name) => finished,
        _ => rest,
    }
}

#[cfg(unix)]
pub(crate) fn has_other_names(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

/// Rust has no stable API for it there.
#[cfg(not(unix))]
pub(crate) fn has_other_names(_metadata: &fs::Metadata) -> bool {
    false
}

/// Writes a small file of the cache atomically: to `path`, which is then renamed to `target`.
///
/// # Errors
/// The file system's.
pub(crate) fn write_whole(path: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(path, target)
    };
    write().inspect_err(|_| drop(fs::remove_file(path)))
}

/// Resolves `a/../b` to `b` by name alone: the system cannot do so for a blob that is missing.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Checks that a file at `path` would replace nothing, a regular file of this `cache`, or what `is_own`
/// says is the cache's. A file reached through a link below the cache may be anybody's.
///
/// # Errors
/// [`HubError::Foreign`].
pub(crate) fn check_place(
    cache: &Path,
    path: &Path,
    is_own: impl FnOnce(&fs::Metadata) -> bool,
) -> Result<(), HubError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if is_own(&metadata) {
        return Ok(());
    }
    if metadata.is_file() {
        return match link_above(cache, path) {
            Some(link) => Err(foreign(
                path,
                format!("a file behind the link {}", link.display()),
            )),
            None => Ok(()),
        };
    }
    Err(foreign(path, kind_of(&metadata)))
}

/// What lies where a regular file should be.
pub(crate) fn kind_of(metadata: &fs::Metadata) -> &'static str {
    if metadata.is_symlink() {
        "a link"
    } else if metadata.is_dir() {
        "a folder"
    } else {
        "a device, a pipe or a socket"
    }
}

pub(crate) fn foreign(path: &Path, found: impl Into<String>) -> HubError {
    HubError::Foreign {
        path: path.to_owned(),
        found: found.into(),
    }
}

/// The first folder between `root` and `path` that is a link.
pub(crate) fn link_above<'a>(root: &Path, path: &'a Path) -> Option<&'a Path> {
    let folders = path.ancestors().skip(1);
    folders
        .take_while(|folder| *folder != root)
        .find(|folder| folder.is_symlink())
}

/// Replaces `pointer` with a symbolic link to `target`, else a hard link to the blob, else the blob
/// itself: there is one copy, whatever the file system supports.
pub(crate) fn show(blob: &Path, pointer: &Path, target: Option<&Path>) -> io::Result<()> {
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = temporary_path(pointer);
    let linked = target.is_some_and(|target| symlink(target, &temporary).is_ok())
        || fs::hard_link(blob, &temporary).is_ok();
    if linked {
        let result = fs::rename(&temporary, pointer);
        // If both are names of one file already, POSIX lets `rename` succeed and do nothing.
        drop(fs::remove_file(&temporary));
        result
    } else {
        fs::rename(blob, pointer)
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// A name in the same folder that no other thread or process uses.
pub(crate) fn temporary_path(target: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = target.file_name().unwrap_or_default().to_owned();
    // Relaxed: additions to one value never collide, and only the number matters.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}{INCOMPLETE}", std::process::id()));
    target.with_file_name(name)
}

/// Adds the file to an error of the file system.
pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Disk {
        action,
        path,
        source,
    }
}

pub(crate) fn is_unfinished(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(INCOMPLETE.as_bytes())
}

/// The contents of a folder, by name; empty if there is no folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, HubError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut paths = match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        result => result.map_err(disk("read", folder))?,
    };
    paths.sort();
    Ok(paths)
}

pub(crate) fn length(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(unix)]
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Rust has no stable API for it there, so equal contents have to do.
#[cfg(not(unix))]
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    let name = a.file_name().and_then(|name| name.to_str());
    length(a) == length(b)
        && name
            .and_then(Digest::of_etag)
            .is_some_and(|digest| digest.of_file(b).is_ok_and(|found| digest.matches(&found)))
}
