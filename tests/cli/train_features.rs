//! `senet train --features`: what is kept, used again and refused; runs that end early.

use std::fs;
use std::path::Path;

use serde_json::Value;

#[cfg(unix)]
use super::embed::is_halfway;
use super::env::Env;
use super::train::{CLASSES, files, nothing_left, picture, shapes, train};

#[test]
fn the_same_command_writes_the_same_files_with_any_number_of_threads() {
    let env = Env::new();
    shapes(&env, "data", 0..8);
    let run = |threads: &str, more: &[&str]| {
        let options = [
            "data",
            "-o",
            "out",
            "--force",
            "--html",
            "page.html",
            "--augment",
            "flip",
        ];
        let (code, report, messages) =
            train(&env, &[&options, more, &["--threads", threads]].concat());
        assert_eq!(code, 0, "{messages}");
        (
            files(&env, "out"),
            fs::read(env.path("page.html")).unwrap(),
            report,
        )
    };
    let expected = run("1", &[]);
    assert!(run("3", &[]) == expected);
    for threads in ["1", "2", "3"] {
        let kept = ["--features", "kept"];
        assert!(run(threads, &kept) == expected, "{threads} threads");
    }
}

#[test]
fn images_that_fail_are_listed_and_the_others_learned_from() {
    let env = Env::new();
    shapes(&env, "data", 0..6);
    env.write("data/ring/broken.png", "no image");
    for _ in 0..2 {
        let options = ["data", "-o", "out", "--force", "--features", "f"];
        let (code, report, messages) = train(&env, &options);
        assert_eq!(code, 1, "{messages}");
        assert!(messages.contains("ring/broken.png"), "{messages}");
        assert_eq!(report["failed"], 1);
        assert_eq!(report["errors"][0]["image"], "ring/broken.png");
        assert_eq!(report["cross_validation"]["failed"], 1);
        assert_eq!(report["classes"][0]["images"], 6);
    }
    // The file keeps features of images that are known by their paths; new ones are added.
    fs::remove_file(env.path("data/ring/broken.png")).unwrap();
    fs::remove_file(env.path("data/ring/001.png")).unwrap();
    env.write("data/ring/new.png", picture(0, 9));
    let output = env.run(&[
        "train",
        "data",
        "-m",
        "demo",
        "-o",
        "kept",
        "--features",
        "f",
        "--json",
    ]);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(
        messages.contains("17 of 18 images have their features in f"),
        "{messages}"
    );
    let (code, again, _) = train(&env, &["data", "-o", "anew"]);
    assert_eq!(code, 0);
    let mut kept: Value = serde_json::from_slice(&output.stdout).unwrap();
    kept["directory"] = "anew".into();
    assert_eq!(kept, again);
}

#[test]
fn features_of_something_else_are_refused() {
    let env = Env::new();
    shapes(&env, "data", 0..3);
    assert_eq!(train(&env, &["data", "-o", "out", "--features", "f"]).0, 0);
    let kept = fs::read(env.path("f")).unwrap();
    let demo = "models/weights/seresnet20.fashion_mnist.safetensors";
    let mut weights = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(demo)).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    env.write("other.safetensors", weights);
    for (name, options) in [
        ("preprocessing", &["--img-size", "32"][..]),
        ("exif", &["--no-exif"]),
        ("augmentation", &["--augment", "flip"]),
        ("precision", &["--precision", "bf16"]),
        ("weights", &["--weights", "other.safetensors"]),
        ("model", &["-m", "out"]),
    ] {
        let model = if name == "model" {
            &[][..]
        } else {
            &["-m", "demo"]
        };
        let command = ["train", "data", "-o", "x", "--features", "f", "-q"];
        let output = env.run(&[&command, model, options].concat());
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {messages}");
        assert!(
            messages.contains("f holds features of something else"),
            "{messages}"
        );
        assert!(!env.path("x").exists(), "{name}");
        assert!(fs::read(env.path("f")).unwrap() == kept, "{name}");
    }
    // Other images with the same paths.
    for (class, name) in CLASSES.iter().enumerate() {
        for number in 0..3 {
            let other = picture((class + 1) % 3, number + 3);
            env.write(&format!("others/{name}/{number:03}.png"), other);
        }
    }
    let (code, _, messages) = train(&env, &["others", "-o", "x", "--features", "f"]);
    assert_eq!(code, 2, "{messages}");
    assert!(
        messages.contains("f holds other features of") && messages.contains("`--features`"),
        "{messages}"
    );
    assert!(fs::read(env.path("f")).unwrap() == kept);
    // The card of other weights does not say that they are the model's own.
    let card = || fs::read_to_string(env.path("x/README.md")).unwrap();
    let weights = ["--weights", "other.safetensors"];
    assert_eq!(
        train(&env, &[&["data", "-o", "x"], &weights[..]].concat()).0,
        0
    );
    assert!(
        card().contains("with the weights of other.safetensors"),
        "{}",
        card()
    );
    assert!(card().contains("license: unknown"), "{}", card());
    let options = ["--features", "f", "--img-size", "32", "-q"];
    let command = ["train", "data", "-m", "demo", "-o", "y"];
    env.check("train-other-features", &[&command[..], &options].concat());
}

/// Killed or interrupted while it computes features, the same command then writes what it would have written.
#[test]
#[cfg(unix)]
fn a_run_that_was_ended_goes_on_and_writes_the_same_file() {
    use std::process::{Command, Stdio};

    let env = Env::new();
    shapes(&env, "data", 0..10);
    let arguments = |out| ["train", "data", "-m", "demo", "-o", out, "--features", "f"];
    let mut images = 10..60;
    for (signal, code) in [("-KILL", None), ("-INT", Some(130))] {
        // How many take longer than the time between two checkpoints depends on the machine.
        loop {
            for index in images.clone() {
                env.image("large.jpg", &format!("data/{}/{index}.jpg", CLASSES[0]));
            }
            let mut run = env.interruptible(&arguments("out"));
            let mut run = run
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let halfway = is_halfway(&env, &mut run, "f", images.end + 20);
            let sent = Command::new("kill")
                .args([signal, &run.id().to_string()])
                .status();
            let ended = run.wait().unwrap();
            if halfway {
                assert!(sent.unwrap().success());
                assert_eq!(ended.code(), code);
                break;
            }
            assert!(images.end < 5000, "no run takes long enough");
            images = images.end..4 * images.end;
            for left in ["f", "f.part", "f.journal"] {
                let _ = fs::remove_file(env.path(left));
            }
            let _ = fs::remove_dir_all(env.path("out"));
        }
        assert!(!env.path("out").exists());
        let output = env.run(&arguments("out"));
        let messages = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{messages}");
        assert!(
            messages.contains("images have their features in f"),
            "{messages}"
        );
        fs::remove_file(env.path("f")).unwrap();
        assert_eq!(env.run(&arguments("whole")).status.code(), Some(0));
        assert!(files(&env, "out") == files(&env, "whole"));
        nothing_left(&env);
        fs::remove_file(env.path("f")).unwrap();
        for folder in ["out", "whole"] {
            fs::remove_dir_all(env.path(folder)).unwrap();
        }
    }
}
