//! NumPy's `.npy`: a header of fixed length and the rows; the paths are in a list beside it.
//!
//! The format is described in NumPy's `numpy.lib.format`.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::file::beside;
use super::names::Names;
use super::{EmbedError, FeatureHeader, FeatureType};
use crate::files;

/// Bytes before the rows: a multiple of 64, as the format asks for, with room for any shape of ours.
pub(super) const HEADER: usize = 128;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
const LENGTH_BYTES: usize = 2;

/// Whether each path takes one line.
pub(super) fn check(names: Names<'_>) -> Result<(), EmbedError> {
    let breaks = |name: &[u8]| name.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    match names.iter().find(|name| breaks(name)) {
        Some(name) => Err(EmbedError::LineBreak {
            image: String::from_utf8_lossy(&name).into_owned(),
        }),
        None => Ok(()),
    }
}

/// What comes before `count` rows.
pub(super) fn beginning(header: &FeatureHeader, count: usize) -> io::Result<Vec<u8>> {
    let dtype = match header.dtype {
        FeatureType::F32 => "<f4",
        FeatureType::F16 => "<f2",
    };
    let shape: Vec<String> = header.shape.iter().map(usize::to_string).collect();
    let text = format!(
        "{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({count}, {}), }}",
        shape.join(", ")
    );
    let mut bytes = MAGIC.to_vec();
    bytes.extend(((HEADER - MAGIC.len() - LENGTH_BYTES) as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    if bytes.len() >= HEADER {
        return Err(io::Error::other("the shape is too long for the header"));
    }
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes the paths, one a line, beside the array.
pub(super) fn write_paths(file: &Path, names: Names<'_>) -> io::Result<()> {
    let path = beside(file, ".paths.txt");
    let mut list = BufWriter::new(files::begin(&path)?);
    for name in names.iter() {
        list.write_all(&name)?;
        list.write_all(b"\n")?;
    }
    let list = list.into_inner().map_err(io::IntoInnerError::into_error)?;
    list.as_file().sync_all()?;
    list.persist(&path)?;
    Ok(())
}
