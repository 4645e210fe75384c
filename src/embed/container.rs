//! The safetensors file: a header of reserved length, the rows, and the paths where the header would be
//! too long for them.
//!
//! The header is written last, because only then it is known which images have a row. Its length is
//! known before: it is that of the header with all of them. Spaces fill what is left, as the format
//! allows.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::names::Names;
use super::{FeatureHeader, FeatureType};
use crate::quote::lost_bytes;

/// Longest header that has the paths in it. Readers of the format accept 100 MB.
pub(super) const LONGEST_HEADER: usize = 64_000_000;

/// Name of the tensor with a row for each image.
pub(super) const FEATURES: &str = "features";
/// In the metadata, the list of paths, in the order of the rows.
pub(super) const PATHS: &str = "paths";
/// In the metadata, the bytes of those paths that are not UTF-8, in base64, by the number of the row.
pub(super) const PATHS_BASE64: &str = "paths_base64";
/// Name of the tensor with the bytes of all paths, one after another.
pub(super) const PATH_BYTES: &str = "path_bytes";
/// Name of the tensor with the places where each path begins, and where the last one ends.
pub(super) const PATH_OFFSETS: &str = "path_offsets";

/// The rows begin at a multiple of this, so that their values are aligned in a mapped file.
const ALIGNMENT: usize = 64;
const LENGTH_BYTES: usize = 8;
const OFFSET_BYTES: usize = size_of::<i64>();

/// How a file is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Container {
    /// Where the rows begin, in bytes.
    pub(super) start: usize,
    /// Whether the paths are tensors instead of metadata.
    paths_are_tensors: bool,
}

impl Container {
    /// For `names` or fewer of them, with the paths in the header if that is no longer than `longest`.
    pub(super) fn new(header: &FeatureHeader, names: Names<'_>, longest: usize) -> Self {
        let mut paths = Some(Paths::default());
        let (mut count, mut bytes) = (0, 0);
        for name in names.iter() {
            bytes += name.len();
            if let Some(list) = &mut paths {
                list.push(count, &name);
            }
            paths.take_if(|paths| paths.list.len() > longest);
            count += 1;
        }
        let with_paths = paths.map(|paths| text(header, count, Place::Header(paths)).len());
        let with_paths = with_paths.filter(|length| *length <= longest);
        // With the most padding between the paths and their offsets.
        let tensors = || Place::Tensors(bytes + OFFSET_BYTES - 1);
        let length = with_paths.unwrap_or_else(|| text(header, count, tensors()).len());
        Self {
            start: (LENGTH_BYTES + length).next_multiple_of(ALIGNMENT),
            paths_are_tensors: with_paths.is_none(),
        }
    }

    /// Writes what follows the rows, and returns what comes before them.
    pub(super) fn finish(
        &self,
        header: &FeatureHeader,
        names: Names<'_>,
        out: &mut impl Write,
    ) -> io::Result<Vec<u8>> {
        let count = names.iter().count();
        let place = match self.paths_are_tensors {
            false => {
                let mut paths = Paths::default();
                for (row, name) in names.iter().enumerate() {
                    paths.push(row, &name);
                }
                Place::Header(paths)
            }
            true => {
                let mut bytes = 0;
                for name in names.iter() {
                    out.write_all(&name)?;
                    bytes += name.len();
                }
                // For the offsets to be aligned.
                let end = count * header.row_bytes() + bytes;
                let padding = end.next_multiple_of(OFFSET_BYTES) - end;
                out.write_all(&[0; OFFSET_BYTES][..padding])?;
                let mut place = 0_i64;
                out.write_all(&place.to_le_bytes())?;
                for name in names.iter() {
                    place += name.len() as i64;
                    out.write_all(&place.to_le_bytes())?;
                }
                Place::Tensors(bytes + padding)
            }
        };
        let text = text(header, count, place);
        let length = self.start - LENGTH_BYTES;
        if text.len() > length {
            return Err(io::Error::other("the header is longer than its reserve"));
        }
        let mut beginning = Vec::with_capacity(self.start);
        beginning.extend((length as u64).to_le_bytes());
        beginning.extend(text.as_bytes());
        beginning.resize(self.start, b' ');
        Ok(beginning)
    }
}

/// Where the paths are.
enum Place {
    Header(Paths),
    /// In tensors, with so many bytes.
    Tensors(usize),
}

/// A list of paths as JSON.
#[derive(Default)]
struct Paths {
    list: String,
    base64: Map<String, Value>,
}

impl Paths {
    fn push(&mut self, row: usize, name: &[u8]) {
        self.list.push(if self.list.is_empty() { '[' } else { ',' });
        let text = String::from_utf8_lossy(name);
        // Text has no value that JSON lacks.
        self.list += &serde_json::to_string(&text).unwrap_or_default();
        if let Some(bytes) = lost_bytes(name) {
            self.base64.insert(row.to_string(), Value::String(bytes));
        }
    }
}

/// The JSON of a header of `count` rows.
fn text(header: &FeatureHeader, count: usize, place: Place) -> String {
    let fields = header.fields().into_iter();
    let mut metadata: Map<String, Value> = fields
        .map(|(name, text)| (name, Value::String(text)))
        .collect();
    let mut shape = vec![count];
    shape.extend(&header.shape);
    let dtype = match header.dtype {
        FeatureType::F32 => "F32",
        FeatureType::F16 => "F16",
    };
    let end = count * header.row_bytes();
    let mut tensors = Map::new();
    tensors.insert(
        FEATURES.to_owned(),
        json!({ "dtype": dtype, "shape": shape, "data_offsets": [0, end] }),
    );
    match place {
        Place::Header(Paths { mut list, base64 }) => {
            list += if list.is_empty() { "[]" } else { "]" };
            metadata.insert(PATHS.to_owned(), Value::String(list));
            if !base64.is_empty() {
                let text = Value::Object(base64).to_string();
                metadata.insert(PATHS_BASE64.to_owned(), Value::String(text));
            }
        }
        Place::Tensors(bytes) => {
            let middle = end + bytes;
            let last = middle + (count + 1) * OFFSET_BYTES;
            tensors.insert(
                PATH_BYTES.to_owned(),
                json!({ "dtype": "U8", "shape": [bytes], "data_offsets": [end, middle] }),
            );
            tensors.insert(
                PATH_OFFSETS.to_owned(),
                json!({ "dtype": "I64", "shape": [count + 1], "data_offsets": [middle, last] }),
            );
        }
    }
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), Value::Object(metadata));
    header.append(&mut tensors);
    Value::Object(header).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::FeatureFile;
    use super::*;
    use crate::eval::{Item, Source};

    /// The padding between paths and offsets can make the header's numbers longer by a digit.
    #[test]
    fn the_header_fits_whatever_the_lengths() {
        let fields = r#"{"senet_features": 1, "model": "m", "weights": "", "precision": "f32", "exif": true,
            "input": {"size": [1, 1], "crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic",
            "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}, "scale_16bit": false, "layer": "pooled", "views": "one",
            "l2": false, "dtype": "f32", "shape": [1]}"#;
        let mut header: FeatureHeader = serde_json::from_str(fields).unwrap();
        for length in 990..1001 {
            let item = Item {
                index: 0,
                name: "n".repeat(length),
                name_bytes: None,
                source: Source::Nothing("test".into()),
                labels: Vec::new(),
            };
            let names = Names {
                old: None,
                items: &[&item],
                failed: &[],
            };
            for model in 1..=ALIGNMENT {
                header.model = "m".repeat(model);
                let container = Container::new(&header, names, 0);
                let mut rest = Vec::new();
                let beginning = container.finish(&header, names, &mut rest).unwrap();
                let file = tempfile::NamedTempFile::new().unwrap();
                let bytes = [&*beginning, &1.5_f32.to_le_bytes(), &*rest].concat();
                std::fs::write(file.path(), bytes).unwrap();
                let file = FeatureFile::open(file.path()).unwrap();
                assert_eq!((file.path(0).len(), &*file.row(0)), (length, &[1.5][..]));
            }
        }
    }
}
