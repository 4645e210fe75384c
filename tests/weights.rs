//! Weights files: what PyTorch and safetensors wrote is read rightly, and hostile or broken files
//! are errors that name the fault, never a panic, a wrong tensor or a memory bomb.
//!
//! The files in `data/weights` are made by `tools/make_weights_files.py`.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use senet::weights::{DType, LooksLike, Weights, WeightsError, check_release_name, sha256_of};
use zip::write::SimpleFileOptions;

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
    serde_json::from_slice(&std::fs::read(data("expected.json")).unwrap()).unwrap()
}

/// Every value of a tensor, by the reader for its type.
fn values(weights: &Weights, name: &str) -> Vec<f64> {
    match weights.dtype(name).unwrap() {
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
            let values = weights.f64(name).unwrap();
            let single: Vec<f64> = weights
                .f32(name)
                .unwrap()
                .into_iter()
                .map(f64::from)
                .collect();
            assert_eq!(single, values, "{name}: f32 and f64 differ");
            values
        }
        _ => weights
            .i64(name)
            .unwrap()
            .into_iter()
            .map(|v| v as f64)
            .collect(),
    }
}

#[test]
fn every_container_holds_what_torch_saved() {
    for (content, expected) in expected() {
        assert!(expected.files.len() >= 8, "{content}");
        for file in &expected.files {
            let weights = Weights::open(&data(file)).unwrap();
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
                    other => panic!("{other}"),
                };
                assert_eq!(weights.dtype(name), Some(dtype), "{file}: {name}");
                assert_eq!(
                    weights.shape(name),
                    Some(&tensor.shape[..]),
                    "{file}: {name}"
                );
                let wanted: Vec<f64> = tensor
                    .values
                    .iter()
                    .map(|v| {
                        v.as_f64()
                            .unwrap_or_else(|| f64::from(v.as_bool().unwrap()))
                    })
                    .collect();
                assert_eq!(values(&weights, name), wanted, "{file}: {name}");
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
    let error = Weights::open(&data("no such file")).unwrap_err();
    assert!(matches!(&error, WeightsError::Unreadable { .. }), "{error}");
    let error = Weights::open(&data("")).unwrap_err();
    assert!(matches!(&error, WeightsError::Unreadable { .. }), "{error}");
}

#[test]
fn an_unread_dtype_is_an_error_only_for_its_tensor() {
    let header = r#"{"a":{"dtype":"U16","shape":[2],"data_offsets":[0,4]},
                     "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    let file = safetensors(header, &[0, 0, 0, 0, 0, 0, 0x80, 0x3f]);
    let weights = Weights::from_bytes("w", file).unwrap();
    assert_eq!(weights.f32("b").unwrap(), [1.0]);
    let error = weights.i64("a").unwrap_err().to_string();
    assert!(
        error.contains("`a` of `w`") && error.contains("U16"),
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
    let cases: [(&[u8], LooksLike); 11] = [
        (b"", LooksLike::Empty),
        (b"<!DOCTYPE html><html>404", LooksLike::Html),
        (b"\n <html lang='en'>", LooksLike::Html),
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
        match Weights::from_static("file", bytes) {
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
    // The compression method is at byte 8 of a local header and at byte 10 of a central one.
    let mut deflated = archive(&good, &[0; 4]);
    for (magic, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let places: Vec<usize> = (0..deflated.len() - 4)
            .filter(|&i| deflated[i..].starts_with(magic))
            .collect();
        places.iter().for_each(|place| deflated[place + at] = 8);
    }
    refused(deflated, "compressed");
}

#[test]
fn release_names_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("download.part");
    std::fs::write(&path, b"abc").unwrap();
    // FIPS 180-2, appendix B.1.
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256_of(&path).unwrap(), sha);
    check_release_name(&path, "se_resnet50-ba7816bf.pth").unwrap();
    check_release_name(&path, &format!("a-b-{sha}.pth")).unwrap();
    match check_release_name(&path, "se_resnet50-ce0d4300.pth") {
        Err(WeightsError::HashMismatch {
            expected, found, ..
        }) => {
            assert_eq!((expected.as_str(), found.as_str()), ("ce0d4300", sha));
        }
        other => panic!("{other:?}"),
    }
    for name in ["model.pth", "model-ba78.pth", "model-ba7816bx.pth", "-"] {
        let error = check_release_name(&path, name).unwrap_err();
        assert!(
            matches!(error, WeightsError::NotReleaseName { .. }),
            "{name}"
        );
    }
}

// Safetensors

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

/// Asserts that the file is an error whose text contains `why`.
#[track_caller]
fn refused(file: Vec<u8>, why: &str) {
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

#[test]
fn lying_safetensors_headers_are_errors() {
    let one = |tensor: &str, data: &[u8]| safetensors(&format!("{{\"a\":{tensor}}}"), data);
    let f32 = |shape: &str, range: &str| {
        format!("{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{range}}}")
    };
    let mut long = one(&f32("[1]", "[0,4]"), &[0; 4]);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(long.clone(), "over the limit");
    long[..8].copy_from_slice(&1_000_000u64.to_le_bytes());
    refused(long.clone(), "cut short: the header needs 1000008 bytes");
    long[..8].copy_from_slice(&20u64.to_le_bytes());
    refused(long, "safetensors header");

    refused(one(&f32("[2]", "[0,8]"), &[0; 4]), "cut short");
    refused(one(&f32("[1]", "[0,4]"), &[0; 5]), "not fully covered");
    refused(one(&f32("[2]", "[0,4]"), &[0; 4]), "invalid shape");
    refused(one(&f32("[1]", "[4,8]"), &[0; 8]), "invalid offset");
    refused(one(&f32("[1]", "[4,0]"), &[0; 4]), "invalid offset");
    refused(
        one(&f32("[1]", "[0,18446744073709551615]"), &[0; 4]),
        "cut short",
    );
    refused(
        one(&f32("[1]", "[18446744073709551612,0]"), &[0; 4]),
        "invalid offset",
    );
    refused(one(&f32("[-1]", "[0,4]"), &[0; 4]), "header");
    refused(
        one(&f32("[9223372036854775807,4]", "[0,4]"), &[0; 4]),
        "overflow",
    );
    refused(one(&f32("[4611686018427387904]", "[0,0]"), &[]), "overflow");
    refused(one("3", &[]), "header");
    refused(safetensors("{]", &[]), "header");
    refused(
        safetensors(&format!("{{\"a\":{}", "[".repeat(1_000_000)), &[]),
        "header",
    );
    refused(
        safetensors(
            &format!("{{\"__metadata__\":{}", "[".repeat(1_000_000)),
            &[],
        ),
        "header",
    );
    refused(b"\x01\x00\x00\x00\x00\x00\x00\x00{".to_vec(), "header");

    let two = |a: &str, b: &str, names: [&str; 2]| {
        let header = format!(
            "{{\"{}\":{},\"{}\":{}}}",
            names[0],
            f32("[1]", a),
            names[1],
            f32("[1]", b)
        );
        safetensors(&header, &[0; 8])
    };
    refused(two("[0,4]", "[0,4]", ["a", "b"]), "invalid offset");
    refused(two("[0,4]", "[2,6]", ["a", "b"]), "invalid offset");
    refused(two("[0,4]", "[4,8]", ["a", "a"]), "`a` occurs twice");
    assert_eq!(
        Weights::from_bytes("w", two("[4,8]", "[0,4]", ["a", "b"]))
            .unwrap()
            .len(),
        2
    );
}

// Pickles

fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", &value.to_le_bytes()[..]].concat()
}

fn text(value: &str) -> Vec<u8> {
    [
        b"X",
        &(value.len() as u32).to_le_bytes()[..],
        value.as_bytes(),
    ]
    .concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&v| int(v)).collect::<Vec<_>>())
}

fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = pairs
        .iter()
        .flat_map(|(k, v)| [text(k), v.clone()].concat())
        .collect();
    [b"}(", &items[..], b"u"].concat()
}

fn storage(class: &str, elements: i64) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let id = tuple(&[
        text("storage"),
        class,
        text("0"),
        text("cpu"),
        int(elements),
    ]);
    [&id[..], b"Q"].concat()
}

fn rebuild(args: &[Vec<u8>]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        &tuple(args)[..],
        b"R",
    ]
    .concat()
}

fn tensor(class: &str, elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
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

fn pickle(body: Vec<u8>) -> Vec<u8> {
    [b"\x80\x02", &body[..], b"."].concat()
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A PyTorch file with one storage, `0`.
fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    zip(&[("archive/data.pkl", pickle), ("archive/data/0", storage)])
}

#[test]
fn hostile_pickles_are_errors() {
    let refused = |pickle: Vec<u8>, why: &str| refused(archive(&pickle, &[0; 64]), why);
    let bare = |body: &[u8], why: &str| refused(pickle(body.to_vec()), why);

    bare(b"cos\nsystem\nX\x02\0\0\0id\x85R", "`os.system`");
    bare(b"cbuiltins\neval\nX\x01\0\0\x001\x85R", "`builtins.eval`");
    bare(
        b"\x8c\x05posix\x8c\x06system\x93X\x02\0\0\0id\x85R",
        "`posix.system`",
    );
    bare(b"carg\x1b[31m\nparse\n", "u{1b}");
    bare(b"(Vls\nios\nsystem\n", "opcode 0x56");
    bare(b"(X\x02\0\0\0idios\nsystem\n", "opcode 0x69");
    bare(b"ctorch\nFloatStorage\n)R", "`torch.FloatStorage`");
    bare(b"ctorch\nFloatStorage\n)\x81", "opcode 0x81");
    bare(b"K\x01)R", "calls something that is not a function");
    bare(b"]]\x93", "a global whose name is computed");

    // One list, then a tuple of ten of the last value, over and over.
    let mut laughs = b"](K\x01K\x02eq\x00".to_vec();
    for level in 0..40 {
        laughs.extend(
            [b'(']
                .iter()
                .chain([b'h', level].repeat(10).iter())
                .chain([b't', b'q', level + 1].iter()),
        );
    }
    bare(&laughs, "over the limit");
    let long = text(&"x".repeat(1 << 16));
    let fetched = [&long[..], b"q\x00(", &b"h\x00".repeat(1 << 20), b"t"].concat();
    bare(&fetched, "over the limit");
    let kept = [&long[..], b"\x85", &b"q\x00".repeat(1 << 20)].concat();
    bare(&kept, "over the limit");

    bare(
        &[b"\x8d", &(1u64 << 63).to_le_bytes()[..]].concat(),
        "ends in the middle",
    );
    bare(
        &[b"X", &u32::MAX.to_le_bytes()[..]].concat(),
        "ends in the middle",
    );
    bare(
        &[b"\x95", &u64::MAX.to_le_bytes()[..]].concat(),
        "ends in the middle",
    );
    bare(b"X\x01\0\0\0\xff", "UTF-8");
    bare(&[b"\x8a\xff", &[1; 255][..]].concat(), "more than 64 bits");
    bare(b"\x8b\x01\0\0\0\x01", "opcode 0x8b");

    for open in [&b"]"[..], b"(", b"}(N"] {
        let close: &[u8] = if open == b"]" {
            b"a"
        } else if open == b"(" {
            b"t"
        } else {
            b"u"
        };
        bare(
            &[open.repeat(100_000), close.repeat(100_000)].concat(),
            "nesting",
        );
    }
    bare(
        &[b"N".to_vec(), b"\x85".repeat(100_000)].concat(),
        "nesting",
    );
    bare(&[b")".to_vec(), b"Q".repeat(100_000)].concat(), "nesting");

    refused(Vec::new(), "ends in the middle");
    refused(b"\x80\x02".to_vec(), "ends in the middle");
    refused(b"\x80\x02}".to_vec(), "ends in the middle");
    refused(b"\x80\x02.".to_vec(), "unfinished");
    refused(b"\x80\x02NN.".to_vec(), "unfinished");
    refused(b"\x80\x02N(.".to_vec(), "unfinished");
    refused(b"\x80\x09}.".to_vec(), "protocol 9");
    for body in [
        &b"a"[..],
        b"]a",
        b"(a",
        b"](\x85",
        b"(q\x00",
        b"q\x00",
        b"h\x07",
        b"t",
        b"R",
        b"Q",
        b"b",
        b"}Ns",
        b"}(Nu",
        b"]NNs",
        b"NNa",
    ] {
        let error = Weights::from_bytes("file", archive(&pickle(body.to_vec()), &[])).unwrap_err();
        assert!(
            matches!(error, WeightsError::Damaged { .. }),
            "{body:?}: {error}"
        );
    }
    // What Python keeps by reference and Candle by value: silently wrong if it were let through.
    bare(
        b"}q\x00(X\x01\0\0\0aNuX\x01\0\0\0bh\x00s",
        "used in two places",
    );
    bare(b"}q\x00h\x00(X\x01\0\0\0aNu\x86", "used in two places");
    bare(b"]q\x00h\x00Na\x86", "used in two places");

    bare(b"K\x01", "something else than a dict");
    bare(b"}", "holds no tensors");
    bare(
        &dict(&[("state_dict", int(3))]),
        "`state_dict` is not a dict",
    );
    bare(&dict(&[("epoch", int(3))]), "holds no tensors");
    for id in [&b"N"[..], b")", b"K\x01\x85", b"NNNNN"] {
        bare(&[&b"(("[..], id, b"tQ\x85"].concat(), "");
        bare(&[&b"]("[..], id, b"Qe"].concat(), "");
    }
    let module = tuple(&[
        text("module"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("source"),
        text("x"),
        int(1),
    ]);
    bare(&[&module[..], b"Q"].concat(), "whole Python module");
}

#[test]
fn tensors_stay_inside_their_storage() {
    let file = |tensor: Vec<u8>| archive(&pickle(dict(&[("a", tensor)])), &[0; 64]);
    let f32 = |elements, offset, shape: &[i64], strides: &[i64]| {
        file(tensor("FloatStorage", elements, offset, shape, strides))
    };
    for (shape, strides) in [
        (&[16][..], &[1][..]),
        (&[4, 4], &[1, 4]),
        (&[2, 2], &[13, 2]),
        (&[], &[]),
        (&[0], &[1]),
    ] {
        let weights = Weights::from_bytes("w", f32(16, 0, shape, strides)).unwrap();
        let count: i64 = shape.iter().product();
        assert_eq!(weights.f32("a").unwrap().len() as i64, count);
    }
    refused(f32(17, 0, &[16], &[1]), "larger than the data");
    refused(f32(i64::MAX, 0, &[16], &[1]), "larger than the data");
    refused(f32(16, 0, &[17], &[1]), "more elements");
    refused(f32(16, 1, &[16], &[1]), "outside its storage");
    refused(f32(16, 0, &[4, 4], &[5, 1]), "outside its storage");
    refused(f32(8, 8, &[1], &[1]), "outside its storage");
    refused(f32(16, i64::MAX, &[2], &[1]), "outside its storage");
    refused(
        f32(16, i64::MAX, &[2, 2], &[i64::MAX, i64::MAX]),
        "overflows",
    );
    refused(f32(16, 0, &[i64::MAX, i64::MAX], &[0, 0]), "overflows");
    refused(f32(16, 0, &[1 << 40], &[0]), "more elements");
    refused(f32(16, -1, &[1], &[1]), "impossible");
    refused(f32(16, 0, &[-1], &[1]), "impossible");
    refused(f32(16, 0, &[2], &[-1]), "impossible");
    refused(f32(16, 0, &[2, 2], &[1]), "impossible");
    refused(f32(-1, 0, &[1], &[1]), "storage");
    refused(file(rebuild(&[])), "impossible");
    refused(
        file(rebuild(&[storage("FloatStorage", 16), int(0)])),
        "impossible",
    );
    refused(
        file(rebuild(&[int(0), int(0), ints(&[1]), ints(&[1])])),
        "impossible",
    );
    refused(
        file(b"ctorch._utils\n_rebuild_parameter\n)R".to_vec()),
        "without a tensor",
    );
    let twice = dict(&[
        ("a", tensor("FloatStorage", 16, 0, &[1], &[1])),
        ("b", tensor("HalfStorage", 16, 0, &[1], &[1])),
    ]);
    refused(archive(&pickle(twice), &[0; 64]), "two types or sizes");
    let same = tensor("FloatStorage", 16, 0, &[1], &[1]);
    let same = dict(&[("a", same.clone()), ("module.a", same)]);
    refused(archive(&pickle(same), &[0; 64]), "`a`: it occurs twice");
}

#[test]
fn python_2_checkpoints_are_read() {
    // `OrderedDict([['a', tensor]])` with byte strings and the attribute `_metadata`.
    let mut body = b"ccollections\nOrderedDict\nq\x01](]q\x02(U\x01a".to_vec();
    body.extend(tensor("FloatStorage", 2, 0, &[2], &[1]));
    body.extend(b"ee\x85Rq\x03}U\x09_metadatah\x01)Rsb");
    let storage = [1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat();
    let weights = Weights::from_bytes("w", archive(&pickle(body), &storage)).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(weights.f32("a").unwrap(), [1.5, -2.0]);
}

#[test]
fn legacy_storages_are_checked() {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let system = |little: u8| [b"}X\x0d\0\0\0little_endian", &[little][..], b"s"].concat();
    let view = tuple(&[text("v"), int(1), int(2)]);
    let class = b"ctorch\nFloatStorage\n".to_vec();
    let id = tuple(&[text("storage"), class, text("0"), text("cpu"), int(4), view]);
    let viewed = rebuild(&[[&id[..], b"Q"].concat(), int(0), ints(&[2]), ints(&[1])]);
    let keys = |keys: &[&str]| {
        let keys: Vec<u8> = keys.iter().flat_map(|key| text(key)).collect();
        pickle([b"](", &keys[..], b"e"].concat())
    };
    let floats: Vec<u8> = [1f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let block = [&4u64.to_le_bytes(), &floats[..]].concat();
    let file = |version: i64, little: u8, keys: Vec<u8>, block: &[u8]| {
        let version = [b"M".to_vec(), (version as u16).to_le_bytes().to_vec()].concat();
        let model = pickle(dict(&[("a", viewed.clone())]));
        [
            &magic[..],
            &pickle(version),
            &pickle(system(little)),
            &model,
            &keys,
            block,
        ]
        .concat()
    };
    let good = Weights::from_bytes("w", file(1001, 0x88, keys(&["0"]), &block)).unwrap();
    assert_eq!(good.f32("a").unwrap(), [2.0, 3.0]);
    refused(file(1002, 0x88, keys(&["0"]), &block), "1001");
    refused(file(1001, 0x89, keys(&["0"]), &block), "little-endian");
    refused(file(1001, 0x88, keys(&["1"]), &block), "belongs to nothing");
    refused(file(1001, 0x88, keys(&[]), &block), "missing");
    refused(
        file(1001, 0x88, keys(&["0", "0"]), &block.repeat(2)),
        "twice",
    );
    refused(
        file(1001, 0x88, pickle(b"N".to_vec()), &block),
        "list of storages",
    );
    refused(
        file(1001, 0x88, keys(&["0"]), &block[..20]),
        "cut short: storage `0`",
    );
    let wrong = [&u64::MAX.to_le_bytes(), &floats[..]].concat();
    refused(
        file(1001, 0x88, keys(&["0"]), &wrong),
        "should have 4 elements",
    );
}

// Broken files by the thousand

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
fn very_many_broken_files_do_no_harm() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for seed in seed..seed + 20 {
        println!("seed {seed}");
        break_files(5000, seed);
    }
}
