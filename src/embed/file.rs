//! Reads a file of features, mapped into memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::container::{FEATURES, PATH_BYTES, PATH_OFFSETS, PATHS, PATHS_BASE64};
use super::{EmbedError, FeatureHeader, FeatureType};
use crate::quote::given_bytes;
use crate::weights::map::{Bytes, map_file};

/// A file of features. Rows are read from the mapped file when they are asked for.
pub struct FeatureFile {
    path: PathBuf,
    header: FeatureHeader,
    bytes: Bytes,
    /// Where the first row begins.
    start: usize,
    rows: usize,
    paths: Paths,
}

/// The paths of all rows, one after another.
enum Paths {
    /// In the file: where their bytes begin, and where their offsets do.
    Mapped { bytes: usize, offsets: usize },
    /// From the header.
    Owned { bytes: Vec<u8>, ends: Vec<usize> },
}

impl FeatureFile {
    /// Opens the file at `path` and checks that it is whole.
    ///
    /// The file is mapped into memory and must not be changed by anyone while this value lives: its
    /// rows could change, and truncating it would end the process. Replacing it by renaming another
    /// file is safe.
    ///
    /// # Errors
    /// [`EmbedError::Unreadable`], [`EmbedError::Damaged`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EmbedError> {
        let path = path.as_ref();
        let bytes = map_file(path).map_err(EmbedError::unreadable(path))?;
        let parts = Parts::read(&bytes).map_err(|problem| EmbedError::Damaged {
            path: path.display().to_string(),
            problem,
        })?;
        Ok(Self {
            path: path.to_owned(),
            header: parts.header,
            start: parts.start,
            rows: parts.rows,
            paths: parts.paths,
            bytes,
        })
    }

    /// The path that it was opened from.
    pub fn source(&self) -> &Path {
        &self.path
    }

    /// What its rows are of.
    pub fn header(&self) -> &FeatureHeader {
        &self.header
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Number of values in a row.
    pub fn width(&self) -> usize {
        self.header.width()
    }

    /// The values of consecutive rows, one row after another: from the mapped file if they are stored
    /// as f32, otherwise converted.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn rows(&self, rows: Range<usize>) -> Cow<'_, [f32]> {
        let bytes = self.bytes(rows);
        let little = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
        match self.header.dtype {
            FeatureType::F32 if cfg!(target_endian = "little") => {
                match bytemuck::try_cast_slice(bytes) {
                    Ok(values) => Cow::Borrowed(values),
                    // The rows of a file that another program wrote may begin anywhere.
                    Err(_) => bytes.as_chunks().0.iter().copied().map(little).collect(),
                }
            }
            FeatureType::F32 => bytes.as_chunks().0.iter().copied().map(little).collect(),
            FeatureType::F16 => {
                let values = bytes.as_chunks().0.iter();
                values
                    .map(|&value| f16::from_le_bytes(value).to_f32())
                    .collect()
            }
        }
    }

    /// The values of a row.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn row(&self, row: usize) -> Cow<'_, [f32]> {
        self.rows(row..row + 1)
    }

    /// The bytes of consecutive rows.
    pub(super) fn bytes(&self, rows: Range<usize>) -> &[u8] {
        assert!(rows.end <= self.rows, "row {} of {}", rows.end, self.rows);
        &self.bytes[self.place(rows)]
    }

    fn place(&self, rows: Range<usize>) -> Range<usize> {
        let size = self.header.row_bytes();
        self.start + rows.start * size..self.start + rows.end * size
    }

    /// Tells the system that rows will hardly be read again, so that their pages do not stay in memory.
    pub fn release(&self, rows: Range<usize>) {
        self.bytes.release(self.place(rows));
    }

    /// The path of a row's image as it is in the file system or archive.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn path_bytes(&self, row: usize) -> &[u8] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        match &self.paths {
            Paths::Mapped { bytes, offsets } => {
                let offset = |row| offset(&self.bytes, *offsets, row).unwrap_or_default();
                &self.bytes[bytes + offset(row)..bytes + offset(row + 1)]
            }
            Paths::Owned { bytes, ends } => {
                let start = row.checked_sub(1).map_or(0, |last| ends[last]);
                &bytes[start..ends[row]]
            }
        }
    }

    /// The same path for people, with U+FFFD for what is not UTF-8.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn path(&self, row: usize) -> Cow<'_, str> {
        String::from_utf8_lossy(self.path_bytes(row))
    }

    /// The paths of all rows, in order.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.rows).map(|row| self.path_bytes(row))
    }
}

/// The file of the same name with another end.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

impl fmt::Debug for FeatureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureFile")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// What was read of a file.
struct Parts {
    header: FeatureHeader,
    start: usize,
    rows: usize,
    paths: Paths,
}

impl Parts {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let (length, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        // Behind the length and the header.
        let data = 8 + length;
        let fields = metadata.metadata().as_ref();
        let fields = fields.ok_or("it has no metadata")?;
        let pairs = fields.iter();
        let header =
            FeatureHeader::from_fields(pairs.map(|(name, text)| (name.as_str(), text.as_str())))?;
        let features = tensor(&metadata, FEATURES)?;
        let dtype = match header.dtype {
            FeatureType::F32 => Dtype::F32,
            FeatureType::F16 => Dtype::F16,
        };
        let Some((&rows, shape)) = features.shape.split_first() else {
            return Err(format!("`{FEATURES}` is a single number"));
        };
        if (features.dtype, shape) != (dtype, &header.shape) {
            return Err(format!(
                "`{FEATURES}` is {:?} of the shape {:?}, expected {dtype:?} of [rows, {:?}]",
                features.dtype, features.shape, header.shape
            ));
        }
        let paths = match (fields.get(PATHS), fields.get(PATHS_BASE64)) {
            (Some(list), base64) => owned(list, base64.map(String::as_str), rows)?,
            (None, _) => mapped(bytes, data, &metadata, rows)?,
        };
        Ok(Self {
            header,
            start: data + features.data_offsets.0,
            rows,
            paths,
        })
    }
}

fn tensor<'a>(metadata: &'a Metadata, name: &str) -> Result<&'a TensorInfo, String> {
    metadata
        .info(name)
        .ok_or_else(|| format!("it has no tensor `{name}`"))
}

/// The paths in tensors, whose places are checked.
fn mapped(file: &[u8], data: usize, metadata: &Metadata, rows: usize) -> Result<Paths, String> {
    let (bytes, offsets) = (
        tensor(metadata, PATH_BYTES)?,
        tensor(metadata, PATH_OFFSETS)?,
    );
    let expected = rows.saturating_add(1);
    if bytes.dtype != Dtype::U8 || offsets.dtype != Dtype::I64 || offsets.shape != [expected] {
        return Err(format!(
            "`{PATH_BYTES}` is {:?} and `{PATH_OFFSETS}` {:?} {:?}, expected U8 and I64 [{expected}]",
            bytes.dtype, offsets.dtype, offsets.shape
        ));
    }
    let (start, end) = bytes.data_offsets;
    let (bytes, offsets) = (data + start, data + offsets.data_offsets.0);
    let mut last = 0;
    for row in 0..expected {
        let next = offset(file, offsets, row).filter(|next| (last..=end - start).contains(next));
        last = next.ok_or_else(|| format!("`{PATH_OFFSETS}` has no place for the path {row}"))?;
    }
    Ok(Paths::Mapped { bytes, offsets })
}

/// The place where a path begins.
fn offset(file: &[u8], offsets: usize, row: usize) -> Option<usize> {
    let bytes = file.get(offsets + row * 8..)?.first_chunk()?;
    usize::try_from(i64::from_le_bytes(*bytes)).ok()
}

/// The paths in the header.
fn owned(list: &str, base64: Option<&str>, rows: usize) -> Result<Paths, String> {
    let base64: BTreeMap<usize, String> = match base64 {
        Some(text) => serde_json::from_str(text).map_err(|e| format!("`{PATHS_BASE64}`: {e}"))?,
        None => Default::default(),
    };
    let mut json = serde_json::Deserializer::from_str(list);
    let reader = ListReader { base64: &base64 };
    let read = reader.deserialize(&mut json);
    let read = read.and_then(|paths| json.end().map(|()| paths));
    let (bytes, ends) = read.map_err(|error| format!("`{PATHS}`: {error}"))?;
    if ends.len() != rows {
        return Err(format!("{} paths for {rows} rows", ends.len()));
    }
    Ok(Paths::Owned { bytes, ends })
}

/// Reads a list of texts into one buffer: a million texts of their own would take several times the
/// memory.
struct ListReader<'a> {
    base64: &'a BTreeMap<usize, String>,
}

impl<'de> DeserializeSeed<'de> for ListReader<'_> {
    type Value = (Vec<u8>, Vec<usize>);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListReader<'_> {
    type Value = (Vec<u8>, Vec<usize>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of paths")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        while let Some(text) = list.next_element::<String>()? {
            let own = self.base64.get(&ends.len());
            match own.and_then(|text| given_bytes(text)) {
                Some(path) => bytes.extend(path),
                None => bytes.extend(text.as_bytes()),
            }
            ends.push(bytes.len());
        }
        Ok((bytes, ends))
    }
}
