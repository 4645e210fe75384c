//! One card: a TOML file, typed and checked.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CardError, WeightsRef, check};
use crate::nets::{Naming, NetworkSpec};
use crate::preprocess::{InputSpec, Interpolation};

/// A model's full name, `architecture.tag`: the topology, and the recipe that trained it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct CardName {
    architecture: String,
    tag: String,
}

impl CardName {
    /// Splits a full name; `None` unless both parts are lower-case letters, digits and `_`.
    pub fn parse(text: &str) -> Option<Self> {
        let (architecture, tag) = text.split_once('.')?;
        let word = |part: &str| {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            !part.is_empty() && part.chars().all(allowed)
        };
        (word(architecture) && word(tag)).then(|| Self {
            architecture: architecture.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// The part before the first dot: the topology.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The part after it: the training recipe.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for CardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.architecture, self.tag))
    }
}

impl From<CardName> for String {
    fn from(name: CardName) -> Self {
        name.to_string()
    }
}

/// Accuracy that others measured, with the input settings it was measured at.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// Part of the resized image's side that the crop keeps.
    pub crop_pct: f64,
    /// Filter that resized the images.
    pub interpolation: Interpolation,
    /// Per cent of the validation images.
    pub top1: f64,
    /// Per cent of the validation images, where it was published too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// The table that has the figure, with its version.
    pub source: String,
}

/// Both accuracies in words, as far as they are known.
pub(crate) fn accuracies(top1: f64, top5: Option<f64>) -> String {
    let top5 = top5.map(|top5| format!(", top-5 {top5} %"));
    format!("top-1 {top1} %{}", top5.unwrap_or_default())
}

/// Everything that is known about one checkpoint. `models/README.md` describes the fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// Full name, from the file's name.
    pub name: CardName,
    /// The family of networks: the file's directory, such as `se-resnet`.
    pub family: String,
    /// SPDX expression for the weights.
    pub license: String,
    /// arXiv identifiers: the architecture first, then the training recipe.
    pub paper: Vec<String>,
    /// Web page about the weights: who trained them.
    pub origin: String,
    /// Whether the architecture's name alone selects this checkpoint.
    pub recommended: bool,
    /// Trainable parameters, exactly.
    pub params: usize,
    /// Multiplications (10⁹) of convolutions and linear layers for one image of `input.size`.
    pub gmacs: Option<f64>,
    /// What a user should know before relying on it.
    pub notes: Vec<String>,
    /// Name in Cadene's `pretrainedmodels` of the network with the same weights.
    pub cadene: Option<String>,
    /// The topology.
    pub network: NetworkSpec,
    /// Whose tensor names the weights use.
    pub naming: Naming,
    /// Where the weights are.
    pub weights: WeightsRef,
    /// How images are prepared.
    pub input: InputSpec,
    /// Name of a built-in [`LabelSet`](crate::labels::LabelSet).
    pub labels: String,
    /// Accuracy that others measured, one entry for each setting.
    pub published: Vec<Published>,
}

impl Card {
    /// Reads a card and checks it as far as one card alone can be checked. `file` is its path under
    /// `models/`, `family/architecture.tag.toml`.
    ///
    /// # Errors
    /// [`CardError::FileName`], [`CardError::Toml`] with the line, or [`CardError::Field`].
    pub fn parse(file: &str, text: &str) -> Result<Self, CardError> {
        let card = Self::read(file, text)?;
        check::card(&card, file)?;
        Ok(card)
    }

    /// As [`Card::parse`], without the checks beyond the types of the fields.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, CardError> {
        let name = Self::name_of(file)?;
        let parsed: CardFile =
            toml::from_str(text).map_err(|error| toml_error(file, text, &error))?;
        Ok(Self {
            name,
            family: split_path(file)?.0.to_owned(),
            license: parsed.license,
            paper: parsed.paper,
            origin: parsed.origin,
            recommended: parsed.recommended,
            params: parsed.params,
            gmacs: parsed.gmacs,
            notes: parsed.notes,
            cadene: parsed.cadene,
            network: parsed.network,
            naming: parsed.tensors.naming,
            weights: parsed.weights,
            input: parsed.input,
            labels: parsed.labels.set,
            published: parsed.published,
        })
    }

    /// The name of the card in that file.
    pub(super) fn name_of(file: &str) -> Result<CardName, CardError> {
        let (_, name) = split_path(file)?;
        CardName::parse(name).ok_or_else(|| CardError::FileName {
            file: file.to_owned(),
        })
    }

    /// Path under `models/` of the file that holds the card.
    pub(crate) fn file(&self) -> String {
        format!("{}/{}.toml", self.family, self.name)
    }
}

/// Family and name of a file under `models/`: `se-resnet` and `seresnet50.a1_in1k`.
pub(super) fn split_path(file: &str) -> Result<(&str, &str), CardError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let parts = file
        .strip_suffix(".toml")
        .and_then(|path| path.split_once('/'));
    parts
        .filter(|(family, _)| !family.is_empty() && family.chars().all(allowed))
        .ok_or_else(|| CardError::FileName {
            file: file.to_owned(),
        })
}

/// A card as it is in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFile {
    license: String,
    paper: Vec<String>,
    origin: String,
    #[serde(default)]
    recommended: bool,
    params: usize,
    gmacs: Option<f64>,
    #[serde(default)]
    notes: Vec<String>,
    cadene: Option<String>,
    network: NetworkSpec,
    tensors: TensorsTable,
    weights: WeightsRef,
    input: InputSpec,
    labels: LabelsTable,
    #[serde(default)]
    published: Vec<Published>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TensorsTable {
    pub(super) naming: Naming,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelsTable {
    set: String,
}

/// Adds the line: its text names the field when the parser's message does not.
pub(super) fn toml_error(file: &str, text: &str, error: &toml::de::Error) -> CardError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    let line = before.matches('\n').count();
    let shown = text.lines().nth(line).unwrap_or_default().trim();
    CardError::Toml {
        file: file.to_owned(),
        line: line + 1,
        text: shown.chars().take(160).collect(),
        message: error.message().to_owned(),
    }
}
