//! Decoding and preprocessing against Pillow, torchvision and timm.
//!
//! `tests/tools/make_pictures.py` writes the pictures and the expected results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use senet::image::{
    Content, CropMode, DecodeOptions, ImageError, InputSpec, Interpolation, RgbImage, Transform,
    decode, open, resize,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Expected {
    specs: BTreeMap<String, InputSpec>,
    pictures: BTreeMap<String, Picture>,
}

#[derive(Deserialize)]
struct Picture {
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

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(data().join("preprocess/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn picture_path(name: &str) -> PathBuf {
    data().join("pictures").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(picture_path(name)).unwrap()
}

fn decode_file(name: &str) -> Result<RgbImage, ImageError> {
    open(&picture_path(name), &DecodeOptions::default())
}

fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn tensor(transform: &Transform, picture: &RgbImage) -> Vec<f32> {
    let [height, width] = transform.size();
    let mut out = vec![f32::NAN; 3 * height * width];
    transform.write(picture, &mut out);
    out
}

fn tensor_digest(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    digest(&bytes)
}

/// Whether this build must give Pillow's pixels to the bit.
fn is_exact(name: &str, picture: &Picture) -> bool {
    !picture.lossy || (cfg!(feature = "turbojpeg") && name.ends_with(".jpg"))
}

/// Largest and mean difference of two pictures of the same size.
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
    assert_eq!(a.dimensions(), b.dimensions());
    let differences = a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences.clone().map(u64::from).sum();
    (differences.max().unwrap_or(0), sum as f64 / a.len() as f64)
}

/// Compares with a stored picture; `None` when the two are near enough. The limits stand a little
/// above what the pure Rust JPEG decoder was measured at: it rounds otherwise than libjpeg, and
/// enlarges the chroma of pictures of a few pixels in another way.
fn lossy_failure(found: &RgbImage, stored: &str) -> Option<String> {
    let path = data().join("preprocess").join(stored);
    let expected = open(&path, &DecodeOptions::default()).unwrap();
    let (max, mean) = difference(found, &expected);
    let (max_limit, mean_limit) = match stored.split('.').next() {
        Some("tiny") => (64, 12.0),
        Some("odd-17x9") => (4, 0.5),
        _ => (4, 0.2),
    };
    (max > max_limit || mean > mean_limit)
        .then(|| format!("{stored}: differs by up to {max}, mean {mean:.3}"))
}

fn assert_none(failures: Vec<String>) {
    let count = failures.len();
    assert!(count == 0, "{count} failures:\n{}", failures.join("\n"));
}

#[test]
fn decodes_as_pillow() {
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

#[test]
fn transforms_as_timm() {
    let expected = expected();
    let transforms: BTreeMap<_, _> = expected
        .specs
        .iter()
        .map(|(name, spec)| (name, Transform::new(spec).unwrap()))
        .collect();
    let mut failures = Vec::new();
    for (name, want) in &expected.pictures {
        let Ok(picture) = decode_file(name) else {
            failures.push(format!("{name}: not decoded"));
            continue;
        };
        for (spec, digests) in &want.specs {
            let transform = &transforms[spec];
            let pixels = transform.pixels(&picture);
            if is_exact(name, want) {
                let values = tensor(transform, &picture);
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
    let options = DecodeOptions {
        exif: true,
        ..DecodeOptions::default()
    };
    let mut failures = Vec::new();
    let mut tested = 0;
    for (name, want) in &expected.pictures {
        let Some(turned) = &want.turned else { continue };
        tested += 1;
        let found = open(&picture_path(name), &options).unwrap();
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

/// A small linear congruential generator: the cases must be the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }

    fn picture(&mut self, width: u32, height: u32) -> RgbImage {
        // Mostly extreme values, so that cubic overshoot is clamped at both ends.
        RgbImage::from_fn(width, height, |_, _| {
            ::image::Rgb([0; 3].map(|_: u8| match self.below(4) {
                0 => 0,
                1 => 255,
                _ => self.below(256) as u8,
            }))
        })
    }
}

/// One edge of Pillow's resize, a pixel at a time, from the definition: every old pixel is weighed.
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

/// Both passes in the order that Pillow takes.
fn reference_resize(
    picture: &RgbImage,
    width: u32,
    height: u32,
    interpolation: Interpolation,
) -> RgbImage {
    let (lost_width, lost_height) = (
        i64::from(picture.width()) - i64::from(width),
        i64::from(picture.height()) - i64::from(height),
    );
    if lost_height > 0 && lost_height > 2 * lost_width {
        let low = reference_down(picture, height, interpolation);
        reference_across(&low, width, interpolation)
    } else {
        let narrow = reference_across(picture, width, interpolation);
        reference_down(&narrow, height, interpolation)
    }
}

fn reference_across(picture: &RgbImage, width: u32, interpolation: Interpolation) -> RgbImage {
    let turned = ::image::imageops::rotate90(picture);
    ::image::imageops::rotate270(&reference_down(&turned, width, interpolation))
}

fn reference_down(picture: &RgbImage, height: u32, interpolation: Interpolation) -> RgbImage {
    let mut result = RgbImage::new(picture.width(), height);
    for x in 0..picture.width() {
        for channel in 0..3 {
            let column: Vec<u8> = (0..picture.height())
                .map(|y| picture[(x, y)][channel])
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
fn resize_is_what_its_definition_says() {
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
        let picture = random.picture(old_width, old_height);
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let found = resize(&picture, width, height, interpolation);
            if found != reference_resize(&picture, width, height, interpolation) {
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
        let picture = random.picture(31, 17);
        assert_eq!(resize(&picture, 31, 17, interpolation), picture);
        let flat = RgbImage::from_pixel(31, 17, ::image::Rgb([3, 250, 128]));
        for (width, height) in [(1, 1), (7, 90), (64, 2)] {
            let found = resize(&flat, width, height, interpolation);
            assert_eq!(
                found,
                RgbImage::from_pixel(width, height, ::image::Rgb([3, 250, 128]))
            );
        }
        assert!(resize(&picture, 0, 5, interpolation).is_empty());
        assert_eq!(
            resize(&RgbImage::new(0, 0), 2, 2, interpolation),
            RgbImage::new(2, 2)
        );
    }
}

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

/// A picture of one pixel's width would be enlarged to gigabytes before the crop.
#[test]
fn extreme_shapes_stay_cheap() {
    let start = Instant::now();
    let transform = Transform::new(&spec()).unwrap();
    for (width, height) in [(1, 60_000), (60_000, 1), (1, 1)] {
        let picture = RgbImage::from_pixel(width, height, ::image::Rgb([9, 8, 7]));
        let pixels = transform.pixels(&picture);
        assert_eq!(
            pixels,
            RgbImage::from_pixel(224, 224, ::image::Rgb([9, 8, 7]))
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5));
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
fn spec_helpers() {
    assert_eq!(spec().scale_size(), [256, 256]);
    let other = spec().with_size([288, 320]);
    assert_eq!((other.size, other.crop_pct), ([288, 320], 0.875));
    assert_eq!(other.scale_size(), [329, 365]);
}

#[test]
fn says_what_is_no_picture() {
    let cases: [(&[u8], Content); 8] = [
        (b"", Content::Empty),
        (b"hello, world\n", Content::Text),
        ("žluťoučký kůň".as_bytes(), Content::Text),
        (b"\n <!DOCTYPE html><html>", Content::Markup),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            Content::GitLfsPointer,
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0", Content::OtherPicture("HEIC")),
        (b"\0\0\0\x18ftypavif\0\0\0\0", Content::OtherPicture("AVIF")),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0", Content::Unknown),
    ];
    for (bytes, want) in cases {
        match decode(bytes, &DecodeOptions::default()) {
            Err(ImageError::UnknownFormat { found }) => assert_eq!(found, want),
            other => panic!("{want:?}: {other:?}"),
        }
    }
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.jpg");
    let error = open(&missing, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error, ImageError::Read { .. }));
    assert!(error.to_string().contains("missing.jpg"), "{error}");

    let pointer = folder.path().join("pointer.png");
    std::fs::write(&pointer, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let error = open(&pointer, &DecodeOptions::default()).unwrap_err();
    assert!(error.to_string().contains("pointer.png"), "{error}");
    assert!(error.to_string().contains("JPEG, PNG, WebP"), "{error}");
    assert!(error.hint().unwrap().contains("git lfs pull"));
}

/// File names say nothing: a PNG called `.jpg` is a PNG.
#[test]
fn the_format_is_found_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.jpg");
    std::fs::write(&path, read("rgba.png")).unwrap();
    let found = open(&path, &DecodeOptions::default()).unwrap();
    assert_eq!(found, decode_file("rgba.png").unwrap());
}

/// One small picture of each decoder.
const KINDS: [&str; 12] = [
    "rgba.png",
    "palette-transparent.png",
    "interlaced.png",
    "offset-transparent.gif",
    "palette.bmp",
    "rgb-565.bmp",
    "rgb-lzw.tif",
    "cmyk.tif",
    "lossless-alpha.webp",
    "lossy.webp",
    "odd-17x9.jpg",
    "progressive.jpg",
];

#[test]
fn truncated_files_are_errors() {
    for name in KINDS {
        let bytes = read(name);
        for part in 0..40 {
            let end = bytes.len() * part / 40;
            let found = decode(&bytes[..end], &DecodeOptions::default());
            assert!(found.is_err(), "{name} cut at {end} of {}", bytes.len());
        }
    }
    // The last marker of a JPEG counts, also where every pixel is there.
    for name in ["420.jpg", "progressive.jpg", "cmyk.jpg"] {
        let bytes = read(name);
        let found = decode(&bytes[..bytes.len() - 1], &DecodeOptions::default());
        let error = found.unwrap_err().to_string();
        assert!(error.contains("ends before the end"), "{name}: {error}");
        let with_rest = [&bytes[..], b"what some cameras append"].concat();
        decode(&with_rest, &DecodeOptions::default()).unwrap();
    }
}

/// Any result will do, a panic will not.
#[test]
fn damaged_files_do_not_panic() {
    let mut random = Random(99);
    let mut refused = 0;
    for name in KINDS {
        let bytes = read(name);
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(damaged.len() as u32) as usize;
                damaged[at] ^= 1 << random.below(8);
            }
            let options = DecodeOptions {
                max_pixels: 1_000_000,
                exif: true,
            };
            match decode(&damaged, &options) {
                Ok(picture) => assert!(!picture.is_empty(), "{name}"),
                Err(error) => {
                    refused += 1;
                    assert!(
                        !error.to_string().contains("broke the decoder"),
                        "{name}: {error}"
                    );
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// The bytes of `name` with a number of its header replaced.
fn patched(name: &str, patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = read(name);
    for (at, value) in patches {
        bytes[*at..at + value.len()].copy_from_slice(value);
    }
    bytes
}

/// Where the description of the frame starts in `plain.gif`.
fn gif_frame() -> usize {
    let bytes = read("plain.gif");
    let is_frame = |w: &[u8]| w[0] == b',' && w[1..5] == [0; 4];
    bytes.windows(9).position(is_frame).unwrap()
}

/// Headers that promise 60000 x 60000 pixels, 10.8 GB.
fn lying_headers() -> Vec<(&'static str, Vec<u8>)> {
    let big = 60_000u32;
    let mut png = patched(
        "rgba.png",
        &[(16, &big.to_be_bytes()), (20, &big.to_be_bytes())],
    );
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    let edge = (big as u16).to_le_bytes();
    let frame = gif_frame();
    let jpeg = read("odd-17x9.jpg");
    let sof = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    let be = (big as u16).to_be_bytes();
    let tiff = read("grey.tif");
    let tag = |tag: u16| {
        let entry = tiff
            .windows(4)
            .position(|w| w[..2] == tag.to_le_bytes() && (w[2..] == [3, 0] || w[2..] == [4, 0]));
        entry.unwrap() + 8
    };
    let all_rows = u16::MAX.to_le_bytes();
    vec![
        ("PNG", png),
        ("GIF", patched("plain.gif", &[(6, &edge), (8, &edge)])),
        (
            "GIF",
            patched("plain.gif", &[(frame + 5, &edge), (frame + 7, &edge)]),
        ),
        (
            "BMP",
            patched(
                "palette.bmp",
                &[(18, &big.to_le_bytes()), (22, &big.to_le_bytes())],
            ),
        ),
        (
            "JPEG",
            patched("odd-17x9.jpg", &[(sof + 5, &be), (sof + 7, &be)]),
        ),
        (
            "TIFF",
            patched(
                "grey.tif",
                &[(tag(256), &edge), (tag(257), &edge), (tag(278), &all_rows)],
            ),
        ),
    ]
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| {
            (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg())
        })
    })
}

#[test]
fn too_large_pictures_are_refused_by_their_header() {
    for (kind, bytes) in lying_headers() {
        let start = Instant::now();
        match decode(&bytes, &DecodeOptions::default()) {
            Err(error @ ImageError::TooLarge { .. }) => {
                let text = error.to_string();
                assert!(text.contains("60000 x 60000 = 3600000000 pixels"), "{text}");
                assert!(text.contains(kind), "{text}");
                assert!(error.hint().unwrap().contains("--max-pixels 3600000000"));
            }
            other => panic!("{kind}: {other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{kind}");
    }
    // The limit counts for every decoder.
    let options = DecodeOptions {
        max_pixels: 60,
        exif: false,
    };
    for name in KINDS {
        let found = decode(&read(name), &options);
        assert!(
            matches!(found, Err(ImageError::TooLarge { limit: 60, .. })),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn empty_pictures_are_refused() {
    let jpeg = read("odd-17x9.jpg");
    let sof = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    for bytes in [
        patched("plain.gif", &[(gif_frame() + 5, &[0; 4])]),
        patched("palette.bmp", &[(18, &[0; 4])]),
        patched("odd-17x9.jpg", &[(sof + 7, &[0; 2])]),
    ] {
        let found = decode(&bytes, &DecodeOptions::default());
        assert!(matches!(found, Err(ImageError::Decode { .. })), "{found:?}");
    }
}

#[test]
#[ignore = "a measurement: cargo test --release --test preprocess speed -- --ignored --nocapture"]
fn speed() {
    let picture = Random(1).picture(4000, 3000);
    let transform = Transform::new(&spec()).unwrap();
    let mut out = vec![0.0; 3 * 224 * 224];
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let start = Instant::now();
        let whole = resize(&picture, 341, 256, interpolation);
        println!(
            "{interpolation:?} 4000 x 3000 to {:?}: {:?}",
            whole.dimensions(),
            start.elapsed()
        );
    }
    let start = Instant::now();
    transform.write(&picture, &mut out);
    println!("transform of 4000 x 3000: {:?}", start.elapsed());
    let bytes = read("large.jpg");
    let start = Instant::now();
    for _ in 0..10 {
        decode(&bytes, &DecodeOptions::default()).unwrap();
    }
    println!("JPEG of 1024 x 680: {:?}", start.elapsed() / 10);
}
