//! What a name means: a checkpoint of the zoo, a directory, a repository of the hub.

use std::path::Path;

use super::ensure::WEIGHTS_FILES;
use crate::bounded;
use crate::error::{Error, Result};
use crate::hub::{self, HubError, HubOptions, Progress};
use crate::zoo::{
    CONFIG_FILE, CardError, ModelSpec, Overrides, Selection, WeightsRef, WeightsSource, Zoo,
};

/// What a name means.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// The description of the model.
    pub spec: ModelSpec,
    /// Which checkpoint an alias means; to be shown to the user.
    pub note: Option<String>,
}

/// Finds out what a name means: the name of a card or an alias, a directory in timm's hub layout (with or without
/// timm's `local-dir:` before it), or `hf-hub:organisation/name[@revision]` or the web address of
/// that repository, whose `config.json` is taken from the cache or downloaded.
///
/// A directory is looked for where the name is a path or means nothing else. `overrides` replace what
/// the model's description says.
///
/// # Errors
/// [`Error::Card`] if the name means nothing, is that of a file, or its description is wrong;
/// [`Error::Hub`] if a repository's description cannot be found or downloaded.
pub fn resolve(
    name: &str,
    overrides: &Overrides,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<Resolved> {
    let path = Path::new(name);
    let is_path = name.starts_with('.') || name.contains(['/', std::path::MAIN_SEPARATOR]);
    if is_path && path.is_dir() {
        return directory(path, overrides);
    }
    match Zoo::builtin().resolve(name) {
        Ok(Selection::Card { card, note }) => {
            let mut spec = ModelSpec::from_card(card)?;
            spec.set(overrides);
            Ok(Resolved { spec, note })
        }
        Ok(Selection::Architecture { architecture, note }) => {
            let mut spec = ModelSpec::from_architecture(architecture)?;
            spec.set(overrides);
            let note = Some(note);
            Ok(Resolved { spec, note })
        }
        Ok(Selection::Hub {
            repo,
            revision,
            note,
        }) => {
            let spec = repository(&repo, revision.as_deref(), overrides, hub, progress)?;
            Ok(Resolved { spec, note })
        }
        Ok(Selection::Directory(folder)) => directory(&folder, overrides),
        Err(error) => match error {
            CardError::UnknownModel { .. } | CardError::UnknownCheckpoint { .. }
                if path.is_dir() =>
            {
                directory(path, overrides)
            }
            CardError::UnknownModel { .. }
            | CardError::UnknownCheckpoint { .. }
            | CardError::NotACard { .. } => Err(file_as_model(path).unwrap_or(error).into()),
            error => Err(error.into()),
        },
    }
}

/// The repository and the revision in `hf-hub:organisation/name[@revision]` or in the web address of
/// the same; `None` for any other name.
#[cfg(feature = "cli")]
pub(crate) fn named_repository(name: &str) -> Option<(String, Option<String>)> {
    match Zoo::builtin().resolve(name) {
        Ok(Selection::Hub { repo, revision, .. }) => Some((repo, revision)),
        _ => None,
    }
}

fn directory(path: &Path, overrides: &Overrides) -> Result<Resolved> {
    if !path.is_dir() {
        let missing = || CardError::NoDirectory {
            path: path.display().to_string(),
        };
        return Err(file_as_model(path).unwrap_or_else(missing).into());
    }
    Ok(Resolved {
        spec: ModelSpec::from_timm_dir(path, overrides)?,
        note: None,
    })
}

/// Endings of weights files; `tar` for `.pth.tar`.
const WEIGHTS_ENDINGS: [&str; 6] = ["safetensors", "pth", "bin", "pt", "ckpt", "tar"];

/// The error for a path that was given as a model and is not a directory: how to use the file, or that
/// nothing is there. `None` for what does not look like a path.
fn file_as_model(path: &Path) -> Option<CardError> {
    let shown = || path.display().to_string();
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_weights = extension.is_some_and(|extension| {
        let extension = extension.to_ascii_lowercase();
        WEIGHTS_ENDINGS.contains(&extension.as_str())
    });
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    if is_weights {
        let has_config = folder.join(CONFIG_FILE).is_file();
        return Some(CardError::WeightsFile {
            file: shown(),
            model: release_model(path).or(has_config.then(|| folder.display().to_string())),
        });
    }
    if path.is_file() {
        let is_config = path.file_name().is_some_and(|name| name == CONFIG_FILE);
        return Some(CardError::NotADirectory {
            file: shown(),
            folder: is_config.then(|| folder.display().to_string()),
        });
    }
    let is_path = shown().starts_with(['.', '~', '/', '\\']) || path.is_absolute();
    (is_path && !shown().trim().is_empty()).then(|| CardError::NoDirectory { path: shown() })
}

/// The checkpoint whose release file has the name of the file at `path`.
fn release_model(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let card = Zoo::builtin().of_release_file(name);
    card.map(|card| card.name.to_string())
}

fn repository(
    repo: &str,
    revision: Option<&str>,
    overrides: &Overrides,
    hub: &HubOptions,
    progress: &dyn Progress,
) -> Result<ModelSpec> {
    let at = revision.unwrap_or(hub::DEFAULT_REVISION);
    let path = hub::ensure(repo, at, CONFIG_FILE, hub, progress)?;
    let text = bounded::read_found(&path, bounded::SMALL).map_err(|source| CardError::Read {
        path: path.clone(),
        source,
    })?;
    let reference = |file: &str| WeightsRef {
        repo: Some(repo.to_owned()),
        revision: revision.map(str::to_owned),
        file: Some(file.to_owned()),
        ..WeightsRef::default()
    };
    let name = match revision {
        Some(revision) => format!("hf-hub:{repo}@{revision}"),
        None => format!("hf-hub:{repo}"),
    };
    let file = WEIGHTS_FILES
        .into_iter()
        .find(|file| hub::find(repo, at, file, hub).is_some())
        .unwrap_or(WEIGHTS_FILES[0]);
    let source = WeightsSource::Reference(reference(file));
    Ok(ModelSpec::from_timm_config(
        &text, &name, source, overrides,
    )?)
}

/// Makes `spec` take its weights from another branch, tag or commit of its repository. What the card
/// says about the file (its hash, the release with the same numbers) does not hold there.
///
/// # Errors
/// [`HubError::NoRepository`].
pub fn at_revision(spec: &mut ModelSpec, revision: &str) -> Result<()> {
    match &mut spec.weights {
        WeightsSource::Reference(reference) if reference.repo.is_some() => {
            reference.revision = Some(revision.to_owned());
            reference.sha256 = None;
            reference.release = None;
            reference.sha1 = None;
            reference.sha384 = None;
            Ok(())
        }
        _ => Err(Error::Hub(HubError::NoRepository {
            model: spec.name.clone(),
            revision: revision.to_owned(),
        })),
    }
}
