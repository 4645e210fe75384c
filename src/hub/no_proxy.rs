//! Hosts that are reached without a proxy: the list `NO_PROXY`, as curl reads it, and with ports.
//!
//! | entry | hosts |
//! |---|---|
//! | `example.org`, `.example.org`, `*.example.org` | `example.org` and the hosts below it |
//! | `10.1.2.3`, `fd00::1`, `[fd00::1]` | that address |
//! | `10.0.0.0/8`, `fd00::/8` | the addresses in that range; a name is not resolved for it |
//! | `10.1.2.*` | the addresses that begin so |
//! | any of the first three with `:8080` | that port of them |
//! | `*` | all |

use std::net::IpAddr;

use ipnet::IpNet;
use ureq::http::Uri;

/// Whether an entry of `hosts` means the server at `url`.
pub(super) fn is_excepted(hosts: &str, url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host() else {
        return false;
    };
    let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("http") => 80,
        _ => 443,
    });
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    hosts
        .split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty())
        .any(|entry| means(&entry.to_ascii_lowercase(), &host, port))
}

fn means(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let entry = match split_port(entry) {
        Some((_, only)) if only != port => return false,
        Some((entry, _)) => entry,
        None => entry,
    };
    if let Some(address) = address(host) {
        return is_address(entry, address);
    }
    let entry = entry.strip_prefix('*').unwrap_or(entry);
    let entry = entry.strip_prefix('.').unwrap_or(entry);
    let entry = entry.trim_end_matches('.');
    let below = host.strip_suffix(entry);
    !entry.is_empty() && below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_address(entry: &str, address: IpAddr) -> bool {
    if let Some(begin) = entry.strip_suffix('*') {
        return begin.ends_with('.') && address.to_string().starts_with(begin);
    }
    match entry.parse::<IpNet>() {
        Ok(range) => range.contains(&address),
        Err(_) => self::address(entry) == Some(address),
    }
}

/// Parses a host as an IP address, with or without brackets.
fn address(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// `example.org:80` and `[fd00::1]:80`, but not `fd00::80`.
fn split_port(entry: &str) -> Option<(&str, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let is_whole = !host.contains(':') || host.ends_with(']');
    Some((host, port.parse().ok()?)).filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_excepted_in_every_spelling() {
        for (hosts, url, excepted) in [
            ("", "https://a.example", false),
            (" , ,", "https://a.example", false),
            ("a.example", "https://a.example:8080/x", true),
            ("a.example", "https://b.a.example", true),
            ("a.example", "https://ba.example", false),
            ("a.example", "https://a.example.org", false),
            (".a.example", "https://a.example", true),
            (".a.example", "https://b.a.example", true),
            (".a.example", "https://ba.example", false),
            ("*.a.example", "https://b.a.example", true),
            ("x, A.example ,y", "https://a.EXAMPLE", true),
            ("x a.example\ty", "https://a.example", true),
            ("a.example.", "https://a.example", true),
            ("a.example", "https://a.example.", true),
            (".", "https://a.example", false),
            ("*", "https://a.example", true),
            ("*", "http://[fd00::1]:8080", true),
            ("a.example:8080", "https://a.example:8080", true),
            ("a.example:8080", "https://b.a.example:8080", true),
            ("a.example:8080", "https://a.example", false),
            ("a.example:443", "https://a.example", true),
            ("a.example:443", "http://a.example", false),
            ("a.example:80", "http://a.example", true),
            ("a.example:x", "http://a.example", false),
            ("10.0.0.*", "https://10.0.0.7", true),
            ("10.0.0.*", "https://10.0.1.7", false),
            ("10.0.0.7", "https://10.0.0.7", true),
            ("0.0.7", "https://10.0.0.7", false),
            ("10.0.0.7:80", "https://10.0.0.7", false),
            ("10.0.0.7:80", "http://10.0.0.7", true),
            ("10.0.0.0/8", "https://10.200.3.4", true),
            ("10.1.2.3/8", "https://10.200.3.4", true),
            ("10.0.0.0/8", "https://11.0.0.1", false),
            ("10.0.0.0/8:443", "https://10.0.0.1", true),
            ("10.0.0.0/33", "https://10.0.0.1", false),
            ("10.0.0.0/", "https://10.0.0.0", false),
            ("0.0.0.0/0", "https://93.184.216.34", true),
            ("0.0.0.0/0", "https://a.example", false),
            ("192.168.1.0/25", "https://192.168.1.127", true),
            ("192.168.1.0/25", "https://192.168.1.128", false),
            ("fd00::1", "https://[fd00::1]/x", true),
            ("[fd00::1]", "https://[FD00::0:1]", true),
            ("fd00::2", "https://[fd00::1]", false),
            ("[fd00::1]:8443", "https://[fd00::1]:8443", true),
            ("[fd00::1]:8443", "https://[fd00::1]", false),
            ("fd00::/8", "https://[fdff::9]", true),
            ("fd00::/8", "https://[fe80::9]", false),
            ("fd00::/129", "https://[fd00::9]", false),
            ("::/0", "https://10.0.0.1", false),
        ] {
            assert_eq!(is_excepted(hosts, url), excepted, "{hosts} {url}");
        }
    }
}
