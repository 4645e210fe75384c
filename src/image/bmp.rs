//! Pillow's widening of the 16-bit BMP kinds.
//!
//! The decoder rounds a 5-bit value to the nearest of 0..=255, Pillow rounds it down.

use ::image::RgbImage;

/// Changes the pixels of a decoded BMP to Pillow's, if the file has 16 bits a pixel.
pub(super) fn widen_as_pillow(bytes: &[u8], picture: &mut RgbImage) {
    const BIT_FIELDS: u32 = 3;
    const GREEN_MASK_565: u32 = 0x07E0;
    let number = |at: usize| match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    };
    // The header of 12 bytes, the only one that is laid out otherwise, has no such kinds.
    let (header, bits, compression) = (number(14), number(28) & 0xFFFF, number(30));
    if header < 40 || bits != 16 {
        return;
    }
    let has_6_bit_green = compression == BIT_FIELDS && number(58) == GREEN_MASK_565;
    let largest = [31, if has_6_bit_green { 63 } else { 31 }, 31];
    for pixel in picture.as_chunks_mut::<3>().0 {
        for (value, largest) in pixel.iter_mut().zip(largest) {
            let narrow = (u32::from(*value) * largest + 127) / 255;
            *value = (narrow * 255 / largest) as u8;
        }
    }
}
