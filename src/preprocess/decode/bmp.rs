//! BMP as Pillow reads it.
//!
//! The decoder of the `image` crate differs from Pillow in three points, which are handled here: it
//! rounds 5-bit values to the nearest of 0..=255, where Pillow rounds down; it paints pixels that
//! run-length data leaves out black, where Pillow uses the first colour of the palette; and it trusts
//! an impossible offset of the pixels.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::{ImageDecoder, RgbImage};

use super::DecodeOptions;
use super::pixels::{from_pixels, read_pixels};
use crate::preprocess::error::ImageError;

const FORMAT: &str = "BMP";

/// Values of the header's `biCompression`.
const RUN_LENGTH_8: u32 = 1;
const RUN_LENGTH_4: u32 = 2;
const BIT_FIELDS: u32 = 3;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let bytes = &with_data_offset(bytes)[..];
    let decoder =
        BmpDecoder::new(Cursor::new(bytes)).map_err(|error| ImageError::decode(FORMAT, error))?;
    let (width, height) = decoder.dimensions();
    let _permit = options.reserve(FORMAT, width, height)?;
    // The 12-byte header, the only one with another layout, has none of these.
    let (bits, compression) = match number(bytes, 14) {
        ..40 => (0, 0),
        _ => (number(bytes, 28) & 0xFFFF, number(bytes, 30)),
    };
    match compression {
        RUN_LENGTH_8 | RUN_LENGTH_4 => {
            let size = (width as usize, height as usize);
            let indices = run_length(bytes, size, compression == RUN_LENGTH_4);
            let indices = indices.ok_or_else(|| {
                let reason = "its run-length data ends before the last pixel";
                ImageError::decode(FORMAT, reason)
            })?;
            let palette = decoder.get_palette().unwrap_or_default();
            let colour = |&index: &u8| palette.get(usize::from(index)).copied().unwrap_or_default();
            // The rows of such a file always run from bottom to top.
            let rows = indices.chunks_exact(size.0).rev();
            let pixels = rows.flatten().flat_map(colour).collect();
            from_pixels(width, height, pixels, FORMAT)
        }
        _ if bits == 16 => {
            let largest = largest_values(bytes, compression)?;
            let mut image = read_pixels(decoder, FORMAT)?;
            round_down(&mut image, largest);
            Ok(image)
        }
        _ => read_pixels(decoder, FORMAT),
    }
}

/// The file with the offset at which Pillow looks for the pixels: after the palette if the header says
/// 0, or if it says its own end although there is a palette.
fn with_data_offset(bytes: &[u8]) -> Cow<'_, [u8]> {
    const FILE_HEADER: u32 = 14;
    let header = number(bytes, 14);
    // The 12-byte header has its depth elsewhere, 3 bytes per colour, and no number of colours.
    let (bits, entry, colors) = match header {
        12 => (number(bytes, 24) & 0xFFFF, 3, 0),
        _ => (number(bytes, 28) & 0xFFFF, 4, number(bytes, 46)),
    };
    let palette = match (bits, colors) {
        (..=8, 0) => entry << bits,
        (..=8, colors) => colors.saturating_mul(entry),
        _ => 0,
    };
    let header_end = FILE_HEADER.saturating_add(header);
    let offset = match number(bytes, 10) {
        0 if header == 40 && number(bytes, 30) == BIT_FIELDS => header_end.saturating_add(12),
        0 => header_end.saturating_add(palette),
        offset if offset == header_end => header_end.saturating_add(palette),
        _ => return bytes.into(),
    };
    let mut bytes = bytes.to_vec();
    if let Some(field) = bytes.get_mut(10..14) {
        field.copy_from_slice(&offset.to_le_bytes());
    }
    bytes.into()
}

/// The 32-bit number at `at`, or 0 if the data ends before it.
fn number(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// The largest values of red, green and blue in a file with 16 bits per pixel.
fn largest_values(bytes: &[u8], compression: u32) -> Result<[u32; 3], ImageError> {
    if compression != BIT_FIELDS {
        return Ok([31; 3]);
    }
    match [54, 58, 62].map(|at| number(bytes, at)) {
        [0x7C00, 0x03E0, 0x001F] => Ok([31; 3]),
        [0xF800, 0x07E0, 0x001F] => Ok([31, 63, 31]),
        [red, green, blue] => {
            let reason = format!(
                "its colour masks are {red:#06x}, {green:#06x}, {blue:#06x}; only those of 5-5-5 \
                 and 5-6-5 bits are supported"
            );
            Err(ImageError::decode(FORMAT, reason))
        }
    }
}

/// Undoes the widening that rounded to nearest, and widens again rounding down.
fn round_down(image: &mut RgbImage, largest: [u32; 3]) {
    for pixel in image.as_chunks_mut::<3>().0 {
        for (value, largest) in pixel.iter_mut().zip(largest) {
            let narrow = (u32::from(*value) * largest + 127) / 255;
            *value = (narrow * 255 / largest) as u8;
        }
    }
}

/// The palette index of each pixel of run-length data, bottom row first. `None` if the data ends
/// before every pixel has one.
///
/// As in Pillow, a run is cut at the end of its row, a literal run continues in the next row, and the
/// end of a row without pixels does not count.
fn run_length(bytes: &[u8], (width, height): (usize, usize), four_bits: bool) -> Option<Vec<u8>> {
    const END_OF_ROW: u8 = 0;
    const END_OF_IMAGE: u8 = 1;
    const JUMP: u8 = 2;
    let count = width * height;
    let mut indices = Vec::new();
    let mut column = 0;
    // Literal runs are padded to an even offset in the file.
    let mut at = (number(bytes, 10) as usize).min(bytes.len());
    while indices.len() < count {
        let &[length, value] = bytes.get(at..at + 2)?.as_array()?;
        at += 2;
        match (length, value) {
            (0, END_OF_ROW) => {
                indices.resize(indices.len().next_multiple_of(width), 0);
                column = 0;
            }
            (0, END_OF_IMAGE) => return None,
            (0, JUMP) => {
                let &[right, up] = bytes.get(at..at + 2)?.as_array()?;
                at += 2;
                let end = indices.len() + usize::from(right) + usize::from(up) * width;
                indices.resize(end.min(count), 0);
                column = indices.len() % width;
            }
            (0, length) => {
                let kept = usize::from(length).min(count - indices.len());
                let stored = if four_bits { kept.div_ceil(2) } else { kept };
                let run = bytes.get(at..at + stored)?;
                if four_bits {
                    let halves = run.iter().flat_map(|&pair| split(pair));
                    indices.extend(halves.take(kept));
                } else {
                    indices.extend_from_slice(run);
                }
                at = (at + stored).next_multiple_of(2);
                column += usize::from(length);
            }
            (length, value) => {
                let length = usize::from(length).min(width.saturating_sub(column));
                let pattern = if four_bits { split(value) } else { [value; 2] };
                indices.extend(pattern.into_iter().cycle().take(length));
                column += length;
            }
        }
    }
    Some(indices)
}

fn split(pair: u8) -> [u8; 2] {
    [pair >> 4, pair & 15]
}
