//! `senet embed`.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use senet::embed::{FeatureFile, FeatureType};
use serde_json::{Value, json};

use super::env::{Env, json_rows};

/// Five pictures and a file that is none.
fn pictures() -> Env {
    let env = Env::new();
    for (name, to) in [
        ("ankle-boot.png", "photos/a.png"),
        ("grey.png", "photos/b.png"),
        ("rgb.jpg", "photos/sub/d.jpg"),
        ("plain.gif", "photos/sub/e.gif"),
        ("tiny.jpg", "photos/f.jpg"),
    ] {
        env.image(name, to);
    }
    env.write("photos/c.png", "no picture");
    env
}

const PATHS: [&str; 5] = ["a.png", "b.png", "f.jpg", "sub/d.jpg", "sub/e.gif"];

/// Runs `senet embed photos -m demo` with more arguments: the exit code and the messages.
fn embed(env: &Env, arguments: &[&str]) -> (i32, String) {
    let all = [&["embed", "photos", "-m", "demo"], arguments].concat();
    let output = env.run(&all);
    assert!(output.stdout.is_empty(), "messages go to stderr");
    let messages = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), messages)
}

fn open(env: &Env, name: &str) -> FeatureFile {
    FeatureFile::open(env.path(name)).unwrap()
}

fn paths(file: &FeatureFile) -> Vec<String> {
    (0..file.len())
        .map(|row| file.path(row).into_owned())
        .collect()
}

/// The JSON of a safetensors file's header.
fn header(bytes: &[u8]) -> Value {
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

#[test]
fn features_and_errors_are_written() {
    let env = pictures();
    env.check(
        "embed",
        &["embed", "photos", "-m", "demo", "-q", "-o", "a.safetensors"],
    );
    let header = header(&fs::read(env.path("a.safetensors")).unwrap());
    let metadata = &header["__metadata__"];
    assert_eq!(metadata["paths"], json!(PATHS).to_string());
    assert_eq!(metadata["model"], "seresnet20.fashion_mnist");
    assert_eq!(metadata["weights"].as_str().unwrap().len(), 64);
    let input: Value = serde_json::from_str(metadata["input"].as_str().unwrap()).unwrap();
    assert_eq!(input["size"], json!([28, 28]));
    let features = &header["features"];
    let width = features["shape"][1].as_u64().unwrap();
    assert_eq!(features["shape"], json!([5, width]));
    assert_eq!(features["dtype"], "F32");
    let errors = json_rows(&fs::read(env.path("a.safetensors.errors.jsonl")).unwrap());
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["path"], "c.png");
    assert_eq!(errors[0]["index"], 2);
    assert!(errors[0]["error"].is_string());
    let left = fs::read_dir(env.path("")).unwrap().count();
    assert_eq!(left, 3, "the data, the file and its errors");
}

#[test]
fn every_form_has_the_same_rows() {
    let env = pictures();
    embed(&env, &["-o", "a.safetensors"]);
    let file = open(&env, "a.safetensors");
    assert_eq!(paths(&file), PATHS);
    let (code, messages) = embed(&env, &["-o", "a.npy"]);
    assert_eq!(code, 1, "{messages}");
    let array = fs::read(env.path("a.npy")).unwrap();
    assert!(array.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', "));
    let stated = format!("'shape': (5, {}), }}", file.width());
    let beginning = String::from_utf8_lossy(&array[..128]);
    assert!(beginning.contains(&stated), "{beginning}");
    assert_eq!(beginning.chars().last(), Some('\n'));
    let values = |bytes: &[u8]| -> Vec<f32> {
        let values = bytes.as_chunks().0.iter();
        values.map(|&value| f32::from_le_bytes(value)).collect()
    };
    assert_eq!(values(&array[128..]), *file.rows(0..5));
    let list = fs::read_to_string(env.path("a.npy.paths.txt")).unwrap();
    assert_eq!(list.lines().collect::<Vec<_>>(), PATHS);
    embed(&env, &["-o", "a.jsonl"]);
    let rows = json_rows(&fs::read(env.path("a.jsonl")).unwrap());
    assert_eq!(rows.len(), 5);
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row["path"], PATHS[place]);
        let features: Vec<f32> = serde_json::from_value(row["features"].clone()).unwrap();
        assert_eq!(features, *file.row(place));
    }
    let (code, messages) = embed(&env, &["-o", "half.safetensors", "--dtype", "f16"]);
    assert_eq!(code, 1, "{messages}");
    let half = open(&env, "half.safetensors");
    assert_eq!(half.header().dtype, FeatureType::F16);
    for (value, half) in file.rows(0..5).iter().zip(&*half.rows(0..5)) {
        assert!((value - half).abs() <= value.abs() / 2048.0 + 1e-7);
    }
}

#[cfg(feature = "parquet")]
#[test]
fn a_table_has_the_same_rows() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    let env = pictures();
    embed(&env, &["-o", "a.safetensors"]);
    embed(&env, &["-o", "a.parquet"]);
    let file = open(&env, "a.safetensors");
    let table = SerializedFileReader::new(fs::File::open(env.path("a.parquet")).unwrap()).unwrap();
    let metadata = table
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap();
    let stated = metadata.iter().find(|pair| pair.key == "senet").unwrap();
    let stated: Value = serde_json::from_str(stated.value.as_ref().unwrap()).unwrap();
    let header = serde_json::to_string(file.header()).unwrap();
    assert_eq!(stated, serde_json::from_str::<Value>(&header).unwrap());
    let rows: Vec<_> = table
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 5);
    for (place, row) in rows.iter().enumerate() {
        let fields: Vec<_> = row.get_column_iter().map(|(_, field)| field).collect();
        let [Field::Str(path), Field::ListInternal(features)] = &fields[..] else {
            panic!("{row:?}");
        };
        assert_eq!(path, PATHS[place]);
        let features = features.elements().iter().map(|value| match value {
            Field::Float(value) => *value,
            other => panic!("{other:?}"),
        });
        assert_eq!(features.collect::<Vec<_>>(), *file.row(place));
    }
}

#[test]
fn layers_agree_with_each_other_and_with_the_answers() {
    let env = pictures();
    for (layer, file) in [("pooled", "p"), ("logits", "l"), ("stage4", "s")] {
        let out = format!("{file}.safetensors");
        let (code, messages) = embed(&env, &["-o", &out, "--layer", layer]);
        assert_eq!(code, 1, "{messages}");
    }
    let [pooled, logits, last] =
        ["p", "l", "s"].map(|name| open(&env, &format!("{name}.safetensors")));
    // The last map's mean is what the classifier takes.
    let &[channels, height, width] = &last.header().shape[..] else {
        panic!("{:?}", last.header().shape);
    };
    assert_eq!(channels, pooled.width());
    for row in 0..5 {
        let map = last.row(row);
        let means = map.chunks(height * width).map(|map| {
            let sum: f64 = map.iter().map(|&value| f64::from(value)).sum();
            sum / (height * width) as f64
        });
        for (mean, value) in means.zip(&*pooled.row(row)) {
            assert!((mean - f64::from(*value)).abs() < 1e-5, "{mean} {value}");
        }
    }
    let output = env.run(&[
        "classify",
        "-m",
        "demo",
        "photos/a.png",
        "-k",
        "10",
        "--json",
    ]);
    for answer in json_rows(&output.stdout)[0]["predictions"]
        .as_array()
        .unwrap()
    {
        let index = answer["index"].as_u64().unwrap() as usize;
        let logit = answer["logit"].as_f64().unwrap();
        assert!((logit - f64::from(logits.row(0)[index])).abs() < 1e-5);
    }
    embed(&env, &["-o", "s.jsonl", "--layer", "stage4"]);
    let rows = json_rows(&fs::read(env.path("s.jsonl")).unwrap());
    let map: Vec<Vec<Vec<f32>>> = serde_json::from_value(rows[0]["features"].clone()).unwrap();
    assert_eq!(map.concat().concat(), *last.row(0));
    assert_eq!(
        [map.len(), map[0].len(), map[0][0].len()],
        [channels, height, width]
    );
}

#[test]
fn images_are_found_wherever_eval_finds_them() {
    let env = pictures();
    let made = Command::new("tar")
        .args(["-cf", "more.tar", "-C", "photos", "a.png", "sub"])
        .current_dir(env.path(""))
        .status();
    assert!(made.unwrap().success());
    let (code, messages) = embed(&env, &["more.tar", "photos2/x.png", "-o", "a.safetensors"]);
    assert_eq!(code, 2, "{messages}");
    env.image("grey.png", "photos2/x.png");
    let (code, messages) = embed(&env, &["more.tar", "photos2/x.png", "-o", "a.safetensors"]);
    assert_eq!(code, 1, "{messages}");
    let found = paths(&open(&env, "a.safetensors"));
    let folder = PATHS.map(|path| format!("photos/{path}"));
    assert_eq!(found[..5], folder);
    assert_eq!(found[5], "more.tar/a.png");
    assert_eq!(found.last().unwrap(), "photos2/x.png");
}

#[test]
fn what_is_there_is_not_lost() {
    let env = pictures();
    let (code, _) = embed(&env, &["-o", "a.safetensors"]);
    assert_eq!(code, 1);
    let bytes = fs::read(env.path("a.safetensors")).unwrap();
    fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["embed", "photos", "-m", "demo", "-o"], more].concat()
    }
    env.check("embed-exists", &run(&["a.safetensors"]));
    env.check(
        "embed-other-layer",
        &run(&["a.safetensors", "--layer", "logits", "--resume"]),
    );
    env.check("embed-whole", &run(&["a.safetensors", "--resume"]));
    assert_eq!(fs::read(env.path("a.safetensors")).unwrap(), bytes);
    env.image("wide.png", "photos/z.png");
    env.check("embed-lacks", &run(&["a.safetensors", "--resume"]));
    let (code, messages) = embed(&env, &["-o", "a.safetensors", "--append"]);
    assert!(
        messages.contains(
            "a.safetensors already has the rows of 5 of 7 images, which it knows by path"
        ),
        "{messages}"
    );
    assert_eq!(code, 1, "c.png fails again: {messages}");
    assert_eq!(
        paths(&open(&env, "a.safetensors")),
        [&PATHS[..], &["z.png"]].concat()
    );
    env.image("wide.png", "photos/c.png");
    let (code, messages) = embed(&env, &["-o", "a.safetensors", "--append", "--quiet"]);
    assert_eq!((code, &*messages), (0, ""));
    assert_eq!(open(&env, "a.safetensors").len(), 7);
    assert!(!env.path("a.safetensors.errors.jsonl").exists());
    // In another order than that of the data.
    let (code, messages) = embed(&env, &["-o", "a.safetensors", "--resume"]);
    assert_eq!(code, 0, "{messages}");
    assert!(messages.contains("a.safetensors is whole"), "{messages}");
    let (code, messages) = embed(&env, &["-o", "a.safetensors", "--append"]);
    assert_eq!(code, 0, "{messages}");
    assert!(
        messages.contains("a.safetensors already has the rows of 7 images"),
        "{messages}"
    );
    // Another image of a path that the file has is not left out silently.
    env.image("grey.png", "other/a.png");
    let append = [
        "embed",
        "other",
        "-m",
        "demo",
        "-o",
        "a.safetensors",
        "--append",
    ];
    env.check("embed-other-image", &append);
    let (code, messages) = embed(&env, &["-o", "a.safetensors", "--force"]);
    assert_eq!(code, 0, "{messages}");
    // Now in the order of the data.
    assert_eq!(paths(&open(&env, "a.safetensors"))[2], "c.png");
}

#[test]
fn an_array_does_not_say_what_it_is_of() {
    let env = pictures();
    let (code, messages) = embed(&env, &["-o", "a.npy"]);
    assert_eq!(code, 1, "{messages}");
    let again = ["embed", "photos", "-m", "demo", "-o", "a.npy", "--resume"];
    env.check("embed-array-exists", &again);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let env = pictures();
    for (name, arguments) in [
        ("extension", &["-o", "a.txt"][..]),
        ("layer", &["-o", "a.npy", "--layer", "stage6"]),
        ("stage", &["-o", "a.npy", "--layer", "stage5"]),
        ("l2-map", &["-o", "a.npy", "--layer", "stage2", "--l2"]),
        ("f16", &["-o", "a.jsonl", "--dtype", "f16"]),
        ("append-array", &["-o", "a.npy", "--append"]),
        ("no-folder", &["-o", "none/a.npy"]),
        ("itself", &["-o", "photos/a.png", "--force"]),
    ] {
        let all = [&["embed", "photos", "-m", "demo", "-q"], arguments];
        if name == "itself" {
            let all = [
                "embed",
                "photos/a.png",
                "-m",
                "demo",
                "-o",
                "./photos/a.png",
                "--force",
            ];
            env.check("embed-itself", &all);
        } else {
            env.check(&format!("embed-{name}"), &all.concat());
        }
    }
    let left = fs::read_dir(env.path("")).unwrap().count();
    assert_eq!(left, 1, "nothing is written");
}

#[cfg(unix)]
#[test]
fn odd_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let env = pictures();
    let picture = fs::read(env.path("photos/a.png")).unwrap();
    let broken = env.path("photos").join("g\ng.png");
    fs::write(&broken, &picture).unwrap();
    let (code, messages) = embed(&env, &["-o", "a.npy"]);
    assert_eq!(code, 2, "{messages}");
    assert!(
        messages.contains(r#"the path "g\ng.png" has a line break"#),
        "{messages}"
    );
    assert!(!env.path("a.npy.part").exists() && !env.path("a.npy.journal").exists());
    let bytes = OsStr::from_bytes(b"h\xff.png");
    fs::write(env.path("photos").join(bytes), &picture).unwrap();
    let (code, messages) = embed(&env, &["-o", "a.safetensors"]);
    assert_eq!(code, 1, "{messages}");
    let file = open(&env, "a.safetensors");
    let has = |name: &[u8]| file.paths().any(|path| path == name);
    assert!(has(b"g\ng.png") && has(b"h\xff.png"));
    // Known by its bytes.
    let (code, messages) = embed(&env, &["-o", "a.safetensors", "--append"]);
    assert_eq!(code, 1, "{messages}");
    assert_eq!(open(&env, "a.safetensors").len(), 7);
}

/// Waits until the run has made a checkpoint; whether it then has as much before it as behind.
pub(super) fn is_halfway(env: &Env, run: &mut Child, name: &str, images: usize) -> bool {
    while run.try_wait().unwrap().is_none() {
        let journal = fs::read_to_string(env.path(&format!("{name}.journal")));
        let journal = journal.unwrap_or_default();
        let lines = journal
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let done = lines.filter_map(|line: Value| line["done"].as_u64()).max();
        if let Some(done @ 1..) = done {
            return 2 * done as usize <= images;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// A data set that takes a while, and a run on it that has made a checkpoint and is not done.
fn started(name: &str, command: impl Fn(&Env, &[&str]) -> Command) -> (Env, Child) {
    let env = Env::new();
    env.write("photos/5.jpg", "no picture");
    let mut images = 6..60;
    // How many take longer than the time between two checkpoints depends on the machine.
    loop {
        for index in images.clone() {
            env.image("large.jpg", &format!("photos/{index}.jpg"));
        }
        let mut run = command(&env, &["embed", "photos", "-m", "demo", "-o", name]);
        let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
        if is_halfway(&env, &mut run, name, images.end - 5) {
            return (env, run);
        }
        run.wait().unwrap();
        assert!(images.end < 5000, "no run takes long enough");
        images = images.end..4 * images.end;
        fs::remove_file(env.path(name)).unwrap();
    }
}

/// Resumes the run and compares the file with that of a run of its own.
fn resume(env: &Env, name: &str) {
    assert!(!env.path(name).exists());
    let (code, messages) = embed(env, &["-o", name]);
    assert_eq!(code, 2, "{messages}");
    assert!(messages.contains("is unfinished"), "{messages}");
    let (code, messages) = embed(env, &["-o", name, "--resume"]);
    assert_eq!(code, 1, "{messages}");
    assert!(messages.contains(" were done before"), "{messages}");
    embed(env, &["-o", "whole.safetensors"]);
    for end in ["", ".errors.jsonl"] {
        let [whole, resumed] = ["whole.safetensors", name]
            .map(|name| fs::read(env.path(&format!("{name}{end}"))).unwrap());
        assert!(whole == resumed, "{name}{end} differs");
    }
}

#[test]
fn a_killed_run_is_resumed_to_the_same_bytes() {
    let (env, mut run) = started("a.safetensors", Env::command);
    // On Unix, by signal 9.
    run.kill().unwrap();
    run.wait().unwrap();
    resume(&env, "a.safetensors");
}

#[cfg(unix)]
#[test]
fn two_runs_do_not_write_one_file() {
    let (env, mut run) = started("a.safetensors", Env::command);
    let stopped = Command::new("kill")
        .args(["-STOP", &run.id().to_string()])
        .status();
    assert!(stopped.unwrap().success());
    for start in ["--quiet", "--resume", "--force", "--append"] {
        let (code, messages) = embed(&env, &["-o", "a.safetensors", start]);
        assert_eq!(code, 2, "{messages}");
        let expected = "another run is writing a.safetensors";
        assert!(messages.contains(expected), "{start}: {messages}");
    }
    run.kill().unwrap();
    run.wait().unwrap();
    resume(&env, "a.safetensors");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_can_be_resumed() {
    let (env, run) = started("a.safetensors", Env::interruptible);
    let sent = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let output = run.wait_with_output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{messages}");
    assert!(messages.contains("continue with --resume"), "{messages}");
    resume(&env, "a.safetensors");
}
