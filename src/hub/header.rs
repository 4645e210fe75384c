//! Reads the header of a safetensors file before the download: it says what the file contains.

use std::io::Read;

use super::answer::Metadata;
use super::http::{Client, Start};
use super::transfer::part;

/// Files up to this length in bytes are downloaded unseen: the three requests for a header would save
/// little.
pub(super) const WORTH_A_LOOK: u64 = 4 << 20;
/// The longest header that is asked for, in bytes: longer ones are not read from a file either.
const LONGEST: u64 = 16 << 20;
const LENGTH_BYTES: usize = 8;

/// The beginning of a safetensors file up to the end of its header, from a server that sends parts of
/// a file; `None` from others, or if anything goes wrong: the download will say what.
pub(super) fn read(client: &Client<'_>, metadata: &Metadata) -> Option<Vec<u8>> {
    let mut header = bytes(client, metadata, 0, LENGTH_BYTES as u64)?;
    let length = u64::from_le_bytes(*header.first_chunk::<LENGTH_BYTES>()?);
    if !(1..=LONGEST).contains(&length) {
        return None;
    }
    header.extend(bytes(client, metadata, LENGTH_BYTES as u64, length)?);
    Some(header)
}

fn bytes(client: &Client<'_>, metadata: &Metadata, offset: u64, length: u64) -> Option<Vec<u8>> {
    let start = Start {
        offset,
        length: Some(length),
        validator: metadata.validator.as_deref(),
    };
    let mut answer = client.get(start).ok()?;
    let found = answer.metadata.as_ref();
    let is_same = found.is_none_or(|found| found.etag == metadata.etag);
    if !is_same || part(&answer).is_none_or(|(first, _)| first != offset) {
        return None;
    }
    let mut bytes = Vec::new();
    let body = answer.response.body_mut().as_reader();
    body.take(length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == length).then_some(bytes)
}
