//! Features as a Parquet table with one row per image.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::FeatureHeader;
use super::names::Names;
use crate::files;

const SCHEMA: &str = "message features {
    required binary path (string);
    required group features (list) { repeated group list { required float element; } }
}";

/// The [`FeatureHeader`] in the file's metadata.
const HEADER: &str = "senet";

/// Bytes of the features in a row group, which a reader holds at once.
const GROUP: usize = 1 << 24;

/// Makes a table of the rows in the file `rows` and gives it the name `table`.
pub(super) fn write(
    rows: &Path,
    table: &Path,
    header: &FeatureHeader,
    names: Names<'_>,
) -> io::Result<()> {
    let mut temporary = files::begin(table)?;
    let mut rows = BufReader::new(File::open(rows)?);
    let written = write_to(temporary.as_file_mut(), &mut rows, header, names);
    written.map_err(io::Error::other)?;
    if let Ok(replaced) = fs::metadata(table) {
        files::take_over(temporary.as_file(), &replaced)?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(table)?;
    Ok(())
}

fn write_to(
    file: &mut File,
    rows: &mut impl Read,
    header: &FeatureHeader,
    names: Names<'_>,
) -> Result<()> {
    let text = serde_json::to_string(header).map_err(io::Error::from)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![KeyValue::new(HEADER.to_owned(), text)]))
        .set_dictionary_enabled(false)
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let size = header.row_bytes();
    let most = (GROUP / size).max(1);
    let mut names = names.iter().peekable();
    while names.peek().is_some() {
        let group: Vec<ByteArray> = names
            .by_ref()
            .take(most)
            .map(|name| String::from_utf8_lossy(&name).into_owned().as_str().into())
            .collect();
        let mut bytes = vec![0; group.len() * size];
        rows.read_exact(&mut bytes)?;
        let values = bytes.as_chunks().0.iter();
        let values: Vec<f32> = values.map(|&value| f32::from_le_bytes(value)).collect();
        let mut out = writer.next_row_group()?;
        columns(&mut out, &group, &values, header.width())?;
        out.close()?;
    }
    writer.close()?;
    Ok(())
}

/// Writes the columns in the order of [`SCHEMA`].
fn columns(
    group: &mut SerializedRowGroupWriter<'_, &mut File>,
    paths: &[ByteArray],
    values: &[f32],
    width: usize,
) -> Result<()> {
    if let Some(mut column) = group.next_column()? {
        column
            .typed::<ByteArrayType>()
            .write_batch(paths, None, None)?;
        column.close()?;
    }
    if let Some(mut column) = group.next_column()? {
        // The first element of each list begins it.
        let repeated: Vec<i16> = (0..values.len())
            .map(|place| i16::from(place % width > 0))
            .collect();
        let defined = vec![1; values.len()];
        column
            .typed::<FloatType>()
            .write_batch(values, Some(&defined), Some(&repeated))?;
        column.close()?;
    }
    Ok(())
}
