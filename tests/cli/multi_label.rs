//! Models that score each class independently: one output, or many labels.

use std::collections::HashMap;
use std::fs;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use super::env::Env;
use super::eval_data::{eval, twin};

const FEATURES: usize = 64;

fn classify(env: &Env, arguments: &[&str]) -> Value {
    let output = env.run(&[&["classify", "-q", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sigmoid(logit: &Value) -> f64 {
    // With the digits of an f32.
    let logit = f64::from(logit.as_f64().unwrap() as f32);
    1.0 / (1.0 + (-logit).exp())
}

/// The twin with only the output for ankle boots.
pub(super) fn one_output(env: &Env) {
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
    env.image("ankle-boot.png", "boot.png");
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
    env.image("ankle-boot.png", "set/9/a.png");
    env.image("grey.png", "set/0/b.png");
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
        messages.contains("./one has one output: its sigmoid is the probability of"),
        "{messages}"
    );

    let one = |arguments: &[&str]| {
        let output =
            env.run(&[&["eval", "set", "-m", "./one", "-q", "--json"], arguments].concat());
        (
            output.status.code(),
            output.stdout,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, _, messages) = one(&[]);
    assert_eq!(code, Some(2));
    assert!(
        messages.contains("./one has one output, and `senet eval` measures single-label"),
        "{messages}"
    );
    env.write("labels.json", r#"{"9/a.png": [0], "0/b.png": []}"#);
    let (code, report, messages) = one(&["--multi-label", "--labels", "labels.json"]);
    assert_eq!(code, Some(0), "{messages}");
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["answered"], 2);
    assert_eq!(report["mean_average_precision"], 1.0);
}

#[test]
fn several_labels_are_evaluated() {
    let env = Env::new();
    for (place, name) in ["ankle-boot.png", "grey.png", "exact-224.png", "cmyk.jpg"]
        .iter()
        .enumerate()
    {
        env.image(name, &format!("set/{place}.{}", &name[name.len() - 3..]));
    }
    env.write("set/broken.png", b"no image");
    env.write(
        "labels.json",
        r#"{"0": [9, "Sneaker"], "1": ["Bag"], "2": [], "3": [8, 7], "broken": [1]}"#,
    );
    let multi = ["set", "--multi-label", "--labels", "labels.json"];
    let (code, report, messages) = eval(&env, &multi);
    assert_eq!(
        (code, &report["answered"], &report["failed"]),
        (1, &4.into(), &1.into()),
        "{messages}"
    );
    assert!(messages.contains("broken.png: "), "{messages}");
    // Computed from the definition and the output of `classify`.
    let rows: Vec<Vec<f64>> = (0..4)
        .map(|place| {
            let extension = if place == 3 { "jpg" } else { "png" };
            let file = format!("set/{place}.{extension}");
            let all = [
                "-m",
                "demo",
                "--multi-label",
                "--threshold",
                "0",
                "--no-exif",
            ];
            let row = classify(&env, &[&[&*file], &all[..]].concat());
            let mut scores = vec![0.0; 10];
            for found in row["predictions"].as_array().unwrap() {
                scores[found["index"].as_u64().unwrap() as usize] =
                    found["probability"].as_f64().unwrap();
            }
            scores
        })
        .collect();
    let shown = [&[7, 9][..], &[8], &[], &[7, 8]];
    let mut sum = 0.0;
    for class in [7, 8, 9] {
        let right: Vec<usize> = (0..4)
            .filter(|&place| shown[place].contains(&class))
            .collect();
        let precision = |&place: &usize| {
            let above = |other: &usize| rows[*other][class] >= rows[place][class];
            let (all, hits) = (
                (0..4).filter(above).count(),
                right.iter().filter(|other| above(other)).count(),
            );
            hits as f64 / all as f64
        };
        sum += right.iter().map(precision).sum::<f64>() / right.len() as f64;
    }
    let found = report["mean_average_precision"].as_f64().unwrap();
    assert!((found - sum / 3.0).abs() < 1e-9, "{found} {}", sum / 3.0);

    // Shards, a truncated file and the whole give the same.
    let (_, whole, _) = eval(&env, &[&multi[..], &["--results", "whole.jsonl"]].concat());
    assert_eq!(whole, report);
    for shard in ["1/2", "2/2"] {
        let name = format!("{}.jsonl", &shard[..1]);
        eval(
            &env,
            &[&multi[..], &["--shard", shard, "--results", &name]].concat(),
        );
    }
    let merge = |more: &[&str]| {
        let output = env.run(
            &[
                &["eval", "merge", "--json", "-q", "2.jsonl", "1.jsonl"],
                more,
            ]
            .concat(),
        );
        let messages = String::from_utf8(output.stderr).unwrap();
        (
            serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            messages,
        )
    };
    assert_eq!(merge(&[]).0, report);
    assert_ne!(
        merge(&["--threshold", "0.999"]).0["f1_micro"],
        report["f1_micro"]
    );
    let bytes = fs::read(env.path("whole.jsonl")).unwrap();
    env.write("whole.jsonl", &bytes[..bytes.len() - 700]);
    let (_, resumed, messages) = eval(
        &env,
        &[&multi[..], &["--results", "whole.jsonl", "--resume"]].concat(),
    );
    assert_eq!(resumed, report, "{messages}");
    assert_eq!(fs::read(env.path("whole.jsonl")).unwrap(), bytes);
    let output = env.run(&["eval", "merge", "-q", "whole.jsonl"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  mean average precision  "), "{text}");

    // Several models, and options for single-label models.
    let (_, several, messages) = eval(
        &env,
        &[&multi[..], &["-m", "twin", "--ensemble", "--views", "flip"]].concat(),
    );
    assert_eq!(several, Value::Null, "there is no twin yet: {messages}");
    twin(&env);
    let (code, several, messages) = eval(
        &env,
        &[&multi[..], &["-m", "./twin", "--ensemble"]].concat(),
    );
    assert_eq!(code, 1, "{messages}");
    let models = several["models"].as_array().unwrap();
    assert_eq!(models.len(), 3);
    assert!(
        models
            .iter()
            .all(|model| model["mean_average_precision"] == report["mean_average_precision"])
    );
    for (arguments, what) in [
        (
            &["set", "--multi-label"][..],
            "measures single-label models",
        ),
        (
            &[&multi[..], &["--html", "page.html"]].concat(),
            "a page or a table shows one class",
        ),
        (
            &[&multi[..], &["--expect"]].concat(),
            "are about single-label models",
        ),
        (
            &["set", "--labels", "labels.json", "--threshold", "0.1"],
            "is for multi-label models",
        ),
        (
            &[
                "set",
                "--labels",
                "labels.json",
                "--results",
                "whole.jsonl",
                "--resume",
            ],
            "its multi-label setting is true, expected false",
        ),
    ] {
        let (code, _, messages) = eval(&env, arguments);
        assert_eq!(code, 2, "{messages}");
        assert!(messages.contains(what), "{messages}");
    }
    let output = env.run(&["compare", "whole.jsonl", "1.jsonl"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("results of a multi-label model"),
        "{output:?}"
    );
    let (_, messages) = merge(&["--html", "page.html"]);
    assert!(
        messages.contains("a page or a table shows one class"),
        "{messages}"
    );
}
