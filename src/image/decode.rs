//! File content to 8-bit RGB, as Pillow's `Image.open(file).convert("RGB")` gives it.
//!
//! * The format is found by content; the first frame of an animation is taken.
//! * Alpha and palette transparency are dropped, not blended. Colour profiles are ignored.
//! * 16 bits a sample: the high byte, but a grey picture without alpha is *clipped* at 255,
//!   because Pillow's mode `I;16` converts so.
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
use std::io::Cursor;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::image::metadata::Orientation;
use ::image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::error::{Content, ImageError};
use super::{bmp, gif, jpeg, tiff};

/// Files in a folder are pictures if their name ends so; a file that is named is one whatever its name.
const EXTENSIONS: [&str; 10] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff",
];

/// Whether a file found in a folder is taken for a picture: by the end of its name, in any case.
/// What macOS puts beside a file on foreign disks and in archives begins with `._`.
pub fn is_picture_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    if name.as_encoded_bytes().starts_with(b"._") {
        return false;
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| {
        EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(found))
    })
}

/// How [`decode`] and [`open`] treat a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Pictures with more pixels (width times height) are refused by their header.
    pub max_pixels: u64,
    /// Turn the picture as its EXIF orientation says. timm does not, so its accuracies hold
    /// without. (A TIFF is always turned as its own orientation tag says, as Pillow does.)
    pub exif: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            exif: false,
        }
    }
}

impl DecodeOptions {
    pub(super) fn check_size(
        &self,
        format: &'static str,
        width: u32,
        height: u32,
    ) -> Result<(), ImageError> {
        if width == 0 || height == 0 {
            let reason = format!("its size is {width} x {height}");
            return Err(ImageError::decode(format, reason));
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageError::TooLarge {
                format,
                width,
                height,
                limit: self.max_pixels,
            });
        }
        Ok(())
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
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file and decodes it; see [`decode`]. Errors carry the path.
pub fn open(path: &Path, options: &DecodeOptions) -> Result<RgbImage, ImageError> {
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

/// Decodes the content of a JPEG, PNG, WebP, GIF, BMP or TIFF file.
///
/// Returns an error for anything else, for broken or truncated data, and for a picture larger than
/// `options.max_pixels`. A panic inside a decoder is caught and returned as an error as well
/// (the panic hook still sees it).
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let format = sniff(bytes)?;
    let name = name(format);
    // The decoders take data from anywhere and have had panics; nothing they touched is used
    // afterwards.
    catch_unwind(AssertUnwindSafe(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, options),
        ImageFormat::Gif => gif::decode(bytes, options),
        ImageFormat::Bmp => bmp::decode(bytes, options),
        ImageFormat::Tiff => tiff::decode(bytes, options),
        _ => decode_with_image(bytes, format, options),
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
        _ => "other",
    }
}

fn sniff(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    let found = match ::image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Gif
            | ImageFormat::Bmp
            | ImageFormat::Tiff),
        ) => return Ok(format),
        Ok(ImageFormat::Avif) => Content::OtherPicture("AVIF"),
        _ => content(bytes),
    };
    Err(ImageError::UnknownFormat { found })
}

/// Names what is in a file that is no known picture.
fn content(bytes: &[u8]) -> Content {
    if bytes.is_empty() {
        return Content::Empty;
    }
    if bytes.starts_with(b"version https://git-lfs.") {
        return Content::GitLfsPointer;
    }
    match bytes.get(4..12) {
        Some(b"ftypheic" | b"ftypheix" | b"ftypmif1") => return Content::OtherPicture("HEIC"),
        Some(b"ftypavif" | b"ftypavis") => return Content::OtherPicture("AVIF"),
        _ => {}
    }
    let start = &bytes[..bytes.len().min(512)];
    let is_text = start.iter().all(|&b| b >= 0x20 || b.is_ascii_whitespace())
        && match std::str::from_utf8(start) {
            Ok(_) => true,
            // A character may be cut at the end of `start`.
            Err(error) => error.error_len().is_none(),
        };
    match start.trim_ascii_start().first() {
        Some(b'<') if is_text => Content::Markup,
        _ if is_text => Content::Text,
        _ => Content::Unknown,
    }
}

/// PNG and WebP.
fn decode_with_image(
    bytes: &[u8],
    format: ImageFormat,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    let name = name(format);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_bytes());
    reader.limits(limits);
    let mut decoder = reader
        .into_decoder()
        .map_err(|error| ImageError::decode(name, error))?;
    let (width, height) = decoder.dimensions();
    options.check_size(name, width, height)?;
    let orientation = if options.exif {
        // Metadata that cannot be read says nothing about the pixels.
        decoder.orientation().unwrap_or(Orientation::NoTransforms)
    } else {
        Orientation::NoTransforms
    };
    // The depth and the kind of colour in the header of a PNG: 16 bits, grey without alpha.
    let keyed = format == ImageFormat::Png && bytes.get(24..26) == Some(&[16, 0]);
    let picture = read_pixels(decoder, keyed, name)?;
    Ok(oriented(picture, orientation))
}

/// Runs a decoder whose size has been checked. `keyed` says that the alpha of a grey picture is not
/// in the file, but was made by the decoder from a transparent value; Pillow's picture has none.
pub(super) fn read_pixels(
    decoder: impl ImageDecoder,
    keyed: bool,
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
    // Samples of 16 bits come in the byte order of the machine.
    let wide = |pair: &[u8; 2]| u16::from_ne_bytes(*pair);
    let pixels = match color {
        ColorType::Rgb8 => samples,
        ColorType::L8 => grey(samples.iter().copied()),
        ColorType::La8 => grey(samples.as_chunks::<2>().0.iter().map(|la| la[0])),
        ColorType::Rgba8 => first_three(&samples, 4),
        ColorType::L16 => grey(samples.as_chunks().0.iter().map(|s| clip(wide(s)))),
        ColorType::La16 if keyed => {
            let values = samples.as_chunks().0.iter().step_by(2);
            grey(values.map(|s| clip(wide(s))))
        }
        ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let samples: Vec<u8> = samples
                .as_chunks()
                .0
                .iter()
                .map(|s| high(wide(s)))
                .collect();
            match color {
                ColorType::La16 => grey(samples.as_chunks::<2>().0.iter().map(|la| la[0])),
                ColorType::Rgb16 => samples,
                _ => first_three(&samples, 4),
            }
        }
        _ => {
            let reason = format!("samples of the kind {color:?} are not supported");
            return Err(ImageError::decode(format, reason));
        }
    };
    from_pixels(width, height, pixels, format)
}

/// Pillow's `I;16` to 8 bits.
pub(super) fn clip(sample: u16) -> u8 {
    sample.min(255) as u8
}

/// Pillow's reading of 16-bit colour: the high byte.
pub(super) fn high(sample: u16) -> u8 {
    (sample >> 8) as u8
}

/// Each grey value three times.
pub(super) fn grey(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; 3]).collect()
}

/// Drops all but the first three of each pixel's samples.
pub(super) fn first_three(samples: &[u8], channels: usize) -> Vec<u8> {
    let pixels = samples.chunks_exact(channels);
    pixels
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
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

pub(super) fn oriented(picture: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return picture;
    }
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    picture.into_rgb8()
}
