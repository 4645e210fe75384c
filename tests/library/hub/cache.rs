//! Downloads that succeed, and files that are already there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use senet::hub::{HubError, Progress, ensure, find};
use senet::zoo::WeightsRef;

use super::{FILE, REPO, TOKEN, chain, download, files_in, setup, weights};
use crate::common::hub_server::{COMMIT, Mode, sha256};

#[derive(Default)]
pub(super) struct Recorder(pub(super) Mutex<Vec<(String, u64, Option<u64>)>>);

impl Progress for Recorder {
    fn advance(&self, file: &str, done: u64, total: Option<u64>) {
        self.0.lock().unwrap().push((file.to_owned(), done, total));
    }
}

#[test]
fn a_download_has_the_layout_of_pythons() {
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
    assert_eq!(before, 2, "what it is, and its bytes");
    // The fastest of a few: the machine may be busy.
    let hit = || {
        let start = Instant::now();
        assert_eq!(setup.fetch().unwrap(), first);
        start.elapsed()
    };
    let fastest = (0..5).map(|_| hit()).min().unwrap();
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
    assert_eq!(find(REPO, "main", FILE, &setup.options).unwrap(), first);
    // The commit is known from the cached branch.
    assert_eq!(
        ensure(REPO, COMMIT, FILE, &setup.options, &()).unwrap(),
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
        Mode::RenamedCommit,
        Mode::RenamedEtag,
        Mode::Chunked,
        Mode::Slow,
    ] {
        let setup = setup();
        setup.server.set(mode);
        let progress = Recorder::default();
        let path = ensure(REPO, "main", FILE, &setup.options, &progress)
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
        // At the end it is always known.
        assert_eq!(
            calls.last(),
            Some(&(FILE.to_owned(), length, Some(length))),
            "{mode:?}"
        );
        assert!(calls.is_sorted_by(|a, b| a.1 <= b.1), "{mode:?}: {calls:?}");
        assert!(
            find(REPO, "main", FILE, &setup.options).is_some(),
            "{mode:?}"
        );
    }
}

#[test]
fn names_with_folders_spaces_and_slashes_reach_the_hub() {
    let setup = setup();
    let file = "deep folder/part 1.bin";
    let path = ensure(REPO, "refs/pr/1", file, &setup.options, &()).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"one");
    assert!(find(REPO, "refs/pr/1", file, &setup.options).is_some());
    let requests = setup.server.requests();
    assert_eq!(
        requests[0].path,
        format!("/{REPO}/resolve/refs%2Fpr%2F1/deep%20folder/part%201.bin")
    );
}

#[test]
fn the_token_goes_only_to_the_hub() {
    let mut setup = setup();
    setup.options.token = Some(TOKEN.to_owned());
    setup.server.set(Mode::Redirect);
    setup.fetch().unwrap();
    let requests = setup.server.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        let expected = (!request.file_server).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(request.authorization, expected, "{request:?}");
    }
    assert!(!format!("{:?}", setup.options).contains(TOKEN));
}

#[test]
fn offline_makes_no_request() {
    let mut setup = setup();
    let path = setup.fetch().unwrap();
    let requests = setup.server.requests().len();
    setup.options.offline = true;
    assert_eq!(setup.fetch().unwrap(), path);
    let error = ensure(REPO, "main", "config.json", &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error:?}");
    assert!(
        error
            .hint()
            .unwrap()
            .contains("download it where there is a network, without HF_HUB_OFFLINE"),
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
    assert!(find(REPO, COMMIT, FILE, &setup.options).is_some());
    assert_eq!(find(REPO, "main", FILE, &setup.options), None);
    fs::write(repo.join("refs/main"), format!("{COMMIT}\n")).unwrap();
    assert_eq!(setup.fetch().unwrap(), snapshot.join(FILE));
    // A commit may be given in upper case.
    let capitals = COMMIT.to_ascii_uppercase();
    assert_ne!(capitals, COMMIT);
    let found = find(REPO, &capitals, FILE, &setup.options);
    assert_eq!(found.unwrap(), snapshot.join(FILE));
    // A malformed ref does not lead out of the cache.
    fs::write(setup.folder.path().join(FILE), "elsewhere").unwrap();
    fs::write(repo.join("refs/main"), "../../..").unwrap();
    assert_eq!(find(REPO, "main", FILE, &setup.options), None);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_deleted_blob_is_downloaded_again() {
    let setup = setup();
    let path = setup.fetch().unwrap();
    fs::remove_file(fs::canonicalize(&path).unwrap()).unwrap();
    assert_eq!(find(REPO, "main", FILE, &setup.options), None);
    assert_eq!(setup.fetch().unwrap(), path);
    assert_eq!(fs::read(path).unwrap(), weights());
}

#[test]
fn contents_shared_by_revisions_are_downloaded_once() {
    let setup = setup();
    setup.fetch().unwrap();
    // Reading the file again would fail.
    setup.server.set(Mode::RedirectCut);
    let path = ensure(REPO, "refs/pr/1", FILE, &setup.options, &()).unwrap();
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
fn a_cached_file_is_not_mistaken_for_the_pinned_one() {
    let setup = setup();
    setup.fetch().unwrap();
    // The branch has since moved to what the card names.
    let new = vec![7; 5000];
    setup.server.replace(REPO, FILE, &new);
    let card = WeightsRef {
        repo: Some(REPO.to_owned()),
        sha256: Some(sha256(&new)),
        ..WeightsRef::default()
    };
    let path = download(&card, &setup.options, &()).unwrap();
    assert_eq!(fs::read(path).unwrap(), new);
}

#[test]
fn concurrent_downloads_do_not_interfere() {
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
