//! The time from an image to the network's input.
//!
//! ```text
//! cargo bench --bench preprocess
//! ```
//!
//! Printed is the fastest of ten runs.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use senet::preprocess::{
    CropMode, DecodeOptions, InputSpec, Interpolation, RgbImage, Transform, decode, resize,
};

const ROUNDS: usize = 10;

fn main() {
    let image = noise(4000, 3000);
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        fastest(
            &format!("4000 x 3000 to 341 x 256, {interpolation:?}"),
            || resize(&image, 341, 256, interpolation),
        );
    }
    let spec = InputSpec {
        size: [224, 224],
        crop_pct: 0.875,
        crop_mode: CropMode::Center,
        interpolation: Interpolation::Bicubic,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        test_size: None,
        test_crop_pct: None,
    };
    let transform = Transform::new(&spec).unwrap();
    let mut out = vec![0.0; 3 * 224 * 224];
    fastest("4000 x 3000, resize, crop and normalise", || {
        transform.write(&image, &mut out);
        black_box(&out);
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures/large.jpg");
    let bytes = std::fs::read(path).unwrap();
    fastest("JPEG of 1024 x 680", || {
        decode(&bytes, &DecodeOptions::default()).unwrap()
    });
}

fn fastest<T>(what: &str, mut run: impl FnMut() -> T) {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    });
    println!("{what}: {:?}", times.min().unwrap_or_default());
}

/// Noise, so that nothing is cheap by chance.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 1u64;
    let mut value = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    RgbImage::from_fn(width, height, |_, _| {
        image::Rgb([value(), value(), value()])
    })
}
