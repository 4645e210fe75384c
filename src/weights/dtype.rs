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
    /// One byte, 0 or 1.
    Bool,
    /// A type whose values are not read, under the file's own name for it.
    Other(&'static str),
}

impl DType {
    /// Bytes of one element, or `None` where the values are not read.
    pub(super) fn size(self) -> Option<usize> {
        Some(match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Other(_) => return None,
        })
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool => f.write_str("BOOL"),
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
            DType::BF16 => |raw| f32::from_bits(u32::from(u16::from_le_bytes(bytes(raw))) << 16),
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
            DType::BF16 => |raw| {
                f64::from(f32::from_bits(
                    u32::from(u16::from_le_bytes(bytes(raw))) << 16,
                ))
            },
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
            DType::U8 | DType::Bool => |raw| i64::from(u8::from_le_bytes(bytes(raw))),
            _ => return None,
        })
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
