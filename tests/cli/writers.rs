//! Every option that names an output file: links are followed, pipes and devices are written to,
//! and nothing but a regular file is replaced.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use super::env::Env;

/// The commands, without the file name, and how the file begins.
const WRITERS: [(&[&str], &str); 4] = [
    (&["lock"], "# The files of models that may be used"),
    (&["preprocess", "boot.png", "-m", "demo", "-q", "-o"], ""),
    (
        &["eval", "set", "-m", "demo", "-q", "--html"],
        "<!DOCTYPE html>",
    ),
    (
        &["eval", "set", "-m", "demo", "-q", "--results"],
        "{\"senet_eval\":",
    ),
];

fn setup() -> Env {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.image("ankle-boot.png", "set/9/a.png");
    env
}

fn write(env: &Env, command: &[&str], file: &str) -> (Option<i32>, String) {
    let output = env.run(&[command, &[file]].concat());
    let messages = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), messages)
}

/// Checks the contents of a new file.
fn check(bytes: &[u8], begin: &str, what: &str) {
    assert!(bytes.len() > 50, "{what}: {} bytes", bytes.len());
    assert!(bytes.starts_with(begin.as_bytes()), "{what}");
}

fn names(env: &Env) -> Vec<String> {
    let entries = fs::read_dir(env.path("")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn links_are_kept_and_their_targets_written() {
    for (command, begin) in WRITERS {
        let env = setup();
        fs::create_dir(env.path("sub")).unwrap();
        symlink("sub/new", env.path("dangling")).unwrap();
        symlink("dangling", env.path("to-link")).unwrap();
        assert_eq!(write(&env, command, "to-link").0, Some(0), "{command:?}");
        check(&fs::read(env.path("sub/new")).unwrap(), begin, command[0]);
        for link in ["dangling", "to-link"] {
            assert!(env.path(link).is_symlink(), "{command:?}");
        }
        // A results file is never overwritten.
        if !command.contains(&"--results") {
            env.write("sub/new", "old");
            let mode = fs::Permissions::from_mode(0o604);
            fs::set_permissions(env.path("sub/new"), mode.clone()).unwrap();
            assert_eq!(write(&env, command, "to-link").0, Some(0), "{command:?}");
            check(&fs::read(env.path("sub/new")).unwrap(), begin, command[0]);
            let found = fs::metadata(env.path("sub/new")).unwrap().permissions();
            assert_eq!(found.mode() & 0o777, mode.mode(), "{command:?}");
        }
        let left = ["boot.png", "dangling", "set", "sub", "to-link"];
        assert_eq!(names(&env), left, "{command:?}");
    }
}

#[test]
fn pipes_and_devices_are_written_to() {
    for (command, begin) in WRITERS {
        let env = setup();
        let pipe = env.path("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        symlink("pipe", env.path("link")).unwrap();
        for file in ["pipe", "link"] {
            let reader = {
                let pipe = pipe.clone();
                thread::spawn(move || fs::read(pipe).unwrap())
            };
            let (code, messages) = write(&env, command, file);
            assert_eq!(code, Some(0), "{command:?}: {messages}");
            check(&reader.join().unwrap(), begin, command[0]);
            assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        }
        symlink("/dev/null", env.path("null")).unwrap();
        assert_eq!(write(&env, command, "null").0, Some(0), "{command:?}");
        assert_eq!(
            fs::read_link(env.path("null")).unwrap(),
            Path::new("/dev/null")
        );
        // Only root may create one.
        let device = env.path("device");
        let made = Command::new("mknod")
            .arg(&device)
            .args(["c", "1", "3"])
            .output();
        if made.is_ok_and(|made| made.status.success()) && fs::write(&device, "x").is_ok() {
            assert_eq!(write(&env, command, "device").0, Some(0), "{command:?}");
            let kind = fs::symlink_metadata(&device).unwrap().file_type();
            assert!(kind.is_char_device(), "{command:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_is_written_to_where_it_stands() {
    for (command, begin) in WRITERS {
        let env = setup();
        let arguments = [command, &["/dev/stdout"]].concat();
        let piped = env.run(&arguments);
        assert_eq!(piped.status.code(), Some(0), "{command:?}");
        check(&piped.stdout, begin, command[0]);
        env.write("log", "before\n");
        let script = "exec \"$@\" >> log";
        let output = env.under_shell(script, &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let log = fs::read(env.path("log")).unwrap();
        assert_eq!(
            log.strip_prefix(b"before\n").map(<[u8]>::len),
            Some(piped.stdout.len())
        );
        let script = "exec \"$@\" > log";
        let output = env.under_shell(script, &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let log = fs::read(env.path("log")).unwrap();
        assert_eq!(log.len(), piped.stdout.len(), "{command:?}");
        check(&log, begin, command[0]);
    }
}

#[test]
fn directories_and_link_cycles_are_errors() {
    for (command, _) in WRITERS {
        let env = setup();
        fs::create_dir(env.path("folder")).unwrap();
        symlink("folder", env.path("link")).unwrap();
        symlink("b", env.path("a")).unwrap();
        symlink("a", env.path("b")).unwrap();
        symlink("none/x", env.path("nowhere")).unwrap();
        let before = names(&env);
        for (file, problem) in [
            ("folder", "it is a directory"),
            ("link", "it is a directory"),
            ("a", "symbolic links in a row"),
            ("nowhere", "No such file or directory"),
        ] {
            let (code, messages) = write(&env, command, file);
            assert_eq!(code, Some(2), "{command:?} {file}: {messages}");
            assert!(messages.contains(problem), "{command:?}: {messages}");
            assert!(messages.contains(file), "{command:?}: {messages}");
        }
        assert_eq!(names(&env), before, "{command:?}");
        assert_eq!(fs::read_dir(env.path("folder")).unwrap().count(), 0);
    }
}

#[test]
fn a_pipe_cannot_be_resumed() {
    let env = setup();
    let made = Command::new("mkfifo").arg(env.path("pipe")).status();
    assert!(made.unwrap().success());
    for file in ["pipe", "/dev/null"] {
        let output = env.run(&[
            "eval",
            "set",
            "-m",
            "demo",
            "-q",
            "--results",
            file,
            "--resume",
        ]);
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(messages.contains("it is not a regular file"), "{messages}");
    }
}

#[test]
fn no_output_replaces_the_results_behind_a_link() {
    let env = setup();
    symlink("r.jsonl", env.path("link")).unwrap();
    for [results, page] in [["link", "r.jsonl"], ["r.jsonl", "link"]] {
        let output = env.run(&[
            "eval",
            "set",
            "-m",
            "demo",
            "-q",
            "--results",
            results,
            "--html",
            page,
        ]);
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(
            messages.contains("a file of another argument"),
            "{messages}"
        );
        assert!(!env.path("r.jsonl").exists());
    }
}
