//! WebP: checks that the file is complete, then runs the decoder of the `image` crate.
//!
//! The decoder fills in what a truncated file lacks and trusts the lengths of metadata; libwebp, which
//! Pillow uses, refuses both.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::{ImageDecoder, RgbImage};

use super::DecodeOptions;
use super::pixels::read_pixels;
use crate::preprocess::error::ImageError;

const FORMAT: &str = "WebP";

/// Offset of the flags of an extended file, and the bits that announce metadata.
const FLAGS: usize = 20;
pub(super) const EXIF_FLAG: u8 = 8;
pub(super) const XMP_FLAG: u8 = 4;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let mut metadata = 0;
    for chunk in chunks(bytes) {
        metadata |= match chunk? {
            (b"EXIF", _) => EXIF_FLAG,
            (b"XMP ", _) => XMP_FLAG,
            _ => 0,
        };
    }
    let mut bytes = Cow::from(bytes);
    if let Some(&flags) = bytes.get(FLAGS)
        && bytes[12..].starts_with(b"VP8X")
        && flags & (EXIF_FLAG | XMP_FLAG) & !metadata != 0
    {
        // The decoder refuses a file that announces metadata but has none.
        bytes.to_mut()[FLAGS] = flags & !(EXIF_FLAG | XMP_FLAG);
    }
    let decoder =
        WebPDecoder::new(Cursor::new(&bytes)).map_err(|error| ImageError::decode(FORMAT, error))?;
    let (width, height) = decoder.dimensions();
    let _permit = options.reserve(FORMAT, width, height)?;
    read_pixels(decoder, FORMAT)
}

/// Kind and data of each chunk, with an error for the first incomplete one. A simple file has one
/// chunk; anything after it is ignored.
pub(super) fn chunks(bytes: &[u8]) -> impl Iterator<Item = Result<(&[u8; 4], &[u8]), ImageError>> {
    let length = number(bytes, 4).unwrap_or(0) as usize;
    let file = bytes.get(8..).unwrap_or_default();
    let (mut rest, mut failure) = match file.get(..length) {
        Some(file) => (file.get(4..).unwrap_or_default(), None),
        None => (&[][..], Some(cut("the file", length, file.len()))),
    };
    let mut is_first = true;
    std::iter::from_fn(move || {
        if let Some(failure) = failure.take() {
            return Some(Err(failure));
        }
        let (kind, data) = rest.split_first_chunk::<4>()?;
        let length = number(data, 0)? as usize;
        let data = &data[4..];
        let Some(chunk) = data.get(..length) else {
            rest = &[];
            let name = format!("its chunk `{}`", kind.escape_ascii());
            return Some(Err(cut(&name, length, data.len())));
        };
        let is_simple = is_first && matches!(kind, b"VP8 " | b"VP8L");
        is_first = false;
        rest = match data.get(length.next_multiple_of(2)..) {
            Some(rest) if !is_simple => rest,
            _ => &[],
        };
        Some(Ok((kind, chunk)))
    })
}

fn cut(what: &str, length: usize, left: usize) -> ImageError {
    let reason = format!("it is truncated: {what} should have {length} more bytes, found {left}");
    ImageError::decode(FORMAT, reason)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}
