//! Images inside a page.

use image::RgbImage;

use crate::eval::page::Thumbnail;
use crate::preprocess::{Interpolation, resize};

/// Longest edge, in pixels.
const LARGEST: u32 = 448;
/// Images with a shorter longest edge are enlarged, so that a map over them is smooth.
const SMALLEST: u32 = 224;

/// A JPEG image of at most 448 pixels an edge.
#[derive(Clone, Debug)]
pub struct EmbeddedImage(Option<Thumbnail>);

impl EmbeddedImage {
    /// The image at the size of a page: large ones are reduced, of small ones the pixels are enlarged.
    pub fn scaled(image: &RgbImage) -> RgbImage {
        let longest = image.width().max(image.height());
        match longest {
            0 => image.clone(),
            1..SMALLEST => {
                let factor = SMALLEST.div_ceil(longest);
                let (width, height) = (image.width() * factor, image.height() * factor);
                resize(image, width, height, Interpolation::Nearest)
            }
            SMALLEST..=LARGEST => image.clone(),
            _ => {
                let scale = f64::from(LARGEST) / f64::from(longest);
                let edge = |edge: u32| ((f64::from(edge) * scale).round() as u32).max(1);
                let (width, height) = (edge(image.width()), edge(image.height()));
                resize(image, width, height, Interpolation::Bicubic)
            }
        }
    }

    /// An image that has the size of a page.
    pub fn of(image: &RgbImage) -> Self {
        Self(Thumbnail::within(image, LARGEST))
    }

    /// What a template shows; `None` for an image without pixels.
    pub(super) fn shown(&self) -> Option<&Thumbnail> {
        self.0.as_ref()
    }
}
