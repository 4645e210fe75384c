//! The program on a terminal: progress bars, and the confirmation before deleting.

use std::fs::{self, File};
use std::path::PathBuf;

use rexpect::session::{PtySession, spawn_command};

use super::common::hub_server::{HubServer, Mode, sha256};
use super::env::Env;

const MODEL: &str = "seresnet50.ra2_in1k";
const REPO: &str = "timm/seresnet50.ra2_in1k";
const SIZE: usize = 3_000_000;
/// The end of a bar, `╸`. The terminal's output is not decoded: each byte is a character.
const TIP: &str = "\u{e2}\u{95}\u{b8}";

fn setup() -> (Env, HubServer) {
    let server = HubServer::start(&[(REPO, "model.safetensors", &vec![7; SIZE])]);
    let mut env = Env::new();
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    env.set("TERM", "xterm");
    (env, server)
}

fn spawn(env: &Env, arguments: &[&str]) -> PtySession {
    let command = env.under_shell("\"$@\"; echo \"exit $?\"", arguments);
    spawn_command(command, Some(20_000)).unwrap()
}

/// The rest of its output, and its exit code.
fn finish(mut session: PtySession) -> (String, i32) {
    let text = session.exp_eof().unwrap();
    let (text, code) = text.rsplit_once("exit ").unwrap();
    (text.to_owned(), code.trim().parse().unwrap())
}

fn blob(env: &Env) -> PathBuf {
    let blobs = env.path("cache/hub/models--timm--seresnet50.ra2_in1k/blobs");
    blobs.join(sha256(&vec![7; SIZE]))
}

#[test]
fn a_bar_shows_the_progress_of_a_download() {
    let (env, server) = setup();
    // A second and a half.
    server.set(Mode::Trickle(30));
    let mut session = spawn(&env, &["download", MODEL]);
    session
        .exp_string("downloading seresnet50.ra2_in1k (model.safetensors), 3.0 MB")
        .unwrap();
    // Name, bar, size, speed and remaining time.
    let line = format!(r"seresnet50\.ra2_in1k[^\n]*{TIP}[^\n]*B of 3\.00 MB[^\n]*B/s +\d+ s");
    session
        .exp_regex(&line)
        .unwrap_or_else(|error| panic!("{error}"));
    let (text, code) = finish(session);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("downloaded seresnet50.ra2_in1k"), "{text}");
    // The bar is cleared: the last line is the result.
    let last = text.trim_end().lines().last().unwrap();
    assert!(last.ends_with("model.safetensors"), "{last:?}");

    fs::remove_dir_all(env.path("cache")).unwrap();
    let (text, code) = finish(spawn(&env, &["download", MODEL, "--quiet"]));
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.lines().count(), 1, "{text:?}");
    assert!(!text.contains(['\u{e2}', '\u{1b}']), "{text:?}");
}

#[test]
fn two_downloads_have_a_bar_each() {
    let bytes = vec![7; SIZE];
    let other = "timm/seresnet50.a1_in1k";
    let server = HubServer::start(&[
        (REPO, "model.safetensors", &bytes),
        (other, "model.safetensors", &bytes),
    ]);
    let (mut env, _) = setup();
    env.set("HF_ENDPOINT", server.url());
    server.set(Mode::Trickle(30));
    let mut session = spawn(&env, &["download", MODEL, "seresnet50.a1_in1k"]);
    let bar = |name: &str| format!(r"{name}[^\n]*B of 3\.00 MB");
    let both = format!("(?s){0}.*{1}|{1}.*{0}", bar("ra2_in1k"), bar("a1_in1k"));
    session.exp_regex(&both).unwrap();
    let (text, code) = finish(session);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_person_is_asked_before_something_is_deleted() {
    let (env, _server) = setup();
    assert_eq!(env.run(&["download", MODEL]).status.code(), Some(0));
    let answer = |arguments: &[&str], text: &str| {
        let mut session = spawn(&env, arguments);
        session.exp_string("Delete 3.0 MB? [y/N] ").unwrap();
        session.send_line(text).unwrap();
        finish(session)
    };
    let remove = ["cache", "remove", MODEL];
    for no in ["n", "", "perhaps"] {
        assert_eq!(answer(&remove, no).1, 0);
        assert!(blob(&env).exists(), "{no:?}");
    }
    assert_eq!(answer(&remove, "y").1, 0);
    assert!(!blob(&env).exists());
}

#[test]
fn changes_during_the_confirmation_are_noticed() {
    let (env, _server) = setup();
    let download = || assert_eq!(env.run(&["download", MODEL]).status.code(), Some(0));
    download();
    let reference = env.path("cache/hub/models--timm--seresnet50.ra2_in1k/refs/main");
    let commit = fs::read_to_string(&reference).unwrap();
    fs::write(&reference, commit.replace('0', "f")).unwrap();
    let mut session = spawn(&env, &["cache", "prune"]);
    session.exp_string("[y/N] ").unwrap();
    // The commit is referenced again.
    download();
    session.send_line("y").unwrap();
    assert_eq!(finish(session).1, 0);
    assert!(blob(&env).exists());

    let mut session = spawn(&env, &["cache", "remove", MODEL]);
    session.exp_string("[y/N] ").unwrap();
    let lock = format!(
        "cache/hub/.locks/models--timm--seresnet50.ra2_in1k/{}.lock",
        sha256(&vec![7; SIZE])
    );
    let lock = File::create(env.path(&lock)).unwrap();
    lock.try_lock().unwrap();
    session.send_line("y").unwrap();
    let (text, code) = finish(session);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("another process is downloading"), "{text}");
    assert!(blob(&env).exists());
}
