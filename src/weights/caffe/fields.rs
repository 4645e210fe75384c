//! The wire format of Protocol Buffers: numbered fields, one after the other. Nothing is copied and nothing
//! recurses: a message inside another is a range of bytes, which is read in turn if it is wanted.

use std::ops::Range;

/// A field's value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(u64),
    /// Its place in the file.
    Fixed32(usize),
    /// Its place in the file.
    Fixed64(usize),
    /// The place in the file of a text, a message or packed numbers.
    Bytes(Range<usize>),
}

/// What is wrong, and at which byte of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) problem: &'static str,
    /// The end that a field should have, where it lies behind that of the file.
    pub(super) beyond: Option<u64>,
}

/// The fields of the message in a range of the file, in their order.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// `message` is inside of `bytes`.
    pub(super) fn new(bytes: &'a [u8], message: Range<usize>) -> Self {
        Self {
            bytes,
            at: message.start,
            end: message.end.min(bytes.len()),
        }
    }

    /// The next field's number and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value)>, Fault> {
        if self.at >= self.end {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed64(self.skip(8)?.start),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.skip(length)?)
            }
            5 => Value::Fixed32(self.skip(4)?.start),
            _ => {
                return Err(Fault {
                    at: start,
                    problem: "a field of an unknown kind",
                    beyond: None,
                });
            }
        };
        match tag >> 3 {
            0 => Err(Fault {
                at: start,
                problem: "a field with the number 0",
                beyond: None,
            }),
            number => Ok(Some((number, value))),
        }
    }

    fn skip(&mut self, length: u64) -> Result<Range<usize>, Fault> {
        let start = self.at;
        let end = (start as u64).saturating_add(length);
        if end > self.end as u64 {
            return Err(Fault {
                at: start,
                problem: "a field reaches beyond the message that it is in",
                beyond: (end > self.bytes.len() as u64).then_some(end),
            });
        }
        self.at = end as usize;
        Ok(start..self.at)
    }

    /// Seven bits a byte, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let start = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes[..self.end].get(self.at) else {
                let end = self.end as u64 + 1;
                return Err(Fault {
                    at: start,
                    problem: "a number is cut off",
                    beyond: (self.end == self.bytes.len()).then_some(end),
                });
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault {
            at: start,
            problem: "a number has more than 64 bits",
            beyond: None,
        })
    }

    /// The next byte of the file that is read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether all of the message was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }
}
