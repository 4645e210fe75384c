//! The first directory of a TIFF structure, in a TIFF file or in EXIF data, as Pillow 13.0 reads it.

use std::collections::HashSet;
use std::ops::Range;

/// The type of a tag's value and its position.
pub(super) struct Value {
    kind: u64,
    pub(super) range: Range<usize>,
}

/// The tags and the positions of their values.
pub(super) struct Directory<'a> {
    data: &'a [u8],
    big_endian: bool,
    /// BigTIFF: 64-bit counts and offsets.
    wide: bool,
    start: u64,
}

impl<'a> Directory<'a> {
    pub(super) fn open(data: &'a [u8]) -> Option<Self> {
        const BIG_TIFF: u64 = 43;
        // Pillow also accepts the magic number in the wrong byte order.
        let big_endian = match data.get(..4)? {
            b"MM\0*" | b"MM*\0" | b"MM\0+" => true,
            b"II*\0" | b"II\0*" | b"II+\0" => false,
            _ => return None,
        };
        let mut directory = Self {
            data,
            big_endian,
            wide: false,
            start: 0,
        };
        directory.wide = directory.unsigned(&data[2..4]) == BIG_TIFF;
        let (at, length) = if directory.wide { (8, 8) } else { (4, 4) };
        directory.start = directory.unsigned(data.get(at..at + length)?);
        Some(directory)
    }

    fn unsigned(&self, bytes: &[u8]) -> u64 {
        let push = |number, &byte| number << 8 | u64::from(byte);
        match self.big_endian {
            true => bytes.iter().fold(0, push),
            false => bytes.iter().rev().fold(0, push),
        }
    }

    fn at(&self, start: u64, length: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        self.data.get(start..end)
    }

    /// The tags in the order of the file, and whether each repeats an earlier one. The list ends at the
    /// end of the file or at a value outside of it; tags without a value are skipped.
    fn entries(&self) -> impl Iterator<Item = (u64, Value, bool)> {
        let (count_length, inline) = if self.wide { (8, 8) } else { (2, 4) };
        let entry_length = 4 + 2 * inline;
        let count = self.at(self.start, count_length);
        let mut left = count.map_or(0, |count| self.unsigned(count));
        let mut at = self.start.saturating_add(count_length);
        let mut seen = HashSet::new();
        let mut total = 0u64;
        std::iter::from_fn(move || {
            loop {
                left = left.checked_sub(1)?;
                let entry = self.at(at, entry_length)?;
                let (tag, kind) = (self.unsigned(&entry[..2]), self.unsigned(&entry[2..4]));
                let (count, place) = entry[4..].split_at(inline as usize);
                let size = self.unsigned(count).saturating_mul(unit_length(kind));
                let mut start = at + 4 + inline;
                at += entry_length;
                if size == 0 {
                    continue;
                }
                let is_repeated = seen.contains(&tag);
                if size > inline && !is_repeated {
                    // All values together are at most as long as the file.
                    total = total.saturating_add(size);
                    if total > self.data.len() as u64 {
                        continue;
                    }
                    start = self.unsigned(place);
                    self.at(start, size)?;
                }
                seen.insert(tag);
                let range = start as usize..start.saturating_add(size) as usize;
                return Some((tag, Value { kind, range }, is_repeated));
            }
        })
    }

    /// The value of a tag; the first one if the tag is repeated.
    pub(super) fn find(&self, wanted: u16) -> Option<Value> {
        let mut entries = self.entries();
        let (_, value, _) = entries.find(|&(tag, ..)| tag == u64::from(wanted))?;
        Some(value)
    }

    /// The first tag that occurs twice.
    pub(super) fn repeated(&self) -> Option<u64> {
        let (tag, ..) = self.entries().find(|&(_, _, is_repeated)| is_repeated)?;
        Some(tag)
    }

    /// The first number of a value; `None` for text and bytes, which Pillow does not take as numbers.
    pub(super) fn number(&self, value: &Value) -> Option<f64> {
        self.numbers(value).next()
    }

    /// The numbers of a value.
    pub(super) fn numbers(&self, value: &Value) -> impl Iterator<Item = f64> {
        let bytes = self.data.get(value.range.clone()).unwrap_or_default();
        let unit = unit_length(value.kind).max(1) as usize;
        let kind = value.kind;
        bytes
            .chunks_exact(unit)
            .map_while(move |bytes| self.convert(kind, bytes))
    }

    fn convert(&self, kind: u64, value: &[u8]) -> Option<f64> {
        let unsigned = |range| Some(self.unsigned(value.get(range)?));
        let signed = |range| Some(unsigned(range)? as u32 as i32);
        Some(match kind {
            SHORT => unsigned(0..2)? as f64,
            LONG | IFD => unsigned(0..4)? as f64,
            LONG8 => unsigned(0..8)? as f64,
            SIGNED_BYTE => f64::from(unsigned(0..1)? as u8 as i8),
            SIGNED_SHORT => f64::from(unsigned(0..2)? as u16 as i16),
            SIGNED_LONG => f64::from(signed(0..4)?),
            RATIONAL => unsigned(0..4)? as f64 / unsigned(4..8)? as f64,
            SIGNED_RATIONAL => f64::from(signed(0..4)?) / f64::from(signed(4..8)?),
            FLOAT => f64::from(f32::from_bits(unsigned(0..4)? as u32)),
            DOUBLE => f64::from_bits(unsigned(0..8)?),
            _ => return None,
        })
    }
}

/// Types of a tag's values.
const SHORT: u64 = 3;
const LONG: u64 = 4;
const RATIONAL: u64 = 5;
const SIGNED_BYTE: u64 = 6;
const SIGNED_SHORT: u64 = 8;
const SIGNED_LONG: u64 = 9;
const SIGNED_RATIONAL: u64 = 10;
const FLOAT: u64 = 11;
const DOUBLE: u64 = 12;
const IFD: u64 = 13;
const LONG8: u64 = 16;

/// Bytes per value of a type; 0 for an unknown type, whose tags are skipped.
fn unit_length(kind: u64) -> u64 {
    const BYTE: u64 = 1;
    const ASCII: u64 = 2;
    const UNDEFINED: u64 = 7;
    match kind {
        BYTE | ASCII | SIGNED_BYTE | UNDEFINED => 1,
        SHORT | SIGNED_SHORT => 2,
        LONG | SIGNED_LONG | FLOAT | IFD => 4,
        RATIONAL | SIGNED_RATIONAL | DOUBLE | LONG8 => 8,
        _ => 0,
    }
}
