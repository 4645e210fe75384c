//! Models that judge each class by itself: one output, or many labels.

use std::collections::HashMap;
use std::fs;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use super::env::Env;
use super::eval_data::twin;

const FEATURES: usize = 64;

fn classify(env: &Env, arguments: &[&str]) -> Value {
    let output = env.run(&[&["classify", "-q", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sigmoid(logit: &Value) -> f64 {
    // The digits are those of an f32.
    let logit = f64::from(logit.as_f64().unwrap() as f32);
    1.0 / (1.0 + (-logit).exp())
}

/// The twin with the output for ankle boots alone.
fn one_output(env: &Env) {
    twin(env);
    let bytes = fs::read(env.path("twin/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let cut = |name: &str, view: TensorView<'_>| match name {
        "fc.weight" => (vec![1, FEATURES], view.data()[9 * FEATURES * 4..].to_vec()),
        "fc.bias" => (vec![1], view.data()[9 * 4..].to_vec()),
        _ => (view.shape().to_vec(), view.data().to_vec()),
    };
    let all: HashMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let parts = cut(&name, view);
            (name, parts)
        })
        .collect();
    let dtypes: HashMap<String, Dtype> = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.dtype()))
        .collect();
    let views = all.iter().map(|(name, (shape, data))| {
        (
            name,
            TensorView::new(dtypes[name], shape.clone(), data).unwrap(),
        )
    });
    env.write(
        "one/model.safetensors",
        safetensors::serialize(views, None).unwrap(),
    );
    let config = fs::read_to_string(env.path("twin/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["num_classes"] = 1.into();
    config["label_names"] = json!(["boot"]);
    env.write("one/config.json", config.to_string());
}

#[test]
fn every_class_above_the_threshold() {
    let env = Env::new();
    env.picture("ankle-boot.png", "boot.png");
    let all = classify(&env, &["boot.png", "-m", "demo", "-k", "10"]);
    assert_eq!(all.get("activation"), None);
    let all = all["predictions"].as_array().unwrap();
    for (threshold, more) in [
        ("0.5", &[][..]),
        ("0.2", &[]),
        ("0", &[]),
        ("0", &["-k", "3"]),
        ("1", &[]),
    ] {
        let arguments = [
            "boot.png",
            "-m",
            "demo",
            "--multi-label",
            "--threshold",
            threshold,
        ];
        let row = classify(&env, &[&arguments, more].concat());
        assert_eq!(row["activation"], "sigmoid");
        let mut expected: Vec<&Value> = all.iter().collect();
        expected.retain(|found| sigmoid(&found["logit"]) > threshold.parse().unwrap());
        expected.truncate(if more.is_empty() { 10 } else { 3 });
        let found = row["predictions"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{row}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found["index"], expected["index"]);
            let probability = found["probability"].as_f64().unwrap();
            assert!((probability - sigmoid(&expected["logit"])).abs() < 1e-12);
        }
    }
    let none = [
        "classify",
        "boot.png",
        "-m",
        "demo",
        "-q",
        "--multi-label",
        "--threshold",
        "1",
    ];
    let output = env.run(&none);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "boot.png\n  no class above 1\n"
    );
    let output = env.run(&[&none[..], &["--csv"]].concat());
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("\nboot.png,,,,,,,\n"));
    for wrong in [
        &["--threshold", "0.5"][..],
        &["--multi-label", "--threshold", "1.5"],
    ] {
        let output = env.run(&[&["classify", "boot.png", "-m", "demo"], wrong].concat());
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn one_output_is_a_sigmoid() {
    let env = Env::new();
    one_output(&env);
    env.picture("ankle-boot.png", "set/9/a.png");
    env.picture("grey.png", "set/0/b.png");
    let many = classify(&env, &["set/0/b.png", "-m", "demo", "-k", "10"]);
    let many = many["predictions"].as_array().unwrap();
    let logit = &many.iter().find(|found| found["index"] == 9).unwrap()["logit"];
    let row = classify(&env, &["set/0/b.png", "-m", "./one"]);
    assert_eq!(row["activation"], "sigmoid");
    let found = &row["predictions"][0];
    assert_eq!(found["label"], "boot");
    assert!(
        (found["probability"].as_f64().unwrap() - sigmoid(logit)).abs() < 1e-6,
        "{row} {logit}"
    );
    let output = env.run(&["classify", "set/0/b.png", "-m", "./one"]);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(
        messages.contains("./one has one output: its probability is the sigmoid"),
        "{messages}"
    );
}
