//! Reads text files: UTF-8 with or without a byte order mark, UTF-16 with one, and lines that end in
//! LF, CRLF or CR.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The longest line of a list, in bytes of UTF-8.
pub const MAX_LINE: usize = 64 << 10;

/// The longest list, in bytes of UTF-8.
pub const MAX_LIST: u64 = 2 << 30;
/// The longest list, in lines.
pub const MAX_LINES: usize = 1 << 25;

/// Bytes that are read ahead of the first line, and bytes of UTF-16 that are decoded at a time.
const CHUNK: u64 = 8 << 10;

/// A text file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file could not be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// The reason.
        error: io::Error,
    },
    /// The file has no content but whitespace.
    #[error("{path} is empty")]
    Empty {
        /// The file.
        path: String,
    },
    /// The file has more than `limit` bytes.
    #[error("{path} has more than {limit} bytes, the limit for such a file")]
    TooLong {
        /// The file.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A list has more than [`MAX_LINES`] lines.
    #[error("{path} has more than {MAX_LINES} lines, the limit for a list")]
    ManyLines {
        /// The file.
        path: String,
    },
    /// A line has more than [`MAX_LINE`] bytes.
    #[error("{path}, line {line}: more than {MAX_LINE} bytes, the limit for a line")]
    LongLine {
        /// The file.
        path: String,
        /// The line number, from 1.
        line: usize,
    },
    /// The content is not text in a supported encoding.
    #[error("{path}, line {line}: expected {expected}, found {found}")]
    Undecodable {
        /// The file.
        path: String,
        /// The line number, from 1.
        line: usize,
        /// The encodings that are possible here.
        expected: &'static str,
        /// What is not text.
        found: String,
    },
}

impl TextError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Undecodable { path, .. } => Some(format!(
                "save the file as UTF-8, in an editor or with \
                 `iconv -f ENCODING -t UTF-8 {path} > NEW`, where ENCODING may be WINDOWS-1252 or \
                 UTF-16LE"
            )),
            _ => None,
        }
    }
}

/// For errors that name the file themselves.
impl From<TextError> for io::Error {
    fn from(error: TextError) -> Self {
        let reason = match error {
            TextError::Read { error, .. } => return error,
            TextError::Empty { .. } => "it is empty".to_owned(),
            TextError::TooLong { limit, .. } => {
                let reason = format!("it has more than {limit} bytes, the limit for such a file");
                return Self::new(io::ErrorKind::FileTooLarge, reason);
            }
            TextError::ManyLines { .. } => format!("it has more than {MAX_LINES} lines"),
            TextError::LongLine { line, .. } => {
                format!("line {line} has more than {MAX_LINE} bytes, the limit for a line")
            }
            TextError::Undecodable {
                line,
                expected,
                found,
                ..
            } => format!("line {line}: expected {expected}, found {found}"),
        };
        Self::new(io::ErrorKind::InvalidData, reason)
    }
}

/// `12,345`
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes, and the delimiter after them if there is one.
type Part = (Vec<u8>, Option<u8>);

/// Reads the lines of a list one by one.
pub(crate) struct Lines {
    path: String,
    reader: Box<dyn BufRead>,
    /// Number of the last line, from 1.
    line: usize,
    /// Bytes that may still be read.
    left: u64,
    after_return: bool,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, TextError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(name, file),
            Err(error) => Err(TextError::Read { path: name, error }),
        }
    }

    /// The lines of `reader`, which errors call `path`.
    pub(crate) fn new(path: String, reader: impl Read + 'static) -> Result<Self, TextError> {
        match decoded(reader) {
            Ok(reader) => Ok(Self {
                path,
                reader,
                line: 0,
                left: MAX_LIST,
                after_return: false,
            }),
            Err(error) => Err(failure(path, 1, error)),
        }
    }

    /// The start of the text: 8 KiB, or all of a shorter file.
    pub(crate) fn start(&mut self) -> Result<&[u8], TextError> {
        match self.reader.fill_buf() {
            Ok(start) => Ok(start),
            Err(error) => Err(failure(self.path.clone(), 1, error)),
        }
    }

    /// The number of the last line, from 1.
    #[cfg(feature = "cli")]
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The whole text, of at most `limit` bytes. Nothing but whitespace is an error.
    pub(crate) fn whole(self, limit: u64) -> Result<String, TextError> {
        let path = self.path;
        let mut bytes = Vec::new();
        let line_of = |bytes: &[u8]| 1 + bytes.iter().filter(|&&byte| byte == b'\n').count();
        let mut text = self.reader.take(limit.saturating_add(1));
        if let Err(error) = text.read_to_end(&mut bytes) {
            return Err(failure(path, line_of(&bytes), error));
        }
        if bytes.len() as u64 > limit {
            return Err(TextError::TooLong { path, limit });
        }
        match checked(bytes) {
            Ok(text) if text.trim().is_empty() => Err(TextError::Empty { path }),
            Ok(text) => Ok(text),
            Err((before, found)) => Err(undecodable(path, line_of(&before), found)),
        }
    }

    /// The bytes up to the next one for which `ends` holds, and that one; `None` at the end of the file.
    /// Invalid UTF-8 is kept, because paths may contain it.
    pub(crate) fn next_bytes(
        &mut self,
        ends: impl Fn(u8) -> bool,
    ) -> Result<Option<Part>, TextError> {
        if self.line == MAX_LINES {
            return Err(TextError::ManyLines {
                path: self.path.clone(),
            });
        }
        self.line += 1;
        let mut bytes = Vec::new();
        loop {
            let mut buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failure(self.path.clone(), self.line, error)),
            };
            if std::mem::take(&mut self.after_return) && buffer.first() == Some(&b'\n') {
                self.reader.consume(1);
                continue;
            }
            if buffer.is_empty() {
                return Ok((!bytes.is_empty()).then_some((bytes, None)));
            }
            // One more byte shows that the line is too long.
            buffer = &buffer[..buffer.len().min(MAX_LINE + 1 - bytes.len())];
            let end = buffer.iter().position(|&byte| ends(byte));
            let taken = end.map_or(buffer.len(), |end| end + 1);
            bytes.extend_from_slice(&buffer[..end.unwrap_or(buffer.len())]);
            let end = end.map(|end| buffer[end]);
            self.reader.consume(taken);
            self.left = self.left.saturating_sub(taken as u64);
            if self.left == 0 {
                return Err(TextError::TooLong {
                    path: self.path.clone(),
                    limit: MAX_LIST,
                });
            }
            if bytes.len() > MAX_LINE {
                return Err(TextError::LongLine {
                    path: self.path.clone(),
                    line: self.line,
                });
            }
            if end.is_some() {
                self.after_return = end == Some(b'\r');
                return Ok(Some((bytes, end)));
            }
        }
    }
}

impl Iterator for Lines {
    /// The number of a line, from 1, and its text without the line ending.
    type Item = Result<(usize, String), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.next_bytes(|byte| matches!(byte, b'\n' | b'\r'));
        let bytes = match line {
            Ok(line) => line?.0,
            Err(error) => return Some(Err(error)),
        };
        Some(match checked(bytes) {
            Ok(text) => Ok((self.line, text)),
            Err((_, found)) => Err(undecodable(self.path.clone(), self.line, found)),
        })
    }
}

/// Reads a whole file of at most `limit` bytes. Nothing but whitespace is an error.
///
/// # Errors
/// If the file cannot be read or decoded, or is longer or empty.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, TextError> {
    Lines::open(path)?.whole(limit)
}

/// The text, or what precedes the first byte that is not text and a description of that byte.
fn checked(bytes: Vec<u8>) -> Result<String, (Vec<u8>, String)> {
    let nul = bytes.iter().position(|&byte| byte == 0);
    let (mut bytes, place) = match (String::from_utf8(bytes), nul) {
        (Ok(text), None) => return Ok(text),
        (Ok(text), Some(nul)) => (text.into_bytes(), nul),
        (Err(error), nul) => {
            let place = error.utf8_error().valid_up_to();
            (error.into_bytes(), nul.map_or(place, |nul| nul.min(place)))
        }
    };
    let found = match bytes[place] {
        0 => "a NUL byte".to_owned(),
        byte => format!("the byte {byte:#04x}"),
    };
    bytes.truncate(place);
    Err((bytes, found))
}

fn undecodable(path: String, line: usize, found: String) -> TextError {
    TextError::Undecodable {
        path,
        line,
        expected: "text in UTF-8",
        found,
    }
}

/// An encoding error, wrapped in an error of reading.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotText(String);

fn failure(path: String, line: usize, error: io::Error) -> TextError {
    match error.downcast::<NotText>() {
        Ok(NotText(found)) => TextError::Undecodable {
            path,
            line,
            expected: "text in UTF-8 or UTF-16",
            found,
        },
        Err(error) => TextError::Read { path, error },
    }
}

/// The text as UTF-8 without its byte order mark. Without a mark the bytes are not changed.
fn decoded(mut reader: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut start = Vec::new();
    reader.by_ref().take(CHUNK).read_to_end(&mut start)?;
    let mark = match start[..] {
        [0xEF, 0xBB, 0xBF, ..] => 3,
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => {
            return Err(io::Error::other(NotText("UTF-32".into())));
        }
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => 2,
        _ => 0,
    };
    let rest = io::Cursor::new(start.split_off(mark)).chain(reader);
    Ok(match start[..] {
        [0xFF, 0xFE] => Box::new(BufReader::new(Utf16::new(rest, u16::from_le_bytes))),
        [0xFE, 0xFF] => Box::new(BufReader::new(Utf16::new(rest, u16::from_be_bytes))),
        _ => Box::new(BufReader::new(rest)),
    })
}

/// Converts UTF-16 to UTF-8 while reading.
struct Utf16<R> {
    reader: R,
    unit: fn([u8; 2]) -> u16,
    /// Bytes not decoded yet: half of a code unit or of a surrogate pair.
    rest: Vec<u8>,
    text: io::Cursor<String>,
    /// The error after `text`.
    error: Option<NotText>,
}

impl<R: Read> Utf16<R> {
    fn new(reader: R, unit: fn([u8; 2]) -> u16) -> Self {
        Self {
            reader,
            unit,
            rest: Vec::new(),
            text: io::Cursor::default(),
            error: None,
        }
    }

    /// Decodes the next bytes. At the end of the file nothing is left in `rest`.
    fn decode(&mut self) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.rest);
        let read = self.reader.by_ref().take(CHUNK).read_to_end(&mut bytes)?;
        let (pairs, odd) = bytes.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(|&pair| (self.unit)(pair)).collect();
        let ends = read == 0;
        let half = matches!(units.last(), Some(0xD800..=0xDBFF)) && !ends;
        units.truncate(units.len() - usize::from(half));
        let mut text = String::new();
        for decoded in char::decode_utf16(units.iter().copied()) {
            match decoded {
                Ok(c) => text.push(c),
                Err(error) => {
                    let unit = error.unpaired_surrogate();
                    self.error = Some(NotText(format!("half of a surrogate pair, {unit:#06x}")));
                    break;
                }
            }
        }
        if ends && !odd.is_empty() && self.error.is_none() {
            self.error = Some(NotText("half of a character at the end".into()));
        }
        if !ends {
            self.rest = bytes.split_off(2 * units.len());
        }
        self.text = io::Cursor::new(text);
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.text.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            if let Some(error) = self.error.take() {
                return Err(io::Error::other(error));
            }
            let before = self.rest.len();
            self.decode()?;
            let nothing = self.text.get_ref().is_empty() && self.error.is_none();
            if nothing && self.rest.len() == before {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        units.flat_map(bytes).collect()
    }

    fn lines(bytes: &[u8]) -> Result<Vec<(usize, String)>, TextError> {
        Lines::new("list".into(), io::Cursor::new(bytes.to_vec()))?.collect()
    }

    fn whole(bytes: &[u8], limit: u64) -> Result<String, TextError> {
        Lines::new("list".into(), io::Cursor::new(bytes.to_vec()))?.whole(limit)
    }

    #[test]
    fn every_encoding_gives_the_same_lines() {
        // Pairs of surrogates at every place of a chunk, and more than one chunk.
        let long = "\u{1F600}".repeat(5000) + "é";
        let text = format!("a\tKatze\r\n\n{long}\n{}b\rlast", "x".repeat(4095));
        let expected = [
            (1, "a\tKatze".to_owned()),
            (2, String::new()),
            (3, long),
            (4, "x".repeat(4095) + "b"),
            (5, "last".to_owned()),
        ];
        let marked = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
        for bytes in [
            text.clone().into_bytes(),
            marked,
            utf16(&text, u16::to_le_bytes),
            utf16(&text, u16::to_be_bytes),
        ] {
            assert_eq!(lines(&bytes).unwrap(), expected);
            assert_eq!(whole(&bytes, 1 << 20).unwrap(), text);
        }
        for empty in [&b""[..], b"\xEF\xBB\xBF", b"\xFF\xFE", b"\xFE\xFF"] {
            assert_eq!(lines(empty).unwrap(), []);
            assert!(matches!(whole(empty, 9), Err(TextError::Empty { .. })));
        }
    }

    #[test]
    fn what_is_no_text_is_an_error_with_its_line() {
        let half = [&utf16("a\nb", u16::to_le_bytes)[..], b"\x01"].concat();
        let lone = [&utf16("a\nb", u16::to_be_bytes)[..], b"\xD8\x00\x00\x41"].concat();
        let last = [&utf16("a\nb", u16::to_be_bytes)[..], b"\xD8\x00"].concat();
        let without_mark = "a\nb".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (bytes, line, found) in [
            (b"a\nna\xEFve\n".to_vec(), 2, "the byte 0xef"),
            (b"a\nb\0".to_vec(), 2, "a NUL byte"),
            (b"a\nb\xC3".to_vec(), 2, "the byte 0xc3"),
            (without_mark, 1, "a NUL byte"),
            (b"\xFF\xFE\0\0a\0\0\0".to_vec(), 1, "UTF-32"),
            (half, 2, "half of a character at the end"),
            (lone, 2, "half of a surrogate pair, 0xd800"),
            (last, 2, "half of a surrogate pair, 0xd800"),
        ] {
            let both = [
                lines(&bytes).map(|_| ()).unwrap_err(),
                whole(&bytes, 99).map(|_| ()).unwrap_err(),
            ];
            for error in both {
                let text = error.to_string();
                assert!(text.contains(&format!(", line {line}: ")), "{text}");
                assert!(text.ends_with(&format!(", found {found}")), "{text}");
                assert!(error.hint().unwrap().contains("UTF-8"));
            }
        }
    }

    #[test]
    fn lines_and_files_have_a_limit() {
        let longest = [&vec![b'a'; MAX_LINE][..], b"\r\nb"].concat();
        assert_eq!(lines(&longest).unwrap().len(), 2);
        let longer = [b"b\na", &longest[..]].concat();
        let error = lines(&longer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "list, line 2: more than 65536 bytes, the limit for a line"
        );
        assert_eq!(whole(b"abc", 3).unwrap(), "abc");
        assert!(matches!(
            whole(b"abcd", 3),
            Err(TextError::TooLong { limit: 3, .. })
        ));
        let empty = Lines::new("endless".into(), io::repeat(b'\n')).unwrap();
        let mut short = Lines {
            left: 1000,
            ..empty
        };
        let error = short.find_map(Result::err).unwrap();
        assert!(matches!(error, TextError::TooLong { .. }), "{error}");
        let empty = Lines::new("endless".into(), io::repeat(b'\n')).unwrap();
        let mut many = Lines {
            line: MAX_LINES - 3,
            ..empty
        };
        assert!(many.by_ref().take(3).all(|line| line.is_ok()));
        assert!(matches!(
            many.next(),
            Some(Err(TextError::ManyLines { .. }))
        ));
    }
}
