//! The bytes of a pickle, read forwards.

use crate::weights::WeightsError;

/// Longest pickle. A state dict of this family needs about 150 kB, a training checkpoint's twice that.
const MAX_PICKLE: usize = 16 << 20;

pub(super) struct Input<'a> {
    file: &'a str,
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Input<'a> {
    /// `bytes` may go on after the pickle.
    pub(super) fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            file,
            // One byte over the limit tells a pickle that is too long from one that is cut short.
            bytes: &bytes[..bytes.len().min(MAX_PICKLE + 1)],
            pos: 0,
        }
    }

    /// How much was read.
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// Bytes that were read before; `from` and `len` are of an earlier [`take`](Self::take).
    pub(super) fn again(&self, from: usize, len: usize) -> &'a [u8] {
        &self.bytes[from..][..len]
    }

    /// Checks that `length` more bytes are there.
    pub(super) fn check_length(&self, length: u64) -> Result<(), WeightsError> {
        if length <= (self.bytes.len() - self.pos) as u64 {
            return Ok(());
        }
        if self.bytes.len() > MAX_PICKLE {
            return Err(self.too_large("the length of a pickle in bytes", MAX_PICKLE as u64));
        }
        Err(self.damaged("it ends in the middle"))
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], WeightsError> {
        self.check_length(length)?;
        let bytes = self.again(self.pos, length as usize);
        self.pos += bytes.len();
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// Bytes up to the next newline, which is skipped.
    pub(super) fn line(&mut self) -> Result<&'a [u8], WeightsError> {
        let rest = &self.bytes[self.pos..];
        let Some(length) = rest.iter().position(|&b| b == b'\n') else {
            return Err(self.damaged("it ends in the middle of a name"));
        };
        self.pos += length + 1;
        Ok(&rest[..length])
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

    pub(super) fn too_large(&self, what: &str, limit: u64) -> WeightsError {
        WeightsError::TooLarge {
            file: self.file.to_owned(),
            what: what.to_owned(),
            limit,
        }
    }

    pub(super) fn foreign(&self, module: &[u8], name: &[u8]) -> WeightsError {
        let shown = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
            text.escape_debug().to_string()
        };
        WeightsError::ForeignObject {
            file: self.file.to_owned(),
            global: format!("{}.{}", shown(module), shown(name)),
        }
    }
}
