//! Parquet tables in the format of the Hugging Face hub's image data sets: a column `image` with
//! `bytes`, and a column `label`.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::{Found, NULL, end_of};
use crate::eval::{Classes, EvalError, Source};
use crate::quote::lost_bytes;

/// Cached row groups: the threads that prepare a batch read from several at once, and from more of
/// them the smaller the shard's share.
const HELD: usize = 8;

type Images = Result<Arc<Vec<Option<ByteArray>>>, String>;

/// A table whose images are read one row group at a time.
pub struct Table {
    reader: SerializedFileReader<File>,
    /// The first row of each group.
    starts: Vec<usize>,
    /// Rows in all.
    rows: usize,
    /// Row groups by number, the most recently used first.
    held: Mutex<VecDeque<(usize, Images)>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("starts", &self.starts)
            .finish_non_exhaustive()
    }
}

/// The rows of the table at `path`, which results call `name`. Only labels are read here.
///
/// Labels refer to the table's own list of class names if it has one; otherwise they are class
/// numbers. Without `classes` there need not be any.
pub(super) fn images(
    path: &Path,
    name: &str,
    classes: Option<&Classes<'_>>,
) -> Result<Vec<Found>, EvalError> {
    let wrong = |reason| EvalError::Archive {
        path: path.display().to_string(),
        reason,
    };
    let table = Table::open(path).map_err(wrong)?;
    // Otherwise every row would be reported as lacking an image.
    table.column("image").map_err(wrong)?;
    let names = table.class_names();
    // Names that two classes share are resolved by their position in a list of all classes.
    let own = names
        .as_ref()
        .zip(classes)
        .is_some_and(|(names, classes)| classes.are_called(names));
    let names = names.filter(|_| !own);
    let labels = match classes {
        Some(_) => table.texts("label").map_err(wrong)?,
        None => vec![String::new(); table.rows],
    };
    let table = Arc::new(table);
    let prefix = end_of(path, name);
    let found = labels.into_iter().enumerate().map(|(row, label)| {
        let inner = row.to_string();
        let number = label.parse::<usize>().ok();
        let called = number.and_then(|number| names.as_ref()?.get(number).cloned());
        Found {
            name: format!("{name}/{inner}"),
            name_bytes: lost_bytes(&[&prefix[..], b"/", inner.as_bytes()].concat()),
            inner,
            classes: vec![called.unwrap_or(label)],
            by_folders: false,
            stated: true,
            source: Source::Row {
                table: Arc::clone(&table),
                row,
            },
        }
    });
    Ok(found.collect())
}

impl Table {
    fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let reader = guarded(|| SerializedFileReader::new(file).map_err(|e| e.to_string()))?;
        let mut start = 0;
        let mut starts = Vec::new();
        for group in reader.metadata().row_groups() {
            starts.push(start);
            start += usize::try_from(group.num_rows())
                .map_err(|_| "a row group has less than no rows")?;
        }
        Ok(Self {
            reader,
            starts,
            rows: start,
            held: Mutex::default(),
        })
    }

    /// The list of class names that `datasets` writes into its files.
    fn class_names(&self) -> Option<Vec<String>> {
        let metadata = self.reader.metadata().file_metadata();
        let pairs = metadata.key_value_metadata()?;
        let info = pairs.iter().find(|pair| pair.key == "huggingface")?;
        let info: serde_json::Value = serde_json::from_str(info.value.as_ref()?).ok()?;
        let names = info.pointer("/info/features/label/names")?;
        serde_json::from_value(names.clone()).ok()
    }

    /// The value of a column in each row, as text.
    pub(in crate::eval) fn texts(&self, column: &str) -> Result<Vec<String>, String> {
        let projection = self.column(column)?;
        let mut texts = Vec::new();
        for group in 0..self.starts.len() {
            self.rows(group, projection.clone(), |row| {
                texts.push(match row.get_column_iter().next() {
                    Some((_, Field::Str(text))) => text.clone(),
                    Some((_, Field::Null)) | None => NULL.into(),
                    Some((_, value)) => value.to_string(),
                });
            })?;
        }
        Ok(texts)
    }

    /// The bytes of the image in a row.
    ///
    /// # Errors
    /// If its row group cannot be read, or the row has none.
    pub(in crate::eval) fn image(&self, row: usize) -> Result<ByteArray, String> {
        let group = self.starts.partition_point(|&start| start <= row) - 1;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.iter().position(|(other, _)| *other == group);
        let images = match known.and_then(|place| held.remove(place)) {
            Some((_, images)) => images,
            None => self.images(group),
        };
        held.truncate(HELD - 1);
        held.push_front((group, images.clone()));
        drop(held);
        let images = images?;
        let image = images.get(row - self.starts[group]).cloned().flatten();
        image.ok_or_else(|| format!("row {row} has no image"))
    }

    fn images(&self, group: usize) -> Images {
        let projection = self.column("image")?;
        let mut images = Vec::new();
        self.rows(group, projection, |row| {
            let field = row.get_column_iter().next().map(|(_, field)| field);
            images.push(match field {
                Some(Field::Group(image)) => {
                    let bytes = image.get_column_iter().find(|(name, _)| *name == "bytes");
                    bytes.and_then(|(_, bytes)| content(bytes))
                }
                Some(field) => content(field),
                None => None,
            });
        })?;
        Ok(Arc::new(images))
    }

    /// The schema of one column.
    fn column(&self, name: &str) -> Result<Type, String> {
        let schema = self.reader.metadata().file_metadata().schema();
        let field = schema
            .get_fields()
            .iter()
            .find(|field| field.name() == name);
        let field = field.ok_or_else(|| {
            let found = schema.get_fields().iter().map(|field| field.name());
            let found = found.collect::<Vec<_>>().join(", ");
            match name {
                "image" | "label" => format!("expected the columns image and label, found {found}"),
                _ => format!("expected the column {name}, found {found}"),
            }
        })?;
        let group = Type::group_type_builder(schema.name()).with_fields(vec![Arc::clone(field)]);
        group.build().map_err(|error| error.to_string())
    }

    fn rows(&self, group: usize, column: Type, mut each: impl FnMut(&Row)) -> Result<(), String> {
        let wrong = |error: &dyn fmt::Display| format!("row group {group}: {error}");
        let expected = self.reader.metadata().row_group(group).num_rows();
        let read = guarded(|| {
            let reader = self
                .reader
                .get_row_group(group)
                .map_err(|e| e.to_string())?;
            let rows = RowIter::from_row_group(Some(column), &*reader);
            let mut count = 0;
            for row in rows.map_err(|e| e.to_string())? {
                each(&row.map_err(|e| e.to_string())?);
                count += 1;
            }
            Ok(count)
        });
        match read {
            Ok(count) if count == expected => Ok(()),
            Ok(count) => Err(wrong(&format!("expected {expected} rows, found {count}"))),
            Err(error) => Err(wrong(&error)),
        }
    }
}

fn content(field: &Field) -> Option<ByteArray> {
    match field {
        Field::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

/// The reader reports most faults of a broken file as errors, and panics at the rest.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let result = catch_unwind(AssertUnwindSafe(read));
    result.unwrap_or_else(|_| Err("the data is broken".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads that read several row groups concurrently read each of them once.
    #[test]
    fn a_row_group_is_not_read_again_while_others_are_in_use() {
        let stored = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/eval/pictures.parquet"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.parquet");
        let length = std::fs::copy(stored, &path).unwrap();
        let table = Table::open(&path).unwrap();
        assert_eq!(table.starts, [0, 2, 4]);
        let first: Vec<ByteArray> = [0, 2, 4].map(|row| table.image(row).unwrap()).into();
        // From here on, nothing can be read.
        std::fs::write(&path, vec![0; length as usize]).unwrap();
        for row in [1, 3, 5] {
            assert!(table.image(row).is_ok(), "row {row}");
        }
        assert_eq!(table.image(0), Ok(first[0].clone()));
        assert!(Table::open(&path).is_err());
    }
}
