//! PNG, row by row.
//!
//! The `image` crate's wrapper is not used because it holds the whole image at its original depth,
//! requires the chunks after the pixels, and panics on some palettes. As in Pillow, a file may end
//! after its last row, but a wrong checksum of the pixels is an error.

use std::io::{Cursor, ErrorKind};

use ::png::{BitDepth, ColorType, Decoder, DecodingError, Info, InterlaceInfo, Limits};
use image::RgbImage;

use super::DecodeOptions;
use super::pixels::{WideGrey, from_pixels};
use crate::preprocess::error::ImageError;

const FORMAT: &str = "PNG";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let broken = |error| ImageError::decode(FORMAT, error);
    let limits = Limits {
        bytes: usize::try_from(options.max_bytes()).unwrap_or(usize::MAX),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(broken)?.size();
    let _permit = options.reserve(FORMAT, width, height)?;
    let mut reader = decoder.read_info().map_err(broken)?;
    let info = reader.info();
    if let Some(frame) = info.frame_control
        && (frame.width, frame.height) != (width, height)
    {
        let reason = "the first frame of its animation does not cover the image";
        return Err(ImageError::decode(FORMAT, reason));
    }
    let mut samples = Samples::new(info, options)?;
    let count = if info.interlaced {
        adam7_rows(width, height)
    } else {
        height
    };

    let row_bytes = width as usize * 3;
    let mut pixels = vec![0; row_bytes * height as usize];
    let mut expanded = vec![0; row_bytes];
    for y in 0..count as usize {
        let Some(row) = reader.next_interlaced_row().map_err(broken)? else {
            return Err(ImageError::decode(FORMAT, "it has too few rows"));
        };
        match row.interlace() {
            InterlaceInfo::Null(_) => {
                samples.write_rgb(row.data(), &mut pixels[y * row_bytes..][..row_bytes]);
            }
            InterlaceInfo::Adam7(place) => {
                samples.write_rgb(row.data(), &mut expanded);
                ::png::expand_interlaced_row(&mut pixels, row_bytes, &expanded, place, 24);
            }
        }
    }
    // Reading to the end of the pixels checks their checksum. The file may end before it.
    match reader.next_row() {
        Err(DecodingError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(broken(error)),
        Ok(_) => {}
    }
    samples.wide_grey.count(options);
    from_pixels(width, height, pixels, FORMAT)
}

/// Number of stored rows of an interlaced image, over all passes.
fn adam7_rows(width: u32, height: u32) -> u32 {
    // First column, first row and row step of each pass.
    const PASSES: [(u32, u32, u32); 7] = [
        (0, 0, 8),
        (4, 0, 8),
        (0, 4, 8),
        (2, 0, 4),
        (0, 2, 4),
        (1, 0, 2),
        (0, 1, 2),
    ];
    let passes = PASSES.iter().filter(|&&(left, ..)| left < width);
    passes
        .map(|&(_, top, distance)| height.saturating_sub(top).div_ceil(distance))
        .sum()
}

/// Converts the samples of a row to RGB.
struct Samples {
    color: ColorType,
    depth: BitDepth,
    /// The colour for each value of a sample, from the palette or of grey with up to 8 bits.
    colors: [[u8; 3]; 256],
    wide_grey: WideGrey,
}

impl Samples {
    fn new(info: &Info<'_>, options: &DecodeOptions) -> Result<Self, ImageError> {
        // Indices past the end of the palette are black; an incomplete last colour is ignored.
        let mut colors = [[0; 3]; 256];
        match (info.color_type, &info.palette) {
            (ColorType::Indexed, None) => {
                return Err(ImageError::decode(FORMAT, "it has no palette"));
            }
            (ColorType::Indexed, Some(palette)) => {
                let (palette, _) = palette.as_chunks();
                for (color, entry) in colors.iter_mut().zip(palette) {
                    *color = *entry;
                }
            }
            _ => {
                let largest = (1 << (info.bit_depth as usize).min(8)) - 1;
                for (value, color) in colors.iter_mut().enumerate().take(largest + 1) {
                    *color = [(value * 255 / largest) as u8; 3];
                }
            }
        }
        Ok(Self {
            color: info.color_type,
            depth: info.bit_depth,
            colors,
            wide_grey: WideGrey::new(options),
        })
    }

    /// Writes as many pixels as both `row` and `out` hold, without alpha.
    fn write_rgb(&mut self, row: &[u8], out: &mut [u8]) {
        let out = out.as_chunks_mut::<3>().0.iter_mut();
        match (self.color, self.depth) {
            (ColorType::Rgb, BitDepth::Eight) => {
                out.zip(row.as_chunks().0)
                    .for_each(|(out, rgb)| *out = *rgb);
            }
            (ColorType::Rgba, BitDepth::Eight) => out
                .zip(row.as_chunks().0)
                .for_each(|(out, &[r, g, b, _])| *out = [r, g, b]),
            (ColorType::GrayscaleAlpha, BitDepth::Eight) => out
                .zip(row.as_chunks().0)
                .for_each(|(out, &[grey, _])| *out = [grey; 3]),
            (ColorType::Grayscale, BitDepth::Sixteen) => {
                out.zip(row.as_chunks().0).for_each(|(out, &grey)| {
                    *out = [self.wide_grey.narrow(u16::from_be_bytes(grey)); 3];
                })
            }
            (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => out
                .zip(row.as_chunks().0)
                .for_each(|(out, &[grey, _, _, _])| *out = [grey; 3]),
            (ColorType::Rgb, _) => out
                .zip(row.as_chunks().0)
                .for_each(|(out, &[r, _, g, _, b, _])| *out = [r, g, b]),
            (ColorType::Rgba, _) => out
                .zip(row.as_chunks().0)
                .for_each(|(out, &[r, _, g, _, b, _, _, _])| *out = [r, g, b]),
            (_, BitDepth::Eight) => out
                .zip(row)
                .for_each(|(out, &value)| *out = self.colors[usize::from(value)]),
            (_, depth) => {
                let bits = (depth as usize).min(8);
                let mask = ((1u16 << bits) - 1) as u8;
                let shifts = (0..8).step_by(bits).rev();
                let values = row
                    .iter()
                    .flat_map(|&byte| shifts.clone().map(move |shift| byte >> shift & mask));
                out.zip(values)
                    .for_each(|(out, value)| *out = self.colors[usize::from(value)]);
            }
        }
    }
}
