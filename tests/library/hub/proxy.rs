//! Certificate authorities and SOCKS proxies.

use std::fs;
#[cfg(target_os = "linux")]
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Command;

#[cfg(target_os = "linux")]
use senet::hub::{HubError, Proxies, fetch_image};

use super::{FILE, REPO, TOKEN, chain, setup, weights};
use crate::common::hub_server::Mode;
use crate::common::socks::{Asked, Host, Socks};
use crate::common::tls;

const NOT_DER: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn a_named_authority_is_trusted() {
    let mut setup = setup();
    let front = tls::front(setup.server.url());
    setup.options.endpoint.clone_from(&front.url);
    setup.options.token = Some(TOKEN.to_owned());
    let image = format!("{}/{REPO}/resolve/main/{FILE}", front.url);
    for error in [
        setup.fetch().unwrap_err(),
        fetch_image(&image, 1 << 20, &setup.options).unwrap_err(),
    ] {
        assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("SSL_CERT_FILE"), "{error:?}");
    }
    assert!(setup.server.requests().is_empty());

    let file = setup.folder.path().join("authority.pem");
    fs::write(&file, &front.authority).unwrap();
    setup.options.proxies.authorities = vec![file];
    assert_eq!(fs::read(setup.fetch().unwrap()).unwrap(), weights());
    let bytes = fetch_image(&image, 1 << 20, &setup.options).unwrap();
    assert!(bytes == weights());
    // The file list takes the same route.
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
    setup.options.proxies.authorities = vec![file];
    let error = setup.fetch().unwrap_err();
    assert!(error.hint().unwrap().contains("SSL_CERT_FILE"), "{error:?}");
    assert!(setup.server.requests().is_empty());
}

#[test]
fn a_file_without_authorities_is_an_error() {
    let mut setup = setup();
    let file = setup.folder.path().join("authorities.pem");
    setup.options.proxies.authorities = vec![file.clone()];
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
    assert!(setup.server.requests().is_empty());
}

#[test]
fn a_folder_of_authorities_is_trusted_and_several_count_together() {
    let mut setup = setup();
    let front = tls::front(setup.server.url());
    setup.options.endpoint.clone_from(&front.url);
    let at = |name: &str| setup.folder.path().join(name);
    let other = tls::front(setup.server.url()).authority;
    fs::create_dir_all(at("folder/sub")).unwrap();
    fs::write(at("folder/5ed36f99.0"), &front.authority).unwrap();
    fs::write(at("folder/README"), "no certificate").unwrap();
    fs::write(at("folder/damaged.pem"), NOT_DER.split_at(40).0).unwrap();
    fs::write(at("other.pem"), &other).unwrap();
    setup.options.proxies.authorities = vec![at("other.pem"), at("folder")];
    assert_eq!(fs::read(setup.fetch().unwrap()).unwrap(), weights());
    fs::remove_dir_all(&setup.options.cache).unwrap();
    setup.options.proxies.authorities = vec![at("other.pem")];
    assert!(matches!(setup.fetch(), Err(HubError::Unreachable { .. })));
    for (folder, problem) in [("folder/sub", "found none"), ("missing", "os error")] {
        setup.options.proxies.authorities = vec![at("folder"), at(folder)];
        let error = setup.fetch().unwrap_err();
        assert!(matches!(error, HubError::Authorities { .. }), "{error:?}");
        let text = chain(&error);
        assert!(text.contains(problem) && text.contains(folder), "{text}");
    }
    #[cfg(unix)]
    {
        setup.options.proxies.authorities = vec!["/dev/zero".into()];
        assert!(chain(&setup.fetch().unwrap_err()).contains("more than"));
    }
}

/// The system's store is where these two variables of OpenSSL point, for programs that use the
/// system's. The child's options name no authorities of their own.
#[cfg(target_os = "linux")]
#[test]
fn the_systems_authorities_are_trusted() {
    const CHILD: &str = "SENET_TEST_URL";
    if let Ok(url) = std::env::var(CHILD) {
        let mut setup = setup();
        setup.options.endpoint = url;
        setup.options.proxies = Proxies::default();
        match setup.fetch() {
            Ok(path) => assert_eq!(fs::read(path).unwrap(), weights()),
            Err(error) => panic!("{}", chain(&error)),
        }
        return;
    }
    let setup = setup();
    let front = tls::front(setup.server.url());
    let file = setup.folder.path().join("authority.pem");
    fs::write(&file, &front.authority).unwrap();
    let child = |file: &Path| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["hub::proxy::the_systems_authorities_are_trusted", "--exact"])
            .env(CHILD, &front.url)
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR")
            .output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    };
    let (trusted, text) = child(&file);
    assert!(trusted, "{text}");
    // Without a system store, the built-in authorities are used, which do not include this one.
    let (trusted, text) = child(&setup.folder.path().join("missing.pem"));
    assert!(!trusted && text.contains("SSL_CERT_FILE"), "{text}");
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[test]
fn names_are_resolved_here_or_by_a_socks_proxy() {
    let mut setup = setup();
    let server = setup.server.url().trim_start_matches("http://").to_owned();
    let (_, port) = server.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    // 127.0.0.1 in a form that systems resolve but that is not an IP address literal.
    setup.options.endpoint = format!("http://127.1:{port}");
    let address = Host::Address([127, 0, 0, 1].into());
    for (scheme, login, host) in [
        ("socks5://", "", address.clone()),
        ("socks5h://", "", Host::Name("127.1".to_owned())),
        ("socks5://", "me:s%40cret@", address),
    ] {
        let socks = Socks::start(&server);
        let proxy = format!("{scheme}{login}{}", socks.address);
        setup.options.proxies.http_proxy = Some(proxy);
        assert_eq!(fs::read(setup.fetch().unwrap()).unwrap(), weights());
        fs::remove_dir_all(&setup.options.cache).unwrap();
        let login = (!login.is_empty()).then(|| ("me".to_owned(), "s@cret".to_owned()));
        let asked = Asked { host, port, login };
        assert_eq!(socks.asked(), vec![asked; 2], "{scheme}");
        // The proxy is not used for an excluded host.
        setup.options.proxies.no_proxy = Some(format!("x,127.1:{port}"));
        setup.fetch().unwrap();
        fs::remove_dir_all(&setup.options.cache).unwrap();
        assert_eq!(socks.asked().len(), 2, "{scheme}");
        setup.options.proxies.no_proxy = None;
    }
}

#[test]
fn a_socks_proxy_carries_tls() {
    let mut setup = setup();
    let front = tls::front(setup.server.url());
    let socks = Socks::start(&front.url.replace("https://localhost", "127.0.0.1"));
    let file = setup.folder.path().join("authority.pem");
    fs::write(&file, &front.authority).unwrap();
    setup.options.proxies.authorities = vec![file];
    setup.options.proxies.https_proxy = Some(format!("socks5h://{}", socks.address));
    setup.options.endpoint = "https://hub.invalid".to_owned();
    assert_eq!(fs::read(setup.fetch().unwrap()).unwrap(), weights());
    let asked = Asked {
        host: Host::Name("hub.invalid".to_owned()),
        port: 443,
        login: None,
    };
    assert_eq!(socks.asked(), vec![asked; 2]);
}
