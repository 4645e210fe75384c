//! The members of a zip archive as `torch.save` writes it: stored, never compressed. And the one member of
//! an archive that carries a weights file, stored or deflated.
//!
//! PyTorch always adds a zip64 record, even to small archives, and reads it in place of the shorter
//! end record; the directory is where that record says, counted from the start of the file. A reader
//! that goes by the shorter record alone has to guess whether something was put in front of the
//! archive, and guesses wrong for some names.

use std::collections::BTreeMap;

use super::WeightsError;

/// How every zip archive with content begins.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// Most members of an archive. A checkpoint has one for each storage.
const MAX_MEMBERS: u64 = 1 << 17;
/// Longest comment after the end record.
const MAX_COMMENT: usize = u16::MAX as usize;

const END: (&[u8], usize) = (b"PK\x05\x06", 22);
const LOCATOR: (&[u8], usize) = (b"PK\x06\x07", 20);
const END64: (&[u8], usize) = (b"PK\x06\x06", 56);
const DIRECTORY_ENTRY: (&[u8], usize) = (b"PK\x01\x02", 46);
const LOCAL_HEADER: (&[u8], usize) = (MAGIC, 30);
/// Methods of compression.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// The extra field that holds what does not fit into 32 bits.
const ZIP64_FIELD: u16 = 1;

/// The content of one member: first byte, length.
pub(super) type Place = (u64, u64);

/// A zip archive's directory.
pub(super) struct Members<'a> {
    /// Where each member is, by its name in lower case, because PyTorch ignores case; `None` for one
    /// that is compressed or encrypted, which matters only if it is needed.
    places: BTreeMap<Vec<u8>, Option<Place>>,
    /// The folder of the first member, with its slash: PyTorch looks for everything in there.
    folder: &'a [u8],
}

impl<'a> Members<'a> {
    /// Reads the directory and checks that every member is inside the file.
    ///
    /// Data is taken from the file directly, so the archive's own checksums are not compared: PyTorch
    /// can be told to omit them.
    pub(super) fn read(file: &str, bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let damaged = |problem: String| WeightsError::Damaged {
            file: file.to_owned(),
            problem,
        };
        let Some((count, mut rest)) = directory(bytes) else {
            let problem = "the directory of the zip archive is missing; the file may be cut short";
            return Err(damaged(problem.to_owned()));
        };
        if count > MAX_MEMBERS {
            return Err(WeightsError::TooLarge {
                file: file.to_owned(),
                what: "the number of members of the zip archive".to_owned(),
                limit: MAX_MEMBERS,
            });
        }
        let mut members = Self {
            places: BTreeMap::new(),
            folder: &[],
        };
        for index in 0..count {
            let Some(entry) = Entry::read(&mut rest) else {
                let problem = format!("entry {index} of the zip archive's directory is damaged");
                return Err(damaged(problem));
            };
            if index == 0 {
                let slash = entry.name.iter().position(|&byte| byte == b'/');
                members.folder = slash.map_or(&[], |slash| &entry.name[..=slash]);
            }
            let place = entry.place(bytes).ok_or_else(|| {
                let name = String::from_utf8_lossy(entry.name);
                damaged(format!("member `{name}` is not inside the file"))
            })?;
            let name = entry.name.to_ascii_lowercase();
            if members.places.insert(name, place).is_some() {
                return Err(damaged(
                    "a member of the zip archive occurs twice".to_owned(),
                ));
            }
        }
        Ok(members)
    }

    /// Where the member `name` of the archive's folder is, or `None` if there is none.
    ///
    /// # Errors
    /// The member's whole name if it is compressed or encrypted.
    pub(super) fn place(&self, name: &str) -> Result<Option<Place>, String> {
        let name = [self.folder, name.as_bytes()].concat();
        match self.places.get(&name.to_ascii_lowercase()) {
            None => Ok(None),
            Some(Some(place)) => Ok(Some(*place)),
            Some(None) => Err(String::from_utf8_lossy(&name).into_owned()),
        }
    }

    /// Whether there is a member `name` in the archive's folder.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.place(name) != Ok(None)
    }
}

/// The content of an archive that was made to carry one file.
pub(crate) struct OnlyMember<'a> {
    /// Name of the file.
    pub(crate) name: &'a [u8],
    /// Its bytes, or the deflated ones.
    pub(crate) stored: &'a [u8],
    pub(crate) is_deflated: bool,
    /// Length of the file, as the archive says.
    pub(crate) length: u64,
}

impl<'a> OnlyMember<'a> {
    /// Finds the member of the archive in `bytes`.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub(crate) fn find(bytes: &'a [u8]) -> Result<Self, String> {
        let (count, mut rest) = directory(bytes)
            .ok_or("it is no zip archive, or is cut short: the directory is missing")?;
        if count != 1 {
            return Err(format!("expected one member, found {count}"));
        }
        let entry = Entry::read(&mut rest).ok_or("its directory is damaged")?;
        if entry.encrypted || !matches!(entry.method, STORED | DEFLATED) {
            return Err(
                "the member is encrypted or compressed by another method than deflate".into(),
            );
        }
        let stored = entry.stored_place(bytes).and_then(|(start, length)| {
            let [start, length] = [start, length].map(usize::try_from);
            bytes.get(start.ok()?..)?.get(..length.ok()?)
        });
        Ok(Self {
            name: entry.name,
            stored: stored.ok_or("the member is not inside the archive, which may be cut short")?,
            is_deflated: entry.method == DEFLATED,
            length: entry.length,
        })
    }
}

/// One entry of the directory.
struct Entry<'a> {
    name: &'a [u8],
    method: u16,
    encrypted: bool,
    stored_length: u64,
    length: u64,
    /// Where the member's own header is.
    header: u64,
}

impl<'a> Entry<'a> {
    /// The entry at the beginning of `rest`, which is moved past it.
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let fixed = record(rest, 0, DIRECTORY_ENTRY)?;
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(fixed, at)));
        let (name, tail) = rest.get(fixed.len()..)?.split_at_checked(name)?;
        let (extra, tail) = tail.split_at_checked(extra)?;
        *rest = tail.get(comment..)?;
        let mut entry = Self {
            name,
            method: u16_at(fixed, 10),
            encrypted: u16_at(fixed, 8) & 1 != 0,
            stored_length: u32_at(fixed, 20).into(),
            length: u32_at(fixed, 24).into(),
            header: u32_at(fixed, 42).into(),
        };
        // The field holds those values that do not fit, in this order.
        let large = [
            &mut entry.length,
            &mut entry.stored_length,
            &mut entry.header,
        ];
        let mut field = zip64_field(extra);
        for value in large {
            if *value == u64::from(u32::MAX)
                && let Some(values) = field.as_mut()
            {
                let (first, others) = values.split_first_chunk()?;
                *value = u64::from_le_bytes(*first);
                *values = others;
            }
        }
        Some(entry)
    }

    /// Where the content is, or `None` if it is not inside `archive`; `Some(None)` if it is compressed or
    /// encrypted.
    fn place(&self, archive: &[u8]) -> Option<Option<Place>> {
        if self.method != STORED || self.encrypted {
            return Some(None);
        }
        let place = self.stored_place(archive)?;
        (self.stored_length == self.length).then_some(Some(place))
    }

    /// Where the bytes are that stand for the content, or `None` if they are not inside `archive`.
    fn stored_place(&self, archive: &[u8]) -> Option<Place> {
        let header = record(archive, self.header, LOCAL_HEADER)?;
        // PyTorch aligns the data by an extra field that the directory does not mention.
        let [name, extra] = [26, 28].map(|at| u64::from(u16_at(header, at)));
        let start = self.header + LOCAL_HEADER.1 as u64 + name + extra;
        let end = start.checked_add(self.stored_length)?;
        (end <= archive.len() as u64).then_some((start, self.stored_length))
    }
}

/// The number of members and the bytes from the directory's beginning on.
fn directory(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = bytes.len().saturating_sub(END.1 + MAX_COMMENT);
    let last = bytes.len().checked_sub(END.1)?;
    let at = (first..=last)
        .rev()
        .find(|&at| bytes[at..].starts_with(END.0))?;
    let end = record(bytes, at as u64, END)?;
    let locator = at
        .checked_sub(LOCATOR.1)
        .and_then(|at| record(bytes, at as u64, LOCATOR));
    let (count, start) = match locator {
        Some(locator) => {
            let end64 = record(bytes, u64_at(locator, 8), END64)?;
            (u64_at(end64, 32), u64_at(end64, 48))
        }
        None => (u16_at(end, 10).into(), u32_at(end, 16).into()),
    };
    Some((count, bytes.get(usize::try_from(start).ok()?..)?))
}

/// The fixed part of the record at `at`, if its magic number is there.
fn record<'a>(bytes: &'a [u8], at: u64, (magic, length): (&[u8], usize)) -> Option<&'a [u8]> {
    let record = bytes.get(usize::try_from(at).ok()?..)?.get(..length)?;
    record.starts_with(magic).then_some(record)
}

/// The values of the zip64 field among an entry's extra fields.
fn zip64_field(mut extra: &[u8]) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let (kind, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let (field, rest) = extra[4..].split_at_checked(length)?;
        if kind == ZIP64_FIELD {
            return Some(field);
        }
        extra = rest;
    }
    None
}

// Little-endian values in records whose length was checked; outside of one they are 0.

fn bytes_at<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    let value = record.get(at..).and_then(<[u8]>::first_chunk);
    value.copied().unwrap_or([0; N])
}

fn u16_at(record: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(record, at))
}

fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(record, at))
}

fn u64_at(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(record, at))
}
