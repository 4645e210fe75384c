//! From the samples that a decoder returns to 8-bit RGB, as Pillow converts them.

use std::sync::atomic::Ordering;

use image::{ColorType, ImageDecoder, RgbImage};

use super::DecodeOptions;
use crate::preprocess::error::ImageError;

/// Runs a decoder whose size has been checked.
pub(super) fn read_pixels(
    decoder: impl ImageDecoder,
    format: &'static str,
) -> Result<RgbImage, ImageError> {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let length = usize::try_from(decoder.total_bytes())
        .map_err(|_| ImageError::decode(format, "its pixels do not fit into memory"))?;
    let mut samples = vec![0; length];
    decoder
        .read_image(&mut samples)
        .map_err(|error| ImageError::decode(format, error))?;
    let pixels = match color {
        ColorType::Rgb8 => samples,
        ColorType::L8 => grey(samples.iter().copied()),
        ColorType::La8 => grey(samples.as_chunks::<2>().0.iter().map(|la| la[0])),
        ColorType::Rgba8 => first_three(samples, 4),
        _ => {
            let reason = format!("samples of the kind {color:?} are not supported");
            return Err(ImageError::decode(format, reason));
        }
    };
    from_pixels(width, height, pixels, format)
}

/// Converts the 16-bit grey samples of one image to 8 bits.
pub(super) struct WideGrey {
    is_scaled: bool,
    largest: u16,
}

impl WideGrey {
    pub(super) fn new(options: &DecodeOptions) -> Self {
        Self {
            is_scaled: options.scale_16bit,
            largest: 0,
        }
    }

    /// Divides by 257 if the option says so; otherwise clips, as Pillow does in its mode `I;16`.
    pub(super) fn narrow(&mut self, sample: u16) -> u8 {
        self.largest = self.largest.max(sample);
        if self.is_scaled {
            (sample / 257) as u8
        } else {
            sample.min(255) as u8
        }
    }

    /// Counts the image if samples of it were clipped.
    pub(super) fn count(&self, options: &DecodeOptions) {
        if !self.is_scaled
            && self.largest > 255
            && let Some(clipped) = options.clipped
        {
            clipped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The high byte, which is how Pillow reads 16-bit colour.
pub(super) fn high(sample: u16) -> u8 {
    (sample >> 8) as u8
}

/// Repeats each grey value three times.
pub(super) fn grey(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; 3]).collect()
}

/// Keeps the first three samples of each pixel, in place.
pub(super) fn first_three(mut samples: Vec<u8>, channels: usize) -> Vec<u8> {
    let count = samples.len() / channels;
    for i in 0..count {
        for c in 0..3 {
            samples[i * 3 + c] = samples[i * channels + c];
        }
    }
    samples.truncate(count * 3);
    samples.shrink_to_fit();
    samples
}

/// Pillow's conversion from CMYK to RGB, where 0 is no ink: white minus black, minus that times the ink.
pub(super) fn cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = 255 - k;
    [c, m, y].map(|ink| {
        // ink * white / 255, rounded, without a division.
        let product = u32::from(ink) * u32::from(white) + 128;
        white - (((product >> 8) + product) >> 8) as u8
    })
}

/// An image from decoded bytes. It is an error if the decoder returned too few or too many.
pub(super) fn from_pixels(
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    format: &'static str,
) -> Result<RgbImage, ImageError> {
    let found = pixels.len();
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| {
        let reason = format!("{width} x {height} pixels expected, found {found} bytes");
        ImageError::decode(format, reason)
    })
}
