//! Several models that answer together.

use image::RgbImage;

use super::classes::{Orders, match_classes};
use super::inputs::SharedInputs;
use super::prediction::{above, best};
use super::{Model, OutputActivation, Prediction};
use crate::error::Result;
use crate::labels::Label;
use crate::logits::{average, average_sigmoid};
use crate::preprocess::Views;

/// Several models that answer together, with the mean of their probabilities.
///
/// The classes of the answers are those of the first model. The others may list theirs in another order:
/// they are matched by id or by name.
///
/// ```no_run
/// use senet::preprocess::{DecodeOptions, open};
/// use senet::{Ensemble, Model};
///
/// # fn main() -> senet::Result<()> {
/// let models = ["senet154", "se-resnet50"].map(|name| Model::builder(name).open());
/// let models = models.into_iter().collect::<senet::Result<Vec<Model>>>()?;
/// let ensemble = Ensemble::new(models)?;
/// let image = open("photo.jpg", &DecodeOptions::default())?;
/// for best in &ensemble.classify(&[image], 5)?[0] {
///     println!("{:.3} {}", best.probability, best.label.name);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Model>,
    orders: Orders,
    inputs: SharedInputs,
}

impl Ensemble {
    /// Joins the models. One alone answers as it does without the ensemble.
    ///
    /// # Errors
    /// [`EnsembleError`](super::EnsembleError) if there is no model, or their classes differ in more than
    /// their order; as [`Model::transform`].
    pub fn new(members: Vec<Model>) -> Result<Self> {
        let orders = match_classes(members.iter().map(Model::spec))?;
        let transforms = members.iter().map(Model::transform);
        let transforms: Vec<_> = transforms.collect::<Result<_, _>>()?;
        Ok(Self {
            inputs: SharedInputs::new(transforms, Views::One),
            orders,
            members,
        })
    }

    /// The models.
    pub fn members(&self) -> &[Model] {
        &self.members
    }

    /// The names of the models, with ` + ` between them.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(|m| &*m.spec().name).collect();
        names.join(" + ")
    }

    /// The classes of the answers: those of the first model.
    pub fn labels(&self) -> &[Label] {
        &self.members[0].spec().labels.entries
    }

    /// As [`Model::activation`]; all models have the same.
    pub fn activation(&self) -> OutputActivation {
        self.members[0].activation()
    }

    /// The `k` most probable classes of each image, most probable first.
    ///
    /// # Errors
    /// As [`Network::forward`](crate::nets::Network::forward), for any of the models.
    pub fn classify(&self, images: &[RgbImage], k: usize) -> Result<Vec<Vec<Prediction<'_>>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let slot_len = self.inputs.slot_len();
        let mut values = vec![0.0; images.len() * slot_len];
        for (image, slot) in images.iter().zip(values.chunks_exact_mut(slot_len)) {
            self.inputs.write(image, slot);
        }
        let answers = self.logits_each(values)?.into_iter().map(|logits| {
            let logits: Vec<Vec<f32>> = logits.into_iter().collect::<Result<_>>()?;
            Ok(self.best(&logits, k))
        });
        answers.collect()
    }

    /// For each image, the logits of each model, from the values that [`SharedInputs::write`] wrote one
    /// after another for these models. An image that fails does not affect the others.
    ///
    /// # Errors
    /// If the values are not those of whole images.
    pub(crate) fn logits_each(&self, values: Vec<f32>) -> Result<Vec<Vec<Result<Vec<f32>>>>> {
        let count = values.len() / self.inputs.slot_len();
        let mut logits: Vec<_> = self
            .members
            .iter()
            .map(|_| Vec::new().into_iter())
            .collect();
        for (batch, sharing) in self.inputs.batches(&self.members, values) {
            let batch = batch?;
            for &member in sharing {
                logits[member] = self.members[member].logits_of_each(&batch).into_iter();
            }
        }
        let of_image = |_| logits.iter_mut().filter_map(Iterator::next).collect();
        Ok((0..count).map(of_image).collect())
    }

    /// The `k` most probable classes from the logits of each model for one image, most probable first.
    ///
    /// # Panics
    /// If there are not as many lists as models, each with a value for each class.
    pub fn best(&self, logits: &[Vec<f32>], k: usize) -> Vec<Prediction<'_>> {
        let activation = self.activation();
        best(
            self.labels(),
            &self.average(logits, activation),
            activation,
            k,
        )
    }

    /// The classes for which the mean of the models' sigmoids is above `threshold`, at most `k` of them,
    /// most probable first.
    ///
    /// # Panics
    /// As [`Self::best`].
    pub fn above(&self, logits: &[Vec<f32>], threshold: f64, k: usize) -> Vec<Prediction<'_>> {
        let logits = self.average(logits, OutputActivation::Sigmoid);
        above(self.labels(), &logits, threshold, k)
    }

    /// The logits whose probabilities are the mean of the models', by the first model's classes.
    fn average(&self, logits: &[Vec<f32>], activation: OutputActivation) -> Vec<f64> {
        assert_eq!(logits.len(), self.members.len(), "the logits of each model");
        let rows = logits.iter().zip(&self.orders).map(|(logits, order)| {
            let value = |output: usize| f64::from(logits[output]);
            match order {
                None => (0..self.labels().len()).map(value).collect(),
                Some(order) => order.iter().map(|&output| value(output)).collect(),
            }
        });
        let rows: Vec<Vec<f64>> = rows.collect();
        match activation {
            OutputActivation::Softmax => average(&rows),
            OutputActivation::Sigmoid => average_sigmoid(&rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::error::Error;
    use crate::hub::HubOptions;
    use crate::model::EnsembleError;
    use crate::store;
    use crate::zoo::{ModelSpec, Overrides};

    /// The embedded model, changed.
    fn demo(change: impl FnOnce(&mut ModelSpec)) -> Model {
        let hub = HubOptions {
            offline: true,
            ..HubOptions::from_env().unwrap()
        };
        let mut spec = store::resolve("demo", &Overrides::default(), &hub, &())
            .unwrap()
            .spec;
        let weights = store::open(&spec, None, &hub, &()).unwrap();
        change(&mut spec);
        Model::new(spec, &weights, &Device::Cpu).unwrap()
    }

    fn images() -> [RgbImage; 2] {
        [3_u32, 60].map(|edge| {
            RgbImage::from_fn(edge, 2 * edge, |x, y| {
                image::Rgb([x, y, x * y].map(|value| (value * 7) as u8))
            })
        })
    }

    #[test]
    fn one_model_answers_as_alone() {
        let alone = demo(|_| {});
        let ensemble = Ensemble::new(vec![demo(|_| {})]).unwrap();
        assert_eq!(ensemble.name(), alone.spec().name);
        let expected = alone.classify(&images(), 5).unwrap();
        assert_eq!(ensemble.classify(&images(), 5).unwrap(), expected);
        assert_eq!(ensemble.classify(&[], 5).unwrap(), Vec::<Vec<_>>::new());
        let logits = vec![vec![1.0, -0.5, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1]];
        assert_eq!(
            ensemble.above(&logits, 0.5, 2),
            alone.above(&logits[0], 0.5, 2)
        );
    }

    #[test]
    fn inputs_are_shared_and_probabilities_are_averaged() {
        let turned = || {
            demo(|spec| {
                spec.labels.to_mut().entries.rotate_left(4);
                spec.input.size = [32, 40];
            })
        };
        let ensemble = Ensemble::new(vec![demo(|_| {}), turned(), demo(|_| {})]).unwrap();
        let (demo, turned) = (demo(|_| {}), turned());
        let length = demo.image_len() + turned.image_len();
        assert_eq!(ensemble.inputs.slot_len(), length);
        let all = [&demo, &turned].map(|model| model.classify(&images(), 10).unwrap());
        let found = ensemble.classify(&images(), 10).unwrap();
        for (image, found) in found.iter().enumerate() {
            assert_eq!(found.len(), 10);
            for found in found {
                let [one, two] = [0, 1].map(|model: usize| {
                    let mut all = all[model][image].iter();
                    *all.find(|p| p.label == found.label).unwrap()
                });
                assert_eq!((found.index, one.index), (one.index, (two.index + 4) % 10));
                let mean = (2.0 * one.probability + two.probability) / 3.0;
                assert!((found.probability - mean).abs() < 1e-12, "{found:?}");
            }
        }
    }

    #[test]
    fn models_without_common_classes_are_refused() {
        let other = demo(|spec| spec.labels.to_mut().entries[3] = Label::numbered(3));
        let refused = Ensemble::new(vec![demo(|_| {}), other]);
        assert!(
            matches!(
                refused,
                Err(Error::Ensemble(EnsembleError::OtherClasses { .. }))
            ),
            "{refused:?}"
        );
        let refused = Ensemble::new(Vec::new());
        assert!(matches!(
            refused,
            Err(Error::Ensemble(EnsembleError::Empty))
        ));
    }
}
