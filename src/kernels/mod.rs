//! Arithmetic on slices: no tensors, no devices, no files.

mod elementwise;

pub use elementwise::{Activation, MapShape, bias_activate, scale_add_activate};
