//! From a spec to its weights: part of the program, in the user's file or directory, or from the hub.

use std::path::Path;
#[cfg(feature = "cli")]
use std::path::PathBuf;

use super::ensure::{ensure, is_open};
use super::pick::pick_in;
use crate::error::Result;
use crate::hub::{HubOptions, LockedFile, Lockfile, Progress};
use crate::weights::{Weights, check_release, files_of};
use crate::zoo::{ModelSpec, WeightsRef, WeightsSource, embedded_weights};

/// Opens the weights of `spec`: `file` if one is given, else its own, from the program, its directory,
/// the cache or the hub.
///
/// # Errors
/// [`Error::Hub`](crate::Error::Hub) if they are not available, [`Error::Pick`](crate::Error::Pick) if it
/// is not clear which file holds them, [`Error::Weights`](crate::Error::Weights) if the file is not a
/// weights file or not the release that its name promises.
pub fn open(
    spec: &ModelSpec,
    file: Option<&Path>,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<Weights> {
    let reference = match (&spec.weights, file) {
        (WeightsSource::Reference(reference), Some(file)) => {
            check_locked(file, Some(reference), hub)?;
            return open_checked(file, reference);
        }
        (WeightsSource::Reference(reference), None) => reference,
        (WeightsSource::File(_) | WeightsSource::Directory(_), Some(file)) => {
            check_locked(file, None, hub)?;
            return Ok(Weights::open(file)?);
        }
        (WeightsSource::File(path), None) => {
            check_locked(path, None, hub)?;
            return Ok(Weights::open(path)?);
        }
        (WeightsSource::Directory(folder), None) => {
            let (path, note) = pick_in(folder)?;
            note.iter().for_each(|note| progress.note(note));
            check_locked(&path, None, hub)?;
            return Ok(Weights::open(&path)?);
        }
    };
    let embedded = reference.embedded.as_deref();
    if let Some((name, bytes)) = embedded.and_then(|name| Some((name, embedded_weights(name)?))) {
        return Ok(Weights::from_static(name, bytes)?);
    }
    let path = ensure(reference, Some(spec), hub, progress)?;
    open_checked(&path, reference)
}

/// Checks a file on this machine, and the shards that it names, against the lockfile: they must be
/// those of `reference`, or any that are listed where there is none.
fn check_locked(path: &Path, reference: Option<&WeightsRef>, hub: &HubOptions) -> Result<()> {
    let Some(lock) = &hub.locked else {
        return Ok(());
    };
    let entries: Vec<&LockedFile> = match reference {
        None => lock.files.iter().collect(),
        Some(reference) => listed(reference, lock),
    };
    for file in files_of(path)? {
        lock.check(&file, &entries)?;
    }
    Ok(())
}

/// The entries of a lockfile that `reference` may mean: all those of its repository if no card names the
/// file.
fn listed<'a>(reference: &WeightsRef, lock: &'a Lockfile) -> Vec<&'a LockedFile> {
    let (revision, repo) = (reference.revision(), reference.repo.as_deref());
    let release = reference.release.as_deref();
    let release = release.and_then(|url| lock.find_release(url));
    let mut entries: Vec<&LockedFile> = match repo.filter(|_| is_open(reference)) {
        Some(repo) => lock.entries(repo, revision).collect(),
        None => {
            let entry = repo.and_then(|repo| lock.find(repo, revision, reference.file()));
            entry.into_iter().collect()
        }
    };
    entries.extend(release);
    entries
}

/// A file named like the authors' release must be that release.
fn open_checked(path: &Path, reference: &WeightsRef) -> Result<Weights> {
    let name = path.file_name().and_then(|name| name.to_str());
    let release = reference.released();
    let release = release.filter(|release| name.is_some() && name == release.name().as_deref());
    if let Some(digest) = release.and_then(|release| release.digest()) {
        check_release(path, &digest)?;
    }
    Ok(Weights::open(path)?)
}

/// The weights of a model that is on this machine, in a file or a directory; `None` where they are in
/// the program, the cache or on the hub.
///
/// # Errors
/// [`Error::Pick`](crate::Error::Pick) if it is not clear which file of the directory holds them.
#[cfg(feature = "cli")]
pub(crate) fn local_weights(spec: &ModelSpec) -> Result<Option<PathBuf>> {
    match &spec.weights {
        WeightsSource::File(path) => Ok(Some(path.clone())),
        WeightsSource::Directory(folder) => Ok(Some(pick_in(folder)?.0)),
        WeightsSource::Reference(_) => Ok(None),
    }
}

/// Bytes of the weights at `path`: of the file, or of an index and all its shards together. `None` if one
/// of them is not there.
#[cfg(feature = "cli")]
pub(crate) fn length_of(path: &Path) -> Option<u64> {
    let files = files_of(path).ok()?;
    let lengths = files.iter().map(|file| Some(file.metadata().ok()?.len()));
    lengths.sum()
}
