//! A model directory: made whole beside its place and then renamed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::config::config;
use crate::error::{Error, Result};
use crate::model::HeadFile;
use crate::weights::Weights;
use crate::zoo::ModelSpec;

/// The weights in a model directory.
const MODEL: &str = "model.safetensors";
/// The classifier alone.
const HEAD: &str = "head.safetensors";
const CONFIG: &str = "config.json";
const CARD: &str = "README.md";

/// Where a model is to be written.
#[derive(Clone, Debug)]
pub struct OutputDirectory {
    /// Its path, once links are followed.
    path: PathBuf,
    /// The path that was given, for messages.
    shown: String,
}

/// A directory that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It would be replaced.
    #[error("{path} exists already")]
    Exists {
        /// The directory.
        path: String,
    },
    /// It is to be replaced, and is something else than a model.
    #[error("{path} is not a model directory, so it is not replaced: {reason}")]
    NotAModel {
        /// The directory.
        path: String,
        /// What was found.
        reason: String,
    },
    /// The system refuses to write it.
    #[error("cannot write {path}: {error}")]
    Unwritable {
        /// The directory.
        path: String,
        /// What the system reports.
        error: io::Error,
    },
    /// The disk is too full.
    #[error("{path} will take {needed} bytes, and the disk has {available} left")]
    NoSpace {
        /// The directory.
        path: String,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// A network that has no name in a `config.json`.
    #[error(
        "the network of {model} is none of the known architectures, so no config.json can name it"
    )]
    NoArchitecture {
        /// Name of the model.
        model: String,
    },
}

impl DirectoryError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Exists { .. } => "use another name, or allow that it is replaced",
            Self::NotAModel { .. } => "use another name, or move away what is there",
            Self::NoArchitecture { .. } => "write the classifier alone",
            Self::Unwritable { .. } | Self::NoSpace { .. } => return None,
        };
        Some(text.to_owned())
    }
}

impl OutputDirectory {
    /// Whether a directory of `needed` bytes can be written at `path`, found out before the work and
    /// without leaving anything behind. A model directory that is there is replaced if `replace` says so.
    ///
    /// # Errors
    /// Any [`DirectoryError`] but the last.
    pub fn check(path: &Path, replace: bool, needed: u64) -> Result<Self, DirectoryError> {
        let shown = path.display().to_string();
        let output = Self {
            path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            shown: shown.clone(),
        };
        if fs::symlink_metadata(path).is_ok() {
            if !replace {
                return Err(DirectoryError::Exists { path: shown });
            }
            output.check_replaced()?;
        }
        if path.file_name().is_none() {
            let error = io::Error::other("it is not the name of a directory");
            return Err(output.unwritable(error));
        }
        let temporary = output.temporary()?;
        // A disk that does not report its free space passes.
        let available = fs4::available_space(temporary.path()).unwrap_or(u64::MAX);
        temporary
            .close()
            .map_err(|error| output.unwritable(error))?;
        if available < needed {
            return Err(DirectoryError::NoSpace {
                path: shown,
                needed,
                available,
            });
        }
        Ok(output)
    }

    /// Nothing is replaced that this program did not write.
    fn check_replaced(&self) -> Result<(), DirectoryError> {
        let not_a_model = |reason: String| DirectoryError::NotAModel {
            path: self.shown.clone(),
            reason,
        };
        let names = || {
            let entries = fs::read_dir(&self.path)?;
            entries
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        };
        let mut names = names().map_err(|error| not_a_model(error.to_string()))?;
        names.retain(|name| ![MODEL, HEAD, CONFIG, CARD].iter().any(|own| name == own));
        match names.iter().min() {
            Some(other) => Err(not_a_model(format!("it holds {}", other.display()))),
            None => Ok(()),
        }
    }

    /// Writes the whole network with `head` as its classifier, in the layout that timm saves, and the
    /// model card. `base` is the model that the head was learned on, as it was run, with `weights`;
    /// `license` is that of these weights.
    ///
    /// # Errors
    /// [`DirectoryError`]; if the weights do not fit. Then nothing has changed.
    pub fn write_model(
        &self,
        base: &ModelSpec,
        weights: &Weights,
        head: &HeadFile,
        license: Option<&str>,
        card: &str,
    ) -> Result<()> {
        let mut spec = base.clone();
        let merged = head.clone().attach(&mut spec).merged(weights)?;
        let plan = spec.network.plan(spec.naming, spec.classes())?;
        let config = config(base, &plan, head.info(), license)?;
        let tensors = plan.tensors();
        self.write(|folder| {
            self.file(&folder.join(CARD), card)?;
            self.file(&folder.join(CONFIG), &config)?;
            let path = folder.join(MODEL);
            merged.write(tensors.iter().map(|tensor| &*tensor.name), &path)?;
            let like = fs::metadata(folder.join(CONFIG));
            // It was made readable for its owner alone.
            let written = like
                .and_then(|like| fs::set_permissions(&path, like.permissions()))
                .and_then(|()| File::open(&path)?.sync_all());
            written.map_err(|error| self.unwritable(error))?;
            plan.check_weights(&Weights::open(&path)?)?;
            Ok(())
        })
    }

    /// Writes the classifier alone, and its card.
    ///
    /// # Errors
    /// [`DirectoryError`]. Then nothing has changed.
    pub fn write_head(&self, head: &HeadFile, card: &str) -> Result<()> {
        let bytes = head.to_bytes()?;
        self.write(|folder| {
            self.file(&folder.join(CARD), card)?;
            self.file(&folder.join(HEAD), bytes)
        })
    }

    /// The file of the classifier alone, for messages.
    pub fn head_file(&self) -> PathBuf {
        Path::new(&self.shown).join(HEAD)
    }

    /// Fills a new directory and gives it the name. What has the name is kept under another until then.
    fn write(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let unwritable = |error| Error::from(self.unwritable(error));
        let temporary = self.temporary()?;
        fill(temporary.path())?;
        let replaced = if self.path.exists() {
            // It may have changed since the work began.
            self.check_replaced()?;
            let aside = self.temporary()?;
            fs::rename(&self.path, aside.path().join("old")).map_err(unwritable)?;
            Some(aside)
        } else {
            None
        };
        if let Err(error) = fs::rename(temporary.path(), &self.path) {
            if let Some(aside) = replaced
                && fs::rename(aside.path().join("old"), &self.path).is_err()
            {
                // Better kept under an odd name than lost.
                let _ = aside.keep();
            }
            return Err(unwritable(error));
        }
        // It has its name now, and is no longer there to be deleted.
        let _ = temporary.keep();
        if let Ok(folder) = File::open(self.folder()) {
            // For the new name to outlive a power cut; some systems do not sync folders.
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn file(&self, path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
        let write = || {
            fs::write(path, text)?;
            File::open(path)?.sync_all()
        };
        Ok(write().map_err(|error| self.unwritable(error))?)
    }

    /// A new directory in the same folder, which is deleted unless it is renamed.
    fn temporary(&self) -> Result<TempDir, DirectoryError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".senet-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Less what the umask takes away, as of any new directory.
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let made = builder.tempdir_in(self.folder());
        // Without its name, which says nothing to anyone.
        made.map_err(|error| self.unwritable(error.kind().into()))
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    fn unwritable(&self, error: io::Error) -> DirectoryError {
        DirectoryError::Unwritable {
            path: self.shown.clone(),
            error,
        }
    }
}
