//! `senet cache` and `senet lock`.

use std::fs;
use std::path::PathBuf;

use super::common::hub_server::{COMMIT, HubServer, Mode, git_sha1, sha256};
use super::env::{Env, json_rows};

const MODEL: &str = "seresnet50.ra2_in1k";
const REPO: &str = "timm/seresnet50.ra2_in1k";

fn setup() -> (Env, HubServer) {
    let server = HubServer::start(&[(REPO, "model.safetensors", &[7; 5000])]);
    let mut env = Env::new();
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    assert_eq!(env.run(&["download", MODEL]).status.code(), Some(0));
    (env, server)
}

fn blob(env: &Env) -> PathBuf {
    let blobs = env.path("cache/hub/models--timm--seresnet50.ra2_in1k/blobs");
    blobs.join(sha256(&[7; 5000]))
}

#[test]
fn cached_models_are_listed_and_foreign_ones_are_not() {
    let (env, _server) = setup();
    env.write(
        "cache/hub/models--org--llm/snapshots/x/model.safetensors",
        "foreign",
    );
    env.check("cache-list", &["cache", "list"]);
    let output = env.run(&["cache", "list", "--json"]);
    let entry: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (entry["name"].as_str(), entry["size"].as_u64()),
        (Some(REPO), Some(5000))
    );
    env.check("cache-path", &["cache", "path", MODEL]);
    let output = env.run(&["cache", "path", "skresnet18"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn damage_is_found_and_repaired() {
    let (env, server) = setup();
    env.check("cache-verify", &["cache", "verify"]);
    fs::write(blob(&env), vec![8; 5000]).unwrap();
    env.check("cache-verify-bad", &["cache", "verify", MODEL]);
    let checked = env.run(&["cache", "verify", "--json"]);
    assert_eq!(checked.status.code(), Some(1));
    let rows = json_rows(&checked.stdout);
    let [row] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (&row["repo"], &row["state"]),
        (&REPO.into(), &"damaged".into())
    );
    assert_eq!(row["expected"], sha256(&[7; 5000]));
    let before = server.requests().len();
    env.check(
        "cache-verify-repair",
        &["cache", "verify", "--repair", "-q"],
    );
    assert!(server.requests().len() > before);
    assert_eq!(fs::read(blob(&env)).unwrap(), [7; 5000]);
    // The hub no longer has this commit, but a second one with the file: it must not replace the
    // cached one.
    let snapshots = blob(&env).parent().unwrap().with_file_name("snapshots");
    let other = snapshots.join(COMMIT.replace('0', "f"));
    fs::create_dir(&other).unwrap();
    fs::hard_link(
        snapshots.join(COMMIT).join("model.safetensors"),
        other.join("model.safetensors"),
    )
    .unwrap();
    fs::write(blob(&env), vec![8; 5000]).unwrap();
    server.set(Mode::Missing("RevisionNotFound"));
    let output = env.run(&["cache", "verify", MODEL, "--repair", "-q"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.matches("not repaired, left as it was").count(),
        2,
        "{text}"
    );
    assert_eq!(fs::read(blob(&env)).unwrap(), [8; 5000]);
    fs::remove_dir_all(other).unwrap();
    if cfg!(unix) {
        fs::remove_file(blob(&env)).unwrap();
        env.check("cache-verify-missing", &["cache", "verify"]);
    }
}

#[test]
fn a_repository_with_a_bad_config_is_repaired_and_removed() {
    const NAME: &str = "hf-hub:org/own";
    let server = HubServer::start(&[("org/own", "config.json", b"{}")]);
    let mut env = Env::new();
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    let repo = env.path("cache/hub/models--org--own");
    // The cached config does not describe a network; its next version may.
    assert_eq!(env.run(&["download", NAME]).status.code(), Some(2));
    fs::write(repo.join("blobs").join(git_sha1(b"{}")), "[]").unwrap();
    env.check("cache-verify-named", &["cache", "verify", NAME]);
    let output = env.run(&["cache", "verify", NAME, "--repair"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let twice = [NAME, "hf-hub:org/own@main"];
    env.check(
        "cache-remove-named",
        &["cache", "remove", twice[0], twice[1], "--yes"],
    );
    assert!(!repo.exists());
}

#[test]
fn options_without_effect_are_refused() {
    let (mut env, server) = setup();
    for option in [["--revision", "main"], ["--locked", "my.lock"]] {
        let output = env.run(&["cache", "verify", option[0], option[1]]);
        assert_eq!(output.status.code(), Some(2), "{option:?}");
    }
    let both = env.run(&["cache", "verify", "--repair", "--offline"]);
    assert_eq!(both.status.code(), Some(2));
    fs::write(blob(&env), vec![8; 5000]).unwrap();
    env.set("HF_HUB_OFFLINE", "1");
    let before = server.requests().len();
    env.check(
        "cache-repair-offline",
        &["cache", "verify", "--repair", MODEL],
    );
    assert_eq!(server.requests().len(), before);
}

#[test]
fn release_files_of_cards_are_known() {
    const FILE: &str = ".cache/senet/release/se_resnet50-ce0d4300.pth";
    let (mut env, _server) = setup();
    // The authors' server cannot be reached from here.
    env.set("HTTPS_PROXY", "http://127.0.0.1:9");
    env.write(FILE, "damaged");
    env.write(".cache/senet/release/other-01234567.pth", "of no card");
    env.check("release-list", &["cache", "list"]);
    let model = "legacy_seresnet50";
    env.check("release-verify", &["cache", "verify", model, "-q"]);
    // Of a file that came in an archive, the card knows the SHA-1.
    let archived = ".cache/senet/release/seresnet10-1202-8dace12e.pth";
    env.write(archived, "damaged");
    let verify = ["cache", "verify", "seresnet10", "--json", "-q"];
    env.check("release-verify-sha1", &verify);
    fs::remove_file(env.path(archived)).unwrap();
    let output = env.run(&["cache", "verify", "--repair"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("ce0d4300.pth: not repaired, left as it was"),
        "{text}"
    );
    assert_eq!(fs::read(env.path(FILE)).unwrap(), b"damaged");
    env.check("release-remove", &["cache", "remove", model, "--yes", "-q"]);
    assert!(!env.path(FILE).exists() && blob(&env).exists());
}

#[test]
fn deleting_asks_first() {
    let (env, _server) = setup();
    env.check("cache-remove-unasked", &["cache", "remove", MODEL]);
    assert!(blob(&env).exists());
    env.check(
        "cache-remove-dry-run",
        &["cache", "remove", MODEL, "--dry-run"],
    );
    assert!(blob(&env).exists());
    // What is in use is kept, the rest is deleted.
    let rest = blob(&env).with_file_name("0123.incomplete");
    fs::write(&rest, "begun").unwrap();
    env.check("cache-prune", &["cache", "prune", "--yes"]);
    assert!(blob(&env).exists() && !rest.exists());
    let old = env.path("cache/hub/models--timm--seresnet50.ra2_in1k/refs/main");
    fs::write(old, COMMIT.replace('0', "f")).unwrap();
    env.check("cache-prune-old", &["cache", "prune", "--yes"]);
    assert!(!blob(&env).exists());
    assert_eq!(env.run(&["download", MODEL]).status.code(), Some(0));
    assert_eq!(
        env.run(&["cache", "remove", MODEL, "--yes"]).status.code(),
        Some(0)
    );
    assert!(
        !env.path("cache/hub/models--timm--seresnet50.ra2_in1k")
            .exists()
    );
}

#[test]
fn a_lockfile_allows_only_what_it_lists() {
    let (env, server) = setup();
    env.check("lock", &["lock", "my.lock"]);
    let text = fs::read_to_string(env.path("my.lock")).unwrap();
    assert!(
        text.contains(COMMIT) && text.contains(&sha256(&[7; 5000])),
        "{text}"
    );
    let locked = |model: &str| {
        env.run(&["download", model, "--locked", "my.lock"])
            .status
            .code()
    };
    assert_eq!(locked(MODEL), Some(0));
    assert_eq!(locked("skresnet18.ra_in1k"), Some(2));
    // Changed in place: the name proves nothing.
    fs::write(blob(&env), vec![8; 5000]).unwrap();
    env.check(
        "locked-changed",
        &["download", MODEL, "--locked", "my.lock"],
    );
    // Changed on the hub: nor does a branch.
    fs::remove_dir_all(env.path("cache/hub")).unwrap();
    server.replace(REPO, "model.safetensors", &[9; 5000]);
    assert_eq!(locked(MODEL), Some(2));
    server.replace(REPO, "model.safetensors", &[7; 5000]);
    assert_eq!(locked(MODEL), Some(0));
    let last = server.requests().pop().unwrap();
    assert!(last.path.contains(COMMIT), "{last:?}");
    env.write("bad.lock", "version = 2\n");
    env.check("locked-bad", &["download", MODEL, "--locked", "bad.lock"]);
}
