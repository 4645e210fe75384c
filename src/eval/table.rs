//! Results as a Parquet table with one row per image.

use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{Answer, Header, Outcome, Record};

/// A row has the fields of a line in a results file, and the names of the classes.
const SCHEMA: &str = "message results {
    required int64 index;
    required binary image (string);
    required int32 label;
    required binary label_name (string);
    optional int32 prediction;
    optional binary prediction_name (string);
    optional double probability;
    optional int32 rank;
    optional double loss;
    optional group tempered (list) { repeated group list { required float element; } }
    optional binary error (string);
}";

/// The [`Header`] in the file's metadata.
const HEADER: &str = "senet";

/// Rows per row group, which a reader holds at once.
const GROUP: usize = 1 << 16;

/// The bytes of a table of all records, in order; its metadata has the header as JSON under
/// `senet`.
///
/// # Errors
/// If the table would be too large for Parquet.
pub fn table(header: &Header, records: &[Record]) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(header)?;
    write(header, records, text).map_err(io::Error::other)
}

fn write(header: &Header, records: &[Record], text: String) -> Result<Vec<u8>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![KeyValue::new(HEADER.to_owned(), text)]))
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    for records in records.chunks(GROUP) {
        let mut group = file.next_row_group()?;
        rows(header, records, &mut group)?;
        group.close()?;
    }
    file.into_inner()
}

/// Writes the columns in the order of [`SCHEMA`].
fn rows(
    header: &Header,
    records: &[Record],
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
) -> Result<()> {
    let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
    let name = |class: usize| text(&header.classes[class]);
    let answers: Vec<&Answer> = records.iter().filter_map(Record::answer).collect();
    let present = |answered: bool| {
        records
            .iter()
            .map(move |r| r.answer().is_some() == answered)
    };
    let answered: Vec<i16> = present(true).map(i16::from).collect();
    let failed: Vec<i16> = present(false).map(i16::from).collect();

    let index = records.iter().map(|record| record.index as i64);
    column::<Int64Type>(group, index, None)?;
    column::<ByteArrayType>(group, records.iter().map(|r| text(&r.image)), None)?;
    column::<Int32Type>(group, records.iter().map(|r| r.label as i32), None)?;
    column::<ByteArrayType>(group, records.iter().map(|r| name(r.label)), None)?;
    let answers = || answers.iter();
    let levels = Some(&answered[..]);
    column::<Int32Type>(group, answers().map(|a| a.prediction as i32), levels)?;
    column::<ByteArrayType>(group, answers().map(|a| name(a.prediction)), levels)?;
    column::<DoubleType>(group, answers().map(|a| a.probability), levels)?;
    column::<Int32Type>(group, answers().map(|a| a.rank as i32), levels)?;
    column::<DoubleType>(group, answers().map(|a| a.loss), levels)?;
    tempered(group, records)?;
    let errors = records.iter().filter_map(|record| match &record.outcome {
        Outcome::Error { error } => Some(text(error)),
        Outcome::Answer(_) | Outcome::Scores(_) => None,
    });
    column::<ByteArrayType>(group, errors, Some(&failed))
}

/// Writes the next column; if not every row has a value, `levels` has 1 for a row that has one and
/// 0 for the others.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: impl Iterator<Item = T::T>,
    levels: Option<&[i16]>,
) -> Result<()> {
    let values: Vec<T::T> = values.collect();
    write_column::<T>(group, &values, levels, None)
}

fn tempered(group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, records: &[Record]) -> Result<()> {
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        let losses = record.answer().map_or(&[][..], |answer| &answer.tempered);
        values.extend_from_slice(losses);
        // 2 for an element, 0 for an absent list; the first element of a list 0, the others 1.
        defined.extend(losses.iter().map(|_| 2));
        repeated.extend((0..losses.len()).map(|place| i16::from(place > 0)));
        if losses.is_empty() {
            defined.push(0);
            repeated.push(0);
        }
    }
    write_column::<FloatType>(group, &values, Some(&defined), Some(&repeated))
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    defined: Option<&[i16]>,
    repeated: Option<&[i16]>,
) -> Result<()> {
    // The rows are written by the same list of columns as the schema.
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, defined, repeated)?;
        column.close()?;
    }
    Ok(())
}
