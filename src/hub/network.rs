//! The way to a server: whose certificates are trusted, and through which proxy a request goes.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::Proxy;
use ureq::tls::{Certificate, PemItem, TlsConfig, parse_pem};

use super::HubError;
use super::http::is_loopback;
use crate::bounded;

/// How servers are reached. The default trusts the authorities that are built in, and asks no proxy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// File with the certificates, in PEM form, of the authorities that are trusted in place of those
    /// that are built in.
    pub authorities: Option<PathBuf>,
    /// Proxy for `http://` addresses.
    pub http_proxy: Option<String>,
    /// Proxy for `https://` addresses.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without a proxy, with commas between them. `example.org` and
    /// `.example.org` also mean the hosts below it, and `*` all.
    pub no_proxy: Option<String>,
}

/// Shows no user and no password.
impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("authorities", &self.authorities)
            .field("http_proxy", &self.http_proxy.as_deref().map(host_of))
            .field("https_proxy", &self.https_proxy.as_deref().map(host_of))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

impl Network {
    /// The variables of curl and Python. A small name counts before the same one in capitals, and that
    /// of a scheme before that of all.
    pub(super) fn from_lookup(
        text: impl Fn(&str) -> Option<String>,
        path: impl Fn(&str) -> Option<PathBuf>,
    ) -> Self {
        let proxy = |names: [&str; 4]| names.into_iter().find_map(&text);
        Self {
            authorities: ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
                .into_iter()
                .find_map(path),
            http_proxy: proxy(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https_proxy: proxy(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            no_proxy: text("no_proxy").or_else(|| text("NO_PROXY")),
        }
    }

    /// # Errors
    /// [`HubError::Authorities`].
    pub(super) fn tls(&self) -> Result<TlsConfig, HubError> {
        let config = TlsConfig::builder();
        Ok(match &self.authorities {
            Some(file) => config.root_certs(read_authorities(file)?.into()),
            None => config,
        }
        .build())
    }

    /// The proxy for an address.
    ///
    /// # Errors
    /// [`HubError::BadName`] for one that is no address.
    pub(super) fn proxy(&self, url: &str) -> Result<Option<Proxy>, HubError> {
        let proxy = if url.starts_with("https://") {
            &self.https_proxy
        } else {
            &self.http_proxy
        };
        // A proxy has no way back to a server on this machine.
        let Some(proxy) = proxy.as_deref().filter(|_| !is_loopback(url)) else {
            return Ok(None);
        };
        let bad = |_| HubError::BadName {
            what: "the proxy",
            value: host_of(proxy).to_owned(),
            expected: "an address such as http://host:port",
        };
        let parsed = Proxy::new(proxy).map_err(bad)?;
        // Only a builder takes the hosts that are excepted.
        let mut builder = Proxy::builder(parsed.protocol())
            .host(parsed.host())
            .port(parsed.port());
        if let Some(user) = parsed.username() {
            builder = builder.username(user);
        }
        if let Some(password) = parsed.password() {
            builder = builder.password(password);
        }
        let hosts = self.no_proxy.iter().flat_map(|hosts| hosts.split(','));
        for host in hosts.map(str::trim).filter(|host| !host.is_empty()) {
            // To ureq each form means either the host or those below it.
            let bare = host.strip_prefix("*.").unwrap_or(host);
            let bare = bare.strip_prefix('.').unwrap_or(bare);
            builder = builder.no_proxy(bare).no_proxy(&format!(".{bare}"));
        }
        builder.build().map(Some).map_err(bad)
    }
}

/// A proxy's address without `scheme://user:password@`: what comes before a host may be a password even
/// where the rest is no address.
fn host_of(proxy: &str) -> &str {
    proxy.rsplit('@').next().unwrap_or(proxy)
}

fn read_authorities(file: &Path) -> Result<Vec<Certificate<'static>>, HubError> {
    let bad = |problem: String| HubError::Authorities {
        path: file.to_owned(),
        problem,
    };
    let bytes = bounded::read(file, bounded::SMALL).map_err(|error| bad(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => {
                return Err(bad(format!(
                    "expected certificates in PEM form, found a damaged one: {error}"
                )));
            }
        }
    }
    // ureq passes over what it cannot read, as the collections of systems have certificates of old
    // kinds among them; with none left it would trust nobody and not say why.
    let contents = found.iter().map(|found| CertificateDer::from(found.der()));
    match RootCertStore::empty().add_parsable_certificates(contents) {
        (0, 0) => Err(bad(
            "expected certificates in PEM form, found none".to_owned()
        )),
        (0, damaged) => Err(bad(format!(
            "expected certificates, found {damaged} that cannot be read"
        ))),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use ureq::ProxyProtocol;

    use super::*;

    fn network(variables: &[(&str, &str)]) -> Network {
        let text = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Network::from_lookup(text, |name| text(name).map(PathBuf::from))
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        for (variables, http, https) in [
            (vec![], None, None),
            (vec![("HTTP_PROXY", "a:1")], Some("a"), None),
            (vec![("HTTPS_PROXY", "b:1")], None, Some("b")),
            (
                vec![("HTTP_PROXY", "a:1"), ("HTTPS_PROXY", "b:1")],
                Some("a"),
                Some("b"),
            ),
            (vec![("ALL_PROXY", "c:1")], Some("c"), Some("c")),
            (
                vec![("all_proxy", "c:1"), ("HTTPS_PROXY", "b:1")],
                Some("c"),
                Some("b"),
            ),
            (
                vec![("https_proxy", "small:1"), ("HTTPS_PROXY", "b:1")],
                None,
                Some("small"),
            ),
        ] {
            let network = network(&variables);
            for (url, expected) in [("http://x.example/y", http), ("https://x.example/y", https)] {
                let proxy = network.proxy(url).unwrap();
                let host = proxy.as_ref().map(Proxy::host);
                assert_eq!(host, expected, "{variables:?} {url}");
            }
            for url in ["http://127.0.0.1:80/y", "https://localhost/y"] {
                assert_eq!(network.proxy(url).unwrap(), None, "{variables:?} {url}");
            }
        }
    }

    #[test]
    fn hosts_are_excepted_in_every_spelling() {
        for (hosts, url, excepted) in [
            ("", "https://a.example", false),
            ("a.example", "https://a.example:8080/x", true),
            ("a.example", "https://b.a.example", true),
            ("a.example", "https://ba.example", false),
            (".a.example", "https://a.example", true),
            ("*.a.example", "https://b.a.example", true),
            ("x, A.example ,y", "https://a.EXAMPLE", true),
            ("10.0.0.*", "https://10.0.0.7", true),
            ("*", "https://a.example", true),
        ] {
            let variables = [("ALL_PROXY", "http://u%40:p@c:1"), ("NO_PROXY", hosts)];
            let proxy = network(&variables).proxy(url).unwrap().unwrap();
            assert_eq!(
                proxy.is_no_proxy(&url.parse().unwrap()),
                excepted,
                "{hosts} {url}"
            );
            assert_eq!(proxy.username(), Some("u@"));
            assert_eq!((proxy.password(), proxy.port()), (Some("p"), 1));
        }
    }

    #[test]
    fn a_proxy_keeps_its_protocol() {
        for (address, protocol) in [
            ("c:1", ProxyProtocol::Http),
            ("https://c:1", ProxyProtocol::Https),
            ("socks5h://c:1", ProxyProtocol::Socks5h),
        ] {
            let network = network(&[("ALL_PROXY", address)]);
            let proxy = network.proxy("https://a.example").unwrap().unwrap();
            assert_eq!(proxy.protocol(), protocol);
            if protocol == ProxyProtocol::Https {
                assert_eq!(proxy.uri().scheme_str(), Some("https"));
            }
        }
    }

    #[test]
    fn a_proxy_that_is_no_address_is_refused_without_its_password() {
        for proxy in [
            "gopher://me:secret@c:1",
            "me:secret@c d",
            "http://",
            "me:secret@",
        ] {
            let network = network(&[("ALL_PROXY", proxy)]);
            let error = network.proxy("https://a.example").unwrap_err();
            assert!(matches!(error, HubError::BadName { .. }), "{error:?}");
            let text = format!("{error} {error:?} {network:?}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn authorities_are_named_by_the_variables_of_others() {
        for (variables, file) in [
            (vec![], None),
            (vec![("CURL_CA_BUNDLE", "c")], Some("c")),
            (
                vec![("CURL_CA_BUNDLE", "c"), ("REQUESTS_CA_BUNDLE", "r")],
                Some("r"),
            ),
            (
                vec![("REQUESTS_CA_BUNDLE", "r"), ("SSL_CERT_FILE", "s")],
                Some("s"),
            ),
        ] {
            let found = network(&variables).authorities;
            assert_eq!(found.as_deref(), file.map(Path::new), "{variables:?}");
        }
    }
}
