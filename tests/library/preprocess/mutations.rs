//! Damaged metadata by the million.

use std::time::{Duration, Instant};

use senet::preprocess::{DecodeOptions, decode};

use super::Random;
use super::cases::files;

const TIME: Duration = Duration::from_secs(50);

/// No input may cause a panic, take a second, or use more than 64 MiB.
///
/// ```text
/// cargo test --locked --test library mutated_metadata -- --ignored --nocapture
/// ```
#[test]
#[ignore = "runs for 50 seconds"]
#[allow(clippy::print_stdout, reason = "what was tested")]
fn mutated_metadata_is_read_fast_and_in_little_memory() {
    let seeds = files("orientation");
    let mut options = DecodeOptions::default();
    options.max_pixels = 100_000;
    options.exif = true;
    let mut random = Random(2026);
    let before = peak_memory();
    let start = Instant::now();
    let (mut count, mut read) = (0u64, 0u64);
    while start.elapsed() < TIME {
        for seed in &seeds {
            let input = mutated(seed, &mut random);
            let began = Instant::now();
            let found = decode(&input, &options);
            assert!(began.elapsed() < Duration::from_secs(1), "{input:x?}");
            count += 1;
            match found {
                Ok(_) => read += 1,
                Err(error) => {
                    let error = error.to_string();
                    assert!(
                        !error.contains("the decoder panicked"),
                        "{error}: {input:x?}"
                    );
                }
            }
        }
    }
    let grown = peak_memory()
        .zip(before)
        .map(|(after, before)| after - before);
    assert!(
        grown.is_none_or(|bytes| bytes < 64 << 20),
        "{grown:?} bytes"
    );
    println!("{count} inputs, {read} of them read, {grown:?} bytes");
}

/// Up to four changes: a bit, a byte, a number, a piece removed, duplicated or copied from
/// elsewhere.
fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(3) {
        let length = bytes.len() as u32;
        let at = random.below(length) as usize;
        let piece = at..bytes.len().min(at + 1 + random.below(12) as usize);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => {
                let extreme = [0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, length];
                let number = extreme[random.below(6) as usize].to_le_bytes();
                let number = &number[..piece.len().min(4)];
                bytes[at..at + number.len()].copy_from_slice(number);
            }
            3 if piece.len() < bytes.len() => drop(bytes.drain(piece)),
            4 => {
                let copy = bytes[piece].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let from = random.below(length - piece.len() as u32 + 1) as usize;
                bytes.copy_within(from..from + piece.len(), at);
            }
        }
    }
    bytes
}

/// The peak memory of this process in bytes, if the system reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
