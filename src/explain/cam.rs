//! Class activation maps.

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::gates::{Module, modules};
#[cfg(feature = "cli")]
use crate::model::Model;
use crate::nets::{Grid, Head, NetError, Network, Plan, Point};
use crate::weights::Weights;

/// Observes a network, and makes maps of what it saw.
#[derive(Debug)]
pub struct Explainer<'a> {
    network: &'a Network,
    head: Head,
    modules: Vec<Module>,
}

/// What happened inside the network on one image.
#[derive(Clone, Debug)]
pub struct Observation {
    /// One for each class.
    pub logits: Vec<f32>,
    /// The gates of each of [`Explainer::modules`]: factors from 0 to 1, one for each of its channels.
    pub gates: Vec<Vec<f32>>,
    /// The map that is pooled, one channel after another.
    map: Vec<f32>,
    /// Of each channel of the map.
    means: Vec<f64>,
    rows: usize,
    columns: usize,
}

/// How a map is related to its logit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Form {
    /// The logit is the mean of the map plus the classifier's bias, for every image.
    Exact,
    /// The network has a layer between pool and classifier: the map has the exact gradient of the logit by the
    /// pooled map at this image, and the bias is what that leaves of the logit.
    Gradient,
}

/// The class activation map of a logit, or of the difference of two.
#[derive(Clone, Debug, PartialEq)]
pub struct Cam {
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub columns: usize,
    /// What each cell contributes, row by row, in units of the logit.
    pub values: Vec<f64>,
    /// What is added to their mean to give the logit.
    pub bias: f64,
    /// How it was made.
    pub form: Form,
}

impl<'a> Explainer<'a> {
    /// For a network, and the weights that it was loaded from.
    ///
    /// # Errors
    /// If the weights are not those of this network.
    pub fn new(network: &'a Network, weights: &Weights) -> Result<Self, NetError> {
        Ok(Self {
            network,
            head: Head::load(network.plan(), weights)?,
            modules: modules(network.plan()),
        })
    }

    /// The modules that have gates, in the order in which they run.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Where the cells of the maps lie in an input of `height` x `width`.
    ///
    /// # Errors
    /// If the network cannot take this size.
    pub fn grid(&self, height: usize, width: usize) -> Result<Grid, NetError> {
        self.network.plan().grid(height, width)
    }

    /// Runs a batch of normalised images `[N, C, H, W]`.
    ///
    /// # Errors
    /// As [`Network::forward_observed`].
    pub fn observe(&self, batch: &Tensor) -> Result<Vec<Observation>, NetError> {
        let last = last_map(self.network.plan());
        let (mut map, mut gates) = (None, vec![None; self.modules.len()]);
        let logits = self.network.forward_observed(batch, &mut |point, x| {
            match point {
                Point::Gate(name) => {
                    let module = self.modules.iter().position(|module| module.name == name);
                    if let Some(module) = module {
                        gates[module] = Some(self.modules[module].kind.gates(x)?);
                    }
                }
                point if point == last => map = Some(on_cpu(x)?),
                _ => {}
            }
            Ok(())
        })?;
        let missing = || candle_core::Error::Msg("the network did not show its last map".into());
        let map: Tensor = map.ok_or_else(missing)?;
        let (count, _, rows, columns) = map.dims4()?;
        let logits = logits.to_vec2::<f32>()?;
        let gates: Vec<Vec<Vec<f32>>> = gates
            .into_iter()
            .flatten()
            .map(|gate: Tensor| gate.to_vec2())
            .collect::<Result<_, _>>()?;
        let images = (0..count).zip(logits).map(|(image, logits)| {
            let map: Vec<f32> = map.get(image)?.flatten_all()?.to_vec1()?;
            let channels = map.chunks_exact(rows * columns);
            let mean = |cells: &[f32]| {
                cells.iter().copied().map(f64::from).sum::<f64>() / cells.len() as f64
            };
            Ok(Observation {
                logits,
                gates: gates.iter().map(|module| module[image].clone()).collect(),
                means: channels.map(mean).collect(),
                map,
                rows,
                columns,
            })
        });
        images.collect()
    }

    /// As [`Explainer::observe`], from the values that the model's transform wrote, one image after another. If the
    /// batch fails, each image is tried alone.
    #[cfg(feature = "cli")]
    pub(crate) fn observe_each(
        &self,
        model: &Model,
        values: Vec<f32>,
    ) -> Vec<crate::error::Result<Observation>> {
        let count = values.len() / model.image_len();
        let batch = match model.stored(values) {
            _ if count == 0 => return Vec::new(),
            Ok(batch) => batch,
            Err(error) => return vec![Err(error)],
        };
        let alone = |index| {
            let image = batch.narrow(0, index, 1)?;
            let missing = || candle_core::Error::Msg("no output for this image".into());
            let observed = self.observe(&image)?.pop();
            Ok(observed.ok_or_else(missing)?)
        };
        match self.observe(&batch) {
            Ok(all) => all.into_iter().map(Ok).collect(),
            Err(error) if count == 1 => vec![Err(error.into())],
            Err(_) => (0..count).map(alone).collect(),
        }
    }

    /// The map of a class.
    ///
    /// # Panics
    /// If there is no such class, or the observation is of another network.
    pub fn cam(&self, observed: &Observation, class: usize) -> Cam {
        let Observation { rows, columns, .. } = *observed;
        let (weights, bias) = self.head.at(class, &observed.means);
        let mut values = vec![0.0; rows * columns];
        let channels = observed.map.chunks_exact(rows * columns);
        for (channel, weight) in channels.zip(weights) {
            for (value, &x) in values.iter_mut().zip(channel) {
                *value += weight * f64::from(x);
            }
        }
        Cam {
            rows,
            columns,
            values,
            bias,
            form: match self.head.is_linear() {
                true => Form::Exact,
                false => Form::Gradient,
            },
        }
    }
}

/// The point at which a network shows the map that it pools.
fn last_map(plan: &Plan) -> Point<'static> {
    if plan.head_conv.is_some() || plan.ending.is_some() {
        Point::FinalConv
    } else {
        Point::Stage(plan.stages.len())
    }
}

/// In f32 and in the memory of the CPU.
pub(super) fn on_cpu(x: &Tensor) -> candle_core::Result<Tensor> {
    x.to_device(&Device::Cpu)?.to_dtype(DType::F32)
}

impl Cam {
    /// Of all cells: with the bias, the logit.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The map of the difference of two logits of one image.
    ///
    /// # Panics
    /// If the maps are of different sizes.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        assert_eq!([self.rows, self.columns], [other.rows, other.columns]);
        let pairs = self.values.iter().zip(&other.values);
        Self {
            values: pairs.map(|(a, b)| a - b).collect(),
            bias: self.bias - other.bias,
            ..*self
        }
    }

    /// The `count` cells with the highest values, the highest first.
    pub fn top(&self, count: usize) -> Vec<usize> {
        crate::logits::top_k(&self.values, count)
    }

    /// Row and column of the highest value.
    pub fn peak(&self) -> [usize; 2] {
        let cell = self.top(1).first().copied().unwrap_or(0);
        [cell / self.columns, cell % self.columns]
    }

    /// The lowest and the highest value.
    pub fn range(&self) -> [f64; 2] {
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self
            .values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        [low, high]
    }

    /// The value between cells: `row` and `column` are 0 at the centre of the first cell, and beyond the outer
    /// centres the outer cells continue.
    pub fn at(&self, row: f64, column: f64) -> f64 {
        let [top, bottom, down] = between(row, self.rows);
        let [left, right, across] = between(column, self.columns);
        let value =
            |row: f64, column: f64| self.values[row as usize * self.columns + column as usize];
        let mix = |a: f64, b: f64, share: f64| a + (b - a) * share;
        let upper = mix(value(top, left), value(top, right), across);
        let lower = mix(value(bottom, left), value(bottom, right), across);
        mix(upper, lower, down)
    }
}

/// The two cells around a place, and the share of the second.
fn between(place: f64, cells: usize) -> [f64; 3] {
    let place = place.clamp(0.0, (cells - 1) as f64);
    let first = place.floor();
    [first, (first + 1.0).min((cells - 1) as f64), place - first]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_between_cells_are_interpolated_and_continue_outside() {
        let cam = Cam {
            rows: 2,
            columns: 3,
            values: vec![0.0, 1.0, 2.0, 10.0, 11.0, 12.0],
            bias: 0.5,
            form: Form::Exact,
        };
        for (row, column, value) in [
            (0.0, 0.0, 0.0),
            (1.0, 2.0, 12.0),
            (0.5, 0.25, 5.25),
            (-3.0, 1.5, 1.5),
            (9.0, 9.0, 12.0),
        ] {
            assert_eq!(cam.at(row, column), value);
        }
        assert_eq!(cam.peak(), [1, 2]);
        assert_eq!(cam.mean(), 6.0);
        assert_eq!(cam.minus(&cam).range(), [0.0, 0.0]);
    }
}
