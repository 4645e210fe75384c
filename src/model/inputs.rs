//! The inputs of several models for the same images. Models with the same preprocessing share them.

use std::borrow::Borrow;

use candle_core::Tensor;
use image::RgbImage;

use super::Model;
use crate::error::Result;
use crate::preprocess::{Transform, Views};

/// Where the inputs of each model are in an image's slot of a batch.
#[derive(Debug)]
pub(crate) struct SharedInputs {
    views: Views,
    /// One for each preprocessing.
    parts: Vec<Part>,
}

/// The inputs of one preprocessing.
#[derive(Debug)]
struct Part {
    transform: Transform,
    /// In values from the start of the slot.
    start: usize,
    /// Number of values.
    length: usize,
    /// The models that take them.
    models: Vec<usize>,
}

impl SharedInputs {
    /// For models with these preprocessings, in the order of the models.
    pub(crate) fn new<'a>(
        transforms: impl IntoIterator<Item = &'a Transform>,
        views: Views,
    ) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for (model, transform) in transforms.into_iter().enumerate() {
            match parts.iter_mut().find(|part| part.transform == *transform) {
                Some(part) => part.models.push(model),
                None => parts.push(Part {
                    transform: transform.clone(),
                    start: parts.last().map_or(0, |last| last.start + last.length),
                    length: views.count() * transform.image_len(),
                    models: vec![model],
                }),
            }
        }
        Self { views, parts }
    }

    /// Number of values of one image.
    pub(crate) fn slot_len(&self) -> usize {
        self.parts.iter().map(|part| part.length).sum()
    }

    /// Writes the inputs of all models for one image.
    ///
    /// # Panics
    /// If the length of `slot` is not [`Self::slot_len`].
    pub(crate) fn write(&self, image: &RgbImage, slot: &mut [f32]) {
        for part in &self.parts {
            let slot = &mut slot[part.start..][..part.length];
            part.transform.write_views(image, self.views, slot);
        }
    }

    /// From the slots of a batch, one after another, the inputs of each preprocessing, in the memory of
    /// the CPU, with the indices of the models that take them. The views of an image follow each other.
    ///
    /// Values are only copied if there are several preprocessings.
    pub(crate) fn batches<'s, M: Borrow<Model>>(
        &'s self,
        models: &'s [M],
        mut values: Vec<f32>,
    ) -> impl Iterator<Item = (Result<Tensor>, &'s [usize])> {
        let slot_len = self.slot_len();
        self.parts.iter().map(move |part| {
            let values = match part.length == slot_len {
                true => std::mem::take(&mut values),
                false => {
                    let slots = values.chunks_exact(slot_len);
                    let own = slots.flat_map(|slot| &slot[part.start..][..part.length]);
                    own.copied().collect()
                }
            };
            let model: &Model = models[part.models[0]].borrow();
            (model.stored(values), &*part.models)
        })
    }
}
