//! Models without a card: timm's `config.json` and the weights beside it.
//!
//! Both layouts are read: that of 2023, which the Hub holds, and today's with `model_args`. Fields
//! that say nothing about inference are passed over. A missing field has timm's default
//! (`PretrainedCfg` in timm `models/_pretrained.py`). Control characters become U+FFFD, because names
//! and error messages end up in a terminal.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::suggest::near;
use super::{CardError, ModelSpec, WeightsSource, Zoo, check};
use crate::image::{CropMode, InputSpec, Interpolation};
use crate::labels::{Label, LabelSet, printable};

pub(crate) const CONFIG_FILE: &str = "config.json";
/// In the order of preference: a safetensors file cannot run code and opens at once.
pub(crate) const WEIGHTS_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// A damaged number must not become an allocation. ImageNet-22k has 21,841 classes.
const MAX_CLASSES: usize = 1_000_000;
/// timm's constructor arguments that change nothing in inference (timm `models/resnet.py`).
const TRAINING_ARGUMENTS: [&str; 5] = [
    "drop_rate",
    "drop_path_rate",
    "drop_block_rate",
    "pretrained",
    "zero_init_last",
];

impl ModelSpec {
    /// The model in a directory as timm saves it: `config.json`, and `model.safetensors` or
    /// `pytorch_model.bin`.
    ///
    /// # Errors
    /// [`CardError::Read`], [`CardError::MissingFile`], and those of
    /// [`from_timm_config`](Self::from_timm_config).
    pub fn from_timm_dir(folder: &Path) -> Result<Self, CardError> {
        let missing = |expected| CardError::MissingFile {
            folder: folder.to_owned(),
            expected,
        };
        let path = folder.join(CONFIG_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing(CONFIG_FILE));
            }
            Err(source) => return Err(CardError::Read { path, source }),
        };
        let weights = WEIGHTS_FILES
            .iter()
            .map(|file| folder.join(file))
            .find(|path| path.is_file())
            .ok_or_else(|| missing("model.safetensors, pytorch_model.bin"))?;
        let name = folder.display().to_string();
        Self::from_timm_config(&text, &name, WeightsSource::File(weights))
    }

    /// The model that a `config.json` describes. `name` is the directory or repository, for
    /// messages. The topology is that of the built-in cards with the same `architecture`.
    ///
    /// Without label names, 1000 classes get those of ImageNet-1k and 11,821 those of ImageNet-12k
    /// if the checkpoint's own number is the same, as in timm; other classes are numbered.
    ///
    /// # Errors
    /// [`CardError::Json`], [`CardError::Field`] with the field's path,
    /// [`CardError::UnknownArchitecture`].
    pub fn from_timm_config(
        text: &str,
        name: &str,
        weights: WeightsSource,
    ) -> Result<Self, CardError> {
        let file = format!("{name}/{CONFIG_FILE}");
        let root: Value = serde_json::from_str(text).map_err(|source| CardError::Json {
            file: file.clone(),
            source,
        })?;
        let root = printable_value(root);
        let root = Fields::new(&file, "", &root)?;
        let nested = root.table("pretrained_cfg")?;
        // Before 2023 everything stood at the top, and timm called the labels otherwise.
        let pretrained = nested.unwrap_or(root);
        let label_fields = match nested {
            Some(nested) => [(root, "label_names"), (nested, "label_names")],
            None => [(root, "labels"), (root, "label_names")],
        };

        let zoo = Zoo::builtin()?;
        let architecture: String = root.required("architecture", "a name")?;
        let Some(card) = zoo.default_of(&architecture) else {
            let suggestions = near(&architecture, zoo.architectures());
            return Err(CardError::UnknownArchitecture {
                file,
                architecture,
                suggestions,
            });
        };
        check_topology(root)?;
        let classes = classes(root, pretrained)?;
        let plan = card
            .network
            .plan(card.naming, classes)
            .map_err(|error| check::network(&file, error))?;
        let features: Option<usize> = root.optional("num_features", "a whole number")?;
        if let Some(found) = features.filter(|&found| found != plan.num_features()) {
            let reason = format!("{architecture} has {}, found {found}", plan.num_features());
            return Err(root.error("num_features", reason));
        }
        Ok(Self {
            name: name.to_owned(),
            network: card.network.clone(),
            naming: card.naming,
            input: input(pretrained)?,
            labels: labels(label_fields, pretrained, classes)?,
            weights,
        })
    }
}

/// Refuses arguments that would make another network than the architecture's.
fn check_topology(root: Fields<'_>) -> Result<(), CardError> {
    check_pool(root)?;
    let Some(arguments) = root.table("model_args")? else {
        return Ok(());
    };
    check_pool(arguments)?;
    let channels: Option<usize> = arguments.optional("in_chans", "a whole number")?;
    if let Some(found) = channels.filter(|&found| found != 3) {
        let reason = format!("only networks of 3 input channels are supported, found {found}");
        return Err(arguments.error("in_chans", reason));
    }
    let known = |name: &&String| {
        TRAINING_ARGUMENTS.contains(&name.as_str())
            || ["in_chans", "global_pool", "num_classes"].contains(&name.as_str())
    };
    match arguments.map.keys().find(|name| !known(name)) {
        Some(name) => {
            let reason = "networks that differ from the architecture's standard are not supported";
            Err(arguments.error(name, reason))
        }
        None => Ok(()),
    }
}

fn check_pool(fields: Fields<'_>) -> Result<(), CardError> {
    let pool: Option<String> = fields.optional("global_pool", "a name")?;
    match pool.filter(|pool| pool != "avg") {
        Some(pool) => {
            let reason = format!("only `avg` is supported, found `{pool}`");
            Err(fields.error("global_pool", reason))
        }
        None => Ok(()),
    }
}

/// The number at the top or in `model_args` is decisive, and they must agree: `pretrained_cfg` keeps
/// that of the original checkpoint.
fn classes(root: Fields<'_>, pretrained: Fields<'_>) -> Result<usize, CardError> {
    let number = |fields: Fields<'_>| -> Result<Option<usize>, CardError> {
        let reason = match fields.optional("num_classes", "a whole number")? {
            Some(0) => "the model has no classifier, expected at least one class".to_owned(),
            Some(found) if found > MAX_CLASSES => {
                format!("expected at most {MAX_CLASSES}, found {found}")
            }
            fine => return Ok(fine),
        };
        Err(fields.error("num_classes", reason))
    };
    let top = number(root)?;
    let arguments = match root.table("model_args")? {
        Some(arguments) => number(arguments)?.map(|classes| (arguments, classes)),
        None => None,
    };
    match (top, arguments) {
        (Some(top), Some((arguments, found))) if top != found => {
            let reason = format!("expected {top} as in the field `num_classes`, found {found}");
            Err(arguments.error("num_classes", reason))
        }
        (Some(classes), _) | (None, Some((_, classes))) => Ok(classes),
        (None, None) => Ok(number(pretrained)?.unwrap_or(1000)),
    }
}

fn input(fields: Fields<'_>) -> Result<InputSpec, CardError> {
    let size = |name: &str| -> Result<Option<[usize; 2]>, CardError> {
        match fields.optional::<[usize; 3]>(name, "[channels, height, width]")? {
            Some([3, height, width]) => Ok(Some([height, width])),
            Some([found, ..]) => {
                Err(fields.error(name, format!("expected 3 channels, found {found}")))
            }
            None => Ok(None),
        }
    };
    let test_size = size("test_input_size")?;
    let input = InputSpec {
        size: size("input_size")?.unwrap_or([224, 224]),
        crop_pct: fields.optional("crop_pct", "a number")?.unwrap_or(0.875),
        crop_mode: fields
            .optional::<CropMode>("crop_mode", "`center`, `squash` or `border`")?
            .unwrap_or_default(),
        interpolation: fields
            .optional("interpolation", "`bilinear` or `bicubic`")?
            .unwrap_or(Interpolation::Bicubic),
        mean: fields
            .optional("mean", "three numbers")?
            .unwrap_or([0.485, 0.456, 0.406]),
        std: fields
            .optional("std", "three numbers")?
            .unwrap_or([0.229, 0.224, 0.225]),
        test_crop_pct: fields.optional("test_crop_pct", "a number")?,
        test_size,
    };
    check::input(&input).map_err(|(field, reason)| {
        let name = match field {
            "size" => "input_size",
            "test_size" => "test_input_size",
            same => same,
        };
        fields.error(name, reason)
    })?;
    Ok(input)
}

/// `places` are the tables and fields that may hold the names, in timm's order.
fn labels(
    places: [(Fields<'_>, &'static str); 2],
    pretrained: Fields<'_>,
    classes: usize,
) -> Result<Cow<'static, LabelSet>, CardError> {
    let named = places
        .into_iter()
        .find(|(fields, name)| fields.get(name).is_some());
    let Some((fields, field)) = named else {
        let own: Option<usize> = pretrained.optional("num_classes", "a whole number")?;
        let standard = match classes {
            _ if own.is_some_and(|own| own != classes) => None,
            1000 => Some("imagenet-1k"),
            11_821 => Some("imagenet-12k"),
            _ => None,
        };
        return Ok(match standard {
            Some(name) => Cow::Borrowed(LabelSet::builtin(name)?),
            None => Cow::Owned(LabelSet::numbered(classes)),
        });
    };
    let descriptions = places
        .into_iter()
        .find_map(|(fields, _)| fields.table("label_descriptions").transpose());
    let descriptions = descriptions.transpose()?;
    let names = label_names(fields, field, classes)?;
    let mut entries = Vec::with_capacity(classes);
    for (index, name) in names.into_iter().enumerate() {
        let described = match (&name, descriptions) {
            (Some(name), Some(texts)) => texts.optional::<String>(name, "a text")?,
            _ => None,
        };
        entries.push(match (name, described) {
            (None, _) => Label::numbered(index),
            (Some(id), Some(names)) if is_wordnet_id(&id) => Label::new(Some(id), names),
            (Some(name), Some(full)) => Label {
                id: None,
                name,
                full,
            },
            (Some(name), None) => Label {
                id: None,
                full: name.clone(),
                name,
            },
        });
    }
    let source = fields.file.to_owned();
    Ok(Cow::Owned(LabelSet {
        name: source.clone(),
        source,
        entries,
    }))
}

/// An ImageNet class is labelled by its WordNet id, such as `n01440764`, and described by its names.
fn is_wordnet_id(label: &str) -> bool {
    label
        .strip_prefix('n')
        .is_some_and(|id| id.len() == 8 && id.bytes().all(|b| b.is_ascii_digit()))
}

/// Names from a list, or from a table of numbers and names, which may have gaps.
fn label_names(
    fields: Fields<'_>,
    field: &'static str,
    classes: usize,
) -> Result<Vec<Option<String>>, CardError> {
    if let Some(Value::Object(_)) = fields.get(field) {
        let table = fields.table(field)?.unwrap_or(fields);
        let mut names = vec![None; classes];
        for index in table.map.keys() {
            let slot = index
                .parse()
                .ok()
                .and_then(|index: usize| names.get_mut(index));
            let Some(slot) = slot else {
                let reason = format!("expected the number of one of {classes} classes");
                return Err(table.error(index, reason));
            };
            *slot = table.optional(index, "a name")?;
        }
        return Ok(names);
    }
    let names: Vec<String> = fields.required(field, "a list or a table of names")?;
    if names.len() != classes {
        let reason = format!("expected {classes} names, found {}", names.len());
        return Err(fields.error(field, reason));
    }
    Ok(names.into_iter().map(Some).collect())
}

/// The same with U+FFFD for control characters, in names of fields too.
fn printable_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable(&text)),
        Value::Array(items) => items.into_iter().map(printable_value).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| (printable(&name), printable_value(value)))
            .collect(),
        other => other,
    }
}

/// A table of the file, with its place for error messages.
#[derive(Clone, Copy)]
struct Fields<'a> {
    file: &'a str,
    /// The table's own name; empty at the top.
    table: &'a str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn new(file: &'a str, table: &'a str, value: &'a Value) -> Result<Self, CardError> {
        match value {
            Value::Object(map) => Ok(Self { file, table, map }),
            other => {
                let field = if table.is_empty() { "(top)" } else { table };
                let reason = format!("expected a table, found {}", describe(other));
                Err(CardError::field(file, field, reason))
            }
        }
    }

    fn error(&self, name: &str, reason: impl Into<String>) -> CardError {
        let field = match self.table {
            "" => name.to_owned(),
            table => format!("{table}.{name}"),
        };
        CardError::field(self.file, &field, reason)
    }

    /// The value, if there is one: timm writes `null` for what is not set.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn optional<T: DeserializeOwned>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, CardError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        T::deserialize(value).map(Some).map_err(|_| {
            self.error(
                name,
                format!("expected {expected}, found {}", describe(value)),
            )
        })
    }

    fn required<T: DeserializeOwned>(&self, name: &str, expected: &str) -> Result<T, CardError> {
        self.optional(name, expected)?
            .ok_or_else(|| self.error(name, format!("expected {expected}, found nothing")))
    }

    fn table(&self, name: &'static str) -> Result<Option<Fields<'a>>, CardError> {
        self.get(name)
            .map(|value| Fields::new(self.file, name, value))
            .transpose()
    }
}

/// The value as it stands in the file, cut to a readable length.
fn describe(value: &Value) -> String {
    const SHOWN: usize = 40;
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(SHOWN).collect::<String>())
}
