//! From the content of a file to 8-bit RGB, equal to Pillow's `Image.open(file).convert("RGB")`.
//!
//! * The format is recognised by content; of an animation, the first frame is decoded.
//! * Alpha and palette transparency are dropped, not blended. Colour profiles are ignored.
//! * Of 16-bit samples, the high byte is kept. Grey images without alpha are *clipped* at 255 instead, as
//!   Pillow's mode `I;16` does ([`DecodeOptions::scale_16bit`] divides by 257).
//! * The size is checked against [`DecodeOptions::max_pixels`] before the pixels are allocated.
//! * A truncated file is an error, even where a decoder would fill in grey. A JPEG counts as complete
//!   if it has its end marker.
//!
//! PNG, GIF, BMP, WebP and TIFF give exactly Pillow's pixels (JPEG data in a TIFF may differ by 1).
//! JPEG does so with the feature `turbojpeg`. Without it, pixels usually differ by at most 4 of 255, on
//! average by less than 0.5. Where chroma is stored at half the size, the last column and row can
//! differ by about 50 at sharp edges of colour, because the decoder mixes in the chroma that pads the
//! last block, and images of a few pixels differ everywhere.

mod bmp;
mod directory;
mod gif;
mod ico;
mod jpeg;
mod kind;
mod orientation;
mod permit;
mod pixels;
mod png;
mod pnm;
mod qoi;
mod tiff;
mod webp;

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use image::{ImageFormat, RgbImage};

pub(super) use kind::conversion_command;
pub(crate) use kind::{Look, START, is_image_name, look};
use permit::Permit;

use super::error::ImageError;

/// How [`decode`] and [`open`] treat a file.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// Images with more pixels (width times height) are refused before they are decoded.
    pub max_pixels: u64,
    /// Rotate or mirror the image as its EXIF or XMP orientation says. timm does not, so the published
    /// accuracies hold without it. (TIFF files are always rotated, as Pillow does.)
    pub exif: bool,
    /// Divide 16-bit grey without alpha by 257. If false, it is clipped at 255, as Pillow does.
    pub scale_16bit: bool,
    /// Counts the images in which 16-bit grey above 255 was clipped to white. Added to with `Relaxed`: it says
    /// how many, once the threads that decode have been waited for, and nothing about anything else.
    pub clipped: Option<&'static AtomicU64>,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            exif: false,
            scale_16bit: false,
            clipped: None,
        }
    }
}

impl DecodeOptions {
    /// Checks the size of an image and waits until there is memory for it. The permit is held until
    /// the image is decoded.
    fn reserve(&self, format: &'static str, width: u32, height: u32) -> Result<Permit, ImageError> {
        if width == 0 || height == 0 {
            let reason = format!("its size is {width} x {height}");
            return Err(ImageError::decode(format, reason));
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            return Err(ImageError::TooLarge {
                format,
                width,
                height,
                limit: self.max_pixels,
            });
        }
        Ok(Permit::wait(pixels))
    }

    /// Bytes that a decoder may allocate: RGBA at 16 bits, as much again for its own working
    /// memory, and room for metadata.
    fn max_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(16).saturating_add(64 << 20)
    }
}

/// Longest file that is read, in bytes: more than any image within the default limit of pixels. It
/// stops at devices that never end.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // A hint that saves reallocations while the content is read.
    let expected = file.metadata()?.len().min(MAX_FILE_BYTES) as usize;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(expected + 1)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file and decodes it; see [`decode`].
///
/// # Errors
/// As [`decode`], with the path of the file.
pub fn open(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let path = path.as_ref();
    let bytes = read(path).map_err(|error| ImageError::Read {
        path: path.to_owned(),
        error,
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ImageError::FileTooLong {
            limit: MAX_FILE_BYTES,
        }
        .in_file(path));
    }
    decode(&bytes, options).map_err(|error| error.in_file(path))
}

/// Decodes the content of a JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, QOI or ICO file.
///
/// # Errors
/// For any other content, for damaged or truncated data, and for images of more than
/// `options.max_pixels`. A panic inside a decoder is caught and returned as an error, too (the panic
/// hook still sees it).
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let format = kind::sniff(bytes)?;
    let name = name(format);
    // Decoders have been known to panic on hostile data. Nothing they touched is used afterwards.
    catch_unwind(AssertUnwindSafe(|| {
        let image = match format {
            ImageFormat::Jpeg => jpeg::decode(bytes, options),
            ImageFormat::Png => png::decode(bytes, options),
            ImageFormat::Gif => gif::decode(bytes, options),
            ImageFormat::Bmp if ico::is_bitmap(bytes) => ico::decode_bitmap(bytes, false, options),
            ImageFormat::Bmp => bmp::decode(bytes, options),
            ImageFormat::Pnm => pnm::decode(bytes, options),
            ImageFormat::Qoi => qoi::decode(bytes, options),
            ImageFormat::Ico => ico::decode(bytes, options),
            ImageFormat::Tiff => tiff::decode(bytes, options),
            ImageFormat::WebP => webp::decode(bytes, options),
            _ => Err(ImageError::decode(name, "no decoder for this format")),
        }?;
        if options.exif || format == ImageFormat::Tiff {
            Ok(orientation::apply(image, orientation::read(bytes, format)))
        } else {
            Ok(image)
        }
    }))
    .unwrap_or_else(|_| {
        let reason = "the decoder panicked on this file (please report it)";
        Err(ImageError::decode(name, reason))
    })
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Qoi => "QOI",
        ImageFormat::Ico => "ICO",
        _ => "other",
    }
}
