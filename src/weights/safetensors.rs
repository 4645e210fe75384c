//! The safetensors container: 8 bytes of header length, a JSON header, the data.
//!
//! The `safetensors` crate checks that the header fits, that the tensors' byte ranges follow each
//! other without gap or overlap up to the end of the file, and that each range has the size of its
//! shape. Three things are added here: a smaller limit on the header, an error for a name that
//! occurs twice (the crate keeps the last), and an error of its own for a file that was cut short.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{DType, Entry, WeightsError};

/// The longest header that is parsed. The largest network of this family needs about 150 kB, and
/// parsing takes up to 16 times the header's length in memory.
const MAX_HEADER: u64 = 16 << 20;

const LENGTH_BYTES: usize = 8;

/// Whether the content begins like a safetensors file. A length whose bytes are all letters is really
/// the beginning of a text, such as JSON.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match bytes.split_first_chunk::<LENGTH_BYTES>() {
        Some((length, rest)) => rest.first() == Some(&b'{') && !length.iter().all(text),
        None => false,
    }
}

/// The tensors of a safetensors file.
pub(super) fn index(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let damaged = |problem: String| WeightsError::Damaged {
        file: file.to_owned(),
        problem,
    };
    let truncated = |what: &str, expected, found| WeightsError::Truncated {
        file: file.to_owned(),
        what: what.to_owned(),
        expected,
        found,
    };
    let found = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(truncated("the header length", LENGTH_BYTES as u64, found));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(WeightsError::TooLarge {
            file: file.to_owned(),
            what: format!("a safetensors header of {length} bytes"),
            limit: MAX_HEADER,
        });
    }
    // Below the limit, so neither the sum nor the conversion can overflow.
    let data_start = LENGTH_BYTES as u64 + length;
    let Some(header) = rest.get(..length as usize) else {
        return Err(truncated("the header", data_start, found));
    };
    let declared: Declared =
        serde_json::from_slice(header).map_err(|e| damaged(format!("safetensors header: {e}")))?;
    let expected = data_start.saturating_add(declared.end);
    if expected > found {
        return Err(truncated("its data", expected, found));
    }

    let (_, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|e| damaged(format!("safetensors header: {e}")))?;
    Ok(entries(&metadata, data_start as usize))
}

/// A text of the header's metadata; `None` if it has none of that name.
pub(super) fn metadata(bytes: &[u8], key: &str) -> Option<String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    metadata.metadata().as_ref()?.get(key).cloned()
}

/// The tensors from the beginning of a safetensors file, up to the end of its header.
pub(super) fn index_header(
    file: &str,
    beginning: &[u8],
) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let header = beginning.get(LENGTH_BYTES..).unwrap_or_default();
    let metadata: Metadata = serde_json::from_slice(header).map_err(|e| WeightsError::Damaged {
        file: file.to_owned(),
        problem: format!("safetensors header: {e}"),
    })?;
    Ok(entries(&metadata, beginning.len()))
}

fn entries(metadata: &Metadata, data_start: usize) -> BTreeMap<String, Entry> {
    let entries = metadata.tensors().into_iter().map(|(name, info)| {
        let entry = Entry {
            part: 0,
            dtype: dtype(info.dtype),
            shape: info.shape.clone(),
            start: data_start.saturating_add(info.data_offsets.0),
            strides: None,
        };
        (name, entry)
    });
    entries.collect()
}

fn dtype(stored: Dtype) -> DType {
    match stored {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        Dtype::U16 => DType::U16,
        Dtype::U32 => DType::U32,
        Dtype::U64 => DType::Other("U64"),
        Dtype::C64 => DType::Other("C64"),
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::F8_E5M2 => DType::F8E5M2,
        Dtype::F8_E4M3FNUZ => DType::F8E4M3Fnuz,
        Dtype::F8_E5M2FNUZ => DType::F8E5M2Fnuz,
        Dtype::F8_E8M0 => DType::F8E8M0,
        _ => DType::Other("a float of fewer than 8 bits"),
    }
}

/// What the header claims, read without keeping it: where the data ends.
struct Declared {
    end: u64,
}

impl<'de> Deserialize<'de> for Declared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Declared;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Declared, A::Error> {
                #[derive(Deserialize)]
                struct Tensor {
                    data_offsets: (u64, u64),
                }

                let mut seen = HashSet::new();
                let mut end = 0;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        end = end.max(map.next_value::<Tensor>()?.data_offsets.1);
                    }
                    if let Some(name) = seen.replace(name) {
                        return Err(de::Error::custom(format!("`{name}` occurs twice")));
                    }
                }
                Ok(Declared { end })
            }
        }

        deserializer.deserialize_map(Names)
    }
}
