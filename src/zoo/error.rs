//! What can go wrong with a card, a name or a `config.json`.

use std::path::PathBuf;

use crate::labels::LabelError;
use crate::quote::excerpt;

/// A model description that cannot be used, or a name that means none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// Not TOML, an unknown or missing field, or a value of the wrong type.
    #[error("{file}, line {line}, at `{text}`: {message}")]
    Toml {
        file: String,
        line: usize,
        text: String,
        message: String,
    },
    /// Not JSON.
    #[error("{file} is not JSON")]
    Json {
        file: String,
        source: serde_json::Error,
    },
    /// A value that cannot be right, or that contradicts another.
    #[error("{file}: field `{}`: {reason}", excerpt(field))]
    Field {
        file: String,
        field: String,
        reason: String,
    },
    /// Two cards of one architecture disagree about what it is.
    #[error("{first} and {second} are of one architecture but differ in the field `{field}`")]
    Differ {
        first: String,
        second: String,
        field: String,
    },
    /// An architecture with several cards needs exactly one with `recommended = true`.
    #[error(
        "field `recommended`: {found} of {} are recommended, expected exactly one",
        .files.join(", ")
    )]
    Recommended { files: Vec<String>, found: usize },
    #[error("card {file}: expected a file name of the form `architecture.tag.toml`")]
    FileName { file: String },
    /// No card is called so.
    #[error("unknown model `{name}`{}", similar(.suggestions))]
    UnknownModel {
        name: String,
        suggestions: Vec<String>,
    },
    /// The architecture has no checkpoint of that tag.
    #[error("unknown model `{name}`; the checkpoints of {architecture} are {}", .checkpoints.join(", "))]
    UnknownCheckpoint {
        name: String,
        architecture: String,
        checkpoints: Vec<String>,
    },
    /// The beginning of several names.
    #[error("`{name}` can mean any of {}", .candidates.join(", "))]
    AmbiguousModel {
        name: String,
        candidates: Vec<String>,
    },
    /// Looks like a Hub repository, and is not the repository of a card.
    #[error("unknown model `{name}`")]
    NotACard { name: String },
    #[error("`{name}` is not a Hub repository: {reason}")]
    HubName { name: String, reason: &'static str },
    /// A web address that cannot be run as a model.
    #[error("`{address}` is not the address of a model: {reason}")]
    Address {
        address: String,
        reason: String,
        hint: String,
    },
    /// A weights file where a model's name was expected.
    #[error("`{file}` is a weights file, expected a model")]
    WeightsFile {
        file: String,
        /// The model that the file probably belongs to.
        model: Option<String>,
    },
    /// Another file where a model's name was expected.
    #[error("`{file}` is a file, expected the name of a model or a directory")]
    NotADirectory {
        file: String,
        /// The file's directory, if the file is a `config.json`.
        folder: Option<String>,
    },
    #[error("there is no directory `{path}`")]
    NoDirectory { path: String },
    /// A `config.json` of another library than timm.
    #[error(
        "{file} is a configuration of {library}{}, expected one of timm with the field \
         `architecture`",
        .kind.as_ref().map(|kind| format!(" (`{kind}`)")).unwrap_or_default()
    )]
    OtherLibrary {
        file: String,
        library: &'static str,
        /// What that library calls the model.
        kind: Option<String>,
    },
    /// The architecture in a `config.json` is not among those of the cards.
    #[error("{file}: field `architecture`: unknown architecture `{architecture}`{}", similar(.suggestions))]
    UnknownArchitecture {
        file: String,
        architecture: String,
        suggestions: Vec<String>,
    },
    #[error("{folder} holds none of {expected}")]
    MissingFile {
        folder: PathBuf,
        expected: &'static str,
    },
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// A fault of the program: its tests parse the same cards.
    #[error("a built-in card is wrong: {0}")]
    Builtin(&'static CardError),
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
            Self::Builtin(error) => error.hint(),
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

/// What to do about a field of a `config.json` that is refused.
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
            "if the network was trained without this argument all the same, take it out of the file"
        }
        _ => return None,
    };
    Some(step.to_owned())
}

/// A misspelt name and that of a network which is not known here look the same, and the weights of one
/// network are no substitute for those of another.
fn similar(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!(
        "; similar names, each a different network with its own weights: {}",
        names.join(", ")
    )
}
