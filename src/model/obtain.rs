//! The weights files that a repository of the hub has: finding, measuring and downloading them.

use std::path::{Path, PathBuf};

use super::pick::{PickError, Picked, pick};
use crate::error::Result;
use crate::hub::{self, HubError, HubOptions, Progress, WeightsRef};
use crate::weights::{files_of, shard_names};

/// What timm's repositories call their weights, in the order of preference: a safetensors file cannot
/// run code and opens at once.
pub(super) const WEIGHTS_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Whether `reference` leaves open which file of its repository holds the weights.
pub(super) fn is_open(reference: &WeightsRef) -> bool {
    let file = reference.file.as_deref().unwrap_or(hub::DEFAULT_FILE);
    reference.repo.is_some() && reference.sha256.is_none() && WEIGHTS_FILES.contains(&file)
}

/// What `reference` may mean: a repository without `model.safetensors` may have `pytorch_model.bin`
/// instead, as timm's older ones do.
pub(super) fn forms(reference: &WeightsRef) -> Vec<WeightsRef> {
    let [safetensors, pickle] = WEIGHTS_FILES;
    let mut forms = vec![reference.clone()];
    let file = reference.file.as_deref().unwrap_or(hub::DEFAULT_FILE);
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
/// # Errors
/// [`Error::Hub`](crate::Error::Hub) if it cannot be had, [`Error::Pick`](crate::Error::Pick) if it is not
/// clear which file is meant.
pub fn fetch(reference: &WeightsRef, hub: &HubOptions, progress: &dyn Progress) -> Result<PathBuf> {
    let (form, path) = first_there(reference, hub, progress, |form| {
        hub::download(form, hub, progress)
    })?;
    for shard in shards(&form, &path)? {
        hub::download(&shard, hub, progress)?;
    }
    Ok(path)
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
    let get = |form: &WeightsRef| hub::size(form, hub, progress);
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
    get: impl Fn(&WeightsRef) -> Result<T, HubError>,
) -> Result<(WeightsRef, T)> {
    let forms = forms(reference);
    let is_here = |form| hub::downloaded(form, hub).is_some();
    let start = forms.iter().position(is_here).unwrap_or(0);
    let mut missing = None;
    for form in forms.into_iter().skip(start) {
        match get(&form) {
            Ok(found) => return Ok((form, found)),
            // Where all are missing, the error is that of the first, which should be there.
            Err(error @ (HubError::FileNotFound { .. } | HubError::NotLocked { .. })) => {
                missing.get_or_insert(error);
            }
            Err(error) => {
                missing = Some(error);
                break;
            }
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
