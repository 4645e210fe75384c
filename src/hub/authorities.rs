//! Whose certificates are trusted: the authorities that variables name, else the system's, else the
//! built-in ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use super::HubError;
use crate::bounded;

/// The paths that the variables of OpenSSL, requests and curl name; both variables of OpenSSL count.
pub(super) fn named(path: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let folders = path("SSL_CERT_DIR");
    let folders = folders.iter().flat_map(std::env::split_paths);
    let mut named: Vec<PathBuf> = path("SSL_CERT_FILE").into_iter().chain(folders).collect();
    named.retain(|path| !path.as_os_str().is_empty());
    if named.is_empty() {
        let others = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
        named.extend(others.into_iter().find_map(path));
    }
    named
}

/// The system's own way to check a certificate, or the built-in authorities where it has none, as in
/// a container without the package `ca-certificates`.
pub(super) fn of_system() -> RootCerts {
    static HAS_STORE: OnceLock<bool> = OnceLock::new();
    let has_store = *HAS_STORE.get_or_init(|| {
        rustls_platform_verifier::Verifier::new(Arc::new(ring::default_provider())).is_ok()
    });
    if has_store {
        RootCerts::PlatformVerifier
    } else {
        RootCerts::WebPki
    }
}

/// The certificates in files and folders.
///
/// # Errors
/// [`HubError::Authorities`].
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Certificate<'static>>, HubError> {
    let mut all = Vec::new();
    for path in paths {
        let problem = |error: io::Error| bad(path, error.to_string());
        let found = if path.is_dir() {
            let mut found = Vec::new();
            for entry in fs::read_dir(path).map_err(problem)? {
                let file = entry.map_err(problem)?.path();
                // A folder of authorities may hold keys, lists of revoked certificates and notes.
                if file.is_file() {
                    found.extend(read_file(&file).map_err(problem)?.0);
                }
            }
            found
        } else {
            let (found, damaged) = read_file(path).map_err(problem)?;
            if let Some(error) = damaged {
                return Err(bad(
                    path,
                    format!("expected certificates in PEM form, found a damaged one: {error}"),
                ));
            }
            found
        };
        check(&found).map_err(|problem| bad(path, problem))?;
        all.extend(found);
    }
    Ok(all)
}

fn bad(path: &Path, problem: String) -> HubError {
    HubError::Authorities {
        path: path.to_owned(),
        problem,
    }
}

/// The certificates of a file, as far as they can be read.
fn read_file(path: &Path) -> io::Result<(Vec<Certificate<'static>>, Option<ureq::Error>)> {
    let bytes = bounded::read(path, bounded::SMALL)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Ok((found, Some(error))),
        }
    }
    Ok((found, None))
}

/// ureq skips certificates that it cannot read, because system bundles contain outdated ones; with none
/// left it would trust nobody and not say why.
fn check(found: &[Certificate<'static>]) -> Result<(), String> {
    let contents = found.iter().map(|found| CertificateDer::from(found.der()));
    match RootCertStore::empty().add_parsable_certificates(contents) {
        (0, 0) => Err("expected certificates in PEM form, found none".to_owned()),
        (0, damaged) => Err(format!(
            "expected certificates, found {damaged} that cannot be read"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_named_by_the_variables_of_others() {
        for (variables, expected) in [
            (vec![], vec![]),
            (vec![("CURL_CA_BUNDLE", "c")], vec!["c"]),
            (
                vec![("CURL_CA_BUNDLE", "c"), ("REQUESTS_CA_BUNDLE", "r")],
                vec!["r"],
            ),
            (
                vec![("REQUESTS_CA_BUNDLE", "r"), ("SSL_CERT_FILE", "s")],
                vec!["s"],
            ),
            (
                vec![("REQUESTS_CA_BUNDLE", "r"), ("SSL_CERT_DIR", "d")],
                vec!["d"],
            ),
            (
                vec![("SSL_CERT_DIR", "d"), ("SSL_CERT_FILE", "s")],
                vec!["s", "d"],
            ),
            #[cfg(unix)]
            (vec![("SSL_CERT_DIR", "d:/e:")], vec!["d", "/e"]),
        ] {
            let path = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| PathBuf::from(value))
            };
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(named(path), expected, "{variables:?}");
        }
    }
}
