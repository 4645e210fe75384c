//! Sharded weights: an index and the files it names. `tools/make_shards.py` writes `data/shards`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use senet::weights::{LooksLike, Weights, WeightsError, files_of};

use super::{Tensor, values};

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/shards")
        .join(file)
}

/// A copy of the safetensors shards, to be damaged.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data("safetensors")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let index = folder.path().join("model.safetensors.index.json");
    (folder, index)
}

fn open(index: &Path, text: &str) -> WeightsError {
    fs::write(index, text).unwrap();
    Weights::open(index).unwrap_err()
}

#[test]
fn all_shards_together_hold_what_was_saved() {
    let text = fs::read(data("expected.json")).unwrap();
    let expected: BTreeMap<String, Tensor> = serde_json::from_slice(&text).unwrap();
    let mut prints = Vec::new();
    for (index, files) in [
        ("safetensors/model.safetensors.index.json", 4),
        ("bin/pytorch_model.bin.index.json", 4),
        ("wrapped/model.safetensors.index.json", 4),
    ] {
        let path = data(index);
        let weights = Weights::open(&path).unwrap();
        let names: Vec<&str> = weights.names().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{index}");
        for (name, tensor) in &expected {
            assert_eq!(weights.shape(name), Some(&tensor.shape[..]), "{name}");
            let wanted: Vec<f64> = tensor.values.iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(values(&weights, name), wanted, "{index}: {name}");
        }
        assert_eq!(weights.source(), path.display().to_string());
        assert!(weights.source_of("fc.bias").contains("00003-of-00003"));
        assert_eq!(files_of(&path).unwrap().len(), files);
        prints.push(weights.fingerprint().unwrap());
    }
    assert_eq!(prints[0], prints[1]);
    assert_eq!(prints[0], prints[2]);
}

#[test]
fn missing_shards_are_named() {
    let (folder, index) = copy();
    for shard in [1, 3] {
        let name = format!("model-0000{shard}-of-00003.safetensors");
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let error = Weights::open(&index).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with(
            "model.safetensors.index.json` names 3 shards, of which 2 are missing: \
             model-00001-of-00003.safetensors, model-00003-of-00003.safetensors"
        ),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("next to the index"));
}

#[test]
fn a_listed_tensor_that_is_missing_is_named() {
    let (folder, index) = copy();
    let of = |number: u32| {
        folder
            .path()
            .join(format!("model-0000{number}-of-00003.safetensors"))
    };
    fs::copy(of(1), of(3)).unwrap();
    let error = Weights::open(&index).unwrap_err();
    assert!(
        matches!(&error, WeightsError::ShardLacks { missing, .. } if missing[..] == ["fc.bias"]),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("00003-of-00003.safetensors` lacks 1 tensor that `"));
    assert!(
        text.contains("index.json` says it holds: fc.bias"),
        "{text}"
    );
}

#[test]
fn a_tensor_in_two_shards_is_taken_from_where_the_index_puts_it() {
    let (folder, index) = copy();
    fs::copy(
        folder.path().join("model-00001-of-00003.safetensors"),
        folder.path().join("copy.safetensors"),
    )
    .unwrap();
    let text = fs::read_to_string(&index).unwrap();
    let more = |name: &str| {
        text.replacen(
            "\"weight_map\": {",
            &format!("\"weight_map\": {{\"{name}\": \"copy.safetensors\","),
            1,
        )
    };
    // A copy that the index does not name, in a shard that it names for other tensors.
    let error = open(&index, &more("other"));
    assert!(matches!(error, WeightsError::ShardLacks { .. }), "{error}");
    let without = more("conv1.weight").replacen(
        "\"conv1.weight\": \"model-00001-of-00003.safetensors\",",
        "",
        1,
    );
    fs::write(&index, without).unwrap();
    let weights = Weights::open(&index).unwrap();
    assert!(
        weights
            .source_of("conv1.weight")
            .ends_with("copy.safetensors")
    );
    // Not named at all, and in two files.
    let names = "\"fc.bias\": \"model-00003-of-00003.safetensors\"";
    fs::copy(
        data("wrapped/model-00002-of-00003.safetensors"),
        folder.path().join("copy.safetensors"),
    )
    .unwrap();
    let two = format!(
        "{{\"weight_map\": {{{names}, \"bn1.weight\": \"model-00002-of-00003.safetensors\", \
         \"fc.weight\": \"copy.safetensors\"}}}}"
    );
    let error = open(&index, &two);
    let text = error.to_string();
    assert!(
        text.contains("does not name tensor `bn1.num_batches_tracked`, which both"),
        "{text}"
    );
}

#[test]
fn a_shard_stays_in_the_folder_of_the_index() {
    let (_folder, index) = copy();
    for name in [
        "../model.safetensors",
        "/etc/passwd",
        "a/../../b",
        ".",
        "./a",
        "..",
        "",
        "c:/x",
        "a\\\\b",
        "a\\u0000b",
    ] {
        let error = open(
            &index,
            &format!("{{\"weight_map\": {{\"a\": \"{name}\"}}}}"),
        );
        let text = error.to_string();
        assert!(
            text.contains("is not the name of a file in the index's folder"),
            "{name}: {text}"
        );
    }
}

#[test]
fn files_that_are_not_an_index_are_errors() {
    let (_folder, index) = copy();
    for (text, words) in [
        ("", "EOF while parsing"),
        ("[]", "invalid type"),
        ("{\"weight_map\": []}", "invalid type"),
        ("{\"weight_map\": {\"a\": 3}}", "invalid type"),
        ("{\"weight_map\": {}}", "names no tensor"),
        (
            "{\"weight_map\": {\"a\": \"x\", \"module.a\": \"y\"}}",
            "occurs twice",
        ),
    ] {
        let error = open(&index, text);
        assert!(matches!(error, WeightsError::Index { .. }), "{error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
        assert!(error.hint().is_some());
    }
    assert!(matches!(
        open(&index, "{\"architecture\": \"seresnet50\"}"),
        WeightsError::NotWeights {
            looks_like: LooksLike::Json,
            ..
        }
    ));
    let long = format!(
        "{{\"weight_map\": {{\"a\": \"{}\"}}}}",
        "x".repeat(17 << 20)
    );
    assert!(matches!(open(&index, &long), WeightsError::TooLarge { .. }));
    // An index of itself.
    let name = index.file_name().unwrap().to_str().unwrap().to_owned();
    let error = open(
        &index,
        &format!("{{\"weight_map\": {{\"a\": \"{name}\"}}}}"),
    );
    assert!(matches!(error, WeightsError::NotWeights { .. }), "{error}");
}
