//! bfloat16: the upper half of an f32, with its range and 7 bits of fraction.

#[cfg(test)]
pub(super) mod tests;

use bytemuck::{Pod, Zeroable};

/// A bfloat16 value. None that this crate makes is subnormal: machines that have instructions for the
/// type treat subnormal values as 0, and the others must agree with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The nearest value, of two equally near ones the one with an even fraction. Numbers that are
    /// subnormal in f32 become a zero of their sign, NaN stays NaN.
    #[inline(always)]
    pub fn from_f32(x: f32) -> Self {
        const EXPONENT: u32 = 0x7f80_0000;
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let zero = bits >> 16 & 0x8000;
        // A NaN that is cut off could become an infinity without the highest bit of its fraction.
        let nan = bits >> 16 | 0x40;
        let bits = match bits & EXPONENT {
            0 => zero,
            EXPONENT if x.is_nan() => nan,
            _ => rounded,
        };
        Self(bits as u16)
    }

    /// The same value.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// From the upper half of an f32.
    #[cfg(test)]
    pub(super) fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The upper half of an f32.
    #[cfg(test)]
    pub(super) fn to_bits(self) -> u16 {
        self.0
    }
}
