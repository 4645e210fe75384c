//! Extreme specifications.

use std::time::{Duration, Instant};

use senet::preprocess::{CropMode, ImageError, InputSpec, Interpolation, RgbImage, Transform};
use senet::zoo::Zoo;

use super::golden::tensor;

fn spec() -> InputSpec {
    InputSpec {
        size: [224, 224],
        crop_pct: 0.875,
        crop_mode: CropMode::Center,
        interpolation: Interpolation::Bicubic,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        test_size: None,
        test_crop_pct: None,
    }
}

/// An image one pixel wide would be enlarged to gigabytes before the crop.
#[test]
fn extreme_shapes_stay_cheap() {
    let start = Instant::now();
    let transform = Transform::new(&spec()).unwrap();
    for (width, height) in [(1, 60_000), (60_000, 1), (1, 1)] {
        let image = RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7]));
        let pixels = transform.pixels(&image);
        assert_eq!(
            pixels,
            RgbImage::from_pixel(224, 224, image::Rgb([9, 8, 7]))
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// What Caffe's networks see: values from 0 to 255 less the means of their training data. Red comes first here;
/// the network turns its filters around.
#[test]
fn caffes_values_are_those_of_the_image_less_the_means() {
    let card = Zoo::builtin().get("se_bn_inception.caffe_in1k").unwrap();
    let transform = Transform::new(&card.input).unwrap();
    for value in [0, 1, 127, 255] {
        let image = RgbImage::from_pixel(224, 224, image::Rgb([value, 255 - value, value]));
        let planes = tensor(&transform, &image);
        for (plane, (value, mean)) in planes.chunks_exact(224 * 224).zip([
            (value, 123.0),
            (255 - value, 117.0),
            (value, 104.0),
        ]) {
            let exact = f32::from(value) - mean;
            assert!(plane.iter().all(|found| (found - exact).abs() < 3e-5));
        }
    }
}

#[test]
fn invalid_specs_are_refused() {
    let change = |f: fn(&mut InputSpec)| {
        let mut spec = spec();
        f(&mut spec);
        match Transform::new(&spec) {
            Err(ImageError::InvalidSpec { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(change(|s| s.size = [0, 224]), "size");
    assert_eq!(change(|s| s.size = [224, usize::MAX]), "size");
    assert_eq!(change(|s| s.crop_pct = 0.0), "crop_pct");
    assert_eq!(change(|s| s.crop_pct = -1.0), "crop_pct");
    assert_eq!(change(|s| s.crop_pct = f64::NAN), "crop_pct");
    assert_eq!(change(|s| s.crop_pct = 300.0), "size / crop_pct");
    assert_eq!(change(|s| s.crop_pct = 1e-9), "size / crop_pct");
    assert_eq!(change(|s| s.mean[1] = f32::INFINITY), "mean");
    assert_eq!(change(|s| s.std[2] = 0.0), "std");
    assert_eq!(change(|s| s.std[0] = f32::NAN), "std");
}

#[test]
fn the_resize_target_is_rounded_down() {
    assert_eq!(spec().scale_size(), [256, 256]);
    let other = InputSpec {
        size: [288, 320],
        ..spec()
    };
    assert_eq!(other.scale_size(), [329, 365]);
}
