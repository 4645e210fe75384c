//! A classifier alone, for a network whose other weights are in a file of their own.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::labels::{Label, LabelSet};
use crate::preprocess::InputSpec;
use crate::store;
use crate::weights::{Weights, small_file};
use crate::zoo::ModelSpec;

/// The text of the safetensors file that describes the classifier, as JSON.
const ABOUT: &str = "senet_head";
const WEIGHT: &str = "weight";
const BIAS: &str = "bias";

/// A classifier, and the network that it belongs to.
#[derive(Clone, Debug)]
pub struct HeadFile {
    info: HeadInfo,
    /// Its tensors are called [`WEIGHT`] and [`BIAS`].
    weights: Weights,
}

/// What a classifier belongs to, and what its outputs mean.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HeadInfo {
    /// Name of the model whose features it takes.
    pub model: String,
    /// [`Weights::fingerprint`] of that model, before its classifier is replaced.
    pub weights: String,
    /// The preprocessing of the images that it was learned from.
    pub input: InputSpec,
    /// Whether these were rotated by their EXIF orientation.
    pub exif: bool,
    /// The names of its outputs.
    pub labels: Vec<String>,
    /// What the logits have to be divided by for the best probabilities of images that it was not
    /// learned from. It is stored only: probabilities are those of the logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// A classifier that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Not what [`HeadFile::to_bytes`] makes, or damaged.
    #[error("{file} is not a classifier that `senet train` wrote: {problem}")]
    NotAHead {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The classifier was learned on other features.
    #[error(
        "{file} was learned on the features of {model} with the weights {expected}, and those of {given} are {found}"
    )]
    OtherBase {
        /// The classifier's file.
        file: String,
        /// Name of the model that it was learned on.
        model: String,
        /// Fingerprint of that model's weights.
        expected: String,
        /// Name of the model that it was to be used with.
        given: String,
        /// Fingerprint of these weights.
        found: String,
    },
}

impl HeadError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAHead { .. } => None,
            Self::OtherBase { model, .. } => Some(format!("use it with the model {model}")),
        }
    }
}

impl HeadFile {
    /// A classifier with the weights `[labels, features]` and a bias for each label.
    ///
    /// # Errors
    /// If the numbers do not fit.
    pub fn new(info: HeadInfo, weight: &[f32], bias: &[f32]) -> Result<Self> {
        let outputs = info.labels.len();
        let name = format!("the classifier of {}", info.model);
        let wrong = |problem: String| HeadError::NotAHead {
            file: name.clone(),
            problem,
        };
        let text = serde_json::to_string(&info).map_err(|error| wrong(error.to_string()))?;
        let inputs = weight.len() / outputs.max(1);
        let tensors = [
            (WEIGHT, &[outputs, inputs][..], weight),
            (BIAS, &[outputs], bias),
        ];
        let bytes =
            small_file(&tensors, (ABOUT, &text)).map_err(|error| wrong(error.to_string()))?;
        let weights = Weights::from_bytes(&name, bytes)?;
        Self::check(info, weights)
    }

    /// Opens what [`Self::to_bytes`] made.
    ///
    /// # Errors
    /// [`HeadError::NotAHead`]; [`Error::Weights`](crate::Error::Weights) if it is no file of tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let weights = Weights::open(path)?;
        let wrong = |problem: String| HeadError::NotAHead {
            file: path.display().to_string(),
            problem,
        };
        let text = weights.metadata(ABOUT);
        let text = text.ok_or_else(|| wrong(format!("its metadata has no `{ABOUT}`")))?;
        let info = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("`{ABOUT}` in its metadata: {error}")))?;
        Self::check(info, weights)
    }

    fn check(info: HeadInfo, weights: Weights) -> Result<Self> {
        let wrong = |problem: String| HeadError::NotAHead {
            file: weights.source().to_owned(),
            problem,
        };
        let outputs = info.labels.len();
        let shape = |name: &str| weights.shape(name);
        match (shape(WEIGHT), shape(BIAS)) {
            (Some(&[rows, inputs]), Some(&[biases]))
                if rows == outputs && biases == outputs && inputs > 0 && outputs > 0 => {}
            (weight, bias) => {
                let problem = format!(
                    "expected `{WEIGHT}` of {outputs} rows and `{BIAS}` of {outputs} values, found {weight:?} \
                     and {bias:?}"
                );
                return Err(wrong(problem).into());
            }
        }
        if let Some(other) = weights.names().find(|name| ![WEIGHT, BIAS].contains(name)) {
            return Err(wrong(format!("it has the tensor `{other}`, too")).into());
        }
        Ok(Self { info, weights })
    }

    /// What it belongs to, and what its outputs mean.
    pub fn info(&self) -> &HeadInfo {
        &self.info
    }

    /// A safetensors file with the tensors `weight` and `bias`, and in the metadata under `senet_head`
    /// what [`HeadInfo`] says, as JSON. The same classifier gives the same bytes.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let file = self.weights.source().to_owned();
        let wrong = |problem: String| HeadError::NotAHead { file, problem };
        let (weight, bias) = (self.weights.f32(WEIGHT)?, self.weights.f32(BIAS)?);
        let shape = [self.info.labels.len(), weight.len() / bias.len().max(1)];
        let tensors = [
            (WEIGHT, &shape[..], &weight[..]),
            (BIAS, &shape[..1], &bias),
        ];
        let text = serde_json::to_string(&self.info);
        let bytes = text
            .map_err(std::io::Error::from)
            .and_then(|text| small_file(&tensors, (ABOUT, &text)));
        Ok(bytes.map_err(|error| wrong(error.to_string()))?)
    }

    /// Makes `spec` that of the model with this classifier: with its labels and the preprocessing of the
    /// images that it was learned from. [`Attached::weights`] does the same with the weights.
    pub fn attach(self, spec: &mut ModelSpec) -> Attached {
        let base = spec.clone();
        let source = self.weights.source();
        let label = |name: &String| Label {
            id: None,
            name: name.clone(),
            full: name.clone(),
        };
        spec.labels = Cow::Owned(LabelSet {
            name: source.to_owned(),
            source: source.to_owned(),
            entries: self.info.labels.iter().map(label).collect(),
        });
        spec.input = self.info.input.clone();
        spec.name = format!("{} with {source}", spec.name);
        Attached { head: self, base }
    }
}

/// A classifier for the model that it was given for.
#[derive(Clone, Debug)]
pub struct Attached {
    head: HeadFile,
    /// The model with its own classifier.
    base: ModelSpec,
}

impl Attached {
    /// `weights`, those of the model with its own classifier, with this classifier in its place.
    ///
    /// # Errors
    /// [`HeadError::OtherBase`] if the classifier was learned on other weights; if these do not fit the
    /// model.
    pub fn weights(&self, weights: &Weights) -> Result<Weights> {
        let Self { head, base } = self;
        let found = weights.fingerprint()?;
        let merged = self.merged(weights)?;
        if found == head.info.weights {
            return Ok(merged);
        }
        Err(HeadError::OtherBase {
            file: head.weights.source().to_owned(),
            model: head.info.model.clone(),
            expected: head.info.weights.clone(),
            given: base.name.clone(),
            found,
        }
        .into())
    }

    /// As [`Self::weights`], of weights that it is known to belong to.
    pub(crate) fn merged(&self, weights: &Weights) -> Result<Weights> {
        let Self { head, base } = self;
        let plan = base.network.plan(base.naming, base.classes())?;
        let fitting = plan.find(weights);
        let fitting = fitting.map_err(|error| store::explain_mismatch(error, base))?;
        let classifier = &plan.classifier.name;
        let renamed = |name: &str| Some(format!("{classifier}.{name}"));
        Ok(fitting.replaced_by(&head.weights.renamed(renamed)))
    }
}
