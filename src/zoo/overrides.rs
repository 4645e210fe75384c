//! Settings with which a user replaces those of a model's description.

use crate::preprocess::{CropMode, InputSpec, Interpolation};

/// Settings that replace those of a card or a `config.json`. A replaced value is not even checked, so an
/// invalid one does no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Height and width in pixels; the model then has no test size.
    pub size: Option<[usize; 2]>,
    /// Part of the resized image's side that the crop keeps.
    pub crop_pct: Option<f64>,
    /// How the crop is taken.
    pub crop_mode: Option<CropMode>,
    /// Filter for resizing.
    pub interpolation: Option<Interpolation>,
    /// Mean of red, green and blue, of values from 0 to 1.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, of values from 0 to 1.
    pub std: Option<[f32; 3]>,
    /// Classes of the weights. Label names that do not fit are left out.
    pub num_classes: Option<usize>,
}

impl Overrides {
    /// For uses without images: every input setting is replaced, so none of the model's matters.
    pub const ALL: Self = Self {
        size: Some([224, 224]),
        crop_pct: Some(0.875),
        crop_mode: Some(CropMode::Center),
        interpolation: Some(Interpolation::Bicubic),
        mean: Some([0.485, 0.456, 0.406]),
        std: Some([0.229, 0.224, 0.225]),
        num_classes: None,
    };

    pub(super) fn apply(&self, input: &mut InputSpec) {
        input.size = self.size.unwrap_or(input.size);
        input.crop_pct = self.crop_pct.unwrap_or(input.crop_pct);
        input.crop_mode = self.crop_mode.unwrap_or(input.crop_mode);
        input.interpolation = self.interpolation.unwrap_or(input.interpolation);
        input.mean = self.mean.unwrap_or(input.mean);
        input.std = self.std.unwrap_or(input.std);
    }
}
