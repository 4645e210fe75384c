//! Models without a card: timm's `config.json` and the weights next to it.
//!
//! Both layouts are read: that of 2023, which the Hub holds, and today's with `model_args`. Fields
//! that do not affect inference are ignored. A missing field has timm's default
//! (`PretrainedCfg` in timm `models/_pretrained.py`).

mod fields;
mod input;
mod labels;
mod origin;

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value, json};

use super::resolve::{present_name, split_tag};
use super::suggest::near;
use super::{Architecture, CardError, ModelSpec, Overrides, WeightsSource, Zoo, check};
use crate::bounded;
use crate::labels::LabelSet;
use crate::nets::{Naming, Shortcut};
use fields::Fields;

pub(crate) const CONFIG_FILE: &str = "config.json";
/// Keeps a damaged number from becoming a huge allocation. ImageNet-22k has 21,841 classes.
const MAX_CLASSES: usize = 1_000_000;
/// Far above the bands of any camera.
const MAX_CHANNELS: usize = 1024;
/// Arguments of timm's `create_model`, `build_model_with_cfg` and networks that do not affect
/// inference, whatever their value.
const NEUTRAL_ARGUMENTS: [&str; 10] = [
    "cache_dir",
    "drop_block_rate",
    "drop_path_rate",
    "drop_rate",
    "exportable",
    "no_jit",
    "pretrained",
    "pretrained_strict",
    "scriptable",
    "zero_init_last",
];

impl ModelSpec {
    /// The model in a directory as timm saves it: its `config.json`. The weights file is
    /// looked for when it is needed.
    ///
    /// # Errors
    /// [`CardError::Read`], [`CardError::MissingFile`], and those of
    /// [`from_timm_config`](Self::from_timm_config).
    pub fn from_timm_dir(folder: &Path, overrides: &Overrides) -> Result<Self, CardError> {
        let path = folder.join(CONFIG_FILE);
        let text = match bounded::read_found(&path, bounded::SMALL) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(CardError::MissingFile {
                    folder: folder.to_owned(),
                    expected: CONFIG_FILE,
                });
            }
            Err(source) => return Err(CardError::Read { path, source }),
        };
        let name = folder.display().to_string();
        let weights = WeightsSource::Directory(folder.to_owned());
        Self::from_timm_config(&text, &name, weights, overrides)
    }

    /// The model that a `config.json` describes. `name` is the directory or repository, for
    /// messages. The topology is the built-in one with the same `architecture`.
    ///
    /// Label names are timm's `label_names`, else those in other libraries' fields, with a note.
    /// Without any, 1000 classes get those of ImageNet-1k and 11,821 those of ImageNet-12k if the
    /// checkpoint's own number is the same, as in timm; other classes are numbered.
    ///
    /// # Errors
    /// [`CardError::Json`], [`CardError::Field`] with the field's path, [`CardError::OtherLibrary`],
    /// [`CardError::UnknownArchitecture`].
    pub fn from_timm_config(
        text: &str,
        name: &str,
        weights: WeightsSource,
        overrides: &Overrides,
    ) -> Result<Self, CardError> {
        let file = format!("{name}/{CONFIG_FILE}");
        let text = text.trim_start_matches('\u{feff}');
        let root: Value = serde_json::from_str(text).map_err(|source| CardError::Json {
            file: file.clone(),
            source,
        })?;
        let root = Fields::new(&file, "", &root)?;
        let nested = root.table("pretrained_cfg")?;
        // Before 2023 all fields were at the top level, and timm used another name for the labels.
        let pretrained = nested.unwrap_or(root);

        let zoo = Zoo::builtin();
        origin::check(root)?;
        let architecture: String = root.required("architecture", "a name")?;
        // timm ignores a tag, and accepts its former names.
        let named = split_tag(&architecture).0;
        let named = present_name(named).map_or(named, |name| split_tag(name).0);
        let Some(mut standard) = zoo.architecture(named) else {
            let all = zoo.architectures().into_iter();
            let suggestions = near(named, all.chain(zoo.untrained_names()));
            return Err(CardError::UnknownArchitecture {
                file,
                architecture,
                suggestions,
            });
        };
        check_topology(root, &standard)?;
        let channels = channels(root, pretrained)?;
        standard.network.set_inputs(channels);
        let classes = match overrides.num_classes {
            Some(classes) => classes,
            None => classes(root, pretrained)?,
        };
        let plan = standard
            .network
            .plan(standard.naming, classes)
            .map_err(|error| check::network(&file, error))?;
        let features: Option<usize> = root.optional("num_features", "a whole number")?;
        if let Some(found) = features.filter(|&found| found != plan.num_features()) {
            let reason = format!("{named} has {}, found {found}", plan.num_features());
            return Err(root.error("num_features", reason));
        }
        let mut notes = Vec::new();
        Ok(Self {
            name: name.to_owned(),
            network: standard.network,
            naming: standard.naming,
            input: input::read(pretrained, channels, overrides, &mut notes)?,
            labels: match labels::read(root, nested, classes, &mut notes) {
                Err(_) if overrides.num_classes.is_some() => {
                    notes.push(format!(
                        "the label names of {file} do not fit {classes} classes and are left out"
                    ));
                    Cow::Owned(LabelSet::numbered(classes))
                }
                labels => labels?,
            },
            weights,
            config: Some(file.clone()),
            notes,
        })
    }
}

/// Rejects arguments that would change the architecture's network.
fn check_topology(root: Fields<'_>, standard: &Architecture) -> Result<(), CardError> {
    check_pool(root)?;
    let Some(arguments) = root.table("model_args")? else {
        return Ok(());
    };
    check_pool(arguments)?;
    let changes = |(name, value): &(&String, &Value)| !changes_nothing(name, value, standard);
    match arguments.map.iter().find(changes) {
        Some((name, value)) => {
            let found = fields::describe(value);
            let reason = format!(
                "found {found}, and only the standard form of {} is supported",
                standard.name
            );
            Err(arguments.error(name, reason))
        }
        None => Ok(()),
    }
}

/// Whether timm builds the same network with the argument as without it.
fn changes_nothing(name: &str, value: &Value, standard: &Architecture) -> bool {
    // timm ignores what is not set.
    if value.is_null() || NEUTRAL_ARGUMENTS.contains(&name) {
        return true;
    }
    let text = value.as_str().unwrap_or_default();
    match name {
        // Checked elsewhere.
        "in_chans" | "global_pool" | "num_classes" => true,
        "checkpoint_path" => value == "",
        "features_only" | "pruned" => value == false,
        "output_stride" => value == 32,
        "norm_layer" => ["batchnorm", "batchnorm2d"].contains(&text),
        _ => {
            let value = if text == "swish" {
                &json!("silu")
            } else {
                value
            };
            standard_value(name, standard).is_some_and(|standard| *value == standard)
        }
    }
}

/// The value that the architecture gives to an argument of timm's class `ResNet`.
fn standard_value(name: &str, architecture: &Architecture) -> Option<Value> {
    let network = architecture.network.as_resnet()?;
    let first = network.runs.first()?;
    // The fourth convolution of ResNet-RS replaces the pool.
    let replaced_pool = network.stem.widths.len() == 4;
    match name {
        "act_layer" => return Some(json!(network.activation)),
        "layers" => return Some(network.runs.iter().map(|run| run.blocks).collect()),
        "replace_stem_pool" => return Some(Value::from(replaced_pool)),
        _ if !matches!(architecture.naming, Naming::Resnet | Naming::Sknet) => return None,
        _ => {}
    }
    Some(match name {
        "avg_down" => Value::from(network.shortcut == Shortcut::AvgConv1x1),
        "base_width" => Value::from(first.width / first.groups),
        // The modules of ResNet-RS are wider than this argument alone would make them.
        "block_args" if network.se.is_some() && !replaced_pool => json!({"attn_layer": "se"}),
        "block_reduce_first" => Value::from(if first.conv1_width.is_some() { 2 } else { 1 }),
        "cardinality" => Value::from(first.groups),
        "channels" => json!([64, 128, 256, 512]),
        "down_kernel_size" => Value::from(if network.shortcut == Shortcut::Conv3x3 {
            3
        } else {
            1
        }),
        "stem_type" => Value::from(match network.stem.widths[..] {
            [_] => "",
            [first, second, ..] if first < second => "deep_tiered",
            _ => "deep",
        }),
        // A stem of one convolution has 64 channels, whatever the argument says.
        "stem_width" => Value::from(*network.stem.widths.get(1).unwrap_or(&64)),
        _ => return None,
    })
}

fn check_pool(fields: Fields<'_>) -> Result<(), CardError> {
    let pool: Option<String> = fields.optional("global_pool", "a name")?;
    // timm's other names for the same mean.
    let is_mean = |pool: &String| ["avg", "fast", "fastavg"].contains(&pool.as_str());
    match pool.filter(|pool| !is_mean(pool)) {
        Some(pool) => {
            let reason = format!("only `avg` is supported, found `{pool}`");
            Err(fields.error("global_pool", reason))
        }
        None => Ok(()),
    }
}

/// Input channels of the network: `in_chans` of `model_args`, as in timm, else those of the input's size.
fn channels(root: Fields<'_>, pretrained: Fields<'_>) -> Result<usize, CardError> {
    let arguments = root.table("model_args")?;
    let given = match arguments {
        Some(arguments) => arguments.optional::<usize>("in_chans", "a whole number")?,
        None => None,
    };
    let (found, fields, name) = match (given, arguments) {
        (Some(given), Some(arguments)) => (given, arguments, "in_chans"),
        _ => (
            input::channels(pretrained).unwrap_or(3),
            pretrained,
            "input_size",
        ),
    };
    if (1..=MAX_CHANNELS).contains(&found) {
        return Ok(found);
    }
    let reason = format!("expected 1 to {MAX_CHANNELS} channels, found {found}");
    Err(fields.error(name, reason))
}

/// The number at the top level or in `model_args` counts, and the two must agree: `pretrained_cfg` keeps
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
