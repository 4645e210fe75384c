//! `senet eval` on archives that can be read only once: compressed, or on standard input.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::env::Env;
use super::eval_data::{archive, counts, eval, image};

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn eval_stdin(env: &Env, stdin: &[u8], arguments: &[&str]) -> (i32, Value, String) {
    let arguments = [&["eval", "-m", "demo", "-q", "--json", "-"], arguments].concat();
    let output = env.run_with_stdin(&arguments, stdin);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let messages = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), report, messages)
}

/// Folders, samples with labels after and before them, and a broken image.
fn members() -> (Vec<u8>, Vec<u8>) {
    let (boot, grey) = (image("ankle-boot.png"), image("grey.png"));
    let folders = archive(&[
        ("./val/Ankle boot/a.png", &boot),
        ("val/notes.md", &[b'x'; 5000]),
        ("val/9/b.png", &boot),
        ("val/Bag/broken.png", b"no image"),
        ("val/T-shirt_top/c.png", &grey),
    ]);
    let samples = archive(&[
        ("0001.png", &boot),
        ("0001.cls", b"9\n"),
        ("0002.json", b"{\"label\": \"Sneaker\"}"),
        ("0002.png", &boot),
    ]);
    (folders, samples)
}

#[test]
fn streams_give_the_results_of_files() {
    let env = Env::new();
    let (folders, samples) = members();
    for bytes in [&folders, &samples] {
        env.write("set.tar", bytes);
        let (code, report, messages) = eval(&env, &["set.tar"]);
        for name in ["set.tar.gz", "set.tgz", "set.TAR.GZ"] {
            env.write(name, gzip(bytes));
            let found = eval(&env, &[name]);
            assert_eq!(
                found,
                (code, report.clone(), messages.replace("set.tar", name))
            );
        }
        // An archive may be compressed in parts, under any name.
        let (first, second) = bytes.split_at(700);
        env.write("set.tar", [gzip(first), gzip(second)].concat());
        assert_eq!(
            eval(&env, &["set.tar"]),
            (code, report.clone(), messages.clone())
        );
        for bytes in [bytes.clone(), gzip(bytes)] {
            let found = eval_stdin(&env, &bytes, &[]);
            assert_eq!(
                found,
                (code, report.clone(), messages.replace("set.tar", "-"))
            );
        }
    }
    // The name of an archive is the class of its images without a folder; a stream has no name.
    let loose = archive(&[("x.png", &image("ankle-boot.png"))]);
    env.write("9.tar.gz", gzip(&loose));
    let (code, report, _) = eval(&env, &["9.tar.gz"]);
    assert_eq!((code, counts(&report)), (0, [1, 1, 1].map(Value::from)));
    let (code, _, messages) = eval_stdin(&env, &loose, &[]);
    assert_eq!(code, 2);
    assert!(
        messages.contains("lie in no class folder (1; the first is -/x.png)"),
        "{messages}"
    );
}

/// Shards, limits and resumption work as for a file of the same name.
#[test]
fn streams_can_be_sharded_and_resumed() {
    let env = Env::new();
    let (folders, samples) = members();
    // Two concatenated archives, as from `cat`.
    let both = [folders.clone(), samples.clone()].concat();
    let whole = eval_stdin(
        &env,
        &archive_without_labels(),
        &["--results", "whole.jsonl"],
    );
    assert_eq!(
        (whole.0, counts(&whole.1)),
        (0, [12, 12, 6].map(Value::from))
    );
    for shard in ["1/3", "2/3", "3/3"] {
        let name = format!("{}.jsonl", &shard[..1]);
        let arguments = ["--shard", shard, "--results", &name];
        let (code, _, messages) = eval_stdin(&env, &gzip(&archive_without_labels()), &arguments);
        assert_eq!(code, 0, "{messages}");
    }
    let merged = env.run(&["eval", "merge", "--json", "2.jsonl", "3.jsonl", "1.jsonl"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&merged.stdout).unwrap(),
        whole.1
    );
    let bytes = fs::read(env.path("whole.jsonl")).unwrap();
    env.write("cut.jsonl", &bytes[..bytes.len() * 2 / 3]);
    let arguments = ["--results", "cut.jsonl", "--resume"];
    let resumed = eval_stdin(&env, &archive_without_labels(), &arguments);
    assert_eq!(resumed, whole);
    assert_eq!(fs::read(env.path("cut.jsonl")).unwrap(), bytes);

    let (code, report, messages) = eval_stdin(&env, &both, &["--labels", "list"]);
    assert_eq!(
        (code, report),
        (2, Value::Null),
        "there is no list yet: {messages}"
    );
    env.write("list", "val/9/b.png 9\n0002.png 9\n");
    let (code, report, messages) = eval_stdin(&env, &both, &["--labels", "list"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [2, 2, 2].map(Value::from)),
        "{messages}"
    );
}

fn archive_without_labels() -> Vec<u8> {
    let boot = image("ankle-boot.png");
    let names: Vec<String> = (0..12).map(|n| format!("{}/{n}.png", 9 - n % 2)).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &boot[..])).collect();
    archive(&files)
}

#[test]
fn streams_are_read_whole_or_not_at_all() {
    let env = Env::new();
    let (folders, _) = members();
    let packed = gzip(&folders);
    let mut cuts: Vec<Vec<u8>> = Vec::new();
    for cut in [20, packed.len() / 2, packed.len() - 9, packed.len() - 1] {
        cuts.push(packed[..cut].to_vec());
    }
    // Both a checksum and a length are at the end.
    for place in [packed.len() - 8, packed.len() - 4] {
        let mut changed = packed.clone();
        changed[place] ^= 1;
        cuts.push(changed);
    }
    cuts.push([&packed[..], b"no archive and no gzip"].concat());
    // In a header, in an image, and before the end of the archive.
    let last = 512 + image("grey.png").len().next_multiple_of(512);
    for cut in [100, 600, folders.len() - 1024 - last, folders.len() - 1024] {
        cuts.push(gzip(&folders[..cut]));
    }
    for (case, bytes) in cuts.iter().enumerate() {
        env.write("set.tar.gz", bytes);
        let (code, _, messages) = eval(&env, &["set.tar.gz"]);
        assert_eq!(code, 2, "case {case}: {messages}");
        assert!(
            messages.starts_with("error: cannot use the archive set.tar.gz: "),
            "case {case}: {messages}"
        );
        let (code, _, messages) = eval_stdin(&env, bytes, &[]);
        assert_eq!(code, 2, "case {case}: {messages}");
        assert!(
            messages.starts_with("error: cannot use the archive -: "),
            "{messages}"
        );
    }
    let (code, _, messages) = eval_stdin(&env, b"BZh9", &[]);
    assert_eq!(code, 2);
    assert!(
        messages.contains("compressed with bzip2, and only gzip"),
        "{messages}"
    );
    let (code, _, messages) = eval_stdin(&env, &folders, &["-"]);
    assert_eq!(code, 2);
    assert!(
        messages.contains("standard input can be read only once"),
        "{messages}"
    );
}

/// Other data after the end of an archive is not ignored.
#[test]
fn data_after_an_archive_is_an_error() {
    let env = Env::new();
    let (folders, _) = members();
    env.write("set.tar", [&folders[..], &[b'x'; 1024]].concat());
    let (code, _, messages) = eval(&env, &["set.tar"]);
    assert_eq!(code, 2, "{messages}");
    let more = archive(&[("9/more.png", &image("ankle-boot.png"))]);
    env.write("set.tar", [folders, more].concat());
    let (_, report, messages) = eval(&env, &["set.tar"]);
    assert_eq!(counts(&report), [5, 4, 3].map(Value::from), "{messages}");
}

#[test]
#[cfg(unix)]
fn pipes_are_streams_and_leave_nothing_behind() {
    let mut env = Env::new();
    let (folders, _) = members();
    fs::create_dir(env.path("tmp")).unwrap();
    let tmp = env.path("tmp").display().to_string();
    env.set("TMPDIR", &tmp);
    let (code, ..) = eval_stdin(&env, &folders, &[]);
    assert_eq!(code, 1);
    assert_eq!(fs::read_dir(env.path("tmp")).unwrap().count(), 0);
    // As from a shell's `<(...)`.
    let output = env.run_with_stdin(&["eval", "-m", "demo", "--json", "/dev/stdin"], &folders);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts(&report), [4, 3, 2].map(Value::from));
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(
        messages.contains(&format!("of images kept in a temporary file in {tmp}")),
        "{messages}"
    );

    env.set("TMPDIR", "/nowhere");
    let (code, _, messages) = eval_stdin(&env, &folders, &[]);
    assert_eq!(code, 2);
    assert!(
        messages.contains("temporary file in /nowhere: "),
        "{messages}"
    );
    assert!(
        messages.contains("hint: `TMPDIR` names another folder"),
        "{messages}"
    );
}
