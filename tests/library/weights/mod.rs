//! Weights files: those of PyTorch and safetensors are read correctly, and hostile or broken files
//! are errors that name the fault, never a panic, a wrong tensor or a memory bomb.
//!
//! The files in `data/weights` are made by `tools/make_weights_files.py` and `tools/make_caffe.py`.

mod broken;
mod build;
mod caffe;
mod fit;
mod hostile;
mod pickled;
mod shards;
mod zip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use senet::weights::{DType, LooksLike, Weights, WeightsError};

use build::{archive, dict, pickle, refused, safetensors, tensor, zip};

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/weights")
        .join(file)
}

#[derive(serde::Deserialize)]
struct Expected {
    tensors: BTreeMap<String, Tensor>,
    files: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    values: Vec<serde_json::Value>,
}

fn expected() -> BTreeMap<String, Expected> {
    let read = |file| -> BTreeMap<String, Expected> {
        serde_json::from_slice(&std::fs::read(data(file)).unwrap()).unwrap()
    };
    let mut all = read("expected.json");
    all.extend(read("caffe.json"));
    all
}

/// A value as Python's script writes it: JSON has no infinity.
fn number(value: &serde_json::Value) -> f64 {
    match value {
        serde_json::Value::String(name) => name.parse().unwrap(),
        serde_json::Value::Bool(value) => f64::from(*value),
        number => number.as_f64().unwrap(),
    }
}

/// Every value of a tensor, read by the reader for its type.
fn values(weights: &Weights, name: &str) -> Vec<f64> {
    match weights.dtype(name).unwrap() {
        DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U8
        | DType::U16
        | DType::U32
        | DType::Bool => {
            let values = weights.i64(name).unwrap();
            values.into_iter().map(|v| v as f64).collect()
        }
        _ => {
            let values = weights.f64(name).unwrap();
            let single: Vec<f64> = weights
                .f32(name)
                .unwrap()
                .into_iter()
                .map(f64::from)
                .collect();
            assert_eq!(
                format!("{single:?}"),
                format!("{values:?}"),
                "{name}: f32 and f64"
            );
            values
        }
    }
}

#[test]
fn every_container_holds_what_was_saved() {
    for (content, expected) in expected() {
        assert!(!expected.files.is_empty(), "{content}");
        for file in &expected.files {
            let weights = Weights::open(data(file)).unwrap();
            let names: Vec<&str> = weights.names().collect();
            assert_eq!(names, expected.tensors.keys().collect::<Vec<_>>(), "{file}");
            assert_eq!(weights.len(), names.len());
            for (name, tensor) in &expected.tensors {
                let dtype = match tensor.dtype.as_str() {
                    "float64" => DType::F64,
                    "float32" => DType::F32,
                    "float16" => DType::F16,
                    "bfloat16" => DType::BF16,
                    "int64" => DType::I64,
                    "int32" => DType::I32,
                    "int16" => DType::I16,
                    "int8" => DType::I8,
                    "uint8" => DType::U8,
                    "bool" => DType::Bool,
                    "uint16" => DType::U16,
                    "uint32" => DType::U32,
                    "float8_e4m3fn" => DType::F8E4M3,
                    "float8_e5m2" => DType::F8E5M2,
                    "float8_e4m3fnuz" => DType::F8E4M3Fnuz,
                    "float8_e5m2fnuz" => DType::F8E5M2Fnuz,
                    "float8_e8m0fnu" => DType::F8E8M0,
                    other => panic!("{other}"),
                };
                assert_eq!(weights.dtype(name), Some(dtype), "{file}: {name}");
                assert_eq!(
                    weights.shape(name),
                    Some(&tensor.shape[..]),
                    "{file}: {name}"
                );
                let found = values(&weights, name);
                assert_eq!(found.len(), tensor.values.len(), "{file}: {name}");
                for (found, wanted) in found.into_iter().zip(&tensor.values) {
                    let wanted = number(wanted);
                    assert!(
                        found == wanted || found.is_nan() && wanted.is_nan(),
                        "{file}: {name}: {found} is not {wanted}"
                    );
                }
            }
        }
    }
}

#[test]
fn missing_and_mistaken_tensors_are_errors() {
    let path = data("module.bin");
    let weights = Weights::open(&path).unwrap();
    assert_eq!(weights.source(), path.display().to_string());
    assert_eq!(weights.shape("nowhere"), None);
    let error = weights.f32("nowhere").unwrap_err();
    assert!(matches!(&error, WeightsError::MissingTensor { name, .. } if name == "nowhere"));
    assert!(error.hint().is_some());
    let counter = "1.num_batches_tracked";
    assert!(matches!(
        weights.f32(counter),
        Err(WeightsError::WrongDtype {
            found: DType::I64,
            ..
        })
    ));
    assert!(matches!(
        weights.i64("0.weight"),
        Err(WeightsError::WrongDtype {
            found: DType::F32,
            ..
        })
    ));
    let error = Weights::open(data("no such file")).unwrap_err();
    assert!(matches!(&error, WeightsError::Unreadable { .. }), "{error}");
    let error = Weights::open(data("")).unwrap_err();
    assert!(matches!(&error, WeightsError::Unreadable { .. }), "{error}");
}

#[test]
fn an_unread_dtype_is_an_error_only_for_its_tensor() {
    let header = r#"{"a":{"dtype":"U64","shape":[1],"data_offsets":[0,8]},
                     "b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    let file = safetensors(header, &[&[0; 8][..], &1f32.to_le_bytes()].concat());
    let weights = Weights::from_bytes("w", file).unwrap();
    assert_eq!(weights.f32("b").unwrap(), [1.0]);
    let error = weights.i64("a").unwrap_err().to_string();
    assert!(
        error.contains("`a` of `w`") && error.contains("U64"),
        "{error}"
    );

    let complex = tensor("ComplexFloatStorage", 1, 0, &[1], &[1]);
    let file = archive(&pickle(dict(&[("c", complex)])), &[0; 8]);
    let weights = Weights::from_bytes("w", file).unwrap();
    assert!(matches!(
        weights.f32("c"),
        Err(WeightsError::WrongDtype { .. })
    ));
}

#[test]
fn other_files_are_recognised() {
    let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
    let old = [b"storages", &[0; 249][..], b"ustar\0"].concat();
    let cases: [(&[u8], LooksLike); 13] = [
        (&old, LooksLike::TarCheckpoint),
        (b"", LooksLike::Empty),
        (b"<!DOCTYPE html><html>404", LooksLike::Html),
        (b"\n <html lang='en'>", LooksLike::Html),
        (b"{\"cfg\": {\"url\": 1}}", LooksLike::Json),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n",
            LooksLike::GitLfsPointer,
        ),
        (b"{\"architecture\": \"seresnet50\"}", LooksLike::Json),
        (&tar, LooksLike::Tar),
        (b"\x1f\x8b\x08\0\0\0\0\0", LooksLike::Gzip),
        (b"\x80\x04\x95\x05\0\0\0\0\0\0\0}.", LooksLike::Pickle),
        (b"\x80\x02.", LooksLike::Pickle),
        (b"PK\x05\x06\0\0", LooksLike::Zip),
        (b"\x89HDF\r\n\x1a\n", LooksLike::Unknown),
    ];
    for (bytes, expected) in cases {
        match Weights::from_bytes("file", bytes.to_vec()) {
            Err(WeightsError::NotWeights { looks_like, .. }) => assert_eq!(looks_like, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pth");
    std::fs::write(&empty, b"").unwrap();
    let error = Weights::open(&empty).unwrap_err();
    assert!(error.to_string().contains("it is empty"), "{error}");
}

#[test]
fn other_zip_archives_are_recognised() {
    let looks = |members: &[(&str, &[u8])]| match Weights::from_bytes("file", zip(members)) {
        Err(WeightsError::NotWeights { looks_like, .. }) => looks_like,
        other => panic!("{other:?}"),
    };
    assert_eq!(looks(&[("word/document.xml", b"<x/>")]), LooksLike::Zip);
    let script: [(&str, &[u8]); 2] = [
        ("m/data.pkl", b"\x80\x02}."),
        ("m/constants.pkl", b"\x80\x02)."),
    ];
    assert_eq!(looks(&script), LooksLike::TorchScript);

    let good = pickle(dict(&[("a", tensor("FloatStorage", 1, 0, &[1], &[1]))]));
    let members: [(&str, &[u8]); 3] = [
        ("m/data.pkl", &good),
        ("m/byteorder", b"big"),
        ("m/data/0", &[0; 4]),
    ];
    refused(zip(&members), "not little-endian");
    refused(zip(&members[..1]), "its data `0` is missing");
}

#[test]
fn compression_matters_only_where_it_is_read() {
    let good = pickle(dict(&[("a", tensor("FloatStorage", 1, 0, &[1], &[1]))]));
    let members: [(&str, &[u8]); 4] = [
        ("m/data.pkl", &good),
        ("m/byteorder", b"little"),
        ("m/data/0", &[0, 0, 0xc0, 0x3f]),
        ("m/code/net.py", b"def forward(self)"),
    ];
    for (name, _) in &members[..3] {
        let why = format!("member `{name}` is compressed");
        refused(called_deflated(zip(&members), name), &why);
    }
    let file = called_deflated(zip(&members), "m/code/net.py");
    assert_eq!(
        Weights::from_bytes("w", file).unwrap().f32("a").unwrap(),
        [1.5]
    );

    // `torch.jit.save` compresses the code and nothing else.
    let script = [&members[..], &[("m/constants.pkl", b"\x80\x02).")]].concat();
    match Weights::from_bytes("w", called_deflated(zip(&script), "m/code/net.py")) {
        Err(WeightsError::NotWeights { looks_like, .. }) => {
            assert_eq!(looks_like, LooksLike::TorchScript);
        }
        other => panic!("{other:?}"),
    }
}

/// The archive with one member marked as compressed in both headers.
fn called_deflated(mut archive: Vec<u8>, member: &str) -> Vec<u8> {
    // Magic number, and the offsets of the compression method and the name.
    for (magic, method, name) in [(b"PK\x03\x04", 8, 30), (b"PK\x01\x02", 10, 46)] {
        let at = (0..archive.len()).find(|&i| {
            archive[i..].starts_with(magic)
                && archive
                    .get(i + name..)
                    .is_some_and(|b| b.starts_with(member.as_bytes()))
        });
        archive[at.unwrap() + method] = 8;
    }
    archive
}

#[test]
fn the_prefixes_of_wrappers_are_removed_in_every_format() {
    let header = |first: &str, second: &str| {
        format!(
            r#"{{"{first}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},
                "{second}":{{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}}}"#
        )
    };
    let wrapped = header("module.fc.weight", "_orig_mod.module.fc.bias");
    let weights = Weights::from_bytes("w", safetensors(&wrapped, &[0; 8])).unwrap();
    assert_eq!(
        weights.names().collect::<Vec<_>>(),
        ["fc.bias", "fc.weight"]
    );
    let both = header("fc.bias", "module.fc.bias");
    refused(safetensors(&both, &[0; 8]), "are both `fc.bias`");
}
