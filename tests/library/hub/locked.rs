//! Lockfiles: the files that they list, each only in its own place.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use senet::hub::{HubError, LockedFile, Lockfile};
use senet::store;
use senet::zoo::{Overrides, WeightsRef};

use super::{FILE, REPO, Setup, chain, download, setup, weights};
use crate::common::hub_server::{COMMIT, HubServer, sha256};

const OTHER: &str = "timm/seresnet50.a1_in1k";

fn entry(repo: &str, file: &str, bytes: &[u8]) -> LockedFile {
    LockedFile::Hub {
        repo: repo.to_owned(),
        revision: "main".to_owned(),
        commit: COMMIT.to_owned(),
        file: file.to_owned(),
        size: bytes.len() as u64,
        sha256: sha256(bytes),
    }
}

fn lock(setup: &mut Setup, files: Vec<LockedFile>) {
    setup.options.locked = Some(Arc::new(Lockfile {
        path: "my.lock".into(),
        files,
    }));
}

fn card() -> WeightsRef {
    WeightsRef {
        repo: Some(REPO.to_owned()),
        ..WeightsRef::default()
    }
}

#[test]
fn a_cached_file_must_match_its_own_entry() {
    let mut setup = setup();
    let path = setup.fetch().unwrap();
    // As long as the right one, and listed, but for another model.
    let other = vec![b'o'; weights().len()];
    let entries = vec![entry(REPO, FILE, &weights()), entry(OTHER, FILE, &other)];
    lock(&mut setup, entries);
    assert_eq!(download(&card(), &setup.options, &()).unwrap(), path);
    fs::write(fs::canonicalize(&path).unwrap(), &other).unwrap();
    let error = download(&card(), &setup.options, &()).unwrap_err();
    let text = chain(&error);
    assert!(matches!(error, HubError::NotAsLocked { .. }), "{error:?}");
    for word in [
        path.to_str().unwrap(),
        "my.lock",
        &sha256(&weights()),
        &sha256(&other),
        "write the lockfile again",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // Nor is a name enough for contents that are cached.
    fs::remove_file(&path).unwrap();
    let error = download(&card(), &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::NotAsLocked { .. }), "{error:?}");
}

#[test]
fn a_users_file_must_be_the_models() {
    let mut setup = setup();
    let spec = store::resolve(
        "seresnet50.ra2_in1k",
        &Overrides::default(),
        &setup.options,
        &(),
    )
    .unwrap();
    let own = setup.folder.path().join("own.safetensors");
    let entries = vec![entry(REPO, FILE, b"right"), entry(OTHER, FILE, b"other")];
    lock(&mut setup, entries);
    let open = |contents: &str| {
        fs::write(&own, contents).unwrap();
        let weights = store::open(&spec.spec, Some(&own), &setup.options, &());
        weights.unwrap_err().to_string()
    };
    assert!(open("other").contains("is not the file that the lockfile my.lock lists"));
    // It is not a weights file, but it was opened.
    assert!(!open("right").contains("my.lock"));
}

#[test]
fn a_release_must_match_its_own_entry() {
    let mut setup = setup();
    let name = format!("seresnet50-{}.pth", &sha256(b"pickled")[..8]);
    let server = HubServer::start(&[("v1", &name, b"pickled")]);
    let url = format!("{}/v1/{name}", server.file_server());
    let release = |bytes: &[u8]| LockedFile::Release {
        release: url.clone(),
        size: bytes.len() as u64,
        sha256: sha256(bytes),
    };
    let card = WeightsRef {
        release: Some(url.clone()),
        ..card()
    };
    // The hub's file is not listed, so it is not requested.
    lock(&mut setup, vec![release(b"pickled")]);
    let path = download(&card, &setup.options, &()).unwrap();
    assert_eq!(setup.server.requests().len(), 0);
    lock(
        &mut setup,
        vec![release(b"others"), entry(OTHER, FILE, b"pickled")],
    );
    let error = download(&card, &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::NotAsLocked { .. }), "{error:?}");
    // With only the hub's file listed, the release does not count.
    lock(&mut setup, vec![entry(REPO, FILE, &weights())]);
    assert!(
        download(&card, &setup.options, &())
            .unwrap()
            .ends_with(FILE)
    );
    assert!(path.exists());
}

#[test]
fn a_pickle_in_the_cache_needs_no_request() {
    let mut setup = setup();
    let spec = super::fit::spec("seresnet50.ra2_in1k");
    let file = "pytorch_model.bin";
    setup.server.replace(REPO, file, b"pickled");
    let at = |revision: &str| WeightsRef {
        revision: Some(revision.to_owned()),
        file: Some(FILE.to_owned()),
        ..card()
    };
    let pickle = WeightsRef {
        file: Some(file.to_owned()),
        ..card()
    };
    let path: PathBuf = download(&pickle, &setup.options, &()).unwrap();
    let requests = setup.server.requests().len();
    for offline in [false, true] {
        setup.options.offline = offline;
        for revision in ["main", COMMIT] {
            let found = store::ensure(&at(revision), Some(&spec), &setup.options, &()).unwrap();
            assert_eq!(found, path, "{revision}");
        }
    }
    assert_eq!(setup.server.requests().len(), requests);
    // The lockfile may list it instead of the other one.
    lock(&mut setup, vec![entry(REPO, file, b"pickled")]);
    assert_eq!(
        store::ensure(&at("main"), Some(&spec), &setup.options, &()).unwrap(),
        path
    );
    lock(&mut setup, vec![entry(OTHER, file, b"pickled")]);
    let error = store::ensure(&at("main"), Some(&spec), &setup.options, &()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not list `model.safetensors`"),
        "{error}"
    );
}
