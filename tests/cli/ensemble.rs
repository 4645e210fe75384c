//! `senet classify` with several models.

use std::collections::HashMap;
use std::fs;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::env::{Env, json_rows};
use super::eval_data::twin;
use super::multi_label::one_output;

/// The input of the built-in model's classifier.
const FEATURES: usize = 64;
const CLASSES: usize = 10;

/// How many places later `./other` has a class of the built-in model.
const SHIFT: usize = 3;

/// A model with the twin's network but for its classifier.
fn with_classifier(env: &Env, folder: &str, change: impl Fn(&mut Vec<f32>, &mut Vec<f32>)) {
    twin(env);
    let bytes = fs::read(env.path("twin/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let view = tensors.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::F32);
        let values = view.data().as_chunks::<4>().0.iter();
        values.map(|&bytes| f32::from_le_bytes(bytes)).collect()
    };
    let (mut weight, mut bias) = (values("fc.weight"), values("fc.bias"));
    change(&mut weight, &mut bias);
    let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect();
    let (weight, bias): (Vec<u8>, Vec<u8>) = (bytes(weight), bytes(bias));
    let mut all: HashMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    for (name, shape, data) in [
        ("fc.weight", vec![CLASSES, FEATURES], &weight),
        ("fc.bias", vec![CLASSES], &bias),
    ] {
        let view = TensorView::new(Dtype::F32, shape, data).unwrap();
        all.insert(name.to_owned(), view);
    }
    let file = safetensors::serialize(all, None).unwrap();
    env.write(&format!("{folder}/model.safetensors"), file);
    let config = fs::read(env.path("twin/config.json")).unwrap();
    env.write(&format!("{folder}/config.json"), config);
}

fn change_config(env: &Env, folder: &str, change: impl Fn(&mut Value)) {
    let file = format!("{folder}/config.json");
    let mut config = serde_json::from_slice(&fs::read(env.path(&file)).unwrap()).unwrap();
    change(&mut config);
    env.write(&file, config.to_string());
}

/// A model of the same classes in another order, with its own weights and preprocessing.
pub(super) fn other(env: &Env) {
    with_classifier(env, "other", |weight, bias| {
        for value in weight.iter_mut() {
            *value *= 0.3;
        }
        bias[0] += 2.0;
        weight.rotate_right(SHIFT * FEATURES);
        bias.rotate_right(SHIFT);
    });
    change_config(env, "other", |config| {
        config["label_names"]
            .as_array_mut()
            .unwrap()
            .rotate_right(SHIFT);
        config["pretrained_cfg"]["input_size"] = json!([3, 32, 32]);
        config["pretrained_cfg"]["interpolation"] = json!("bicubic");
    });
}

/// A model whose products overflow when they are added.
pub(super) fn failing(env: &Env) {
    with_classifier(env, "failing", |weight, _| {
        weight[..FEATURES].fill(f32::MAX)
    });
}

/// Three images, and a file that is none.
fn images() -> Env {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/boot.png");
    env.image("grey.png", "set/0/grey.png");
    env.image("exact-224.png", "set/3/exact.png");
    env.write("set/3/broken.png", b"no image");
    env
}

fn rows(env: &Env, arguments: &[&str]) -> Vec<Value> {
    let output = env.run(&[&["classify", "set", "-q", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    json_rows(&output.stdout)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn probabilities_are_averaged_by_class() {
    let env = images();
    other(&env);
    let all = ["-k", "10"];
    let demo = rows(&env, &[&["-m", "demo"], &all[..]].concat());
    let other = rows(&env, &[&["-m", "./other"], &all[..]].concat());
    let both = ["-m", "demo", "-m", "./other"];
    let together = rows(&env, &[&both, &all[..], &["--members", "-b", "3"]].concat());
    let mut changed = 0;
    for ((row, demo), other) in together.iter().zip(&demo).zip(&other) {
        assert_eq!(row["path"], demo["path"]);
        assert_eq!(row["model"], "seresnet20.fashion_mnist + ./other");
        if !demo["error"].is_null() {
            assert_eq!(row["error"], demo["error"]);
            assert_eq!(row.get("members"), None);
            continue;
        }
        let members = row["members"].as_array().unwrap();
        assert_eq!(members.len(), 2);
        for (member, alone) in members.iter().zip([demo, other]) {
            assert_eq!(member["model"], alone["model"]);
            assert_eq!(member["predictions"], alone["predictions"]);
        }
        changed += usize::from(row["predictions"][0]["label"] != demo["predictions"][0]["label"]);
        let predictions = row["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), CLASSES);
        let mut last = f64::INFINITY;
        for found in predictions {
            let of = |row: &Value| {
                let all = row["predictions"].as_array().unwrap();
                all.iter()
                    .find(|p| p["label"] == found["label"])
                    .unwrap()
                    .clone()
            };
            let (one, two) = (of(demo), of(other));
            assert_eq!(
                found["index"], one["index"],
                "the classes are the first model's"
            );
            let place = one["index"].as_u64().unwrap() as usize;
            assert_eq!(two["index"], (place + SHIFT) % CLASSES);
            let mean = (number(&one["probability"]) + number(&two["probability"])) / 2.0;
            let probability = number(&found["probability"]);
            assert!((probability - mean).abs() < 1e-12, "{found} {mean}");
            assert!(
                (number(&found["logit"]) - mean.ln()).abs() < 1e-5,
                "{found}"
            );
            assert!(probability <= last);
            last = probability;
        }
    }
    assert!(
        changed > 0,
        "the other model changes an answer: {together:?}"
    );
    // Without the members, and in the order of the other model.
    let mut plain = together.clone();
    for row in &mut plain {
        row.as_object_mut().unwrap().remove("members");
    }
    assert_eq!(rows(&env, &[&both, &all[..]].concat()), plain);
    let turned = rows(&env, &[&["-m", "./other", "-m", "demo"], &all[..]].concat());
    for (row, turned) in plain
        .iter()
        .zip(&turned)
        .filter(|(row, _)| row["error"].is_null())
    {
        let (one, two) = (&row["predictions"][0], &turned["predictions"][0]);
        assert_eq!(one["label"], two["label"]);
        assert!((number(&one["probability"]) - number(&two["probability"])).abs() < 1e-12);
        assert_eq!(turned["model"], "./other + seresnet20.fashion_mnist");
    }
}

#[test]
fn the_answers_are_those_of_an_evaluation() {
    let env = images();
    with_classifier(&env, "second", |weight, bias| {
        weight.iter_mut().for_each(|value| *value *= 0.25);
        bias[6] += 1.0;
    });
    let both = ["-m", "demo", "-m", "./second"];
    let eval = [
        "eval",
        "set",
        "--ensemble",
        "--results",
        "runs",
        "--exif",
        "-q",
    ];
    let output = env.run(&[&eval, &both[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let records = json_rows(&fs::read(env.path("runs/ensemble.jsonl")).unwrap());
    let rows = rows(&env, &both);
    let mut compared = 0;
    for record in &records[1..] {
        let path = format!("set/{}", record["image"].as_str().unwrap());
        let row = rows.iter().find(|row| row["path"] == *path).unwrap();
        if row["error"].is_null() {
            let best = &row["predictions"][0];
            assert_eq!(best["index"], record["prediction"]);
            let difference = number(&best["probability"]) - number(&record["probability"]);
            assert!(difference.abs() < 1e-12, "{row} {record}");
            compared += 1;
        }
    }
    assert_eq!((compared, records.len()), (3, 5));
}

#[test]
fn each_class_on_its_own() {
    let env = images();
    other(&env);
    let all = ["--multi-label", "--threshold", "0"];
    let demo = rows(&env, &[&["-m", "demo"], &all[..]].concat());
    let other = rows(&env, &[&["-m", "./other"], &all[..]].concat());
    let both = ["-m", "demo", "-m", "./other", "--multi-label"];
    let together = rows(
        &env,
        &[&both, &["--threshold", "0.6", "--members"][..]].concat(),
    );
    let (mut above, mut below) = (0, 0);
    for ((row, demo), other) in together.iter().zip(&demo).zip(&other) {
        if row["predictions"].is_null() {
            continue;
        }
        assert_eq!(row["activation"], "sigmoid");
        for one in demo["predictions"].as_array().unwrap() {
            let find = |row: &Value| {
                let all = row["predictions"].as_array().unwrap();
                all.iter().find(|p| p["label"] == one["label"]).cloned()
            };
            let two = find(other).unwrap();
            let mean = (number(&one["probability"]) + number(&two["probability"])) / 2.0;
            let Some(found) = find(row) else {
                assert!(mean <= 0.6 + 1e-12);
                below += 1;
                continue;
            };
            assert!((number(&found["probability"]) - mean).abs() < 1e-12);
            let odds = (mean / (1.0 - mean)).ln();
            assert!(
                (number(&found["logit"]) - odds).abs() < 1e-4,
                "{found} {odds}"
            );
            above += 1;
        }
        for (member, alone) in row["members"].as_array().unwrap().iter().zip([demo, other]) {
            let mut expected = alone["predictions"].as_array().unwrap().clone();
            expected.retain(|found| number(&found["probability"]) > 0.6);
            assert_eq!(member["predictions"].as_array(), Some(&expected));
        }
    }
    assert!(above > 3 && below > 3, "{above} {below}");
    let none = [&both, &["--threshold", "1", "--csv", "-q", "--members"][..]].concat();
    let output = env.run(&[&["classify", "set/9/boot.png"], &none[..]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "path,model,rank,index,wnid,label,probability,logit,error\n\
         set/9/boot.png,seresnet20.fashion_mnist + ./other,,,,,,,\n\
         set/9/boot.png,seresnet20.fashion_mnist,,,,,,,\n\
         set/9/boot.png,./other,,,,,,,\n"
    );
}

#[test]
fn every_form_of_the_answers() {
    let env = images();
    other(&env);
    let both = [
        "classify",
        "set",
        "-m",
        "demo",
        "-m",
        "./other",
        "--threads",
        "2",
        "-k",
        "2",
    ];
    env.check("classify-ensemble", &both);
    for (name, form) in [
        ("classify-members", &["--members"][..]),
        ("classify-members-json", &["--members", "--json", "-q"]),
        ("classify-members-csv", &["--members", "--csv", "-q"]),
        ("classify-ensemble-csv", &["--csv", "-q"]),
    ] {
        env.check(name, &[&both, form].concat());
    }
}

#[test]
fn a_model_that_fails_is_named() {
    let env = images();
    failing(&env);
    let arguments = [
        "classify",
        "set",
        "-m",
        "demo",
        "-m",
        "./failing",
        "--threads",
        "2",
        "-k",
        "1",
    ];
    env.check("classify-member-fails", &arguments);
    env.check(
        "classify-member-fails-members",
        &[&arguments[..], &["--members"]].concat(),
    );
    let rows = rows(&env, &["-m", "demo", "-m", "./failing", "--members"]);
    for row in rows.iter().filter(|row| row["path"] != "set/3/broken.png") {
        let error = row["error"].as_str().unwrap();
        assert!(
            error.starts_with("./failing: the numbers overflowed"),
            "{error}"
        );
        assert_eq!(row.get("predictions"), None);
        let [demo, failing] = &row["members"].as_array().unwrap()[..] else {
            panic!("two models: {row}");
        };
        assert_eq!(demo["predictions"].as_array().unwrap().len(), 5);
        assert!(
            failing["error"]
                .as_str()
                .unwrap()
                .starts_with("the numbers overflowed")
        );
        assert_eq!(
            (demo.get("error"), failing.get("predictions")),
            (None, None)
        );
    }
    // The evaluation names it, too.
    let output = env.run(&[
        "eval",
        "set",
        "-m",
        "demo",
        "-m",
        "./failing",
        "--ensemble",
        "--results",
        "runs",
        "-q",
    ]);
    let records = json_rows(&fs::read(env.path("runs/ensemble.jsonl")).unwrap());
    let named = |record: &&Value| {
        record["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("./failing: "))
    };
    assert_eq!(records.iter().filter(named).count(), 3, "{output:?}");
}

#[test]
fn models_of_one_output() {
    let env = images();
    one_output(&env);
    for file in ["config.json", "model.safetensors"] {
        let bytes = fs::read(env.path(&format!("one/{file}"))).unwrap();
        env.write(&format!("copy/{file}"), bytes);
    }
    let alone = rows(&env, &["-m", "./one"]);
    let together = rows(&env, &["-m", "./one", "-m", "./copy"]);
    for (alone, row) in alone.iter().zip(&together) {
        assert_eq!(row["activation"], alone["activation"]);
        let [alone, row] = [alone, row].map(|row| &row["predictions"][0]);
        assert_eq!(row["label"], alone["label"]);
        if let (Some(a), Some(b)) = (alone["probability"].as_f64(), row["probability"].as_f64()) {
            assert!((a - b).abs() < 1e-12);
        }
    }
    let output = env.run(&["classify", "set/9/boot.png", "-m", "./one", "-m", "./copy"]);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(
        messages
            .contains("./one + ./copy has one output: its sigmoid is the probability of `boot`"),
        "{messages}"
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    let env = images();
    other(&env);
    change_config(&env, "other", |config| {
        config["label_names"][4] = json!("Trousers")
    });
    twin(&env);
    let classify =
        |arguments: &[&'static str]| [&["classify", "set/9/boot.png"], arguments].concat();
    env.check(
        "classify-other-classes",
        &classify(&["-m", "demo", "-m", "./other"]),
    );
    // Before anything is downloaded.
    env.check(
        "classify-other-number-of-classes",
        &classify(&["-m", "demo", "-m", "senet154", "--offline"]),
    );
    for (arguments, what) in [
        (
            &["-m", "demo", "-m", "./twin", "-w", "a.pth"][..],
            "`--weights` is for one model, and 2 are given",
        ),
        (
            &["-m", "demo", "-m", "./twin", "--revision", "main"],
            "`--revision` is for one model",
        ),
        (&["-m", "demo", "-m", "demo"], "demo is given twice"),
        (
            &["-m", "demo", "--members"],
            "`--members` is for several models",
        ),
    ] {
        let output = env.run(&classify(arguments));
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(
            output.stdout.is_empty() && messages.contains(what),
            "{messages}"
        );
    }
}
