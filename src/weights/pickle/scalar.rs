//! Numbers and text, in every form of the protocols.

use super::value::{Span, Value};
use super::{Machine, Step};

impl<'a> Machine<'a> {
    /// The length or number that follows an opcode, in as many bytes as the opcode says.
    pub(super) fn length(&mut self, op: u8) -> Step<u64> {
        match op {
            0x8e | 0x96 | 0x8d | 0x95 => self.input.array().map(u64::from_le_bytes),
            b'X' | b'B' | b'r' | b'j' => self.input.array().map(u32::from_le_bytes).map(u64::from),
            b'T' | 0x8b => {
                let length = self.input.array().map(i32::from_le_bytes)?;
                u64::try_from(length).map_err(|_| self.input.damaged("a negative length"))
            }
            b'p' | b'g' => {
                let line = self.line()?;
                parsed(line).ok_or_else(|| self.input.damaged("an invalid memo index"))
            }
            _ => self.input.array().map(|[length]: [u8; 1]| length.into()),
        }
    }

    pub(super) fn line(&mut self) -> Step<&'a [u8]> {
        let span = self.input.line()?;
        Ok(&self.input.bytes()[span.at as usize..][..span.len as usize])
    }

    pub(super) fn number(&mut self, op: u8) -> Step<Value> {
        Ok(match op {
            b'I' => match self.line()? {
                b"00" => Value::Bool(false),
                b"01" => Value::Bool(true),
                digits => self.digits(digits)?,
            },
            b'L' => {
                let line = self.line()?;
                self.digits(line.strip_suffix(b"L").unwrap_or(line))?
            }
            b'J' => Value::Int(self.input.array().map(i32::from_le_bytes)?.into()),
            b'K' => Value::Int(i64::from(self.input.array::<1>()?[0])),
            b'M' => Value::Int(self.input.array().map(u16::from_le_bytes)?.into()),
            b'F' => {
                let line = self.line()?;
                if parsed::<f64>(line).is_none() {
                    return Err(self.input.damaged("an invalid number"));
                }
                Value::Float
            }
            b'G' => {
                self.input.take(8)?;
                Value::Float
            }
            _ => {
                let length = self.length(op)?;
                long(self.input.take(length)?)
            }
        })
    }

    fn digits(&self, digits: &[u8]) -> Step<Value> {
        let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
        match parsed(digits) {
            Some(value) if digits.len() <= LONGEST => Ok(Value::Int(value)),
            _ if !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit) => {
                Ok(Value::LongInt)
            }
            _ => Err(self.input.damaged("an invalid number")),
        }
    }

    pub(super) fn text(&mut self, op: u8) -> Step<Value> {
        match op {
            b'V' => return self.unicode_line(),
            b'S' => return self.quoted_line(),
            _ => {}
        }
        let length = self.length(op)?;
        let span = self.input.span(length)?;
        let bytes = &self.input.bytes()[span.at as usize..][..span.len as usize];
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Value::Text(span)),
            // Python 2 had one type for text and for bytes.
            Err(_) if matches!(op, b'T' | b'U') => Ok(Value::Bytes),
            Err(_) if is_text_with_surrogates(bytes) => Ok(Value::Bytes),
            Err(_) => Err(self.input.damaged("it has a string that is not UTF-8")),
        }
    }

    /// Text with `\u` and `\U` escapes, whose other bytes are Latin-1.
    fn unicode_line(&mut self) -> Step<Value> {
        let line = self.line()?;
        // A byte of Latin-1 may take two of UTF-8.
        self.heap.budget.spend(2 * line.len())?;
        let (mut text, mut rest) = (String::with_capacity(2 * line.len()), line);
        while let Some((&byte, others)) = rest.split_first() {
            let digits = match (byte, others.first()) {
                (b'\\', Some(b'u')) => 4,
                (b'\\', Some(b'U')) => 8,
                _ => 0,
            };
            if digits == 0 {
                text.push(char::from(byte));
                rest = others;
                continue;
            }
            let number = others.get(1..=digits).and_then(hexadecimal);
            let Some(number) = number else {
                return Err(self.input.damaged("an invalid character code"));
            };
            rest = &others[1 + digits..];
            match char::from_u32(number) {
                Some(character) => text.push(character),
                None => return Ok(Value::Bytes),
            }
        }
        let span = self.decoded(text.bytes())?;
        Ok(Value::Text(span))
    }

    /// Text in quotes with the escapes of Python's literals.
    fn quoted_line(&mut self) -> Step<Value> {
        let line = self.line()?;
        let content = match line.trim_ascii_end() {
            [b'\'', content @ .., b'\''] | [b'"', content @ .., b'"'] => content,
            _ => return Err(self.input.damaged("a string without quotes")),
        };
        self.heap.budget.spend(content.len())?;
        let Some(bytes) = unescaped(content) else {
            return Err(self.input.damaged("a string with an invalid escape"));
        };
        if std::str::from_utf8(&bytes).is_err() {
            return Ok(Value::Bytes);
        }
        let span = self.decoded(bytes.into_iter())?;
        Ok(Value::Text(span))
    }

    /// Keeps decoded text.
    pub(super) fn decoded(&mut self, text: impl ExactSizeIterator<Item = u8>) -> Step<Span> {
        let (at, len) = (self.heap.decoded.len(), text.len());
        self.heap.budget.reserve(&mut self.heap.decoded, len)?;
        self.heap.decoded.extend(text);
        // `MAX_PICKLE` and `MAX_MEMORY` bound the sum.
        Ok(Span {
            at: (self.input.bytes().len() + at) as u32,
            len: len as u32,
        })
    }
}

/// Longest number that is read, in characters: none that fits is longer.
const LONGEST: usize = 400;

fn parsed<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let digits = digits.get(..digits.len().min(LONGEST))?;
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

/// An integer in little-endian two's complement of any length.
fn long(bytes: &[u8]) -> Value {
    let sign = match bytes.last() {
        Some(last) if last & 0x80 != 0 => 0xff,
        _ => 0,
    };
    let mut extended = [sign; 8];
    let (low, high) = bytes.split_at(bytes.len().min(8));
    extended[..low.len()].copy_from_slice(low);
    let value = i64::from_le_bytes(extended);
    let fits = high.iter().all(|&byte| byte == sign) && (value < 0) == (sign == 0xff);
    if fits {
        Value::Int(value)
    } else {
        Value::LongInt
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let is_digit = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok()?;
    is_digit
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Whether `bytes` are UTF-8 but for surrogates, which Python's text may hold.
fn is_text_with_surrogates(mut bytes: &[u8]) -> bool {
    while let Err(error) = std::str::from_utf8(bytes) {
        let Some([0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..]) = bytes.get(error.valid_up_to()..)
        else {
            return false;
        };
        bytes = rest;
    }
    true
}

/// The bytes that a Python literal means, or `None` for an escape that is not one.
fn unescaped(mut literal: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(literal.len());
    while let [byte, rest @ ..] = literal {
        if *byte != b'\\' {
            bytes.push(*byte);
            literal = rest;
            continue;
        }
        let (escape, rest) = rest.split_first()?;
        literal = rest;
        let value = match escape {
            b'a' => 0x07,
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'r' => b'\r',
            b'\\' | b'\'' | b'"' => *escape,
            b'x' => {
                literal = rest.get(2..)?;
                hexadecimal(&rest[..2])? as u8
            }
            b'0'..=b'7' => {
                let mut value = u32::from(escape - b'0');
                for _ in 0..2 {
                    if let [digit @ b'0'..=b'7', rest @ ..] = literal {
                        value = 8 * value + u32::from(digit - b'0');
                        literal = rest;
                    }
                }
                value as u8
            }
            // An escape that is not known stays as it is.
            _ => {
                bytes.push(b'\\');
                *escape
            }
        };
        bytes.push(value);
    }
    Some(bytes)
}
