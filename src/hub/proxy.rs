//! The way to a server: through which proxy a request goes, and whose certificates are trusted.

use std::fmt;
use std::path::PathBuf;

use ureq::Proxy;
use ureq::tls::{RootCerts, TlsConfig};

use super::HubError;
use super::address::{host_of, is_loopback};
use super::authorities;
use super::no_proxy::is_excepted;

/// How servers are reached. The default trusts the authorities that the system trusts and uses no proxy.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// Files and folders with the certificates, in PEM form, of the authorities that are trusted in
    /// place of the system's. Where the system has none, those of Mozilla are built in.
    pub authorities: Vec<PathBuf>,
    /// Proxy for `http://` addresses: `http://`, `https://`, `socks4://`, `socks5://` (host names are
    /// resolved here), `socks4a://` and `socks5h://` (they are resolved by the proxy).
    pub http_proxy: Option<String>,
    /// Proxy for `https://` addresses.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without a proxy, with commas or blanks between them. `example.org` and
    /// `.example.org` also mean the hosts below it, `example.org:8080` that port alone, `10.0.0.0/8` a
    /// range of addresses, and `*` all.
    pub no_proxy: Option<String>,
}

/// Hides users and passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("authorities", &self.authorities)
            .field("http_proxy", &self.http_proxy.as_deref().map(host_of))
            .field("https_proxy", &self.https_proxy.as_deref().map(host_of))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

impl Proxies {
    /// The variables of curl and Python. A lower-case name takes precedence over the same one in
    /// capitals, and the variable of a scheme over `ALL_PROXY`.
    pub(super) fn from_lookup(
        text: impl Fn(&str) -> Option<String>,
        path: impl Fn(&str) -> Option<PathBuf>,
    ) -> Self {
        let proxy = |names: [&str; 4]| names.into_iter().find_map(&text);
        Self {
            authorities: authorities::named(path),
            http_proxy: proxy(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https_proxy: proxy(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            no_proxy: text("no_proxy").or_else(|| text("NO_PROXY")),
        }
    }

    /// # Errors
    /// [`HubError::Authorities`].
    pub(super) fn tls(&self) -> Result<TlsConfig, HubError> {
        let roots = if self.authorities.is_empty() {
            authorities::of_system()
        } else {
            RootCerts::from(authorities::read(&self.authorities)?)
        };
        Ok(TlsConfig::builder().root_certs(roots).build())
    }

    /// The proxy for an address.
    ///
    /// # Errors
    /// [`HubError::BadName`] for one that is not an address.
    pub(super) fn proxy(&self, url: &str) -> Result<Option<Proxy>, HubError> {
        let proxy = if url.starts_with("https://") {
            &self.https_proxy
        } else {
            &self.http_proxy
        };
        // A proxy cannot reach a server on this machine.
        let is_direct = is_loopback(url)
            || self
                .no_proxy
                .as_deref()
                .is_some_and(|hosts| is_excepted(hosts, url));
        let Some(proxy) = proxy.as_deref().filter(|_| !is_direct) else {
            return Ok(None);
        };
        let bad = |_| HubError::BadName {
            what: "the proxy",
            value: host_of(proxy).to_owned(),
            expected: "an address such as http://host:port",
        };
        Proxy::new(proxy).map(Some).map_err(bad)
    }
}

#[cfg(test)]
mod tests {
    use ureq::ProxyProtocol;

    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let text = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxies::from_lookup(text, |name| text(name).map(PathBuf::from))
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
            let proxies = proxies(&variables);
            for (url, expected) in [("http://x.example/y", http), ("https://x.example/y", https)] {
                let proxy = proxies.proxy(url).unwrap();
                let host = proxy.as_ref().map(Proxy::host);
                assert_eq!(host, expected, "{variables:?} {url}");
            }
            for url in ["http://127.0.0.1:80/y", "https://localhost/y"] {
                assert_eq!(proxies.proxy(url).unwrap(), None, "{variables:?} {url}");
            }
        }
    }

    #[test]
    fn an_excepted_host_has_no_proxy_and_others_keep_its_user() {
        let variables = [
            ("ALL_PROXY", "http://u%40:p@c:1"),
            ("NO_PROXY", "a.example"),
        ];
        let proxies = proxies(&variables);
        assert_eq!(proxies.proxy("https://b.a.example/x").unwrap(), None);
        let proxy = proxies.proxy("https://ba.example").unwrap().unwrap();
        assert_eq!(proxy.username(), Some("u@"));
        assert_eq!((proxy.password(), proxy.port()), (Some("p"), 1));
    }

    #[test]
    fn a_proxy_keeps_its_protocol() {
        for (address, protocol) in [
            ("c:1", ProxyProtocol::Http),
            ("https://c:1", ProxyProtocol::Https),
            ("socks5://c:1", ProxyProtocol::Socks5),
            ("socks5h://c:1", ProxyProtocol::Socks5h),
        ] {
            let proxies = proxies(&[("ALL_PROXY", address)]);
            let proxy = proxies.proxy("https://a.example").unwrap().unwrap();
            assert_eq!(proxy.protocol(), protocol);
            if protocol == ProxyProtocol::Https {
                assert_eq!(proxy.uri().scheme_str(), Some("https"));
            }
        }
    }

    #[test]
    fn an_invalid_proxy_is_refused_without_showing_its_password() {
        for proxy in [
            "gopher://me:secret@c:1",
            "me:secret@c d",
            "http://",
            "me:secret@",
        ] {
            let proxies = proxies(&[("ALL_PROXY", proxy)]);
            let error = proxies.proxy("https://a.example").unwrap_err();
            assert!(matches!(error, HubError::BadName { .. }), "{error:?}");
            let text = format!("{error} {error:?} {proxies:?}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
