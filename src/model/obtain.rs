//! The weights files that a repository of the hub has: finding, measuring and downloading them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::find::explain_mismatch;
use super::pick::{PickError, Picked, pick};
use crate::error::{Error, Result};
use crate::hub::{self, HubError, HubOptions, Progress};
use crate::nets::NetError;
use crate::weights::{Weights, files_of, shard_names};
use crate::zoo::{ModelSpec, WeightsRef};

/// What timm's repositories call their weights, in the order of preference: a safetensors file cannot
/// run code and opens at once.
pub(super) const WEIGHTS_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Whether `reference` leaves open which file of its repository holds the weights.
pub(super) fn is_open(reference: &WeightsRef) -> bool {
    let file = reference.file();
    reference.repo.is_some() && reference.sha256.is_none() && WEIGHTS_FILES.contains(&file)
}

/// What `reference` may mean: a repository without `model.safetensors` may have `pytorch_model.bin`
/// instead, as timm's older ones do.
pub(super) fn forms(reference: &WeightsRef) -> Vec<WeightsRef> {
    let [safetensors, pickle] = WEIGHTS_FILES;
    let mut forms = vec![reference.clone()];
    let file = reference.file();
    if file == safetensors && reference.sha256.is_none() {
        forms.push(called(reference, pickle));
    }
    forms
}

fn called(reference: &WeightsRef, file: &str) -> WeightsRef {
    WeightsRef {
        file: Some(file.to_owned()),
        ..reference.clone()
    }
}

/// The weights file that `reference` names, or what takes its place in the repository, if it is on this
/// machine with all its shards; makes no request.
pub fn downloaded(reference: &WeightsRef, hub: &HubOptions) -> Option<PathBuf> {
    let here = |form: &WeightsRef| hub::downloaded(form, hub);
    let path = forms(reference).iter().find_map(here).or_else(|| {
        let names = is_open(reference).then(|| known(reference, hub))?;
        let picked = pick(&place(reference), &names).ok()?;
        here(&called(reference, &picked.name))
    })?;
    let is_whole = files_of(&path).is_ok_and(|files| files.iter().all(|file| file.is_file()));
    is_whole.then_some(path)
}

/// The file that [`downloaded`] finds, or what takes its place on the hub, downloaded. Of sharded
/// weights it is the index, and the shards are downloaded too.
///
/// A large safetensors file is looked at before it is downloaded: one that does not fit the network of
/// `spec`, whose weights `reference` names, is refused. Where the hub's file lacks the classifier and the
/// authors' release file is known, that one is taken, with a note.
///
/// # Errors
/// [`Error::Hub`] if it cannot be had, [`Error::Pick`] if it is not clear which file is meant, [`Error::Net`],
/// [`Error::OtherEnds`] or [`Error::NoClassifier`] if it does not fit.
pub fn fetch(
    spec: &ModelSpec,
    reference: &WeightsRef,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let (form, path) = first_there(reference, hub, progress, |form| {
        download_fitting(spec, form, hub, progress)
    })
    .or_else(|error| from_release(error, reference, hub, progress))?;
    for shard in shards(&form, &path)? {
        hub::download(&shard, hub, progress)?;
    }
    // A file that was there already, or of a format that cannot be looked at before.
    if form.release.is_some()
        && form.repo.is_some()
        && let Err(error @ Error::NoClassifier { .. }) = Weights::open(&path)
            .map_err(Error::from)
            .and_then(|weights| fits(spec, &weights))
    {
        return Ok(from_release(error, reference, hub, progress)?.1);
    }
    Ok(path)
}

/// Downloads one file, unless its header says that it does not fit.
fn download_fitting(
    spec: &ModelSpec,
    form: &WeightsRef,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let file = form.file();
    let name = format!("{file} of {}", place(form));
    let refusal = RefCell::new(None);
    let look = |header: &[u8]| {
        // One that is damaged, or of a kind that is not known here: the file itself will tell.
        let Ok(weights) = Weights::of_header(&name, header) else {
            return true;
        };
        let refused = fits(spec, &weights).err();
        let is_wanted = refused.is_none();
        *refusal.borrow_mut() = refused;
        is_wanted
    };
    let path = hub::download_if(form, hub, progress, Some(&look));
    match refusal.into_inner() {
        Some(error) => Err(error),
        None => Ok(path?),
    }
}

/// # Errors
/// Those of [`explain_mismatch`], if names or shapes differ.
fn fits(spec: &ModelSpec, weights: &Weights) -> Result<()> {
    let plan = spec.network.plan(spec.naming, spec.classes())?;
    match plan.check_weights(weights) {
        Err(error @ NetError::Tensors(_)) => Err(explain_mismatch(error, spec)),
        _ => Ok(()),
    }
}

/// The authors' release file in place of one without the classifier.
///
/// # Errors
/// `error` if it is another, or no release is known; those of the download.
fn from_release(
    error: Error,
    reference: &WeightsRef,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<(WeightsRef, PathBuf)> {
    let (Error::NoClassifier { file, .. }, Some(url)) = (&error, &reference.release) else {
        return Err(error);
    };
    progress.note(&format!(
        "{file} lacks the classifier: the authors' release file is taken, {url}"
    ));
    let release = WeightsRef {
        release: reference.release.clone(),
        ..WeightsRef::default()
    };
    let path = hub::download(&release, hub, progress)?;
    Ok((release, path))
}

/// Length in bytes of all files that [`fetch`] would download, as far as their server says. Of sharded
/// weights the index is downloaded.
///
/// # Errors
/// As [`fetch`].
pub fn size(
    reference: &WeightsRef,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<Option<u64>> {
    let get = |form: &WeightsRef| Ok(hub::size(form, hub, progress)?);
    let (form, mut size) = first_there(reference, hub, progress, get)?;
    if is_index(&form) {
        let index = hub::download(&form, hub, progress)?;
        for shard in shards(&form, &index)? {
            let shard = get(&shard)?;
            size = size.zip(shard).map(|(a, b)| a + b);
        }
    }
    Ok(size)
}

fn is_index(form: &WeightsRef) -> bool {
    form.file
        .as_deref()
        .is_some_and(|file| file.ends_with(".json"))
}

/// The shards of an index in the cache, at the index's commit: a branch may have moved on since.
fn shards(form: &WeightsRef, index: &Path) -> Result<Vec<WeightsRef>> {
    let folder = index.parent().and_then(Path::file_name);
    let commit = folder.and_then(|name| name.to_str()).map(str::to_owned);
    let names = shard_names(index)?.into_iter();
    Ok(names
        .map(|name| WeightsRef {
            revision: commit.clone(),
            release: None,
            ..called(form, &name)
        })
        .collect())
}

/// What `get` finds of the first form of `reference` that there is, and which one that is. What is in
/// the cache comes first: the hub would be asked for what need not be there.
fn first_there<T>(
    reference: &WeightsRef,
    hub: &HubOptions,
    progress: &dyn Progress,
    get: impl Fn(&WeightsRef) -> Result<T>,
) -> Result<(WeightsRef, T)> {
    let forms = forms(reference);
    let is_here = |form| hub::downloaded(form, hub).is_some();
    let start = forms.iter().position(is_here).unwrap_or(0);
    let mut missing = None;
    for form in forms.into_iter().skip(start) {
        match get(&form) {
            Ok(found) => return Ok((form, found)),
            // Where all are missing, the error is that of the first, which should be there.
            Err(Error::Hub(
                error @ (HubError::FileNotFound { .. } | HubError::NotLocked { .. }),
            )) => {
                missing.get_or_insert(error);
            }
            Err(Error::Hub(error)) => {
                missing = Some(error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let error = missing.unwrap_or(HubError::NoRemote);
    let form = other_form(reference, error, hub, progress)?;
    let found = get(&form)?;
    Ok((form, found))
}

/// The weights under another name, after `error` for the names of timm: in what the hub says that it has,
/// or in the cache where the hub cannot be asked.
fn other_form(
    reference: &WeightsRef,
    error: HubError,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<WeightsRef> {
    let place = place(reference);
    let picked = match &error {
        _ if !is_open(reference) => return Err(error.into()),
        HubError::FileNotFound { present, .. } if !present.is_empty() => pick(&place, present)?,
        HubError::NotLocked { .. } => match pick(&place, &known(reference, hub)) {
            Ok(picked) => picked,
            Err(PickError::None { .. }) => return Err(error.into()),
            Err(choice) => return Err(choice.into()),
        },
        HubError::Offline { .. } => cached_form(&place, reference, error, hub, progress)?,
        refusal if refusal.is_refusal() => cached_form(&place, reference, error, hub, progress)?,
        _ => return Err(error.into()),
    };
    let note = picked.note(&place);
    note.iter().for_each(|note| progress.note(note));
    Ok(called(reference, &picked.name))
}

/// What the cache has where the hub cannot be asked; `error` if that is nothing.
fn cached_form(
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
    let revision = reference.revision.as_deref();
    hub::known_files(repo, revision.unwrap_or(hub::DEFAULT_REVISION), hub)
}

fn place(reference: &WeightsRef) -> String {
    let repo = reference.repo.as_deref().unwrap_or_default();
    match &reference.revision {
        Some(revision) => format!("hf-hub:{repo}@{revision}"),
        None => format!("hf-hub:{repo}"),
    }
}
