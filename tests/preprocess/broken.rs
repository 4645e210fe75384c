//! Files that are no pictures, are damaged, or lie.

use std::time::{Duration, Instant};

use senet::image::{Content, DecodeOptions, ImageError, decode, open};

use crate::{Random, decode_file, read};

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
