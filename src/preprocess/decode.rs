//! File content to 8-bit RGB, as Pillow's `Image.open(file).convert("RGB")` gives it.
//!
//! * The format is found by content; the first frame of an animation is taken.
//! * Alpha and palette transparency are dropped, not blended. Colour profiles are ignored.
//! * 16 bits a sample: the high byte, but a grey image without alpha is *clipped* at 255, because
//!   Pillow's mode `I;16` converts so ([`DecodeOptions::scale_16bit`] divides by 257 instead).
//! * The size is checked against [`DecodeOptions::max_pixels`] before the pixels are allocated.
//! * A file that ends before its pixels do is an error, also where a decoder would fill in grey. A
//!   JPEG is taken to be whole when it has its end marker.
//!
//! PNG, GIF, BMP, WebP and TIFF (but for JPEG data in a TIFF, which may differ by 1) come out equal
//! to Pillow's pixels; JPEG does with the feature `turbojpeg`. Without it, a JPEG is usually within
//! 4 of 255, below 0.5 in the mean. Where its chroma is stored at half the size, the last column and
//! the last row can differ by about 50 at sharp edges of colour, because the decoder mixes in the
//! chroma that pads the last block; and pictures of a few pixels differ everywhere.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use image::codecs::qoi::QoiDecoder;
use image::{ColorType, ImageDecoder, ImageFormat, RgbImage};

use super::error::ImageError;
use super::turn::Turn;
use super::{bmp, gif, ico, jpeg, kind, orientation, png, pnm, tiff, webp};

/// How [`decode`] and [`open`] treat a file.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// Pictures with more pixels (width times height) are refused by their header.
    pub max_pixels: u64,
    /// Turn the image as its EXIF or XMP orientation says. timm does not, so its accuracies hold
    /// without. (A TIFF is always turned, as Pillow does.)
    pub exif: bool,
    /// Divide 16-bit grey without alpha by 257 instead of clipping it at 255, as Pillow does.
    pub scale_16bit: bool,
    /// Counts the images of which 16-bit grey above 255 was made white.
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
    /// Checks the size of an image and waits until there is memory for it. The turn is held until
    /// the image is decoded.
    pub(super) fn admit(
        &self,
        format: &'static str,
        width: u32,
        height: u32,
    ) -> Result<Turn, ImageError> {
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
        Ok(Turn::take(pixels))
    }

    /// Bytes that a decoder may hold: RGBA at 16 bits, as much again for its own working
    /// memory, and room for metadata.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(16).saturating_add(64 << 20)
    }
}

/// Longer than any picture that the default limit of pixels lets through; a device that never ends
/// is cut off here.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // Only a guess: it spares moving the content as it grows.
    let expected = file.metadata()?.len().min(MAX_FILE_BYTES) as usize;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(expected + 1)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file and decodes it; see [`decode`]. Errors carry the path.
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
/// Returns an error for anything else, for broken or truncated data, and for a picture larger than
/// `options.max_pixels`. A panic inside a decoder is caught and returned as an error as well
/// (the panic hook still sees it).
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let format = kind::sniff(bytes)?;
    let name = name(format);
    // The decoders take data from anywhere and have had panics; nothing they touched is used
    // afterwards.
    catch_unwind(AssertUnwindSafe(|| {
        let image = match format {
            ImageFormat::Jpeg => jpeg::decode(bytes, options),
            ImageFormat::Png => png::decode(bytes, options),
            ImageFormat::Gif => gif::decode(bytes, options),
            ImageFormat::Bmp if ico::is_bitmap(bytes) => ico::decode_bitmap(bytes, false, options),
            ImageFormat::Bmp => bmp::decode(bytes, options),
            ImageFormat::Pnm => pnm::decode(bytes, options),
            ImageFormat::Qoi => qoi(bytes, options),
            ImageFormat::Ico => ico::decode(bytes, options),
            ImageFormat::Tiff => tiff::decode(bytes, options),
            _ => webp::decode(bytes, options),
        }?;
        if options.exif || format == ImageFormat::Tiff {
            Ok(orientation::apply(image, orientation::read(bytes, format)))
        } else {
            Ok(image)
        }
    }))
    .unwrap_or_else(|_| Err(ImageError::decode(name, "the data broke the decoder")))
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

fn qoi(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    const FORMAT: &str = "QOI";
    /// Pixels that a byte can stand for.
    const LONGEST_RUN: u64 = 62;
    let broken = |error| ImageError::decode(FORMAT, error);
    let decoder = QoiDecoder::new(bytes).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let _turn = options.admit(FORMAT, width, height)?;
    if u64::from(width) * u64::from(height) > LONGEST_RUN * bytes.len() as u64 {
        return Err(ImageError::decode(FORMAT, "it is cut off"));
    }
    read_pixels(decoder, FORMAT)
}

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

/// 16-bit grey of one image to 8 bits.
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

    /// As the option says, or as Pillow does with its mode `I;16`.
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

/// Pillow's reading of 16-bit colour: the high byte.
pub(super) fn high(sample: u16) -> u8 {
    (sample >> 8) as u8
}

/// Each grey value three times.
pub(super) fn grey(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; 3]).collect()
}

/// Drops all but the first three of each pixel's samples, in place.
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

/// Pillow's CMYK to RGB, where 0 is no ink: white less black, then less the ink's share of that.
pub(super) fn cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = 255 - k;
    [c, m, y].map(|ink| {
        // ink * white / 255, rounded, without a division.
        let product = u32::from(ink) * u32::from(white) + 128;
        white - (((product >> 8) + product) >> 8) as u8
    })
}

/// A picture of decoded bytes; a decoder that returns another count is an error.
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
