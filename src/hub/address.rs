//! Web addresses: their parts, what may be shown of them, and names that become part of one.

/// `scheme://host:port` of an address.
pub(super) fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    &url[..end]
}

/// The address that a `Location` header means, seen from the address `base`.
pub(super) fn resolve(base: &str, target: &str) -> String {
    if target.starts_with("http://") || target.starts_with("https://") {
        target.to_owned()
    } else if target.starts_with("//") {
        let scheme = base.split_once("//").map_or("https:", |(scheme, _)| scheme);
        format!("{scheme}{target}")
    } else if target.starts_with('/') {
        format!("{}{target}", origin(base))
    } else {
        let path = base.split(['?', '#']).next().unwrap_or(base);
        let folder = path.rfind('/').map_or(path, |at| &path[..at]);
        format!("{folder}/{target}")
    }
}

/// Whether an address is on this machine.
pub(super) fn is_loopback(url: &str) -> bool {
    let host = origin(url).split_once("://").map_or("", |(_, host)| host);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        host.strip_prefix(name)
            .is_some_and(|port| port.is_empty() || port.starts_with(':'))
    })
}

/// An address as it may be shown: without `user:password@`.
pub(super) fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// A proxy's address without `scheme://user:password@`: what comes before a host may be a password even
/// where the rest is not an address.
pub(super) fn host_of(proxy: &str) -> &str {
    proxy.rsplit('@').next().unwrap_or(proxy)
}

/// Whether a name is a relative path that stays inside its folder on every system.
pub(super) fn is_path(name: &str) -> bool {
    name.split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..")
        && !name.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
}

/// Characters of repositories and revisions that need no escaping in an address.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~' | b'+' | b'@' | b'=')
}

/// A file name as a part of an address.
pub(super) fn percent_encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if is_name_byte(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve_as_in_a_browser() {
        let base = "https://hub.example:8080/org/name/resolve/main/a.bin?download=true";
        for (target, expected) in [
            ("http://cdn.example/x", "http://cdn.example/x"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/new/name/a.bin", "https://hub.example:8080/new/name/a.bin"),
            (
                "b.bin",
                "https://hub.example:8080/org/name/resolve/main/b.bin",
            ),
        ] {
            assert_eq!(resolve(base, target), expected, "{target}");
        }
    }

    #[test]
    fn loopback_is_the_whole_host() {
        assert!(is_loopback("http://127.0.0.1:8080/x"));
        assert!(is_loopback("http://localhost"));
        assert!(!is_loopback("http://localhost.example/x"));
        assert!(!is_loopback("https://huggingface.co/127.0.0.1"));
    }
}
