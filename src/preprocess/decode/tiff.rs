//! The first page of a TIFF.
//!
//! The `image` crate's wrapper is not used because it converts CMYK differently and does not read
//! grey of 2 or 4 bits. Palettes and YCbCr, which the decoder refuses or does not convert, are read as
//! grey and RGB and converted here. Files that Pillow misreads are refused.

use std::borrow::Cow;
use std::io::Cursor;

use ::tiff::decoder::{Decoder, DecodingResult, Limits};
use ::tiff::tags::Tag;
use ::tiff::{ColorType, TiffError};
use image::RgbImage;

use super::DecodeOptions;
use super::directory::{Directory, Value};
use super::pixels::{WideGrey, cmyk_to_rgb, first_three, from_pixels, grey, high};
use crate::preprocess::error::ImageError;

const FORMAT: &str = "TIFF";

/// `ExtraSamples` of an alpha channel by which the colours are already multiplied.
const ASSOCIATED_ALPHA: u16 = 1;

/// `FillOrder` of bytes with the lowest bit first.
const LOWEST_BIT_FIRST: u16 = 2;

/// Tags that must be numbers: the size, and how and where samples are stored.
const NUMBERS: [u16; 14] = [
    256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 323, 324, 325,
];

/// The tag `PhotometricInterpretation` and its values; in `WHITE_IS_ZERO` the largest sample is black.
const PHOTOMETRIC: u16 = 262;
const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const YCBCR: u16 = 6;

/// Values of `Compression`.
const UNCOMPRESSED: u16 = 1;
const JPEG: u16 = 7;

/// `PlanarConfiguration` of samples stored plane by plane.
const PLANAR: u16 = 2;

/// Conversions to RGB that the decoder does not do.
#[derive(Clone, Copy, PartialEq)]
enum Conversion {
    None,
    Palette,
    /// Pillow's own conversion, which it uses for uncompressed data.
    PillowYcbcr,
    /// The conversion of libtiff and libjpeg.
    Ycbcr,
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let directory = Directory::open(bytes)
        .ok_or_else(|| ImageError::decode(FORMAT, "its header is invalid"))?;
    if let Some(tag) = directory.repeated() {
        return Err(unsupported(format_args!("a file with tag {tag} twice")));
    }
    for tag in NUMBERS {
        if let Some(value) = directory.find(tag)
            && directory.number(&value).is_none()
        {
            return Err(unsupported(format_args!("tag {tag} that is not a number")));
        }
    }
    let (bytes, conversion) = prepared(bytes, &directory)?;
    let bytes = &bytes[..];
    let broken = |error| match error {
        TiffError::UnsupportedError(error) => {
            let reason = format!("{error}; convert the file to PNG");
            ImageError::decode(FORMAT, reason)
        }
        error => ImageError::decode(FORMAT, error),
    };
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(options.max_bytes()).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    let mut decoder = Decoder::new(Cursor::new(bytes))
        .map_err(broken)?
        .with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(broken)?;
    let _permit = options.reserve(FORMAT, width, height)?;

    let colour = decoder.colortype().map_err(broken)?;
    let (channels, bits) = match colour {
        ColorType::Gray(bits @ (1 | 2 | 4 | 8 | 16 | 32)) => (1, bits),
        ColorType::GrayA(8)
        | ColorType::Multiband {
            bit_depth: 8,
            num_samples: 2,
        } => (2, 8),
        ColorType::RGB(bits @ (8 | 16)) => (3, bits),
        ColorType::YCbCr(8) => (3, 8),
        ColorType::RGBA(bits @ (8 | 16)) | ColorType::CMYK(bits @ (8 | 16)) => (4, bits),
        _ => return Err(unsupported(format_args!("samples of the kind {colour:?}"))),
    };
    let compression = decoder
        .find_tag_unsigned(Tag::Compression)
        .map_err(broken)?;
    if channels == 2 && compression == Some(JPEG) {
        return Err(unsupported("grey with alpha, compressed as JPEG,"));
    }
    if conversion == Conversion::Palette && bits > 8 {
        return Err(unsupported(format_args!("a palette of {bits} bits")));
    }
    if decoder.find_tag_unsigned(Tag::FillOrder).map_err(broken)? == Some(LOWEST_BIT_FIRST) {
        return Err(unsupported("FillOrder 2 (lowest bit first)"));
    }
    // The decoder inverts white-is-zero. So does Pillow, except for 16 bits: there it keeps the
    // values as they are, and it does not read big-endian files.
    let inverted = bits == 16
        && decoder
            .find_tag_unsigned(Tag::PhotometricInterpretation)
            .map_err(broken)?
            == Some(WHITE_IS_ZERO);
    if inverted && bytes.starts_with(b"MM") {
        return Err(unsupported(
            "16-bit grey in big-endian order where zero is white",
        ));
    }
    let extra: Option<Vec<u16>> = decoder
        .find_tag_unsigned_vec(Tag::ExtraSamples)
        .map_err(broken)?;
    let premultiplied = extra.is_some_and(|extra| extra.first() == Some(&ASSOCIATED_ALPHA));

    let is_planar = channels > 1
        && decoder
            .find_tag_unsigned(Tag::PlanarConfiguration)
            .map_err(broken)?
            == Some(PLANAR);
    let (planes, in_chunk) = if is_planar {
        (channels, 1)
    } else {
        (1, channels)
    };
    let (chunk_width, chunk_height) = decoder.chunk_dimensions();
    let across = width.div_ceil(chunk_width.max(1));
    let in_plane = across * height.div_ceil(chunk_height.max(1));
    let row_length = width as usize * channels;
    let mut samples = vec![0; row_length * height as usize];
    let mut narrow = Narrow {
        wide_grey: WideGrey::new(options),
        is_grey: channels == 1,
        bits,
        is_inverted: inverted,
        is_scaled: conversion != Conversion::Palette,
        is_little_endian: bytes.starts_with(b"II"),
    };
    for chunk in 0..in_plane * planes as u32 {
        let (plane, place) = ((chunk / in_plane) as usize, chunk % in_plane);
        let left = (place % across * chunk_width) as usize;
        let top = (place / across * chunk_height) as usize;
        let size = decoder.chunk_data_dimensions(chunk);
        let data = decoder.read_chunk(chunk).map_err(broken)?;
        let data = narrow.chunk(data, size.0 as usize)?;
        let length = size.0 as usize * in_chunk;
        if data.len() != length * size.1 as usize {
            let expected = length * size.1 as usize;
            let reason = format!("{expected} samples expected, found {}", data.len());
            return Err(ImageError::decode(FORMAT, reason));
        }
        let rows = samples.chunks_exact_mut(row_length).skip(top);
        for (row, data) in rows.zip(data.chunks_exact(length)) {
            let row = &mut row[left * channels..];
            if is_planar {
                let places = row.iter_mut().skip(plane).step_by(channels);
                places
                    .zip(data)
                    .for_each(|(place, sample)| *place = *sample);
            } else {
                row[..length].copy_from_slice(data);
            }
        }
    }
    if premultiplied && matches!(channels, 2 | 4) {
        samples.chunks_exact_mut(channels).for_each(unpremultiply);
    }

    let pixels = match colour {
        _ if conversion == Conversion::Palette => {
            let palette = palette(&mut decoder).map_err(broken)?;
            let indices = samples.into_iter().step_by(channels);
            indices.flat_map(|i| palette[usize::from(i)]).collect()
        }
        _ if matches!(conversion, Conversion::PillowYcbcr | Conversion::Ycbcr) => {
            let convert = match conversion {
                Conversion::Ycbcr => ycbcr_to_rgb,
                _ => pillow_ycbcr_to_rgb,
            };
            for pixel in samples.as_chunks_mut::<3>().0 {
                *pixel = convert(*pixel);
            }
            samples
        }
        ColorType::RGB(_) => samples,
        ColorType::RGBA(_) => first_three(samples, 4),
        ColorType::CMYK(_) => {
            let cmyk = samples.as_chunks::<4>().0;
            cmyk.iter().flat_map(|&cmyk| cmyk_to_rgb(cmyk)).collect()
        }
        _ => grey(samples.into_iter().step_by(channels)),
    };
    narrow.wide_grey.count(options);
    from_pixels(width, height, pixels, FORMAT)
}

/// The file with its samples declared as a kind that the decoder reads, and how to convert them.
fn prepared<'a>(
    bytes: &'a [u8],
    directory: &Directory<'_>,
) -> Result<(Cow<'a, [u8]>, Conversion), ImageError> {
    const BITS: u16 = 258;
    const COMPRESSION: u16 = 259;
    let number = |tag| {
        let value = directory.find(tag)?;
        directory.number(&value).map(|number| number as u16)
    };
    let compression = number(COMPRESSION).unwrap_or(UNCOMPRESSED);
    let Some(place) = directory.find(PHOTOMETRIC) else {
        return Ok((bytes.into(), Conversion::None));
    };
    let (photometric, conversion) = match number(PHOTOMETRIC) {
        Some(PALETTE) => (BLACK_IS_ZERO, Conversion::Palette),
        // The decoder has undone the subsampling of JPEG data.
        Some(YCBCR) if compression == JPEG => return Ok((bytes.into(), Conversion::Ycbcr)),
        Some(YCBCR) if compression == UNCOMPRESSED => (RGB, Conversion::PillowYcbcr),
        Some(YCBCR) => {
            check_ycbcr(directory)?;
            (RGB, Conversion::Ycbcr)
        }
        // Pillow does not invert these.
        Some(WHITE_IS_ZERO) if number(BITS) == Some(32) => (BLACK_IS_ZERO, Conversion::None),
        Some(8..=10) => return Err(unsupported("the colour space LAB")),
        _ => return Ok((bytes.into(), Conversion::None)),
    };
    let mut bytes = bytes.to_vec();
    let value = match bytes.starts_with(b"MM") {
        true => photometric.to_be_bytes(),
        false => photometric.to_le_bytes(),
    };
    match bytes.get_mut(place.range) {
        // It should be a 16-bit number.
        Some(place) if place.len() == 2 => place.copy_from_slice(&value),
        _ => return Err(unsupported("PhotometricInterpretation of this type")),
    }
    Ok((bytes.into(), conversion))
}

/// Compressed YCbCr is only supported without subsampling and with JPEG's coefficients.
fn check_ycbcr(directory: &Directory<'_>) -> Result<(), ImageError> {
    const COEFFICIENTS: u16 = 529;
    const SUBSAMPLING: u16 = 530;
    const REFERENCE: u16 = 532;
    let numbers = |tag| {
        let value: Value = directory.find(tag)?;
        Some(directory.numbers(&value).collect::<Vec<_>>())
    };
    let is_near = |found: Vec<f64>, usual: &[f64]| {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-3;
        found.len() == usual.len() && found.iter().zip(usual).all(near)
    };
    let is_usual = |tag, usual| numbers(tag).is_none_or(|found| is_near(found, usual));
    if numbers(SUBSAMPLING).is_none_or(|found| found != [1.0, 1.0]) {
        return Err(unsupported("compressed YCbCr with subsampled chroma"));
    }
    if !is_usual(COEFFICIENTS, &[0.299, 0.587, 0.114])
        || !is_usual(REFERENCE, &[0.0, 255.0, 128.0, 255.0, 128.0, 255.0])
    {
        return Err(unsupported("YCbCr with unusual coefficients"));
    }
    Ok(())
}

fn unsupported(what: impl std::fmt::Display) -> ImageError {
    let reason = format!("{what} is not supported; convert the file to PNG");
    ImageError::decode(FORMAT, reason)
}

/// The high bytes of the colour map, which has all reds, then all greens, then all blues.
fn palette(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<[[u8; 3]; 256], TiffError> {
    let map = decoder.get_tag_u16_vec(Tag::ColorMap)?;
    let count = map.len() / 3;
    let mut palette = [[0; 3]; 256];
    for (i, color) in palette.iter_mut().enumerate().take(count) {
        *color = [0, 1, 2].map(|plane| high(map[plane * count + i]));
    }
    Ok(palette)
}

/// As libjpeg and libtiff compute it, in fixed point with 16 fraction bits.
fn ycbcr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let parts = [91_881 * cr, -22_554 * cb - 46_802 * cr, 116_130 * cb];
    parts.map(|part| (i32::from(y) + ((part + (1 << 15)) >> 16)).clamp(0, 255) as u8)
}

/// As Pillow computes it, in fixed point with 6 fraction bits, each term rounded by itself.
fn pillow_ycbcr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (cb, cr) = (f64::from(cb) - 128.0, f64::from(cr) - 128.0);
    let fixed = |value: f64| (value * 64.0 + 0.5) as i32;
    let green = fixed(-0.34414 * cb) + fixed(-0.71414 * cr);
    let parts = [fixed(1.402 * cr), green, fixed(1.772 * cb)];
    parts.map(|part| (i32::from(y) + (part >> 6)).clamp(0, 255) as u8)
}

/// Converts the samples of a chunk to bytes.
struct Narrow {
    wide_grey: WideGrey,
    is_grey: bool,
    bits: u8,
    /// The decoder inverted 16-bit grey, which Pillow does not.
    is_inverted: bool,
    /// Samples of fewer than 8 bits are scaled to 0 to 255.
    is_scaled: bool,
    is_little_endian: bool,
}

impl Narrow {
    fn chunk(&mut self, data: DecodingResult, width: usize) -> Result<Vec<u8>, ImageError> {
        let wide_grey = &mut self.wide_grey;
        Ok(match data {
            DecodingResult::U8(packed) if self.bits < 8 => {
                let largest = ((1u16 << self.bits) - 1) as u8;
                let factor = if self.is_scaled { 255 / largest } else { 1 };
                unpack(&packed, width, self.bits, factor)
            }
            DecodingResult::U8(samples) => samples,
            DecodingResult::U16(samples) if self.is_grey => {
                let mask = if self.is_inverted { u16::MAX } else { 0 };
                let samples = samples.into_iter();
                samples.map(|s| wide_grey.narrow(s ^ mask)).collect()
            }
            DecodingResult::U16(samples) => samples.into_iter().map(high).collect(),
            // Other types of grey are clipped to 0 to 255. Pillow reads bytes as unsigned.
            DecodingResult::I8(samples) if self.is_grey => {
                samples.into_iter().map(|s| s as u8).collect()
            }
            DecodingResult::I16(samples) if self.is_grey => {
                samples.into_iter().map(|s| s.clamp(0, 255) as u8).collect()
            }
            DecodingResult::I32(samples) if self.is_grey => {
                samples.into_iter().map(|s| s.clamp(0, 255) as u8).collect()
            }
            // Pillow reads these as signed.
            DecodingResult::U32(samples) if self.is_grey && self.is_little_endian => {
                let samples = samples.into_iter().map(|s| s as i32);
                samples.map(|s| s.clamp(0, 255) as u8).collect()
            }
            // The cast clips as Pillow does, and turns NaN into 0.
            DecodingResult::F32(samples) if self.is_grey => {
                samples.into_iter().map(|s| s as u8).collect()
            }
            _ => {
                let what = "samples of this type and size, or in this byte order";
                return Err(unsupported(what));
            }
        })
    }
}

/// Unpacks samples of 1, 2 or 4 bits from rows padded to whole bytes, and multiplies them by a factor.
fn unpack(packed: &[u8], width: usize, bits: u8, factor: u8) -> Vec<u8> {
    let per_byte = 8 / usize::from(bits);
    let largest = (1u16 << bits) as u8 - 1;
    let value = |byte: u8, i: usize| (byte >> (8 - usize::from(bits) * (i + 1))) & largest;
    packed
        .chunks(width.div_ceil(per_byte))
        .flat_map(|row| {
            let values = row
                .iter()
                .flat_map(|&b| (0..per_byte).map(move |i| value(b, i)));
            values.take(width).map(move |v| v * factor)
        })
        .collect()
}

/// Pillow's `RGBa` to `RGBA`: divides the colours by alpha, the last sample.
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
