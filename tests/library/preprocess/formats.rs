//! PNM, QOI, ICO and bitmaps without a file header, compared with Pillow
//! (`tests/tools/make_formats.py`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use senet::preprocess::{DecodeOptions, ImageError, decode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Random, assert_none, data};

#[derive(Deserialize)]
struct Case {
    file: String,
    /// `None` if Pillow refuses the file.
    pillow: Option<Pixels>,
}

#[derive(Deserialize)]
struct Pixels {
    size: (u32, u32),
    rgb: String,
}

fn cases() -> BTreeMap<String, (Vec<u8>, Option<Pixels>)> {
    let text = std::fs::read_to_string(data().join("preprocess/formats.json")).unwrap();
    let cases: BTreeMap<String, Case> = serde_json::from_str(&text).unwrap();
    let cases = cases.into_iter();
    let cases = cases.map(|(name, case)| {
        let file = BASE64_STANDARD.decode(case.file).unwrap();
        (name, (file, case.pillow))
    });
    cases.collect()
}

#[test]
fn decoding_matches_pillow() {
    let cases = cases();
    assert!(cases.len() > 50);
    let mut failures = Vec::new();
    for (name, (file, pillow)) in cases {
        match (decode(&file, &DecodeOptions::default()), pillow) {
            (Ok(image), Some(pillow)) => {
                let digest = Sha256::digest(image.as_raw());
                let digest = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
                let digest: String = digest.collect();
                if (image.dimensions(), &digest) != (pillow.size, &pillow.rgb) {
                    let start = &image.as_raw()[..12.min(image.len())];
                    let size = image.dimensions();
                    failures.push(format!("{name}: other pixels: {size:?}, {start:?}"));
                }
            }
            (Err(_), None) => {}
            (Ok(_), None) => failures.push(format!("{name}: Pillow refuses it")),
            (Err(error), Some(_)) => failures.push(format!("{name}: {error}")),
        }
    }
    assert_none(failures);
}

/// Pillow does not support PAM: its samples are compared with those of PGM and PPM.
#[test]
fn pam_equals_the_other_formats() {
    let decode = |bytes: &[u8]| decode(bytes, &DecodeOptions::default());
    let pam = |depth: u32, maxval: u32, kind: &str, samples: &[u8]| {
        let head = format!(
            "P7\n# comment\nWIDTH 2\nHEIGHT 1\nDEPTH {depth}\nMAXVAL {maxval}\nTUPLTYPE {kind}\nENDHDR\n"
        );
        decode(&[head.as_bytes(), samples].concat())
    };
    let other = |head: &str, samples: &[u8]| decode(&[head.as_bytes(), samples].concat()).unwrap();
    let grey = other("P5 2 1 200 ", &[7, 150]);
    assert_eq!(pam(1, 200, "GRAYSCALE", &[7, 150]).unwrap(), grey);
    assert_eq!(
        pam(2, 200, "GRAYSCALE_ALPHA", &[7, 0, 150, 0]).unwrap(),
        grey
    );
    let colour = other("P6 2 1 255 ", &[1, 2, 3, 4, 5, 6]);
    assert_eq!(pam(3, 255, "RGB", &[1, 2, 3, 4, 5, 6]).unwrap(), colour);
    assert_eq!(
        pam(4, 255, "RGB_ALPHA", &[1, 2, 3, 0, 4, 5, 6, 0]).unwrap(),
        colour
    );
    let black = pam(1, 1, "BLACKANDWHITE", &[0, 1]).unwrap();
    assert_eq!(black.as_raw(), &[0, 0, 0, 255, 255, 255]);
    let wide = other("P6 2 1 65535 ", &[9; 12]);
    assert_eq!(pam(3, 65535, "RGB", &[9; 12]).unwrap(), wide);
    for (wrong, what) in [
        (pam(4, 255, "CMYK", &[0; 8]), "CMYK"),
        (pam(5, 255, "X", &[0; 10]), "5 channels"),
        (
            pam(3, 255, "RGB", &[0; 5]),
            "expected 6 bytes of samples, found 5",
        ),
        (decode(b"P7\nWIDTH 2\n"), "its header has no end"),
    ] {
        let error = wrong.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

/// A few bytes that claim many pixels must not allocate memory for them.
#[test]
fn announced_sizes_are_checked_against_the_file() {
    let qoi = [
        b"qoif",
        &9999u32.to_be_bytes()[..],
        &9999u32.to_be_bytes(),
        &[3, 0, 0xfd],
    ]
    .concat();
    for bytes in [
        &b"P1 9999 9999 1"[..],
        b"P3 9999 9999 255 1",
        b"P4 9999 9999 1",
        b"P6 9999 9999 65535 1",
        b"Pf 9999 9999 -1 1234",
        b"P7\nWIDTH 9999\nHEIGHT 9999\nDEPTH 4\nMAXVAL 255\nENDHDR\n1",
        &qoi,
    ] {
        let error = decode(bytes, &DecodeOptions::default()).unwrap_err();
        assert!(error.to_string().contains("it is truncated"), "{error}");
    }
    let error = decode(b"P6 10001 10001 255 1", &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    for large in [
        &b"P6 4294967295 4294967295 255 1"[..],
        b"P1 99999999999 1 1",
    ] {
        assert!(decode(large, &DecodeOptions::default()).is_err());
    }
}

/// Any change gives an image or an error.
#[test]
fn changed_files_are_images_or_errors() {
    let mut random = Random(11);
    let mut options = DecodeOptions::default();
    options.max_pixels = 1 << 16;
    let cases = cases().into_values().filter(|(file, _)| file.len() < 2000);
    for (file, _) in cases {
        for _ in 0..200 {
            let mut file = file.clone();
            for _ in 0..=random.below(4) {
                let place = random.below(file.len().min(80) as u32) as usize;
                match random.below(3) {
                    0 => file[place] = random.below(256) as u8,
                    1 => file.truncate(place + 1),
                    _ => file.insert(place, b" 0919#"[random.below(6) as usize]),
                }
            }
            if let Err(ImageError::Decode { reason, .. }) = decode(&file, &options) {
                assert_ne!(
                    reason, "the decoder panicked on this file (please report it)",
                    "{file:?}"
                );
            }
        }
    }
}
