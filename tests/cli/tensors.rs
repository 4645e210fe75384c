//! `senet preprocess` and `senet verify`.

use senet::weights::Weights;

use super::env::{Env, data};

#[test]
fn preprocess_writes_the_networks_input() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.check(
        "preprocess",
        &[
            "preprocess",
            "boot.png",
            "--model",
            "se-resnet50",
            "--out",
            "input.safetensors",
        ],
    );
    let file = Weights::open(env.path("input.safetensors")).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["input"]);
    assert_eq!(file.shape("input").unwrap(), [1, 3, 224, 224]);
    assert!(
        file.f32("input")
            .unwrap()
            .iter()
            .all(|value| value.abs() < 3.0)
    );
}

#[test]
fn preprocess_through_pipes() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    assert!(
        env.run(&["preprocess", "boot.png", "-m", "demo", "-o", "file"])
            .status
            .success()
    );
    let png = std::fs::read(env.path("boot.png")).unwrap();
    let output = env.run_with_stdin(&["preprocess", "-", "-m", "demo", "-o", "-"], &png);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, std::fs::read(env.path("file")).unwrap());
}

#[test]
fn preprocess_that_fails_leaves_nothing() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.write("page.png", "<html>");
    env.check(
        "preprocess-bad-image",
        &["preprocess", "page.png", "-o", "input.safetensors"],
    );
    env.check(
        "preprocess-bad-folder",
        &["preprocess", "boot.png", "-o", "nowhere/input.safetensors"],
    );
    let entries = std::fs::read_dir(env.path("")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["boot.png", "page.png"]);
}

#[test]
fn verify() {
    let env = Env::new();
    let golden = data("golden/seresnet20.golden.safetensors");
    std::fs::copy(&golden, env.path("golden.safetensors")).unwrap();
    // The golden file is for other weights than the built-in ones.
    let output = env.run(&["verify", "demo", "--golden", "golden.safetensors", "--json"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["model"], "seresnet20.fashion_mnist");
    let logits = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["tensor"] == "logits")
        .unwrap();
    assert!(logits["max_abs"].as_f64().unwrap() > logits["tolerance"].as_f64().unwrap());

    env.check(
        "verify-missing-golden",
        &["verify", "demo", "--golden", "nowhere.safetensors"],
    );
    let weights = include_bytes!("../../models/weights/seresnet20.fashion_mnist.safetensors");
    env.write("weights.safetensors", weights);
    env.check(
        "verify-not-golden",
        &["verify", "demo", "--golden", "weights.safetensors"],
    );
}

/// With a large tolerance every tensor agrees: the table that a user sees.
#[test]
fn verify_prints_a_table() {
    let env = Env::new();
    let golden = data("golden/seresnet20.golden.safetensors");
    std::fs::copy(&golden, env.path("golden.safetensors")).unwrap();
    let output = env.run(&[
        "verify",
        "demo",
        "--golden",
        "golden.safetensors",
        "--tolerance",
        "1e6",
    ]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.starts_with("tensor"), "{stdout}");
    assert!(stdout.ends_with("tensors agree\n"), "{stdout}");
    assert!(stdout.contains("gate.layer3.2.se"), "{stdout}");
}
