//! The portable formats of Netpbm, as Pillow reads them: PBM, PGM and PPM in text (P1 to P3) and in
//! binary (P4 to P6), grey PFM (Pf), and PAM (P7), which Pillow does not support.
//!
//! Values are scaled from 0..=maxval to 0..=255, rounding half to even. Grey images with a maxval
//! above 255 are scaled to 16 bits and then *clipped* at 255 (or divided by 257, by option), and
//! floating-point values are truncated and clipped, as in Pillow's modes `I` and `F`.

use image::RgbImage;

use super::DecodeOptions;
use super::pixels::{WideGrey, from_pixels, grey};
use crate::preprocess::error::ImageError;

const FORMAT: &str = "PNM";

/// Whitespace in Pillow's sense.
const BLANKS: &[u8] = b" \t\n\x0b\x0c\r";

/// Longest number, in digits.
const LONGEST: usize = 10;

/// The header of a file.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: Kind,
    width: u32,
    height: u32,
    /// Samples per pixel in the file.
    channels: usize,
    maxval: u32,
    /// Offset of the samples.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One bit per pixel, where 1 is black; rows begin at a byte.
    Bits,
    /// One byte per sample, or two in big-endian order if maxval is above 255.
    Bytes,
    /// As [`Kind::Bits`], in digits.
    TextBits,
    /// Numbers in digits.
    Text,
    /// 32-bit floating-point numbers, bottom row first.
    Floats { little_endian: bool },
}

/// Whether bytes begin like such a file. A text may begin like that, too.
pub(super) fn begins(start: &[u8]) -> bool {
    matches!(start, [b'P', b'1'..=b'7' | b'f', blank, ..] if BLANKS.contains(blank))
}

/// Whether the header is complete and, in a text format, samples follow.
pub(super) fn begins_well(start: &[u8]) -> bool {
    let sample = |byte: &u8| byte.is_ascii_digit() || BLANKS.contains(byte) || *byte == b'#';
    header(start).is_ok_and(|header| match header.kind {
        Kind::TextBits | Kind::Text => start[header.at..].iter().take(8).all(sample),
        _ => true,
    })
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let broken = |reason: &str| ImageError::decode(FORMAT, reason);
    let header = header(bytes).map_err(|reason| broken(&reason))?;
    let Header {
        kind,
        width,
        height,
        channels,
        maxval,
        at,
    } = header;
    let _permit = options.reserve(FORMAT, width, height)?;
    let samples = &bytes[at..];
    let row = width as usize * channels;
    let count = row * height as usize;
    // Every pixel takes space in the file; check this before allocating memory for them.
    let least = match kind {
        Kind::Bits => row.div_ceil(8) * height as usize,
        Kind::Bytes if maxval < 256 => count,
        Kind::Bytes => 2 * count,
        Kind::TextBits => count,
        Kind::Text => 2 * count - 1,
        Kind::Floats { .. } => 4 * count,
    };
    if samples.len() < least {
        let reason = format!(
            "it is truncated: expected {least} bytes of samples, found {}",
            samples.len()
        );
        return Err(broken(&reason));
    }
    let mut scale = Scale {
        maxval,
        wide: (channels < 3 && maxval > 255).then(|| WideGrey::new(options)),
    };
    let values: Vec<u8> = match kind {
        Kind::Bits => {
            let rows = samples.chunks_exact(row.div_ceil(8)).take(height as usize);
            let bit = |bits: &[u8], x: usize| bits[x / 8] >> (7 - x % 8) & 1;
            rows.flat_map(|bits| (0..row).map(move |x| black(bit(bits, x))))
                .collect()
        }
        Kind::Bytes if maxval < 256 => {
            let values = samples[..count].iter();
            values.map(|&value| scale.of(value.into())).collect()
        }
        Kind::Bytes => {
            let values = samples.as_chunks::<2>().0[..count].iter();
            let value = |pair: &[u8; 2]| scale.of(u16::from_be_bytes(*pair).into());
            values.map(value).collect()
        }
        Kind::TextBits => text_bits(samples, count).map_err(|reason| broken(&reason))?,
        Kind::Text => {
            let values = text(samples, count, maxval, &mut scale);
            values.map_err(|reason| broken(&reason))?
        }
        Kind::Floats { little_endian } => {
            let read = if little_endian {
                f32::from_le_bytes
            } else {
                f32::from_be_bytes
            };
            let values = samples.as_chunks::<4>().0[..count].iter();
            let values: Vec<u8> = values.map(|&value| read(value) as u8).collect();
            values.rchunks_exact(row).flatten().copied().collect()
        }
    };
    if let Some(wide) = scale.wide {
        wide.count(options);
    }
    let pixels = match channels {
        1 => grey(values.into_iter()),
        2 => grey(values.as_chunks::<2>().0.iter().map(|pixel| pixel[0])),
        3 => values,
        _ => {
            let pixels = values.as_chunks::<4>().0.iter();
            pixels.flat_map(|&[r, g, b, _]| [r, g, b]).collect()
        }
    };
    from_pixels(width, height, pixels, FORMAT)
}

fn black(bit: u8) -> u8 {
    if bit == 0 { 255 } else { 0 }
}

/// Converts samples to 8 bits.
struct Scale {
    maxval: u32,
    /// For grey with more than 8 bits.
    wide: Option<WideGrey>,
}

impl Scale {
    /// Samples above maxval count as maxval.
    fn of(&mut self, sample: u32) -> u8 {
        let share = f64::from(sample.min(self.maxval)) / f64::from(self.maxval);
        match &mut self.wide {
            Some(wide) => wide.narrow((share * 65535.0).round_ties_even() as u16),
            None => (share * 255.0).round_ties_even() as u8,
        }
    }
}

/// Parses one digit per pixel, with or without whitespace between them.
fn text_bits(samples: &[u8], count: usize) -> Result<Vec<u8>, String> {
    let mut values = Vec::with_capacity(count);
    let mut samples = samples.iter();
    while values.len() < count {
        match samples.next() {
            Some(b'0') => values.push(black(0)),
            Some(b'1') => values.push(black(1)),
            Some(b'#') => {
                samples.find(|byte| matches!(byte, b'\n' | b'\r'));
            }
            Some(byte) if BLANKS.contains(byte) => {}
            Some(byte) => return Err(format!("a pixel is {:?}", char::from(*byte))),
            None => return Err("it is truncated".into()),
        }
    }
    Ok(values)
}

fn text(samples: &[u8], count: usize, maxval: u32, scale: &mut Scale) -> Result<Vec<u8>, String> {
    let mut reader = Reader {
        bytes: samples,
        at: 0,
    };
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let value = reader.number()?;
        if value > maxval {
            return Err(format!(
                "a sample is {value}, above the maximum of {maxval}"
            ));
        }
        values.push(scale.of(value));
    }
    Ok(values)
}

fn header(bytes: &[u8]) -> Result<Header, String> {
    let mut reader = Reader { bytes, at: 2 };
    let kind = match bytes.first_chunk::<2>() {
        Some(b"P1") => Kind::TextBits,
        Some(b"P2" | b"P3") => Kind::Text,
        Some(b"P4") => Kind::Bits,
        Some(b"P5" | b"P6") => Kind::Bytes,
        Some(b"P7") => return pam(bytes),
        Some(b"Pf") => Kind::Floats {
            little_endian: false,
        },
        _ => return Err("its magic number is unknown".into()),
    };
    if !begins(bytes) {
        return Err("no whitespace follows its magic number".into());
    }
    let (width, height) = (reader.number()?, reader.number()?);
    let (kind, maxval) = match kind {
        Kind::Bits | Kind::TextBits => (kind, 1),
        Kind::Floats { .. } => {
            let token = reader.token()?;
            let scale = std::str::from_utf8(&token).ok();
            let scale: Option<f64> = scale.and_then(|scale| scale.parse().ok());
            let scale = scale.filter(|scale| scale.is_finite() && *scale != 0.0);
            let scale = scale.ok_or("its scale is not a number")?;
            let little_endian = scale < 0.0;
            (Kind::Floats { little_endian }, 1)
        }
        _ => (kind, reader.number()?),
    };
    Header {
        kind,
        width,
        height,
        channels: if matches!(bytes[1], b'3' | b'6') {
            3
        } else {
            1
        },
        maxval,
        at: reader.at,
    }
    .checked()
}

/// Parses a PAM header: lines of a name and a value.
fn pam(bytes: &[u8]) -> Result<Header, String> {
    let end = bytes.windows(8).position(|line| line == b"\nENDHDR\n");
    let end = end.ok_or("its header has no end")?;
    let text = std::str::from_utf8(&bytes[2..end]).map_err(|_| "its header is not text")?;
    let lines = text.lines().map(str::trim);
    let fields = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut values = [0; 4];
    for line in fields {
        let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let place = match name {
            "WIDTH" => 0,
            "HEIGHT" => 1,
            "DEPTH" => 2,
            "MAXVAL" => 3,
            "TUPLTYPE" if value.trim().starts_with("CMYK") => {
                return Err("its colours are CMYK, which are not supported".into());
            }
            "TUPLTYPE" => continue,
            _ => return Err(format!("its header has the unknown field {name:.20}")),
        };
        let number = value.trim().parse();
        values[place] = number.map_err(|_| format!("{name} is not a number"))?;
    }
    let [width, height, channels, maxval] = values;
    if !(1..=4).contains(&channels) {
        return Err(format!("it has {channels} channels; 1 to 4 are supported"));
    }
    Header {
        kind: Kind::Bytes,
        width,
        height,
        channels: channels as usize,
        maxval,
        at: end + 8,
    }
    .checked()
}

impl Header {
    fn checked(self) -> Result<Self, String> {
        match self.maxval {
            1..=65535 => Ok(self),
            maxval => Err(format!("its maximum is {maxval}, expected 1 to 65535")),
        }
    }
}

/// Reads numbers separated by whitespace and comments.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// Reads the next word and one whitespace character after it. Comments are skipped, even within a
    /// word.
    fn token(&mut self) -> Result<Vec<u8>, String> {
        let mut token = Vec::new();
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'#' => {
                    let rest = &self.bytes[self.at..];
                    let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    self.at += end.map_or(rest.len(), |end| end + 1);
                }
                _ if !BLANKS.contains(&byte) => token.push(byte),
                _ if !token.is_empty() => break,
                _ => {}
            }
            if token.len() > LONGEST {
                return Err(format!("a number has more than {LONGEST} digits"));
            }
        }
        if token.is_empty() {
            return Err("it is truncated".into());
        }
        Ok(token)
    }

    fn number(&mut self) -> Result<u32, String> {
        let token = self.token()?;
        let digits = std::str::from_utf8(&token).ok();
        let number = digits.and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| {
            let text = String::from_utf8_lossy(&token);
            format!("expected a number, found {text:?}")
        })
    }
}
