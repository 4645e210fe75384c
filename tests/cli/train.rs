//! `senet train`, on small images of shapes with the built-in model.

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma};
use serde_json::Value;

use super::common::fashion_mnist;
use super::env::Env;
use super::eval_data::archive;

/// What images show: rings, or stripes of two directions; each image is another one of its class.
pub(super) const CLASSES: [&str; 3] = ["ring", "stripes 2", "stripes 10"];

pub(super) fn picture(class: usize, number: usize) -> Vec<u8> {
    let (scale, shift) = (1.0 + (number % 5) as f32 / 4.0, number as f32 / 3.0);
    let image = GrayImage::from_fn(28, 28, |x, y| {
        let (x, y) = (x as f32 - 13.5, y as f32 - 13.5);
        let way = match class {
            0 => (x * x + y * y).sqrt(),
            1 => x,
            _ => y,
        };
        let bright = 0.5 + 0.5 * (way * scale + shift).sin();
        let noise = ((x * 12.9 + y * 78.2 + number as f32).sin() * 43.0).fract() * 0.2;
        Luma([(255.0 * (0.8 * bright + noise).clamp(0.0, 1.0)) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A folder for each class, with images of these numbers.
pub(super) fn shapes(env: &Env, folder: &str, numbers: std::ops::Range<usize>) {
    for (class, name) in CLASSES.iter().enumerate() {
        for number in numbers.clone() {
            let path = format!("{folder}/{name}/{number:03}.png");
            env.write(&path, picture(class, number));
        }
    }
}

/// Exit code, the object on the last line, and the messages.
pub(super) fn train(env: &Env, arguments: &[&str]) -> (i32, Value, String) {
    let output = env.run(&[&["train", "-m", "demo", "-q", "--json"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let messages = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), report, messages)
}

pub(super) fn files(env: &Env, folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(env.path(folder)).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// No temporary file or directory is left.
pub(super) fn nothing_left(env: &Env) {
    let entries = fs::read_dir(env.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with(".senet")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_model_is_learned_and_works_at_once() {
    let env = Env::new();
    shapes(&env, "data", 0..10);
    shapes(&env, "val", 20..24);
    let options = [
        "data",
        "-o",
        "shapes",
        "--val",
        "val",
        "--html",
        "page.html",
    ];
    let (code, report, messages) = train(&env, &options);
    assert_eq!(code, 0, "{messages}");
    assert_eq!(report["images"], 30);
    let names: Vec<&Value> = report["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| &class["name"])
        .collect();
    assert_eq!(names, CLASSES);
    assert_eq!(report["cross_validation"]["answered"], 30);
    let top1 = |report: &Value| report["top"][0]["accuracy"].as_f64().unwrap();
    assert!(top1(&report["cross_validation"]) > 0.9, "{report}");
    let names: Vec<String> = files(&env, "shapes")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["README.md", "config.json", "model.safetensors"]);
    nothing_left(&env);

    // What is reported about the other images is what `eval` finds.
    let output = env.run(&["eval", "val", "-m", "shapes", "-q", "--json", "--exif"]);
    let evaluated: Value = serde_json::from_slice(&output.stdout).unwrap();
    for field in ["top", "loss", "confusions", "classes"] {
        assert_eq!(report["validation"][field], evaluated[field], "{field}");
    }
    let output = env.run(&[
        "classify",
        "val/ring/020.png",
        "-m",
        "shapes",
        "-q",
        "--json",
    ]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["predictions"][0]["label"], "ring", "{answer}");

    let card = fs::read_to_string(env.path("shapes/README.md")).unwrap();
    assert!(card.starts_with("---\nlicense: other\n"), "{card}");
    assert!(card.contains("`senet` alone opens the directory"), "{card}");
    let page = fs::read_to_string(env.path("page.html")).unwrap();
    assert!(
        page.contains("Strength (C)") && !page.contains("http:"),
        "{page}"
    );
}

#[test]
fn the_classifier_alone_gives_the_same_answers() {
    let env = Env::new();
    shapes(&env, "data", 0..8);
    let keep = ["--features", "data.features"];
    assert_eq!(
        train(&env, &[&["data", "-o", "whole"], &keep[..]].concat()).0,
        0
    );
    let (code, _, messages) = train(
        &env,
        &[&["data", "-o", "head", "--head-only"], &keep[..]].concat(),
    );
    assert_eq!(code, 0, "{messages}");
    let names: Vec<String> = files(&env, "head")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["README.md", "head.safetensors"]);
    let head = ["--head", "head/head.safetensors"];
    for command in [&["classify", "data/ring", "-k", "3"][..], &["eval", "data"]] {
        let answers = |options: &[&str]| {
            let output = env.run(&[command, &["-q", "--json"], options].concat());
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(0), "{text}");
            let rows = text.lines().map(|line| {
                let mut row: Value = serde_json::from_str(line).unwrap();
                row["model"] = Value::Null;
                row
            });
            rows.collect::<Vec<_>>()
        };
        let with_head = answers(&[&["-m", "demo"], &head[..]].concat());
        assert_eq!(with_head, answers(&["-m", "whole"]));
    }
    // The features of the learned model are those of its base, but it is another file.
    let output = env.run(&[&["classify", "data/ring", "-m", "whole"], &head[..]].concat());
    assert_eq!(output.status.code(), Some(2));
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(
        messages.contains("was learned on the features of seresnet20"),
        "{messages}"
    );
    env.write(
        "not-a-head",
        fs::read(env.path("whole/model.safetensors")).unwrap(),
    );
    env.check(
        "train-not-a-head",
        &[
            "classify",
            "data/ring",
            "-m",
            "demo",
            "--head",
            "not-a-head",
            "-q",
        ],
    );
}

#[test]
fn what_cannot_be_learned_writes_nothing() {
    let env = Env::new();
    shapes(&env, "data", 0..3);
    env.image("ankle-boot.png", "flat/a.png");
    env.image("ankle-boot.png", "one/boot/a.png");
    env.image("ankle-boot.png", "one/boot/b.png");
    env.image("ankle-boot.png", "few/boot/a.png");
    for number in 0..4 {
        env.image("ankle-boot.png", &format!("equal/a/{number}.png"));
        env.image("ankle-boot.png", &format!("equal/b/{number}.png"));
        env.image("ankle-boot.png", &format!("few/shoe/{number}.png"));
        env.write(&format!("broken/a/{number}.png"), "no image");
        env.write(&format!("broken/b/{number}.png"), "no image");
    }
    env.write("left/a/1.png", picture(0, 1));
    env.write("left/a/2.png", picture(0, 2));
    env.write("left/b/1.png", picture(1, 1));
    env.write("left/b/2.png", "no image");
    env.image("ankle-boot.png", "other/boot/a.png");
    env.write("data.features", "no features");
    for (name, arguments) in [
        ("one-class", &["one"][..]),
        ("flat", &["flat"]),
        ("few-images", &["few"]),
        ("equal-features", &["equal"]),
        ("nothing-readable", &["broken"]),
        ("few-readable", &["left"]),
        ("no-data", &["nowhere"]),
        ("other-classes", &["data", "--val", "other"]),
        ("one-fold", &["data", "--folds", "1"]),
        ("no-strength", &["data", "--strength", "0"]),
        ("no-column", &["data", "--group-by", "patient"]),
        ("foreign-features", &["data", "--features", "data.features"]),
        ("page-is-data", &["data", "--html", "data/ring"]),
        ("no-folder", &["data", "-o", "none/out"]),
    ] {
        let mut all = vec!["train", "-m", "demo", "-q"];
        all.extend(arguments);
        if !arguments.contains(&"-o") {
            all.extend(["-o", "out"]);
        }
        env.check(&format!("train-{name}"), &all);
        assert!(!env.path("out").exists(), "{name}");
        nothing_left(&env);
    }
}

#[test]
fn a_directory_is_replaced_only_on_request_and_as_a_whole() {
    let env = Env::new();
    shapes(&env, "data", 0..4);
    assert_eq!(train(&env, &["data", "-o", "out"]).0, 0);
    let first = files(&env, "out");
    env.check(
        "train-exists",
        &["train", "data", "-m", "demo", "-o", "out", "-q"],
    );
    env.check(
        "train-not-a-model",
        &["train", "data", "-m", "demo", "-o", "data", "-q", "--force"],
    );
    env.write("file", "mine");
    let (code, _, messages) = train(&env, &["data", "-o", "file", "--force"]);
    assert_eq!(code, 2, "{messages}");
    assert_eq!(fs::read(env.path("file")).unwrap(), b"mine");
    // A run that fails late leaves the old model.
    fs::create_dir(env.path("bad")).unwrap();
    env.write("bad/a/1.png", "no image");
    env.write("bad/a/2.png", "no image");
    env.write("bad/b/1.png", "no image");
    env.write("bad/b/2.png", "no image");
    assert_eq!(train(&env, &["bad", "-o", "out", "--force"]).0, 2);
    assert!(files(&env, "out") == first);
    assert_eq!(
        train(
            &env,
            &[
                "data",
                "-o",
                "out",
                "--force",
                "--strength",
                "0.5",
                "--head-only"
            ]
        )
        .0,
        0
    );
    let names: Vec<String> = files(&env, "out")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["README.md", "head.safetensors"]);
    nothing_left(&env);
}

#[test]
fn groups_and_small_classes() {
    let env = Env::new();
    shapes(&env, "data", 0..3);
    let table: String = CLASSES
        .iter()
        .flat_map(|class| (0..3).map(move |n| format!("{class}/{n:03}.png,{class},p{}\n", n % 2)))
        .collect();
    env.write("labels.csv", format!("image,class,patient\n{table}"));
    let options = [
        "data",
        "-o",
        "a",
        "--labels",
        "labels.csv",
        "--group-by",
        "patient",
    ];
    let output = env.run(&[&["train", "-m", "demo", "--json"], &options[..]].concat());
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(messages.contains("2 folds instead of 5"), "{messages}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["folds"], 2);
    assert_eq!(report["nested"], Value::Null);
    let (code, report, messages) = train(&env, &["data", "-o", "b"]);
    assert_eq!((code, &report["folds"]), (0, &Value::from(3)), "{messages}");
}

#[test]
fn archives_are_learned_from_like_folders() {
    let env = Env::new();
    shapes(&env, "data", 0..6);
    let mut images: Vec<(String, String, Vec<u8>)> = CLASSES
        .iter()
        .enumerate()
        .flat_map(|(class, name)| {
            (0..6).map(move |number| {
                let path = format!("{name}/{number:03}.png");
                (path, name.replace(' ', "_"), picture(class, number))
            })
        })
        .collect();
    // In the order of folders, so that the folds are the same.
    images.sort();
    let folders: Vec<(&str, &[u8])> = images
        .iter()
        .map(|(path, _, bytes)| (&**path, &**bytes))
        .collect();
    env.write("data.tar", archive(&folders));
    // Samples of WebDataset: image and class have one name.
    let samples: Vec<(String, &[u8])> = images
        .iter()
        .enumerate()
        .flat_map(|(number, (_, class, bytes))| {
            let name = format!("{number:04}");
            [
                (name.clone() + ".png", &**bytes),
                (name + ".cls", class.as_bytes()),
            ]
        })
        .collect();
    let samples: Vec<(&str, &[u8])> = samples
        .iter()
        .map(|(name, bytes)| (&**name, *bytes))
        .collect();
    env.write("samples.tar", archive(&samples));
    let figures = |data: &str| {
        let (code, report, messages) = train(&env, &[data, "-o", &format!("of-{data}")]);
        assert_eq!(code, 0, "{messages}");
        let classes: Vec<Value> = report["classes"].as_array().unwrap().clone();
        assert_eq!(classes.len(), 3);
        assert!(classes.iter().all(|class| class["images"] == 6));
        [
            report["strengths"].clone(),
            report["cross_validation"]["loss"].clone(),
        ]
    };
    let expected = figures("data");
    assert_eq!(figures("data.tar"), expected);
    assert_eq!(figures("samples.tar"), expected);
}

#[test]
#[cfg(feature = "parquet")]
fn tables_are_learned_from() {
    let env = Env::new();
    // Twice, as some classes have one image in it.
    let table = fs::read(super::env::data("eval/pictures.parquet")).unwrap();
    env.write("t.parquet", &table);
    env.write("u.parquet", &table);
    let (code, report, messages) = train(&env, &["t.parquet", "u.parquet", "-o", "out"]);
    assert_eq!(
        (code, &report["failed"]),
        (1, &Value::from(2)),
        "{messages}"
    );
    assert!(messages.contains("t.parquet/3: "), "{messages}");
    assert_eq!(report["folds"], 2);
}

/// Of 10,000 images, 300 have a wrong label.
#[test]
#[ignore = "needs Debian's dataset-fashion-mnist; cargo test --release --test cli fashion -- --ignored --nocapture"]
#[expect(
    clippy::print_stderr,
    reason = "the figure is what the test is run for"
)]
fn wrong_labels_of_fashion_mnist_are_doubted_first() {
    let env = Env::new();
    let (images, labels) = fashion_mnist::test_set();
    let mut wrong = std::collections::HashSet::new();
    for (index, (grey, label)) in images.iter().zip(&labels).enumerate() {
        let is_wrong = index % 100 % 33 == 7;
        let label = if is_wrong {
            (usize::from(*label) + 1 + index / 33 % 9) % 10
        } else {
            usize::from(*label)
        };
        let path = format!("{label}/{index:05}.png");
        let place = env.path(&format!("set/{path}"));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let image = GrayImage::from_raw(28, 28, grey.clone()).unwrap();
        image.save(place).unwrap();
        if is_wrong {
            wrong.insert(path);
        }
    }
    assert_eq!(wrong.len(), 300);
    let (code, report, messages) = train(&env, &["set", "-o", "out"]);
    assert_eq!(code, 0, "{messages}");
    let doubts = report["doubts"].as_array().unwrap().iter().take(300);
    let found = doubts.filter(|doubt| wrong.contains(doubt["image"].as_str().unwrap()));
    let found = found.count();
    eprintln!("{found} of 300 wrong labels are among the first 300 doubts");
    assert!(found >= 180);
}

/// The guide's commands run as they are written.
#[test]
#[cfg(unix)]
#[ignore = "needs Python and Debian's dataset-fashion-mnist; cargo test --release --test cli fashion -- --ignored"]
fn the_guide_to_training_runs_on_fashion_mnist() {
    let env = Env::new();
    std::os::unix::fs::symlink(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"),
        env.path("tests"),
    )
    .unwrap();
    let guide = include_str!("../../src/guide/train.md");
    let blocks = guide.split("```sh\n").skip(1);
    let commands: String = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert_eq!(commands.matches("senet train").count(), 3);
    let script = format!("senet() {{ \"$program\" \"$@\"; }}\nset -e\nprogram=$1\n{commands}");
    let output = env.under_shell(&script, &[]).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{messages}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("4000 of 4000 images, 4 classes"), "{text}");
    let page = fs::read_to_string(env.path("shoes.html")).unwrap();
    assert!(page.contains("Label doubts") && page.contains("data:image/jpeg"));
}
