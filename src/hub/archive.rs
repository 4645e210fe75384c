//! Releases that are a zip archive around one weights file: what is kept is the file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::HubError;
use super::files::{disk, temporary_path};
use super::location::Location;
use super::partial::check_space;
use super::transfer::check_digest;
use crate::digest::{Digest, copy_with_sha1};
use crate::weights::{OnlyMember, map};

/// How many times longer than its archive a file may be. Weights hardly compress: what grows more is made
/// to fill the disk.
const MOST_GROWTH: u64 = 16;

/// Unpacks the only member of `archive`, which must have the name of `target` and this SHA-1, to `target`.
/// Until it is whole and checked it has a temporary name.
///
/// # Errors
/// [`HubError::Archive`], [`HubError::Checksum`], [`HubError::NoSpace`], [`HubError::Disk`].
pub(super) fn unpack(
    location: &Location,
    archive: &Path,
    sha1: &Digest,
    target: &Path,
) -> Result<(), HubError> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let wrong = |problem: String| HubError::Archive {
        location: Box::new(location.clone()),
        member: name.clone().into_owned(),
        problem,
    };
    let bytes = map::map_file(archive).map_err(disk("read", archive))?;
    let member = OnlyMember::find(&bytes).map_err(wrong)?;
    if member.name != name.as_bytes() {
        let found = String::from_utf8_lossy(member.name);
        return Err(wrong(format!("its member is `{}`", found.escape_debug())));
    }
    if member.length > MOST_GROWTH.saturating_mul(bytes.len() as u64) {
        return Err(wrong(format!(
            "it would grow from {} to {} bytes",
            bytes.len(),
            member.length
        )));
    }
    check_space(archive, member.length)?;
    let temporary = temporary_path(target);
    let write = || {
        let mut file = File::create_new(&temporary).map_err(disk("create", &temporary))?;
        let mut content = Content::of(&member);
        let copied = copy_with_sha1(&mut content, &mut file);
        if let Some(error) = content.error {
            return Err(wrong(format!("its contents are damaged: {error}")));
        }
        let found = copied.map_err(disk("write", &temporary))?;
        if content.length != member.length {
            let (expected, found) = (member.length, content.length);
            return Err(wrong(format!(
                "expected {expected} bytes, found {found} or more"
            )));
        }
        check_digest(location, sha1, &found)?;
        file.sync_all().map_err(disk("write", &temporary))?;
        fs::rename(&temporary, target).map_err(disk("write", target))
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// The content of a member. It ends at the first byte beyond the length that the archive states; an error
/// is kept, so that it is not taken for one of the disk.
struct Content<'a> {
    reader: io::Take<Box<dyn Read + 'a>>,
    length: u64,
    error: Option<io::Error>,
}

impl<'a> Content<'a> {
    fn of(member: &OnlyMember<'a>) -> Self {
        let reader: Box<dyn Read + 'a> = if member.is_deflated {
            Box::new(DeflateDecoder::new(member.stored))
        } else {
            Box::new(member.stored)
        };
        Self {
            reader: reader.take(member.length.saturating_add(1)),
            length: 0,
            error: None,
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer) {
            Ok(count) => {
                self.length += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.error = Some(error);
                Ok(0)
            }
        }
    }
}
