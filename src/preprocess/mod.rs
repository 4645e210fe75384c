//! From images to the network's input: decode, resize, crop, normalise.
//!
//! [`open`] or [`decode`] gives an RGB image, which a [`Transform`], made from the card's
//! [`InputSpec`], writes into its slot of a batch. All of this reproduces timm with Pillow 13.0 and
//! torchvision, bit for bit except for JPEG files (see [`decode`]). Older versions of Pillow resize in
//! another order (see [`resize()`]).

mod decode;
mod error;
mod filter;
mod placement;
mod resize;
mod spec;
mod transform;

pub use image::RgbImage;

pub use decode::{DecodeOptions, MAX_FILE_BYTES, decode, open};
pub(crate) use decode::{Look, START, is_image_name, look};
pub use error::{Content, ImageError};
pub use placement::Placement;
pub use resize::resize;
pub use spec::{CropMode, InputSpec, Interpolation, MAX_INPUT_SIZE};
pub use transform::{Layout, Transform, Views};
