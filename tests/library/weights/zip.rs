//! Zip archives as written by PyTorch, whatever the file's name and its faults.

use senet::weights::{Weights, WeightsError};

use super::build::{pickle, refused, tensor_of, text};

/// A member, and what its directory entry misstates.
#[derive(Clone, Default)]
struct Member {
    name: Vec<u8>,
    content: Vec<u8>,
    encrypted: bool,
    compressed: bool,
    /// Added to the length in the directory.
    longer: u32,
    /// Lengths and offset are in the extra field for 64-bit values.
    zip64: bool,
}

fn member(folder: &str, name: &str, content: &[u8]) -> Member {
    Member {
        name: format!("{folder}/{name}").into_bytes(),
        content: content.to_vec(),
        ..Member::default()
    }
}

/// The archive with the records that `torch.save` writes: the directory, a zip64 record, its locator,
/// the end record.
fn archive(members: &[Member]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let header = file.len() as u32;
        let length = member.content.len() as u32;
        let shared = |length: u32| {
            [
                &0u16.to_le_bytes()[..],
                &(0x800 | u16::from(member.encrypted)).to_le_bytes(),
                &(8 * u16::from(member.compressed)).to_le_bytes(),
                &[0; 8],
                &length.to_le_bytes(),
                &length.to_le_bytes(),
                &(member.name.len() as u16).to_le_bytes(),
            ]
            .concat()
        };
        let extra: Vec<u8> = if member.zip64 {
            let values = [length, length, header].map(|value| u64::from(value).to_le_bytes());
            [b"UT\x01\0\0\x01\0\x18\0", &values.concat()[..]].concat()
        } else {
            Vec::new()
        };
        let (said, place) = match member.zip64 {
            true => (u32::MAX, u32::MAX),
            false => (length + member.longer, header),
        };
        // Only this header has the padding that PyTorch puts before the data.
        let padding = [b"FB\x05\0", &[b'Z'; 5][..]].concat();
        file.extend(b"PK\x03\x04");
        file.extend(shared(length));
        file.extend((padding.len() as u16).to_le_bytes());
        file.extend(&member.name);
        file.extend(padding);
        file.extend(&member.content);
        directory.extend(b"PK\x01\x02\0\0");
        directory.extend(shared(said));
        directory.extend((extra.len() as u16).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(place.to_le_bytes());
        directory.extend(&member.name);
        directory.extend(extra);
    }
    let (start, length) = (file.len() as u64, directory.len() as u64);
    let count = members.len() as u64;
    file.extend(directory);
    let record = file.len() as u64;
    file.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
    for value in [count, count, length, start] {
        file.extend(value.to_le_bytes());
    }
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(record.to_le_bytes());
    file.extend(b"\x01\0\0\0PK\x05\x06\0\0\0\0");
    file.extend([(count as u16).to_le_bytes(); 2].concat());
    file.extend((length as u32).to_le_bytes());
    file.extend((start as u32).to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A checkpoint of `count` tensors, `t0` holding 0.0 and so on.
fn checkpoint(folder: &str, count: usize) -> Vec<Member> {
    let keys: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let tensors: Vec<u8> = keys
        .iter()
        .flat_map(|key| [text(&format!("t{key}")), tensor_of(key)].concat())
        .collect();
    let body = [b"}(", &tensors[..], b"u"].concat();
    let mut members = vec![
        member(folder, "data.pkl", &pickle(body)),
        member(folder, "byteorder", b"little"),
    ];
    for (i, key) in keys.iter().enumerate() {
        let value = (i as f32).to_le_bytes();
        members.push(member(folder, &format!("data/{key}"), &value));
    }
    members.push(member(folder, "version", b"3\n"));
    members
}

#[test]
fn archives_are_read_whatever_the_file_is_called() {
    let mut stems: Vec<String> = (1..=80).map(|length| "s".repeat(length)).collect();
    stems.extend(
        [
            "größe",
            "モデル_最良のもの_エポック",
            "best 🐍",
            "epoch=149-step=100500",
        ]
        .map(str::to_owned),
    );
    for stem in &stems {
        for count in [1, 20, 317] {
            let weights = Weights::from_bytes("w", archive(&checkpoint(stem, count)));
            let weights = weights.unwrap_or_else(|error| panic!("{stem}, {count}: {error}"));
            assert_eq!(weights.len(), count, "{stem}");
            let last = count - 1;
            assert_eq!(
                weights.f32(&format!("t{last}")).unwrap(),
                [last as f32],
                "{stem}"
            );
        }
    }
    // In Latin-1, as some systems write names.
    let mut members = checkpoint("x", 3);
    for member in &mut members {
        member.name[0] = 0xe9;
    }
    assert_eq!(
        Weights::from_bytes("w", archive(&members)).unwrap().len(),
        3
    );
}

#[test]
fn the_zip64_record_is_the_one_that_counts() {
    let good = archive(&checkpoint("m", 2));
    let end = good.len() - 22;
    let mut other = good.clone();
    // Another offset of the directory, another number of entries.
    other[end + 8..end + 20].fill(7);
    assert_eq!(Weights::from_bytes("w", other).unwrap().len(), 2);

    // Some tools omit it.
    let mut without = good.clone();
    without.drain(end - 76..end);
    assert_eq!(Weights::from_bytes("w", without).unwrap().len(), 2);
    // Or put a comment at the end.
    let commented = [&good[..], b"a comment"].concat();
    assert_eq!(Weights::from_bytes("w", commented).unwrap().len(), 2);

    let changed = |at: usize, value: &[u8]| {
        let mut file = good.clone();
        file[at..at + value.len()].copy_from_slice(value);
        file
    };
    let (locator, record) = (end - 20, end - 76);
    for at in [u64::MAX, 0, good.len() as u64] {
        refused(
            changed(locator + 8, &at.to_le_bytes()),
            "directory of the zip archive is missing",
        );
    }
    refused(
        changed(record + 48, &u64::MAX.to_le_bytes()),
        "directory of the zip archive is missing",
    );
    refused(
        changed(record + 48, &0u64.to_le_bytes()),
        "entry 0 of the zip archive's directory",
    );
    refused(
        changed(record + 32, &6u64.to_le_bytes()),
        "entry 5 of the zip archive's directory",
    );
    refused(
        changed(record + 32, &u64::MAX.to_le_bytes()),
        "over the limit of 131072",
    );
}

#[test]
fn lying_members_are_errors() {
    let members = checkpoint("m", 1);
    let with = |change: &dyn Fn(&mut Member)| {
        let mut members = members.clone();
        change(&mut members[2]);
        archive(&members)
    };
    refused(
        with(&|m| m.compressed = true),
        "member `m/data/0` is compressed or encrypted",
    );
    refused(
        with(&|m| m.encrypted = true),
        "member `m/data/0` is compressed or encrypted",
    );
    refused(
        with(&|m| m.longer = 1 << 20),
        "member `m/data/0` is not inside the file",
    );
    refused(
        with(&|m| m.longer = u32::MAX - 4),
        "member `m/data/0` is not inside the file",
    );
    let large = Weights::from_bytes("w", with(&|m| m.zip64 = true)).unwrap();
    assert_eq!(large.f32("t0").unwrap(), [0.0]);
    // PyTorch does not tell capital letters from small ones.
    for twin in ["m/version", "m/VERSION", "m/Data.pkl"] {
        refused(with(&|m| m.name = twin.into()), "occurs twice");
    }
    let mut lengths = archive(&members);
    let at = lengths.len() - 22 - 76 - (46 + 9);
    assert!(lengths[at..].starts_with(b"PK\x01\x02"));
    // The entry points to another member's header.
    lengths[at + 42] ^= 1;
    refused(lengths, "member `m/version` is not inside the file");

    // PyTorch takes the folder of the first member.
    let first = [checkpoint("m", 1), checkpoint("a", 2)].concat();
    assert_eq!(Weights::from_bytes("w", archive(&first)).unwrap().len(), 1);
    let stray = [vec![member("a", "x", b"")], checkpoint("m", 1)].concat();
    let error = Weights::from_bytes("w", archive(&stray)).unwrap_err();
    assert!(matches!(error, WeightsError::NotWeights { .. }), "{error}");
    refused(archive(&[]), "not a weights file");
}
