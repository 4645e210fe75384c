//! `senet bench`: its errors, and the fields of its results; times differ from run to run.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::env::{Env, json_rows};

#[test]
fn wrong_arguments() {
    let env = Env::new();
    env.check("bench-json-and-csv", &["bench", "--json", "--csv"]);
    env.check("bench-batch-size", &["bench", "--batch-size", "1,0"]);
    env.check("bench-runs-zero", &["bench", "--runs", "0"]);
    env.check("bench-unknown", &["bench", "resnet50"]);
    env.check("bench-layers-csv", &["bench", "--layers", "--csv"]);
    env.check(
        "bench-weights-of-two",
        &["bench", "demo", "demo", "-w", "a"],
    );
}

/// A mistyped instruction set used to be ignored silently.
#[test]
fn an_unknown_instruction_set() {
    let env = Env::new();
    let run = |isa: &str| {
        let mut command = env.command(&["bench", "--runs", "1"]);
        command.env("SENET_ISA", isa).output().unwrap()
    };
    let refused = run("avx3");
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        message.starts_with("error: SENET_ISA is `avx3`; this machine has: portable"),
        "{message}"
    );
    assert_eq!(run("portable").status.code(), Some(0));
    assert_eq!(run("").status.code(), Some(0));
}

#[test]
fn json_has_the_columns_of_timm() {
    let env = Env::new();
    let arguments = [
        "bench",
        "demo",
        "--json",
        "--runs",
        "2",
        "--batch-size",
        "1,3",
    ];
    let output = env.run(&[&arguments[..], &["--threads", "2"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let rows = json_rows(&output.stdout);
    assert_eq!(rows.len(), 2);
    for (row, batch) in rows.iter().zip([1, 3]) {
        assert_eq!(row["model"], "seresnet20.fashion_mnist");
        assert_eq!(row["infer_batch_size"], batch);
        assert_eq!(row["infer_img_size"], 28);
        assert_eq!(row["threads"], 2);
        assert_eq!(row["step_times_ms"].as_array().unwrap().len(), 2);
        for field in [
            "infer_samples_per_sec",
            "infer_step_time",
            "infer_gmacs",
            "param_count",
            "gflops",
            "peak_share",
        ] {
            assert!(row[field].as_f64().unwrap() > 0.0, "{field}");
        }
    }
}

#[test]
fn csv_has_a_header_and_no_samples() {
    let env = Env::new();
    let output = env.run(&["bench", "demo", "--csv", "--runs", "1"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("model,infer_samples_per_sec,infer_step_time,"));
    assert!(!text.contains("step_times_ms"));
}

/// Rows are printed as they are measured, so that a later failure does not lose them.
#[test]
fn rows_are_printed_as_they_come() {
    let env = Env::new();
    for format in ["text", "jsonl", "csv"] {
        let long = ["bench", "-b", "1,4096", "--runs", "1", "--format", format];
        let mut child = env.command(&long).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let heading = usize::from(format != "jsonl");
        let first = lines.nth(heading).unwrap().unwrap();
        let running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(running && first.contains("seresnet20"), "{format}: {first}");
    }
}

#[test]
fn layers_are_those_of_the_plan() {
    let env = Env::new();
    let output = env.run(&["bench", "demo", "--layers", "--json", "--runs", "2"]);
    assert_eq!(output.status.code(), Some(0));
    let rows = json_rows(&output.stdout);
    let layers = rows[0]["layers"].as_array().unwrap();
    let operations: f64 = layers
        .iter()
        .map(|layer| layer["gflops"].as_f64().unwrap() * layer["ms"].as_f64().unwrap() / 1e3)
        .sum();
    let gmacs = rows[0]["infer_gmacs"].as_f64().unwrap();
    assert!((operations / (2.0 * gmacs) - 1.0).abs() < 1e-9);
    // Input, stem, nine blocks of two convolutions, gate and elementwise layer, two projections,
    // pool, classifier.
    assert_eq!(layers.len(), 1 + 1 + 9 * 4 + 2 + 1 + 1);
}

/// The precision of the command line, or of the environment.
#[test]
fn precision() {
    let mut env = Env::new();
    env.check("precision-unknown", &["bench", "--precision", "f16"]);
    env.check(
        "precision-unavailable",
        &["bench", "--device", "cpu", "--precision", "tf32"],
    );
    let row = |env: &Env, options: &[&str]| {
        let output = env.run(
            &[
                &["bench", "--json", "--runs", "1", "--threads", "1"],
                options,
            ]
            .concat(),
        );
        assert_eq!(output.status.code(), Some(0));
        let note = String::from_utf8(output.stderr).unwrap();
        (json_rows(&output.stdout).remove(0), note)
    };
    let cpu = json_rows(&env.run(&["devices", "--json"]).stdout);
    let available = cpu.last().unwrap()["isa_available"].to_string();
    let has_bf16 = available.contains("avx512bf16") || available.contains("neonbf16");
    let (found, note) = row(&env, &["--device", "cpu", "--precision", "auto"]);
    assert_eq!(found["device"], "cpu");
    let fastest = if has_bf16 { "bf16" } else { "f32" };
    assert_eq!(found["precision"], fastest);
    let chosen = format!("on cpu, 1 thread, {fastest}");
    assert!(note.contains(&chosen), "{note}");
    let (found, note) = row(
        &env,
        &["--device", "cpu", "--precision", "bf16", "--layers"],
    );
    assert_eq!(found["precision"], "bf16");
    assert!(note.contains("on cpu, 1 thread, bf16"), "{note}");
    assert_eq!(note.contains("no instructions for bf16"), !has_bf16);
    let kernels = found["layers"].to_string();
    assert!(
        kernels.contains("direct, ") && kernels.contains(" f32 x bf16 "),
        "{kernels}"
    );
    let (_, note) = row(&env, &["--device", "cpu", "--precision", "f32"]);
    assert_eq!(note.contains("faster with `--precision bf16`"), has_bf16);
    env.set("SENET_PRECISION", "");
    let (found, note) = row(&env, &["--device", "cpu"]);
    assert_eq!(found["precision"], "f32");
    assert!(!note.contains("f32"), "{note}");
    env.set("SENET_PRECISION", "bf16");
    assert_eq!(row(&env, &["--device", "cpu"]).0["precision"], "bf16");
    let mut env = Env::new();
    env.set("SENET_PRECISION", "half");
    env.check("precision-environment", &["bench"]);
}
