//! The formats of a file of features, and what is different in each while it is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::container::Container;
use super::names::Names;
use super::{EmbedError, FeatureHeader, FeatureType, json, npy};
use crate::eval::Item;

/// The format of a file of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The tensor `features`, with the paths and the [`FeatureHeader`] in the metadata. It alone can be
    /// appended to, and read by [`FeatureFile`](super::FeatureFile).
    #[default]
    Safetensors,
    /// NumPy's array, with the paths in `FILE.paths.txt`.
    Npy,
    /// A line of JSON for each image.
    JsonLines,
    /// A table with a row for each image, and the [`FeatureHeader`] in its metadata.
    Parquet,
}

impl Format {
    /// By the extension of a file's name.
    ///
    /// # Errors
    /// [`EmbedError::Extension`].
    pub fn of(path: impl AsRef<Path>) -> Result<Self, EmbedError> {
        let path = path.as_ref();
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npy") => Ok(Self::Npy),
            Some("jsonl") => Ok(Self::JsonLines),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(EmbedError::Extension {
                path: path.display().to_string(),
            }),
        }
    }

    /// Whether the file at `path` can be written.
    pub(super) fn check(
        self,
        path: &Path,
        append: bool,
        dtype: FeatureType,
    ) -> Result<(), EmbedError> {
        let path = || path.display().to_string();
        if append && self != Self::Safetensors {
            return Err(EmbedError::Append { path: path() });
        }
        if self == Self::Parquet && cfg!(not(feature = "parquet")) {
            return Err(EmbedError::NoParquet { path: path() });
        }
        let has_f16 = matches!(self, Self::Safetensors | Self::Npy);
        if dtype == FeatureType::F16 && !has_f16 {
            return Err(EmbedError::NoF16 { path: path() });
        }
        Ok(())
    }
}

/// How the file is written whose rows are being appended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    Safetensors(Container),
    Npy,
    JsonLines,
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Layout {
    /// For `names` or fewer of them.
    pub(super) fn new(
        format: Format,
        header: &FeatureHeader,
        names: Names<'_>,
        longest_header: usize,
    ) -> Result<Self, EmbedError> {
        Ok(match format {
            Format::Safetensors => Self::Safetensors(Container::new(header, names, longest_header)),
            Format::Npy => {
                npy::check(names)?;
                Self::Npy
            }
            Format::JsonLines => Self::JsonLines,
            #[cfg(feature = "parquet")]
            Format::Parquet => Self::Parquet,
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => {
                let path = "a Parquet file".to_owned();
                return Err(EmbedError::NoParquet { path });
            }
        })
    }

    /// Where the rows begin.
    pub(super) fn start(self) -> u64 {
        match self {
            Self::Safetensors(container) => container.start as u64,
            Self::Npy => npy::HEADER as u64,
            Self::JsonLines => 0,
            // The table is made of the rows in the end.
            #[cfg(feature = "parquet")]
            Self::Parquet => 0,
        }
    }

    /// Replaces `bytes` with those of a row.
    ///
    /// # Errors
    /// Why the values are not one.
    pub(super) fn encode(
        self,
        header: &FeatureHeader,
        item: &Item,
        values: &[f32],
        bytes: &mut Vec<u8>,
    ) -> Result<(), String> {
        bytes.clear();
        header.check_width(values)?;
        match self {
            Self::JsonLines => json::line(item, &header.shape, values, bytes),
            _ => header.encode(values, bytes),
        }
    }

    /// Completes the file at `part`, which has all rows, and gives it its name.
    pub(super) fn finish(
        self,
        header: &FeatureHeader,
        names: Names<'_>,
        out: &mut BufWriter<File>,
        [part, file]: [&Path; 2],
    ) -> io::Result<()> {
        let beginning = match self {
            Self::Safetensors(container) => container.finish(header, names, out)?,
            Self::Npy => {
                npy::write_paths(file, names)?;
                npy::beginning(header, names.iter().count())?
            }
            Self::JsonLines => Vec::new(),
            #[cfg(feature = "parquet")]
            Self::Parquet => {
                out.flush()?;
                super::parquet::write(part, file, header, names)?;
                return fs::remove_file(part);
            }
        };
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&beginning)?;
        out.flush()?;
        let complete = out.get_ref();
        if let Ok(replaced) = fs::metadata(file) {
            crate::files::take_over(complete, &replaced)?;
        }
        complete.sync_all()?;
        fs::rename(part, file)
    }
}
