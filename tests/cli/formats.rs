//! `--format`: JSON Lines and CSV of the commands that print rows.

use super::env::{Env, json_rows};

/// The commands that print rows about the built-in model, and one of their columns.
const COMMANDS: [(&[&str], &str); 8] = [
    (&["classify", "a.png", "-m", "demo"], "path"),
    (&["list", "resnet50"], "recommended"),
    (&["list", "resnet50", "--architectures"], "checkpoints"),
    (&["download", "demo", "--dry-run"], "state"),
    (&["bench", "demo", "--runs", "1"], "infer_gmacs"),
    (&["cache", "list"], "last_used"),
    (&["devices"], "precisions"),
    (&["eval", "set", "-m", "demo"], "calibration_error"),
];

#[test]
fn short_forms_equal_the_long_ones() {
    let env = Env::new();
    env.image("ankle-boot.png", "a.png");
    env.image("ankle-boot.png", "set/9/a.png");
    for (command, column) in COMMANDS {
        for (short, format) in [("--json", "jsonl"), ("--csv", "csv")] {
            let long = env.run(&[command, &["--format", format, "-q"]].concat());
            let short = env.run(&[command, &[short, "-q"]].concat());
            assert_eq!(long.status.code(), Some(0), "{long:?}");
            assert_eq!(short.status.code(), Some(0), "{short:?}");
            if command[0] != "bench" {
                assert_eq!(short.stdout, long.stdout);
            }
            if format == "jsonl" {
                let rows = json_rows(&long.stdout);
                assert!(rows.iter().all(|row| row.get(column).is_some()), "{rows:?}");
            } else {
                let text = String::from_utf8(long.stdout).unwrap();
                let header = text.lines().next().unwrap();
                assert!(header.split(',').any(|name| name == column), "{header}");
            }
        }
        let text = env.run(&[command, &["--format", "text", "-q"]].concat());
        let default = env.run(&[command, &["-q"]].concat());
        if command[0] != "bench" {
            assert_eq!(text.stdout, default.stdout);
        }
    }
}

#[test]
fn one_format_at_a_time() {
    let env = Env::new();
    for formats in [
        &["--json", "--csv"][..],
        &["--json", "--format", "text"],
        &["--format", "csv", "--csv"],
        &["--format", "yaml"],
    ] {
        let output = env.run(&[&["list"], formats].concat());
        assert_eq!(output.status.code(), Some(2), "{formats:?}");
    }
    env.check("info-csv-without-layers", &["info", "demo", "--csv"]);
}

#[test]
fn csv_of_lists_and_reports() {
    let env = Env::new();
    env.check("list-csv", &["list", "fashion", "--csv"]);
    env.check(
        "list-architectures-csv",
        &["list", "seresnet50", "--architectures", "--csv"],
    );
    env.check("download-csv", &["download", "demo", "-q", "--csv"]);
    let layers = env.run(&["info", "demo", "--layers", "--csv"]);
    let layers = String::from_utf8(layers.stdout).unwrap();
    assert!(layers.starts_with("name,kind,output,params,macs\n"));
    assert!(layers.lines().count() > 30, "{layers}");
}
