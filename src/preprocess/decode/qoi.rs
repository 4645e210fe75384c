//! QOI, with a check of the announced size against the length of the file.

use image::codecs::qoi::QoiDecoder;
use image::{ImageDecoder, RgbImage};

use super::DecodeOptions;
use super::pixels::read_pixels;
use crate::preprocess::error::ImageError;

const FORMAT: &str = "QOI";

/// Pixels that one byte can stand for.
const LONGEST_RUN: u64 = 62;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let broken = |error| ImageError::decode(FORMAT, error);
    let decoder = QoiDecoder::new(bytes).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let _permit = options.reserve(FORMAT, width, height)?;
    if u64::from(width) * u64::from(height) > LONGEST_RUN * bytes.len() as u64 {
        return Err(ImageError::decode(FORMAT, "it is truncated"));
    }
    read_pixels(decoder, FORMAT)
}
