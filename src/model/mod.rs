//! Images in, classes out: a network with its preprocessing and the names of its classes, or several that
//! answer together.

mod builder;
mod classes;
mod ensemble;
mod head;
mod inputs;
mod prediction;
mod prefetch;

use candle_core::{Device, Tensor};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use builder::{ModelBuilder, ModelOptions};
pub use classes::EnsembleError;
#[cfg(feature = "cli")]
pub(crate) use classes::match_classes;
pub use ensemble::Ensemble;
pub use head::{Attached, HeadError, HeadFile, HeadInfo};
pub(crate) use inputs::SharedInputs;
pub use prediction::{OutputActivation, Prediction};
#[cfg(feature = "cli")]
pub(crate) use prefetch::prefetch_while;
pub(crate) use prefetch::{Prepared, prefetch};

use crate::error::{Error, Result};
use crate::hub::HubOptions;
pub use crate::logits::{sigmoid, softmax, top_k};
use crate::nets::{NetError, Network};
use crate::preprocess::{ImageError, Layout, RgbImage, Transform};
use crate::store;
use crate::weights::Weights;
use crate::zoo::ModelSpec;

/// A network with its preprocessing and labels, ready to classify images.
#[derive(Debug)]
pub struct Model {
    spec: ModelSpec,
    network: Network,
    /// `None` if the network's input is neither RGB nor grey.
    transform: Option<Transform>,
    /// The threads that [`ModelOptions::threads`] asks for.
    pool: Option<ThreadPool>,
}

impl Model {
    /// Opens the model called `name` (see [`store::resolve()`]) on `device`. Its weights come from the
    /// cache or are downloaded. [`Model::builder`] has more options.
    ///
    /// # Errors
    /// If the name is unknown, or the weights are not available or do not fit.
    pub fn open(name: &str, hub: &HubOptions, device: &Device) -> Result<Self> {
        Self::builder(name)
            .hub(hub.clone())
            .device(device.clone())
            .open()
    }

    /// Builds the network of `spec` on `device` from `weights`.
    ///
    /// # Errors
    /// If the weights are those of another network, or the network cannot take the spec's input size.
    pub fn new(spec: ModelSpec, weights: &Weights, device: &Device) -> Result<Self> {
        let options = ModelOptions {
            device: device.clone(),
            ..ModelOptions::default()
        };
        Self::with_options(spec, weights, &options)
    }

    /// As [`Model::new`], with all options.
    ///
    /// # Errors
    /// As [`Model::new`], and [`Error::Threads`].
    pub fn with_options(
        spec: ModelSpec,
        weights: &Weights,
        options: &ModelOptions,
    ) -> Result<Self> {
        let transform = match transform(&spec, &options.device) {
            Err(ImageError::Channels { .. }) => None,
            transform => Some(transform?),
        };
        Self::with_transform(spec, transform, weights, options)
    }

    /// As [`Model::with_options`], with the [`transform()`] of the same spec and device, which can be made
    /// before the weights are there; `None` if the network's input is neither RGB nor grey.
    ///
    /// # Errors
    /// As [`Model::with_options`].
    pub(crate) fn with_transform(
        spec: ModelSpec,
        transform: Option<Transform>,
        weights: &Weights,
        options: &ModelOptions,
    ) -> Result<Self> {
        let pool = options.threads.map(pool).transpose()?;
        let plan = spec.network.plan(spec.naming, spec.classes())?;
        let [height, width] = spec.input.size;
        plan.check_size(height, width)?;
        let load = || Network::load(&plan, weights, &options.device, options.precision);
        let network = match &pool {
            Some(pool) => pool.install(load),
            None => load(),
        };
        let network = network.map_err(|error| store::explain_mismatch(error, &spec))?;
        Ok(Self {
            pool,
            spec,
            network,
            transform,
        })
    }

    /// The description that the model was built from.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The network, for logits, features and the tensors inside.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Notes for the user: how the names in the weights file were mapped to the network's tensors, and
    /// which tensors of the file are not used.
    pub fn notes(&self) -> &[String] {
        self.network.notes()
    }

    /// The preprocessing, which writes an image into a slot of a batch in the network's own layout.
    ///
    /// # Errors
    /// [`ImageError::Channels`] if the network's input is neither RGB nor grey.
    pub fn transform(&self) -> Result<&Transform, ImageError> {
        let channels = self.spec.channels();
        self.transform
            .as_ref()
            .ok_or(ImageError::Channels { channels })
    }

    /// Number of values of one image in a batch: channels · height · width.
    pub fn image_len(&self) -> usize {
        let [height, width] = self.spec.input.size;
        self.spec.channels() * height * width
    }

    /// The preprocessed images `[N, channels, height, width]`, on the network's device.
    ///
    /// # Errors
    /// If the device is out of memory, or as [`Model::transform`].
    pub fn batch(&self, images: &[RgbImage]) -> Result<Tensor> {
        let transform = self.transform()?;
        let mut values = vec![0.0; images.len() * self.image_len()];
        for (image, slot) in images.iter().zip(values.chunks_exact_mut(self.image_len())) {
            transform.write(image, slot);
        }
        self.batch_from(values)
    }

    /// A batch `[N, channels, height, width]` from the values of images that [`Model::transform`] wrote
    /// one after another. On the CPU the values are not copied.
    ///
    /// # Errors
    /// If the values are not whole images or the device is out of memory.
    pub fn batch_from(&self, values: Vec<f32>) -> Result<Tensor> {
        Ok(self.stored(values)?.to_device(self.network.device())?)
    }

    /// As [`Model::batch_from`], in the memory of the CPU.
    pub(crate) fn stored(&self, values: Vec<f32>) -> Result<Tensor> {
        let [height, width] = self.spec.input.size;
        let (count, channels) = (values.len() / self.image_len(), self.spec.channels());
        let tensor = |shape| Tensor::from_vec(values, shape, &Device::Cpu);
        Ok(match self.network.is_channels_last() {
            true => tensor((count, height, width, channels))?.permute((0, 3, 1, 2))?,
            false => tensor((count, channels, height, width))?,
        })
    }

    /// The `k` most probable classes of each image, most probable first.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn classify(&self, images: &[RgbImage], k: usize) -> Result<Vec<Vec<Prediction<'_>>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        self.classify_batch(&self.batch(images)?, k)
    }

    /// The `k` most probable classes of each image of a batch `[N, channels, height, width]`, most
    /// probable first.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn classify_batch(&self, batch: &Tensor, k: usize) -> Result<Vec<Vec<Prediction<'_>>>> {
        let rows = self.rows(batch)?;
        Ok(rows.iter().map(|logits| self.best(logits, k)).collect())
    }

    /// The logits of each image, from the values that [`Model::transform`] wrote one after another. If
    /// the batch fails, each image is tried alone, so that a bad one does not affect the others.
    pub fn logits_each(&self, values: impl Into<Vec<f32>>) -> Vec<Result<Vec<f32>>> {
        let values = values.into();
        if values.is_empty() {
            return Vec::new();
        }
        match self.stored(values) {
            Ok(batch) => self.logits_of_each(&batch),
            Err(error) => vec![Err(error)],
        }
    }

    /// As [`Model::logits_each`], for a batch `[N, channels, height, width]`.
    pub(crate) fn logits_of_each(&self, batch: &Tensor) -> Vec<Result<Vec<f32>>> {
        self.rows_of_each(batch, |batch| self.network.forward(batch))
    }

    /// What `pass` gives for each image of a batch `[N, channels, height, width]`, all its values in one
    /// row. If the batch fails, each image is tried alone.
    pub(crate) fn rows_of_each(
        &self,
        batch: &Tensor,
        pass: impl Fn(&Tensor) -> Result<Tensor, NetError> + Sync,
    ) -> Vec<Result<Vec<f32>>> {
        let [count, ..] = *batch.dims() else {
            return Vec::new();
        };
        let rows = |batch: &Tensor| self.rows_by(batch, &pass);
        let alone = |index| Ok(rows(&batch.narrow(0, index, 1)?)?.concat());
        match rows(batch) {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(error) if count == 1 => vec![Err(error)],
            Err(_) => (0..count).map(alone).collect(),
        }
    }

    fn rows(&self, batch: &Tensor) -> Result<Vec<Vec<f32>>> {
        self.rows_by(batch, |batch| self.network.forward(batch))
    }

    fn rows_by(
        &self,
        batch: &Tensor,
        pass: impl Fn(&Tensor) -> Result<Tensor, NetError> + Sync,
    ) -> Result<Vec<Vec<f32>>> {
        let rows = match &self.pool {
            Some(pool) => pool.install(|| pass(batch)),
            None => pass(batch),
        };
        Ok(rows?.flatten_from(1)?.to_vec2::<f32>()?)
    }

    /// Sigmoid for a single output, softmax otherwise.
    pub fn activation(&self) -> OutputActivation {
        OutputActivation::of(self.spec.classes())
    }

    /// The probability of each class from the logits of one image, by the model's activation.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        self.activation().probabilities(logits)
    }

    /// The `k` most probable classes from the logits of one image, most probable first.
    pub fn best(&self, logits: &[f32], k: usize) -> Vec<Prediction<'_>> {
        prediction::best(&self.spec.labels.entries, logits, self.activation(), k)
    }

    /// The classes whose sigmoid is above `threshold`, at most `k` of them, most probable first.
    pub fn above(&self, logits: &[f32], threshold: f64, k: usize) -> Vec<Prediction<'_>> {
        prediction::above(&self.spec.labels.entries, logits, threshold, k)
    }
}

/// The preprocessing of `spec`, in the layout that its network uses on `device`.
///
/// # Errors
/// As [`ModelSpec::transform`].
pub(crate) fn transform(spec: &ModelSpec, device: &Device) -> Result<Transform, ImageError> {
    let layout = match device {
        Device::Cpu => Layout::ChannelsLast,
        _ => Layout::ChannelsFirst,
    };
    Ok(spec.transform()?.with_layout(layout))
}

fn pool(threads: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Error::Threads {
        threads,
        source: Box::new(error),
    })
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Net(NetError::Tensor(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The embedded model.
    fn demo() -> Model {
        let offline = HubOptions {
            offline: true,
            ..HubOptions::from_env().unwrap()
        };
        Model::open("demo", &offline, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_layout_of_a_batch_does_not_change_the_logits() {
        let model = demo();
        let images = [3_u32, 60].map(|edge| {
            RgbImage::from_fn(edge, 2 * edge, |x, y| {
                image::Rgb([x, y, x * y].map(|value| (value * 7) as u8))
            })
        });
        let batch = model.batch(&images).unwrap();
        assert!(!batch.is_contiguous(), "it is stored channels last");
        let expected = model.network.forward(&batch.contiguous().unwrap()).unwrap();
        let expected = expected.to_vec2::<f32>().unwrap();
        assert_eq!(model.rows(&batch).unwrap(), expected);
        let stored = batch.permute((0, 2, 3, 1)).unwrap().flatten_all().unwrap();
        let each = model.logits_each(stored.to_vec1::<f32>().unwrap());
        let each: Vec<Vec<f32>> = each.into_iter().map(Result::unwrap).collect();
        assert_eq!(each, expected);
    }

    #[test]
    fn options_do_not_change_the_logits() {
        let offline = || HubOptions {
            offline: true,
            ..HubOptions::from_env().unwrap()
        };
        let own = Model::builder("demo")
            .hub(offline())
            .threads(3)
            .open()
            .unwrap();
        assert_eq!(own.pool.as_ref().unwrap().current_num_threads(), 3);
        let values = vec![0.25; 2 * own.image_len()];
        let logits = |model: &Model| {
            model
                .rows(&model.batch_from(values.clone()).unwrap())
                .unwrap()
        };
        assert_eq!(logits(&own), logits(&demo()));
        let missing = Model::builder("demo")
            .hub(offline())
            .weights("no/such.pth")
            .open();
        assert!(matches!(missing, Err(Error::Weights(_))), "{missing:?}");
    }

    #[test]
    fn an_image_that_fails_does_not_take_its_batch_with_it() {
        let model = demo();
        let mut values = vec![0.5; 3 * model.image_len()];
        values[model.image_len()] = f32::NAN;
        let each = model.logits_each(values);
        let are_good: Vec<bool> = each.iter().map(Result::is_ok).collect();
        assert_eq!(are_good, [true, false, true]);
        assert_eq!(each[0].as_ref().unwrap(), each[2].as_ref().unwrap());
    }
}
