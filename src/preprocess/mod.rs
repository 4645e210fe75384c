//! Pictures to network input: decode, resize, crop, normalise.
//!
//! Everything here reproduces what timm does with Pillow 13.0 and torchvision, bit for bit where the
//! decoder allows it (see [`decode`]; older versions of Pillow resize in another order, see
//! [`resize`]): [`open`] or [`decode`] a file to RGB, then let a
//! [`Transform`] made from the card's [`InputSpec`] write the tensor into a slot of a batch.

mod bmp;
mod decode;
mod directory;
mod error;
mod filter;
mod gif;
mod ico;
mod jpeg;
mod jpeg_check;
mod jpeg_codes;
mod kind;
mod orientation;
mod png;
mod pnm;
mod resize;
mod spec;
mod tiff;
mod transform;
mod turn;
mod webp;

pub use image::RgbImage;

pub use decode::{DecodeOptions, MAX_FILE_BYTES, decode, open};
pub use error::{Content, ImageError};
pub(crate) use kind::{Look, START, is_image_name, look};
pub use resize::resize;
pub use spec::{CropMode, InputSpec, Interpolation, MAX_INPUT_SIZE};
pub use transform::{Layout, Transform, Views};
