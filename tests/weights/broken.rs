//! Broken files by the thousand: cut short, and changed at random.

use std::io::Read;

use senet::weights::Weights;

use crate::build::zip;
use crate::data;

/// Opens the bytes and reads whatever can be read: an error is fine, a panic or a tensor of another
/// size than its shape is not.
fn survive(bytes: Vec<u8>) -> bool {
    let Ok(weights) = Weights::from_bytes("file", bytes) else {
        return false;
    };
    for name in weights.names() {
        let count = weights.shape(name).unwrap().iter().product::<usize>();
        let lengths = [
            weights.f32(name).map(|v| v.len()),
            weights.f64(name).map(|v| v.len()),
            weights.i64(name).map(|v| v.len()),
        ];
        assert!(
            lengths.into_iter().flatten().all(|length| length == count),
            "{name}"
        );
    }
    true
}

/// One file of each container.
const SAMPLES: [&str; 4] = [
    "all.safetensors",
    "zip_protocol2.pth",
    "legacy_protocol2.pth",
    "legacy_protocol4.pth",
];

#[test]
fn every_truncation_is_an_error() {
    for file in SAMPLES.iter().chain(&["module_legacy.pth", "training.pth"]) {
        let bytes = std::fs::read(data(file)).unwrap();
        for length in 0..bytes.len() {
            assert!(
                !survive(bytes[..length].to_vec()),
                "{file} cut to {length} of {}",
                bytes.len()
            );
        }
        assert!(survive(bytes), "{file}");
    }
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % limit as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const OPCODES: &[u8] =
        b"(.)]}NQRKMJGXUTctaeusbqrhj\x80\x85\x86\x87\x88\x89\x8a\x8c\x8d\x93\x94\x95\0\xff\x7f";
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(8) {
            0..4 => bytes[at] ^= 1 << random.below(8),
            4 | 5 => bytes[at] = OPCODES[random.below(OPCODES.len())],
            6 if bytes.len() > 64 => drop(bytes.drain(at..end)),
            _ => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
}

fn break_files(rounds: usize, seed: u64) {
    let mut random = Random(seed);
    let mut survived = 0;
    for file in SAMPLES {
        let bytes = std::fs::read(data(file)).unwrap();
        for _ in 0..rounds {
            let mut broken = bytes.clone();
            mutate(&mut broken, &mut random);
            survived += usize::from(survive(broken));
        }
    }
    // Most of an archive is zip headers and data; its pickle gets its own share.
    for file in ["zip_protocol2.pth", "zip_protocol4.pth", "training.pth"] {
        let mut archive = zip::ZipArchive::new(std::fs::File::open(data(file)).unwrap()).unwrap();
        let mut members = Vec::new();
        for i in 0..archive.len() {
            let mut member = archive.by_index(i).unwrap();
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            members.push((member.name().unwrap().into_owned(), content));
        }
        let pickle = members
            .iter()
            .position(|(name, _)| name.ends_with("data.pkl"))
            .unwrap();
        for _ in 0..rounds {
            let mut broken = members[pickle].1.clone();
            mutate(&mut broken, &mut random);
            let members: Vec<(&str, &[u8])> = members
                .iter()
                .enumerate()
                .map(|(i, (name, content))| {
                    (
                        name.as_str(),
                        if i == pickle { &broken[..] } else { content },
                    )
                })
                .collect();
            survived += usize::from(survive(zip(&members)));
        }
    }
    // Flips in the data itself are let through, and they must be: else nothing past the first
    // check was ever reached.
    assert!(survived > rounds / 10, "{survived} of {}", 7 * rounds);
}

#[test]
fn broken_files_do_no_harm() {
    break_files(1500, 1);
}

#[test]
#[ignore = "minutes: cargo test --test weights -- --ignored"]
#[expect(clippy::print_stdout, reason = "a failure is repeated by its seed")]
fn very_many_broken_files_do_no_harm() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for seed in seed..seed + 20 {
        println!("seed {seed}");
        break_files(5000, seed);
    }
}
