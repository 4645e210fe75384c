//! Broken files by the thousand: truncated, and changed at random.

use std::io::Read;

use senet::weights::Weights;

use super::build::zip;
use super::data;

/// Opens the bytes and reads whatever can be read: an error is fine, a panic or a tensor whose size
/// does not match its shape is not.
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

/// One file in each container format.
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

/// Changes `bytes` in a few places; pieces are copied from `others`.
fn mutate(bytes: &mut Vec<u8>, others: &[u8], random: &mut Random) {
    const OPCODES: &[u8] =
        b"(.)]}NQPRKMJGXUTVSILFBCctaeusbdlo012gpqrhji\x80\x81\x82\x85\x86\x87\x88\x89\x8a\
        \x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\0\xff\x7f";
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(10) {
            0..3 => bytes[at] ^= 1 << random.below(8),
            3..5 => bytes[at] = OPCODES[random.below(OPCODES.len())],
            5 => bytes.insert(at, OPCODES[random.below(OPCODES.len())]),
            6 => drop(bytes.drain(at..end)),
            7 => bytes[at..end].fill([0, 0x7f, 0xff][random.below(3)]),
            8 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let from = random.below(others.len());
                let part = &others[from..others.len().min(from + random.below(200))];
                bytes.splice(at..end, part.iter().copied());
            }
        }
    }
}

/// A file whose pickle is changed.
struct Sample {
    /// The bytes before and after the pickle, or the other members of the archive.
    members: Vec<(String, Vec<u8>)>,
    pickle: Vec<u8>,
}

impl Sample {
    fn of_zip(file: &str) -> Self {
        let start = zip::read::Config {
            archive_offset: zip::read::ArchiveOffset::Known(0),
        };
        let file = std::fs::File::open(data(file)).unwrap();
        let mut archive = zip::ZipArchive::with_config(start, file).unwrap();
        let mut members = Vec::new();
        let mut pickle = Vec::new();
        for i in 0..archive.len() {
            let mut member = archive.by_index(i).unwrap();
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            let name = member.name().unwrap().into_owned();
            if name.ends_with("/data.pkl") {
                pickle = content;
            } else {
                members.push((name, content));
            }
        }
        assert!(!pickle.is_empty());
        Self { members, pickle }
    }

    fn with(&self, pickle: &[u8]) -> Vec<u8> {
        let folder = self.members[0].0.split('/').next().unwrap();
        let name = format!("{folder}/data.pkl");
        let others = self
            .members
            .iter()
            .map(|(name, content)| (name.as_str(), &content[..]));
        let members: Vec<(&str, &[u8])> = std::iter::once((name.as_str(), pickle))
            .chain(others)
            .collect();
        zip(&members)
    }
}

/// Archives with everything that a pickle may contain.
const ZIPS: [&str; 9] = [
    "zip_protocol2.pth",
    "zip_protocol4.pth",
    "training.pth",
    "around_zip_protocol1.pth",
    "around_zip_protocol2.pth",
    "around_zip_protocol5.pth",
    "hostile_zip_protocol1.pth",
    "hostile_zip_protocol4.pth",
    "kinds.pth",
];

/// Files that are changed anywhere.
const WHOLE: [&str; 10] = [
    "new.caffemodel",
    "old.caffemodel",
    "all.safetensors",
    "zip_protocol2.pth",
    "legacy_protocol2.pth",
    "legacy_protocol4.pth",
    "training_legacy.pth",
    "around_legacy_protocol1.pth",
    "around_legacy_protocol4.pth",
    "hostile_legacy_protocol2.pth",
];

/// Calls `check` with mutated files until it returns false.
fn mutated(seed: u64, mut check: impl FnMut(Vec<u8>) -> bool) {
    let mut random = Random(seed);
    let zips = ZIPS.map(Sample::of_zip);
    let whole = WHOLE.map(|file| std::fs::read(data(file)).unwrap());
    let pickles: Vec<u8> = zips
        .iter()
        .flat_map(|sample| sample.pickle.clone())
        .collect();
    loop {
        for file in &whole {
            let mut broken = file.clone();
            mutate(&mut broken, &pickles, &mut random);
            if !check(broken) {
                return;
            }
        }
        // Most of an archive is zip headers and data; its pickle gets its own share.
        for sample in &zips {
            let mut broken = sample.pickle.clone();
            mutate(&mut broken, &pickles, &mut random);
            if !check(sample.with(&broken)) {
                return;
            }
        }
    }
}

#[test]
fn broken_files_do_no_harm() {
    let (mut count, mut survived) = (0, 0);
    mutated(1, |file| {
        survived += usize::from(survive(file));
        count += 1;
        count < 10_000
    });
    // Changes in the tensor data are accepted, and must be: otherwise nothing got past the first
    // check.
    assert!(survived > count / 20, "{survived} of {count}");
}

/// Runs for `MUTATION_SECONDS`, by default a minute, and for at least `MUTATION_COUNT` files: no
/// panic, no file that takes a second, no more than 64 MiB in addition to the file.
///
/// `MUTATION_SECONDS=60 cargo test --test library mutations_do_no_harm -- --ignored --nocapture`
#[test]
#[ignore = "takes a fixed time: see its comment"]
#[expect(clippy::print_stdout, reason = "a failure is repeated by its seed")]
fn mutations_do_no_harm_for_a_fixed_time() {
    const MOST_MEMORY: usize = 64 << 20;
    let set = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<usize>().unwrap())
    };
    let seconds = set("MUTATION_SECONDS").unwrap_or(60) as u64;
    let least = set("MUTATION_COUNT").unwrap_or(0);
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    println!("seed {seed}");
    let begun = std::time::Instant::now();
    let (mut count, mut survived) = (0, 0);
    let (mut longest, mut largest) = (std::time::Duration::ZERO, 0);
    mutated(seed, |file| {
        let (length, start) = (file.len(), std::time::Instant::now());
        crate::MEMORY.reset_peak_usage();
        let before = crate::MEMORY.current_usage();
        survived += usize::from(survive(file));
        let memory = crate::MEMORY.peak_usage().saturating_sub(before);
        largest = largest.max(memory);
        longest = longest.max(start.elapsed());
        count += 1;
        assert!(
            memory <= MOST_MEMORY + length,
            "{memory} bytes, file {count}"
        );
        assert!(
            start.elapsed().as_secs() < 1,
            "{:?}, file {count}",
            start.elapsed()
        );
        count < least || begun.elapsed().as_secs() < seconds
    });
    println!(
        "{count} files in {:?}, {survived} were read; the longest took {longest:?}, the largest {largest} bytes",
        begun.elapsed()
    );
}

/// Writes the tensors read from every file in the folder `COMPARE_FOLDER`, for
/// `tests/tools/compare_weights.py`.
#[test]
#[ignore = "part of tests/tools/compare_weights.py"]
fn describe_files_for_comparison() {
    let folder = std::path::PathBuf::from(std::env::var("COMPARE_FOLDER").unwrap());
    let mut lines = String::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let line = match Weights::open(&path) {
            Err(error) => serde_json::json!({"file": name, "error": error.to_string()}),
            Ok(weights) => {
                let tensors: serde_json::Map<_, _> = weights
                    .names()
                    .map(|name| {
                        // As bits, so that nothing is lost.
                        let floats = weights.f64(name).map(|values| {
                            values
                                .iter()
                                .map(|value| value.to_bits().to_string())
                                .collect::<Vec<_>>()
                        });
                        let integers = weights
                            .i64(name)
                            .map(|values| values.iter().map(i64::to_string).collect::<Vec<_>>());
                        let tensor = serde_json::json!({
                            "shape": weights.shape(name),
                            "floats": floats.ok(),
                            "integers": integers.ok(),
                        });
                        (name.to_owned(), tensor)
                    })
                    .collect();
                serde_json::json!({"file": name, "tensors": tensors})
            }
        };
        lines += &format!("{line}\n");
    }
    std::fs::write(folder.with_extension("jsonl"), lines).unwrap();
}
