//! Downloads that fail: each leaves the cache unchanged and says what to do.

use std::fs;
use std::path::PathBuf;

use senet::hub::{Denial, HubError, Lockfile, ensure, find};
use senet::zoo::WeightsRef;

use super::cache::Recorder;
use super::{FILE, REPO, TOKEN, chain, download, files_in, setup, weights};
use crate::common::hub_server::{COMMIT, Mode, sha256};

#[test]
fn missing_files_are_named() {
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
fn half_a_file_is_never_mistaken_for_a_complete_one() {
    let setup = setup();
    for mode in [Mode::Cut, Mode::RedirectCut] {
        let error = setup.fail(mode);
        match &error {
            HubError::Interrupted { done, total, .. } => {
                assert_eq!(*total, Some(300_000));
                // Three attempts, each of which gets half of the rest.
                assert_eq!(*done, 262_500);
            }
            other => panic!("{mode:?}: {other:?}"),
        }
        // Neither the token nor the signature in the file server's URL.
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
fn an_endpoint_that_redirects_as_a_whole_names_its_new_address() {
    let mut setup = setup();
    setup.options.token = Some(TOKEN.to_owned());
    let error = setup.fail(Mode::Moved);
    let target = setup.server.file_server();
    assert!(
        matches!(&error, HubError::Moved { endpoint, .. } if endpoint == target),
        "{error:?}"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.contains(&format!("set HF_ENDPOINT to {target}")),
        "{hint}"
    );
    assert!(
        !setup
            .server
            .requests()
            .iter()
            .any(|request| request.file_server),
        "nothing is asked of it"
    );
}

#[test]
fn another_commit_is_refused() {
    let setup = setup();
    setup.server.set(Mode::OtherCommit);
    let error = ensure(REPO, COMMIT, FILE, &setup.options, &()).unwrap_err();
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
    // The hub announces another digest: its file is not even read.
    setup.server.set(Mode::Cut);
    let error = download(&wrong, &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error:?}");
    assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
    setup.server.set(Mode::Direct);
    let right = card(sha256(&weights()));
    assert_eq!(senet::store::find(&right, &setup.options), None);
    let path = download(&right, &setup.options, &()).unwrap();
    assert_eq!(senet::store::find(&right, &setup.options), Some(path));
    // The cached file of that name is not the one that another card means.
    let error = download(&wrong, &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error:?}");
}

#[test]
fn an_unreachable_hub_is_reported() {
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
        let error = ensure(repo, revision, file, &setup.options, &()).unwrap_err();
        assert!(
            matches!(error, HubError::BadName { .. }),
            "{repo} {revision} {file}: {error:?}"
        );
        assert_eq!(find(repo, revision, file, &setup.options), None);
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

#[test]
fn another_cache_is_suggested_where_it_helps() {
    let denied = |action: &'static str| HubError::Disk {
        action,
        path: "x".into(),
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    for action in ["create", "open", "write"] {
        let hint = denied(action).hint().unwrap();
        assert!(
            hint.contains("HF_HUB_CACHE") && hint.contains("SENET_CACHE"),
            "{hint}"
        );
    }
    for action in ["read", "delete"] {
        assert_eq!(denied(action).hint(), None, "{action}");
    }
    let setup = setup();
    let folder = Lockfile {
        path: setup.folder.path().to_owned(),
        files: Vec::new(),
    };
    let text = chain(&folder.write().unwrap_err());
    assert!(text.contains("cannot write the lockfile"), "{text}");
}

#[test]
fn an_invalid_token_is_not_a_network_failure() {
    let mut setup = setup();
    for token in ["hf_two\nlines", "hf_größe", "hf spaced"] {
        setup.options.token = Some(token.to_owned());
        let error = setup.fetch().unwrap_err();
        let text = chain(&error) + &error.hint().unwrap();
        assert!(
            text.contains("the access token contains a line break"),
            "{text}"
        );
        assert!(text.contains("HF_TOKEN") && !text.contains(token), "{text}");
    }
    assert!(setup.server.requests().is_empty());
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

#[test]
fn unrequested_encodings_are_refused() {
    let setup = setup();
    for (name, value) in [
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "aws-chunked"),
        ("Content-Encoding", "identity, br"),
        ("Transfer-Encoding", "gzip"),
        ("Transfer-Encoding", "gzip, chunked"),
        ("Transfer-Encoding", "identity"),
    ] {
        for mode in [Mode::Header(name, value), Mode::RedirectHeader(name, value)] {
            let error = setup.fail(mode);
            assert!(matches!(error, HubError::BadAnswer { .. }), "{error:?}");
            let named = format!("`{}: {value}`", name.to_ascii_lowercase());
            assert!(error.to_string().contains(&named), "{error}");
        }
    }
    for mode in [
        Mode::Header("Content-Encoding", "Identity"),
        Mode::RedirectHeader("Content-Encoding", "identity"),
    ] {
        setup.server.set(mode);
        assert_eq!(fs::read(setup.fetch().unwrap()).unwrap(), weights());
        fs::remove_dir_all(&setup.options.cache).unwrap();
    }
}

#[test]
fn the_length_in_the_redirect_is_enforced() {
    let setup = setup();
    let length = weights().len() as u64;
    setup.server.set(Mode::RenamedSize(length));
    let progress = Recorder::default();
    let path = ensure(REPO, "main", FILE, &setup.options, &progress).unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
    let calls = progress.0.into_inner().unwrap();
    assert!(calls.iter().all(|call| call.2 == Some(length)), "{calls:?}");
    fs::remove_dir_all(&setup.options.cache).unwrap();
    // The chunked body ends properly, but too early or too late.
    for announced in [length + 1, length - 1] {
        match setup.fail(Mode::RenamedSize(announced)) {
            HubError::Length { expected, .. } => assert_eq!(expected, announced),
            error => panic!("{error:?}"),
        }
    }
}
