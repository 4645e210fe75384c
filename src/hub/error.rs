//! What can go wrong while finding or downloading a file.

use std::io;
use std::path::{Path, PathBuf};

use rustls::CertificateError;

use super::location::Location;

/// Why a server refused a file to this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The repository's conditions have to be accepted first.
    Gated,
    /// No token was sent.
    NoToken,
    /// The token was not accepted, or its user may not read the repository.
    Token,
}

/// A file could not be found or downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// There is neither a home folder nor a variable that replaces it.
    #[error("no folder for downloaded weights: the home folder is unknown")]
    NoHome,

    /// The card names nothing to download from, or there is no card.
    #[error("no download address is known for this network's weights")]
    NoRemote,

    /// A model that is not a repository has no revisions.
    #[error("`{model}` is not in a repository of the hub, so it has no revision `{revision}`")]
    NoRepository {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
    },

    /// A lockfile that cannot be used.
    #[error("cannot use the lockfile {}: {problem}", path.display())]
    Lockfile {
        /// The lockfile.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The lockfile does not list the file.
    #[error("the lockfile {} does not list {what}", lock.display())]
    NotLocked {
        /// The file.
        what: String,
        /// The lockfile.
        lock: PathBuf,
    },

    /// The file's contents differ from those in the lockfile.
    #[error(
        "{} is not the file that the lockfile {} lists: expected {expected}, found {found}",
        path.display(),
        lock.display()
    )]
    NotAsLocked {
        /// The file on this machine.
        path: PathBuf,
        /// The lockfile.
        lock: PathBuf,
        /// Length and hash in the lockfile.
        expected: String,
        /// Those of the file; without the hash if the length already differs.
        found: String,
    },

    /// A name that cannot be part of an address or of a path in the cache.
    #[error("{what} `{value}` is not valid: expected {expected}")]
    BadName {
        /// What the name is for.
        what: &'static str,
        /// The name.
        value: String,
        /// What it should look like.
        expected: &'static str,
    },

    /// A token that no header can carry. It is not shown.
    #[error("the access token contains a line break, a space or another invalid character")]
    BadToken,

    /// The file or folder of trusted authorities cannot be used. No request was made.
    #[error("cannot use the certificates in {}: {problem}", path.display())]
    Authorities {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The hub has no such repository, or hides it from this user.
    #[error("no repository `{repo}` at {endpoint}")]
    RepoNotFound {
        /// Address of the hub.
        endpoint: String,
        /// The repository.
        repo: String,
    },

    /// The repository has no such branch, tag or commit.
    #[error("no revision `{revision}` in `{repo}` at {endpoint}")]
    RevisionNotFound {
        /// Address of the hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },

    /// The repository has no such file at that revision.
    #[error("no file {location}")]
    FileNotFound {
        /// The file.
        location: Box<Location>,
        /// Files that are there, where the hub says so.
        present: Vec<String>,
    },

    /// The server does not say whether the repository, the revision or the file is missing.
    #[error("not found: {location}")]
    NotFound {
        /// The file.
        location: Box<Location>,
    },

    /// The server wants a login (401) or forbids the file (403).
    #[error("no access to {location} (HTTP status {status})")]
    Denied {
        /// The file.
        location: Box<Location>,
        /// The HTTP status.
        status: u16,
        /// What is missing.
        reason: Denial,
    },

    /// Any other refusal.
    #[error("the server refused {location}: HTTP status {status}{}", said(message))]
    Status {
        /// The file.
        location: Box<Location>,
        /// The HTTP status.
        status: u16,
        /// The server's own words, or nothing.
        message: String,
        /// Seconds that the server asks to wait.
        retry_after: Option<u64>,
    },

    /// No answer: the name does not resolve, nothing listens there, or it takes too long.
    #[error("cannot reach the server of {location}")]
    Unreachable {
        /// The file.
        location: Box<Location>,
        /// The failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// An answer that a hub would not give, such as the login page of a network.
    #[error("unexpected answer for {location}: {problem}")]
    BadAnswer {
        /// The file.
        location: Box<Location>,
        /// What is wrong with it.
        problem: String,
    },

    /// The hub redirects every request to another address.
    #[error("the hub of {location} redirects to {endpoint}")]
    Moved {
        /// The file.
        location: Box<Location>,
        /// The other hub's address.
        endpoint: String,
    },

    /// The connection broke or stalled.
    #[error("the download of {location} was interrupted after {}", amount(*done, *total))]
    Interrupted {
        /// The file.
        location: Box<Location>,
        /// Bytes received.
        done: u64,
        /// Bytes expected, where the server said so.
        total: Option<u64>,
        /// The failure.
        source: io::Error,
    },

    /// The server sent a different number of bytes than it announced.
    #[error("wrong length of {location}: expected {expected} bytes, found {found}")]
    Length {
        /// The file.
        location: Box<Location>,
        /// Bytes announced.
        expected: u64,
        /// Bytes sent.
        found: u64,
    },

    /// The contents do not match the digest that the card, the hub or the file's name promises. Nothing
    /// was kept.
    #[error("wrong {kind} of {location}: expected {expected}, found {found}")]
    Checksum {
        /// The file.
        location: Box<Location>,
        /// `SHA-256` or `git SHA-1`.
        kind: &'static str,
        /// The digest, or its first digits, in hexadecimal.
        expected: String,
        /// The digest of what was received.
        found: String,
    },

    /// A release is not the archive that it should be. Nothing was kept.
    #[error("{location} is not a zip archive of the file `{member}`: {problem}")]
    Archive {
        /// The archive.
        location: Box<Location>,
        /// The file that should be in it.
        member: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The file is not in the cache and no request may be made.
    #[error("offline, {}", absent(location, cache))]
    Offline {
        /// The file.
        location: Box<Location>,
        /// The cache.
        cache: PathBuf,
    },

    /// The file is longer than the limit.
    #[error("{location} has more than {limit} bytes")]
    TooLarge {
        /// The file.
        location: Box<Location>,
        /// The limit in bytes.
        limit: u64,
    },

    /// Something that the cache did not create is where one of its files belongs. It is left as it is.
    #[error("cannot write {}: expected a file of the cache there, found {found}", path.display())]
    Foreign {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        found: String,
    },

    /// Another process is downloading what should be deleted.
    #[error("another process is downloading {}", path.display())]
    Busy {
        /// The partial file.
        path: PathBuf,
    },

    /// There is not enough disk space for the file plus the reserve. Nothing was downloaded.
    #[error(
        "not enough disk space in {}: {needed} bytes needed plus a reserve of {reserve}, {available} available",
        folder.display()
    )]
    NoSpace {
        /// The folder.
        folder: PathBuf,
        /// Bytes still to be downloaded.
        needed: u64,
        /// Bytes that a download leaves free for other programs.
        reserve: u64,
        /// Bytes that are free.
        available: u64,
    },

    /// The cache cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
}

impl HubError {
    /// Whether the server or the network failed to provide the file, so that another source may be tried.
    /// A wrong checksum does not count: the user must see it.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::RepoNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Status { .. }
            | Self::Unreachable { .. }
            | Self::BadAnswer { .. }
            | Self::Moved { .. }
            | Self::Interrupted { .. }
            | Self::Length { .. } => true,
            Self::NoHome
            | Self::NoRemote
            | Self::NoRepository { .. }
            | Self::Lockfile { .. }
            | Self::NotLocked { .. }
            | Self::NotAsLocked { .. }
            | Self::BadName { .. }
            | Self::BadToken
            | Self::Authorities { .. }
            | Self::Checksum { .. }
            | Self::Archive { .. }
            | Self::Offline { .. }
            | Self::TooLarge { .. }
            | Self::Foreign { .. }
            | Self::Busy { .. }
            | Self::NoSpace { .. }
            | Self::Disk { .. } => false,
        }
    }
}

/// Why the server's certificate was not accepted, if that is what failed.
pub(super) fn certificate_problem<'a>(
    error: &'a (dyn std::error::Error + Send + Sync + 'static),
) -> Option<&'a CertificateError> {
    let error = match error.downcast_ref()? {
        ureq::Error::Rustls(error) => error,
        // A failed handshake surfaces as an I/O error of the connection.
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref()?,
        _ => return None,
    };
    match error {
        rustls::Error::InvalidCertificate(problem) => Some(problem),
        _ => None,
    }
}

fn amount(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{done} of {total} bytes"),
        None => format!("{done} bytes"),
    }
}

/// No cache holds images.
fn absent(location: &Location, cache: &Path) -> String {
    match location {
        Location::Image { .. } => format!("so it cannot be fetched: {location}"),
        _ => format!(
            "and not in the cache: {location}; looked in {}",
            cache.display()
        ),
    }
}

fn said(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" ({message})")
    }
}
