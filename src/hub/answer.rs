//! What a hub's responses say in addition to the bytes of a file.

use std::time::SystemTime;

use ureq::Body;
use ureq::http::header::{CONTENT_ENCODING, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, Response};

use super::HubError;
use super::cache::{is_commit, is_etag};
use super::error::Denial;
use super::location::Location;

/// Longest part of a server's message that is worth showing.
const MAX_MESSAGE: usize = 200;

/// What a hub says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Commit that the revision stands for.
    pub(super) commit: String,
    /// Name of the contents in the cache: their SHA-256 for large files, their hash in git for small
    /// ones.
    pub(super) etag: String,
    /// Length of the contents in bytes.
    pub(super) size: Option<u64>,
    /// Etag in the server's spelling, if it promises these very bytes.
    pub(super) validator: Option<String>,
}

/// The hub's headers; `None` for an answer without a commit, which is not (yet) the hub's own, and for
/// one without an etag that is not the whole file, such as the redirect to a repository's new name.
/// `is_whole` says that the other headers are those of the whole file.
pub(super) fn read_metadata(
    headers: &HeaderMap,
    is_whole: bool,
) -> Result<Option<Metadata>, String> {
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
    if etag.is_empty() && !is_whole {
        return Ok(None);
    }
    if etag.is_empty() {
        return Err("it has no `ETag` header".to_owned());
    }
    // It becomes a file name.
    if !is_etag(etag) {
        return Err(format!("its etag `{etag}` cannot name a file"));
    }
    let length = || header(headers, "content-length").filter(|_| is_whole);
    let size = match linked_size(headers)? {
        None => length().map(read_size).transpose()?,
        size => size,
    };
    Ok(Some(Metadata {
        commit: commit.to_ascii_lowercase(),
        etag: etag.to_owned(),
        validator: match header(headers, "etag") {
            // A weak etag does not identify the bytes, and a redirect's is not the file's.
            Some(etag) if is_whole && etag.starts_with('"') => Some(etag.to_owned()),
            _ => None,
        },
        size,
    }))
}

/// Length of the file that the hub's answer links to.
///
/// # Errors
/// A length that is not a number.
pub(super) fn linked_size(headers: &HeaderMap) -> Result<Option<u64>, String> {
    header(headers, "x-linked-size").map(read_size).transpose()
}

fn read_size(size: &str) -> Result<u64, String> {
    size.parse()
        .map_err(|_| format!("its length `{size}` is not a number"))
}

/// Checks that the bytes come as they are stored: whole or in chunks, and not compressed.
///
/// # Errors
/// The header that says otherwise.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), String> {
    for (name, plain) in [
        (TRANSFER_ENCODING, "chunked"),
        (CONTENT_ENCODING, "identity"),
    ] {
        for value in headers.get_all(&name) {
            if !value
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(plain.as_bytes())
            {
                let value = String::from_utf8_lossy(value.as_bytes());
                let value: String = value.chars().take(MAX_MESSAGE).collect();
                return Err(format!(
                    "it comes with `{name}: {value}`, expected `{plain}` or no such header"
                ));
            }
        }
    }
    Ok(())
}

fn clean_etag(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// Turns a status other than success into an error. Only the hub itself speaks of repositories and
/// tokens; `home` is false for the file server that it redirects to.
pub(super) fn refusal(
    response: &Response<Body>,
    home: bool,
    token: bool,
    location: &Location,
) -> HubError {
    let status = response.status().as_u16();
    let headers = response.headers();
    let code = header(headers, "x-error-code").unwrap_or("").to_owned();
    let message: String = header(headers, "x-error-message")
        .unwrap_or("")
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE)
        .collect();
    let retry_after =
        header(headers, "retry-after").and_then(|value| read_wait(value, SystemTime::now()));
    // The body is for browsers, and a server could let it drip for hours.
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
                retry_after,
            },
        };
    };
    let (endpoint, repo, revision) = (endpoint.clone(), repo.clone(), revision.clone());
    match (code.as_str(), status) {
        _ if !home => HubError::Status {
            location: boxed,
            status,
            message,
            retry_after,
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
            retry_after,
        },
    }
}

/// Seconds to wait according to a `Retry-After`, which gives a number or a date.
fn read_wait(value: &str, now: SystemTime) -> Option<u64> {
    value.parse().ok().or_else(|| {
        let time = httpdate::parse_http_date(value).ok()?;
        let wait = time.duration_since(now).unwrap_or_default();
        Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    })
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_says_when_to_come_back_in_seconds_or_as_a_date() {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let before = |millis| date - Duration::from_millis(millis);
        for (value, now, wait) in [
            ("120", date, Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", before(1500), Some(2)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", before(3000), Some(3)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", date, Some(0)),
            (
                "Sun, 06 Nov 1994 08:49:37 GMT",
                date + Duration::from_secs(9),
                Some(0),
            ),
            ("-1", date, None),
            ("soon", date, None),
        ] {
            assert_eq!(read_wait(value, now), wait, "{value}");
        }
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
            let problem = read_metadata(&headers, true).unwrap_err();
            assert_eq!(problem.contains("has no `ETag` header"), etag.is_empty());
        }
        headers.insert("etag", "W/\"abc-1\"".parse().unwrap());
        assert_eq!(
            read_metadata(&headers, true).unwrap().unwrap().etag,
            "abc-1"
        );
    }
}
