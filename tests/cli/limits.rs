//! Files without an end, and files that are too long.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::env::Env;
use super::eval_data::{eval, twin};

#[test]
fn files_without_an_end_are_errors_that_state_the_limit() {
    let mut env = Env::new();
    env.set("HF_TOKEN_PATH", "/dev/zero");
    env.image("ankle-boot.png", "set/9/a.png");
    let (code, _, messages) = eval(&env, &["set", "--results", "r.jsonl"]);
    assert_eq!(code, 0, "{messages}");
    for folder in ["pipe", "zero"] {
        twin(&env);
        fs::rename(env.path("twin"), env.path(folder)).unwrap();
        fs::remove_file(env.path(folder).join("config.json")).unwrap();
    }
    symlink("/dev/zero", env.path("zero/config.json")).unwrap();
    let made = Command::new("mkfifo")
        .arg(env.path("pipe/config.json"))
        .status();
    assert!(made.unwrap().success());
    let header = "/dev/zero, line 1: expected a header of at most 16 MiB";
    let small = "it has more than 16777216 bytes, the limit";
    for (arguments, what) in [
        (&["eval", "merge", "/dev/zero"][..], header),
        (&["compare", "r.jsonl", "/dev/zero"], header),
        (
            &[
                "eval",
                "set",
                "-m",
                "demo",
                "--results",
                "/dev/zero",
                "--resume",
            ],
            "/dev/zero",
        ),
        (&["info", "demo", "--locked", "/dev/zero"], small),
        (&["info", "./zero"], "it is not a regular file"),
        (&["info", "./pipe"], "it is not a regular file"),
    ] {
        let output = env.run(arguments);
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {messages}");
        assert!(messages.contains(what), "{arguments:?}: {messages}");
        assert!(messages.len() < 3000, "{}", messages.len());
    }
}

#[test]
fn a_line_of_results_has_a_limit() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    eval(&env, &["set", "--results", "r.jsonl"]);
    let whole = fs::read_to_string(env.path("r.jsonl")).unwrap();
    let (header, record) = whole.split_once('\n').unwrap();
    for (name, fits) in [("x".repeat(65_000), true), ("x".repeat(66_000), false)] {
        let long = record.replace("9/a.png", &name);
        env.write("long.jsonl", format!("{header}\n{long}"));
        let output = env.run(&["eval", "merge", "long.jsonl"]);
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(if fits { 0 } else { 2 }),
            "{messages}"
        );
        let what = "long.jsonl, line 2: expected a line of at most 64 KiB, found `{";
        assert_eq!(messages.contains(what), !fits, "{messages}");
        assert!(messages.len() < 500, "{messages}");
    }
    // The header lists all classes.
    let classes: Vec<String> = (0..21_841).map(|class| format!("class {class}")).collect();
    let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
    header["classes"] = classes.into();
    env.write("many.jsonl", format!("{header}\n{record}"));
    let output = env.run(&["eval", "merge", "many.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
