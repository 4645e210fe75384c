//! Files that authors publish outside the hub, such as the assets of a GitHub release.
//!
//! They lie in `release/` of the program's own cache. The name of such a file has the first digits
//! of its SHA-256 (`senet154-c7b49a05.pth`); see [`release_digits`].

use std::path::{Path, PathBuf};

use super::address::without_password;
use super::cache::LOCKS;
use super::file_lock::FileLock;
use super::files::check_place;
use super::http::Client;
use super::location::Location;
use super::partial::Partial;
use super::remote::Present;
use super::transfer::{self, Expected};
use super::{HubError, HubOptions, Progress};
use crate::digest::Digest;
use crate::weights::release_digits;

/// Folder of the release files in the program's own cache.
pub(super) const FOLDER: &str = "release";

/// The file if it is on this machine.
pub(super) fn cached(url: &str, options: &HubOptions) -> Option<PathBuf> {
    let (name, _) = release_name(url)?;
    Some(path(name, options)).filter(|path| path.is_file())
}

/// The file, downloaded if it is not on this machine or does not count.
pub(super) fn fetch(
    url: &str,
    present: Present,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    let (name, digits) = release_name(url).ok_or_else(|| HubError::BadName {
        what: "the release file",
        value: url.to_owned(),
        expected: "an address whose file name has a `-`, 8 or more digits of the SHA-256, and an extension",
    })?;
    let path = path(name, options);
    let location = Location::Release {
        url: without_password(url),
    };
    let locked = match &options.locked {
        Some(lock) => {
            let entry = lock.find_release(url);
            Some((lock, entry.ok_or_else(|| lock.refuse(&location))?))
        }
        None => None,
    };
    let is_here = || present == Present::Counts && path.is_file();
    if !is_here() {
        let promise = Digest::Sha256(digits.to_owned());
        bring(&path, is_here, url, promise, location, options, progress)?;
    }
    if let Some((lock, entry)) = locked {
        lock.check(&path, &[entry])?;
    }
    Ok(path)
}

/// Length of the file, as its server says.
pub(super) fn size(url: &str, options: &HubOptions) -> Result<Option<u64>, HubError> {
    let location = Location::Release {
        url: without_password(url),
    };
    if options.offline {
        return Err(HubError::Offline {
            location: Box::new(location),
            cache: options.own_cache.clone(),
        });
    }
    Client::new(url, None, &location, options)?.length()
}

/// Downloads the file, unless another process has done so in the meantime.
fn bring(
    path: &Path,
    is_here: impl Fn() -> bool,
    url: &str,
    promise: Digest,
    location: Location,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<(), HubError> {
    if options.offline {
        return Err(HubError::Offline {
            location: Box::new(location),
            cache: options.own_cache.clone(),
        });
    }
    let client = Client::new(url, None, &location, options)?;
    let expected = Expected {
        digests: vec![promise],
        ..Expected::default()
    };
    let name = location.file_name();
    let lock = FileLock::acquire(&lock_path(name, options), || progress.wait(name))?;
    if is_here() {
        return Ok(());
    }
    check_place(&options.own_cache, path, |_| false)?;
    let mut partial = Partial::open(path, &lock)?;
    match transfer::complete(
        &client,
        &expected,
        &mut partial,
        &options.patience,
        progress,
    ) {
        Ok(_) => partial.finish(path),
        Err(error) => {
            if let HubError::Checksum { .. } = error {
                partial.discard();
            }
            Err(error)
        }
    }
}

pub(super) fn lock_path(name: &str, options: &HubOptions) -> PathBuf {
    options.own_cache.join(LOCKS).join(format!("{name}.lock"))
}

fn path(name: &str, options: &HubOptions) -> PathBuf {
    options.own_cache.join(FOLDER).join(name)
}

/// The file name of a release's address and the digits of the SHA-256 in it, or `None` if it cannot
/// be one: the name becomes that of a file in the cache.
pub(crate) fn release_name(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let (_, name) = rest.rsplit_once('/')?;
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    Some((name, release_digits(name)?)).filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_from_the_name() {
        let url = "https://example.org/v0.1-cadene/se_resnet50-ce0d4300.pth";
        let name = "se_resnet50-ce0d4300.pth";
        assert_eq!(release_name(url), Some((name, "ce0d4300")));
        let url = "https://example.org/net-v1.5-ce0d4300.pth.tar";
        let name = "net-v1.5-ce0d4300.pth.tar";
        assert_eq!(release_name(url), Some((name, "ce0d4300")));
        for bad in [
            "https://example.org/se_resnet50.pth",
            "https://example.org/se_resnet50-final.pth",
            "https://example.org/x-ce0d4300.pth?raw=1",
            "https://x-ce0d4300.pth",
            "x-ce0d4300.pth",
        ] {
            assert_eq!(release_name(bad), None, "{bad}");
        }
    }
}
