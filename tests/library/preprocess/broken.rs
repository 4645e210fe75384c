//! Files that are not images, are damaged, or lie.

use std::time::{Duration, Instant};

use senet::preprocess::{Content, DecodeOptions, ImageError, decode, open};

use super::{Random, decode_file, read};

#[test]
fn other_files_are_refused() {
    let cases: [(&[u8], Content); 8] = [
        (b"", Content::Empty),
        (b"hello, world\n", Content::Text),
        ("žluťoučký kůň".as_bytes(), Content::Text),
        (b"\n <!DOCTYPE html><html>", Content::Markup),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            Content::GitLfsPointer,
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0", Content::OtherFormat("HEIC")),
        (b"\0\0\0\x18ftypavif\0\0\0\0", Content::OtherFormat("AVIF")),
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

/// File names do not matter: a PNG called `.jpg` is a PNG.
#[test]
fn the_format_is_found_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.jpg");
    std::fs::write(&path, read("rgba.png")).unwrap();
    let found = open(&path, &DecodeOptions::default()).unwrap();
    assert_eq!(found, decode_file("rgba.png").unwrap());
}

/// One small image of each decoder.
const KINDS: [&str; 13] = [
    "rgba.png",
    "palette-transparent.png",
    "interlaced.png",
    "offset-transparent.gif",
    "palette.bmp",
    "rgb-565.bmp",
    "rle8.bmp",
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
            match decode(&bytes[..end], &DecodeOptions::default()) {
                Err(_) => {}
                // All rows of a PNG may be there, and then Pillow reads it too.
                Ok(found) => assert!(
                    name.ends_with(".png") && part > 30 && found == decode_file(name).unwrap(),
                    "{name} cut at {end} of {}",
                    bytes.len()
                ),
            }
        }
    }
    // A JPEG without its last marker is an error, even if every pixel is there.
    for name in ["420.jpg", "progressive.jpg", "cmyk.jpg"] {
        let bytes = read(name);
        let found = decode(&bytes[..bytes.len() - 1], &DecodeOptions::default());
        let error = found.unwrap_err().to_string();
        assert!(error.contains("ends before the end"), "{name}: {error}");
        let with_rest = [&bytes[..], b"what some cameras append"].concat();
        decode(&with_rest, &DecodeOptions::default()).unwrap();
    }
}

/// Any result is fine except a panic.
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
            let mut options = DecodeOptions::default();
            options.max_pixels = 1_000_000;
            options.exif = true;
            match decode(&damaged, &options) {
                Ok(image) => assert!(!image.is_empty(), "{name}"),
                Err(error) => {
                    refused += 1;
                    assert!(
                        !error.to_string().contains("the decoder panicked"),
                        "{name}: {error}"
                    );
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// The bytes of `name` with some header fields replaced.
fn patched(name: &str, patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = read(name);
    for (at, value) in patches {
        bytes[*at..at + value.len()].copy_from_slice(value);
    }
    bytes
}

/// The offset of the frame's descriptor in `plain.gif`.
fn gif_frame() -> usize {
    let bytes = read("plain.gif");
    let is_frame = |w: &[u8]| w[0] == b',' && w[1..5] == [0; 4];
    bytes.windows(9).position(is_frame).unwrap()
}

/// Headers that claim 60000 x 60000 pixels, 10.8 GB.
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
fn too_large_images_are_refused_by_their_header() {
    for (kind, bytes) in lying_headers() {
        let start = Instant::now();
        match decode(&bytes, &DecodeOptions::default()) {
            Err(error @ ImageError::TooLarge { .. }) => {
                let text = error.to_string();
                assert!(text.contains("60000 x 60000 = 3600000000 pixels"), "{text}");
                assert!(text.contains(kind), "{text}");
                assert!(error.hint().unwrap().contains("to 3600000000 pixels"));
            }
            other => panic!("{kind}: {other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{kind}");
    }
    // The limit applies to every decoder.
    let mut options = DecodeOptions::default();
    options.max_pixels = 30;
    for name in KINDS {
        let found = decode(&read(name), &options);
        assert!(
            matches!(found, Err(ImageError::TooLarge { limit: 30, .. })),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn empty_images_are_refused() {
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

fn refusal(bytes: &[u8]) -> String {
    match decode(bytes, &DecodeOptions::default()) {
        Err(error @ ImageError::Decode { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A TIFF of one strip with 16-bit numbers in its tags.
fn tiff(big_endian: bool, tags: &[(u16, u16)], data: &[u8]) -> Vec<u8> {
    let number = |value: u16| match big_endian {
        true => value.to_be_bytes(),
        false => value.to_le_bytes(),
    };
    let long = |value: u16| match big_endian {
        true => u32::from(value).to_be_bytes(),
        false => u32::from(value).to_le_bytes(),
    };
    let start = 8 + 2 + 12 * (tags.len() as u16 + 2) + 4;
    let strip = [(273, start), (279, data.len() as u16)];
    let mut tags: Vec<(u16, u16)> = tags.iter().chain(&strip).copied().collect();
    tags.sort();
    let mut bytes = if big_endian { b"MM" } else { b"II" }.to_vec();
    bytes.extend(number(42));
    bytes.extend(long(8));
    bytes.extend(number(tags.len() as u16));
    for (tag, value) in tags {
        bytes.extend([number(tag), number(3)].concat());
        bytes.extend(long(1));
        bytes.extend([number(value), [0; 2]].concat());
    }
    bytes.extend([0; 4]);
    bytes.extend(data);
    bytes
}

#[test]
fn unsupported_kinds_of_tiff_are_refused() {
    // Two pixels of 16 bits, or 32 bits in two rows.
    let tags = |bits, photometric, fill_order| {
        let (width, height) = if bits == 16 { (2, 1) } else { (16, 2) };
        [
            (256, width),
            (257, height),
            (258, bits),
            (259, 1),
            (262, photometric),
            (266, fill_order),
            (277, 1),
            (278, height),
        ]
    };
    let data = [0x12, 0x34, 0x00, 0x56];
    for big_endian in [false, true] {
        for (bits, photometric) in [(1, 0), (1, 1), (16, 1)] {
            let plain = tiff(big_endian, &tags(bits, photometric, 1), &data);
            decode(&plain, &DecodeOptions::default()).unwrap();
            let turned = tiff(big_endian, &tags(bits, photometric, 2), &data);
            assert!(refusal(&turned).contains("FillOrder 2"));
        }
    }
    let white_is_zero = tiff(false, &tags(16, 0, 1), &[200, 0, 1, 1]);
    let found = decode(&white_is_zero, &DecodeOptions::default()).unwrap();
    assert_eq!(found.as_raw(), &[200, 200, 200, 255, 255, 255]);
    let white_is_zero = tiff(true, &tags(16, 0, 1), &data);
    assert!(refusal(&white_is_zero).contains("big-endian"));
}

#[test]
fn bmp_masks_that_pillow_does_not_know_are_refused() {
    for masks in [[0xF00, 0xF0, 0xF], [0x1F, 0x7E0, 0xF800]] {
        let masks: Vec<u8> = masks.into_iter().flat_map(u32::to_le_bytes).collect();
        let text = refusal(&patched("rgb-565.bmp", &[(54, &masks)]));
        assert!(text.contains("colour masks"), "{text}");
    }
}

/// Pillow does not make up the pixels after an early end either.
#[test]
fn run_length_data_must_reach_the_last_pixel() {
    let bytes = read("rle8.bmp");
    let (all, end) = (&bytes[..bytes.len() - 4], &bytes[bytes.len() - 2..]);
    assert!(refusal(&[all, end].concat()).contains("before the last pixel"));
    let part_of_a_row = [all, &[5, 8], end].concat();
    assert!(refusal(&part_of_a_row).contains("before the last pixel"));
    let past_the_end = [all, &[0, 2, 0, 200], end].concat();
    decode(&past_the_end, &DecodeOptions::default()).unwrap();
}
