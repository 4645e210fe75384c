//! Windows icons and bitmaps without a file header (DIB), as Pillow reads them.
//!
//! Pillow takes the largest image of an icon, and of several equally large ones the one with the
//! fewest bits. The mask is transparency, which is dropped.

use std::cmp::Reverse;

use image::RgbImage;

use super::DecodeOptions;
use super::bmp;
use crate::preprocess::error::ImageError;

const FORMAT: &str = "ICO";

/// Possible lengths of a bitmap header.
const HEADERS: [u32; 7] = [12, 40, 52, 56, 64, 108, 124];

/// Length of the file header that precedes the bitmap header in a BMP file.
const FILE_HEADER: usize = 14;

/// Whether bytes begin like an icon: type 1, at least one image, and 0 in a reserved byte.
pub(super) fn begins(start: &[u8]) -> bool {
    start.starts_with(&[0, 0, 1, 0]) && number::<2>(start, 4) > 0 && start.get(9) == Some(&0)
}

/// Whether bytes begin like a bitmap without a file header: with one plane.
pub(super) fn is_bitmap(start: &[u8]) -> bool {
    let header = number::<4>(start, 0);
    let planes = if header == 12 { 8 } else { 12 };
    HEADERS.contains(&header) && number::<2>(start, planes) == 1
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let broken = |reason| ImageError::decode(FORMAT, reason);
    let count = number::<2>(bytes, 4) as usize;
    let entries = bytes.get(6..).unwrap_or_default().as_chunks::<16>().0;
    let entries = entries
        .get(..count)
        .ok_or_else(|| broken("it is truncated"))?;
    let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
    let bits = |entry: &[u8; 16]| match (number::<2>(entry, 6), entry[2]) {
        (0, 0 | 1) => 256,
        (0, colours) => u32::from(colours).next_power_of_two().trailing_zeros(),
        (bits, _) => bits,
    };
    let order = |entry: &&[u8; 16]| (Reverse(side(entry[0]) * side(entry[1])), bits(entry));
    let largest = entries.iter().min_by_key(order);
    let largest = largest.ok_or_else(|| broken("it has no image"))?;
    let content = bytes.get(number::<4>(largest, 12) as usize..);
    let content = content.ok_or_else(|| broken("it is truncated"))?;
    if content.starts_with(b"\x89PNG\r\n\x1a\n") {
        return super::decode(content, options);
    }
    if !is_bitmap(content) {
        return Err(broken("its largest image is neither a bitmap nor a PNG"));
    }
    // The mask is stored below the pixels and has the same height.
    decode_bitmap(content, true, options)
}

/// Decodes a bitmap without a file header; if a mask follows, only the upper half.
pub(super) fn decode_bitmap(
    bytes: &[u8],
    has_mask: bool,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    const BIT_FIELDS: u32 = 3;
    let header = number::<4>(bytes, 0) as usize;
    let old = header == 12;
    let bits = number::<2>(bytes, if old { 10 } else { 14 });
    let masks = header == 40 && number::<4>(bytes, 16) == BIT_FIELDS;
    let colours = match (if old { 0 } else { number::<4>(bytes, 32) }, bits) {
        (0, 1..=8) => 1 << bits,
        (colours, 1..=8) => colours.min(256) as usize,
        _ => 0,
    };
    let colour = if old { 3 } else { 4 };
    let start = FILE_HEADER + header + if masks { 12 } else { 0 } + colours * colour;
    let mut file = Vec::with_capacity(FILE_HEADER + bytes.len());
    file.extend_from_slice(b"BM");
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&(start as u32).to_le_bytes());
    file.extend_from_slice(bytes);
    if has_mask && !old {
        let height = number::<4>(bytes, 8).cast_signed() / 2;
        file[FILE_HEADER + 8..][..4].copy_from_slice(&height.to_le_bytes());
    }
    bmp::decode(&file, options)
}

/// The number of `N` bytes at `at`, or 0 if the data ends before it.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..at + N).unwrap_or_default();
    found
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}
