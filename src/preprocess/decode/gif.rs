//! The first frame of a GIF, composed as in Pillow.
//!
//! Pillow keeps the first frame as palette indices. It fills the screen around a smaller frame with
//! the frame's transparent index, or with index 0 if there is none, and then turns every index,
//! including the transparent one, into its colour. It ignores the header's background colour.

use ::gif::{ColorOutput, DecodeOptions as GifOptions, MemoryLimit};
use image::RgbImage;

use super::DecodeOptions;
use super::pixels::from_pixels;
use crate::preprocess::error::ImageError;

const FORMAT: &str = "GIF";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let broken = |error| ImageError::decode(FORMAT, error);
    let mut gif_options = GifOptions::new();
    gif_options.set_color_output(ColorOutput::Indexed);
    let limit = options
        .max_bytes()
        .try_into()
        .unwrap_or(std::num::NonZeroU64::MAX);
    gif_options.set_memory_limit(MemoryLimit::Bytes(limit));
    let mut decoder = gif_options.read_info(bytes).map_err(broken)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let frame = decoder
        .next_frame_info()
        .map_err(broken)?
        .ok_or_else(|| ImageError::decode(FORMAT, "it has no frame"))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (frame_width, frame_height) = (usize::from(frame.width), usize::from(frame.height));
    let blank = frame.transparent.unwrap_or(0);

    // A frame that extends beyond the screen enlarges it.
    let width = screen.0.max(u32::from(frame.left) + u32::from(frame.width));
    let height = screen.1.max(u32::from(frame.top) + u32::from(frame.height));
    let _permit = options.reserve(FORMAT, width, height)?;
    if frame_width == 0 || frame_height == 0 {
        let reason = format!("its first frame is {frame_width} x {frame_height}");
        return Err(ImageError::decode(FORMAT, reason));
    }

    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(broken)?;

    // Past the end of the palette an index is black.
    let colours = decoder.palette().map_err(broken)?.as_chunks().0;
    let palette: [[u8; 3]; 256] =
        std::array::from_fn(|i| colours.get(i).copied().unwrap_or_default());

    let row_bytes = width as usize * 3;
    let mut pixels = palette[usize::from(blank)].repeat(width as usize * height as usize);
    let rows = pixels.chunks_exact_mut(row_bytes).skip(top);
    for (row, indices) in rows.zip(indices.chunks_exact(frame_width)) {
        let row = row[left * 3..].as_chunks_mut::<3>().0;
        for (pixel, &index) in row.iter_mut().zip(indices) {
            *pixel = palette[usize::from(index)];
        }
    }
    from_pixels(width, height, pixels, FORMAT)
}
