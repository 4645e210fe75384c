//! `senet similar`.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use senet::embed::FeatureFile;

use super::env::{Env, data, json_rows};

/// Photos, of which two are equal and one is a smaller version, and the file of their features.
fn photos() -> Env {
    let env = Env::new();
    for (name, to) in [
        ("ankle-boot.png", "photos/boot.png"),
        ("ankle-boot.png", "photos/copy/boot again.png"),
        ("420.jpg", "photos/street.jpg"),
        ("444.jpg", "photos/street 2.jpg"),
        ("grey.png", "photos/grey.png"),
    ] {
        env.image(name, to);
    }
    embed(&env, "photos", "photos.safetensors");
    env
}

fn embed(env: &Env, folder: &str, file: &str) {
    let output = env.run(&["embed", folder, "-m", "demo", "-o", file, "--threads", "2"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

const SIMILAR: [&str; 5] = ["similar", "--in", "photos.safetensors", "--threads", "2"];

fn similar(arguments: &[&'static str]) -> Vec<&'static str> {
    SIMILAR.iter().chain(arguments).copied().collect()
}

#[test]
fn neighbors_of_images() {
    let env = photos();
    env.check(
        "similar",
        &similar(&["photos/boot.png", "photos/grey.png", "-k", "3"]),
    );
    env.image("ankle-boot.png", "queries/a.png");
    env.write("queries/bad.png", "no image");
    env.check("similar-json", &similar(&["queries", "-k", "2", "--json"]));
    env.check("similar-csv", &similar(&["queries", "-k", "2", "--csv"]));
    let boot = fs::read(data("pictures/ankle-boot.png")).unwrap();
    env.check_with_stdin("similar-stdin", &similar(&["-", "-k", "1", "-q"]), &boot);
}

#[test]
fn more_neighbors_than_images_are_all_of_them() {
    let env = photos();
    let output = env.run(&similar(&["photos/boot.png", "-k", "1000", "--json"]));
    let rows = json_rows(&output.stdout);
    assert_eq!(rows[0]["neighbors"].as_array().unwrap().len(), 5);
    assert_eq!(rows[0]["neighbors"][0]["similarity"], 1.0);
}

#[test]
fn near_duplicates() {
    let env = photos();
    env.check("similar-duplicates", &similar(&["--duplicates"]));
    env.check(
        "similar-duplicates-json",
        &similar(&["--duplicates", "--json"]),
    );
    env.check(
        "similar-duplicates-csv",
        &similar(&["--duplicates", "--csv", "--threshold", "0.9999"]),
    );
    env.image("ankle-boot.png", "new/boot.png");
    env.image("rgb.jpg", "new/other.jpg");
    embed(&env, "new", "new.safetensors");
    let new = ["--duplicates", "--new", "new.safetensors"];
    env.check("similar-new", &similar(&new));
    env.check(
        "similar-new-json",
        &similar(&[&new[..], &["--json"]].concat()),
    );
}

#[test]
fn what_contradicts_the_file_is_refused() {
    let env = photos();
    env.check(
        "similar-other-model",
        &similar(&["photos/boot.png", "-m", "se-resnet50", "--offline"]),
    );
    env.write("other.safetensors", "no weights");
    env.check(
        "similar-bad-weights",
        &similar(&["photos/boot.png", "-w", "other.safetensors"]),
    );
    // The same features of other weights, by their hash.
    let bytes = fs::read(env.path("photos.safetensors")).unwrap();
    let length = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..length].to_vec()).unwrap();
    let start = header.find("\"weights\":\"").unwrap() + 11;
    let mut changed = bytes.clone();
    changed[8 + start..8 + start + 4].copy_from_slice(b"0000");
    env.write("changed.safetensors", changed);
    let changed = ["similar", "--in", "changed.safetensors", "photos/boot.png"];
    let output = env.run(&changed);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("weights 0000"), "{message}");
    let new = ["--duplicates", "--new", "changed.safetensors"];
    let output = env.run(&similar(&new));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn wrong_arguments() {
    let env = photos();
    env.check(
        "similar-nothing",
        &["similar", "--in", "photos.safetensors"],
    );
    env.check("similar-both", &similar(&["a.png", "--duplicates"]));
    env.check(
        "similar-threshold",
        &similar(&["--duplicates", "--threshold", "2"]),
    );
    env.check(
        "similar-new-alone",
        &similar(&["a.png", "--new", "b.safetensors"]),
    );
    env.check(
        "similar-no-file",
        &["similar", "a.png", "--in", "none.safetensors"],
    );
    env.write("text.safetensors", "no features");
    env.check(
        "similar-no-features",
        &["similar", "a.png", "--in", "text.safetensors"],
    );
    // The other formats do not say what they are of.
    embed(&env, "photos", "photos.npy");
    env.check("similar-npy", &["similar", "a.png", "--in", "photos.npy"]);
    let image = ["similar", "--in", "photos/boot.png", "--duplicates"];
    env.check("similar-image", &image);
    let new = ["--duplicates", "--new", "photos.npy"];
    let output = env.run(&similar(&new));
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("photos.npy does not say"), "{message}");
}

#[test]
fn features_with_another_classifier() {
    let env = photos();
    for (name, to) in [
        ("grey.png", "classes/a/1.png"),
        ("grey.bmp", "classes/a/2.png"),
        ("420.jpg", "classes/b/1.jpg"),
        ("422.jpg", "classes/b/2.jpg"),
    ] {
        env.image(name, to);
    }
    let train = [
        "train",
        "classes",
        "-m",
        "demo",
        "-o",
        "head",
        "--head-only",
    ];
    let output = env.run(&[&train[..], &["--strength", "1", "-q"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let head = "head/head.safetensors";
    let embed = ["embed", "photos", "-m", "demo", "--layer", "logits"];
    let output = env.run(&[&embed[..], &["--head", head, "-o", "logits.safetensors"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let query = [
        "similar",
        "photos/boot.png",
        "--in",
        "logits.safetensors",
        "-k",
        "2",
    ];
    // The classifier may have moved since.
    fs::rename(env.path(head), env.path("moved.safetensors")).unwrap();
    env.check(
        "similar-head",
        &[
            &query[..],
            &["--head", "moved.safetensors", "--threads", "2"],
        ]
        .concat(),
    );
    env.check("similar-without-head", &query);
    let with = ["photos/boot.png", "--head", "moved.safetensors"];
    let output = env.run(&similar(&with));
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("cannot be compared: weights "),
        "{message}"
    );
}

/// The parts of a file of features: its metadata, and the bytes of its rows.
fn parts(env: &Env, file: &str) -> (HashMap<String, String>, Vec<u8>) {
    let bytes = fs::read(env.path(file)).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let rows = tensors.tensor("features").unwrap().data().to_vec();
    (header.metadata().clone().unwrap(), rows)
}

/// Writes the rows of `photos.safetensors` after a change.
fn change(env: &Env, file: &str, change: impl Fn(&mut [[f32; 64]])) {
    let (metadata, mut rows) = parts(env, "photos.safetensors");
    let mut values: Vec<[f32; 64]> = bytemuck::pod_collect_to_vec(&rows);
    change(&mut values);
    rows.copy_from_slice(bytemuck::cast_slice(&values));
    let shape = vec![values.len(), 64];
    let tensor = TensorView::new(Dtype::F32, shape, &rows).unwrap();
    let path = env.path(file);
    safetensors::serialize_to_file([("features", tensor)], Some(metadata), &path).unwrap();
}

#[test]
fn every_kind_of_file_has_the_same_neighbors() {
    let env = photos();
    let query = |file| {
        let output = env.run(&[
            "similar",
            "photos",
            "--in",
            file,
            "--json",
            "--threads",
            "2",
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        json_rows(&output.stdout)
    };
    let expected = query("photos.safetensors");
    assert_eq!(expected.len(), 5);

    // The paths as tensors.
    let (mut metadata, rows) = parts(&env, "photos.safetensors");
    let paths: Vec<String> = serde_json::from_str(&metadata.remove("paths").unwrap()).unwrap();
    let mut offsets = vec![0_i64];
    offsets.extend(paths.iter().scan(0, |end, path| {
        *end += path.len() as i64;
        Some(*end)
    }));
    let bytes = paths.concat();
    let tensors = [
        ("features", Dtype::F32, vec![5, 64], &rows[..]),
        ("path_bytes", Dtype::U8, vec![bytes.len()], bytes.as_bytes()),
        (
            "path_offsets",
            Dtype::I64,
            vec![6],
            bytemuck::cast_slice(&offsets),
        ),
    ];
    let tensors = tensors
        .map(|(name, dtype, shape, data)| (name, TensorView::new(dtype, shape, data).unwrap()));
    let path = env.path("tensors.safetensors");
    safetensors::serialize_to_file(tensors, Some(metadata), &path).unwrap();
    assert_eq!(query("tensors.safetensors"), expected);

    let embed = ["embed", "photos", "-m", "demo", "--dtype", "f16"];
    env.run(&[&embed[..], &["-o", "half.safetensors"]].concat());
    let half = query("half.safetensors");
    assert_eq!(half.len(), 5);
    for (half, expected) in half.iter().zip(&expected) {
        let neighbors = [half, expected].map(|row| row["neighbors"].as_array().unwrap());
        for (half, expected) in neighbors[0].iter().zip(neighbors[1]) {
            assert_eq!(half["path"], expected["path"]);
            let [half, expected] =
                [half, expected].map(|neighbor| neighbor["similarity"].as_f64().unwrap());
            assert!((half - expected).abs() < 1e-3, "{half} {expected}");
        }
    }
}

#[test]
fn features_that_are_zero_or_not_finite() {
    let env = photos();
    change(&env, "zero.safetensors", |rows| {
        rows[0].fill(0.0);
        rows[3].fill(0.0);
    });
    env.check(
        "similar-zero",
        &[
            "similar",
            "photos/grey.png",
            "--in",
            "zero.safetensors",
            "--threads",
            "2",
        ],
    );
    let duplicates = [
        "similar",
        "--duplicates",
        "--in",
        "zero.safetensors",
        "--json",
    ];
    let output = env.run(&[&duplicates[..], &["--threshold", "0.5"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.is_empty() && !text.contains("boot.png\"}"), "{text}");
    change(&env, "nan.safetensors", |rows| rows[2][63] = f32::NAN);
    env.check(
        "similar-nan",
        &[
            "similar",
            "photos/grey.png",
            "--in",
            "nan.safetensors",
            "--threads",
            "2",
        ],
    );
    let duplicates = ["similar", "--duplicates", "--in", "nan.safetensors"];
    env.check("similar-nan-duplicates", &duplicates);
}

#[test]
fn results_depend_neither_on_threads_nor_on_the_cpu() {
    let mut env = photos();
    for name in [
        "exif-1.jpg",
        "exif-2.jpg",
        "large.jpg",
        "rgb.jpg",
        "palette.png",
    ] {
        env.image(name, &format!("more/{name}"));
    }
    embed(&env, "more", "more.safetensors");
    let searches: [&[&str]; 3] = [
        &["similar", "more", "--in", "photos.safetensors", "--json"],
        &[
            "similar",
            "--duplicates",
            "--in",
            "more.safetensors",
            "--threshold",
            "0.2",
            "--json",
        ],
        &[
            "similar",
            "--duplicates",
            "--in",
            "more.safetensors",
            "--threshold",
            "0.2",
            "--csv",
            "--new",
            "photos.safetensors",
        ],
    ];
    let run = |env: &Env, search: &[&str], threads| {
        let output = env.run(&[search, &["--threads", threads]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!output.stdout.is_empty());
        output.stdout
    };
    let expected = searches.map(|search| run(&env, search, "1"));
    for threads in ["2", "3", "7"] {
        assert_eq!(searches.map(|search| run(&env, search, threads)), expected);
    }
    env.set("SENET_ISA", "portable");
    assert_eq!(
        searches[1..]
            .iter()
            .map(|search| run(&env, search, "2"))
            .collect::<Vec<_>>(),
        expected[1..]
    );
}

#[test]
fn a_sheet_shows_what_is_there() {
    let env = photos();
    fs::remove_file(env.path("photos/grey.png")).unwrap();
    let sheet = |arguments: &[&'static str]| {
        let html = [arguments, &["--html", "sheet.html"]].concat();
        let output = env.run(&similar(&html));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let page = fs::read_to_string(env.path("sheet.html")).unwrap();
        let mut reader = quick_xml::Reader::from_str(&page);
        while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
        let pictures = page.matches("data:image/jpeg;base64,").count();
        (pictures, page.matches(">missing<").count(), page)
    };
    // The paths are those in the folder.
    let (pictures, missing, page) = sheet(&["photos/boot.png", "-k", "5"]);
    assert_eq!((pictures, missing), (1, 5));
    assert!(page.contains("copy/boot again.png"));
    let (pictures, missing, _) = sheet(&["photos/boot.png", "-k", "5", "--data", "photos"]);
    assert_eq!((pictures, missing), (5, 1));
    env.write("bad.png", "no image");
    let output = env.run(&similar(&["bad.png", "--html", "bad.html"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let page = fs::read_to_string(env.path("bad.html")).unwrap();
    assert!(page.contains("class=\"notice\"") && !page.contains("class=\"gallery\""));
    let (pictures, missing, page) = sheet(&["--duplicates", "--data", "photos"]);
    assert!(pictures >= 2 && missing == 0, "{pictures} {missing}");
    assert!(page.contains("group 1: "));
}

/// The Python programs of the guide.
fn recipes() -> Vec<&'static str> {
    let blocks = include_str!("../../src/guide/similar.md")
        .split("```python\n")
        .skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
#[ignore = "needs Python with the packages that the guide names: PYTHON=venv/bin/python cargo test --test cli recipes -- --ignored"]
fn recipes_find_the_same_neighbors() {
    let env = Env::new();
    for entry in fs::read_dir(data("pictures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        env.image(&name, &format!("photos/{name}"));
    }
    // Some of the pictures cannot be read.
    env.run(&["embed", "photos", "-m", "demo", "-o", "photos.safetensors"]);
    let first = FeatureFile::open(env.path("photos.safetensors")).unwrap();
    let query = format!("photos/{}", first.path(0));
    let ours = env.run(&[
        "similar",
        &query,
        "--in",
        "photos.safetensors",
        "-k",
        "5",
        "--json",
    ]);
    let ours = json_rows(&ours.stdout);
    let ours = ours[0]["neighbors"].as_array().unwrap().iter();
    let ours: Vec<(f64, &str)> = ours
        .map(|n| {
            (
                n["similarity"].as_f64().unwrap(),
                n["path"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!((ours.len(), recipes().len()), (5, 2));
    let python = std::env::var("PYTHON").unwrap_or("python3".to_owned());
    for recipe in recipes() {
        let mut command = Command::new(&python);
        let output = command.args(["-c", recipe]).current_dir(env.path(""));
        let output = output.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let theirs = text.lines().map(|line| line.split_once('\t').unwrap());
        let theirs: Vec<_> = theirs
            .map(|(similarity, path)| (similarity.parse::<f64>().unwrap(), path))
            .collect();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(theirs.len(), 5, "{recipe}\n{error}");
        for ((ours, our_path), (theirs, path)) in ours.iter().zip(theirs) {
            assert_eq!(*our_path, path, "{recipe}");
            assert!((ours - theirs).abs() < 1e-4, "{recipe}");
        }
    }
}

#[test]
#[ignore = "needs Python with the packages that the guide names for PostgreSQL: PYTHON=venv/bin/python cargo test --test cli recipes -- --ignored"]
fn recipes_for_an_index_are_right() {
    let env = Env::new();
    let python = std::env::var("PYTHON").unwrap_or("python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/check_pgvector.py");
    let output = Command::new(python)
        .arg(script)
        .arg(env.path("database"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}
