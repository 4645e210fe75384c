//! Opening a model by name, one option at a time.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::Model;
use crate::error::Result;
use crate::hub::{HubOptions, Progress};
use crate::store;
use crate::zoo::Overrides;

/// How a model runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Where the network runs; the CPU unless another is chosen. [`DeviceChoice`](crate::DeviceChoice)
    /// opens the best that there is.
    pub device: Device,
    /// Threads that the network has for itself. If none are given, it runs in the [rayon] pool of its caller.
    pub threads: Option<usize>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            threads: None,
        }
    }
}

/// A model that is about to be opened; [`Model::builder`] makes one.
#[must_use = "nothing is opened before `open`"]
pub struct ModelBuilder<'a> {
    name: String,
    options: ModelOptions,
    hub: Option<HubOptions>,
    weights: Option<PathBuf>,
    progress: &'a dyn Progress,
}

impl Model {
    /// The model called `name`, as in [`store::resolve()`].
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

    /// See [`ModelOptions::threads`].
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// The settings of the hub and its cache; [`HubOptions::from_env`] unless they are given.
    pub fn hub(mut self, hub: HubOptions) -> Self {
        self.hub = Some(hub);
        self
    }

    /// A file to take the weights from, instead of the model's own.
    pub fn weights(mut self, file: impl AsRef<Path>) -> Self {
        self.weights = Some(file.as_ref().to_owned());
        self
    }

    /// What to inform of downloads, and of notes that the user should see.
    pub fn progress(self, progress: &'a dyn Progress) -> Self {
        Self { progress, ..self }
    }

    /// Finds the model, opens its weights, downloaded unless they are in the cache, and builds the
    /// network.
    ///
    /// # Errors
    /// If the name means nothing, the weights cannot be had, or they do not fit.
    pub fn open(self) -> Result<Model> {
        let hub = match self.hub {
            Some(hub) => hub,
            None => HubOptions::from_env()?,
        };
        let found = store::resolve(&self.name, &Overrides::default(), &hub, self.progress)?;
        for note in found.note.iter().chain(&found.spec.notes) {
            self.progress.note(note);
        }
        let weights = self.weights.as_deref();
        let weights = store::open(&found.spec, weights, &hub, self.progress)?;
        let model = Model::with_options(found.spec, &weights, &self.options)?;
        model
            .notes()
            .iter()
            .for_each(|note| self.progress.note(note));
        Ok(model)
    }
}
