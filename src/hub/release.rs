//! Files that authors publish outside the hub, such as the assets of a GitHub release.
//!
//! They are kept in `release/` of the program's own cache. The name of such a file contains the first
//! digits of its SHA-256 (`senet154-c7b49a05.pth`); see [`release_digits`]. Where the address is that of a
//! zip archive, the file inside is kept, under its own name, which contains the first digits of its SHA-1. A
//! name without digits gets the first ones of the SHA-384 that a card has for the file.

use std::borrow::Cow;
use std::path::PathBuf;

use super::address::without_password;
use super::archive;
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
/// What the name of an archive adds to that of the file inside.
const ARCHIVE: &str = ".zip";
/// Digits of a SHA-384 that are put into the name of a file.
const NAME_DIGITS: usize = 16;

/// A file that authors publish outside the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release<'a> {
    /// Its address, or that of a zip archive around it.
    pub url: &'a str,
    /// SHA-1 of the file in 40 hexadecimal digits, where the address is that of an archive.
    pub sha1: Option<&'a str>,
    /// SHA-384 of the file in 96 hexadecimal digits, where its name has no digits.
    pub sha384: Option<&'a str>,
}

impl<'a> Release<'a> {
    /// Name of the file in the cache, or `None` if it cannot be that of one: it has digits of the hash that
    /// is expected.
    pub(crate) fn name(&self) -> Option<Cow<'a, str>> {
        if let Some(sha384) = self.sha384 {
            let (stem, ending) = file_name(self.url)?.rsplit_once('.')?;
            let digits = sha384.get(..NAME_DIGITS)?;
            let is_plain = !stem.is_empty() && ending != &ARCHIVE[1..];
            return is_plain.then(|| format!("{stem}-{digits}.{ending}").into());
        }
        let (name, digits) = release_name(self.url)?;
        let name = match self.sha1 {
            None => (!name.ends_with(ARCHIVE)).then_some(name),
            Some(sha1) => name
                .strip_suffix(ARCHIVE)
                .filter(|_| sha1.starts_with(digits)),
        };
        name.map(Cow::Borrowed)
    }

    /// What the contents of the file have to be.
    pub(crate) fn digest(&self) -> Option<Digest> {
        if let Some(sha384) = self.sha384 {
            return Some(Digest::Sha384(sha384.to_owned()));
        }
        let (_, digits) = release_name(self.url)?;
        Some(match self.sha1 {
            None => Digest::Sha256(digits.to_owned()),
            Some(sha1) => Digest::Sha1(sha1.to_owned()),
        })
    }
}

/// A release file, with its place in the cache.
pub(crate) struct ReleaseFile<'a> {
    options: &'a HubOptions,
    url: &'a str,
    digest: Digest,
    path: PathBuf,
    location: Location,
    /// The entry in the lockfile.
    locked: Option<&'a LockedFile>,
}

impl<'a> ReleaseFile<'a> {
    /// # Errors
    /// [`HubError::BadName`] for an address without digits of a SHA-256; [`HubError::NotLocked`] where
    /// there is a lockfile without this file.
    pub(crate) fn new(release: Release<'a>, options: &'a HubOptions) -> Result<Self, HubError> {
        let url = release.url;
        let (name, digest) = release
            .name()
            .zip(release.digest())
            .ok_or_else(|| HubError::BadName {
                what: "the release file",
                value: url.to_owned(),
                expected: match release.sha1 {
                    None => "an address whose file name has a `-`, 8 or more digits of the SHA-256, and an extension",
                    Some(_) => "an address whose file name has a `-`, 8 or more digits of the SHA-1, an extension, and `.zip`",
                },
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
            digest,
            path: options.own_cache.join(FOLDER).join(&*name),
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
        let name = self.location.file_name();
        let lock = self.path.file_name().unwrap_or_default();
        let lock = lock_path(&lock.to_string_lossy(), self.options);
        let lock = FileLock::acquire(&lock, || progress.wait(name))?;
        if is_here() {
            return Ok(());
        }
        check_place(&self.options.own_cache, &self.path, |_| false)?;
        let mut partial = Partial::open(&self.path, &lock)?;
        let result = self.receive(&client, &mut partial, progress);
        match result {
            Ok(()) if self.is_archive() => partial.discard(),
            Ok(()) => partial.finish(&self.path)?,
            Err(HubError::Checksum { .. } | HubError::Archive { .. }) => partial.discard(),
            Err(_) => {}
        }
        result
    }

    fn is_archive(&self) -> bool {
        matches!(self.digest, Digest::Sha1(_))
    }

    /// Completes `partial`, and unpacks the file if it is an archive.
    fn receive(
        &self,
        client: &Client<'_>,
        partial: &mut Partial,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let mut expected = Expected::default();
        if !self.is_archive() {
            expected.digests = vec![self.digest.clone()];
        }
        let mut resumed = partial.len() > 0;
        let patience = &self.options.patience;
        loop {
            transfer::complete(client, &expected, partial, patience, progress)?;
            if !self.is_archive() {
                return Ok(());
            }
            match archive::unpack(&self.location, partial.path(), &self.digest, &self.path) {
                // What an earlier attempt left may belong to another version, or was damaged in a crash.
                Err(HubError::Checksum { .. } | HubError::Archive { .. }) if resumed => {
                    resumed = false;
                    partial.restart()?;
                }
                result => return result,
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

/// The file name of a release's address and the digits of a hash in it, or `None` if it cannot
/// be one: the name becomes that of a file in the cache.
fn release_name(url: &str) -> Option<(&str, &str)> {
    let name = file_name(url)?;
    Some((name, release_digits(name)?))
}

/// The last part of an address, if a file can have that name.
fn file_name(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (_, name) = rest.rsplit_once('/')?;
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    plain.then_some(name)
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

    #[test]
    fn an_archive_holds_the_file_without_its_ending() {
        let sha1 = "8dace12e6aaac68d3c272f52b2513a5b40a4f959";
        let name = |url, sha1| {
            let sha384 = None;
            Release { url, sha1, sha384 }.name()
        };
        let url = "https://example.org/v0.0.486/seresnet10-1202-8dace12e.pth.zip";
        assert_eq!(
            name(url, Some(sha1)),
            Some("seresnet10-1202-8dace12e.pth".into())
        );
        assert_eq!(name(url, None), None);
        let plain = "https://example.org/seresnet10-1202-8dace12e.pth";
        assert_eq!(name(plain, Some(sha1)), None);
        let other = "https://example.org/seresnet10-1202-8dace12f.pth.zip";
        assert_eq!(name(other, Some(sha1)), None);
    }

    #[test]
    fn a_name_without_digits_gets_those_of_the_sha384() {
        let sha384 = "b5d3a92296b83cb5".repeat(6);
        fn release<'a>(url: &'a str, sha384: &'a str) -> Release<'a> {
            Release {
                url,
                sha1: None,
                sha384: Some(sha384),
            }
        }
        let name = "SE-BN-Inception-b5d3a92296b83cb5.caffemodel";
        let found = release("https://example.org/a/SE-BN-Inception.caffemodel", &sha384);
        assert_eq!(found.name(), Some(name.into()));
        assert_eq!(found.digest(), Some(Digest::Sha384(sha384.clone())));
        for bad in ["net", "net.zip", ".caffemodel", "net.pth?raw=1", "a/"] {
            let url = format!("https://example.org/{bad}");
            assert_eq!(release(&url, &sha384).name(), None, "{bad}");
        }
    }
}
