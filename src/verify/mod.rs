//! Comparing a network with numbers that a reference implementation computed: golden files.
//!
//! A golden file is a safetensors file with the normalised images and what the reference computed
//! from them, at several depths:
//!
//! | tensor | contents |
//! |---|---|
//! | `input` | images `[N, 3, H, W]` |
//! | `logits`, `logits_f64` | `[N, classes]`, in single and double precision |
//! | `pre_logits`, `pre_logits_f64` | pooled features `[N, num_features]` |
//! | `stage.<name>.shape` | integers; `<name>` is `stem`, `stem_pool`, `stage1`…, `final_conv` |
//! | `stage.<name>.stats` | mean, population standard deviation, largest magnitude, Euclidean norm |
//! | `stage.<name>.probe_index`, `.probe` | indices into the flattened tensor, and the values there |
//! | `stage.<name>.full` | the whole tensor |
//! | `gate.<module>` | `[N, C]` (SE) or `[N, 2, C]` (SK) |
//! | `error.stage.<name>`, `error.gate.<module>` | the reference's own error: the largest difference between its single and double precision |
//!
//! `tests/tools/make_golden.py` writes such files. Next to `NAME.safetensors` there may be a
//! `NAME.json` whose `suggested_atol_f32` is the tolerance of the logits.

mod compare;
mod read;

pub use read::largest_logit;

use std::path::Path;

use candle_core::Tensor;
use serde::Serialize;

use crate::bounded;
use crate::nets::NetError;
use crate::weights::WeightsError;

/// Tolerance of the logits where neither the caller nor the golden file's report gives one: correct
/// implementations differ by up to some 1e-4 in single precision, wrong ones by 0.1 and more.
pub const DEFAULT_TOLERANCE: f64 = 1e-3;

/// Tolerance of a tensor other than the logits over the reference's own error, where the golden file has it:
/// the factor between `suggested_atol_f32` and the same error of the logits.
pub const TIMES_REFERENCE_ERROR: f64 = 20.0;

/// Tolerance in a lower precision than f32, over the largest expected logit: bf16 keeps 8 binary digits, and
/// the roundings of some hundred layers partly cancel.
pub const LOW_PRECISION_TOLERANCE: f64 = 0.006;

/// The same for other tensors, each over its own largest value: their roundings are not averaged.
pub const LOW_PRECISION_RELATIVE: f64 = 0.05;

/// A golden file that cannot be used, or a network that cannot be run on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    #[error("{file}: there is no tensor `{tensor}`, so this is no golden file")]
    /// A tensor that every golden file has is not there.
    Missing {
        /// The golden file.
        file: String,
        /// The tensor's name.
        tensor: &'static str,
    },
    /// A tensor does not have the expected form.
    #[error("{file}: tensor `{tensor}`: expected {expected}, found {found}")]
    Malformed {
        /// The golden file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The form that was expected.
        expected: String,
        /// What is there instead.
        found: String,
    },
    #[error("{file}: {reason}")]
    /// The JSON report next to a golden file cannot be used.
    Report {
        /// The report.
        file: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The golden file cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The network cannot be run on the images.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Candle reported an error.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl VerifyError {
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

/// Images, and the values that a network should compute from them.
#[derive(Clone, Debug)]
pub struct Golden {
    /// `[N, 3, H, W]`, normalised.
    pub input: Tensor,
    /// The tensors to compare.
    pub expected: Vec<Expected>,
    /// The file's tensors with unknown names, which are not compared.
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
    /// The tensor's shape, with the batch first.
    pub shape: Vec<usize>,
    /// Mean, population standard deviation, largest magnitude, Euclidean norm.
    pub stats: Option<[f64; 4]>,
    /// Indices of `values` in the flattened tensor; `None` if `values` is the whole tensor.
    pub index: Option<Vec<usize>>,
    /// The expected values.
    pub values: Vec<f64>,
    /// Largest difference that counts as equal.
    pub tolerance: f64,
}

/// The comparison of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyRow {
    /// Its name in the golden file.
    pub tensor: String,
    /// Shape of the network's tensor; empty where it has none.
    pub shape: Vec<usize>,
    /// Largest difference of a value. The statistics count too, each in a measure that is at most
    /// the largest difference of an element: differences of mean, deviation and largest magnitude,
    /// and that of the norm over the root of the number of elements. `None` where nothing could be
    /// compared.
    pub max_abs: Option<f64>,
    /// `max_abs` over the largest expected magnitude.
    pub max_rel: Option<f64>,
    /// Largest `max_abs` that counts as equal.
    pub tolerance: f64,
    /// Whether the tensors agree within the tolerance.
    pub ok: bool,
    /// For logits: whether the answers are the same. Does not affect `ok`, because two classes
    /// may be closer together than the tolerance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<SameAnswers>,
    /// Why nothing could be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Number of images with the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SameAnswers {
    /// All images of the file.
    pub images: usize,
    /// The same first class.
    pub top1: usize,
    /// The same set of the first five classes, in any order.
    pub top5: usize,
}

/// The comparison of a network with a golden file.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// In the order in which the network computes the tensors; those that it lacks come last.
    pub rows: Vec<VerifyRow>,
    /// The file's tensors with unknown names, which are not compared.
    pub unknown: Vec<String>,
    /// Whether every row is `ok`.
    pub ok: bool,
}

/// The tolerance that the report of a golden file suggests: `suggested_atol_f32` of `NAME.json` next to
/// `NAME.safetensors`. `None` where there is no report or no such entry.
///
/// # Errors
/// [`VerifyError::Report`] if the report cannot be read or the entry is not a positive number.
pub fn suggested_tolerance(golden: &Path) -> Result<Option<f64>, VerifyError> {
    let path = golden.with_extension("json");
    let error = |reason| VerifyError::Report {
        file: path.display().to_string(),
        reason,
    };
    let text = match bounded::read_found(&path, bounded::SMALL) {
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
