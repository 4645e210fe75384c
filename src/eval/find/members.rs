//! The members of a tar archive, one after another.
//!
//! A header may claim anything, and a compressed archive may expand a thousandfold: no more than
//! the bounds below is kept of a member, and errors state the entry and its offset.

use std::fmt;
use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

/// Bytes that tar pads its members to.
pub(super) const BLOCK: u64 = 512;

/// The longest path of a member or link target.
const LONGEST_PATH: u64 = 1 << 16;

/// The longest pax header, which may hold more than paths: comments, extended attributes.
const LONGEST_PAX: u64 = 1 << 20;

/// Zero bytes in a row, as at the end of an archive; an input with more of them (`/dev/zero`) is
/// not an archive.
const MOST_ZEROS: u64 = 1 << 28;

/// A member, as described by its header and the extended headers before it.
pub(super) struct Member {
    pub place: Place,
    pub path: Vec<u8>,
    /// The target of a link.
    pub link: Option<Vec<u8>>,
    pub kind: EntryType,
    /// Where its contents begin, in bytes from the beginning of the archive.
    pub start: u64,
    /// Bytes of its contents.
    pub size: u64,
}

/// The position of a header.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// From 1, counting extended headers too.
    number: usize,
    /// In bytes from the beginning of the archive.
    offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} (at byte {})", self.number, self.offset)
    }
}

/// Reads the headers of an archive; as a reader, the contents of the latest member.
///
/// Concatenated archives are read as one; other data after an archive is an error.
pub(super) struct Members<R> {
    reader: R,
    skip: fn(&mut R, u64) -> io::Result<()>,
    /// Bytes read or skipped.
    pub position: u64,
    /// Where the next header is expected.
    next: u64,
    /// Where the last member ends.
    pub end: u64,
    number: usize,
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(bytes)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Read> Members<R> {
    /// `skip` skips bytes of the reader.
    pub(super) fn new(reader: R, skip: fn(&mut R, u64) -> io::Result<()>) -> Self {
        Self {
            reader,
            skip,
            position: 0,
            next: 0,
            end: 0,
            number: 0,
        }
    }

    /// The next member; `None` at the end of the archive.
    ///
    /// # Errors
    /// What is wrong with the archive, and where.
    pub(super) fn next(&mut self) -> Result<Option<Member>, String> {
        let (mut path, mut link, mut pax) = (None, None, None);
        loop {
            let Some((place, header)) = self.header()? else {
                let described = path.is_some() || link.is_some() || pax.is_some();
                return match described {
                    true => Err("it ends before the member that its last entry describes".into()),
                    false => Ok(None),
                };
            };
            let wrong = |reason: String| format!("{place}: {reason}");
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|e| wrong(e.to_string()))?;
            // Before GNU and POSIX, these letters had no meaning.
            let extends = header.as_gnu().is_some() || header.as_ustar().is_some();
            let before = match kind {
                EntryType::GNULongName if extends => {
                    let bytes = self.whole(size, LONGEST_PATH, "path").map_err(wrong)?;
                    path.replace(until_zero(bytes)).is_some()
                }
                EntryType::GNULongLink if extends => {
                    let bytes = self.whole(size, LONGEST_PATH, "path").map_err(wrong)?;
                    link.replace(until_zero(bytes)).is_some()
                }
                EntryType::XHeader if extends => {
                    let bytes = self.whole(size, LONGEST_PAX, "pax header").map_err(wrong)?;
                    pax.replace(Pax::read(&bytes).map_err(wrong)?).is_some()
                }
                EntryType::XGlobalHeader if extends => {
                    let bytes = self.whole(size, LONGEST_PAX, "pax header").map_err(wrong)?;
                    if Pax::read(&bytes).map_err(wrong)? != Pax::default() {
                        let reason = "a global header names or measures all members that follow";
                        return Err(wrong(reason.into()));
                    }
                    false
                }
                _ => {
                    let pax = pax.unwrap_or_default();
                    let own = || header.path_bytes().into_owned();
                    let member = Member {
                        place,
                        path: path.or(pax.path).unwrap_or_else(own),
                        link: link
                            .or(pax.link)
                            .or_else(|| Some(header.link_name_bytes()?.into())),
                        kind: if pax.sparse {
                            EntryType::GNUSparse
                        } else {
                            kind
                        },
                        start: self.start(&header).map_err(wrong)?,
                        size: pax.size.unwrap_or(size),
                    };
                    self.pass_over(member.size).map_err(wrong)?;
                    self.end = self.next;
                    return Ok(Some(member));
                }
            };
            if before {
                return Err(wrong(
                    "it describes a member that is described already".into(),
                ));
            }
        }
    }

    /// The next header that is not all zeros, and its position.
    fn header(&mut self) -> Result<Option<(Place, Header)>, String> {
        let mut zeros = 0;
        loop {
            let place = Place {
                number: self.number + 1,
                offset: self.next,
            };
            let wrong = |reason: String| format!("{place}: {reason}");
            (self.skip)(&mut self.reader, self.next - self.position)
                .map_err(|e| wrong(e.to_string()))?;
            self.position = self.next;
            let mut header = Header::new_old();
            let bytes = header.as_mut_bytes();
            match self.fill(bytes).map_err(|e| wrong(e.to_string()))? {
                0 => return Ok(None),
                BLOCK => self.next += BLOCK,
                _ => return Err(wrong("it is cut off in a header".into())),
            }
            if bytes.iter().all(|&byte| byte == 0) {
                zeros += BLOCK;
                if zeros > MOST_ZEROS {
                    return Err(wrong(format!("{MOST_ZEROS} zeros stand before it")));
                }
                continue;
            }
            self.number += 1;
            let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
            let own: u32 = bytes[148..156].iter().map(|&byte| u32::from(byte)).sum();
            // The checksum is computed with spaces in its own field.
            let sum = sum - own + 8 * u32::from(b' ');
            let stated = header.cksum().map_err(|e| wrong(e.to_string()))?;
            if sum != stated {
                return Err(wrong(format!(
                    "its header has the checksum {sum}, expected {stated}"
                )));
            }
            return Ok(Some((place, header)));
        }
    }

    /// Reads until `bytes` is full or the input ends.
    pub(super) fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<u64> {
        let mut filled = 0;
        while !bytes.is_empty() {
            match self.read(bytes) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read as u64;
                    bytes = &mut bytes[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// The contents of an extended header.
    fn whole(&mut self, size: u64, most: u64, what: &str) -> Result<Vec<u8>, String> {
        if size > most {
            return Err(format!(
                "its {what} has {size} bytes, and at most {most} are read"
            ));
        }
        let mut bytes = vec![0; size as usize];
        if self.fill(&mut bytes).map_err(|error| error.to_string())? != size {
            return Err("it is cut off".into());
        }
        self.pass_over(size)?;
        Ok(bytes)
    }

    /// Where the contents after a header begin: the map of a sparse file may come first.
    fn start(&mut self, header: &Header) -> Result<u64, String> {
        let sparse = header
            .as_gnu()
            .filter(|_| header.entry_type().is_gnu_sparse());
        let mut more = sparse.is_some_and(tar::GnuHeader::is_extended);
        while more {
            let mut map = GnuExtSparseHeader::new();
            match self
                .fill(map.as_mut_bytes())
                .map_err(|error| error.to_string())?
            {
                BLOCK => self.next += BLOCK,
                _ => return Err("it is cut off in a map of holes".into()),
            }
            more = map.is_extended();
        }
        Ok(self.next)
    }

    /// Expects the next header after `size` bytes of contents.
    fn pass_over(&mut self, size: u64) -> Result<(), String> {
        let padded = size.checked_next_multiple_of(BLOCK);
        let next = padded.and_then(|padded| self.next.checked_add(padded));
        self.next = next.ok_or_else(|| format!("it has {size} bytes, more than any archive"))?;
        Ok(())
    }
}

/// What a pax header says about a member.
#[derive(Debug, Default, PartialEq)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    /// Whether it is a sparse file, of which only the data between holes is stored.
    sparse: bool,
}

impl Pax {
    fn read(mut records: &[u8]) -> Result<Self, String> {
        let mut pax = Self::default();
        let mut sparse_name = None;
        // Some writers fill the rest with zeros.
        while records.first().is_some_and(|&byte| byte != 0) {
            let (record, rest) = record(records).ok_or("its pax header is malformed")?;
            records = rest;
            let equals = record.iter().position(|&byte| byte == b'=');
            let (key, value) = record.split_at(equals.ok_or("its pax header is malformed")?);
            let value = &value[1..];
            match key {
                b"path" => pax.path = path(value)?,
                b"linkpath" => pax.link = path(value)?,
                b"size" => {
                    let size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|size| size.parse().ok());
                    pax.size = Some(size.ok_or("its pax header has a size that is no number")?);
                }
                b"GNU.sparse.name" => (sparse_name, pax.sparse) = (path(value)?, true),
                _ => pax.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        pax.path = sparse_name.or(pax.path);
        Ok(pax)
    }
}

/// The first record, `LENGTH KEY=VALUE\n` without its length and its end, and what follows.
fn record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = records.iter().position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    Some((record.get(blank + 1..)?.strip_suffix(b"\n")?, rest))
}

/// An empty value resets an earlier one.
fn path(value: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let length = value.len() as u64;
    if length > LONGEST_PATH {
        return Err(format!(
            "its path has {length} bytes, and at most {LONGEST_PATH} are read"
        ));
    }
    if value.contains(&0) {
        return Err("its path has a zero byte in it".into());
    }
    Ok((length > 0).then(|| value.to_vec()))
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(
        bytes
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(bytes.len()),
    );
    bytes
}
