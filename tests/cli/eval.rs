//! `senet eval`: labels by meaning, shards, resumption, reports.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::common::fashion_mnist;
use super::env::Env;

/// Class folders named in every way that a class can be, and images that fail.
pub(super) fn folders(env: &Env) {
    env.image("ankle-boot.png", "set/Ankle boot/a.png");
    env.image("ankle-boot.png", "set/ankle_boot/nested/a.PNG");
    env.image("ankle-boot.png", "set/9/a.png");
    env.image("ankle-boot.png", "set/sneaker/a.png");
    env.image("grey.png", "set/T-shirt_top/grey.png");
    env.image("exact-224.png", "set/3/exact.png");
    env.write("set/bag/broken.png", b"\x89PNG\r\n\x1a\nno more");
    env.write("set/bag/notes.txt", b"not an image");
}

pub(super) fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["eval", "set", "-m", "demo", "-q"], more].concat()
}

#[test]
fn labels_do_not_depend_on_the_other_folders() {
    let env = Env::new();
    folders(&env);
    env.check("eval-folders", &eval(&[]));
    env.check("eval-folders-json", &eval(&["--json", "-k", "1,2"]));
    // A subset of the folders scores as it did in the whole.
    fs::remove_dir_all(env.path("set/Ankle boot")).unwrap();
    fs::remove_dir_all(env.path("set/bag")).unwrap();
    env.check("eval-subset", &eval(&[]));
}

#[test]
fn labels_from_a_file() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/a.png");
    env.image("ankle-boot.png", "set/sub/b.png");
    env.image("ankle-boot.png", "set/unlisted.png");
    let lists: [(&str, &str); 4] = [
        (
            "heading",
            "ImageId,PredictionString\na,9 1 2 3 4\nsub/b,Sneaker\n",
        ),
        (
            "quotes",
            "\"file\",\"class\"\r\n\"a.png\",\"Ankle boot\"\r\n\"sub/b.png\",\"7\"\r\n",
        ),
        ("blanks", "./a.png 9\nsub/b.png 7\n"),
        (
            "tabs",
            "\u{feff}# mine\r\na.png\tAnkle boot\r\nsub/b.png\tsneaker\r\n",
        ),
    ];
    let mut reports = Vec::new();
    for (name, text) in lists {
        env.write(name, text);
        let output = env.run(&eval(&["--labels", name, "--json"]));
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        reports.push(output.stdout);
    }
    assert!(reports.windows(2).all(|pair| pair[0] == pair[1]));
    let report: Value = serde_json::from_slice(&reports[0]).unwrap();
    assert_eq!(report["answered"], 2);
    assert_eq!(report["top"][0]["correct"], 1);
    env.write("missing", "a.png 9\ngone.png 9\n");
    env.check("eval-listed-but-missing", &eval(&["--labels", "missing"]));
}

#[test]
fn data_that_is_not_a_validation_set() {
    let env = Env::new();
    env.check("eval-no-folder", &eval(&[]));
    env.write("set/readme.txt", b"");
    env.check("eval-empty", &eval(&[]));
    env.image("ankle-boot.png", "set/loose.png");
    env.check("eval-loose", &eval(&[]));
    fs::remove_file(env.path("set/loose.png")).unwrap();
    env.image("ankle-boot.png", "set/Bag/a.png");
    for folder in ["hats", "10", "-1", "n01440764", "socks", "belts"] {
        env.image("ankle-boot.png", &format!("set/{folder}/a.png"));
    }
    env.check("eval-unknown-classes", &eval(&[]));
    env.write(
        "map",
        "hats\t-\n10,-\n-1,-\nn01440764 Ankle boot\nsocks\tAnkle boot\nbelts\t-\n",
    );
    env.check("eval-class-map", &eval(&["--class-map", "map"]));
    env.write("bad-map", "hats\tcap\n");
    env.check("eval-bad-class-map", &eval(&["--class-map", "bad-map"]));
    env.write("list", "x.png 1\ny.png 2\n");
    env.check("eval-nothing-listed", &eval(&["--labels", "list"]));
    env.write("list", "Bag/a.png 1\nBag/a.png 2\n");
    env.check("eval-two-labels", &eval(&["--labels", "list"]));
    env.check("eval-shard", &eval(&["--shard", "3/2"]));
    env.check("eval-no-test-size", &eval(&["--test-size"]));
    env.check(
        "eval-nothing-published",
        &eval(&["--class-map", "map", "--expect", "--img-size", "32"]),
    );
    env.check("eval-without-folder", &["eval"]);
}

#[test]
#[cfg(unix)]
fn links_are_followed_but_not_in_cycles() {
    let env = Env::new();
    env.image("ankle-boot.png", "elsewhere/a.png");
    fs::create_dir_all(env.path("set/Bag")).unwrap();
    std::os::unix::fs::symlink(env.path("elsewhere"), env.path("set/Ankle boot")).unwrap();
    std::os::unix::fs::symlink(env.path("set"), env.path("set/Bag/loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", env.path("set/Bag/dangling.png")).unwrap();
    let output = env.run(&eval(&["--json"]));
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["answered"], &report["failed"]),
        (&1.into(), &1.into())
    );
}

#[test]
#[cfg(target_os = "linux")]
fn names_need_not_be_unicode() {
    use std::os::unix::ffi::OsStrExt;
    let env = Env::new();
    let image = fs::read(super::env::data("pictures/ankle-boot.png")).unwrap();
    fs::create_dir_all(env.path("set/9")).unwrap();
    for name in [&b"\xff.png"[..], b"\xfe.png"] {
        let path = env.path("set/9").join(std::ffi::OsStr::from_bytes(name));
        fs::write(path, &image).unwrap();
    }
    let output = env.run(&eval(&["--json", "--results", "names.jsonl"]));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["answered"], &report["failed"]),
        (&2.into(), &0.into())
    );
    let merged = env.run(&["eval", "merge", "--json", "names.jsonl"]);
    assert_eq!(merged.stdout, output.stdout);
}

#[test]
fn shards_and_interrupted_runs_give_the_whole_report() {
    let env = Env::new();
    folders(&env);
    let whole = env.run(&eval(&["--json", "--results", "whole.jsonl"]));
    assert_eq!(whole.status.code(), Some(1), "one image is broken");
    env.check("eval-exists", &eval(&["--results", "whole.jsonl"]));

    let mut files = Vec::new();
    for shard in 1..=7 {
        let file = format!("{shard}.jsonl");
        let shard = format!("{shard}/7");
        let output = env.run(&eval(&["--results", &file, "--shard", &shard]));
        assert!(
            output.stderr.is_empty() || output.status.code() == Some(1),
            "{output:?}"
        );
        files.push(file);
    }
    let lock = fs::File::open(env.path("1.jsonl")).unwrap();
    lock.lock().unwrap();
    env.check(
        "eval-in-use",
        &eval(&["--results", "1.jsonl", "--shard", "1/7", "--resume"]),
    );
    drop(lock);
    files.reverse();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let merged = env.run(&[&["eval", "merge", "--json"], &files[..]].concat());
    assert_eq!(merged.stdout, whole.stdout);

    // Those that failed are printed again.
    let failure = "error: bag/broken.png: cannot decode this PNG";
    for arguments in [
        eval(&["--results", "whole.jsonl", "--resume"]),
        vec!["eval", "merge", "whole.jsonl"],
    ] {
        let output = env.run(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(messages.matches(failure).count(), 1, "{messages}");
    }

    // Killed at any byte of its file, a run resumes to the same report.
    let bytes = fs::read(env.path("whole.jsonl")).unwrap();
    for cut in (0..bytes.len()).step_by(bytes.len() / 30) {
        fs::write(env.path("cut.jsonl"), &bytes[..cut]).unwrap();
        let output = env.run(&eval(&["--json", "--results", "cut.jsonl", "--resume"]));
        assert_eq!(output.stdout, whole.stdout, "cut at {cut}");
    }
    env.check(
        "eval-merge-incomplete",
        &["eval", "merge", "2.jsonl", "5.jsonl"],
    );
    env.check(
        "eval-other-input",
        &eval(&["--results", "whole.jsonl", "--resume", "--img-size", "32"]),
    );
    let bf16 = [
        "--results",
        "whole.jsonl",
        "--resume",
        "--precision",
        "bf16",
    ];
    let output = env.run(&eval(&bf16));
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        messages.contains("its precision is f32, expected bf16"),
        "{messages}"
    );
    env.write("bad.jsonl", [&bytes[..], b"{\"index\":99}\n"].concat());
    env.check("eval-bad-results", &["eval", "merge", "bad.jsonl"]);
    let text = String::from_utf8(bytes).unwrap();
    env.write("other.jsonl", text.replace("\"rank\":1,", "\"rank\":3,"));
    let output = env.run(&["eval", "merge", "whole.jsonl", "other.jsonl"]);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        messages.contains("has another result than in whole.jsonl")
            && messages.contains("hint: the same image from two machines"),
        "{messages}"
    );
    env.write("png.jsonl", b"\x89PNG\r\n\x1a\nno more");
    env.check("eval-no-results", &["eval", "merge", "png.jsonl"]);
}

/// A results file of version 1, which had `picture` for `image`, is resumed, merged and compared
/// with a new one.
#[test]
fn results_of_version_1_go_with_new_ones() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    env.image("grey.png", "set/Bag/b.png");
    env.write("set/Bag/c.png", b"no image");
    let stored = fs::read_to_string(super::env::data("eval/results.jsonl")).unwrap();
    let lines: Vec<&str> = stored.split_inclusive('\n').collect();
    assert!(lines[0].contains("\"pictures\"") && lines[1].contains("\"picture\""));
    let whole = env.run(&eval(&["--json", "--results", "new.jsonl"]));
    env.write("part.jsonl", lines[..2].concat());
    env.run(&eval(&["--results", "2.jsonl", "--shard", "2/3"]));
    env.run(&eval(&["--results", "3.jsonl", "--shard", "3/3"]));
    // In either order.
    for files in [["part", "2", "3"], ["3", "2", "part"]] {
        let files = files.map(|name| format!("{name}.jsonl"));
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let merged = env.run(&[&["eval", "merge", "--json"], &files[..]].concat());
        assert_eq!(merged.stdout, whole.stdout, "{merged:?}");
    }
    let compare = |first, second| env.run(&["compare", first, second, "--json", "-q"]).stdout;
    let same = compare("new.jsonl", "new.jsonl");
    env.write("old.jsonl", &stored);
    assert_eq!(compare("old.jsonl", "new.jsonl"), same);
    assert_eq!(compare("new.jsonl", "old.jsonl"), same);
    let resumed = env.run(&eval(&["--json", "--results", "part.jsonl", "--resume"]));
    assert_eq!(resumed.stdout, whole.stdout, "{resumed:?}");
    let text = fs::read_to_string(env.path("part.jsonl")).unwrap();
    let counts = ["\"picture\":", "\"image\":"].map(|field| text.matches(field).count());
    assert_eq!(counts, [1, 2], "old lines stay as they are: {text}");
}

#[test]
fn figures_as_csv() {
    let env = Env::new();
    folders(&env);
    env.check("eval-csv", &eval(&["--csv", "-k", "1,2"]));
    env.run(&eval(&["--results", "a.jsonl"]));
    let merged = env.run(&["eval", "merge", "a.jsonl", "--format", "csv"]);
    assert_eq!(merged.stdout, env.run(&eval(&["--csv"])).stdout);
    let ensemble = ["--ensemble", "-m", "./twin", "-k", "1", "--csv"];
    super::eval_data::twin(&env);
    let output = env.run(&eval(&ensemble));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 4, "a row for each model: {text}");
}

#[test]
fn killed_thirty_times_it_loses_and_repeats_nothing() {
    let env = Env::new();
    for image in 0..300 {
        env.image("ankle-boot.png", &format!("set/{}/{image}.png", image % 10));
    }
    let whole = env.run(&eval(&["--json"]));
    let arguments = eval(&["--json", "-b", "2", "--results", "killed.jsonl", "--resume"]);
    for moment in 0..30 {
        let mut child = env
            .command(&arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(moment * 7 % 90));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let resumed = env.run(&arguments);
    assert_eq!(resumed.stdout, whole.stdout);
    let lines = fs::read_to_string(env.path("killed.jsonl")).unwrap();
    assert_eq!(
        lines.lines().count(),
        301,
        "a header and one line per image"
    );
}

#[test]
fn a_limit_samples_all_classes() {
    let env = Env::new();
    for class in 0..5 {
        for image in 0..4 {
            env.image("ankle-boot.png", &format!("set/{class}/{image}.png"));
        }
    }
    let output = env.run(&eval(&["--json", "--limit", "5"]));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let classes = report["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 5);
    assert!(classes.iter().all(|class| class["answered"] == 1));
}

#[test]
fn wrong_labels_are_noticed() {
    let env = Env::new();
    for image in 0..30 {
        env.image("ankle-boot.png", &format!("set/bag/{image}.png"));
    }
    let output = env.run(&["eval", "set", "-m", "demo", "--expect"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("about what guessing among 10 classes gives"),
        "{stderr}"
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains(": differs"), "{stdout}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
#[ignore = "needs Debian's dataset-fashion-mnist; cargo test --release --test cli fashion -- --ignored --nocapture"]
#[expect(
    clippy::print_stderr,
    reason = "the figures are what the test is run for"
)]
fn fashion_mnist_as_png_files_in_class_folders() {
    let env = Env::new();
    let (images, labels) = fashion_mnist::test_set();
    for (index, (grey, label)) in images.iter().zip(&labels).enumerate() {
        let path = env.path(&format!("set/{label}/{index:05}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_raw(28, 28, grey.clone())
            .unwrap()
            .save(path)
            .unwrap();
    }
    let output = env.run(&["eval", "set", "-m", "demo", "--expect", "--json"]);
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["answered"], 10_000);
    assert_eq!(report["top"][0]["correct"], 9_375);
    assert_eq!(report["top"][1]["correct"], 9_997);
    assert_eq!(report["published"]["agrees"], true);
}
