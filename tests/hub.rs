//! Downloads against a hub on 127.0.0.1: what ends up in the cache, and what is said when it fails.

mod common;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use common::hub_server::{COMMIT, HubServer, Mode, sha256};
use senet::hub::{
    Denial, HubError, HubOptions, Location, Progress, WeightsRef, cached, download, downloaded,
    fetch,
};

const REPO: &str = "timm/seresnet50.ra2_in1k";
const FILE: &str = "model.safetensors";
const TOKEN: &str = "hf_verysecret";

/// Long enough for several reads.
fn weights() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * 31 % 251) as u8).collect()
}

struct Setup {
    server: HubServer,
    folder: tempfile::TempDir,
    options: HubOptions,
}

fn setup() -> Setup {
    let server = HubServer::start(&[
        (REPO, FILE, &weights()),
        (REPO, "config.json", b"{}"),
        (REPO, "deep folder/part 1.bin", b"one"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let options = HubOptions {
        cache: folder.path().join("hub"),
        own_cache: folder.path().join("senet"),
        endpoint: server.url().to_owned(),
        token: None,
        offline: false,
    };
    Setup {
        server,
        folder,
        options,
    }
}

impl Setup {
    fn fetch(&self) -> Result<PathBuf, HubError> {
        fetch(REPO, "main", FILE, &self.options, &())
    }

    /// The error in this mode, and a check that it left nothing behind.
    fn fail(&self, mode: Mode) -> HubError {
        self.server.set(mode);
        let error = self.fetch().expect_err(&format!("{mode:?} succeeded"));
        assert_eq!(
            files_in(self.folder.path()),
            Vec::<PathBuf>::new(),
            "{mode:?} left files"
        );
        assert_eq!(cached(REPO, "main", FILE, &self.options), None);
        self.server.set(Mode::Direct);
        let path = self
            .fetch()
            .unwrap_or_else(|error| panic!("after {mode:?}: {error}"));
        assert_eq!(fs::read(path).unwrap(), weights(), "after {mode:?}");
        fs::remove_dir_all(&self.options.cache).unwrap();
        error
    }
}

/// Everything but folders, relative to `folder`.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The message with its causes, as the program prints it.
fn chain(error: &HubError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text + &error
        .hint()
        .map(|hint| format!(" [{hint}]"))
        .unwrap_or_default()
}

#[derive(Default)]
struct Recorder(Mutex<Vec<(String, u64, Option<u64>)>>);

impl Progress for Recorder {
    fn advance(&self, file: &str, done: u64, total: Option<u64>) {
        self.0.lock().unwrap().push((file.to_owned(), done, total));
    }
}

#[test]
fn a_download_is_laid_out_as_python_does() {
    let setup = setup();
    let path = setup.fetch().unwrap();
    assert_eq!(fs::read(&path).unwrap(), weights());
    let digest = sha256(&weights());
    let repo = Path::new("hub/models--timm--seresnet50.ra2_in1k");
    assert_eq!(
        path,
        setup
            .folder
            .path()
            .join(repo)
            .join("snapshots")
            .join(COMMIT)
            .join(FILE)
    );
    assert_eq!(
        files_in(setup.folder.path()),
        [
            repo.join("blobs").join(&digest),
            repo.join("refs/main"),
            repo.join("snapshots").join(COMMIT).join(FILE),
        ]
    );
    assert_eq!(
        fs::read_to_string(setup.folder.path().join(repo).join("refs/main")).unwrap(),
        COMMIT
    );
    if cfg!(unix) {
        assert_eq!(
            fs::read_link(&path).unwrap(),
            Path::new("../../blobs").join(digest)
        );
    }
}

#[test]
fn a_cached_file_needs_no_request() {
    let setup = setup();
    let first = setup.fetch().unwrap();
    let before = setup.server.requests().len();
    assert_eq!(before, 1);
    assert_eq!(setup.fetch().unwrap(), first);
    assert_eq!(cached(REPO, "main", FILE, &setup.options).unwrap(), first);
    // The commit is known from the branch.
    assert_eq!(
        fetch(REPO, COMMIT, FILE, &setup.options, &()).unwrap(),
        first
    );
    assert_eq!(setup.server.requests().len(), before);
}

#[test]
fn every_way_of_sending_a_file_works() {
    for mode in [
        Mode::Direct,
        Mode::Redirect,
        Mode::Renamed,
        Mode::Chunked,
        Mode::Slow,
    ] {
        let setup = setup();
        setup.server.set(mode);
        let progress = Recorder::default();
        let path = fetch(REPO, "main", FILE, &setup.options, &progress)
            .unwrap_or_else(|error| panic!("{mode:?}: {}", chain(&error)));
        assert_eq!(fs::read(path).unwrap(), weights(), "{mode:?}");
        let calls = progress.0.into_inner().unwrap();
        let length = weights().len() as u64;
        let total = (mode != Mode::Chunked).then_some(length);
        assert_eq!(
            calls.first(),
            Some(&(FILE.to_owned(), 0, total)),
            "{mode:?}"
        );
        assert_eq!(
            calls.last(),
            Some(&(FILE.to_owned(), length, total)),
            "{mode:?}"
        );
        assert!(calls.is_sorted_by(|a, b| a.1 < b.1), "{mode:?}: {calls:?}");
        assert!(
            cached(REPO, "main", FILE, &setup.options).is_some(),
            "{mode:?}"
        );
    }
}

#[test]
fn names_with_folders_spaces_and_slashes_reach_the_hub() {
    let setup = setup();
    let file = "deep folder/part 1.bin";
    let path = fetch(REPO, "refs/pr/1", file, &setup.options, &()).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"one");
    assert!(cached(REPO, "refs/pr/1", file, &setup.options).is_some());
    let requests = setup.server.requests();
    assert_eq!(
        requests[0].path,
        format!("/{REPO}/resolve/refs%2Fpr%2F1/deep%20folder/part%201.bin")
    );
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let mut setup = setup();
    setup.options.token = Some(TOKEN.to_owned());
    setup.server.set(Mode::Redirect);
    setup.fetch().unwrap();
    let requests = setup.server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].authorization, Some(format!("Bearer {TOKEN}")));
    assert!(requests[1].file_server);
    assert_eq!(requests[1].authorization, None);
    assert!(!format!("{:?}", setup.options).contains(TOKEN));
}

#[test]
fn what_is_missing_is_named() {
    let setup = setup();
    let error = setup.fail(Mode::Missing("RepoNotFound"));
    assert!(
        matches!(&error, HubError::RepoNotFound { repo, .. } if repo == REPO),
        "{error:?}"
    );
    let error = setup.fail(Mode::Missing("RevisionNotFound"));
    assert!(
        matches!(&error, HubError::RevisionNotFound { revision, .. } if revision == "main"),
        "{error:?}"
    );
    for mode in [Mode::Missing("EntryNotFound"), Mode::MissingFileUnnamed] {
        let error = setup.fail(mode);
        assert!(matches!(error, HubError::FileNotFound { .. }), "{error:?}");
        assert!(chain(&error).contains(FILE), "{}", chain(&error));
        assert!(
            error.hint().unwrap().contains("config.json"),
            "{:?}",
            error.hint()
        );
    }
    let error = setup.fail(Mode::MissingUnnamed);
    assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
}

#[test]
fn refused_access_says_what_to_do() {
    let mut setup = setup();
    let reason = |error: &HubError| match error {
        HubError::Denied { reason, .. } => *reason,
        other => panic!("{other:?}"),
    };
    let error = setup.fail(Mode::Unauthorised);
    assert_eq!(reason(&error), Denial::NoToken);
    assert!(error.hint().unwrap().contains("HF_TOKEN"));
    let error = setup.fail(Mode::Gated);
    assert_eq!(reason(&error), Denial::Gated);
    assert!(
        error
            .hint()
            .unwrap()
            .contains(&format!("{}/{REPO}", setup.server.url()))
    );
    setup.options.token = Some(TOKEN.to_owned());
    let error = setup.fail(Mode::Unauthorised);
    assert_eq!(reason(&error), Denial::Token);
    assert!(!chain(&error).contains(TOKEN), "{}", chain(&error));
}

#[test]
fn a_broken_server_is_not_a_missing_file() {
    let setup = setup();
    for (mode, expected) in [(Mode::Broken, 500), (Mode::RedirectForbidden, 403)] {
        match setup.fail(mode) {
            HubError::Status { status, .. } => assert_eq!(status, expected),
            other => panic!("{mode:?}: {other:?}"),
        }
    }
}

#[test]
fn half_a_file_is_never_kept() {
    let setup = setup();
    for mode in [Mode::Cut, Mode::RedirectCut] {
        let error = setup.fail(mode);
        match &error {
            HubError::Interrupted { done, total, .. } => {
                assert_eq!(*total, Some(300_000));
                assert!(*done <= 150_000, "{done}");
            }
            other => panic!("{mode:?}: {other:?}"),
        }
        // Neither a token nor the signature of the file server's address.
        assert!(!chain(&error).contains("secret"), "{}", chain(&error));
    }
    match setup.fail(Mode::WrongLength) {
        HubError::Length {
            expected, found, ..
        } => assert_eq!((expected, found), (300_001, 300_000)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_or_a_foreign_server_is_not_a_file() {
    let setup = setup();
    for (mode, word) in [
        (Mode::Html, "HTML"),
        (Mode::LoginPage, "HTML"),
        (Mode::NoLength, "how long"),
        (Mode::Loop, "redirects"),
    ] {
        let error = setup.fail(mode);
        assert!(
            matches!(error, HubError::BadAnswer { .. }),
            "{mode:?}: {error:?}"
        );
        assert!(chain(&error).contains(word), "{mode:?}: {}", chain(&error));
    }
}

#[test]
fn a_commit_is_not_answered_by_another() {
    let setup = setup();
    setup.server.set(Mode::OtherCommit);
    let error = fetch(REPO, COMMIT, FILE, &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::BadAnswer { .. }), "{error:?}");
    assert!(
        chain(&error).contains(&COMMIT.replace('0', "f")),
        "{}",
        chain(&error)
    );
    assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn contents_must_match_the_digest() {
    let setup = setup();
    match setup.fail(Mode::WrongBytes) {
        HubError::Checksum {
            expected, found, ..
        } => {
            assert_eq!(expected, sha256(&weights()));
            assert_eq!(found, sha256(&vec![b'?'; 300_000]));
        }
        other => panic!("{other:?}"),
    }
    let card = |sha256: String| WeightsRef {
        repo: Some(REPO.to_owned()),
        sha256: Some(sha256),
        ..WeightsRef::default()
    };
    let wrong = card("0".repeat(64));
    let error = download(&wrong, &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error:?}");
    assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
    let right = card(sha256(&weights()));
    assert_eq!(downloaded(&right, &setup.options), None);
    let path = download(&right, &setup.options, &()).unwrap();
    assert_eq!(downloaded(&right, &setup.options), Some(path));
}

#[test]
fn nothing_listens_there() {
    let mut setup = setup();
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    setup.options.endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
    assert!(
        chain(&error).contains(FILE) && chain(&error).contains(&setup.options.endpoint),
        "{}",
        chain(&error)
    );
}

#[test]
fn offline_makes_no_request() {
    let mut setup = setup();
    let path = setup.fetch().unwrap();
    let requests = setup.server.requests().len();
    setup.options.offline = true;
    assert_eq!(setup.fetch().unwrap(), path);
    let error = fetch(REPO, "main", "config.json", &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error:?}");
    assert!(
        error
            .hint()
            .unwrap()
            .contains("senet download seresnet50.ra2_in1k"),
        "{:?}",
        error.hint()
    );
    assert_eq!(setup.server.requests().len(), requests);
}

#[test]
fn files_that_python_downloaded_are_found() {
    let mut setup = setup();
    setup.options.offline = true;
    let repo = setup
        .options
        .cache
        .join("models--timm--seresnet50.ra2_in1k");
    let snapshot = repo.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(snapshot.join(FILE), "weights").unwrap();
    // By commit: Python writes no entry in refs for it.
    assert!(cached(REPO, COMMIT, FILE, &setup.options).is_some());
    assert_eq!(cached(REPO, "main", FILE, &setup.options), None);
    fs::write(repo.join("refs/main"), format!("{COMMIT}\n")).unwrap();
    assert_eq!(setup.fetch().unwrap(), snapshot.join(FILE));
    // A ref that was written badly does not lead out of the cache.
    fs::write(repo.join("refs/main"), "../../..").unwrap();
    assert_eq!(cached(REPO, "main", FILE, &setup.options), None);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_deleted_blob_is_downloaded_again() {
    let setup = setup();
    let path = setup.fetch().unwrap();
    fs::remove_file(fs::canonicalize(&path).unwrap()).unwrap();
    assert_eq!(cached(REPO, "main", FILE, &setup.options), None);
    assert_eq!(setup.fetch().unwrap(), path);
    assert_eq!(fs::read(path).unwrap(), weights());
}

#[test]
fn contents_shared_by_revisions_are_downloaded_once() {
    let setup = setup();
    setup.fetch().unwrap();
    setup.server.set(Mode::Redirect);
    let path = fetch(REPO, "refs/pr/1", FILE, &setup.options, &()).unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
    assert_eq!(
        files_in(
            &setup
                .options
                .cache
                .join("models--timm--seresnet50.ra2_in1k/blobs")
        )
        .len(),
        1
    );
}

#[test]
fn downloads_at_the_same_time_do_not_disturb_each_other() {
    let setup = setup();
    setup.server.set(Mode::Slow);
    let paths: Vec<PathBuf> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| setup.fetch().unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for path in paths {
        assert_eq!(fs::read(path).unwrap(), weights());
    }
    assert_eq!(files_in(setup.folder.path()).len(), 3);
}

#[test]
fn names_that_leave_the_cache_are_refused() {
    let setup = setup();
    for (repo, revision, file) in [
        ("../../etc", "main", FILE),
        ("a/b/c", "main", FILE),
        ("", "main", FILE),
        ("a b/c", "main", FILE),
        (REPO, "../main", FILE),
        (REPO, "", FILE),
        (REPO, "main?x", FILE),
        (REPO, "main", "/etc/passwd"),
        (REPO, "main", "a/../../b"),
        (REPO, "main", "C:\\x"),
        (REPO, "main", ""),
    ] {
        let error = fetch(repo, revision, file, &setup.options, &()).unwrap_err();
        assert!(
            matches!(error, HubError::BadName { .. }),
            "{repo} {revision} {file}: {error:?}"
        );
        assert_eq!(cached(repo, revision, file, &setup.options), None);
    }
    assert_eq!(setup.server.requests().len(), 0);
}

#[test]
fn an_endpoint_without_a_scheme_is_refused_and_a_password_is_hidden() {
    let mut setup = setup();
    setup.options.endpoint = "huggingface.co".to_owned();
    assert!(matches!(setup.fetch(), Err(HubError::BadName { .. })));
    setup.options.endpoint = "http://user:verysecret@127.0.0.1:1".to_owned();
    let error = setup.fetch().unwrap_err();
    assert!(
        !format!("{error:?} {}", chain(&error)).contains("verysecret"),
        "{error:?}"
    );
    assert!(!format!("{:?}", setup.options).contains("verysecret"));
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let mut setup = setup();
    let file = setup.folder.path().join("a file");
    fs::write(&file, "").unwrap();
    setup.options.cache = file.join("hub");
    let error = setup.fetch().unwrap_err();
    assert!(
        matches!(&error, HubError::Disk { path, .. } if path.starts_with(&file)),
        "{error:?}"
    );
}

/// The address of the release file on the file server, and its name.
fn release(bytes: &[u8]) -> (String, String, HubServer) {
    let name = format!("seresnet50-{}.pth", &sha256(bytes)[..8]);
    let server = HubServer::start(&[("v1", &name, bytes)]);
    let url = format!("{}/v1/{name}", server.file_server());
    (url, name, server)
}

#[test]
fn a_release_file_lands_in_the_own_cache() {
    let mut setup = setup();
    let (url, name, server) = release(b"pickled");
    let card = WeightsRef {
        release: Some(url.clone()),
        ..WeightsRef::default()
    };
    server.set(Mode::Cut);
    assert!(matches!(
        download(&card, &setup.options, &()),
        Err(HubError::Interrupted { .. })
    ));
    assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
    server.set(Mode::Direct);
    let path = download(&card, &setup.options, &()).unwrap();
    assert_eq!(path, setup.folder.path().join("senet/release").join(&name));
    assert_eq!(fs::read(&path).unwrap(), b"pickled");
    let requests = server.requests().len();
    setup.options.offline = true;
    assert_eq!(download(&card, &setup.options, &()).unwrap(), path);
    assert_eq!(server.requests().len(), requests);
    fs::remove_file(path).unwrap();
    let error = download(&card, &setup.options, &()).unwrap_err();
    assert!(
        matches!(&error, HubError::Offline { location, .. } if **location == Location::Release { url: url.clone() })
    );
}

#[test]
fn a_release_file_must_match_the_digits_in_its_name() {
    let setup = setup();
    let server = HubServer::start(&[("v1", "seresnet50-00000000.pth", b"pickled")]);
    let card = WeightsRef {
        release: Some(format!(
            "{}/v1/seresnet50-00000000.pth",
            server.file_server()
        )),
        ..WeightsRef::default()
    };
    let error = download(&card, &setup.options, &()).unwrap_err();
    assert!(
        matches!(&error, HubError::Checksum { found, .. } if *found == sha256(b"pickled")),
        "{error:?}"
    );
    assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn the_release_stands_in_for_a_hub_that_refuses() {
    let setup = setup();
    let (url, name, server) = release(b"pickled");
    let card = WeightsRef {
        repo: Some(REPO.to_owned()),
        release: Some(url),
        ..WeightsRef::default()
    };
    setup.server.set(Mode::Broken);
    let path = download(&card, &setup.options, &()).unwrap();
    assert!(path.ends_with(&name), "{}", path.display());
    fs::remove_file(path).unwrap();
    // If both fail, the hub's error is the one to act on.
    server.set(Mode::Cut);
    let error = download(&card, &setup.options, &()).unwrap_err();
    assert!(
        matches!(error, HubError::Status { status: 500, .. }),
        "{error:?}"
    );
    // Wrong contents on the hub must be seen, not passed over.
    server.set(Mode::Direct);
    setup.server.set(Mode::WrongBytes);
    let error = download(&card, &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error:?}");
    setup.server.set(Mode::Direct);
    assert!(
        download(&card, &setup.options, &())
            .unwrap()
            .ends_with(FILE)
    );
    assert!(matches!(
        download(&WeightsRef::default(), &setup.options, &()),
        Err(HubError::NoRemote)
    ));
}

fn options(variables: &[(&str, &str)]) -> HubOptions {
    let map: HashMap<String, OsString> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    HubOptions::from_lookup(|name| map.get(name).cloned(), Some("/home/me".into())).unwrap()
}

#[test]
fn the_environment_is_read_as_python_does() {
    for (variables, cache) in [
        (vec![], "/home/me/.cache/huggingface/hub"),
        (vec![("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
        (
            vec![("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg")],
            "/hf/hub",
        ),
        (vec![("HF_HUB_CACHE", "/c"), ("HF_HOME", "/hf")], "/c"),
        (
            vec![("HF_HUB_CACHE", ""), ("HF_HOME", "~/hf")],
            "/home/me/hf/hub",
        ),
    ] {
        assert_eq!(options(&variables).cache, Path::new(cache), "{variables:?}");
    }
    assert_eq!(options(&[]).own_cache, Path::new("/home/me/.cache/senet"));
    assert_eq!(
        options(&[("XDG_CACHE_HOME", "/xdg")]).own_cache,
        Path::new("/xdg/senet")
    );
    assert_eq!(
        options(&[("SENET_CACHE", "/s"), ("XDG_CACHE_HOME", "/xdg")]).own_cache,
        Path::new("/s")
    );
    assert_eq!(options(&[]).endpoint, "https://huggingface.co");
    assert_eq!(
        options(&[("HF_ENDPOINT", "http://127.0.0.1:8080/")]).endpoint,
        "http://127.0.0.1:8080"
    );
    for (value, offline) in [
        ("1", true),
        ("TRUE", true),
        ("Yes", true),
        ("on", true),
        ("0", false),
        ("no", false),
        ("", false),
    ] {
        assert_eq!(
            options(&[("HF_HUB_OFFLINE", value)]).offline,
            offline,
            "{value}"
        );
    }
}

#[test]
fn without_a_home_folder_the_variables_are_enough() {
    let none = HubOptions::from_lookup(|_| None, None);
    assert!(matches!(none, Err(HubError::NoHome)));
    let some = HubOptions::from_lookup(
        |name| {
            ["HF_HOME", "SENET_CACHE"]
                .contains(&name)
                .then(|| "/data".into())
        },
        None,
    )
    .unwrap();
    assert_eq!(some.cache, Path::new("/data/hub"));
}

#[test]
fn the_token_comes_from_a_variable_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let file = folder.path().join("other");
    let other = file.to_str().unwrap();
    fs::write(folder.path().join("token"), "from-home\n").unwrap();
    fs::write(&file, " from-path \n").unwrap();
    for (variables, token) in [
        (vec![("HF_HOME", "/nowhere")], None),
        (vec![("HF_HOME", home)], Some("from-home")),
        (
            vec![("HF_HOME", home), ("HF_HUB_CACHE", "/elsewhere")],
            Some("from-home"),
        ),
        (
            vec![("HF_HOME", home), ("HF_TOKEN_PATH", other)],
            Some("from-path"),
        ),
        (
            vec![("HF_TOKEN", " direct "), ("HF_TOKEN_PATH", other)],
            Some("direct"),
        ),
        (
            vec![
                ("HF_TOKEN", "direct"),
                ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
            ],
            None,
        ),
    ] {
        assert_eq!(options(&variables).token.as_deref(), token, "{variables:?}");
    }
}
