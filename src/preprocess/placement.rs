//! Where the network's input lies in the image it was made from.

use std::ops::Range;

use super::transform::Crop;

/// The resize and crop of one image as a map between coordinates. Coordinates are pixels from the top and
/// the left edge, `[y, x]`: the first pixel reaches from 0 to 1, its centre is 0.5. The image is as it was decoded, so
/// after its EXIF orientation, if that is applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Height and width of the image.
    image: [usize; 2],
    /// Height and width of the input.
    input: [usize; 2],
    /// Pixels of the image for one of the input.
    scale: [f64; 2],
    /// The image's coordinates of the input's corner; negative where the input begins with padding.
    corner: [f64; 2],
}

impl Placement {
    pub(super) fn new(image: [usize; 2], resized: [usize; 2], input: [usize; 2]) -> Self {
        let scale = [0, 1].map(|axis| image[axis] as f64 / resized[axis].max(1) as f64);
        let corner = [0, 1].map(|axis| {
            let crop = Crop::new(resized[axis], input[axis]);
            (crop.start as f64 - crop.before as f64) * scale[axis]
        });
        Self {
            image,
            input,
            scale,
            corner,
        }
    }

    /// Height and width of the image.
    pub fn image(&self) -> [usize; 2] {
        self.image
    }

    /// Pixels of the image for one of the input, down and across.
    pub fn scale(&self) -> [f64; 2] {
        self.scale
    }

    /// The place in the image of a place in the input. It may lie outside, in the padding.
    pub fn in_image(&self, input: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|axis| self.corner[axis] + self.scale[axis] * input[axis])
    }

    /// The place in the input of a place in the image. It may lie outside, where the image was cropped.
    pub fn in_input(&self, image: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|axis| (image[axis] - self.corner[axis]) / self.scale[axis])
    }

    /// The part of the image that the network sees: rows and columns.
    pub fn crop(&self) -> [Range<f64>; 2] {
        [0, 1].map(|axis| {
            let end = self.corner[axis] + self.scale[axis] * self.input[axis] as f64;
            self.corner[axis].max(0.0)..end.min(self.image[axis] as f64)
        })
    }
}
