//! Where the bytes of an image are.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[cfg(feature = "parquet")]
use super::find::parquet::Table;
use super::spool;
use crate::preprocess::{self, DecodeOptions, ImageError, Look, MAX_FILE_BYTES, RgbImage, START};

/// Larger files must begin like an image before the rest is read.
const LARGE: u64 = 1 << 24;

/// An image that is read when it is needed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A range of an archive.
    Slice {
        /// The archive.
        archive: Arc<Path>,
        /// In bytes from the beginning of the archive.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// A range of a temporary file that holds the images of a stream.
    Spooled {
        /// The temporary file.
        file: Arc<Mutex<File>>,
        /// In bytes from the beginning of the file.
        offset: u64,
        /// Length in bytes.
        length: usize,
    },
    /// A row of a Parquet file.
    #[cfg(feature = "parquet")]
    Row {
        /// The table.
        table: Arc<Table>,
        /// Number of the row, from 0.
        row: usize,
    },
    /// Not an image despite its name, and why.
    Nothing(Cow<'static, str>),
}

impl Source {
    /// Reads and decodes the image.
    ///
    /// # Errors
    /// As [`preprocess::open`]; without the location of the data set, which differs between
    /// machines.
    pub fn open(&self, options: &DecodeOptions) -> Result<RgbImage, ImageError> {
        match self {
            Self::File(path) => preprocess::open(path, options).map_err(|error| match error {
                ImageError::InFile { error, .. } => *error,
                ImageError::Read { error, .. } => ImageError::Unreadable(error.to_string()),
                error => error,
            }),
            Self::Slice {
                archive,
                offset,
                length,
            } => {
                let read = |length| slice(archive, *offset, length);
                decode(*length, read, options)
            }
            Self::Spooled {
                file,
                offset,
                length,
            } => {
                let read = |length| spool::read(file, *offset, length as usize);
                decode(*length as u64, read, options)
            }
            #[cfg(feature = "parquet")]
            Self::Row { table, row } => {
                let bytes = table.image(*row).map_err(ImageError::Unreadable)?;
                preprocess::decode(bytes.data(), options)
            }
            Self::Nothing(reason) => Err(ImageError::Unreadable(reason.clone().into_owned())),
        }
    }
}

/// Decodes an image in an archive; `read(n)` gives its first n bytes. An archive may compress a
/// gigabyte of nothing to a megabyte, which must not be loaded.
fn decode(
    length: u64,
    read: impl Fn(u64) -> io::Result<Vec<u8>>,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    let read = |length| read(length).map_err(|error| ImageError::Unreadable(error.to_string()));
    if length > LARGE {
        let start = read(START)?;
        if preprocess::look(Path::new(""), || Ok(start.clone())) != Look::Image {
            return preprocess::decode(&start, options);
        }
    }
    preprocess::decode(&read(length)?, options)
}

/// The error for a file of more than [`MAX_FILE_BYTES`].
pub(super) fn too_long(length: u64) -> String {
    format!("{length} bytes long, which no image should be")
}

fn slice(archive: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > MAX_FILE_BYTES {
        return Err(io::Error::other(too_long(length)));
    }
    let mut file = File::open(archive)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(io::Error::other("the archive has become shorter"))
    }
}
