//! What the user can do about a [`HubError`].

use std::io;

use rustls::CertificateError;

use super::error::{Denial, HubError, certificate_problem};
use super::location::Location;
use super::lockfile::WRITE_LOCK;

const FREE_SPACE: &str = "free some space, or set HF_HUB_CACHE to another disk";

impl HubError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoHome => {
                "set HF_HOME and SENET_CACHE to folders for downloaded files".to_owned()
            }
            Self::Lockfile { .. } => "give a lockfile that was written by this version".to_owned(),
            Self::NotLocked { .. } => {
                "write a lockfile that lists the files in the cache".to_owned()
            }
            Self::NotAsLocked { .. } => "download the file again if it is damaged; if the change is intended, write the lockfile again"
                .to_owned(),
            Self::BadToken => "check HF_TOKEN, or the file HF_TOKEN_PATH, or `token` in HF_HOME: \
                 it must contain the token and nothing else"
                .to_owned(),
            Self::Authorities { .. } => "set SSL_CERT_FILE or SSL_CERT_DIR (they come before \
                 REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE) to a file or folder of certificates, or unset \
                 them to use those that the system trusts"
                .to_owned(),
            Self::RepoNotFound { endpoint, repo } => format!(
                "check the spelling at {endpoint}/{repo}; a private repository needs an access token in HF_TOKEN"
            ),
            Self::RevisionNotFound { endpoint, repo, .. } => {
                format!("branches and commits are listed at {endpoint}/{repo}/commits/main")
            }
            Self::FileNotFound { present, .. } if !present.is_empty() => {
                format!("the repository has: {}", present.join(", "))
            }
            Self::FileNotFound { location, .. } | Self::NotFound { location } => {
                format!("check the name at {}", location.page())
            }
            Self::Denied {
                location, reason, ..
            } => denied_hint(location, *reason),
            Self::Status {
                retry_after: Some(seconds),
                ..
            } => format!("the server asks clients to wait {seconds} s before trying again"),
            Self::Status { status, .. } if *status == 429 || *status >= 500 => {
                "the server is busy or broken: try again later".to_owned()
            }
            Self::Unreachable { source, .. }
                // A bad signature means another authority of the same name, such as a renewed one.
                if let Some(CertificateError::UnknownIssuer | CertificateError::BadSignature) =
                    certificate_problem(&**source) =>
            {
                "if your company's certificate authority signed that certificate, add the authority's \
                 own certificate to the system's store, or set SSL_CERT_FILE to a PEM file with it"
                    .to_owned()
            }
            Self::Unreachable { location, .. }
                if matches!(**location, Location::Image { .. }) =>
            {
                "check the address and the network (HTTPS_PROXY for a proxy)".to_owned()
            }
            Self::Unreachable { .. } => {
                "check the network (HTTPS_PROXY for a proxy, HF_ENDPOINT for a mirror of the hub); \
                 models that are built in or already downloaded need none"
                    .to_owned()
            }
            Self::BadAnswer { location, .. } => match **location {
                Location::Hub { .. } => {
                    "check HF_ENDPOINT, and whether this network requires a login in the browser first"
                }
                Location::Release { .. } | Location::Image { .. } => {
                    "check whether this network requires a login in the browser first"
                }
            }
            .to_owned(),
            Self::Moved { endpoint, .. } => format!(
                "if you trust that address, set HF_ENDPOINT to {endpoint}"
            ),
            Self::Interrupted { done, location, .. }
                if *done > 0 && !matches!(**location, Location::Image { .. }) =>
            {
                "try again: the download resumes from there".to_owned()
            }
            Self::Interrupted { .. } | Self::Length { .. } => {
                "try again".to_owned()
            }
            Self::Checksum { .. } | Self::Archive { .. } => {
                "nothing was kept: try again; if it happens again, \
                 the file has changed at its source and must not be used"
                    .to_owned()
            }
            Self::Offline { location, .. } if matches!(**location, Location::Image { .. }) => {
                "turn off offline mode (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE), or save the image"
                    .to_owned()
            }
            Self::Offline { .. } => "download it where there is a network, without HF_HUB_OFFLINE and \
                 TRANSFORMERS_OFFLINE"
                .to_owned(),
            Self::Foreign { .. } => {
                "it was left untouched: move it away, and try again".to_owned()
            }
            Self::Busy { .. } => "wait until it has finished, or end it".to_owned(),
            Self::NoSpace { .. } => FREE_SPACE.to_owned(),
            Self::Disk { action, source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => FREE_SPACE.to_owned(),
                // Another cache would not help to read or delete what is in this one.
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                    if !matches!(*action, "read" | "delete" | WRITE_LOCK) =>
                {
                    "set HF_HUB_CACHE (for release files, SENET_CACHE) to a folder that you can write to"
                        .to_owned()
                }
                _ => return None,
            },
            Self::NoRemote => "give weights of your own, or name a directory that holds them and \
                 config.json as the model"
                .to_owned(),
            Self::NoRepository { .. }
            | Self::BadName { .. }
            | Self::Status { .. }
            | Self::TooLarge { .. } => {
                return None;
            }
        })
    }
}

fn denied_hint(location: &Location, reason: Denial) -> String {
    let endpoint = match location {
        Location::Hub { endpoint, .. } => endpoint,
        Location::Release { url } | Location::Image { url } => url,
    };
    match reason {
        Denial::Gated => {
            format!(
                "log in and accept the conditions at {}, then set HF_TOKEN to your access token",
                location.page()
            )
        }
        Denial::NoToken => format!(
            "check the spelling at {}; if it is private, set HF_TOKEN to an access token from {endpoint}/settings/tokens",
            location.page()
        ),
        Denial::Token => format!(
            "the access token may have expired or may not read {}: see {endpoint}/settings/tokens",
            location.page()
        ),
    }
}
