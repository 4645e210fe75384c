//! `senet compare`: two models, image by image.

use std::fs;

use serde_json::{Value, json};

use super::env::Env;
use super::eval::{eval, folders};
use super::eval_data::twin;

#[test]
fn two_models_on_the_same_images() {
    let env = Env::new();
    folders(&env);
    env.run(&eval(&["--results", "a.jsonl"]));
    env.run(&eval(&["--results", "b.jsonl", "--img-size", "48"]));
    env.check("compare", &["compare", "a.jsonl", "b.jsonl"]);
    env.check("compare-json", &["compare", "a.jsonl", "b.jsonl", "--json"]);
    // A shard is not the whole data set.
    env.run(&eval(&["--results", "part.jsonl", "--shard", "1/3"]));
    env.check("compare-part", &["compare", "a.jsonl", "part.jsonl"]);
    env.run(&eval(&["--results", "c.jsonl", "--limit", "3"]));
    let output = env.run(&["compare", "a.jsonl", "c.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(
        messages.contains("its number of images is 3, expected 7"),
        "{messages}"
    );
}

/// Two models on data: the same as from their results files.
#[test]
fn two_models_in_one_pass() {
    let env = Env::new();
    folders(&env);
    twin(&env);
    let inputs = ["--crop-pct", "0.7", "-q"];
    for (model, file) in [("demo", "a.jsonl"), ("./twin", "b.jsonl")] {
        let arguments = ["eval", "set", "-m", model, "--results", file];
        env.run(&[&arguments[..], &inputs].concat());
    }
    let files = env.run(&["compare", "a.jsonl", "b.jsonl", "--json"]);
    let models = ["compare", "demo", "./twin", "set", "--json"];
    let models = env.run(&[&models[..], &inputs].concat());
    assert_eq!(models.stdout, files.stdout, "{models:?}");
    assert_eq!(models.status.code(), Some(1), "an image is broken");
    let pair: Value = serde_json::from_slice(&models.stdout).unwrap();
    assert_eq!(pair["images"], 6);
    assert_eq!(
        (&pair["first"], &pair["second"]),
        (&"seresnet20.fashion_mnist".into(), &"./twin".into())
    );

    for (arguments, code, what) in [
        (&["demo", "./twin", "set/9", "--labels", "list"][..], 0, ""),
        (&["demo", "./twin"], 2, "no results files demo and ./twin"),
        (&["demo", "demo", "set"], 2, "demo is given twice"),
        (
            &["a.jsonl", "b.jsonl", "--limit", "2"],
            2,
            "required arguments were not provided",
        ),
        (
            &["a.jsonl", "b.jsonl", "--views", "flip"],
            2,
            "required arguments were not provided",
        ),
        (
            &["a.jsonl", "b.jsonl", "--img-size", "48"],
            2,
            "results files keep the preprocessing of their run",
        ),
        (&["a.jsonl", "demo"], 2, "cannot read demo"),
    ] {
        env.write("list", "a.png 9\n");
        let output = env.run(&[&["compare", "-q"], arguments].concat());
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {messages}"
        );
        assert!(messages.contains(what), "{arguments:?}: {messages}");
    }
}

/// Lists that are equal once they are joined are still different lists.
#[test]
fn results_of_other_lists_are_refused() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    env.run(&eval(&["--results", "whole.jsonl"]));
    let whole = fs::read_to_string(env.path("whole.jsonl")).unwrap();
    let (header, record) = whole.split_once('\n').unwrap();
    let write = |name: &str, field: &str, value: Value, label: usize| {
        let mut header: Value = serde_json::from_str(header).unwrap();
        header[field] = value;
        let mut record: Value = serde_json::from_str(record).unwrap();
        for (field, value) in [("label", label), ("prediction", label), ("rank", 1)] {
            record[field] = value.into();
        }
        env.write(name, format!("{header}\n{record}\n"));
    };
    let member = |name: &str| {
        let mut header: Value = serde_json::from_str(header).unwrap();
        header["members"][0]["model"] = name.into();
        header["members"][0].take()
    };
    let long = "x".repeat(5000);
    let classes = [
        (json!(["a", "b, c"]), json!(["a", "b", "c"])),
        (json!(["a, b", "c"]), json!(["a", "b, c"])),
        (json!(["a, b, c"]), json!(["a", "b", "c"])),
        (json!(["", ""]), json!([", "])),
        (json!([long]), json!([format!("{long}, {long}"), long])),
    ];
    let cases = classes.map(|lists| ("classes", lists.0, lists.1));
    let models = (
        "members",
        json!([member("a + b")]),
        json!([member("a"), member("b")]),
    );
    for (field, first, second) in cases.into_iter().chain([models]) {
        let (mut files, mut lists) = (["a.jsonl", "b.jsonl"], [first, second]);
        for _ in 0..2 {
            for (file, list) in files.iter().zip(&lists) {
                // A class that is not in the shorter list.
                let last = if field == "classes" {
                    list.as_array().unwrap().len() - 1
                } else {
                    0
                };
                write(file, field, list.clone(), last);
            }
            let commands = [&["eval", "merge"][..], &["compare"]];
            for command in commands.iter().take(if field == "classes" { 2 } else { 1 }) {
                let output = env.run(&[command, &files[..]].concat());
                let messages = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(2), "{lists:?}: {messages}");
                let names = ["its list of classes is", "its number of models is"];
                assert!(
                    names.iter().any(|name| messages.contains(name)),
                    "{messages}"
                );
                assert!(messages.len() < 1000, "{}", messages.len());
            }
            files.reverse();
            lists.reverse();
        }
    }
}
