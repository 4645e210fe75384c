//! The weights file of a checkpoint: finding it on this machine, measuring and downloading it.

use std::path::{Path, PathBuf};

use super::fit::explain_mismatch;
use super::pick::{PickError, Picked, pick};
use crate::error::{Error, Result};
use crate::hub::{HubError, HubOptions, Progress, Release, ReleaseFile, RemoteFile, known_files};
use crate::nets::NetError;
use crate::weights::{Weights, files_of, shard_names};
use crate::zoo::{ModelSpec, WeightsRef};

/// What timm's repositories call their weights, in the order of preference: a safetensors file cannot
/// run code and opens at once.
pub(super) const WEIGHTS_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Whether `reference` leaves open which file of its repository holds the weights.
pub(super) fn is_open(reference: &WeightsRef) -> bool {
    reference.repo.is_some()
        && reference.sha256.is_none()
        && WEIGHTS_FILES.contains(&reference.file())
}

/// A place that weights may come from.
enum Source<'a> {
    Hub(RemoteFile<'a>),
    Release(ReleaseFile<'a>),
}

impl<'a> Source<'a> {
    /// A file of the repository of `reference`.
    fn hub(reference: &WeightsRef, file: &str, hub: &'a HubOptions) -> Result<Self, HubError> {
        let repo = reference.repo.as_deref().ok_or(HubError::NoRemote)?;
        let file = RemoteFile::new(repo, reference.revision(), file, hub)?;
        Ok(Self::Hub(file.pinned(reference.sha256.as_deref())))
    }

    fn release(release: Release<'a>, hub: &'a HubOptions) -> Result<Self, HubError> {
        Ok(Self::Release(ReleaseFile::new(release, hub)?))
    }

    fn find(&self) -> Option<PathBuf> {
        match self {
            Self::Hub(file) => file.find(),
            Self::Release(file) => file.find(),
        }
    }

    fn size(&self, progress: &dyn Progress) -> Result<Option<u64>, HubError> {
        match self {
            Self::Hub(file) => file.size(progress),
            Self::Release(file) => file.size(),
        }
    }

    /// The file, downloaded if it is not here, unless its header shows that it does not fit `network`.
    fn ensure(
        &self,
        reference: &WeightsRef,
        network: Option<&ModelSpec>,
        progress: &dyn Progress,
    ) -> Result<PathBuf> {
        let file = match self {
            Self::Hub(file) => file,
            Self::Release(file) => return Ok(file.ensure(progress)?),
        };
        let Some(spec) = network else {
            return file.ensure(None, progress);
        };
        let name = format!("{} of {}", file.file(), place(reference));
        let check = |header: &[u8]| {
            // A damaged header is reported when the file itself is opened.
            Weights::of_header(&name, header).map_or(Ok(()), |weights| check_fit(spec, &weights))
        };
        file.ensure(Some(&check), progress)
    }
}

/// Where the weights of `reference` may be, in the order in which it is tried: its file, the release
/// file, and `pytorch_model.bin`, which timm's older repositories have instead of `model.safetensors`.
/// Each is paired with whether it is the release file.
fn sources<'a>(
    reference: &'a WeightsRef,
    hub: &'a HubOptions,
) -> impl Iterator<Item = (bool, Result<Source<'a>, HubError>)> {
    let [safetensors, pickle] = WEIGHTS_FILES;
    let of_repo = |file: &str| Source::hub(reference, file, hub);
    let has_twin = is_open(reference) && reference.file() == safetensors;
    let repo = reference.repo.as_ref();
    let release = reference.released();
    let first = repo.map(|_| (false, of_repo(reference.file())));
    let release = release.map(|release| (true, Source::release(release, hub)));
    let second = has_twin.then(|| (false, of_repo(pickle)));
    [first, release, second].into_iter().flatten()
}

/// The weights file that `reference` names, or what takes its place in the repository, if it is on this
/// machine with all its shards; makes no request.
pub fn find(reference: &WeightsRef, hub: &HubOptions) -> Option<PathBuf> {
    let found = sources(reference, hub).find_map(|(_, source)| source.ok()?.find());
    let path = found.or_else(|| {
        let names = is_open(reference).then(|| known(reference, hub))?;
        let picked = pick(&place(reference), &names).ok()?;
        Source::hub(reference, &picked.name, hub).ok()?.find()
    })?;
    let is_whole = files_of(&path).is_ok_and(|files| files.iter().all(|file| file.is_file()));
    is_whole.then_some(path)
}

/// The file that [`find`] finds, or what takes its place on the hub, downloaded. Of sharded weights it
/// is the index, and the shards are downloaded too.
///
/// If the hub does not provide the file and the card names a release file, that one is used: the PyTorch
/// pickle that the authors publish themselves. The card's notes say whether it holds the same numbers as
/// the repository's, if that is known. `progress` and the path show which of the two was used. If both
/// fail, the hub's error is returned.
///
/// If `network` is given, the weights must fit it. A large safetensors file that does not is rejected
/// before it is downloaded, and if the hub's file lacks the classifier, the release file is used, with a
/// note.
///
/// # Errors
/// [`Error::Hub`] if it cannot be found or downloaded ([`HubError::NoRemote`] without a repository and a
/// release), [`Error::Pick`] if it is not clear which file is meant, [`Error::Net`],
/// [`Error::OtherEnds`] or [`Error::NoClassifier`] if it does not fit.
pub fn ensure(
    reference: &WeightsRef,
    network: Option<&ModelSpec>,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let get = |source: &Source<'_>| source.ensure(reference, network, progress);
    let (source, path) = match in_turn(reference, hub, progress, get) {
        Err(error) => return release_instead(error, reference, hub, progress),
        Ok(found) => found,
    };
    let Source::Hub(_) = source else {
        return Ok(path);
    };
    for shard in shards(reference, &path, hub)? {
        shard.ensure::<Error>(None, progress)?;
    }
    // The file was cached already, or its format cannot be checked before the download.
    if let Some(spec) = network.filter(|_| reference.release.is_some())
        && let Err(error @ Error::NoClassifier { .. }) = Weights::open(&path)
            .map_err(Error::from)
            .and_then(|weights| check_fit(spec, &weights))
    {
        return release_instead(error, reference, hub, progress);
    }
    Ok(path)
}

/// # Errors
/// Those of [`explain_mismatch`], if names or shapes differ.
fn check_fit(spec: &ModelSpec, weights: &Weights) -> Result<()> {
    let plan = spec.network.plan(spec.naming, spec.classes())?;
    match plan.check_weights(weights) {
        Err(error @ NetError::Tensors(_)) => Err(explain_mismatch(error, spec)),
        _ => Ok(()),
    }
}

/// The authors' release file in place of one without the classifier.
///
/// # Errors
/// `error` if it is a different one or no release is known; those of the download.
fn release_instead(
    error: Error,
    reference: &WeightsRef,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let (Error::NoClassifier { file, .. }, Some(release)) = (&error, reference.released()) else {
        return Err(error);
    };
    progress.note(&format!(
        "{file} lacks the classifier: using the authors' release file instead, {}",
        release.url
    ));
    Ok(ReleaseFile::new(release, hub)?.ensure(progress)?)
}

/// Length in bytes of all files that [`ensure`] would download, as far as their server reports it. Of
/// sharded weights the index is downloaded.
///
/// # Errors
/// As [`ensure`].
pub fn size(
    reference: &WeightsRef,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<Option<u64>> {
    let get = |source: &Source<'_>| Ok(source.size(progress)?);
    let (source, mut size) = in_turn(reference, hub, progress, get)?;
    if let Source::Hub(file) = source
        && file.file().ends_with(".json")
    {
        let index = file.ensure::<Error>(None, progress)?;
        for shard in shards(reference, &index, hub)? {
            size = size.zip(shard.size(progress)?).map(|(a, b)| a + b);
        }
    }
    Ok(size)
}

/// The shards of an index in the cache, at the index's commit: the branch may have moved since.
fn shards<'a>(
    reference: &WeightsRef,
    index: &Path,
    hub: &'a HubOptions,
) -> Result<Vec<RemoteFile<'a>>> {
    let repo = reference.repo.as_deref().unwrap_or_default();
    let folder = index.parent().and_then(Path::file_name);
    let commit = folder.and_then(|name| name.to_str());
    let commit = commit.unwrap_or(reference.revision());
    let names = shard_names(index)?.into_iter();
    Ok(names
        .map(|name| RemoteFile::new(repo, commit, &name, hub))
        .collect::<Result<_, _>>()?)
}

/// The first source of `reference` for which `get` succeeds, with its result. If one is on this machine,
/// those before it are skipped: there is no need to ask the hub for them.
fn in_turn<'a, T>(
    reference: &'a WeightsRef,
    hub: &'a HubOptions,
    progress: &dyn Progress,
    get: impl Fn(&Source<'_>) -> Result<T>,
) -> Result<(Source<'a>, T)> {
    let is_here = |(_, source): &(bool, Result<Source<'_>, HubError>)| {
        source.as_ref().is_ok_and(|source| source.find().is_some())
    };
    let sources: Vec<_> = sources(reference, hub).collect();
    let start = sources.iter().position(is_here).unwrap_or(0);
    let mut failure: Option<HubError> = None;
    for (is_release, source) in sources.into_iter().skip(start) {
        let is_tried = |error: &HubError| is_missing(error) || is_release && error.is_refusal();
        if !failure.as_ref().is_none_or(is_tried) {
            continue;
        }
        let found = source
            .map_err(Error::from)
            .and_then(|source| Ok((get(&source)?, source)));
        let error = match found {
            Ok((found, source)) => return Ok((source, found)),
            Err(Error::Hub(error)) => error,
            Err(error) => return Err(error),
        };
        let first = failure.take();
        failure = Some(match first {
            // A release only replaces a file that the hub refuses, whose error is the one to act on. A
            // lockfile that was written without the hub lists only the release.
            Some(first) if is_release && !matches!(first, HubError::NotLocked { .. }) => first,
            // If all are missing, the error is that of the first, which should be there.
            Some(first) if is_missing(&error) => first,
            _ => error,
        });
    }
    let error = failure.unwrap_or(HubError::NoRemote);
    let source = other_name(reference, error, hub, progress)?;
    let found = get(&source)?;
    Ok((source, found))
}

fn is_missing(error: &HubError) -> bool {
    matches!(
        error,
        HubError::FileNotFound { .. } | HubError::NotLocked { .. }
    )
}

/// The weights under another name, after `error` for timm's names: among the files that the hub lists,
/// or those in the cache if the hub cannot be asked.
fn other_name<'a>(
    reference: &WeightsRef,
    error: HubError,
    hub: &'a HubOptions,
    progress: &dyn Progress,
) -> Result<Source<'a>> {
    let place = place(reference);
    let picked = match &error {
        _ if !is_open(reference) => return Err(error.into()),
        HubError::FileNotFound { present, .. } if !present.is_empty() => pick(&place, present)?,
        HubError::NotLocked { .. } => match pick(&place, &known(reference, hub)) {
            Ok(picked) => picked,
            Err(PickError::None { .. }) => return Err(error.into()),
            Err(choice) => return Err(choice.into()),
        },
        HubError::Offline { .. } => cached_name(&place, reference, error, hub, progress)?,
        refusal if refusal.is_refusal() => cached_name(&place, reference, error, hub, progress)?,
        _ => return Err(error.into()),
    };
    let note = picked.note(&place);
    note.iter().for_each(|note| progress.note(note));
    Ok(Source::hub(reference, &picked.name, hub)?)
}

/// What the cache has if the hub cannot be asked; `error` if it has nothing.
fn cached_name(
    place: &str,
    reference: &WeightsRef,
    error: HubError,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<Picked> {
    match pick(place, &known(reference, hub)) {
        Ok(picked) => {
            let name = &picked.name;
            progress.note(&format!(
                "{place}: the weights are taken from {name}, which is in the cache; the hub could not \
                 be asked what else there is"
            ));
            Ok(picked)
        }
        Err(PickError::None { .. }) => Err(error.into()),
        Err(choice) => Err(choice.into()),
    }
}

/// The files of the repository that may be used without asking the hub.
fn known(reference: &WeightsRef, hub: &HubOptions) -> Vec<String> {
    let repo = reference.repo.as_deref().unwrap_or_default();
    known_files(repo, reference.revision(), hub)
}

fn place(reference: &WeightsRef) -> String {
    let repo = reference.repo.as_deref().unwrap_or_default();
    match &reference.revision {
        Some(revision) => format!("hf-hub:{repo}@{revision}"),
        None => format!("hf-hub:{repo}"),
    }
}
