//! JPEG: parses the headers, checks that the data is complete, then runs a decoder.
//!
//! Without the feature `turbojpeg` the decoder is zune-jpeg. It is the fastest decoder in Rust and
//! upsamples chroma with libjpeg's filter, but it rounds twice, and it filters across the whole last
//! block where libjpeg stops at the edge of the image; there is no option for that. Sequential files
//! with a scan for each component, which zune-jpeg decodes wrongly, go to jpeg-decoder. With the
//! feature the decoder is libjpeg-turbo at its default settings, as in Pillow, and the pixels are
//! equal. It is not the default because it needs cmake, nasm and a C compiler to build.
//!
//! All of them invent pixels where data is damaged, hence the check in front.

mod check;
mod codes;

use std::borrow::Cow;

use image::RgbImage;

use super::DecodeOptions;
use crate::preprocess::error::ImageError;

pub(super) const FORMAT: &str = "JPEG";

pub(super) mod marker {
    pub(super) const HUFFMAN_TABLES: u8 = 0xC4;
    pub(super) const START_OF_IMAGE: u8 = 0xD8;
    pub(super) const END_OF_IMAGE: u8 = 0xD9;
    pub(super) const START_OF_SCAN: u8 = 0xDA;
    pub(super) const RESTART_INTERVAL: u8 = 0xDD;
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let frame = Frame::find(bytes)?;
    let _permit = options.reserve(FORMAT, frame.width, frame.height)?;
    let layout = check::check(bytes, &frame)?;
    let bytes = if layout.lacks_tables || layout.has_gaps {
        Cow::from(with_plain_header(bytes, layout.lacks_tables))
    } else {
        bytes.into()
    };
    backend::decode(&bytes, &frame, layout.has_split_scans)
}

/// Iterates over the segments of a file, as marker and content, up to the end of the file.
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether there were other bytes between the segments read so far.
    pub(super) has_gaps: bool,
}

impl<'a> Segments<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 2,
            has_gaps: false,
        }
    }

    /// The end of the last segment; after the header of a scan, where its compressed data starts.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn skip_to(&mut self, position: usize) {
        self.at = position;
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.bytes.get(self.at..)?;
        loop {
            // Decoders skip anything between segments that is not a marker.
            let start = rest.iter().position(|&byte| byte == 0xFF)?;
            self.has_gaps |= start > 0;
            rest = &rest[start..];
            let skip = rest.iter().position(|&byte| byte != 0xFF)?;
            let marker = rest[skip];
            rest = &rest[skip + 1..];
            let segment = match marker {
                // A stuffed zero, TEM, restart markers and a second SOI have no length field.
                0x00 | 0x01 | 0xD0..=0xD7 | marker::START_OF_IMAGE => continue,
                marker::END_OF_IMAGE => &[],
                _ => {
                    let length = u16::from_be_bytes(*rest.first_chunk()?).max(2);
                    let (segment, after) = rest.split_at_checked(usize::from(length))?;
                    rest = after;
                    &segment[2..]
                }
            };
            self.at = self.bytes.len() - rest.len();
            return Some((marker, segment));
        }
    }
}

/// The segments before the first scan.
pub(super) fn header_segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let is_header = |marker| !matches!(marker, marker::START_OF_SCAN | marker::END_OF_IMAGE);
    Segments::new(bytes).take_while(move |&(marker, _)| is_header(marker))
}

/// The frame header (SOF).
pub(super) struct Frame {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) is_progressive: bool,
    pub(super) components: Vec<Component>,
}

pub(super) struct Component {
    pub(super) id: u8,
    /// Blocks per MCU, horizontally and vertically.
    across: usize,
    down: usize,
}

impl Component {
    pub(super) fn blocks_in_mcu(&self) -> u32 {
        (self.across * self.down) as u32
    }
}

impl Frame {
    fn find(bytes: &[u8]) -> Result<Self, ImageError> {
        let is_frame = |&(marker, _): &(u8, &[u8])| {
            matches!(marker, 0xC0..=0xCF) && !matches!(marker, marker::HUFFMAN_TABLES | 0xC8 | 0xCC)
        };
        let error = |reason: &str| Err(ImageError::decode(FORMAT, reason));
        let Some((kind, segment)) = header_segments(bytes).find(is_frame) else {
            return error(
                match Segments::new(bytes).any(|(m, _)| m == marker::END_OF_IMAGE) {
                    true => "it has no frame header",
                    false => "the file ends before the end of the image",
                },
            );
        };
        match kind {
            0xC0..=0xC2 => {}
            0xC9 | 0xCA => {
                return error(
                    "it uses arithmetic coding, which is not supported; `jpegtran IN > OUT` \
                     rewrites it without loss",
                );
            }
            0xC3 | 0xCB => return error("it uses lossless coding, which is not supported"),
            _ => return error("it uses hierarchical coding, which is not supported"),
        }
        let Some((&[bits, h1, h0, w1, w0, count], parts)) = segment.split_first_chunk() else {
            return error("its frame header is truncated");
        };
        if bits != 8 {
            return error(&format!(
                "it has {bits} bits per sample, only 8 are supported"
            ));
        }
        let mut components = Vec::new();
        for part in parts.as_chunks::<3>().0.iter().take(usize::from(count)) {
            let [across, down] = [part[1] >> 4, part[1] & 15].map(usize::from);
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return error("its sampling factors are invalid");
            }
            let id = part[0];
            components.push(Component { id, across, down });
        }
        if components.len() != usize::from(count) || !matches!(count, 1 | 3 | 4) {
            return error(&format!(
                "it has {count} colour components, only 1, 3 and 4 are supported"
            ));
        }
        Ok(Self {
            width: u16::from_be_bytes([w1, w0]).into(),
            height: u16::from_be_bytes([h1, h0]).into(),
            is_progressive: kind == 0xC2,
            components,
        })
    }

    fn most(&self, factor: impl Fn(&Component) -> usize) -> usize {
        self.components.iter().map(factor).max().unwrap_or(1)
    }

    /// Number of MCUs of a scan of several components, horizontally and vertically.
    pub(super) fn mcus(&self) -> (usize, usize) {
        let count = |edge: u32, factor| (edge as usize).div_ceil(8 * factor);
        (
            count(self.width, self.most(|c| c.across)),
            count(self.height, self.most(|c| c.down)),
        )
    }

    /// Number of blocks of a component that hold pixels, horizontally and vertically.
    pub(super) fn blocks(&self, component: usize) -> (usize, usize) {
        let component = &self.components[component];
        let count = |edge: u32, own: usize, most: usize| (edge as usize * own).div_ceil(8 * most);
        (
            count(self.width, component.across, self.most(|c| c.across)),
            count(self.height, component.down, self.most(|c| c.down)),
        )
    }
}

/// The file without other bytes between its header segments and, if it lacks Huffman tables, with the
/// standard's in front. Tables that the file defines come later and replace them.
fn with_plain_header(bytes: &[u8], lacks_tables: bool) -> Vec<u8> {
    let mut plain = vec![0xFF, marker::START_OF_IMAGE];
    let mut push = |marker: u8, segment: &[u8]| {
        plain.extend([0xFF, marker]);
        plain.extend((segment.len() as u16 + 2).to_be_bytes());
        plain.extend(segment);
    };
    if lacks_tables {
        push(marker::HUFFMAN_TABLES, &STANDARD_TABLES);
    }
    let mut segments = Segments::new(bytes);
    for (marker, segment) in segments.by_ref() {
        push(marker, segment);
        if marker == marker::START_OF_SCAN {
            break;
        }
    }
    plain.extend(&bytes[segments.position()..]);
    plain
}

#[cfg(not(feature = "turbojpeg"))]
mod backend {
    use ::zune_jpeg::zune_core::bytestream::ZCursor;
    use ::zune_jpeg::zune_core::colorspace::ColorSpace;
    use ::zune_jpeg::zune_core::options::DecoderOptions;
    use image::RgbImage;
    use jpeg_decoder::PixelFormat;

    use super::{FORMAT, Frame, ImageError};
    use crate::preprocess::decode::pixels::{from_pixels, grey};

    pub(super) fn decode(
        bytes: &[u8],
        frame: &Frame,
        has_split_scans: bool,
    ) -> Result<RgbImage, ImageError> {
        if has_split_scans {
            return decode_split_scans(bytes, frame);
        }
        let broken = |error| ImageError::decode(FORMAT, error);
        let is_grey = frame.components.len() == 1;
        let options = DecoderOptions::default()
            // Otherwise it fills in the rest after an error.
            .set_strict_mode(true)
            .set_max_width(usize::MAX)
            .set_max_height(usize::MAX)
            .jpeg_set_out_colorspace(if is_grey {
                ColorSpace::Luma
            } else {
                ColorSpace::RGB
            });
        let cursor = ZCursor::new(bytes);
        let mut decoder = zune_jpeg::JpegDecoder::new_with_options(cursor, options);
        let pixels = decoder.decode().map_err(broken)?;
        let pixels = if is_grey {
            grey(pixels.into_iter())
        } else {
            pixels
        };
        from_pixels(frame.width, frame.height, pixels, FORMAT)
    }

    fn decode_split_scans(bytes: &[u8], frame: &Frame) -> Result<RgbImage, ImageError> {
        let broken = |error| ImageError::decode(FORMAT, error);
        let mut decoder = jpeg_decoder::Decoder::new(bytes);
        let samples = decoder.decode().map_err(broken)?;
        let pixels = match decoder.info().map(|info| info.pixel_format) {
            Some(PixelFormat::RGB24) => samples,
            Some(PixelFormat::L8) => grey(samples.into_iter()),
            _ => {
                let reason = "four inks in scans of their own are not supported";
                return Err(ImageError::decode(FORMAT, reason));
            }
        };
        from_pixels(frame.width, frame.height, pixels, FORMAT)
    }
}

#[cfg(feature = "turbojpeg")]
mod backend {
    use image::RgbImage;
    use turbojpeg::{Colorspace, Decompressor, Error, Image, PixelFormat};

    use super::{FORMAT, Frame, ImageError};
    use crate::preprocess::decode::pixels::{cmyk_to_rgb, from_pixels};

    /// How libjpeg's messages start when it continued and completed the image. The `turbojpeg` crate
    /// returns them as errors; Pillow accepts the image, and so does this crate.
    const WARNINGS: [&str; 6] = [
        "Corrupt JPEG data",
        "Inconsistent progression sequence",
        "Invalid SOS parameters",
        "Premature end of JPEG file",
        "Unknown Adobe color transform",
        "Warning: ",
    ];

    pub(super) fn decode(
        bytes: &[u8],
        frame: &Frame,
        _has_split_scans: bool,
    ) -> Result<RgbImage, ImageError> {
        let broken = |error| ImageError::decode(FORMAT, error);
        let mut decompressor = Decompressor::new().map_err(broken)?;
        let header = decompressor.read_header(bytes).map_err(broken)?;
        let four_inks = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
        let format = if four_inks {
            PixelFormat::CMYK
        } else {
            PixelFormat::RGB
        };
        let pitch = header.width * format.size();
        let mut image = Image {
            pixels: vec![0; pitch * header.height],
            width: header.width,
            pitch,
            height: header.height,
            format,
        };
        match decompressor.decompress(bytes, image.as_deref_mut()) {
            Err(Error::TurboJpegError(message))
                if WARNINGS.iter().any(|start| message.starts_with(start)) => {}
            result => result.map_err(broken)?,
        }
        let pixels = if four_inks {
            // Pillow assumes that all CMYK files are Adobe's, which store inverted inks.
            let inks = image.pixels.as_chunks::<4>().0;
            inks.iter()
                .flat_map(|cmyk| cmyk_to_rgb(cmyk.map(|ink| 255 - ink)))
                .collect()
        } else {
            image.pixels
        };
        from_pixels(frame.width, frame.height, pixels, FORMAT)
    }
}

/// The Huffman tables of T.81, annex K.3, in the form of a segment: DC and AC of luma, then of chroma.
#[rustfmt::skip]
pub(super) const STANDARD_TABLES: [u8; 416] = [
    0x00, 0x00, 0x01, 0x05, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02,
    0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x10, 0x00, 0x02, 0x01, 0x03, 0x03, 0x02, 0x04, 0x03, 0x05, 0x05,
    0x04, 0x04, 0x00, 0x00, 0x01, 0x7D, 0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51,
    0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0, 0x24, 0x33,
    0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63,
    0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9,
    0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2,
    0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2,
    0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0x01, 0x00, 0x03, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x11, 0x00, 0x02,
    0x01, 0x02, 0x04, 0x04, 0x03, 0x04, 0x07, 0x05, 0x04, 0x04, 0x00, 0x01, 0x02, 0x77, 0x00, 0x01, 0x02, 0x03, 0x11, 0x04,
    0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1,
    0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0, 0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19,
    0x1A, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A,
    0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76,
    0x77, 0x78, 0x79, 0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA,
    0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE2, 0xE3,
    0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];
