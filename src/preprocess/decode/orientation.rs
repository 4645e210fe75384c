//! The orientation of an image: from the tag in its EXIF data, or from XMP if EXIF has none.
//!
//! As in Pillow 13.0's `ImageOps.exif_transpose`, the first number of the tag counts, whatever its
//! numeric type (bytes and text are not numbers), and only 2 to 8 transform the image. Unreadable
//! metadata is ignored and never makes a file unreadable. Metadata is borrowed from the file; only
//! compressed text is copied, up to [`MAX_TEXT`].

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};

use super::directory::Directory;
use super::{jpeg, webp};

/// Longest decompressed text of a PNG in bytes, as in Pillow.
const MAX_TEXT: u64 = 1 << 20;

/// Precedes EXIF data in a JPEG. Other formats should not have it, but Pillow skips it once, and twice
/// in JPEG and WebP.
const HEADER: &[u8] = b"Exif\0\0";

const ORIENTATION: u16 = 274;
const XMP: u16 = 700;

/// The orientation in a file's metadata; none for formats without metadata.
pub(super) fn read(bytes: &[u8], format: ImageFormat) -> Orientation {
    let (exif, xmp) = match format {
        ImageFormat::Jpeg => in_jpeg(bytes),
        ImageFormat::Png => in_png(bytes),
        ImageFormat::WebP => in_webp(bytes),
        ImageFormat::Tiff => (Some(bytes.into()), in_tiff(bytes).map(Cow::Borrowed)),
        _ => (None, None),
    };
    let tag = exif.as_deref().and_then(exif_orientation);
    let value = tag.or_else(|| xmp.as_deref().and_then(xmp_orientation));
    value
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// Applies an orientation, in place where the size does not change.
pub(super) fn apply(image: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let mut image = image::DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

type Text<'a> = Option<Cow<'a, [u8]>>;

/// EXIF data and XMP.
type Metadata<'a> = (Text<'a>, Text<'a>);

/// Several EXIF segments are one block that was too long for a segment; of XMP segments, the last counts.
fn in_jpeg(bytes: &[u8]) -> Metadata<'_> {
    const APP1: u8 = 0xE1;
    let (mut exif, mut xmp): Metadata<'_> = (None, None);
    for (marker, segment) in jpeg::header_segments(bytes) {
        if marker != APP1 {
            continue;
        }
        if let Some(block) = segment.strip_prefix(HEADER) {
            match &mut exif {
                Some(exif) => exif.to_mut().extend_from_slice(block),
                None => exif = Some(block.into()),
            }
        } else if let Some(text) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            xmp = Some(text.into());
        }
    }
    (exif, xmp)
}

/// Chunks may also follow the pixels, but those after the first frame of an animation are ignored.
fn in_png(bytes: &[u8]) -> Metadata<'_> {
    let (mut exif, mut profile, mut xmp) = (None, None, None);
    let mut is_animated = false;
    let mut rest = bytes.get(8..).unwrap_or_default();
    let mut has_pixels = false;
    while let Some((kind, data)) = png_chunk(rest) {
        rest = rest.get(12 + data.len()..).unwrap_or_default();
        match kind {
            b"eXIf" => exif = Some(data.into()),
            b"tEXt" | b"zTXt" | b"iTXt" => match keyword(data) {
                Some((b"Raw profile type exif", text)) => profile = Some((kind, text)),
                Some((b"XML:com.adobe.xmp", text)) => xmp = Some((kind, text)),
                _ => {}
            },
            b"acTL" => {
                is_animated = data
                    .first_chunk()
                    .is_some_and(|frames| u32::from_be_bytes(*frames) > 1)
            }
            b"IDAT" => has_pixels = true,
            b"fcTL" if is_animated && has_pixels => break,
            b"IEND" => break,
            _ => {}
        }
    }
    let profile = || {
        let (kind, text) = profile?;
        hex_profile(&png_text(kind, text)?).map(Cow::Owned)
    };
    let xmp = xmp.and_then(|(kind, text)| png_text(kind, text));
    (exif.or_else(profile), xmp)
}

/// The kind and the data of the first chunk.
fn png_chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let data = rest.get(..u32::from_be_bytes(*length) as usize)?;
    Some((kind, data))
}

/// Splits at the first zero.
fn keyword(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The text after the keyword of a text chunk.
fn png_text<'a>(kind: &[u8; 4], text: &'a [u8]) -> Text<'a> {
    match kind {
        b"tEXt" => Some(text.into()),
        b"zTXt" => match text.split_first() {
            Some((0, text)) => decompress(text),
            _ => None,
        },
        _ => {
            let (&[compressed, method], text) = text.split_first_chunk()?;
            let (_, text) = keyword(text)?;
            let (_, text) = keyword(text)?;
            match (compressed, method) {
                (0, _) => Some(text.into()),
                (_, 0) => decompress(text),
                _ => None,
            }
        }
    }
}

fn decompress(data: &[u8]) -> Text<'static> {
    let mut text = Vec::new();
    let result = flate2::read::ZlibDecoder::new(data)
        .take(MAX_TEXT + 1)
        .read_to_end(&mut text);
    match result {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => None,
        _ if text.len() as u64 > MAX_TEXT => None,
        _ => Some(text.into()),
    }
}

/// Parses ImageMagick's form of a profile: an empty line, its name, its length, then hexadecimal digits.
fn hex_profile(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.splitn(4, |&byte| byte == b'\n').nth(3)?;
    let digits: Vec<u8> = digits
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|&digit| char::from(digit).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low);
    rest.is_empty().then(|| bytes.collect())
}

/// Only metadata that the flags of the extended header announce counts.
fn in_webp(bytes: &[u8]) -> Metadata<'_> {
    let (mut exif, mut xmp, mut flags) = (None, None, 0);
    for (kind, data) in webp::chunks(bytes).map_while(Result::ok) {
        match kind {
            b"VP8X" => flags = data.first().copied().unwrap_or(0),
            b"EXIF" if flags & webp::EXIF_FLAG != 0 && exif.is_none() => {
                exif = Some(without_header(data).into())
            }
            b"XMP " if flags & webp::XMP_FLAG != 0 && xmp.is_none() => xmp = Some(data.into()),
            _ => {}
        }
    }
    (exif, xmp)
}

fn in_tiff(bytes: &[u8]) -> Option<&[u8]> {
    let place = Directory::open(bytes)?.find(XMP)?;
    bytes.get(place.range)
}

fn without_header(block: &[u8]) -> &[u8] {
    block.strip_prefix(HEADER).unwrap_or(block)
}

/// The value of the tag, or 0 if it is not one of the eight orientations; `None` if there is no tag.
fn exif_orientation(block: &[u8]) -> Option<u8> {
    let block = without_header(block);
    let directory = Directory::open(block)?;
    let number = directory.number(&directory.find(ORIENTATION)?);
    let known = (1..=8).find(|&known| number == Some(f64::from(known)));
    Some(known.unwrap_or(0))
}

/// The first `tiff:Orientation` with a digit, as an attribute or as an element.
fn xmp_orientation(text: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = text;
    while let Some(at) = rest.windows(NAME.len()).position(|found| found == NAME) {
        rest = &rest[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"));
        if let Some([digit @ b'0'..=b'9', ..]) = value {
            return Some(digit - b'0');
        }
    }
    None
}
