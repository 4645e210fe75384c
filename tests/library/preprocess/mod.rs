//! Decoding and preprocessing against Pillow, torchvision and timm.
//!
//! `tests/tools/make_pictures.py` writes the images and the expected results.

mod broken;
mod cases;
mod configs;
mod filters;
mod formats;
mod golden;
mod grey;
mod mutations;
mod resize;
mod transform;

use std::path::{Path, PathBuf};

use senet::preprocess::{DecodeOptions, ImageError, RgbImage, open};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn image_path(name: &str) -> PathBuf {
    data().join("pictures").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(image_path(name)).unwrap()
}

fn decode_file(name: &str) -> Result<RgbImage, ImageError> {
    open(image_path(name), &DecodeOptions::default())
}

fn assert_none(failures: Vec<String>) {
    let count = failures.len();
    assert!(count == 0, "{count} failures:\n{}", failures.join("\n"));
}

/// A small linear congruential generator: the cases must be the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }

    fn image(&mut self, width: u32, height: u32) -> RgbImage {
        // Mostly extreme values, so that cubic overshoot is clamped at both ends.
        RgbImage::from_fn(width, height, |_, _| {
            image::Rgb([0; 3].map(|_: u8| match self.below(4) {
                0 => 0,
                1 => 255,
                _ => self.below(256) as u8,
            }))
        })
    }
}
