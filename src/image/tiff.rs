//! The first page of a TIFF.
//!
//! Read without the `image` crate's wrapper, because that converts CMYK in its own way and does
//! not read grey of 2 or 4 bits. Palettes, floats, samples of other widths and bytes with their bits
//! in reverse order are refused.

use std::io::Cursor;

use ::image::RgbImage;
use ::image::metadata::Orientation;
use ::tiff::ColorType;
use ::tiff::decoder::{Decoder, DecodingResult, Limits};
use ::tiff::tags::Tag;

use super::decode::{
    DecodeOptions, clip, cmyk_to_rgb, first_three, from_pixels, grey, high, oriented,
};
use super::error::ImageError;

const FORMAT: &str = "TIFF";

/// `ExtraSamples` of an alpha channel that the colours are already multiplied with.
const ASSOCIATED_ALPHA: u16 = 1;

/// `FillOrder` of bytes whose lowest bit comes first.
const LOWEST_BIT_FIRST: u16 = 2;

/// `PhotometricInterpretation` of grey where the largest value is black.
const WHITE_IS_ZERO: u16 = 0;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let broken = |error: ::tiff::TiffError| ImageError::decode(FORMAT, error);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(options.max_bytes()).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    let mut decoder = Decoder::new(Cursor::new(bytes))
        .map_err(broken)?
        .with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(broken)?;
    options.check_size(FORMAT, width, height)?;

    let colour = decoder.colortype().map_err(broken)?;
    let (channels, bits) = match colour {
        ColorType::Gray(bits @ (1 | 2 | 4 | 8 | 16)) => (1, bits),
        ColorType::GrayA(8)
        | ColorType::Multiband {
            bit_depth: 8,
            num_samples: 2,
        } => (2, 8),
        ColorType::RGB(bits @ (8 | 16)) => (3, bits),
        ColorType::RGBA(bits @ (8 | 16)) | ColorType::CMYK(bits @ (8 | 16)) => (4, bits),
        _ => {
            let reason = format!("samples of the kind {colour:?} are not supported");
            return Err(ImageError::decode(FORMAT, reason));
        }
    };
    if decoder.find_tag_unsigned(Tag::FillOrder).map_err(broken)? == Some(LOWEST_BIT_FIRST) {
        let reason = "its bytes start with the lowest bit (FillOrder 2), which is not supported";
        return Err(ImageError::decode(FORMAT, reason));
    }
    // The decoder turns white-is-zero round. Pillow does so too, but not with 16 bits: there it
    // shows the values as they are, and knows no file in big-endian order.
    let turned_round = bits == 16
        && decoder
            .find_tag_unsigned(Tag::PhotometricInterpretation)
            .map_err(broken)?
            == Some(WHITE_IS_ZERO);
    if turned_round && bytes.starts_with(b"MM") {
        let reason = "grey of 16 bits in big-endian order where zero is white is not supported";
        return Err(ImageError::decode(FORMAT, reason));
    }
    let orientation = decoder
        .find_tag_unsigned::<u8>(Tag::Orientation)
        .ok()
        .flatten()
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms);
    let extra: Option<Vec<u16>> = decoder
        .find_tag_unsigned_vec(Tag::ExtraSamples)
        .map_err(broken)?;
    let premultiplied = extra.is_some_and(|extra| extra.first() == Some(&ASSOCIATED_ALPHA));

    let mut data = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut data).map_err(broken)?;
    let count = width as usize * height as usize;
    let samples: Vec<u8> = match data {
        DecodingResult::U8(packed) if bits < 8 => unpack(&packed, width as usize, bits),
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) if turned_round => {
            samples.into_iter().map(|s| clip(u16::MAX - s)).collect()
        }
        DecodingResult::U16(samples) if channels == 1 => samples.into_iter().map(clip).collect(),
        DecodingResult::U16(samples) => samples.into_iter().map(high).collect(),
        _ => {
            let reason = "only unsigned integer samples are supported";
            return Err(ImageError::decode(FORMAT, reason));
        }
    };
    if samples.len() != count * channels {
        let expected = count * channels;
        let reason = format!("{expected} samples expected, found {}", samples.len());
        return Err(ImageError::decode(FORMAT, reason));
    }
    let mut samples = match layout.planes {
        0 | 1 => samples,
        _ => interleave(&samples, count),
    };
    if premultiplied && matches!(channels, 2 | 4) {
        samples.chunks_exact_mut(channels).for_each(unpremultiply);
    }

    let pixels = match colour {
        ColorType::RGB(_) => samples,
        ColorType::RGBA(_) => first_three(&samples, 4),
        ColorType::CMYK(_) => {
            let cmyk = samples.as_chunks::<4>().0;
            cmyk.iter().flat_map(|&cmyk| cmyk_to_rgb(cmyk)).collect()
        }
        _ => grey(samples.into_iter().step_by(channels)),
    };
    Ok(oriented(
        from_pixels(width, height, pixels, FORMAT)?,
        orientation,
    ))
}

/// Grey of 1, 2 or 4 bits, rows padded to whole bytes, scaled to 0..=255.
fn unpack(packed: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let per_byte = 8 / usize::from(bits);
    let largest = (1u16 << bits) as u8 - 1;
    let value = |byte: u8, i: usize| (byte >> (8 - usize::from(bits) * (i + 1))) & largest;
    packed
        .chunks(width.div_ceil(per_byte))
        .flat_map(|row| {
            let values = row
                .iter()
                .flat_map(|&b| (0..per_byte).map(move |i| value(b, i)));
            values.take(width).map(|v| v * (255 / largest))
        })
        .collect()
}

/// Plane after plane to pixel after pixel.
fn interleave(planes: &[u8], count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|i| planes.iter().skip(i).step_by(count))
        .copied()
        .collect()
}

/// Pillow's `RGBa` to `RGBA`: divides the colours by the alpha that stands last.
fn unpremultiply(pixel: &mut [u8]) {
    let Some((&mut alpha, colours)) = pixel.split_last_mut() else {
        return;
    };
    if alpha != 0 && alpha != 255 {
        for colour in colours {
            *colour = (255 * u32::from(*colour) / u32::from(alpha)).min(255) as u8;
        }
    }
}
