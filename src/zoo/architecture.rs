//! Topologies without a published checkpoint: a file without a tag, `models/<family>/<architecture>.toml`.

use serde::{Deserialize, Serialize};

use super::card::{TensorsTable, split_path, toml_error};
use super::{Card, CardError, check};
use crate::nets::{Naming, NetworkSpec};
use crate::preprocess::InputSpec;

/// A topology for the user's own weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Architecture {
    /// Name in timm, without a tag.
    pub name: String,
    /// The family of networks: the file's directory, such as `se-resnet`.
    pub family: String,
    /// Trainable parameters with the classes of [`labels`](Self::labels).
    pub params: usize,
    /// The topology.
    pub network: NetworkSpec,
    /// Whose tensor names its weights use.
    pub naming: Naming,
    /// timm's default input settings.
    pub input: InputSpec,
    /// The default label set.
    pub labels: String,
}

/// The default label set of networks without weights.
const LABELS: &str = "imagenet-1k";

impl Architecture {
    /// Reads and checks `text`, the content of the file `family/architecture.toml`.
    ///
    /// # Errors
    /// [`CardError::FileName`], [`CardError::Toml`] with the line, or [`CardError::Field`].
    pub fn parse(file: &str, text: &str) -> Result<Self, CardError> {
        let architecture = Self::read(file, text)?;
        check::architecture(&architecture, file)?;
        Ok(architecture)
    }

    /// As [`Architecture::parse`], without the checks beyond the types of the fields.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, CardError> {
        let (family, name) = split_path(file)?;
        let parsed: ArchitectureFile =
            toml::from_str(text).map_err(|error| toml_error(file, text, &error))?;
        Ok(Self {
            name: name.to_owned(),
            family: family.to_owned(),
            params: parsed.params,
            network: parsed.network,
            naming: parsed.tensors.naming,
            input: parsed.input,
            labels: LABELS.to_owned(),
        })
    }

    /// The name of the architecture in that file.
    pub(super) fn name_of(file: &str) -> Result<String, CardError> {
        split_path(file).map(|(_, name)| name.to_owned())
    }
}

impl From<&Card> for Architecture {
    fn from(card: &Card) -> Self {
        Self {
            name: card.name.architecture().to_owned(),
            family: card.family.clone(),
            params: card.params,
            network: card.network.clone(),
            naming: card.naming,
            input: card.input.clone(),
            labels: card.labels.clone(),
        }
    }
}

/// An architecture as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchitectureFile {
    params: usize,
    network: NetworkSpec,
    tensors: TensorsTable,
    input: InputSpec,
}
