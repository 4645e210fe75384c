//! Release files outside the hub.

use std::fs;
use std::path::PathBuf;

use senet::hub::{HubError, Location, Release, replace_release};
use senet::zoo::WeightsRef;

use super::cache::Recorder;
use super::{FILE, REPO, download, files_in, setup};
use crate::common::hub_server::{HubServer, Mode, sha256};

/// The URL of the release file on the file server, and its name.
fn release(bytes: &[u8]) -> (String, String, HubServer) {
    let name = format!("seresnet50-{}.pth", &sha256(bytes)[..8]);
    let server = HubServer::start(&[("v1", &name, bytes)]);
    let url = format!("{}/v1/{name}", server.file_server());
    (url, name, server)
}

#[test]
fn a_release_file_goes_to_our_own_cache() {
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
    let partial = PathBuf::from(format!("senet/release/{name}.incomplete"));
    assert_eq!(files_in(setup.folder.path()), [partial]);
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
    let progress = Recorder::default();
    let path = download(&card, &setup.options, &progress).unwrap();
    assert!(path.ends_with(&name), "{}", path.display());
    // The progress observer is told that it is the other file.
    let calls = progress.0.into_inner().unwrap();
    assert!(!calls.is_empty());
    assert!(calls.iter().all(|(file, ..)| *file == name), "{calls:?}");
    fs::remove_file(path).unwrap();
    // If both fail, the hub's error is the more useful one.
    server.set(Mode::Cut);
    let error = download(&card, &setup.options, &()).unwrap_err();
    assert!(
        matches!(error, HubError::Status { status: 500, .. }),
        "{error:?}"
    );
    // Wrong contents on the hub must be reported, not worked around.
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

#[test]
fn a_damaged_release_is_kept_until_the_right_one_is_complete() {
    let setup = setup();
    let (url, name, server) = release(b"pickled");
    let path = setup.folder.path().join("senet/release").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "pickles").unwrap();
    server.set(Mode::Busy(404));
    let release = Release {
        url: &url,
        sha1: None,
        sha384: None,
    };
    let error = replace_release(release, &setup.options, &()).unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"pickles");
    server.set(Mode::Direct);
    let again = replace_release(release, &setup.options, &()).unwrap();
    assert_eq!(
        (&again, fs::read(&path).unwrap()),
        (&path, b"pickled".to_vec())
    );
}
