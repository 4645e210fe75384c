//! Hand-made weights files, and the expected errors of bad ones.

use std::io::{Cursor, Write};

use senet::weights::Weights;
use zip::write::SimpleFileOptions;

pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

/// Asserts that the file is an error whose text contains `why`.
#[track_caller]
pub(crate) fn refused(file: Vec<u8>, why: &str) {
    let begun = std::time::Instant::now();
    let error = Weights::from_bytes("file", file).unwrap_err().to_string();
    assert!(
        error.contains("`file`") && error.contains(why),
        "expected `{why}`, found: {error}"
    );
    // Hostile files are small; the bound is loose because tests share the machine.
    assert!(
        begun.elapsed().as_secs() < 20,
        "{why}: {:?}",
        begun.elapsed()
    );
}

pub(crate) fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", &value.to_le_bytes()[..]].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [
        b"X",
        &(value.len() as u32).to_le_bytes()[..],
        value.as_bytes(),
    ]
    .concat()
}

pub(crate) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

pub(crate) fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&v| int(v)).collect::<Vec<_>>())
}

pub(crate) fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = pairs
        .iter()
        .flat_map(|(k, v)| [text(k), v.clone()].concat())
        .collect();
    [b"}(", &items[..], b"u"].concat()
}

pub(crate) fn storage(class: &str, elements: i64) -> Vec<u8> {
    storage_at("0", class, elements)
}

fn storage_at(key: &str, class: &str, elements: i64) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let id = tuple(&[
        text("storage"),
        class,
        text(key),
        text("cpu"),
        int(elements),
    ]);
    [&id[..], b"Q"].concat()
}

pub(crate) fn rebuild(args: &[Vec<u8>]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        &tuple(args)[..],
        b"R",
    ]
    .concat()
}

pub(crate) fn tensor(
    class: &str,
    elements: i64,
    offset: i64,
    shape: &[i64],
    strides: &[i64],
) -> Vec<u8> {
    let hooks = b"ccollections\nOrderedDict\n)R".to_vec();
    rebuild(&[
        storage(class, elements),
        int(offset),
        ints(shape),
        ints(strides),
        b"\x89".to_vec(),
        hooks,
    ])
}

/// A tensor with one `f32`, alone in the storage `key`.
pub(crate) fn tensor_of(key: &str) -> Vec<u8> {
    rebuild(&[
        storage_at(key, "FloatStorage", 1),
        int(0),
        ints(&[1]),
        ints(&[1]),
    ])
}

pub(crate) fn pickle(body: Vec<u8>) -> Vec<u8> {
    [b"\x80\x02", &body[..], b"."].concat()
}

pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A PyTorch file with one storage, `0`.
pub(crate) fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    zip(&[("archive/data.pkl", pickle), ("archive/data/0", storage)])
}
