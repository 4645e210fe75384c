//! Stored results of Pillow, torchvision and timm.

use std::collections::BTreeMap;

use senet::preprocess::{DecodeOptions, InputSpec, RgbImage, Transform, open};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{assert_none, data, decode_file, image_path};

#[derive(Deserialize)]
struct Expected {
    specs: BTreeMap<String, InputSpec>,
    pictures: BTreeMap<String, ExpectedImage>,
}

#[derive(Deserialize)]
struct ExpectedImage {
    width: u32,
    height: u32,
    lossy: bool,
    rgb: String,
    turned: Option<Turned>,
    /// Digests of the cropped pixels and of the tensor.
    specs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Turned {
    width: u32,
    height: u32,
    rgb: String,
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(data().join("preprocess/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn tensor(transform: &Transform, image: &RgbImage) -> Vec<f32> {
    let [height, width] = transform.size();
    let mut out = vec![f32::NAN; 3 * height * width];
    transform.write(image, &mut out);
    out
}

pub(crate) fn tensor_digest(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    digest(&bytes)
}

/// Whether this build must match Pillow's pixels bit for bit.
fn is_exact(name: &str, image: &ExpectedImage) -> bool {
    !image.lossy || (cfg!(feature = "turbojpeg") && name.ends_with(".jpg"))
}

/// Largest and mean difference of two images of the same size.
pub(crate) fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
    assert_eq!(a.dimensions(), b.dimensions());
    let differences = a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences.clone().map(u64::from).sum();
    (differences.max().unwrap_or(0), sum as f64 / a.len() as f64)
}

/// Compares with a stored image; `None` if they are close enough. The limits are a little above
/// what was measured for the pure Rust JPEG decoder: it rounds differently from libjpeg, and
/// upsamples the chroma of images of a few pixels differently.
fn lossy_failure(found: &RgbImage, stored: &str) -> Option<String> {
    let path = data().join("preprocess").join(stored);
    let expected = open(&path, &DecodeOptions::default()).unwrap();
    let (max, mean) = difference(found, &expected);
    let (max_limit, mean_limit) = match stored.split('.').next() {
        Some("tiny") => (64, 12.0),
        Some("odd-17x9") => (4, 0.5),
        // In the last row and column, which have a test of their own.
        Some("colour-edges") if stored.ends_with(".rgb.png") => (50, 0.3),
        _ => (4, 0.2),
    };
    (max > max_limit || mean > mean_limit)
        .then(|| format!("{stored}: differs by up to {max}, mean {mean:.3}"))
}

#[test]
fn decoding_matches_pillow() {
    let expected = expected();
    assert!(expected.pictures.len() >= 80);
    let mut failures = Vec::new();
    for (name, want) in &expected.pictures {
        let found = match decode_file(name) {
            Ok(found) => found,
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        if found.dimensions() != (want.width, want.height) {
            failures.push(format!("{name}: size {:?}", found.dimensions()));
        } else if is_exact(name, want) {
            if digest(&found) != want.rgb {
                failures.push(format!(
                    "{name}: other pixels, starting {:?}",
                    &found.as_raw()[..12.min(found.len())]
                ));
            }
        } else if want.width <= 256 {
            failures.extend(lossy_failure(&found, &format!("{name}.rgb.png")));
        }
    }
    assert_none(failures);
}

/// The pure Rust decoder mixes the padding of the last block into the chroma of the last row and
/// column.
#[test]
fn chroma_differs_much_at_the_border_only() {
    let stored = data().join("preprocess/colour-edges.jpg.rgb.png");
    let expected = open(&stored, &DecodeOptions::default()).unwrap();
    let found = decode_file("colour-edges.jpg").unwrap();
    let (width, height) = expected.dimensions();
    let inside =
        |image: &RgbImage| image::imageops::crop_imm(image, 0, 0, width - 1, height - 1).to_image();
    let (max, mean) = difference(&inside(&found), &inside(&expected));
    assert!(max <= 4 && mean <= 0.1, "up to {max}, mean {mean:.3}");
}

#[test]
fn transforms_match_timm() {
    let expected = expected();
    let transforms: BTreeMap<_, _> = expected
        .specs
        .iter()
        .map(|(name, spec)| (name, Transform::new(spec).unwrap()))
        .collect();
    let mut failures = Vec::new();
    for (name, want) in &expected.pictures {
        let Ok(image) = decode_file(name) else {
            failures.push(format!("{name}: not decoded"));
            continue;
        };
        for (spec, digests) in &want.specs {
            let transform = &transforms[spec];
            let pixels = transform.pixels(&image);
            if is_exact(name, want) {
                let values = tensor(transform, &image);
                let found = format!("{} {}", digest(&pixels), tensor_digest(&values));
                if found != *digests {
                    failures.push(format!("{name}, {spec}: {found}, expected {digests}"));
                }
            } else {
                failures.extend(lossy_failure(&pixels, &format!("{name}.{spec}.png")));
            }
        }
    }
    assert_none(failures);
}

#[test]
fn turns_by_exif_when_asked() {
    let expected = expected();
    let mut options = DecodeOptions::default();
    options.exif = true;
    let mut failures = Vec::new();
    let mut tested = 0;
    for (name, want) in &expected.pictures {
        let Some(turned) = &want.turned else { continue };
        tested += 1;
        let found = open(image_path(name), &options).unwrap();
        if found.dimensions() != (turned.width, turned.height) {
            failures.push(format!("{name}: size {:?}", found.dimensions()));
        } else if !is_exact(name, want) {
            failures.extend(lossy_failure(&found, &format!("{name}.turned.png")));
        } else if digest(&found) != turned.rgb {
            failures.push(format!("{name}: other pixels"));
        }
    }
    assert_eq!(tested, 9);
    assert_none(failures);
}
