//! `senet eval` when something is wrong with the network's outputs, the files or the arguments.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use super::env::Env;
use super::eval_data::{archive, counts, eval, image, twin};

/// The input of the built-in model's classifier.
const FEATURES: usize = 64;

#[test]
fn non_finite_logits_are_failures() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    env.image("ankle-boot.png", "set/3/b.png");
    // Finite weights for the right class of one image, whose products overflow when added; the
    // other image is not affected.
    for (name, signs) in [
        ("+", [1.0, 1.0]),
        ("-", [-1.0, -1.0]),
        ("both", [1.0, -1.0]),
    ] {
        twin(&env);
        let mut bytes = fs::read(env.path("twin/model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let weight = tensors.tensor("fc.weight").unwrap().data();
        let place = weight.as_ptr() as usize - bytes.as_ptr() as usize + 9 * FEATURES * 4;
        for (feature, value) in bytes[place..][..FEATURES * 4].chunks_mut(4).enumerate() {
            let huge = signs[usize::from(feature >= FEATURES / 2)] * f32::MAX;
            value.copy_from_slice(&huge.to_le_bytes());
        }
        env.write("twin/model.safetensors", bytes);
        let output = env.run(&["eval", "set", "-m", "./twin", "--json", "-q"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {messages}");
        assert_eq!(counts(&report), [2, 0, 0].map(Value::from), "{name}");
        assert_eq!(report["failed"], 2);
        assert!(
            messages.contains("9/a.png: the numbers overflowed"),
            "{messages}"
        );
        // There is no mean of an answer and a failure.
        let both = ["set", "-m", "./twin", "--ensemble"];
        let (code, several, messages) = eval(&env, &both);
        let failed: Vec<&Value> = several["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| &m["failed"])
            .collect();
        assert_eq!(
            (code, failed),
            (1, vec![&0.into(), &2.into(), &2.into()]),
            "{messages}"
        );
    }
}

#[test]
fn a_foreign_file_is_not_resumed() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    let foreign: [&[u8]; 5] = [
        b"my notes, without an end of a line",
        b"my notes\nand more of them\n",
        b"{\"senet_eval\":1,\"mine\":true}",
        b"{\"senet_eval\":1}\n{\"half\":",
        b"\x89PNG\r",
    ];
    for bytes in foreign {
        env.write("notes", bytes);
        let (code, _, messages) = eval(&env, &["set", "--results", "notes", "--resume"]);
        assert_eq!(code, 2, "{messages}");
        assert!(
            messages.contains("expected the header of a results file"),
            "{messages}"
        );
        assert_eq!(fs::read(env.path("notes")).unwrap(), bytes);
    }
    // An empty file holds nothing to lose.
    env.write("notes", b"");
    let (code, _, messages) = eval(&env, &["set", "--results", "notes", "--resume"]);
    assert_eq!(code, 0, "{messages}");
}

#[test]
fn in_archives_the_innermost_class_folder_counts() {
    let env = Env::new();
    let boot = image("ankle-boot.png");
    let files = [
        ("Bag/Ankle boot/a.png", &boot[..]),
        ("Ankle boot/Bag/b.png", &boot),
        ("Ankle boot/more/c.png", &boot),
    ];
    env.write("set.tar", archive(&files));
    let (code, report, messages) = eval(&env, &["set.tar"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [3, 3, 2].map(Value::from)),
        "{messages}"
    );
    env.write("set.tar", archive(&[("val/hats/a.png", &boot)]));
    let (code, _, messages) = eval(&env, &["set.tar"]);
    assert_eq!(code, 2);
    assert!(messages.contains("(10 classes): hats"), "{messages}");
}

#[test]
fn a_map_replaces_classes() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    env.image("ankle-boot.png", "set/Bag/b.png");
    env.image("ankle-boot.png", "set/7/c.png");
    for map in [
        "9 Bag\nBag\t7\n7 9\n",
        "7 9\nBag\t7\n9 Bag\n",
        "Bag\t7\n9 Bag\n7 9\n",
    ] {
        env.write("map", map);
        let results = ["set", "--class-map", "map", "--results", "r"];
        let (code, report, messages) = eval(&env, &results);
        assert_eq!(
            (code, counts(&report)),
            (0, [3, 3, 1].map(Value::from)),
            "{messages}"
        );
        let lines = fs::read_to_string(env.path("r")).unwrap();
        let lines = lines
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap());
        let mut found: Vec<(String, u64)> = lines
            .map(|line: Value| {
                let image = line["image"].as_str().unwrap().to_owned();
                (image, line["label"].as_u64().unwrap())
            })
            .collect();
        found.sort();
        let expected = [("7/c.png", 9), ("9/a.png", 8), ("Bag/b.png", 7)];
        assert_eq!(
            found,
            expected.map(|(image, label)| (image.to_owned(), label)),
            "{map}"
        );
        fs::remove_file(env.path("r")).unwrap();
    }
}

#[test]
fn a_missing_published_accuracy_is_reported_before_the_run() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    for (more, what) in [
        (
            &["--img-size", "32"][..],
            "nothing was published for seresnet20.fashion_mnist at 32x32",
        ),
        (&["--crop-pct", "0.5"], "with crop_pct 0.5"),
        (&["--views", "flip"], "one view and all classes"),
        (&["--valid-labels", "valid"], "one view and all classes"),
    ] {
        env.write("valid", "9\n8\n");
        let arguments = ["set", "--expect", "--results", "r"];
        let (code, _, messages) = eval(&env, &[&arguments, more].concat());
        assert_eq!(code, 2, "{messages}");
        assert!(messages.contains(what), "{messages}");
        assert!(!env.path("r").exists(), "nothing was begun");
    }
}

/// A directory of results has a visible file for each model, wherever the model is.
#[test]
fn results_of_local_models_have_plain_names() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    twin(&env);
    fs::create_dir(env.path("below")).unwrap();
    fs::rename(env.path("twin"), env.path("below/twin")).unwrap();
    twin(&env);
    let absolute = env.path("twin").display().to_string();
    let models = [
        "set",
        "-m",
        "./twin",
        "-m",
        "below/../twin",
        "-m",
        "./below/twin",
        "-m",
        &absolute,
    ];
    let arguments = [&models[..], &["--results", "runs"]].concat();
    let (code, _, messages) = eval(&env, &arguments);
    assert_eq!(code, 0, "{messages}");
    let files = fs::read_dir(env.path("runs")).unwrap();
    let mut files: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let absolute = absolute.trim_start_matches('/').replace('/', "_") + ".jsonl";
    let mut expected = vec![
        "below_.._twin.jsonl".to_owned(),
        "below_twin.jsonl".to_owned(),
        "seresnet20.fashion_mnist.jsonl".to_owned(),
        absolute,
        "twin.jsonl".to_owned(),
    ];
    expected.sort();
    assert_eq!(files, expected);

    // Two models of the same name keep two files.
    fs::create_dir(env.path("here")).unwrap();
    let mut command = env.command(&[
        "eval",
        "../set",
        "-m",
        "./twin",
        "-m",
        "../twin",
        "-q",
        "--results",
        "runs",
    ]);
    fs::rename(env.path("below/twin"), env.path("here/twin")).unwrap();
    let output = command.current_dir(env.path("here")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for file in ["twin.jsonl", "twin-2.jsonl"] {
        assert!(env.path("here/runs").join(file).exists(), "{file}");
    }
}

/// The results are printed even if the page cannot be written.
#[test]
#[cfg(unix)]
fn a_failed_page_does_not_lose_the_report() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    let whole = env.run(&["eval", "set", "-m", "demo", "-q", "--results", "r.jsonl"]);
    for arguments in [
        &["eval", "set", "-m", "demo", "-q", "--html", "page.html"][..],
        &["eval", "merge", "r.jsonl", "--html", "page.html"],
    ] {
        // Files of more than 8 blocks cannot be written.
        let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
        let output = env.under_shell(script, arguments).output().unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(messages.contains("cannot write "), "{messages}");
        assert_eq!(output.stdout, whole.stdout, "{messages}");
        assert!(!env.path("page.html").exists());
    }
}

#[test]
fn no_output_replaces_a_file_of_another_argument() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    env.write("labels", "9/a.png 9\n");
    let (code, _, messages) = eval(&env, &["set", "--results", "r.jsonl"]);
    assert_eq!(code, 0, "{messages}");
    let results = fs::read(env.path("r.jsonl")).unwrap();
    for arguments in [
        &["eval", "merge", "r.jsonl", "--html", "./set/../r.jsonl"][..],
        &[
            "eval",
            "set",
            "--results",
            "r.jsonl",
            "--resume",
            "--html",
            "r.jsonl",
        ],
        &[
            "eval",
            "set",
            "--results",
            "new.jsonl",
            "--html",
            "./new.jsonl",
        ],
        &["eval", "set", "--labels", "labels", "--html", "labels"],
    ] {
        let output = env.run(&[arguments, &["-q"]].concat());
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(
            messages.contains("it would replace a file of another argument"),
            "{messages}"
        );
    }
    assert_eq!(fs::read(env.path("r.jsonl")).unwrap(), results);
    assert!(!env.path("new.jsonl").exists());
}

#[test]
fn no_image_counts_twice() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    env.write("b/set.tar", archive(&[("9/a.png", &image("grey.png"))]));
    for paths in [
        ["set", "./set"],
        ["set", "set/9"],
        ["b/../set/9", "set"],
        ["b/set.tar", "b"],
    ] {
        let (code, _, messages) = eval(&env, &paths);
        assert_eq!(code, 2, "{messages}");
        let expected = format!("{} and {} share images", paths[1], paths[0]);
        assert!(messages.contains(&expected), "{messages}");
    }
    let (code, report, messages) = eval(&env, &["set", "b"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [2, 2, 1].map(Value::from)),
        "{messages}"
    );
}

/// A stream may take long, and can be read only once.
#[test]
fn existing_results_are_reported_before_data_is_read() {
    let env = Env::new();
    env.write("runs/twin.jsonl", b"mine");
    twin(&env);
    for arguments in [
        &["eval", "-", "-m", "demo", "--results", "runs/twin.jsonl"][..],
        &["eval", "-", "-m", "demo", "-m", "twin", "--results", "runs"],
    ] {
        let output = env.run_with_stdin(arguments, b"no archive");
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(
            messages.contains("runs/twin.jsonl exists already"),
            "{messages}"
        );
    }
    let files = fs::read_dir(env.path("runs")).unwrap();
    assert_eq!(files.count(), 1, "none is begun");
}
