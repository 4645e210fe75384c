//! What can go wrong with a card, a name or a `config.json`.

use std::path::PathBuf;

use crate::labels::LabelError;

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
    #[error("{file} is not JSON: {source}")]
    Json {
        file: String,
        source: serde_json::Error,
    },
    /// A value that cannot be right, or that contradicts another.
    #[error("{file}: field `{field}`: {reason}")]
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
    #[error("unknown model `{name}`{}", did_you_mean(.suggestions))]
    UnknownModel {
        name: String,
        suggestions: Vec<String>,
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
    /// The architecture in a `config.json` is not among those of the cards.
    #[error("{file}: field `architecture`: unknown architecture `{architecture}`{}", did_you_mean(.suggestions))]
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
    #[error("cannot read {path}: {source}")]
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
            Self::UnknownModel { suggestions, .. } if suggestions.is_empty() => {
                Some("`senet list` shows all models".into())
            }
            Self::AmbiguousModel { .. } => Some("give the full name of one of them".into()),
            Self::NotACard { name } => Some(format!(
                "to run a repository of the Hugging Face hub, write `hf-hub:{name}`"
            )),
            Self::HubName { .. } => Some(
                "write `hf-hub:organisation/name` or `hf-hub:organisation/name@revision`".into(),
            ),
            Self::UnknownArchitecture { .. } => {
                Some("the architectures are those of `senet list`".into())
            }
            Self::MissingFile { .. } => Some(
                "a model's directory holds config.json and model.safetensors or \
                 pytorch_model.bin, as timm saves them"
                    .into(),
            ),
            Self::Labels(error) => error.hint(),
            Self::Builtin(error) => error.hint(),
            Self::UnknownModel { .. }
            | Self::Toml { .. }
            | Self::Json { .. }
            | Self::Field { .. }
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

fn did_you_mean(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        return String::new();
    }
    format!("; did you mean {}?", suggestions.join(", "))
}
