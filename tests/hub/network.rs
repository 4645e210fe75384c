//! Certificates: whose word is taken for who a server is.

use std::fs;

use senet::hub::{HubError, fetch_picture};

use super::common::hub_server::Mode;
use super::common::tls;
use super::{FILE, REPO, TOKEN, chain, setup, weights};

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let mut setup = setup();
    let front = tls::front(setup.server.url());
    setup.options.endpoint.clone_from(&front.url);
    setup.options.token = Some(TOKEN.to_owned());
    let picture = format!("{}/{REPO}/resolve/main/{FILE}", front.url);
    for error in [
        setup.fetch().unwrap_err(),
        fetch_picture(&picture, 1 << 20, &setup.options).unwrap_err(),
    ] {
        assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("SSL_CERT_FILE"), "{error:?}");
    }
    assert!(setup.server.requests().is_empty());

    let file = setup.folder.path().join("authority.pem");
    fs::write(&file, &front.authority).unwrap();
    setup.options.network.authorities = Some(file);
    assert_eq!(fs::read(setup.fetch().unwrap()).unwrap(), weights());
    let bytes = fetch_picture(&picture, 1 << 20, &setup.options).unwrap();
    assert!(bytes == weights());
    // The list of files takes the same way.
    fs::remove_dir_all(&setup.options.cache).unwrap();
    setup.server.set(Mode::MissingFileUnnamed);
    let error = setup.fetch().unwrap_err();
    assert!(
        matches!(&error, HubError::FileNotFound { present, .. } if present.len() == 3),
        "{error:?}"
    );
    let requests = setup.server.requests();
    let list = requests
        .iter()
        .find(|request| request.path.starts_with("/api/"));
    let expected = format!("Bearer {TOKEN}");
    assert_eq!(list.unwrap().authorization, Some(expected));
}

#[test]
fn another_authority_is_not_trusted() {
    let mut setup = setup();
    let front = tls::front(setup.server.url());
    let file = setup.folder.path().join("authority.pem");
    fs::write(&file, tls::front(setup.server.url()).authority).unwrap();
    setup.options.endpoint = front.url;
    setup.options.network.authorities = Some(file);
    let error = setup.fetch().unwrap_err();
    assert!(error.hint().unwrap().contains("SSL_CERT_FILE"), "{error:?}");
    assert!(setup.server.requests().is_empty());
}

#[test]
fn a_file_without_authorities_is_an_error() {
    const NOT_DER: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let mut setup = setup();
    let file = setup.folder.path().join("authorities.pem");
    setup.options.network.authorities = Some(file.clone());
    for (contents, problem) in [
        (None, "os error"),
        (Some(""), "found none"),
        (Some("not a certificate\n"), "found none"),
        (Some(NOT_DER), "found 1 that cannot be read"),
        (Some(&NOT_DER.replace("AAAA", "?")), "found a damaged one"),
        (Some(NOT_DER.split_at(40).0), "found a damaged one"),
    ] {
        if let Some(contents) = contents {
            fs::write(&file, contents).unwrap();
        }
        let error = setup.fetch().unwrap_err();
        assert!(matches!(error, HubError::Authorities { .. }), "{error:?}");
        let text = chain(&error);
        assert!(text.contains(problem), "{contents:?}: {text}");
        assert!(text.contains(&file.display().to_string()), "{text}");
        assert!(text.contains("SSL_CERT_FILE"), "{text}");
    }
    setup.options.network.authorities = Some(setup.folder.path().to_owned());
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, HubError::Authorities { .. }), "{error:?}");
    assert!(setup.server.requests().is_empty());
}
