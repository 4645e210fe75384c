//! The `config.json` of a learned model, as timm's `save_for_hf` writes it (timm `models/_hub.py`).

use serde::Serialize;

use super::DirectoryError;
use crate::error::Result;
use crate::model::HeadInfo;
use crate::nets::Plan;
use crate::preprocess::{CropMode, Interpolation};
use crate::zoo::{ModelSpec, Zoo};

/// What timm puts between architecture and data set in the name of a checkpoint.
const TAG: &str = "senet_train";

#[derive(Serialize)]
struct Config<'a> {
    architecture: &'a str,
    num_classes: usize,
    num_features: usize,
    global_pool: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_args: Option<ModelArguments>,
    label_names: &'a [String],
    pretrained_cfg: Pretrained<'a>,
    senet: Own<'a>,
}

#[derive(Serialize)]
struct ModelArguments {
    in_chans: usize,
}

/// A classifier is learned for one input size: the base model's other sizes are left out.
#[derive(Serialize)]
struct Pretrained<'a> {
    tag: &'static str,
    num_classes: usize,
    input_size: [usize; 3],
    interpolation: Interpolation,
    crop_pct: f64,
    crop_mode: CropMode,
    mean: &'a [f32],
    std: &'a [f32],
    first_conv: &'a str,
    classifier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
}

/// What timm has no field for, and ignores.
#[derive(Serialize)]
struct Own<'a> {
    base_model: &'a str,
    base_weights: &'a str,
    exif: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
}

/// The file's text; `plan` is that of the network with the learned classifier.
pub(super) fn config(
    base: &ModelSpec,
    plan: &Plan,
    info: &HeadInfo,
    license: Option<&str>,
) -> Result<String> {
    let unknown = || DirectoryError::NoArchitecture {
        model: base.name.clone(),
    };
    let architecture = Zoo::builtin().architecture_of(base).ok_or_else(unknown)?;
    let channels = base.channels();
    let input = &info.input;
    let [height, width] = input.size;
    // One value for a grey network, as timm has it.
    let of_channels = channels.min(input.mean.len());
    let config = Config {
        architecture,
        num_classes: info.labels.len(),
        num_features: plan.num_features(),
        global_pool: "avg",
        model_args: (channels != 3).then_some(ModelArguments { in_chans: channels }),
        label_names: &info.labels,
        pretrained_cfg: Pretrained {
            tag: TAG,
            num_classes: info.labels.len(),
            input_size: [channels, height, width],
            interpolation: input.interpolation,
            crop_pct: input.crop_pct,
            crop_mode: input.crop_mode,
            mean: &input.mean[..of_channels],
            std: &input.std[..of_channels],
            first_conv: plan.stem.first().map_or("", |conv| &conv.name),
            classifier: &plan.classifier.name,
            license,
        },
        senet: Own {
            base_model: &info.model,
            base_weights: &info.weights,
            exif: info.exif,
            temperature: info.temperature,
        },
    };
    let text =
        serde_json::to_string_pretty(&config).map_err(|error| DirectoryError::Unwritable {
            path: "config.json".to_owned(),
            error: error.into(),
        })?;
    Ok(text + "\n")
}
