//! JPEG: a check that the file is whole, then one of two decoders.
//!
//! Without the feature `turbojpeg` the decoder is pure Rust. It enlarges chroma with the same filter
//! as libjpeg, but rounds twice, and filters across the whole last block where libjpeg stops at the
//! edge of the picture; it has no option for that. With the feature it is libjpeg-turbo at its
//! default settings, which is what Pillow uses, and the pixels are equal.

use ::image::RgbImage;
use ::image::metadata::Orientation;

use super::decode::{DecodeOptions, oriented};
use super::error::ImageError;

pub(super) const FORMAT: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let exif = scan(bytes)
        .ok_or_else(|| ImageError::decode(FORMAT, "the file ends before the end of the picture"))?;
    let picture = backend::decode(bytes, options)?;
    let orientation = exif
        .filter(|_| options.exif)
        .and_then(Orientation::from_exif_chunk)
        .unwrap_or(Orientation::NoTransforms);
    Ok(oriented(picture, orientation))
}

/// Walks over the markers. `None` if the file ends before its end-of-image marker: decoders fill
/// the missing part with grey, Pillow refuses the file, and so does this crate. Otherwise the EXIF
/// block, if there is one.
fn scan(bytes: &[u8]) -> Option<Option<&[u8]>> {
    const END_OF_IMAGE: u8 = 0xD9;
    const APP1: u8 = 0xE1;
    let mut exif = None;
    let mut rest = bytes.get(2..)?;
    loop {
        // Between segments decoders skip whatever is no marker.
        let start = rest.iter().position(|&byte| byte == 0xFF)?;
        rest = &rest[start..];
        let skip = rest.iter().position(|&byte| byte != 0xFF)?;
        let marker = rest[skip];
        rest = &rest[skip + 1..];
        match marker {
            END_OF_IMAGE => return Some(exif),
            // A stuffed zero, TEM, restart markers and a second start of image have no length.
            0x00 | 0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let segment = rest.get(2..length.max(2))?;
        if marker == APP1 && exif.is_none() {
            exif = segment.strip_prefix(b"Exif\0\0");
        }
        // What follows the header of a scan is compressed data, where a 0xFF is followed by a zero.
        rest = &rest[length.max(2)..];
    }
}

#[cfg(not(feature = "turbojpeg"))]
mod backend {
    use std::io::Cursor;

    use ::image::codecs::jpeg::JpegDecoder;
    use ::image::{ImageDecoder, RgbImage};

    use super::{DecodeOptions, FORMAT, ImageError};
    use crate::image::decode::read_pixels;

    pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
        let decoder = JpegDecoder::new(Cursor::new(bytes))
            .map_err(|error| ImageError::decode(FORMAT, error))?;
        let (width, height) = decoder.dimensions();
        options.check_size(FORMAT, width, height)?;
        read_pixels(decoder, false, FORMAT)
    }
}

#[cfg(feature = "turbojpeg")]
mod backend {
    use ::image::RgbImage;
    use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

    use super::{DecodeOptions, FORMAT, ImageError};
    use crate::image::decode::{cmyk_to_rgb, from_pixels};

    /// How libjpeg's messages start when it went on and completed the picture. The crate returns
    /// them as errors; Pillow takes the picture, and so does this crate.
    const WARNINGS: [&str; 6] = [
        "Corrupt JPEG data",
        "Inconsistent progression sequence",
        "Invalid SOS parameters",
        "Premature end of JPEG file",
        "Unknown Adobe color transform",
        "Warning: ",
    ];

    pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
        let broken = |error| ImageError::decode(FORMAT, error);
        let mut decompressor = Decompressor::new().map_err(broken)?;
        let header = decompressor.read_header(bytes).map_err(broken)?;
        // A JPEG's edges are 16-bit numbers.
        let (width, height) = (header.width as u32, header.height as u32);
        options.check_size(FORMAT, width, height)?;
        let four_inks = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
        let format = if four_inks {
            PixelFormat::CMYK
        } else {
            PixelFormat::RGB
        };
        let pitch = header.width * format.size();
        let mut picture = Image {
            pixels: vec![0; pitch * header.height],
            width: header.width,
            pitch,
            height: header.height,
            format,
        };
        match decompressor.decompress(bytes, picture.as_deref_mut()) {
            Err(error)
                if !WARNINGS
                    .iter()
                    .any(|start| error.to_string().starts_with(start)) =>
            {
                return Err(broken(error));
            }
            _ => {}
        }
        let pixels = if four_inks {
            // Pillow takes all CMYK files to be Adobe's, which store the inks inverted.
            let inks = picture.pixels.as_chunks::<4>().0;
            inks.iter()
                .flat_map(|cmyk| cmyk_to_rgb(cmyk.map(|ink| 255 - ink)))
                .collect()
        } else {
            picture.pixels
        };
        from_pixels(width, height, pixels, FORMAT)
    }
}
