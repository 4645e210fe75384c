//! The bytes of a pickle, read forwards.

use super::value::Span;
use crate::weights::WeightsError;

/// Longest pickle: places in it and in what is decoded from it have to fit 32 bits.
pub(super) const MAX_PICKLE: usize = 1 << 30;

pub(super) struct Input<'a> {
    file: &'a str,
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Input<'a> {
    /// `bytes` may continue after the pickle.
    pub(super) fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            file,
            // One byte over the limit distinguishes a pickle that is too long from one that is cut short.
            bytes: &bytes[..bytes.len().min(MAX_PICKLE + 1)],
            pos: 0,
        }
    }

    /// All bytes from the pickle's beginning on.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How much was read.
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// Checks that `length` more bytes are there.
    pub(super) fn check_length(&self, length: u64) -> Result<(), WeightsError> {
        if length <= (self.bytes.len() - self.pos) as u64 {
            return Ok(());
        }
        if self.bytes.len() > MAX_PICKLE {
            return Err(WeightsError::TooLarge {
                file: self.file.to_owned(),
                what: "the length of a pickle in bytes".to_owned(),
                limit: MAX_PICKLE as u64,
            });
        }
        Err(self.damaged("it ends in the middle"))
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], WeightsError> {
        let span = self.span(length)?;
        Ok(&self.bytes[span.at as usize..][..span.len as usize])
    }

    /// Where the next `length` bytes are, which are skipped.
    pub(super) fn span(&mut self, length: u64) -> Result<Span, WeightsError> {
        self.check_length(length)?;
        // Both fit: `MAX_PICKLE` bounds them.
        let span = Span {
            at: self.pos as u32,
            len: length as u32,
        };
        self.pos += length as usize;
        Ok(span)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// Where the bytes up to the next newline are, which are skipped together with it.
    pub(super) fn line(&mut self) -> Result<Span, WeightsError> {
        let rest = &self.bytes[self.pos..];
        let Some(length) = rest.iter().position(|&b| b == b'\n') else {
            return Err(self.damaged("it ends in the middle of a line"));
        };
        let span = self.span(length as u64)?;
        self.pos += 1;
        Ok(span)
    }

    pub(super) fn damaged(&self, problem: &str) -> WeightsError {
        WeightsError::Damaged {
            file: self.file.to_owned(),
            problem: format!("pickle at byte {}: {problem}", self.pos),
        }
    }

    pub(super) fn unsupported(&self, problem: String) -> WeightsError {
        WeightsError::Unsupported {
            file: self.file.to_owned(),
            problem,
        }
    }
}
