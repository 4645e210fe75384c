//! The output guide documents every field that the program prints, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::common::hub_server::HubServer;
use super::ensemble::{failing, other};
use super::env::{Env, data, json_rows};
use super::eval::{eval, folders};
use super::train::{picture, shapes};

const GUIDE: &str = include_str!("../../src/guide/output.md");

/// Field and type from each row of the table in a command's section.
fn documented(command: &str) -> BTreeMap<&'static str, &'static str> {
    let rows = section(command).lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`'), cells.next()?))
    });
    rows.collect()
}

fn section(command: &str) -> &'static str {
    let heading = format!("\n## `senet {command}`\n");
    let (_, section) = GUIDE.split_once(&heading).expect(command);
    section.split("\n## ").next().unwrap()
}

/// The fields in a value, such as `predictions[].index`.
fn fields(
    value: &Value,
    path: &str,
    documented: &BTreeMap<&str, &str>,
    found: &mut BTreeSet<String>,
) {
    let is_open = || {
        documented
            .get(path)
            .is_some_and(|kind| kind.contains("open"))
    };
    match value {
        Value::Object(object) if !is_open() => {
            for (name, value) in object {
                let path = format!("{path}{}{name}", if path.is_empty() { "" } else { "." });
                found.insert(path.clone());
                fields(value, &path, documented, found);
            }
        }
        Value::Array(values) => {
            for value in values {
                fields(value, &format!("{path}[]"), documented, found);
            }
        }
        _ => {}
    }
}

/// Compares the output of a command's runs with the guide. `rare` are fields that none of the runs
/// has, such as paths that not every system allows.
fn check(env: &Env, command: &str, runs: &[&[&str]], rare: &[&str]) {
    let documented = documented(command);
    let words: Vec<&str> = command.split(' ').collect();
    let mut all = BTreeSet::new();
    let mut always: Option<BTreeSet<String>> = None;
    for run in runs {
        let output = env.run(&[&words[..], run, &["-q", "--json"]].concat());
        let rows = json_rows(&output.stdout);
        assert!(!rows.is_empty(), "{command} {run:?}: {output:?}");
        for row in rows {
            let mut found = BTreeSet::new();
            fields(&row, "", &documented, &mut found);
            all.extend(found.iter().cloned());
            match &mut always {
                Some(always) => always.retain(|field| found.contains(field)),
                None => always = Some(found),
            }
        }
    }
    same(command, &all, &documented, rare);
    for (field, kind) in &documented {
        let nested = field.contains(['.', '[']);
        let is_always = always
            .as_ref()
            .is_some_and(|always| always.contains(*field));
        assert!(
            nested || is_always || kind.contains("optional"),
            "{command}: {field} is optional"
        );
    }
}

/// Compares the fields found with those in the guide.
fn same(command: &str, found: &BTreeSet<String>, documented: &BTreeMap<&str, &str>, rare: &[&str]) {
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let named: BTreeSet<&str> = documented.keys().copied().collect();
    let rare: BTreeSet<&str> = rare.iter().copied().collect();
    assert_eq!(
        found.difference(&named).collect::<Vec<_>>(),
        [&""; 0],
        "`senet {command}` prints fields that the guide lacks"
    );
    let missing: BTreeSet<&str> = named.difference(&found).copied().collect();
    assert_eq!(
        missing, rare,
        "the guide to `senet {command}` has fields that it never prints"
    );
}

#[test]
fn every_field_of_a_results_file_is_in_the_guide() {
    let env = Env::new();
    folders(&env);
    env.write("labels.json", r#"{"9/a.png": [7, 9]}"#);
    env.run(&eval(&["--results", "a.jsonl"]));
    env.run(&eval(&[
        "--results",
        "b.jsonl",
        "--multi-label",
        "--labels",
        "labels.json",
        "--scale-16bit",
    ]));
    let documented = documented("eval --results");
    let mut found = BTreeSet::new();
    for file in ["a.jsonl", "b.jsonl"] {
        for line in json_rows(&fs::read(env.path(file)).unwrap()) {
            fields(&line, "", &documented, &mut found);
        }
    }
    same("eval --results", &found, &documented, &["image_bytes"]);
}

#[test]
fn every_field_of_a_file_of_features_is_in_the_guide() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/a.png");
    env.write("set/b.png", "no picture");
    for name in ["a.jsonl", "a.safetensors"] {
        env.run(&["embed", "set", "-m", "demo", "-o", name]);
    }
    let documented = documented("embed");
    let mut found = BTreeSet::new();
    for file in ["a.jsonl", "a.jsonl.errors.jsonl"] {
        for line in json_rows(&fs::read(env.path(file)).unwrap()) {
            fields(&line, "", &documented, &mut found);
        }
    }
    let file = fs::read(env.path("a.safetensors")).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let metadata = header["__metadata__"].as_object().unwrap();
    found.extend(metadata.keys().cloned());
    same(
        "embed",
        &found,
        &documented,
        &["path_bytes", "paths_base64"],
    );
}

#[test]
fn every_field_is_in_the_guide() {
    let mut env = Env::new();
    env.set("HF_HOME", "cache");
    folders(&env);
    let golden = data("golden/seresnet20.golden.safetensors");
    let golden = golden.to_str().unwrap();
    failing(&env);
    let classify: [&[&str]; 3] = [
        &["-m", "demo", "set", "missing.png"],
        &["-m", "demo", "set", "--multi-label"],
        &["-m", "demo", "-m", "./failing", "set", "--members"],
    ];
    check(&env, "classify", &classify, &["path_bytes"]);
    let measured = ["fashion", "--measure", "--threads", "2"];
    check(&env, "list", &[&[], &measured], &["cached_bytes"]);
    check(&env, "list --architectures", &[&[]], &[]);
    let measured = ["lcnet_050", "--measure", "--threads", "2"];
    check(&env, "list --pareto", &[&measured], &[]);
    let explain: [&[&str]; 3] = [
        &["-m", "demo", "set", "--full", "-o", "maps"],
        &["-m", "demo", "set", "--versus", "9", "--check"],
        &["-m", "demo", "missing.png"],
    ];
    check(&env, "explain", &explain, &["activation", "path_bytes"]);
    let gates = ["set", "-m", "demo", "--full"];
    check(&env, "explain --gates", &[&gates], &[]);
    let info: [&[&str]; 5] = [
        &["demo", "--layers"],
        &["seresnext50_32x4d"],
        &["se_bn_inception"],
        &["legacy_senet154"],
        &["senet16"],
    ];
    check(
        &env,
        "info",
        &info,
        &["file_bytes", "shards", "weights.sha256"],
    );
    let on_gpus = ["layers[].bytes", "layers[].launches", "layers[].macs"];
    check(&env, "bench", &[&["--runs", "1", "--layers"]], &on_gpus);
    check(&env, "devices", &[&[]], &[]);
    check(&env, "version", &[&[]], &[]);
    check(
        &env,
        "verify",
        &[&["demo", "--golden", golden]],
        &["rows[].note"],
    );
    check(
        &env,
        "eval",
        &[&["set", "-m", "demo"], &["set", "-m", "demo", "--expect"]],
        &[],
    );
    shapes(&env, "shapes", 0..4);
    env.write("shapes/ring/broken.png", "no image");
    // The same image in two classes is doubtful in both.
    env.write("shapes/stripes 2/other.png", picture(0, 1));
    check(
        &env,
        "train",
        &[&["shapes", "-m", "demo", "-o", "learned"]],
        &[],
    );
    env.image("ankle-boot.png", "multi/a.png");
    env.write("multi.json", r#"{"a.png": [7, 9]}"#);
    let multi = ["multi", "-m", "demo", "--labels", "multi.json"];
    check(&env, "eval --multi-label", &[&multi], &[]);
    env.run(&eval(&["--results", "a.jsonl"]));
    env.run(&eval(&["--results", "b.jsonl", "--img-size", "48"]));
    env.run(&["embed", "set", "-m", "demo", "-o", "set.safetensors"]);
    let queries = ["set", "missing.png", "--in", "set.safetensors"];
    let bytes = ["image_bytes", "neighbors[].path_bytes"];
    check(&env, "similar", &[&queries], &bytes);
    let all = ["--in", "set.safetensors", "--threshold", "0"];
    let new = [&all[..], &["--new", "set.safetensors"]].concat();
    let bytes = ["images[].path_bytes"];
    check(&env, "similar --duplicates", &[&all, &new], &bytes);
    let bytes = ["differing[].image_bytes"];
    check(&env, "compare", &[&["a.jsonl", "b.jsonl"]], &bytes);
}

#[test]
fn every_field_of_downloads_is_in_the_guide() {
    const REPO: &str = "timm/seresnet50.ra2_in1k";
    let server = HubServer::start(&[(REPO, "model.safetensors", &[7; 5000])]);
    let mut env = Env::new();
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    let download: [&[&str]; 2] = [&["seresnet50.ra2_in1k", "demo"], &["nowhere"]];
    check(&env, "download", &download, &["path_bytes"]);
    check(&env, "cache list", &[&[]], &["path_bytes"]);
    check(&env, "cache verify", &[&[]], &["error"]);
}

/// The guide lists the columns in the order of the header line.
#[test]
fn every_column_is_in_the_guide() {
    let mut env = Env::new();
    env.set("HF_HOME", "cache");
    let golden = data("golden/seresnet20.golden.safetensors");
    let golden = golden.to_str().unwrap();
    env.image("ankle-boot.png", "set/9/a.png");
    env.write("labels.json", r#"{"9/a.png": [9]}"#);
    let multi = ["set", "-m", "demo", "--labels", "labels.json"];
    let results = "a.jsonl";
    env.run(&eval(&["--results", results]));
    shapes(&env, "shapes", 0..4);
    env.run(&["embed", "set", "-m", "demo", "-o", "set.safetensors"]);
    other(&env);
    let both = ["missing.png", "-m", "demo", "-m", "./other", "--members"];
    let commands: [(&str, &[&str]); 19] = [
        ("classify", &["missing.png", "-m", "demo"]),
        ("classify", &both),
        ("list", &["fashion"]),
        ("list --architectures", &["resnet50"]),
        ("list --pareto", &["lcnet"]),
        ("info", &["demo", "--layers"]),
        ("download", &["demo"]),
        ("cache list", &[]),
        ("cache verify", &[]),
        ("bench", &["--runs", "1"]),
        ("verify", &["demo", "--golden", golden]),
        ("compare", &[results, results]),
        ("similar", &["missing.png", "--in", "set.safetensors"]),
        ("similar --duplicates", &["--in", "set.safetensors"]),
        ("explain", &["set", "-m", "demo"]),
        ("explain --gates", &["set", "-m", "demo"]),
        ("eval", &["set", "-m", "demo"]),
        ("train", &["shapes", "-m", "demo", "-o", "learned"]),
        ("eval --multi-label", &multi),
    ];
    for (command, more) in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let output = env.run(&[&words[..], more, &["-q", "--csv"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let header = text.lines().next().unwrap_or_default();
        assert!(
            section(command).contains(&format!("`{header}`")),
            "{command}: {header}"
        );
    }
}
