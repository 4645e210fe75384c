//! `resize` compared with a slow implementation of its definition.

use senet::preprocess::{Interpolation, RgbImage, resize};

use super::{Random, assert_none};

/// One dimension of Pillow's resize, pixel by pixel from the definition: every old pixel has a
/// weight.
fn reference_edge(old: &[u8], new_size: usize, interpolation: Interpolation) -> Vec<u8> {
    if old.len() == new_size {
        return old.to_vec();
    }
    let scale = old.len() as f64 / new_size as f64;
    let stretch = scale.max(1.0);
    let (radius, filter): (f64, fn(f64) -> f64) = match interpolation {
        Interpolation::Bilinear => (1.0, |x| 1.0 - x),
        Interpolation::Bicubic => (2.0, |x| {
            if x < 1.0 {
                1.5 * x * x * x - 2.5 * x * x + 1.0
            } else {
                -0.5 * x * x * x + 2.5 * x * x - 4.0 * x + 2.0
            }
        }),
        other => panic!("{other:?} has no definition here"),
    };
    (0..new_size)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let weigh = |j: usize| {
                let distance = ((j as f64 + 0.5 - centre) / stretch).abs();
                if distance < radius {
                    filter(distance)
                } else {
                    0.0
                }
            };
            let total: f64 = (0..old.len()).map(weigh).sum();
            let fixed = |j| (weigh(j) / total * f64::from(1 << 22)).round() as i64;
            let sum: i64 = (0..old.len()).map(|j| i64::from(old[j]) * fixed(j)).sum();
            ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
        })
        .collect()
}

/// Both passes, in Pillow's order.
fn reference_resize(
    image: &RgbImage,
    width: u32,
    height: u32,
    interpolation: Interpolation,
) -> RgbImage {
    let (lost_width, lost_height) = (
        i64::from(image.width()) - i64::from(width),
        i64::from(image.height()) - i64::from(height),
    );
    if lost_height > 0 && lost_height > 2 * lost_width {
        let low = reference_down(image, height, interpolation);
        reference_across(&low, width, interpolation)
    } else {
        let narrow = reference_across(image, width, interpolation);
        reference_down(&narrow, height, interpolation)
    }
}

fn reference_across(image: &RgbImage, width: u32, interpolation: Interpolation) -> RgbImage {
    let turned = image::imageops::rotate90(image);
    image::imageops::rotate270(&reference_down(&turned, width, interpolation))
}

fn reference_down(image: &RgbImage, height: u32, interpolation: Interpolation) -> RgbImage {
    let mut result = RgbImage::new(image.width(), height);
    for x in 0..image.width() {
        for channel in 0..3 {
            let column: Vec<u8> = (0..image.height())
                .map(|y| image[(x, y)][channel])
                .collect();
            let column = reference_edge(&column, height as usize, interpolation);
            for (y, &value) in column.iter().enumerate() {
                result[(x, y as u32)][channel] = value;
            }
        }
    }
    result
}

#[test]
fn resize_matches_its_definition() {
    let mut random = Random(2026);
    let mut failures = Vec::new();
    for case in 0..80 {
        let mut edge = || 1 + random.below(if case % 10 == 0 { 200 } else { 40 });
        let (old_width, old_height, mut width, mut height) = (edge(), edge(), edge(), edge());
        match case % 7 {
            0 => width = old_width,
            1 => height = old_height,
            _ => {}
        }
        let image = random.image(old_width, old_height);
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let found = resize(&image, width, height, interpolation);
            if found != reference_resize(&image, width, height, interpolation) {
                failures.push(format!(
                    "{old_width} x {old_height} to {width} x {height}, {interpolation:?}"
                ));
            }
        }
    }
    assert_none(failures);
}

#[test]
fn resize_keeps_what_it_should() {
    let mut random = Random(7);
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let image = random.image(31, 17);
        assert_eq!(resize(&image, 31, 17, interpolation), image);
        let flat = RgbImage::from_pixel(31, 17, image::Rgb([3, 250, 128]));
        for (width, height) in [(1, 1), (7, 90), (64, 2)] {
            let found = resize(&flat, width, height, interpolation);
            assert_eq!(
                found,
                RgbImage::from_pixel(width, height, image::Rgb([3, 250, 128]))
            );
        }
        assert!(resize(&image, 0, 5, interpolation).is_empty());
        assert_eq!(
            resize(&RgbImage::new(0, 0), 2, 2, interpolation),
            RgbImage::new(2, 2)
        );
    }
}
