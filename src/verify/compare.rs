//! Runs a network and compares what it computes.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};

use super::{Expected, Golden, SameAnswers, VerifyError, VerifyReport, VerifyRow};
use crate::logits::top_k;
use crate::nets::{NetError, Network, Point};

impl Golden {
    /// Runs the network on the images and compares every expected tensor.
    ///
    /// A difference is not an error but a row that is not `ok`; the same holds for a wrong shape or a
    /// tensor that the network does not have.
    ///
    /// # Errors
    /// [`VerifyError::Net`] if the network cannot be run on the images.
    pub fn compare(&self, network: &Network) -> Result<VerifyReport, VerifyError> {
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
        Ok(VerifyReport {
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
    /// The largest expected magnitude.
    pub(super) fn scale(&self) -> f64 {
        let largest = self
            .values
            .iter()
            .fold(0.0, |max: f64, value| max.max(value.abs()));
        self.stats.map_or(largest, |stats| largest.max(stats[2]))
    }

    fn failed(&self, shape: Vec<usize>, note: String) -> VerifyRow {
        VerifyRow {
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

    fn row(&self, shape: &[usize], found: &[f32]) -> VerifyRow {
        if shape != self.shape {
            let note = format!("expected shape {:?}, found {shape:?}", self.shape);
            return self.failed(shape.to_vec(), note);
        }
        let max_abs = self.difference(found);
        let whole_logits = self.point == "logits" && self.index.is_none();
        VerifyRow {
            tensor: self.name.clone(),
            shape: shape.to_vec(),
            max_abs: Some(max_abs),
            max_rel: Some(if max_abs == 0.0 {
                0.0
            } else {
                max_abs / self.scale()
            }),
            tolerance: self.tolerance,
            ok: max_abs.is_finite() && max_abs <= self.tolerance,
            top_k: whole_logits.then(|| count_top_k(&self.values, found, shape)),
            note: None,
        }
    }

    /// A tolerance relative to infinity would accept anything.
    pub(super) fn is_finite(&self) -> bool {
        let mut numbers = self.values.iter().chain(self.stats.iter().flatten());
        numbers.all(|number| number.is_finite())
    }

    /// As [`VerifyRow::max_abs`]; NaN if a value on either side is NaN.
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

/// `expected` and `found` are `[images, classes]`.
fn count_top_k(expected: &[f64], found: &[f32], shape: &[usize]) -> SameAnswers {
    let classes = shape.last().copied().unwrap_or(0).max(1);
    let mut count = SameAnswers {
        images: 0,
        top1: 0,
        top5: 0,
    };
    for (expected, found) in expected.chunks(classes).zip(found.chunks(classes)) {
        let (expected, found) = (top_k(expected, 5), top_k(found, 5));
        let set = |classes: &[usize]| classes.iter().copied().collect::<BTreeSet<_>>();
        count.images += 1;
        count.top1 += usize::from(expected.first() == found.first());
        count.top5 += usize::from(set(&expected) == set(&found));
    }
    count
}
