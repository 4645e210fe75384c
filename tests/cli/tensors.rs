//! `senet preprocess` and `senet verify`.

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use senet::Model;
use senet::hub::HubOptions;
use senet::nets::Point;
use senet::preprocess::DecodeOptions;
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

/// A golden file of what the built-in network computes in f32 for two images: stages, features and logits.
fn golden_of_demo(env: &Env, change: impl Fn(&mut [f32])) {
    let model = Model::open("demo", &HubOptions::from_env().unwrap(), &Device::Cpu).unwrap();
    let images = ["ankle-boot.png", "exact-224.png"].map(|name| {
        let path = data("pictures").join(name);
        senet::preprocess::open(path, &DecodeOptions::default()).unwrap()
    });
    let input = model.batch(&images).unwrap();
    let mut tensors = vec![("input".to_owned(), input.clone())];
    let mut observe = |point: Point<'_>, tensor: &Tensor| {
        match point {
            Point::Stage(stage) => {
                tensors.push((format!("stage.stage{stage}.full"), tensor.clone()))
            }
            Point::Gate(name) => tensors.push((format!("gate.{name}"), tensor.clone())),
            Point::PreLogits => tensors.push(("pre_logits".to_owned(), tensor.clone())),
            _ => {}
        }
        Ok(())
    };
    let logits = model
        .network()
        .forward_observed(&input, &mut observe)
        .unwrap();
    tensors.push(("logits".to_owned(), logits));
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let mut values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            if name == "logits" {
                change(&mut values);
            }
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            (name, tensor.dims().to_vec(), bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name, view)
    });
    let file = safetensors::serialize(views, None).unwrap();
    env.write("golden.safetensors", file);
}

/// In bf16 the tolerances are those of bf16: its roundings pass, a wrong answer does not.
#[test]
fn verify_in_bf16_on_the_cpu() {
    let env = Env::new();
    let run = |precision: &str| {
        let arguments = [
            "verify",
            "demo",
            "--golden",
            "golden.safetensors",
            "--device",
            "cpu",
        ];
        let output =
            env.run(&[&arguments[..], &["--json", "-q", "--precision", precision]].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["precision"], precision, "{output:?}");
        (output.status.code(), report)
    };
    let row = |report: &serde_json::Value, tensor: &str| {
        let mut rows = report["rows"].as_array().unwrap().iter();
        let row = rows.find(|row| row["tensor"] == tensor).unwrap();
        ["max_abs", "tolerance"].map(|field| row[field].as_f64().unwrap())
    };
    golden_of_demo(&env, |_| {});
    let (code, exact) = run("f32");
    assert_eq!(code, Some(0), "{exact}");
    let (code, rounded) = run("bf16");
    assert_eq!(code, Some(0), "{rounded}");
    assert_eq!(
        rounded["rows"].as_array().map(Vec::len),
        exact["rows"].as_array().map(Vec::len)
    );
    for tensor in [
        "stage.stage1.full",
        "stage.stage3.full",
        "gate.layer3.2.se",
        "pre_logits",
        "logits",
    ] {
        let [difference, _] = row(&exact, tensor);
        assert!(difference < 1e-5, "{tensor}: {exact}");
        // Far from f32, so it was computed in bf16.
        let [difference, tolerance] = row(&rounded, tensor);
        assert!(
            (1e-4..tolerance).contains(&difference),
            "{tensor}: {rounded}"
        );
    }
    let largest = rounded["tolerance"].as_f64().unwrap() / 0.006;
    golden_of_demo(&env, |logits| logits[3] += 0.012 * largest as f32);
    let (code, report) = run("bf16");
    let [difference, tolerance] = row(&report, "logits");
    assert!(difference > tolerance, "{report}");
    assert_eq!((code, &report["ok"]), (Some(1), &false.into()));
}
