//! Element types and their little-endian decoding.

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DType {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of an `F32`.
    BF16,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// One byte: false if it is 0.
    Bool,
    /// 8 bits: 4 of exponent, 3 of fraction, no infinity (`float8_e4m3fn`).
    F8E4M3,
    /// 8 bits: 5 of exponent, 2 of fraction (`float8_e5m2`).
    F8E5M2,
    /// As `F8E4M3` with one NaN, in place of a negative zero, and another bias.
    F8E4M3Fnuz,
    /// As `F8E5M2` without infinity, with one NaN and another bias.
    F8E5M2Fnuz,
    /// A power of 2, as scales have it (`float8_e8m0fnu`).
    F8E8M0,
    /// A type whose values are not read, under the file's own name for it.
    Other(&'static str),
}

impl DType {
    /// Bytes of one element, or `None` where the values are not read.
    pub(super) fn size(self) -> Option<usize> {
        Some(match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F8E4M3 | Self::F8E5M2 | Self::F8E4M3Fnuz | Self::F8E5M2Fnuz | Self::F8E8M0 => 1,
            Self::Other(_) => return None,
        })
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool => f.write_str("BOOL"),
            Self::F8E4M3 => f.write_str("F8_E4M3"),
            Self::F8E5M2 => f.write_str("F8_E5M2"),
            Self::F8E4M3Fnuz => f.write_str("F8_E4M3FNUZ"),
            Self::F8E5M2Fnuz => f.write_str("F8_E5M2FNUZ"),
            Self::F8E8M0 => f.write_str("F8_E8M0"),
            Self::Other(name) => f.write_str(name),
            named => write!(f, "{named:?}"),
        }
    }
}

/// A type that values of several stored types can be read as.
pub(super) trait Element: Sized {
    /// The kind of values, for messages.
    const KIND: &'static str;

    /// One element from its little-endian bytes, for the stored types that convert.
    fn decoder(dtype: DType) -> Option<fn(&[u8]) -> Self>;
}

/// The first `N` bytes. Callers pass exactly `N`; shorter input reads as zeros instead of panicking.
fn bytes<const N: usize>(raw: &[u8]) -> [u8; N] {
    raw.first_chunk().copied().unwrap_or([0; N])
}

impl Element for f32 {
    const KIND: &'static str = "floating-point";

    fn decoder(dtype: DType) -> Option<fn(&[u8]) -> f32> {
        Some(match dtype {
            DType::F64 => |raw| f64::from_le_bytes(bytes(raw)) as f32,
            DType::F32 => |raw| f32::from_le_bytes(bytes(raw)),
            DType::F16 => |raw| half_to_f32(u16::from_le_bytes(bytes(raw))),
            DType::BF16 => bfloat16_to_f32,
            DType::F8E4M3 => e4m3_to_f32,
            DType::F8E5M2 => e5m2_to_f32,
            DType::F8E4M3Fnuz => e4m3fnuz_to_f32,
            DType::F8E5M2Fnuz => e5m2fnuz_to_f32,
            DType::F8E8M0 => e8m0_to_f32,
            _ => return None,
        })
    }
}

impl Element for f64 {
    const KIND: &'static str = "floating-point";

    fn decoder(dtype: DType) -> Option<fn(&[u8]) -> f64> {
        Some(match dtype {
            DType::F64 => |raw| f64::from_le_bytes(bytes(raw)),
            DType::F32 => |raw| f64::from(f32::from_le_bytes(bytes(raw))),
            DType::F16 => |raw| f64::from(half_to_f32(u16::from_le_bytes(bytes(raw)))),
            DType::BF16 => |raw| f64::from(bfloat16_to_f32(raw)),
            DType::F8E4M3 => |raw| f64::from(e4m3_to_f32(raw)),
            DType::F8E5M2 => |raw| f64::from(e5m2_to_f32(raw)),
            DType::F8E4M3Fnuz => |raw| f64::from(e4m3fnuz_to_f32(raw)),
            DType::F8E5M2Fnuz => |raw| f64::from(e5m2fnuz_to_f32(raw)),
            DType::F8E8M0 => |raw| f64::from(e8m0_to_f32(raw)),
            _ => return None,
        })
    }
}

impl Element for i64 {
    const KIND: &'static str = "integer";

    fn decoder(dtype: DType) -> Option<fn(&[u8]) -> i64> {
        Some(match dtype {
            DType::I64 => |raw| i64::from_le_bytes(bytes(raw)),
            DType::I32 => |raw| i64::from(i32::from_le_bytes(bytes(raw))),
            DType::I16 => |raw| i64::from(i16::from_le_bytes(bytes(raw))),
            DType::I8 => |raw| i64::from(i8::from_le_bytes(bytes(raw))),
            DType::U32 => |raw| i64::from(u32::from_le_bytes(bytes(raw))),
            DType::U16 => |raw| i64::from(u16::from_le_bytes(bytes(raw))),
            DType::U8 => |raw| i64::from(u8::from_le_bytes(bytes(raw))),
            DType::Bool => |raw| i64::from(bytes(raw) != [0u8]),
            _ => return None,
        })
    }
}

fn bfloat16_to_f32(raw: &[u8]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes(raw))) << 16)
}

fn e4m3_to_f32(raw: &[u8]) -> f32 {
    match bytes(raw) {
        [0x7f | 0xff] => f32::NAN,
        [byte] => byte_to_f32(byte, 3, 7),
    }
}

/// The upper half of a half.
fn e5m2_to_f32(raw: &[u8]) -> f32 {
    let [byte] = bytes(raw);
    half_to_f32(u16::from_be_bytes([byte, 0]))
}

fn e4m3fnuz_to_f32(raw: &[u8]) -> f32 {
    match bytes(raw) {
        [0x80] => f32::NAN,
        [byte] => byte_to_f32(byte, 3, 8),
    }
}

fn e5m2fnuz_to_f32(raw: &[u8]) -> f32 {
    match bytes(raw) {
        [0x80] => f32::NAN,
        [byte] => byte_to_f32(byte, 2, 16),
    }
}

fn e8m0_to_f32(raw: &[u8]) -> f32 {
    match bytes(raw) {
        [0xff] => f32::NAN,
        [byte] => power_of_2(i32::from(byte) - 127),
    }
}

/// A float of one byte that is finite: its sign, then its exponent, then bits of fraction.
fn byte_to_f32(byte: u8, fraction_bits: i32, bias: i32) -> f32 {
    let exponent = i32::from(byte & 0x7f) >> fraction_bits;
    let fraction = f32::from(byte & ((1 << fraction_bits) - 1)) * power_of_2(-fraction_bits);
    let size = match exponent {
        0 => fraction * power_of_2(1 - bias),
        _ => (1.0 + fraction) * power_of_2(exponent - bias),
    };
    if byte & 0x80 == 0 { size } else { -size }
}

/// 2 to the power of -149 to 127, exactly.
fn power_of_2(exponent: i32) -> f32 {
    match exponent {
        -149..=-127 => f32::from_bits(1 << (exponent + 149)),
        _ => f32::from_bits(((exponent + 127) as u32) << 23),
    }
}

/// IEEE half precision to single; exact for every value, subnormals, infinities and NaN included.
fn half_to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let exponent = u32::from(half >> 10) & 0x1f;
    let fraction = u32::from(half) & 0x3ff;
    let magnitude = match exponent {
        // Zero and subnormals count in units of 2^-24.
        0 => (fraction as f32 / 16_777_216.0).to_bits(),
        0x1f => 0xff << 23 | fraction << 13,
        // The exponent's bias changes from 15 to 127.
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::half_to_f32;

    #[test]
    fn half_precision_follows_the_definition() {
        // Value from the definition, in f64: (-1)^s * 2^(e-15) * (1 + f/1024).
        for half in 0..=u16::MAX {
            let (sign, e, f) = (
                half >> 15,
                i32::from(half >> 10 & 0x1f),
                f64::from(half & 0x3ff),
            );
            let size = match e {
                0 => f * 2f64.powi(-24),
                31 if f == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1.0 + f / 1024.0) * 2f64.powi(e - 15),
            };
            let expected = if sign == 1 { -size } else { size };
            let found = f64::from(half_to_f32(half));
            assert!(
                found == expected || found.is_nan() && expected.is_nan(),
                "{half:#06x}"
            );
            assert_eq!(
                half_to_f32(half).is_sign_negative(),
                sign == 1,
                "{half:#06x}"
            );
        }
    }
}
