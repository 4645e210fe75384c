//! The program as a user sees it: stdout, stderr and exit code of every command, good and bad.
//!
//! The expected output is in `tests/cli/snapshots`; `UPDATE_SNAPSHOTS=1 cargo test --test cli`
//! writes it anew, to be read as a diff.

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod devices;
mod embed;
mod env;
mod eval;
mod eval_bounds;
mod eval_data;
mod eval_faults;
mod eval_html;
mod eval_stream;
mod eval_table;
mod explain;
mod explain_place;
mod formats;
mod guide;
mod lists;

mod bench;
mod cache;
mod channels;
mod classify;
mod download;
mod ensemble;
#[cfg(unix)]
mod escapes;
#[cfg(unix)]
mod limits;
mod models;
mod multi_label;
mod passed_over;
mod similar;
mod tensors;
#[cfg(unix)]
mod terminal;
mod train;
mod train_features;
mod version;
mod weights_files;
#[cfg(unix)]
mod writers;

use env::Env;

#[test]
fn help() {
    let env = Env::new();
    env.check("help", &["--help"]);
    env.check("version", &["--version"]);
    env.check("help-short-classify", &["classify", "-h"]);
    for command in ["list", "path", "verify", "remove", "prune"] {
        env.check(
            &format!("help-cache-{command}"),
            &["cache", command, "--help"],
        );
    }
    for command in [
        "classify",
        "list",
        "info",
        "download",
        "cache",
        "lock",
        "verify",
        "preprocess",
        "bench",
        "eval",
        "explain",
        "compare",
        "train",
        "similar",
        "devices",
        "embed",
        "version",
        "completions",
    ] {
        env.check(&format!("help-{command}"), &[command, "--help"]);
    }
}

#[test]
fn wrong_arguments() {
    let env = Env::new();
    env.check("no-command", &[]);
    env.check("unknown-command", &["clasify"]);
    env.check("unknown-flag", &["list", "--jsn"]);
    env.check("classify-without-input", &["classify"]);
    env.check("json-and-csv", &["classify", "a.png", "--json", "--csv"]);
    env.check("top-k-zero", &["classify", "a.png", "-k", "0"]);
    env.check("threads-zero", &["classify", "a.png", "--threads", "0"]);
    env.check("img-size", &["classify", "a.png", "--img-size", "224x"]);
    env.check("device", &["classify", "a.png", "--device", "tpu"]);
    env.check(
        "tolerance",
        &["verify", "demo", "--golden", "a", "--tolerance", "-1"],
    );
    env.check("completions-unknown", &["completions", "cmd"]);
}

#[test]
fn completions_are_scripts() {
    let env = Env::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = env.run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("classify"),
            "{shell}"
        );
    }
}
