//! The input settings of a `config.json`, as timm's `resolve_data_config` reads them.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fields::Fields;
use crate::preprocess::{CropMode, InputSpec, Interpolation};
use crate::zoo::{CardError, Overrides, check};

/// Reads the settings that `overrides` does not give. A missing value has timm's default.
pub(super) fn read(
    fields: Fields<'_>,
    channels: usize,
    overrides: &Overrides,
    notes: &mut Vec<String>,
) -> Result<InputSpec, CardError> {
    let size = match overrides.size {
        None => sides(fields, "input_size")?,
        given => given,
    };
    let size = size.unwrap_or([224, 224]);
    let (test_size, test_crop_pct) = match (overrides.size, overrides.crop_pct) {
        (Some(_), _) => (None, None),
        (None, Some(_)) => (sides(fields, "test_input_size")?, None),
        (None, None) => {
            let crop_pct: Option<f64> = setting(fields, "test_crop_pct", None, "a number")?;
            // A `test_crop_pct` alone is a test setting too, at the input size.
            let same = crop_pct.map(|_| size);
            (sides(fields, "test_input_size")?.or(same), crop_pct)
        }
    };
    let crop_modes = "`center`, `squash` or `border`";
    let filters = "`nearest`, `box`, `bilinear`, `hamming`, `bicubic` or `lanczos`";
    let input = InputSpec {
        size,
        crop_pct: setting(fields, "crop_pct", overrides.crop_pct, "a number")?.unwrap_or(0.875),
        crop_mode: setting(fields, "crop_mode", overrides.crop_mode, crop_modes)?
            .unwrap_or(CropMode::Center),
        interpolation: setting(fields, "interpolation", overrides.interpolation, filters)?
            .unwrap_or(Interpolation::Bicubic),
        mean: match overrides.mean {
            Some(mean) => mean,
            None => values(fields, "mean", channels, [0.485, 0.456, 0.406], notes)?,
        },
        std: match overrides.std {
            Some(std) => std,
            None => values(fields, "std", channels, [0.229, 0.224, 0.225], notes)?,
        },
        test_size,
        test_crop_pct,
    };
    check(fields, &input, overrides)?;
    let beyond = input.mean.iter().any(|mean| mean.abs() > 3.0);
    if beyond && overrides.mean.is_none() {
        notes.push(format!(
            "{}: the mean {:?} looks like one of values from 0 to 255; as in timm, it is taken for \
             values from 0 to 1 (an override of mean and std replaces it)",
            fields.file, input.mean
        ));
    }
    Ok(input)
}

/// The user's override, or else the field's value: `None` if Python considers it false, because timm
/// then uses its default.
fn setting<T: DeserializeOwned>(
    fields: Fields<'_>,
    name: &str,
    instead: Option<T>,
    expected: &str,
) -> Result<Option<T>, CardError> {
    match (instead, fields.filled(name)) {
        (None, Some(value)) => fields.read(name, value, expected).map(Some),
        (instead, _) => Ok(instead),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Square(usize),
    Sides([usize; 2]),
    Channels([usize; 3]),
}

/// Height and width from one number, two, or three with the channels before them.
fn sides(fields: Fields<'_>, name: &str) -> Result<Option<[usize; 2]>, CardError> {
    let size = fields.optional(name, "[channels, height, width]")?;
    Ok(size.map(|size| match size {
        Size::Square(side) => [side, side],
        Size::Sides(sides) | Size::Channels([_, sides @ ..]) => sides,
    }))
}

/// The channels of the input's size, if it can be read and has them.
pub(super) fn channels(fields: Fields<'_>) -> Option<usize> {
    match fields.optional("input_size", "") {
        Ok(Some(Size::Channels([channels, ..]))) => Some(channels),
        _ => None,
    }
}

/// Red, green and blue from three numbers, or one for all. Where the network has other channels, the mean
/// of all values, as in timm's `resolve_input_data_config`.
fn values(
    fields: Fields<'_>,
    name: &str,
    channels: usize,
    default: [f64; 3],
    notes: &mut Vec<String>,
) -> Result<[f32; 3], CardError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(f64),
        Each(Vec<f64>),
    }
    let expected = "three numbers";
    let found = match setting(fields, name, None, expected)? {
        Some(Written::One(value)) => vec![value],
        Some(Written::Each(values)) => values,
        None => default.to_vec(),
    };
    match found[..] {
        [value] => Ok([value as f32; 3]),
        [red, green, blue] if channels == 3 => Ok([red, green, blue].map(|value| value as f32)),
        _ if channels == 3 => {
            let reason = format!("expected {expected}, found {}", found.len());
            Err(fields.error(name, reason))
        }
        _ => {
            let mean = found.iter().sum::<f64>() / found.len() as f64;
            let given = fields.filled(name).is_some();
            if given && found.len() != channels {
                notes.push(format!(
                    "{}: `{name}` has {} values for a network of {channels} channel{}; as in timm, their \
                     mean {} is taken",
                    fields.file,
                    found.len(),
                    if channels == 1 { "" } else { "s" },
                    mean as f32
                ));
            }
            Ok([mean as f32; 3])
        }
    }
}

/// Rejects values that no transform can use. The user's overrides are not the file's fault and are
/// checked where they are used.
fn check(fields: Fields<'_>, input: &InputSpec, overrides: &Overrides) -> Result<(), CardError> {
    let Err((field, reason)) = check::usable(input) else {
        return Ok(());
    };
    let (name, replaced) = match field {
        "size" => ("input_size", overrides.size.is_some()),
        "test_size" => ("test_input_size", false),
        "crop_pct" => ("crop_pct", overrides.crop_pct.is_some()),
        "mean" => ("mean", overrides.mean.is_some()),
        "std" => ("std", overrides.std.is_some()),
        same => (same, false),
    };
    if replaced {
        return Ok(());
    }
    Err(fields.error(name, reason))
}
