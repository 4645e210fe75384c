//! The choice of the weights file in a directory or repository, sharded weights, and conflicting
//! numbers of classes.

use safetensors::SafeTensors;
use senet::nets::Plan;

use super::common::hub_server::{COMMIT, HubServer};
use super::env::Env;
use super::models::{config, demo_plan, weights_of};

const NAMES: &str = r#""label_names": ["cat", "dog", "bird"]"#;

/// Runs the program, which must succeed; returns stdout and stderr.
fn good(env: &Env, arguments: &[&str]) -> (String, String) {
    let output = env.run(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

/// Runs the program, which must do nothing but fail; returns its message.
fn bad(env: &Env, arguments: &[&str]) -> String {
    let output = env.run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    stderr
}

fn env() -> Env {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env
}

/// The network's weights in two shards, the index first: file names and contents.
fn shards(plan: &Plan) -> Vec<(String, Vec<u8>)> {
    let whole = weights_of(plan);
    let whole = SafeTensors::deserialize(&whole).unwrap();
    let tensors = whole.tensors();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = Vec::new();
    let mut files = vec![("model.safetensors.index.json".to_owned(), Vec::new())];
    for (part, number) in [(first, 1), (second, 2)] {
        let file = format!("model-0000{number}-of-00002.safetensors");
        let named = part
            .iter()
            .map(|(name, _)| format!("\"{name}\": \"{file}\""));
        map.extend(named);
        let views = part.iter().map(|(name, view)| (name, view));
        files.push((file, safetensors::serialize(views, None).unwrap()));
    }
    files[0].1 = format!("{{\"weight_map\": {{{}}}}}", map.join(", ")).into_bytes();
    files
}

#[test]
fn a_config_alone_needs_the_weights_from_the_command_line() {
    let env = env();
    env.write("pets/config.json", config(3, NAMES));
    env.write("pets/README.md", "# pets");
    env.write("pets/optimizer.pt", "x");
    env.write("mine.ckpt", weights_of(&demo_plan(3)));
    let boot = std::fs::read(env.path("boot.png")).unwrap();
    env.write("set/cat/boot.png", boot);
    for arguments in [
        &["info", "./pets"][..],
        &["info", "pets", "--layers"],
        &["info", "pets", "--json"],
        &[
            "preprocess",
            "boot.png",
            "-m",
            "pets",
            "-o",
            "out.safetensors",
        ],
        &["info", "pets", "-w", "mine.ckpt"],
        &["classify", "boot.png", "-m", "pets", "-w", "mine.ckpt"],
        &["bench", "pets", "-w", "mine.ckpt", "--runs", "1"],
        &["eval", "set", "-m", "pets", "-w", "mine.ckpt"],
    ] {
        good(&env, arguments);
    }
    let (info, note) = good(&env, &["info", "pets"]);
    assert!(info.contains("not on this machine"), "{info}");
    assert!(
        note.contains(
            "pets holds no weights (only README.md, config.json, optimizer.pt); looked for"
        ),
        "{note}"
    );
    let (info, note) = good(&env, &["info", "pets", "-w", "mine.ckpt"]);
    assert!(info.contains("file           mine.ckpt"), "{info}");
    assert_eq!(note, "");
    env.check(
        "local-no-weights",
        &["classify", "boot.png", "-m", "pets", "-q"],
    );
    env.write("other.bin", weights_of(&demo_plan(4)));
    bad(&env, &["info", "pets", "-w", "other.bin"]);
}

#[test]
fn one_candidate_of_a_directory_is_used_and_several_are_listed() {
    let env = env();
    let weights = weights_of(&demo_plan(3));
    env.write("pets/config.json", config(3, NAMES));
    env.write("pets/epoch=149-step=100500.ckpt", &weights);
    let classify = ["classify", "boot.png", "-m", "pets", "-k", "1", "--json"];
    let (answer, _) = good(&env, &classify);
    assert!(answer.contains("\"cat\""), "{answer}");
    env.write("pets/last.ckpt", "not read");
    env.check(
        "local-several",
        &["classify", "boot.png", "-m", "pets", "-q"],
    );
    let (_, note) = good(&env, &["info", "pets"]);
    assert!(
        note.contains("epoch=149-step=100500.ckpt, last.ckpt"),
        "{note}"
    );
    let chosen = "pets/epoch=149-step=100500.ckpt";
    assert_eq!(
        good(&env, &[&classify[..], &["-w", chosen]].concat()).0,
        answer
    );
    // timm's order.
    env.write("pets/fold0.pth", &weights);
    let (same, note) = good(&env, &classify);
    assert_eq!(same, answer);
    assert!(
        note.contains(
            "pets: the weights are taken from fold0.pth; 2 not used: \
             epoch=149-step=100500.ckpt, last.ckpt"
        ),
        "{note}"
    );
    env.write("pets/model.safetensors", &weights);
    let (same, note) = good(&env, &classify);
    assert_eq!(same, answer);
    assert!(!note.contains("not used"), "{note}");
}

#[test]
fn shards_in_a_directory() {
    let env = env();
    env.write("pets/config.json", config(3, NAMES));
    env.write("whole.safetensors", weights_of(&demo_plan(3)));
    for (file, bytes) in shards(&demo_plan(3)) {
        env.write(&format!("pets/{file}"), bytes);
    }
    let classify = ["classify", "boot.png", "-m", "pets", "-k", "3", "--json"];
    let (answer, _) = good(&env, &classify);
    let whole = good(
        &env,
        &[&classify[..], &["-w", "whole.safetensors"]].concat(),
    );
    assert_eq!(answer, whole.0);
    let index = "pets/model.safetensors.index.json";
    assert_eq!(
        good(&env, &[&classify[..], &["-w", index]].concat()).0,
        answer
    );
    let (info, _) = good(&env, &["info", "pets"]);
    assert!(
        info.contains(index) && info.contains("shards         2, 1.1 MB"),
        "{info}"
    );
    let (info, _) = good(&env, &["info", "pets", "--json"]);
    assert!(
        info.contains("\"model-00002-of-00002.safetensors\""),
        "{info}"
    );
    let (place, _) = good(&env, &["download", "./pets", "--dry-run"]);
    assert!(place.contains("1.1 MB  local"), "{place}");

    std::fs::remove_file(env.path("pets/model-00001-of-00002.safetensors")).unwrap();
    let error = bad(&env, &classify);
    assert!(
        error.contains("names 2 shards, of which 1 is missing: model-00001-of-00002.safetensors"),
        "{error}"
    );
    std::fs::remove_file(env.path(index)).unwrap();
    let error = bad(&env, &classify);
    assert!(
        error.contains("shards (model-00002-of-00002.safetensors) without an index"),
        "{error}"
    );
}

#[test]
fn shards_of_a_repository() {
    let mut env = env();
    let shards = shards(&demo_plan(3));
    let config = config(3, NAMES);
    let mut files: Vec<(&str, &str, &[u8])> =
        vec![("someone/pets", "config.json", config.as_bytes())];
    files.extend(
        shards
            .iter()
            .map(|(file, bytes)| ("someone/pets", file.as_str(), &bytes[..])),
    );
    let server = HubServer::start(&files);
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    let model = "hf-hub:someone/pets";
    let total: usize = shards.iter().map(|(_, bytes)| bytes.len()).sum();

    let (plan, _) = good(&env, &["download", model, "--dry-run", "--json"]);
    assert!(plan.contains(&format!("\"size\":{total}")), "{plan}");
    assert!(plan.contains("to-download"), "{plan}");
    let (path, _) = good(&env, &["download", model]);
    assert!(
        path.ends_with(&format!("{COMMIT}/model.safetensors.index.json\n")),
        "{path}"
    );
    let (again, _) = good(&env, &["download", model, "--json", "--offline"]);
    assert!(
        again.contains("\"cached\"") && again.contains(&format!("\"size\":{total}")),
        "{again}"
    );
    let classify = ["classify", "boot.png", "-m", model, "-k", "3", "--json"];
    let (answer, _) = good(&env, &[&classify[..], &["--offline"]].concat());
    env.write("whole.safetensors", weights_of(&demo_plan(3)));
    let whole = good(
        &env,
        &[&classify[..], &["-w", "whole.safetensors"]].concat(),
    );
    assert_eq!(answer, whole.0);
    let (info, _) = good(&env, &["info", model, "--offline"]);
    assert!(info.contains("shards         2, 1.1 MB"), "{info}");

    // The cache and the lockfile know all of them.
    let (verified, _) = good(&env, &["cache", "verify"]);
    assert!(verified.contains("4 files ok, 0 damaged"), "{verified}");
    let (listed, _) = good(&env, &["cache", "list", "--json"]);
    let size = total + config.len();
    assert!(
        listed.contains(&format!("\"size\":{size}")),
        "{listed} {size}"
    );
    let (locked, _) = good(&env, &["lock", "my.lock"]);
    assert_eq!(locked, "files listed in my.lock: 4\n");
    let with_lock = [&classify[..], &["--locked", "my.lock"]].concat();
    assert_eq!(good(&env, &with_lock).0, answer);
    let second = shards[2].0.as_str();
    let snapshot = format!("cache/hub/models--someone--pets/snapshots/{COMMIT}");
    let index = format!("{snapshot}/model.safetensors.index.json");
    assert_eq!(
        good(&env, &[&with_lock[..], &["-w", &index]].concat()).0,
        answer
    );
    // A shard that is not the one in the lockfile.
    std::fs::remove_file(env.path(&format!("{snapshot}/{second}"))).unwrap();
    let mut other = shards[2].1.clone();
    *other.last_mut().unwrap() ^= 1;
    env.write(&format!("{snapshot}/{second}"), other);
    for arguments in [&with_lock[..], &[&with_lock[..], &["-w", &index]].concat()] {
        let error = bad(&env, arguments);
        assert!(error.contains("the lockfile my.lock"), "{error}");
        assert!(error.contains(second), "{error}");
    }
    // A shard missing from the cache is downloaded, and named in the error if it cannot be.
    std::fs::remove_file(env.path(&format!("{snapshot}/{second}"))).unwrap();
    let error = bad(&env, &[&classify[..], &["--offline"]].concat());
    assert!(error.contains(second), "{error}");
    assert_eq!(good(&env, &classify).0, answer);
}

#[test]
fn a_shard_that_the_repository_lacks_is_named() {
    let mut env = env();
    let mut shards = shards(&demo_plan(3));
    shards.pop();
    let config = config(3, NAMES);
    let mut files: Vec<(&str, &str, &[u8])> =
        vec![("someone/pets", "config.json", config.as_bytes())];
    files.extend(
        shards
            .iter()
            .map(|(file, bytes)| ("someone/pets", file.as_str(), &bytes[..])),
    );
    let outside = b"{\"weight_map\": {\"a\": \"../../x\"}}";
    files.push(("someone/evil", "config.json", config.as_bytes()));
    files.push(("someone/evil", "model.safetensors.index.json", outside));
    let server = HubServer::start(&files);
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    let error = bad(&env, &["download", "hf-hub:someone/pets"]);
    assert!(
        error.contains("no file `model-00002-of-00002.safetensors` of `someone/pets`"),
        "{error}"
    );
    let error = bad(&env, &["download", "hf-hub:someone/evil"]);
    assert!(
        error.contains("`../../x` is not the name of a file in the index's folder"),
        "{error}"
    );
}

#[test]
fn a_repository_with_a_file_of_another_name() {
    let mut env = env();
    let weights = weights_of(&demo_plan(3));
    let config = config(3, NAMES);
    let mut files: Vec<(&str, &str, &[u8])> = Vec::new();
    for (repo, names) in [
        (
            "someone/one",
            &["last.pth", "optimizer.pt", "README.md"][..],
        ),
        ("someone/several", &["a.pth", "b.pth", "c.bin"]),
        ("someone/none", &["flax_model.msgpack", "notes/model.pth"]),
    ] {
        files.push((repo, "config.json", config.as_bytes()));
        files.extend(names.iter().map(|name| (repo, *name, &weights[..])));
    }
    let server = HubServer::start(&files);
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    let classify = |model| ["classify", "boot.png", "-m", model, "-k", "1", "--json"];
    let (plan, _) = good(
        &env,
        &["download", "hf-hub:someone/one", "--dry-run", "--json"],
    );
    assert!(
        plan.contains(&format!("\"size\":{}", weights.len())),
        "{plan}"
    );
    let (answer, _) = good(&env, &classify("hf-hub:someone/one"));
    assert!(answer.contains("\"cat\""), "{answer}");
    let (path, _) = good(&env, &["download", "hf-hub:someone/one"]);
    assert!(path.ends_with("/last.pth\n"), "{path}");
    for (model, snapshot) in [
        ("hf-hub:someone/several", "hub-several"),
        ("hf-hub:someone/none", "hub-no-weights"),
    ] {
        env.check(snapshot, &["download", model, "-q"]);
    }
    let (locked, _) = good(&env, &["lock", "my.lock"]);
    assert!(locked.contains("my.lock: 4"), "{locked}");
    let with_lock = [
        &classify("hf-hub:someone/one")[..],
        &["--locked", "my.lock"],
    ]
    .concat();
    assert_eq!(good(&env, &with_lock).0, answer);
    // Cached files are enough if the hub cannot be reached.
    drop(server);
    for more in [&[][..], &["--offline"]] {
        let arguments = [&classify("hf-hub:someone/one")[..], more].concat();
        let (same, note) = good(&env, &arguments);
        assert_eq!(same, answer);
        assert!(
            note.contains("taken from last.pth, which is in the cache"),
            "{note}"
        );
    }
}

#[test]
fn conflicting_numbers_of_classes_are_both_named() {
    let mut env = env();
    let weights = weights_of(&demo_plan(3));
    let wrong = config(1000, "\"x\": 1");
    let named = config(4, r#""label_names": ["cat", "dog", "bird", "cow"]"#);
    env.write("pets/config.json", &wrong);
    env.write("pets/model.safetensors", &weights);
    env.write("named/config.json", &named);
    env.write("named/last.pth", &weights);
    let server = HubServer::start(&[
        ("someone/pets", "config.json", wrong.as_bytes()),
        ("someone/pets", "model.safetensors", &weights),
    ]);
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    env.check(
        "classes-directory",
        &["classify", "boot.png", "-m", "pets", "-q"],
    );
    env.check(
        "classes-hub",
        &["classify", "boot.png", "-m", "hf-hub:someone/pets", "-q"],
    );
    let given = ["bench", "pets", "-w", "pets/model.safetensors"];
    let error = bad(&env, &given);
    assert!(
        error.contains("has 3 classes, but pets/config.json says 1000 classes"),
        "{error}"
    );

    for model in ["pets", "hf-hub:someone/pets"] {
        let arguments = [
            "classify",
            "boot.png",
            "-m",
            model,
            "--num-classes",
            "3",
            "-k",
            "9",
            "--json",
        ];
        let (answer, _) = good(&env, &arguments);
        assert!(answer.contains("\"class 2\""), "{answer}");
    }
    let arguments = [
        "classify",
        "boot.png",
        "-m",
        "named",
        "--num-classes",
        "3",
        "-k",
        "9",
        "--json",
    ];
    let (answer, note) = good(&env, &arguments);
    assert!(answer.contains("\"class 2\""), "{answer}");
    assert!(
        note.contains("the label names of named/config.json do not fit 3 classes and are left out"),
        "{note}"
    );
    // A number that the file does not have either.
    let error = bad(
        &env,
        &["classify", "boot.png", "-m", "pets", "--num-classes", "7"],
    );
    assert!(
        error.contains("has 3 classes, but") && error.contains("7 classes"),
        "{error}"
    );
    let (info, _) = good(&env, &["info", "demo", "--num-classes", "3"]);
    assert!(info.contains("classes        3 (numbered)"), "{info}");
}
