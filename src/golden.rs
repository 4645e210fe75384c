//! Comparing a network with numbers that a reference implementation computed: golden files.
//!
//! A golden file is a safetensors file with the normalised pictures and what the reference made of
//! them, at several depths:
//!
//! | tensor | contents |
//! |---|---|
//! | `input` | pictures `[N, 3, H, W]` |
//! | `logits`, `logits_f64` | `[N, classes]`, in single and double precision |
//! | `pre_logits`, `pre_logits_f64` | pooled features `[N, num_features]` |
//! | `stage.<name>.shape` | integers; `<name>` is `stem`, `stem_pool`, `stage1`…, `final_conv` |
//! | `stage.<name>.stats` | mean, population standard deviation, largest magnitude, Euclidean norm |
//! | `stage.<name>.probe_index`, `.probe` | places in the flattened tensor, and the values there |
//! | `stage.<name>.full` | the whole tensor |
//! | `gate.<module>` | `[N, C]` (SE) or `[N, 2, C]` (SK) |
//!
//! `tests/tools/make_golden.py` writes such files. Beside `NAME.safetensors` there may be a
//! `NAME.json` whose `suggested_atol_f32` is the tolerance of the logits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use crate::nets::{NetError, Network, Point};
use crate::weights::{Weights, WeightsError};

/// Tolerance of the logits where neither the caller nor the golden file's report gives one: correct
/// implementations differ by up to some 1e-4 in single precision, wrong ones by 0.1 and more.
pub const DEFAULT_TOLERANCE: f64 = 1e-3;

/// A golden file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    #[error("{file}: there is no tensor `{tensor}`, so this is no golden file")]
    Missing { file: String, tensor: &'static str },
    #[error("{file}: tensor `{tensor}`: expected {expected}, found {found}")]
    Malformed {
        file: String,
        tensor: String,
        expected: String,
        found: String,
    },
    #[error("{file}: {reason}")]
    Report { file: String, reason: String },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl GoldenError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } | Self::Malformed { .. } => {
                Some("tests/tools/make_golden.py shows how golden files are made".into())
            }
            Self::Report { .. } => Some("give a tolerance to do without the report".into()),
            Self::Weights(error) => error.hint(),
            Self::Net(error) => error.hint(),
            Self::Tensor(_) => None,
        }
    }
}

/// Pictures and what a network should make of them.
#[derive(Clone, Debug)]
pub struct Golden {
    /// `[N, 3, H, W]`, normalised.
    pub input: Tensor,
    pub expected: Vec<Expected>,
    /// Tensors of the file that are not understood.
    pub unknown: Vec<String>,
}

/// What is known about one tensor.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What it is called in the report: its name in the file.
    pub name: String,
    /// Which tensor of the network: `stem`, `stem_pool`, `stage1`…, `final_conv`, `pre_logits`,
    /// `logits`, or `gate.` and the module's name.
    pub point: String,
    pub shape: Vec<usize>,
    /// Mean, population standard deviation, largest magnitude, Euclidean norm.
    pub stats: Option<[f64; 4]>,
    /// Places of `values` in the flattened tensor; `None` where they are all of it.
    pub index: Option<Vec<usize>>,
    pub values: Vec<f64>,
    /// Largest difference that is not an error.
    pub tolerance: f64,
}

/// The comparison of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub tensor: String,
    pub shape: Vec<usize>,
    /// Largest difference of a value. The statistics count too, each in a measure that is at most
    /// the largest difference of an element: differences of mean, deviation and largest magnitude,
    /// and that of the norm over the root of the number of elements. `None` where nothing could be
    /// compared.
    pub max_abs: Option<f64>,
    /// `max_abs` over the largest expected magnitude.
    pub max_rel: Option<f64>,
    pub tolerance: f64,
    pub ok: bool,
    /// For logits: whether the answers are the same. Says nothing about `ok`, because two classes
    /// may be closer together than the tolerance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<TopK>,
    /// Why nothing could be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Number of pictures with the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TopK {
    pub pictures: usize,
    /// The same first class.
    pub top1: usize,
    /// The same set of the first five classes, in any order.
    pub top5: usize,
}

/// The comparison of a network with a golden file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order in which the network computes the tensors; those that it lacks come last.
    pub rows: Vec<Row>,
    /// Tensors of the file that are not understood.
    pub unknown: Vec<String>,
    /// Whether every row is.
    pub ok: bool,
}

/// The tolerance that the report beside a golden file suggests: `suggested_atol_f32` of
/// `NAME.json` beside `NAME.safetensors`. `None` where there is no report or no such entry.
///
/// # Errors
/// [`GoldenError::Report`] if the report cannot be read or the entry is not a positive number.
pub fn suggested_tolerance(golden: &Path) -> Result<Option<f64>, GoldenError> {
    let path = golden.with_extension("json");
    let error = |reason| GoldenError::Report {
        file: path.display().to_string(),
        reason,
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e.to_string())),
    };
    let report: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| error(format!("not JSON: {e}")))?;
    let Some(entry) = report.get("suggested_atol_f32") else {
        return Ok(None);
    };
    match entry.as_f64() {
        Some(tolerance) if tolerance > 0.0 => Ok(Some(tolerance)),
        _ => Err(error(format!(
            "`suggested_atol_f32`: expected a positive number, found {entry}"
        ))),
    }
}

impl Golden {
    /// Reads a golden file.
    ///
    /// `tolerance` is for the logits, as they are. The other tensors get the same relative to their
    /// largest magnitude, because their scales differ.
    ///
    /// # Errors
    /// [`GoldenError::Missing`] without `input` or `logits`, [`GoldenError::Malformed`] if entries
    /// contradict each other, [`GoldenError::Weights`] if a tensor is of an unsuitable type.
    pub fn read(file: &Weights, tolerance: f64) -> Result<Self, GoldenError> {
        let reader = Reader { file };
        let input = reader.input()?;
        let mut expected = Vec::new();
        let mut unknown = BTreeSet::new();
        let mut stages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in file.names() {
            if name == "input" {
                continue;
            }
            match name
                .strip_prefix("stage.")
                .and_then(|rest| rest.rsplit_once('.'))
            {
                Some((stage, "shape" | "stats" | "probe_index" | "probe")) => {
                    stages.entry(stage).or_default().push(name);
                }
                Some((stage, "full")) => expected.push(reader.whole(name, stage)?),
                _ => match name {
                    "logits" | "pre_logits" => expected.push(reader.whole(name, name)?),
                    "logits_f64" | "pre_logits_f64" => {
                        expected.push(reader.whole(name, name.trim_end_matches("_f64"))?);
                    }
                    _ if name.starts_with("gate.") => expected.push(reader.whole(name, name)?),
                    _ => {
                        unknown.insert(name.to_owned());
                    }
                },
            }
        }
        for stage in stages.keys() {
            expected.push(reader.stage(stage)?);
        }
        let logits = expected
            .iter()
            .filter(|e| e.point == "logits")
            .map(Expected::scale);
        let Some(scale) = logits.reduce(f64::max) else {
            return Err(GoldenError::Missing {
                file: file.source().to_owned(),
                tensor: "logits",
            });
        };
        for entry in &mut expected {
            let relative = if scale > 0.0 {
                entry.scale() / scale
            } else {
                1.0
            };
            entry.tolerance = if entry.point == "logits" {
                tolerance
            } else {
                tolerance * relative
            };
        }
        Ok(Self {
            input,
            expected,
            unknown: unknown.into_iter().collect(),
        })
    }

    /// Runs the network on the pictures and compares every tensor that is known.
    ///
    /// A difference is no error but a row that is not `ok`; so is a wrong shape, or a tensor that
    /// the network does not have.
    ///
    /// # Errors
    /// [`GoldenError::Net`] if the network cannot be run on the pictures.
    pub fn compare(&self, network: &Network) -> Result<Report, GoldenError> {
        let mut rows = Vec::with_capacity(self.expected.len());
        let mut seen = BTreeSet::new();
        let mut see = |point: &str, x: &Tensor| -> Result<(), NetError> {
            let mut values = None;
            for entry in self.expected.iter().filter(|entry| entry.point == point) {
                if values.is_none() {
                    values = Some(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
                }
                rows.push(entry.row(x.dims(), values.as_deref().unwrap_or(&[])));
            }
            seen.insert(point.to_owned());
            Ok(())
        };
        let logits =
            network.forward_observed(&self.input, &mut |point, x| see(&point_name(point), x))?;
        see("logits", &logits)?;
        for entry in self
            .expected
            .iter()
            .filter(|entry| !seen.contains(&entry.point))
        {
            rows.push(entry.failed(Vec::new(), "the network has no such tensor".into()));
        }
        let ok = rows.iter().all(|row| row.ok);
        Ok(Report {
            rows,
            unknown: self.unknown.clone(),
            ok,
        })
    }
}

fn point_name(point: Point<'_>) -> String {
    match point {
        Point::Stem => "stem".into(),
        Point::StemPool => "stem_pool".into(),
        Point::Stage(index) => format!("stage{index}"),
        Point::FinalConv => "final_conv".into(),
        Point::Gate(module) => format!("gate.{module}"),
        Point::PreLogits => "pre_logits".into(),
    }
}

impl Expected {
    /// The largest magnitude that is known.
    fn scale(&self) -> f64 {
        let largest = self
            .values
            .iter()
            .fold(0.0, |max: f64, value| max.max(value.abs()));
        self.stats.map_or(largest, |stats| largest.max(stats[2]))
    }

    fn failed(&self, shape: Vec<usize>, note: String) -> Row {
        Row {
            tensor: self.name.clone(),
            shape,
            max_abs: None,
            max_rel: None,
            tolerance: self.tolerance,
            ok: false,
            top_k: None,
            note: Some(note),
        }
    }

    fn row(&self, shape: &[usize], found: &[f32]) -> Row {
        if shape != self.shape {
            let note = format!("expected shape {:?}, found {shape:?}", self.shape);
            return self.failed(shape.to_vec(), note);
        }
        let max_abs = self.difference(found);
        let whole_logits = self.point == "logits" && self.index.is_none();
        Row {
            tensor: self.name.clone(),
            shape: shape.to_vec(),
            max_abs: Some(max_abs),
            max_rel: Some(if max_abs == 0.0 {
                0.0
            } else {
                max_abs / self.scale()
            }),
            tolerance: self.tolerance,
            ok: max_abs <= self.tolerance,
            top_k: whole_logits.then(|| top_k(&self.values, found, shape)),
            note: None,
        }
    }

    /// As [`Row::max_abs`]; NaN if a number on either side is.
    fn difference(&self, found: &[f32]) -> f64 {
        let mut differences: Vec<f64> = match &self.index {
            None => self
                .values
                .iter()
                .zip(found)
                .map(|(a, b)| a - f64::from(*b))
                .collect(),
            Some(index) => {
                let probes = index
                    .iter()
                    .map(|&at| found.get(at).map_or(f64::NAN, |&v| f64::from(v)));
                self.values.iter().zip(probes).map(|(a, b)| a - b).collect()
            }
        };
        if let Some(stats) = self.stats {
            let [mean, deviation, largest, norm] = statistics(found);
            let per_element = (norm - stats[3]) / (found.len() as f64).sqrt();
            differences.extend([
                mean - stats[0],
                deviation - stats[1],
                largest - stats[2],
                per_element,
            ]);
        }
        differences
            .iter()
            .map(|d| d.abs())
            .fold(0.0, |max, d| if d > max || d.is_nan() { d } else { max })
    }
}

/// Mean, population standard deviation, largest magnitude, Euclidean norm.
fn statistics(values: &[f32]) -> [f64; 4] {
    let count = values.len() as f64;
    let values = || values.iter().map(|&value| f64::from(value));
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let largest = values().fold(0.0, |max: f64, value| max.max(value.abs()));
    let norm = values().map(|value| value * value).sum::<f64>().sqrt();
    [mean, variance.sqrt(), largest, norm]
}

/// `expected` and `found` are `[pictures, classes]`.
fn top_k(expected: &[f64], found: &[f32], shape: &[usize]) -> TopK {
    let classes = shape.last().copied().unwrap_or(0).max(1);
    let found: Vec<f64> = found.iter().map(|&value| f64::from(value)).collect();
    let mut count = TopK {
        pictures: 0,
        top1: 0,
        top5: 0,
    };
    for (expected, found) in expected.chunks(classes).zip(found.chunks(classes)) {
        let (expected, found) = (first_classes(expected), first_classes(found));
        let set = |classes: &[usize]| classes.iter().copied().collect::<BTreeSet<_>>();
        count.pictures += 1;
        count.top1 += usize::from(expected.first() == found.first());
        count.top5 += usize::from(set(&expected) == set(&found));
    }
    count
}

/// The classes with the five largest logits, best first.
fn first_classes(logits: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(5);
    order
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
    ) -> GoldenError {
        GoldenError::Malformed {
            file: self.file.source().to_owned(),
            tensor: tensor.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn input(&self) -> Result<Tensor, GoldenError> {
        let Some(shape) = self.file.shape("input") else {
            let file = self.file.source().to_owned();
            return Err(GoldenError::Missing {
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

    /// A tensor of which every element is stored.
    fn whole(&self, name: &str, point: &str) -> Result<Expected, GoldenError> {
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
    fn stage(&self, stage: &str) -> Result<Expected, GoldenError> {
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

    fn indices(&self, name: &str) -> Result<Vec<usize>, GoldenError> {
        let convert = |value: i64| {
            usize::try_from(value)
                .map_err(|_| self.malformed(name, "no negative value", value.to_string()))
        };
        self.file.i64(name)?.into_iter().map(convert).collect()
    }
}
