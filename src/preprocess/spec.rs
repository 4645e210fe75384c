//! The `[input]` table of a card: the size and preprocessing of a network's input.

use serde::{Deserialize, Serialize};

/// Input size and preprocessing, with timm's names and meaning (timm `data/config.py`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// The resize target is `floor(size / crop_pct)`.
    pub crop_pct: f64,
    /// How the crop is taken.
    #[serde(default)]
    pub crop_mode: CropMode,
    /// The filter of the resize.
    pub interpolation: Interpolation,
    /// Subtracted from each channel (RGB), whose values are 0 to 1.
    pub mean: [f32; 3],
    /// What each channel is then divided by.
    pub std: [f32; 3],
    /// A larger size at which the published accuracy is higher, if the recipe has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_size: Option<[usize; 2]>,
    /// The `crop_pct` at that size, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_crop_pct: Option<f64>,
}

/// Largest height and width of a network's input, in pixels. At this size a single feature map of the
/// wider networks takes a gigabyte.
pub const MAX_INPUT_SIZE: usize = 4096;

impl InputSpec {
    /// Height and width that images are resized to before the crop: `floor(size / crop_pct)`.
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
    /// Resize the short side to the target, then crop the centre.
    #[default]
    Center,
    /// Resize both sides to the target, ignoring the aspect ratio, then crop the centre.
    Squash,
    /// Resize the long side to the target, and pad the other with the mean colour.
    Border,
}

/// Resampling filter as in Pillow; all but `Nearest` are antialiased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// The mean of the pixels that a new pixel covers.
    Box,
    /// A triangle of radius 1.
    Bilinear,
    /// A sinc in a Hamming window of radius 1.
    Hamming,
    /// Keys' cubic convolution with a = -0.5.
    Bicubic,
    /// A sinc in a Lanczos window of radius 3.
    Lanczos,
}

impl Interpolation {
    /// The name in timm and Pillow.
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
