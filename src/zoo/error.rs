//! What can go wrong with a card, a name or a `config.json`.

use std::path::PathBuf;

use crate::labels::LabelError;
use crate::quote::excerpt;

/// A model description that cannot be used, or a name that does not resolve to a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// Not TOML, an unknown or missing field, or a value of the wrong type.
    #[error("{file}, line {line}, at `{text}`: {message}")]
    Toml {
        /// The card.
        file: String,
        /// Counted from 1.
        line: usize,
        /// The line, or its beginning.
        text: String,
        /// What the parser reports.
        message: String,
    },
    /// Not JSON.
    #[error("{file} is not JSON")]
    Json {
        /// The file.
        file: String,
        /// What the parser reports.
        source: serde_json::Error,
    },
    /// A value that cannot be right, or that contradicts another.
    #[error("{file}: field `{}`: {reason}", excerpt(field))]
    Field {
        /// The file.
        file: String,
        /// Path of the field, such as `input.size`.
        field: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// Two cards of one architecture disagree about what it is.
    #[error("{first} and {second} are of one architecture but differ in the field `{field}`")]
    Differ {
        /// File of one card.
        first: String,
        /// File of the other.
        second: String,
        /// The first field in which they differ.
        field: String,
    },
    /// An architecture with several cards needs exactly one with `recommended = true`.
    #[error(
        "field `recommended`: {found} of {} are recommended, expected exactly one",
        .files.join(", ")
    )]
    Recommended {
        /// The architecture's cards.
        files: Vec<String>,
        /// How many of them are recommended.
        found: usize,
    },
    #[error(
        "models/{file}: expected `family/architecture.tag.toml`, or without the tag for a topology without \
         weights"
    )]
    /// The file's name is not a model's name.
    FileName {
        /// Path of the file under `models/`.
        file: String,
    },
    /// No model has that name.
    #[error("unknown model `{name}`{}", similar(.suggestions))]
    UnknownModel {
        /// The name as given.
        name: String,
        /// The nearest known names, best first.
        suggestions: Vec<String>,
    },
    /// The architecture has no checkpoint with that tag.
    #[error("unknown model `{name}`; the checkpoints of {architecture} are {}", .checkpoints.join(", "))]
    UnknownCheckpoint {
        /// The name as given.
        name: String,
        /// The architecture that it names.
        architecture: String,
        /// Full names of the architecture's checkpoints.
        checkpoints: Vec<String>,
    },
    /// The name is the beginning of several architectures' names.
    #[error("`{name}` can mean any of {}", .candidates.join(", "))]
    AmbiguousModel {
        /// The name as given.
        name: String,
        /// The architectures that it can mean.
        candidates: Vec<String>,
    },
    /// Looks like a Hub repository, but no card names that repository.
    #[error("unknown model `{name}`")]
    NotACard {
        /// The name as given.
        name: String,
    },
    #[error("`{name}` is not a Hub repository: {reason}")]
    /// What follows `hf-hub:` cannot be a repository's name.
    HubName {
        /// The name as given.
        name: String,
        /// What was expected.
        reason: &'static str,
    },
    /// A web address that cannot be run as a model.
    #[error("`{address}` is not the address of a model: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// Why it cannot be used.
        reason: String,
        /// What to type instead.
        hint: String,
    },
    /// A weights file where a model's name was expected.
    #[error("`{file}` is a weights file, expected a model")]
    WeightsFile {
        /// Path of the file.
        file: String,
        /// The model that the file probably belongs to.
        model: Option<String>,
    },
    /// Another file where a model's name was expected.
    #[error("`{file}` is a file, expected the name of a model or a directory")]
    NotADirectory {
        /// Path of the file.
        file: String,
        /// The file's directory, if the file is a `config.json`.
        folder: Option<String>,
    },
    #[error("there is no directory `{path}`")]
    /// A directory that does not exist.
    NoDirectory {
        /// Its path.
        path: String,
    },
    /// A `config.json` of a library other than timm.
    #[error(
        "{file} is a configuration of {library}{}, expected one of timm with the field \
         `architecture`",
        .kind.as_ref().map(|kind| format!(" (`{kind}`)")).unwrap_or_default()
    )]
    OtherLibrary {
        /// The file.
        file: String,
        /// The library that wrote it.
        library: &'static str,
        /// What that library calls the model.
        kind: Option<String>,
    },
    /// The architecture in a `config.json` is not among those of the cards.
    #[error("{file}: field `architecture`: unknown architecture `{architecture}`{}", similar(.suggestions))]
    UnknownArchitecture {
        /// The file.
        file: String,
        /// What the field says.
        architecture: String,
        /// The nearest known architectures, best first.
        suggestions: Vec<String>,
    },
    /// A model's directory lacks a file.
    #[error("{folder} holds none of {expected}")]
    MissingFile {
        /// The directory.
        folder: PathBuf,
        /// The files that were looked for.
        expected: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The label set cannot be used.
    #[error(transparent)]
    Labels(#[from] LabelError),
}

impl CardError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::AmbiguousModel { .. } => Some("give the full name of one of them".into()),
            Self::NotACard { name } => Some(format!(
                "to run a repository of the Hugging Face hub, write `hf-hub:{name}`"
            )),
            Self::HubName { .. } => Some(
                "write `hf-hub:organisation/name` or `hf-hub:organisation/name@revision`".into(),
            ),
            Self::Address { hint, .. } => Some(hint.clone()),
            Self::WeightsFile { file, model } => Some(match model {
                Some(model) => {
                    format!("the model is `{model}`, with {file} as its weights")
                }
                None => format!(
                    "name the network (a built-in model, or a directory with config.json) as the model, \
                     and give {file} as its weights"
                ),
            }),
            Self::NotADirectory {
                folder: Some(folder),
                ..
            } => Some(format!("the model is its directory, `{folder}`")),
            Self::NotADirectory { .. } | Self::NoDirectory { .. } => Some(
                "a model is the name of a built-in one, a directory with config.json, or \
                 hf-hub:ORG/REPO"
                    .into(),
            ),
            Self::OtherLibrary { .. } => Some(
                "if the weights are of a built-in model, name that as the model and give the file as its \
                 weights; else timm's `push_to_hf_hub` or \
                 `save_for_hf` writes what is needed here"
                    .into(),
            ),
            Self::Field { field, .. } => step(field),
            Self::MissingFile { .. } => Some(
                "a model's directory holds config.json and the weights, as timm saves them".into(),
            ),
            Self::Labels(error) => error.hint(),
            Self::UnknownModel { .. }
            | Self::UnknownArchitecture { .. }
            | Self::UnknownCheckpoint { .. }
            | Self::Toml { .. }
            | Self::Json { .. }
            | Self::Differ { .. }
            | Self::Recommended { .. }
            | Self::FileName { .. }
            | Self::Read { .. } => None,
        }
    }

    pub(crate) fn field(file: &str, field: &str, reason: impl Into<String>) -> Self {
        Self::Field {
            file: file.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }
}

/// What to do about a rejected field of a `config.json`.
fn step(field: &str) -> Option<String> {
    let (table, name) = field.rsplit_once('.').unwrap_or(("", field));
    let step = match name {
        "input_size" | "test_input_size" | "crop_pct" | "test_crop_pct" | "crop_mode"
        | "interpolation" | "mean" | "std" => {
            "where images are read, an override replaces the value of the file"
        }
        "num_classes" => "an override of the number of classes replaces the value of the file",
        _ if ["label_names", "labels"]
            .iter()
            .any(|names| field.contains(names)) =>
        {
            "an override of the number of classes leaves out names that do not fit it"
        }
        _ if table == "model_args" && name != "in_chans" => {
            "if the network was in fact trained without this argument, remove it from the file"
        }
        _ => return None,
    };
    Some(step.to_owned())
}

/// A misspelt name looks the same as that of an unsupported network, so the text says that similar names
/// are different networks.
fn similar(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!(
        "; similar names, each a different network with its own weights: {}",
        names.join(", ")
    )
}
