//! What the rows of a file are of.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{EmbedError, ExtractOptions, Layer};
use crate::model::Model;
use crate::nn::Precision;
use crate::preprocess::{InputSpec, Views};

/// Everything that must be the same for features to belong together. A file has it in its metadata, one
/// entry for each field.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct FeatureHeader {
    /// Version of the format.
    pub senet_features: u32,
    /// Name of the model.
    pub model: String,
    /// [Fingerprint](crate::weights::Weights::fingerprint) of the weights: a SHA-256.
    pub weights: String,
    /// Precision of the network.
    pub precision: Precision,
    /// Its preprocessing.
    pub input: InputSpec,
    /// Whether images are rotated by their EXIF orientation.
    pub exif: bool,
    /// Whether 16-bit grey is divided by 257 instead of clipped.
    pub scale_16bit: bool,
    /// The layer that the features come from.
    pub layer: Layer,
    /// The views of each image. With more than one, the first axis of a row counts them.
    pub views: Views,
    /// Whether each view's values are divided by their Euclidean length.
    pub l2: bool,
    /// How a value is stored.
    pub dtype: FeatureType,
    /// The shape of a row: of an image's features.
    pub shape: Vec<usize>,
}

/// How a value is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FeatureType {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point, rounded to nearest.
    F16,
}

impl FeatureType {
    /// Its name: `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Bytes of a value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Version of the format.
const VERSION: u32 = 1;

/// The fields that are text in the metadata as they are; the others are JSON.
const TEXTS: [&str; 6] = ["model", "weights", "precision", "layer", "views", "dtype"];

impl FeatureHeader {
    /// The header of what [`extract`](super::extract()) gives with these options, stored as `dtype`.
    /// `weights` is the [fingerprint](crate::weights::Weights::fingerprint) of the model's weights.
    ///
    /// # Errors
    /// As [`Layer::shape`].
    pub fn new(
        model: &Model,
        weights: String,
        options: &ExtractOptions,
        dtype: FeatureType,
    ) -> Result<Self, EmbedError> {
        let spec = model.spec();
        let plan = model.network().plan();
        let mut shape = options.layer.shape(plan, spec.input.size)?;
        if options.views.count() > 1 {
            shape.insert(0, options.views.count());
        }
        Ok(Self {
            senet_features: VERSION,
            model: spec.name.clone(),
            weights,
            precision: model.network().precision(),
            input: spec.input.clone(),
            exif: options.decode.exif,
            scale_16bit: options.decode.scale_16bit,
            layer: options.layer,
            views: options.views,
            l2: options.l2,
            dtype,
            shape,
        })
    }

    /// Number of values in a row.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.width() * self.dtype.size()
    }

    /// Whether there are as many values as a row has.
    ///
    /// # Errors
    /// Both numbers.
    pub(super) fn check_width(&self, values: &[f32]) -> Result<(), String> {
        match (self.width(), values.len()) {
            (expected, found) if expected == found => Ok(()),
            (expected, found) => Err(format!("expected {expected} features, found {found}")),
        }
    }

    /// Appends the bytes of a row.
    ///
    /// # Errors
    /// A value that the type cannot hold.
    pub(super) fn encode(&self, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), String> {
        match self.dtype {
            FeatureType::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            FeatureType::F16 => {
                for &value in values {
                    let half = f16::from_f32(value);
                    if !half.is_finite() {
                        return Err(format!("the feature {value} is too large for f16"));
                    }
                    bytes.extend(half.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// Whether the features in the file at `path`, whose header is `found`, are of the same kind.
    ///
    /// # Errors
    /// [`EmbedError::Mismatch`] with the first field that differs.
    pub fn check_same(&self, found: &Self, path: &Path) -> Result<(), EmbedError> {
        let (mut expected, mut found) = (self.fields(), found.fields());
        for (name, field) in NAMES {
            let pair = [&mut expected, &mut found].map(|fields| fields.remove(name));
            if pair[0] != pair[1] {
                let [expected, found] = pair.map(Option::unwrap_or_default);
                return Err(EmbedError::Mismatch {
                    path: path.display().to_string(),
                    field,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Each field as text.
    pub(super) fn fields(&self) -> BTreeMap<String, String> {
        // By way of text, in which 0.1 in f32 is 0.1.
        let fields = serde_json::to_string(self).and_then(|text| serde_json::from_str(&text));
        // Its fields are numbers, texts and lists, which JSON has.
        let fields: Map<String, Value> = fields.unwrap_or_default();
        let text = |value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let fields = fields.into_iter();
        fields.map(|(name, value)| (name, text(value))).collect()
    }

    /// From the fields of a file's metadata, which may have others.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_fields<'a>(
        fields: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let mut object = Map::new();
        for (name, text) in fields.filter(|(name, _)| NAMES.iter().any(|(known, _)| known == name))
        {
            let value = match TEXTS.contains(&name) {
                true => Value::String(text.to_owned()),
                false => {
                    serde_json::from_str(text).map_err(|error| format!("`{name}`: {error}"))?
                }
            };
            object.insert(name.to_owned(), value);
        }
        if !object.contains_key("senet_features") {
            return Err("its metadata does not say which model the features come from".to_owned());
        }
        let header: Self =
            serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())?;
        if header.senet_features != VERSION {
            let found = header.senet_features;
            return Err(format!("version {found} of the format, expected {VERSION}"));
        }
        let values = header
            .shape
            .iter()
            .try_fold(header.dtype.size(), |product, &edge| {
                product.checked_mul(edge)
            });
        match values {
            None | Some(0) => Err(format!("rows of the shape {:?}", header.shape)),
            Some(_) => Ok(header),
        }
    }
}

/// The fields, and what they are called in messages.
const NAMES: [(&str, &str); 12] = [
    ("senet_features", "version"),
    ("model", "model"),
    ("weights", "weights"),
    ("precision", "precision"),
    ("input", "preprocessing"),
    ("exif", "EXIF setting"),
    ("scale_16bit", "setting of 16-bit grey"),
    ("layer", "layer"),
    ("views", "views"),
    ("l2", "L2 normalization"),
    ("dtype", "element type"),
    ("shape", "shape of a row"),
];
