//! `senet explain`: maps, overlays, pages and gates.

use std::fs;
use std::path::Path;

use senet::model::{HeadFile, HeadInfo};
use senet::preprocess::{CropMode, InputSpec, Interpolation};
use senet::weights::Weights;
use serde_json::Value;

use super::env::{Env, json_rows};
use super::eval_html::check_in_browser;

/// The embedded model on these arguments.
fn demo<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["explain", "-m", "demo", "-q"], more].concat()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The mean of a map.
fn mean(cam: &Value) -> f64 {
    let rows = cam.as_array().unwrap();
    let cells: Vec<f64> = rows
        .iter()
        .flat_map(|row| row.as_array().unwrap().iter().map(number))
        .collect();
    cells.iter().sum::<f64>() / cells.len() as f64
}

#[test]
fn text_and_csv() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.image("exif-6.jpg", "turned.jpg");
    env.check(
        "explain",
        &[
            "explain",
            "boot.png",
            "turned.jpg",
            "missing.png",
            "-m",
            "demo",
        ],
    );
    env.check(
        "explain-check",
        &demo(&["boot.png", "--check", "-k", "2", "-o", "maps"]),
    );
    env.check(
        "explain-versus",
        &demo(&["boot.png", "--versus", "sneaker", "-o", "maps"]),
    );
    env.check("explain-csv", &demo(&["boot.png", "missing.png", "--csv"]));
}

#[test]
fn mean_and_bias_are_the_logit_that_classify_prints() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.image("exact-224.png", "exact.png");
    let explained = env.run(&demo(&["boot.png", "exact.png", "-k", "10", "--json"]));
    let explained = json_rows(&explained.stdout);
    let classified = [
        "classify",
        "boot.png",
        "exact.png",
        "-m",
        "demo",
        "-k",
        "10",
        "--json",
    ];
    let classified = json_rows(&env.run(&classified).stdout);
    for (explained, classified) in explained.iter().zip(&classified) {
        let explanations = explained["explanations"].as_array().unwrap();
        let predictions = classified["predictions"].as_array().unwrap();
        assert_eq!((explanations.len(), predictions.len()), (10, 10));
        for (explanation, prediction) in explanations.iter().zip(predictions) {
            for field in ["index", "label"] {
                assert_eq!(explanation[field], prediction[field]);
            }
            let logit = number(&prediction["logit"]);
            assert!((number(&explanation["logit"]) - logit).abs() < 1e-5);
            let sum = mean(&explanation["cam"]) + number(&explanation["bias"]);
            assert!((sum - logit).abs() < 1e-4, "{sum}, not {logit}");
            assert_eq!(explanation["form"], "exact");
        }
        assert_eq!(explained["gates"].as_array().unwrap().len(), 9);
        assert!(explained["gates"][0].get("values").is_none());
    }
}

#[test]
fn a_difference_is_that_of_two_maps() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let run = |more: &[&str]| {
        let output = env.run(&demo(&[&["boot.png", "--json", "--full"], more].concat()));
        json_rows(&output.stdout).remove(0)
    };
    let both = run(&["--class", "Ankle boot", "--class", "7", "--class", "9"]);
    let both = both["explanations"].as_array().unwrap();
    assert_eq!(both.len(), 2, "9 is the ankle boot");
    let difference = run(&["--versus", "7"]);
    let values = difference["gates"][0]["values"].as_array().unwrap();
    assert_eq!(values.len(), 16);
    let difference = &difference["explanations"][0];
    assert_eq!(difference["index"], 9);
    assert_eq!(difference["versus"]["index"], 7);
    let cell = |of: &Value| number(&of["cam"][2][1]);
    assert!((cell(difference) - (cell(&both[0]) - cell(&both[1]))).abs() < 1e-9);
    let sum = mean(&difference["cam"]) + number(&difference["bias"]);
    let logits = number(&both[0]["logit"]) - number(&both[1]["logit"]);
    assert!((sum - logits).abs() < 1e-4);
    // The most probable class is not compared with itself.
    assert_eq!(run(&["--versus", "9"])["explanations"][0]["index"], 7);
}

#[test]
fn the_classifier_of_a_head_is_what_is_explained() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let file = "models/weights/seresnet20.fashion_mnist.safetensors";
    let weights = Weights::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let info = HeadInfo {
        model: "seresnet20.fashion_mnist".into(),
        weights: weights.fingerprint().unwrap(),
        input: InputSpec {
            size: [32, 32],
            crop_pct: 1.0,
            crop_mode: CropMode::Center,
            interpolation: Interpolation::Bilinear,
            mean: [0.286; 3],
            std: [0.353; 3],
            test_size: None,
            test_crop_pct: None,
        },
        exif: true,
        labels: vec!["left".into(), "right".into()],
        temperature: None,
    };
    let weight: Vec<f32> = (0..128).map(|place| (place % 7) as f32 * 0.1).collect();
    let head = HeadFile::new(info, &weight, &[0.5, -1.5]).unwrap();
    env.write("head.safetensors", head.to_bytes().unwrap());
    let head = [
        "boot.png",
        "--head",
        "head.safetensors",
        "-k",
        "2",
        "--json",
    ];
    let explained = json_rows(&env.run(&demo(&head)).stdout).remove(0);
    let classify = [&["classify", "-m", "demo", "-q"], &head[..]].concat();
    let classified = json_rows(&env.run(&classify).stdout).remove(0);
    assert_eq!(explained["model"], classified["model"]);
    for place in [0, 1] {
        let explanation = &explained["explanations"][place];
        let prediction = &classified["predictions"][place];
        assert_eq!(explanation["label"], prediction["label"]);
        let bias = if explanation["label"] == "left" {
            0.5
        } else {
            -1.5
        };
        assert_eq!(number(&explanation["bias"]), bias);
        assert_eq!(
            explanation["cam"].as_array().unwrap().len(),
            8,
            "of 32 pixels"
        );
        let sum = mean(&explanation["cam"]) + bias;
        assert!((sum - number(&prediction["logit"])).abs() < 1e-4);
    }
    // A file that is read is not replaced.
    let replaced = env.run(&demo(
        &[&head[..], &["--html", "head.safetensors"]].concat(),
    ));
    assert_eq!(replaced.status.code(), Some(2));
}

#[test]
fn overlays_have_the_size_of_the_image_as_it_is_seen_and_share_no_name() {
    let env = Env::new();
    env.image("exif-6.jpg", "one/a.jpg");
    env.image("ankle-boot.png", "two/a.jpg");
    env.image("odd-313x257.png", "a.png");
    let output = env.run(&demo(&[
        "one/a.jpg",
        "two/a.jpg",
        "a.png",
        "--class",
        "3",
        "-o",
        "maps",
        "--json",
    ]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows = json_rows(&output.stdout);
    let names = ["a.jpg.3.png", "a.jpg-2.3.png", "a.png.3.png"];
    for (row, name) in rows.iter().zip(names) {
        let path = row["explanations"][0]["overlay"].as_str().unwrap();
        assert_eq!(path, format!("maps/{name}"));
        let drawn = image::open(env.path(path)).unwrap();
        let size = [drawn.height(), drawn.width()].map(f64::from);
        assert_eq!(size, [0, 1].map(|axis| number(&row["size"][axis])));
    }
    assert_eq!(rows[0]["size"], serde_json::json!([30, 20]), "turned");
    let turned = env.run(&demo(&["one/a.jpg", "--no-exif", "--json"]));
    assert_eq!(
        json_rows(&turned.stdout)[0]["size"],
        serde_json::json!([20, 30])
    );
}

#[test]
fn the_check_compares_tenths_and_is_the_same_in_every_run() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let run = || json_rows(&env.run(&demo(&["boot.png", "--check", "--json"])).stdout).remove(0);
    let check = run()["explanations"][0]["check"].clone();
    assert_eq!(check["cells"], 4, "of 49");
    assert_eq!(check["draws"], 10);
    assert!(
        number(&check["top_drop"]) > number(&check["random_drop"]),
        "{check}"
    );
    assert_eq!(run()["explanations"][0]["check"], check);
}

#[test]
fn a_page_has_images_maps_and_failures() {
    let env = Env::new();
    env.image("ankle-boot.png", "<b>.png");
    env.write("broken.png", b"\x89PNG\r\n\x1a\nno more");
    let output = env.run(&demo(&[
        "<b>.png",
        "broken.png",
        "-k",
        "2",
        "--html",
        "why.html",
    ]));
    assert_eq!(output.status.code(), Some(1));
    let page = fs::read_to_string(env.path("why.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("<h2>&lt;b&gt;.png</h2>") && !page.contains("<b>.png"));
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 3);
    assert!(page.contains("covering the top 4 cells changes the probability by"));
    assert!(page.contains("cannot decode this PNG"));
    // It is known before the run that a page cannot be written.
    let refused = env.run(&demo(&["<b>.png", "--html", "missing/why.html"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stdout.is_empty());
    let replaced = env.run(&demo(&["<b>.png", "--html", "<b>.png"]));
    assert_eq!(replaced.status.code(), Some(2));
}

/// Images whose gates cannot be averaged take nothing from those that are explained.
#[test]
fn explanations_stay_if_all_images_of_gates_fail() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.write("set/Bag/broken.png", b"\x89PNG\r\n\x1a\nno more");
    let gates = ["--gates", "set", "--json", "--html", "why.html"];
    let output = env.run(&demo(&[&["boot.png"], &gates[..]].concat()));
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{messages}");
    assert!(messages.contains("no image of `--gates` could be read: all 1 failed"));
    assert_eq!(json_rows(&output.stdout).len(), 1);
    assert!(
        fs::read_to_string(env.path("why.html"))
            .unwrap()
            .contains("boot.png")
    );
    fs::remove_file(env.path("why.html")).unwrap();
    let output = env.run(&demo(&gates));
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && !env.path("why.html").exists());
}

#[test]
fn gates_by_class() {
    let env = Env::new();
    for class in ["Ankle boot", "Bag"] {
        env.image("ankle-boot.png", &format!("set/{class}/a.png"));
        env.image("exact-224.png", &format!("set/{class}/b.png"));
    }
    env.write("set/Bag/broken.png", b"\x89PNG\r\n\x1a\nno more");
    env.check("explain-gates", &demo(&["--gates", "set"]));
    env.check(
        "explain-gates-csv",
        &demo(&["--gates", "set", "--csv", "--limit", "2"]),
    );
    let output = env.run(&demo(&[
        "--gates",
        "set",
        "--json",
        "--full",
        "--html",
        "gates.html",
    ]));
    assert_eq!(output.status.code(), Some(1), "one image is broken");
    let report = json_rows(&output.stdout).remove(0);
    assert_eq!(
        (&report["images"], &report["failed"]),
        (&4.into(), &1.into())
    );
    for module in report["modules"].as_array().unwrap() {
        // Both classes have the same images.
        assert!(module["between_share"].as_f64().unwrap_or(0.0) < 1e-6);
        assert_eq!(module["by_class"][0], module["by_class"][1]);
        let gates = module["overall"].as_array().unwrap();
        assert_eq!(gates.len() as u64, module["channels"].as_u64().unwrap());
        // As for the images themselves.
        if module["module"] == "layer3.2.se" {
            let both = ["set/Bag/a.png", "set/Bag/b.png"];
            let rows = env.run(&demo(&[&both[..], &["--json", "--full"]].concat()));
            let rows = json_rows(&rows.stdout);
            let first = |row: &Value| number(&row["gates"][8]["values"][0]);
            let mean = (first(&rows[0]) + first(&rows[1])) / 2.0;
            assert!((number(&gates[0]) - mean).abs() < 1e-6);
        }
    }
    let page = fs::read_to_string(env.path("gates.html")).unwrap();
    for text in [
        "Stage 3: layer3.2.se",
        "class=\"line all\"",
        "</i>Ankle boot",
        "</i>Bag",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches("<svg class=\"gates\"").count(), 3);
    // A class without images has no line, and is named.
    let chosen = ["--class", "Bag", "--class", "Dress"];
    let output = env.run(
        &[
            &[
                "explain",
                "-m",
                "demo",
                "--gates",
                "set",
                "--html",
                "gates.html",
            ],
            &chosen[..],
        ]
        .concat(),
    );
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(
        messages.contains("note: no image of `Dress`: the page does not draw it\n"),
        "{messages}"
    );
    let page = fs::read_to_string(env.path("gates.html")).unwrap();
    assert!(page.contains("</i>Bag") && !page.contains("</i>Ankle boot"));
}

#[test]
fn bad_arguments() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.write("file", b"");
    env.check(
        "explain-unknown-class",
        &demo(&["boot.png", "--class", "boots"]),
    );
    env.check(
        "explain-same-class",
        &demo(&["boot.png", "--class", "9", "--versus", "Ankle boot"]),
    );
    env.check("explain-no-directory", &demo(&["boot.png", "-o", "file"]));
    env.check(
        "explain-two-tables",
        &demo(&["boot.png", "--gates", "set", "--csv"]),
    );
    env.check(
        "explain-without-images",
        &demo(&["--gates", "set", "--check"]),
    );
    env.check("explain-nothing", &demo(&[]));
    assert!(!env.path("maps").exists());
}

/// The arguments of the command in the guide that begins so, and what it shows as its output.
fn in_the_guide(start: &str) -> (Vec<&'static str>, &'static str) {
    let guide: &'static str = include_str!("../../src/guide/explain.md");
    let command = guide.lines().find(|line| line.starts_with(start)).unwrap();
    let (_, output) = guide.split_once(command).unwrap();
    let arguments = command.split(' ').skip(2).collect();
    (arguments, output[1..].split("```").next().unwrap())
}

#[test]
fn the_guide_shows_what_is_printed() {
    let env = Env::new();
    env.image("ankle-boot.png", "tests/data/pictures/ankle-boot.png");
    let (arguments, expected) = in_the_guide("$ senet explain tests/data");
    let output = env.run(&arguments);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
#[ignore = "needs Debian's dataset-fashion-mnist; cargo test --release --test cli fashion -- --ignored"]
fn gates_of_fashion_mnist_are_those_of_the_guide() {
    let env = Env::new();
    let (images, labels) = super::common::fashion_mnist::test_set();
    for (index, (pixels, label)) in images.into_iter().zip(labels).enumerate() {
        let image = image::GrayImage::from_raw(28, 28, pixels).unwrap();
        let path = env.path(&format!("fashion-mnist/{label}/{index:05}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.save(path).unwrap();
    }
    let (arguments, expected) = in_the_guide("$ senet explain --gates");
    let output = env.run(&arguments);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert!(env.path("gates.html").exists());
}

#[test]
#[ignore = "needs Debian's chromium; cargo test --test cli browser -- --ignored"]
fn a_browser_renders_the_page_of_explanations() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/Bag/a.png");
    env.image("exif-6.jpg", "set/Dress/b.jpg");
    env.write(&format!("set/Dress/{}.png", "long".repeat(40)), b"broken");
    let arguments = ["set", "--gates", "set", "--html", "why.html"];
    let output = env.run(&demo(&[&arguments[..], &["--versus", "Coat"]].concat()));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // The colours, a scale for each map, a figure for each stage and a bar for each module.
    check_in_browser(&env, "why.html", 1 + 2 + 3 + 9);
}
