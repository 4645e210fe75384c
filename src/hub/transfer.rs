//! One file over HTTP: the request, its redirects, the bytes.
//!
//! `hf-hub` has a client of its own, but it sends the token to the host that a file is redirected
//! to, appends to a partial file without looking whether the server kept the range, and does not
//! compare lengths. Here the token stays with the server it is meant for, and a file is whole or
//! it is not there.

use std::io::{Read, Write};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::header::{AUTHORIZATION, LOCATION, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::cache::{Part, disk, is_commit};
use super::error::{Denial, Location};
use super::{HubError, Progress};

/// As many as browsers and `huggingface_hub` allow, give or take.
const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence that counts as a slow server rather than a dead one.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest part of a server's message that is worth showing.
const MAX_MESSAGE: usize = 200;

/// What a hub says about a file beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Commit that the revision stands for.
    pub(super) commit: String,
    /// Name of the contents in the cache.
    pub(super) etag: String,
    /// SHA-256 of the contents; hubs give it for large files.
    pub(super) sha256: Option<String>,
    /// Length of the contents.
    size: Option<u64>,
}

/// A file whose bytes are about to come.
pub(super) struct Incoming {
    /// `None` where the server is not a hub.
    pub(super) metadata: Option<Metadata>,
    /// Length of the file, where the server says so.
    pub(super) total: Option<u64>,
    body: Body,
}

/// The settings of every request.
fn agent(url: &str) -> Agent {
    let config = Agent::config_builder()
        .user_agent(concat!("senet/", env!("CARGO_PKG_VERSION")))
        // The length and the digest are those of the bytes as they are stored.
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT))
        .timeout_per_write(Some(SILENCE_TIMEOUT));
    // A proxy has no way back to a server on this machine.
    if is_loopback(url) {
        config.proxy(None).build().into()
    } else {
        config.build().into()
    }
}

/// Asks for a file and follows redirects up to the answer that holds it.
///
/// # Errors
/// [`HubError`] for a failed request, any status but success, an HTML page in place of the file, and
/// an answer that does not say how many bytes will come.
pub(super) fn open(
    url: &str,
    token: Option<&str>,
    location: &Location,
) -> Result<Incoming, HubError> {
    let bad = |problem: &str| HubError::BadAnswer {
        location: Box::new(location.clone()),
        problem: problem.to_owned(),
    };
    let agent = agent(url);
    let mut metadata = None;
    let mut at = url.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let home = origin(&at) == origin(url);
        let mut request = agent.get(&at);
        if let Some(token) = token.filter(|_| home) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.call().map_err(|source| HubError::Unreachable {
            location: Box::new(location.clone()),
            source: Box::new(source),
        })?;
        let status = response.status();
        // A refusal has headers of its own kind; its status and text say more.
        let wanted = status.is_redirection() || status == StatusCode::OK;
        if wanted && home && metadata.is_none() {
            metadata = read_metadata(response.headers()).map_err(|problem| bad(&problem))?;
        }
        if status.is_redirection() {
            let target = header(response.headers(), LOCATION.as_str())
                .ok_or_else(|| bad("a redirect to nowhere"))?;
            at = resolve(&at, target);
            if url.starts_with("https://") && !at.starts_with("https://") {
                return Err(bad("a redirect from https to an insecure address"));
            }
            continue;
        }
        if status != StatusCode::OK {
            return Err(refusal(response, home, token.is_some(), location));
        }
        return accept(response, metadata, location);
    }
    Err(bad("too many redirects"))
}

fn accept(
    response: Response<Body>,
    metadata: Option<Metadata>,
    location: &Location,
) -> Result<Incoming, HubError> {
    let bad = |problem: &str| HubError::BadAnswer {
        location: Box::new(location.clone()),
        problem: problem.to_owned(),
    };
    let chunked = header(response.headers(), TRANSFER_ENCODING.as_str())
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let body = response.into_body();
    if body.mime_type() == Some("text/html") {
        return Err(bad("expected a file, found an HTML page"));
    }
    let announced = metadata.as_ref().and_then(|metadata| metadata.size);
    let total = match (announced, body.content_length()) {
        (Some(expected), Some(found)) if expected != found => {
            return Err(HubError::Length {
                location: Box::new(location.clone()),
                expected,
                found,
            });
        }
        (announced, length) => length.or(announced),
    };
    // Without either, the end of the file and a broken connection look the same.
    if total.is_none() && !chunked {
        return Err(bad("it does not say how long the file is"));
    }
    Ok(Incoming {
        metadata,
        total,
        body,
    })
}

impl Incoming {
    /// Writes all bytes to `part` and returns their SHA-256 in lower-case hexadecimal.
    ///
    /// # Errors
    /// [`HubError::Interrupted`], [`HubError::Length`], [`HubError::Disk`].
    pub(super) fn save(
        self,
        part: &mut Part,
        location: &Location,
        progress: &dyn Progress,
    ) -> Result<String, HubError> {
        let Self { total, body, .. } = self;
        let name = match location {
            Location::Hub { file, .. } => file,
            Location::Release { url } => url.rsplit('/').next().unwrap_or(url),
        };
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 128 * 1024];
        let mut hasher = Sha256::new();
        let mut done = 0;
        progress.advance(name, done, total);
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(HubError::Interrupted {
                        location: Box::new(location.clone()),
                        done,
                        total,
                        source,
                    });
                }
            };
            let bytes = &buffer[..count];
            hasher.update(bytes);
            if let Err(source) = part.write_all(bytes) {
                return Err(disk("write", part.path())(source));
            }
            done += count as u64;
            progress.advance(name, done, total);
        }
        match total {
            Some(expected) if expected != done => Err(HubError::Length {
                location: Box::new(location.clone()),
                expected,
                found: done,
            }),
            _ => Ok(hex(&hasher.finalize())),
        }
    }
}

/// The hub's headers; `None` for an answer without a commit, which is not (yet) the hub's own.
fn read_metadata(headers: &HeaderMap) -> Result<Option<Metadata>, String> {
    let Some(commit) = header(headers, "x-repo-commit") else {
        return Ok(None);
    };
    if !is_commit(commit) {
        return Err(format!(
            "its commit `{commit}` is not 40 hexadecimal digits"
        ));
    }
    let linked = header(headers, "x-linked-etag").map(clean_etag);
    let etag = linked
        .or_else(|| header(headers, "etag").map(clean_etag))
        .unwrap_or_default();
    // It becomes a file name.
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if etag.is_empty() || etag.starts_with('.') || etag.len() > 128 || !etag.bytes().all(safe) {
        return Err(format!("its etag `{etag}` cannot name a file"));
    }
    let size = match header(headers, "x-linked-size") {
        Some(size) => Some(
            size.parse()
                .map_err(|_| format!("its length `{size}` is not a number"))?,
        ),
        None => None,
    };
    Ok(Some(Metadata {
        commit: commit.to_ascii_lowercase(),
        etag: etag.to_owned(),
        sha256: linked
            .filter(|etag| is_sha256(etag))
            .map(str::to_ascii_lowercase),
        size,
    }))
}

fn clean_etag(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// Whether this is a whole SHA-256 in hexadecimal.
pub(super) fn is_sha256(digest: &str) -> bool {
    digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Turns a status other than success into an error. Only the hub itself speaks of repositories and
/// tokens; `home` is false for the file server that it redirects to.
fn refusal(mut response: Response<Body>, home: bool, token: bool, location: &Location) -> HubError {
    let status = response.status().as_u16();
    let headers = response.headers();
    let code = header(headers, "x-error-code").unwrap_or("").to_owned();
    let message: String = header(headers, "x-error-message")
        .unwrap_or("")
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE)
        .collect();
    // Leaves the connection in order; what it says is for browsers.
    drop(
        response
            .body_mut()
            .with_config()
            .limit(64 * 1024)
            .read_to_vec(),
    );
    let boxed = Box::new(location.clone());
    let Location::Hub {
        endpoint,
        repo,
        revision,
        ..
    } = location
    else {
        return match status {
            404 => HubError::NotFound { location: boxed },
            _ => HubError::Status {
                location: boxed,
                status,
                message,
            },
        };
    };
    let (endpoint, repo, revision) = (endpoint.clone(), repo.clone(), revision.clone());
    match (code.as_str(), status) {
        _ if !home => HubError::Status {
            location: boxed,
            status,
            message,
        },
        ("RepoNotFound", 404) => HubError::RepoNotFound { endpoint, repo },
        // Without a token the hub does not say whether a repository is private or missing.
        ("RepoNotFound", 401) if !token => HubError::RepoNotFound { endpoint, repo },
        ("RevisionNotFound", _) => HubError::RevisionNotFound {
            endpoint,
            repo,
            revision,
        },
        ("EntryNotFound", _) => HubError::FileNotFound {
            location: boxed,
            present: Vec::new(),
        },
        (_, 404) => HubError::NotFound { location: boxed },
        ("GatedRepo", 401 | 403) => HubError::Denied {
            location: boxed,
            status,
            reason: Denial::Gated,
        },
        (_, 401 | 403) => HubError::Denied {
            location: boxed,
            status,
            reason: if token {
                Denial::Token
            } else {
                Denial::NoToken
            },
        },
        _ => HubError::Status {
            location: boxed,
            status,
            message,
        },
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `scheme://host:port` of an address.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    &url[..end]
}

/// The address that a `Location` header means, seen from the address `base`.
fn resolve(base: &str, target: &str) -> String {
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

    #[test]
    fn etags_that_leave_the_cache_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-repo-commit",
            "0123456789abcdef0123456789abcdef01234567".parse().unwrap(),
        );
        for etag in ["", "\"../../x\"", "\"a/b\"", "\"..\""] {
            headers.insert("etag", etag.parse().unwrap());
            assert!(read_metadata(&headers).is_err(), "{etag}");
        }
        headers.insert("etag", "W/\"abc-1\"".parse().unwrap());
        assert_eq!(read_metadata(&headers).unwrap().unwrap().etag, "abc-1");
    }
}
