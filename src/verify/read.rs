//! Reads golden files.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};

use super::{Expected, Golden, TIMES_REFERENCE_ERROR, VerifyError};
use crate::weights::Weights;

/// The largest magnitude of a golden file's logits.
///
/// # Errors
/// As [`Golden::read`].
pub fn largest_logit(file: &Weights) -> Result<f64, VerifyError> {
    let reader = Reader { file };
    let name = ["logits", "logits_f64"]
        .into_iter()
        .find(|name| file.names().any(|other| other == *name));
    let name = name.ok_or_else(|| VerifyError::Missing {
        file: file.source().to_owned(),
        tensor: "logits",
    })?;
    Ok(reader.whole(name, "logits")?.scale())
}

impl Golden {
    /// Gives all tensors but the logits a tolerance relative to their largest magnitude.
    #[must_use]
    pub fn with_relative_tolerance(mut self, relative: f64) -> Self {
        for entry in self.expected.iter_mut().filter(|e| e.point != "logits") {
            entry.tolerance = relative * entry.scale();
        }
        self
    }

    /// Reads a golden file.
    ///
    /// `tolerance` is the absolute tolerance of the logits. The other tensors get the same tolerance
    /// relative to their largest magnitude, because their scales differ. If the file states the
    /// reference's own error in single precision for a tensor, that tensor is allowed
    /// [`TIMES_REFERENCE_ERROR`] of it where this is more: the error of a gate depends on what goes into
    /// its sigmoid, and its magnitude says nothing about that.
    ///
    /// # Errors
    /// [`VerifyError::Missing`] without `input` or `logits`, [`VerifyError::Malformed`] if entries
    /// contradict each other, [`VerifyError::Weights`] if a tensor is of an unsuitable type.
    pub fn read(file: &Weights, tolerance: f64) -> Result<Self, VerifyError> {
        let reader = Reader { file };
        let input = reader.input()?;
        let mut expected = Vec::new();
        let mut unknown = Vec::new();
        let mut stages = BTreeSet::new();
        let mut errors = BTreeMap::new();
        for name in file.names() {
            if name == "input" {
                continue;
            }
            if let Some(tensor) = name.strip_prefix("error.") {
                errors.insert(tensor, reader.error(name)?);
                continue;
            }
            match name
                .strip_prefix("stage.")
                .and_then(|rest| rest.rsplit_once('.'))
            {
                Some((stage, "shape" | "stats" | "probe_index" | "probe")) => {
                    stages.insert(stage);
                }
                Some((stage, "full")) => expected.push(reader.whole(name, stage)?),
                _ => match name {
                    "logits" | "pre_logits" => expected.push(reader.whole(name, name)?),
                    "logits_f64" | "pre_logits_f64" => {
                        expected.push(reader.whole(name, name.trim_end_matches("_f64"))?);
                    }
                    _ if name.starts_with("gate.") => expected.push(reader.whole(name, name)?),
                    _ => {
                        unknown.push(name.to_owned());
                    }
                },
            }
        }
        for stage in stages {
            expected.push(reader.stage(stage)?);
        }
        let logits = expected
            .iter()
            .filter(|e| e.point == "logits")
            .map(Expected::scale);
        let Some(scale) = logits.reduce(f64::max) else {
            return Err(VerifyError::Missing {
                file: file.source().to_owned(),
                tensor: "logits",
            });
        };
        for entry in &mut expected {
            if !entry.is_finite() {
                return Err(reader.malformed(&entry.name, "finite numbers", "NaN or infinity"));
            }
            let relative = if scale > 0.0 {
                entry.scale() / scale
            } else {
                1.0
            };
            entry.tolerance = if entry.point == "logits" {
                tolerance
            } else {
                let own = errors.remove(entry.name.as_str()).unwrap_or(0.0);
                f64::max(tolerance * relative, TIMES_REFERENCE_ERROR * own)
            };
        }
        unknown.extend(errors.into_keys().map(|tensor| format!("error.{tensor}")));
        Ok(Self {
            input,
            expected,
            unknown,
        })
    }
}

struct Reader<'a> {
    file: &'a Weights,
}

impl Reader<'_> {
    fn malformed(
        &self,
        tensor: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> VerifyError {
        VerifyError::Malformed {
            file: self.file.source().to_owned(),
            tensor: tensor.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn input(&self) -> Result<Tensor, VerifyError> {
        let Some(shape) = self.file.shape("input") else {
            let file = self.file.source().to_owned();
            return Err(VerifyError::Missing {
                file,
                tensor: "input",
            });
        };
        Ok(Tensor::from_vec(
            self.file.f32("input")?,
            shape,
            &Device::Cpu,
        )?)
    }

    /// The reference's own error for a tensor.
    fn error(&self, name: &str) -> Result<f64, VerifyError> {
        match self.file.f64(name)?[..] {
            [error] if error >= 0.0 && error.is_finite() => Ok(error),
            [error] => Err(self.malformed(name, "a finite number, at least 0", error.to_string())),
            ref values => Err(self.malformed(name, "one value", values.len().to_string())),
        }
    }

    /// A tensor that is stored whole.
    fn whole(&self, name: &str, point: &str) -> Result<Expected, VerifyError> {
        Ok(Expected {
            name: name.to_owned(),
            point: point.to_owned(),
            shape: self.file.shape(name).unwrap_or_default().to_vec(),
            stats: None,
            index: None,
            values: self.file.f64(name)?,
            tolerance: 0.0,
        })
    }

    /// A tensor of which only shape, statistics and probes are stored.
    fn stage(&self, stage: &str) -> Result<Expected, VerifyError> {
        let part = |part: &str| format!("stage.{stage}.{part}");
        let shape = self.indices(&part("shape"))?;
        let elements = shape
            .iter()
            .try_fold(1, |product: usize, &n| product.checked_mul(n));
        let stats = self.file.f64(&part("stats"))?;
        let stats = <[f64; 4]>::try_from(stats).map_err(|found| {
            self.malformed(&part("stats"), "4 values", format!("{}", found.len()))
        })?;
        let index = self.indices(&part("probe_index"))?;
        if let Some(outside) = index
            .iter()
            .find(|&&at| elements.is_none_or(|elements| at >= elements))
        {
            let expected = format!("places in a tensor of shape {shape:?}");
            return Err(self.malformed(&part("probe_index"), expected, outside.to_string()));
        }
        let values = self.file.f64(&part("probe"))?;
        if values.len() != index.len() {
            let expected = format!("{} values, as many as places", index.len());
            return Err(self.malformed(&part("probe"), expected, values.len().to_string()));
        }
        Ok(Expected {
            name: format!("stage.{stage}"),
            point: stage.to_owned(),
            shape,
            stats: Some(stats),
            index: Some(index),
            values,
            tolerance: 0.0,
        })
    }

    fn indices(&self, name: &str) -> Result<Vec<usize>, VerifyError> {
        let convert = |value: i64| {
            usize::try_from(value)
                .map_err(|_| self.malformed(name, "no negative value", value.to_string()))
        };
        self.file.i64(name)?.into_iter().map(convert).collect()
    }
}
