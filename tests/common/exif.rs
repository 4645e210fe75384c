//! Images with EXIF data.

use image::{ExtendedColorType, ImageEncoder, RgbImage};

/// A PNG with this orientation (Exif 2.32, tag 274).
pub(crate) fn png(image: &RgbImage, orientation: u8) -> Vec<u8> {
    // A big-endian directory of one entry, a SHORT.
    let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.push(orientation);
    exif.extend([0; 6]);
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif).unwrap();
    let (width, height) = image.dimensions();
    encoder
        .write_image(image, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}
