//! The description from which a model is loaded and run, whatever its source.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Architecture, Card, CardError, Overrides, WeightsRef};
use crate::labels::LabelSet;
use crate::nets::{Naming, NetworkSpec};
use crate::preprocess::{ImageError, InputSpec, Transform};

/// A model, described completely and checked: from a card, or from timm's `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Its name in messages: a card's full name, or the directory or repository of the `config.json`.
    pub name: String,
    /// The topology.
    pub network: NetworkSpec,
    /// Whose tensor names the weights use.
    pub naming: Naming,
    /// How images are prepared.
    pub input: InputSpec,
    /// One entry for each output of the classifier.
    pub labels: Cow<'static, LabelSet>,
    /// Where the weights are.
    pub weights: WeightsSource,
    /// The `config.json` that it was read from; `None` for a card.
    pub config: Option<String>,
    /// Notes for the user about values that were read in an unexpected way.
    pub notes: Vec<String>,
}

/// Where the weights are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightsSource {
    /// On the hub, in a release, or part of the program.
    Reference(WeightsRef),
    /// On this machine.
    File(PathBuf),
    /// In this directory; the file is looked for when it is needed.
    Directory(PathBuf),
}

impl ModelSpec {
    /// The model of a card.
    ///
    /// # Errors
    /// [`CardError::Labels`] if the card's label set cannot be read.
    pub fn from_card(card: &Card) -> Result<Self, CardError> {
        Ok(Self {
            name: card.name.to_string(),
            network: card.network.clone(),
            naming: card.naming,
            input: card.input.clone(),
            labels: Cow::Borrowed(LabelSet::builtin(&card.labels)?),
            weights: WeightsSource::Reference(card.weights.clone()),
            config: None,
            notes: Vec::new(),
        })
    }

    /// The model of an architecture without a checkpoint, before it has weights.
    ///
    /// # Errors
    /// [`CardError::Labels`] if the label set cannot be read.
    pub fn from_architecture(architecture: &Architecture) -> Result<Self, CardError> {
        Ok(Self {
            name: architecture.name.clone(),
            network: architecture.network.clone(),
            naming: architecture.naming,
            input: architecture.input.clone(),
            labels: Cow::Borrowed(LabelSet::builtin(&architecture.labels)?),
            weights: WeightsSource::Reference(WeightsRef::default()),
            config: None,
            notes: Vec::new(),
        })
    }

    /// Replaces the model's settings with the user's.
    pub fn set(&mut self, overrides: &Overrides) {
        overrides.apply(&mut self.input);
        let classes = overrides.num_classes.unwrap_or(self.classes());
        if classes != self.classes() {
            self.notes.push(format!(
                "the label names of {} ({}) do not fit {classes} classes and are left out",
                self.name, self.labels.name
            ));
            self.labels = Cow::Owned(LabelSet::numbered(classes));
        }
    }

    /// Channels of the network's input: 3 for colours, 1 for grey.
    pub fn channels(&self) -> usize {
        self.network.inputs()
    }

    /// The preprocessing.
    ///
    /// # Errors
    /// As [`Transform::with_channels`].
    pub fn transform(&self) -> Result<Transform, ImageError> {
        Transform::with_channels(&self.input, self.channels())
    }

    /// Number of classes: the classifier's outputs.
    pub fn classes(&self) -> usize {
        self.labels.len()
    }
}
