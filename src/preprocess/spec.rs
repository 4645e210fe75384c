//! The `[input]` table of a card: what a network expects to see.

use serde::{Deserialize, Serialize};

/// Input size and preprocessing, with timm's names and meaning (timm `data/config.py`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// The resize target is `floor(size / crop_pct)`.
    pub crop_pct: f64,
    #[serde(default)]
    pub crop_mode: CropMode,
    pub interpolation: Interpolation,
    /// Per channel (RGB), for values in 0..1.
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// The larger size at which the published accuracy is higher, where the recipe has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_size: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_crop_pct: Option<f64>,
}

/// Largest height and width of a network's input, in pixels: at four thousand a single map of the
/// wider networks takes a gigabyte.
pub const MAX_INPUT_SIZE: usize = 4096;

impl InputSpec {
    /// Height and width that the picture is resized to before the crop: `floor(size / crop_pct)`.
    pub fn scale_size(&self) -> [usize; 2] {
        self.size
            .map(|edge| (edge as f64 / self.crop_pct).floor() as usize)
    }
}

/// How the crop is taken (timm `data/transforms_factory.py`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CropMode {
    /// Short side to the target, then the centre.
    #[default]
    Center,
    /// Both sides to the target, whatever the shape, then the centre.
    Squash,
    /// Long side to the target, the rest padded.
    Border,
}

/// Resampling filter as Pillow computes it, antialiased but for `Nearest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interpolation {
    Nearest,
    Box,
    Bilinear,
    Hamming,
    Bicubic,
    Lanczos,
}

impl Interpolation {
    /// What timm and Pillow call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }
}
