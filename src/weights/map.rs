//! The bytes of a file of tensors: mapped, embedded or owned.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

/// Bytes that stay where they are for as long as the value lives.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Tells the system that a range will hardly be read again, so that its pages do not stay in memory
    /// next to what was made from them. A later read gets them from the file again.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            release_pages(map, range);
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn release_pages(map: &Mmap, range: Range<usize>) {
    if range.start > range.end || range.end > map.len() {
        return;
    }
    // SAFETY: the range lies inside the map, which is a file's and was never written through, so a
    // page that is dropped comes back with the file's bytes at the next access.
    let advised =
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    // A system that ignores the advice keeps the pages, which only costs memory.
    drop(advised);
}

/// Maps the file at `path` for reading.
pub(crate) fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        let reason = "it is a pipe or a device, expected a regular file, which can be mapped";
        return Err(io::Error::other(reason));
    }
    if metadata.len() == 0 {
        // Not every system maps zero bytes.
        return Ok(Bytes::Static(&[]));
    }
    Ok(Bytes::Mapped(map_read_only(&file)?))
}

#[allow(unsafe_code)]
fn map_read_only(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and private to `Bytes`, which lends slices that borrow from it,
    // so nothing in this process writes through it or outlives it. The rest of the contract is that
    // no other process changes the file while it is mapped, which cannot be enforced here and is
    // passed on to the callers of `Weights::open` and `FeatureFile::open`. If one does, the values read may change (no
    // offset or length is ever taken from the map a second time), and if one truncates it, the
    // system ends this process with SIGBUS. Callers copy the tensors out while a model is loaded,
    // which keeps that time short.
    unsafe { Mmap::map(file) }
}
