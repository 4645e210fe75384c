//! Names with terminal control characters, and names that are not Unicode.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rexpect::session::spawn_command;
use serde_json::Value;

use super::common::hub_server::HubServer;
use super::env::Env;
use super::eval_data::{archive, counts, image};

const STEERING: &str = "\u{1b}[31mred\nrow\u{9b}2J\u{202e}";
const SHOWN: &str = r"\u{1b}[31mred\nrow\u{9b}2J\u{202e}";

fn run(env: &Env, arguments: &[&OsStr]) -> Output {
    env.command(&[]).args(arguments).output().unwrap()
}

fn put(env: &Env, bytes: &[u8], image: &str) {
    let path = env.path("").join(OsStr::from_bytes(bytes));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, super::eval_data::image(image)).unwrap();
}

fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// Asserts that the text has no control characters.
fn assert_plain(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let steers = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
    assert!(!text.contains(steers), "{text:?}");
    text
}

#[test]
fn names_are_escaped_wherever_they_are_printed() {
    let env = Env::new();
    put(
        &env,
        format!("set/9/{STEERING}.png").as_bytes(),
        "ankle-boot.png",
    );
    put(
        &env,
        format!("set/8/{STEERING}.png").as_bytes(),
        "ankle-boot.png",
    );
    env.write(&format!("set/9/{STEERING}broken.png"), "no image");
    let tar = archive(&[(&format!("hats/{STEERING}.png"), b"")]);
    env.write(&format!("{STEERING}.tar"), &tar);
    env.write(&format!("{STEERING}.jsonl"), format!("{STEERING}\n"));
    env.write("list", format!("{STEERING}\n"));
    env.write("classes", format!("{STEERING}\tx\n"));
    let (missing, tar) = (format!("{STEERING}.png"), format!("{STEERING}.tar"));
    let jsonl = format!("{STEERING}.jsonl");
    let demo = ["-m", "demo"];
    let cases: [(&[&str], &[&str]); 11] = [
        (&["classify", "set"], &demo),
        (&["classify", &missing], &demo),
        (&["classify", "--files-from", "list"], &demo),
        (&["classify", "set/9"], &["-m", STEERING]),
        (&["classify", "set/9", "-w", &missing], &demo),
        (&["classify", "set/9", "--device", STEERING], &demo),
        (&["eval", "set"], &demo),
        (&["eval", &tar], &demo),
        (&["eval", "set", "--class-map", "classes"], &demo),
        (&["eval", "merge", &jsonl], &[]),
        (&["preprocess", &missing, "-o", &tar], &demo),
    ];
    for (arguments, more) in cases {
        let output = env.run(&[arguments, more].concat());
        let (out, messages) = (assert_plain(&output.stdout), assert_plain(&output.stderr));
        assert!(
            [&out, &messages]
                .iter()
                .any(|text| text.contains(SHOWN) || text.contains(r"\u{1b}[31m")),
            "{arguments:?}: {out}{messages}"
        );
        assert_ne!(output.status.code(), Some(101));
    }
    // The exact name, in JSON's escapes.
    let output = env.run(&["classify", "set/8", "-m", "demo", "--json", "-q"]);
    let row: Value = serde_json::from_str(&assert_plain(&output.stdout)).unwrap();
    assert_eq!(row["path"], format!("set/8/{STEERING}.png"));
    assert_eq!(row.get("path_bytes"), None);
    let output = env.run(&["classify", "set/8", "-m", "demo", "--csv", "-q"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("\"set/8/{STEERING}.png\"")),
        "{text:?}"
    );
}

#[test]
fn labels_are_escaped_in_tables_and_exact_in_json() {
    let env = Env::new();
    super::eval_data::twin(&env);
    let config = fs::read_to_string(env.path("twin/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let text = config.to_string();
    let label = Value::from(STEERING).to_string();
    let changed = text.replace("\"Ankle boot\"", &label);
    assert_ne!(text, changed);
    config = serde_json::from_str(&changed).unwrap();
    env.write("twin/config.json", config.to_string());
    put(&env, b"a.png", "ankle-boot.png");
    put(&env, b"set/3/a.png", "ankle-boot.png");
    for arguments in [&["classify", "a.png"][..], &["eval", "set"]] {
        let output = env.run(&[arguments, &["-m", "./twin"]].concat());
        let text = assert_plain(&output.stdout);
        assert!(text.contains(SHOWN), "{text}");
    }
    let output = env.run(&["classify", "a.png", "-m", "./twin", "--json", "-k", "1"]);
    let row: Value = serde_json::from_str(&assert_plain(&output.stdout)).unwrap();
    assert_eq!(row["predictions"][0]["label"], STEERING);
}

/// With bars and colours: the terminal only gets the program's own sequences.
#[test]
fn a_terminal_gets_no_foreign_escape_sequences() {
    let mut env = Env::new();
    env.set("TERM", "xterm");
    put(&env, b"a\x1b[31mb\x9b2J.png", "ankle-boot.png");
    let command = env.under_shell("exec \"$@\"", &["classify", ".", "-m", "demo"]);
    let mut session = spawn_command(command, Some(20_000)).unwrap();
    let text = session.exp_eof().unwrap();
    assert!(text.contains(r"a\u{1b}[31mb"), "{text:?}");
    assert!(
        !text.contains("\u{1b}[31mb") && !text.contains("\u{9b}"),
        "{text:?}"
    );
}

#[test]
fn json_keeps_the_bytes_of_names() {
    let env = Env::new();
    for bytes in [b"set/9/\xfe.png", b"set/9/\xff.png"] {
        put(&env, bytes, "ankle-boot.png");
    }
    let output = env.run(&["classify", "set", "-m", "demo", "--json", "-k", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    for (row, bytes) in rows.iter().zip([b"set/9/\xfe.png", b"set/9/\xff.png"]) {
        assert_eq!(row["path"], "set/9/\u{fffd}.png");
        assert_eq!(row["path_bytes"], base64(bytes));
    }
    let output = env.run(&["classify", "set", "-m", "demo", "--csv", "-k", "1"]);
    let has = |bytes: &[u8]| output.stdout.windows(bytes.len()).any(|part| part == bytes);
    assert!(
        has(b"\nset/9/\xfe.png,1,") && has(b"\nset/9/\xff.png,1,"),
        "{output:?}"
    );

    // Also in an archive whose own name is not Unicode.
    let boot = image("ankle-boot.png");
    let mut header = tar::Header::new_gnu();
    header.set_size(boot.len() as u64);
    let mut inner = tar::Builder::new(Vec::new());
    for name in [b"9/\xfe.png", b"9/\xff.png"] {
        inner
            .append_data(&mut header, OsStr::from_bytes(name), &boot[..])
            .unwrap();
    }
    let tar = OsString::from_vec(b"\xfd.tar".to_vec());
    fs::write(env.path("").join(&tar), inner.into_inner().unwrap()).unwrap();
    let set = OsString::from("set");
    for (data, first) in [(&set, &b"9/\xfe.png"[..]), (&tar, b"\xfd.tar/9/\xfe.png")] {
        let results =
            ["eval", "-m", "demo", "--json", "-q", "--results", "r.jsonl"].map(OsStr::new);
        let output = run(&env, &[&results[..], &[data]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(counts(&report), [2, 2, 2].map(Value::from), "{output:?}");
        let lines = fs::read_to_string(env.path("r.jsonl")).unwrap();
        let row: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(row["image_bytes"], base64(first));
        let resumed = run(
            &env,
            &[&results[..], &[OsStr::new("--resume"), data]].concat(),
        );
        assert_eq!(resumed.stdout, output.stdout, "{resumed:?}");
        // Other names are another data set, even if they look the same.
        if data == "set" {
            fs::rename(env.path("set"), env.path("old")).unwrap();
            put(&env, b"set/9/\xf0.png", "ankle-boot.png");
            put(&env, b"set/9/\xf1.png", "ankle-boot.png");
            let other = run(
                &env,
                &[&results[..], &[OsStr::new("--resume"), data]].concat(),
            );
            assert_eq!(other.status.code(), Some(2), "{other:?}");
        }
        fs::remove_file(env.path("r.jsonl")).unwrap();
    }
}

#[test]
fn paths_of_models_keep_their_bytes() {
    let server = HubServer::start(&[("timm/seresnet50.ra2_in1k", "model.safetensors", &[7; 50])]);
    let mut env = Env::new();
    env.set("HF_ENDPOINT", server.url());
    let home = env.path("").join(OsStr::from_bytes(b"\xff"));
    let model = "seresnet50.ra2_in1k";
    for (arguments, field) in [
        (&["download", model][..], "path"),
        (&["cache", "list"], "path"),
        (&["list", model], "cached"),
        (&["info", model], "file"),
    ] {
        let mut command = env.command(arguments);
        let output = command
            .arg("--json")
            .env("HF_HOME", &home)
            .output()
            .unwrap();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let value = if value.is_array() { &value[0] } else { &value };
        let shown = value[field].as_str().unwrap();
        assert!(shown.contains("/\u{fffd}/hub/"), "{output:?}");
        let bytes = value[format!("{field}_bytes")].as_str().unwrap();
        let bytes = STANDARD.decode(bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), shown);
        assert!(
            OsStr::from_bytes(&bytes)
                .as_bytes()
                .starts_with(home.as_os_str().as_bytes())
        );
    }
}

#[test]
fn a_file_whose_name_begins_with_a_dash_gets_a_hint() {
    let env = Env::new();
    put(&env, b"-dash.png", "ankle-boot.png");
    put(&env, b"-folder/a.png", "ankle-boot.png");
    for name in ["-dash.png", "-missing.jpg", "-folder"] {
        let output = env.run(&["classify", name]);
        let messages = assert_plain(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(messages.contains(&format!("use `./{name}`")), "{messages}");
    }
    let output = env.run(&["classify", "./-dash.png", "-m", "demo"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for other in [
        &["classify", "--jsn", "a.png"][..],
        &["classify", "-k", "0", "a.png"],
    ] {
        let output = env.run(other);
        assert!(!assert_plain(&output.stderr).contains("`./"), "{output:?}");
    }
    let output = env.run(&["classify", &format!("-{STEERING}.png"), "--", "-dash.png"]);
    let messages = assert_plain(&output.stderr);
    assert!(
        messages.contains(&format!("use `./-{SHOWN}.png`")),
        "{messages}"
    );
    assert!(!messages.contains("use `./-dash"), "{messages}");
}
