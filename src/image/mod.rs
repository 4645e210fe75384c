//! Pictures to network input: decode, resize, crop, normalise.

mod spec;

pub use spec::{CropMode, InputSpec, Interpolation};
