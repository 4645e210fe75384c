//! Files as cameras, scanners and broken disks leave them, compared with Pillow.
//!
//! `tests/tools/make_image_cases.py` writes the files and the expected results.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use senet::preprocess::{DecodeOptions, ImageError, RgbImage, decode};
use serde::Deserialize;

use super::golden::{difference, digest};
use super::{assert_none, data};

#[derive(Deserialize)]
struct Cases {
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    /// Size and digest of the pixels, as stored and as rotated; `None` if Pillow fails.
    plain: Option<String>,
    turned: Option<String>,
    /// The pixels as a PNG, or the case that has them.
    pixels: Option<String>,
    pixels_of: Option<String>,
    /// The number of wrong pixels that Pillow decodes in a damaged file.
    wrong: Option<usize>,
}

impl Case {
    fn decode(&self, exif: bool) -> Result<RgbImage, ImageError> {
        let mut options = DecodeOptions::default();
        options.exif = exif;
        decode(&STANDARD.decode(&self.file).unwrap(), &options)
    }
}

fn cases() -> BTreeMap<String, Case> {
    let text = std::fs::read_to_string(data().join("image_cases.json")).unwrap();
    let cases: Cases = serde_json::from_str(&text).unwrap();
    cases.cases
}

fn of_kind(kind: &str) -> impl Iterator<Item = (String, Case)> {
    let start = format!("{kind}/");
    let of_kind = move |(name, _): &(String, Case)| name.starts_with(&start);
    cases().into_iter().filter(of_kind)
}

/// The files of one kind.
pub(crate) fn files(kind: &str) -> Vec<Vec<u8>> {
    of_kind(kind)
        .map(|(_, case)| STANDARD.decode(case.file).unwrap())
        .collect()
}

fn describe(image: &RgbImage) -> String {
    format!("{} x {} {}", image.width(), image.height(), digest(image))
}

/// The stored pixels of a case.
fn stored(cases: &BTreeMap<String, Case>, case: &Case) -> RgbImage {
    let case = case.pixels_of.as_ref().map_or(case, |name| &cases[name]);
    let png = STANDARD.decode(case.pixels.as_ref().unwrap()).unwrap();
    decode(&png, &DecodeOptions::default()).unwrap()
}

#[test]
fn orientation_is_read_as_pillow_reads_it() {
    let mut failures = Vec::new();
    let mut turned = 0;
    for (name, case) in of_kind("orientation") {
        for (exif, want) in [(false, &case.plain), (true, &case.turned)] {
            let found = describe(&case.decode(exif).unwrap());
            if Some(&found) != want.as_ref() {
                failures.push(format!("{name}, exif {exif}: {found}, expected {want:?}"));
            }
        }
        turned += usize::from(case.turned != case.plain);
    }
    assert!(turned > 40, "{turned}");
    assert_none(failures);
}

/// If Pillow reads such a file the pixels are equal; if Pillow refuses it this is an error.
#[test]
fn files_that_are_cut_or_lie_are_read_as_pillow_reads_them() {
    let mut failures = Vec::new();
    let mut count = 0;
    for (name, case) in of_kind("broken") {
        count += 1;
        let found = case.decode(true);
        match (&found, &case.plain) {
            (Ok(image), Some(_)) if Some(describe(image)) == case.turned => {}
            (Err(error), None) if !error.to_string().contains("the decoder panicked") => {}
            // Not even one colour.
            (Err(_), _) if name.contains("palette-of-1.") || name.contains("palette-of-2.") => {}
            _ => {
                let found = found.map(|image| describe(&image));
                failures.push(format!("{name}: {found:?}, expected {:?}", case.turned));
            }
        }
    }
    assert!(count > 100, "{count}");
    assert_none(failures);
}

#[test]
fn unusual_jpegs_are_read() {
    let cases = cases();
    let mut failures = Vec::new();
    for (name, case) in of_kind("jpeg") {
        match case.decode(false) {
            Ok(found) => {
                let (max, mean) = difference(&found, &stored(&cases, &case));
                // At sharp edges of colour, decoders differ in the last row and column.
                if mean > 0.6 || max > 50 {
                    failures.push(format!("{name}: differs by up to {max}, mean {mean:.3}"));
                }
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert_none(failures);
}

/// Either an error, or no more wrong pixels than in Pillow.
#[test]
fn damaged_jpegs_are_errors_or_no_worse_than_in_pillow() {
    let cases = cases();
    let mut failures = Vec::new();
    let mut errors = 0;
    for (name, case) in of_kind("damage") {
        let Ok(found) = case.decode(false) else {
            errors += 1;
            continue;
        };
        let right = stored(&cases, &case);
        let pairs = found.pixels().zip(right.pixels());
        let is_wrong =
            |(a, b): &(&image::Rgb<u8>, &image::Rgb<u8>)| (0..3).any(|c| a[c].abs_diff(b[c]) > 16);
        let wrong = pairs.filter(is_wrong).count();
        // Intact files, too, differ in some pixels at sharp edges of colour.
        let allowed = case.wrong.map_or(0, |wrong| wrong + wrong / 50) + 60;
        if wrong > allowed {
            failures.push(format!(
                "{name}: {wrong} wrong pixels, Pillow: {:?}",
                case.wrong
            ));
        }
    }
    assert!(errors > 50, "{errors}");
    assert_none(failures);
}

#[test]
fn unsupported_kinds_of_jpeg_are_named() {
    for (name, case) in of_kind("unsupported") {
        let error = case.decode(false).unwrap_err().to_string();
        let kind = ["arithmetic coding", "lossless", "hierarchical", "12 bits"];
        assert!(
            kind.iter().any(|kind| error.contains(kind)),
            "{name}: {error}"
        );
    }
}

/// Kinds of TIFF that Pillow reads and that may be refused here.
const MAY_BE_REFUSED: [&str; 3] = ["lab", "twice", "ill-typed"];

#[test]
fn tiffs_are_read_as_pillow_reads_them_or_refused() {
    let mut failures = Vec::new();
    let mut equal = 0;
    for (name, case) in of_kind("tiff") {
        let found = case.decode(true);
        match (&found, &case.plain) {
            (Ok(image), Some(_)) if Some(describe(image)) == case.turned => equal += 1,
            (Err(_), None) => {}
            (Err(error), Some(_))
                if error.to_string().contains("supported")
                    || MAY_BE_REFUSED.iter().any(|kind| name.contains(kind)) => {}
            _ => {
                let found = found.map(|image| describe(&image));
                failures.push(format!("{name}: {found:?}, expected {:?}", case.turned));
            }
        }
    }
    assert!(equal > 60, "{equal}");
    assert_none(failures);
}

/// 16-bit grey in a PNG and in a TIFF.
#[test]
fn wide_grey_is_clipped_and_counted_or_scaled() {
    static CLIPPED: AtomicU64 = AtomicU64::new(0);
    let values = [0u16, 200, 255, 256, 257, 514, 65278, 65535];
    let mut png = Vec::new();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    let color = image::ExtendedColorType::L16;
    image::ImageEncoder::write_image(encoder, &bytes, 8, 1, color).unwrap();
    let mut options = DecodeOptions::default();
    options.clipped = Some(&CLIPPED);
    let first = |image: RgbImage| image.pixels().map(|pixel| pixel[0]).collect::<Vec<_>>();
    let found = first(decode(&png, &options).unwrap());
    assert_eq!(found, [0, 200, 255, 255, 255, 255, 255, 255]);
    assert_eq!(CLIPPED.load(Ordering::Relaxed), 1);
    options.scale_16bit = true;
    let found = first(decode(&png, &options).unwrap());
    assert_eq!(found, [0, 0, 0, 0, 1, 2, 254, 255]);
    assert_eq!(CLIPPED.load(Ordering::Relaxed), 1);

    let tiff = super::read("grey-16bit.tif");
    let scaled = decode(&tiff, &options).unwrap();
    options.scale_16bit = false;
    let clipped = decode(&tiff, &options).unwrap();
    assert_eq!(CLIPPED.load(Ordering::Relaxed), 2);
    assert_ne!(scaled, clipped);
    assert!(scaled.iter().max().unwrap() > &10);
    // What fits into 8 bits is not counted.
    decode(&super::read("grey.png"), &options).unwrap();
    assert_eq!(CLIPPED.load(Ordering::Relaxed), 2);
}
