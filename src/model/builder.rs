//! Opens a model by name, with options.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::Model;
use crate::error::Result;
use crate::hub::{HubOptions, Progress};
use crate::nn::Precision;
use crate::store;
use crate::zoo::Overrides;

/// How a model runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Where the network runs; by default, on the CPU. [`DeviceChoice`](crate::DeviceChoice) opens
    /// others, or the best one.
    pub device: Device,
    /// Precision of the network's products; by default, f32. [`PrecisionChoice`](crate::PrecisionChoice)
    /// finds the fastest one of a CUDA device.
    pub precision: Precision,
    /// Number of threads for the network alone. By default, and where [`Model::network`] is called
    /// directly, it runs in the [rayon] pool of its caller. A pool that rayon makes by itself has a thread for
    /// every logical CPU; [`machine::threads`](crate::machine::threads) says how many are best.
    pub threads: Option<usize>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            precision: Precision::F32,
            threads: None,
        }
    }
}

/// Opens a model with options; see [`Model::builder`].
#[must_use = "call `open` to open the model"]
pub struct ModelBuilder<'a> {
    name: String,
    options: ModelOptions,
    hub: Option<HubOptions>,
    weights: Option<PathBuf>,
    progress: &'a dyn Progress,
}

impl Model {
    /// Starts opening the model called `name`; [`store::resolve()`] says which names there are.
    ///
    /// ```no_run
    /// use senet::{DeviceChoice, Model};
    ///
    /// # fn main() -> senet::Result<()> {
    /// let model = Model::builder("se-resnet50")
    ///     .device(DeviceChoice::Auto.open()?.device)
    ///     .threads(4)
    ///     .weights("se_resnet50.pth")
    ///     .open()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(name: impl Into<String>) -> ModelBuilder<'static> {
        ModelBuilder {
            name: name.into(),
            options: ModelOptions::default(),
            hub: None,
            weights: None,
            progress: &(),
        }
    }
}

impl<'a> ModelBuilder<'a> {
    /// Replaces all [`ModelOptions`].
    pub fn options(mut self, options: ModelOptions) -> Self {
        self.options = options;
        self
    }

    /// See [`ModelOptions::device`].
    pub fn device(mut self, device: Device) -> Self {
        self.options.device = device;
        self
    }

    /// See [`ModelOptions::precision`].
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// See [`ModelOptions::threads`].
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// Settings of the hub and its cache; by default, those of [`HubOptions::from_env`].
    pub fn hub(mut self, hub: HubOptions) -> Self {
        self.hub = Some(hub);
        self
    }

    /// Takes the weights from this file.
    pub fn weights(mut self, file: impl AsRef<Path>) -> Self {
        self.weights = Some(file.as_ref().to_owned());
        self
    }

    /// Receives the progress of downloads, and notes for the user.
    pub fn progress(self, progress: &'a dyn Progress) -> Self {
        Self { progress, ..self }
    }

    /// Resolves the name, opens the weights, downloading them if they are not in the cache, and builds
    /// the network.
    ///
    /// # Errors
    /// If the name is unknown, or the weights are not available or do not fit.
    pub fn open(self) -> Result<Model> {
        let hub = match self.hub {
            Some(hub) => hub,
            None => HubOptions::from_env()?,
        };
        let resolved = store::resolve(&self.name, &Overrides::default(), &hub, self.progress)?;
        for note in resolved.note.iter().chain(&resolved.spec.notes) {
            self.progress.note(note);
        }
        let weights = self.weights.as_deref();
        let weights = store::open(&resolved.spec, weights, &hub, self.progress)?;
        let model = Model::with_options(resolved.spec, &weights, &self.options)?;
        model
            .notes()
            .iter()
            .for_each(|note| self.progress.note(note));
        Ok(model)
    }
}
