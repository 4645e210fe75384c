//! Files that authors publish outside the hub, such as the assets of a GitHub release.
//!
//! They are kept in `release/` of the program's own cache. The name of such a file contains the first
//! digits of its SHA-256 (`senet154-c7b49a05.pth`); see [`release_digits`].

use std::path::PathBuf;

use super::address::without_password;
use super::cache::LOCKS;
use super::file_lock::FileLock;
use super::files::check_place;
use super::http::Client;
use super::location::Location;
use super::partial::Partial;
use super::remote::IfCached;
use super::transfer::{self, Expected};
use super::{HubError, HubOptions, LockedFile, Progress};
use crate::digest::Digest;
use crate::weights::release_digits;

/// Folder of the release files in the program's own cache.
pub(crate) const FOLDER: &str = "release";

/// A release file, with its place in the cache.
pub(crate) struct ReleaseFile<'a> {
    options: &'a HubOptions,
    url: &'a str,
    /// The first digits of its SHA-256.
    digits: &'a str,
    path: PathBuf,
    location: Location,
    /// The entry in the lockfile.
    locked: Option<&'a LockedFile>,
}

impl<'a> ReleaseFile<'a> {
    /// # Errors
    /// [`HubError::BadName`] for an address without digits of a SHA-256; [`HubError::NotLocked`] where
    /// there is a lockfile without this file.
    pub(crate) fn new(url: &'a str, options: &'a HubOptions) -> Result<Self, HubError> {
        let (name, digits) = release_name(url).ok_or_else(|| HubError::BadName {
            what: "the release file",
            value: url.to_owned(),
            expected: "an address whose file name has a `-`, 8 or more digits of the SHA-256, and an extension",
        })?;
        let location = Location::Release {
            url: without_password(url),
        };
        let locked = match &options.locked {
            Some(lock) => {
                let entry = lock.find_release(url);
                Some(entry.ok_or_else(|| lock.not_listed(&location))?)
            }
            None => None,
        };
        Ok(Self {
            options,
            url,
            digits,
            path: options.own_cache.join(FOLDER).join(name),
            location,
            locked,
        })
    }

    /// The file if it is in the cache. Makes no request.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        Some(self.path.clone()).filter(|path| path.is_file())
    }

    /// The file, downloaded if it is not in the cache.
    ///
    /// # Errors
    /// As [`super::ensure`].
    pub(crate) fn ensure(&self, progress: &dyn Progress) -> Result<PathBuf, HubError> {
        self.get(IfCached::Use, progress)
    }

    /// The file, downloaded whether it is in the cache or not.
    ///
    /// # Errors
    /// As [`super::replace`].
    pub(crate) fn replace(&self, progress: &dyn Progress) -> Result<PathBuf, HubError> {
        self.get(IfCached::Replace, progress)
    }

    /// Length in bytes, as the server reports it.
    ///
    /// # Errors
    /// As [`super::ensure`].
    pub(crate) fn size(&self) -> Result<Option<u64>, HubError> {
        self.client()?.length()
    }

    fn get(&self, cached: IfCached, progress: &dyn Progress) -> Result<PathBuf, HubError> {
        let is_here = || cached == IfCached::Use && self.path.is_file();
        if !is_here() {
            self.download(is_here, progress)?;
        }
        if let (Some(lock), Some(entry)) = (&self.options.locked, self.locked) {
            lock.check(&self.path, &[entry])?;
        }
        Ok(self.path.clone())
    }

    /// Downloads the file, unless another process has done so in the meantime.
    fn download(
        &self,
        is_here: impl Fn() -> bool,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let client = self.client()?;
        let expected = Expected {
            digests: vec![Digest::Sha256(self.digits.to_owned())],
            ..Expected::default()
        };
        let name = self.location.file_name();
        let lock = FileLock::acquire(&lock_path(name, self.options), || progress.wait(name))?;
        if is_here() {
            return Ok(());
        }
        check_place(&self.options.own_cache, &self.path, |_| false)?;
        let mut partial = Partial::open(&self.path, &lock)?;
        let patience = &self.options.patience;
        match transfer::complete(&client, &expected, &mut partial, patience, progress) {
            Ok(_) => partial.finish(&self.path),
            Err(error) => {
                if let HubError::Checksum { .. } = error {
                    partial.discard();
                }
                Err(error)
            }
        }
    }

    fn client(&self) -> Result<Client<'_>, HubError> {
        if self.options.offline {
            return Err(HubError::Offline {
                location: Box::new(self.location.clone()),
                cache: self.options.own_cache.clone(),
            });
        }
        Client::new(self.url, None, &self.location, self.options)
    }
}

pub(crate) fn lock_path(name: &str, options: &HubOptions) -> PathBuf {
    options.own_cache.join(LOCKS).join(format!("{name}.lock"))
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
