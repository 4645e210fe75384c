//! Results files: a line of JSON with the [`Header`], then one for each image, in any order.
//!
//! Lines are only ever appended, and as a whole, so a killed run leaves at most one unfinished
//! line, which the next run cuts off.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{EvalError, Header, Member, Record};
use crate::files::{Target, has_no_locks, open_stream};
use crate::quote::excerpt;

/// Version of the format. Version 1 had `picture`, `picture_bytes` and `pictures` for `image`,
/// `image_bytes` and `images`; a resumed file may have lines of both.
const VERSION: u32 = 2;

/// The longest line of an image: 64 KiB. The header may be longer, because it lists all classes.
const LONGEST_LINE: u64 = 1 << 16;
const LONGEST_HEADER: u64 = 16 << 20;

/// Characters of a score, including the comma.
const SCORE: u64 = 26;

/// The largest file.
const LONGEST: u64 = 2 << 30;

/// A results file that is appended to.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Whether [`Self::create`] would accept the path, as far as can be known in advance.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub(super) fn check(path: &Path) -> Result<(), EvalError> {
        match Target::find(path).map_err(|error| unwritable(path, error))? {
            Target::File(file) if file.exists() => Err(EvalError::Exists {
                path: path.display().to_string(),
            }),
            Target::File(_) | Target::Stream(_) => Ok(()),
        }
    }

    /// Creates a file with its header. A link is followed; a device, pipe or socket is written to.
    ///
    /// # Errors
    /// [`EvalError::InUse`], [`EvalError::Exists`] if there is such a file,
    /// [`EvalError::Unwritable`].
    pub(super) fn create(path: &Path, header: &Header) -> Result<Self, EvalError> {
        let target = Target::find(path).map_err(|error| unwritable(path, error))?;
        let file = match &target {
            Target::Stream(stream) => open_stream(stream),
            Target::File(file) => OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .open(file),
        };
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => EvalError::Exists {
                path: path.display().to_string(),
            },
            _ => unwritable(path, error),
        })?;
        let mut log = Self {
            path: path.to_owned(),
            file: match target {
                Target::Stream(_) => file,
                Target::File(_) => locked(path, file)?,
            },
        };
        log.write(&[header])?;
        Ok(log)
    }

    /// Resumes a file, or creates it if there is none or a run was killed while writing its header.
    /// Returns the records that it already holds.
    ///
    /// # Errors
    /// [`EvalError::InUse`], [`EvalError::Mismatch`] if the file has a different header,
    /// [`EvalError::Line`] if a complete line is not a record, [`EvalError::Conflict`] if it has
    /// two results for an image.
    pub(super) fn resume(path: &Path, header: &Header) -> Result<(Self, Vec<Record>), EvalError> {
        if let Ok(Target::Stream(_)) = Target::find(path) {
            let error =
                io::Error::other("it is not a regular file, so no run can be resumed in it");
            return Err(unwritable(path, error));
        }
        if !path.exists() {
            return Ok((Self::create(path, header)?, Vec::new()));
        }
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = locked(path, file.map_err(|error| unwritable(path, error))?)?;
        let content = read(path)?;
        if content.header.is_none() {
            is_begun(path, header)?;
        }
        let cut = file.set_len(content.whole);
        cut.map_err(|error| unwritable(path, error))?;
        let mut log = Self {
            path: path.to_owned(),
            file,
        };
        match content.header {
            Some(found) => compare(path, header, &found)?,
            None => log.write(&[header])?,
        }
        let mut records = BTreeMap::new();
        collect(&mut records, path, content.records)?;
        Ok((
            log,
            records.into_values().map(|(record, _)| record).collect(),
        ))
    }

    /// Appends records; they are kept even if the process dies after this returns.
    ///
    /// # Errors
    /// [`EvalError::Unwritable`].
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), EvalError> {
        self.write(records)
    }

    fn write(&mut self, lines: &[impl Serialize]) -> Result<(), EvalError> {
        let mut text = Vec::new();
        for line in lines {
            let written = serde_json::to_writer(&mut text, line);
            written.map_err(|error| unwritable(&self.path, error.into()))?;
            text.push(b'\n');
        }
        let written = self.file.write_all(&text);
        written.map_err(|error| unwritable(&self.path, error))
    }
}

/// The records of several files of one data set, each image once, in the data set's order.
///
/// # Errors
/// [`EvalError::Mismatch`] if the files are for different models, data or settings,
/// [`EvalError::Line`] if a complete line is not a record, [`EvalError::Conflict`] if an image has
/// two results; also if a file has no header or there are no files.
pub fn merge(paths: &[PathBuf]) -> Result<(Header, Vec<Record>), EvalError> {
    let mut first: Option<Header> = None;
    let mut records = BTreeMap::new();
    for path in paths {
        let content = read(path)?;
        let header = content.header.ok_or_else(|| EvalError::Line {
            path: path.display().to_string(),
            line: 1,
            expected: "the header of a results file",
            found: "nothing".into(),
        })?;
        match &first {
            Some(first) => compare(path, first, &header)?,
            None => first = Some(header),
        }
        collect(&mut records, path, content.records)?;
    }
    let header = first.ok_or_else(|| EvalError::Empty {
        path: "the list of results files".into(),
    })?;
    let records = records.into_values().map(|(record, _)| record);
    Ok((header, records.collect()))
}

fn collect<'a>(
    all: &mut BTreeMap<usize, (Record, &'a Path)>,
    path: &'a Path,
    records: Vec<Record>,
) -> Result<(), EvalError> {
    for record in records {
        match all.entry(record.index) {
            Entry::Vacant(entry) => {
                entry.insert((record, path));
            }
            Entry::Occupied(entry) if entry.get().0 == record => {}
            Entry::Occupied(entry) => {
                return Err(EvalError::Conflict {
                    path: path.display().to_string(),
                    other: entry.get().1.display().to_string(),
                    index: record.index,
                });
            }
        }
    }
    Ok(())
}

struct Content {
    header: Option<Header>,
    records: Vec<Record>,
    /// Bytes of complete lines.
    whole: u64,
}

fn read(path: &Path) -> Result<Content, EvalError> {
    let unreadable = |error| EvalError::Unreadable {
        path: path.display().to_string(),
        error,
    };
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut content = Content {
        header: None,
        records: Vec::new(),
        whole: 0,
    };
    for number in 1.. {
        let (longest, expected) = match &content.header {
            None => (LONGEST_HEADER, "a header of at most 16 MiB on one line"),
            // Has a score for every class.
            Some(header) if header.multi_label => {
                let scores = SCORE * header.classes.len() as u64;
                (LONGEST_LINE + scores, "a line of 64 KiB and its scores")
            }
            Some(_) => (LONGEST_LINE, "a line of at most 64 KiB"),
        };
        let mut line = Vec::new();
        let read = reader.by_ref().take(longest).read_until(b'\n', &mut line);
        let length = read.map_err(unreadable)? as u64;
        let wrong = |expected| EvalError::Line {
            path: path.display().to_string(),
            line: number,
            expected,
            found: excerpt(String::from_utf8_lossy(&line).trim()),
        };
        if line.last() != Some(&b'\n') {
            if length == longest {
                return Err(wrong(expected));
            }
            break;
        }
        if content.whole + length > LONGEST {
            let reason = format!("it has more than {LONGEST} bytes, the limit for results");
            return Err(unreadable(io::Error::other(reason)));
        }
        if let Some(header) = &content.header {
            let record = serde_json::from_slice::<Record>(&line);
            let record = record.map_err(|_| wrong("the result of an image"))?;
            if !record.fits(header) {
                return Err(wrong("an image and classes that the header has"));
            }
            content.records.push(record);
        } else {
            let header = serde_json::from_slice::<Header>(&line).ok();
            let header = header.filter(|header| (1..=VERSION).contains(&header.senet_eval));
            let header = header.ok_or_else(|| wrong("the header of a results file"))?;
            content.header = Some(Header {
                senet_eval: VERSION,
                ..header
            });
        }
        content.whole += length;
    }
    Ok(content)
}

fn compare(path: &Path, expected: &Header, found: &Header) -> Result<(), EvalError> {
    let counts = (expected.members.len(), found.members.len());
    same(path, "number of models", counts.0, counts.1)?;
    for (expected, found) in expected.members.iter().zip(&found.members) {
        same(path, "model", &expected.model, &found.model)?;
        same(path, "weights", &expected.weights, &found.weights)?;
        same(path, "precision", expected.precision, found.precision)?;
        if expected.input != found.input {
            let show = |member: &Member| serde_json::to_string(&member.input).unwrap_or_default();
            return Err(mismatch(path, "preprocessing", show(expected), show(found)));
        }
    }
    let views = (expected.views.count(), found.views.count());
    same(path, "number of views", views.0, views.1)?;
    match (&expected.valid, &found.valid) {
        (Some(expected), Some(found)) => same_list(path, "list of valid classes", expected, found)?,
        (None, None) => {}
        (expected, found) => {
            let show = |valid: &Option<Vec<usize>>| match valid {
                Some(valid) => format!("{} of them", valid.len()),
                None => "all of them".to_owned(),
            };
            let field = "choice of valid classes";
            return Err(mismatch(path, field, show(expected), show(found)));
        }
    }
    let multi = (expected.multi_label, found.multi_label);
    same(path, "multi-label setting", multi.0, multi.1)?;
    same(path, "EXIF setting", expected.exif, found.exif)?;
    let grey = (expected.scale_16bit, found.scale_16bit);
    same(path, "setting of 16-bit grey", grey.0, grey.1)?;
    same_data(path, expected, found)
}

/// Checks that two results files are for the same images and classes.
///
/// # Errors
/// [`EvalError::Mismatch`].
pub(super) fn same_data(path: &Path, expected: &Header, found: &Header) -> Result<(), EvalError> {
    same(path, "number of images", expected.images, found.images)?;
    same(path, "data set", &expected.data, &found.data)?;
    same_list(path, "list of classes", &expected.classes, &found.classes)
}

/// Entry by entry: different lists may be equal once they are joined.
fn same_list<T: PartialEq + Display>(
    path: &Path,
    field: &'static str,
    expected: &[T],
    found: &[T],
) -> Result<(), EvalError> {
    let length = expected.len().max(found.len());
    let Some(place) = (0..length).find(|&place| expected.get(place) != found.get(place)) else {
        return Ok(());
    };
    let show = |list: &[T]| match list.get(place) {
        Some(entry) => {
            let entry = excerpt(&entry.to_string());
            format!("`{entry}` (number {} of {})", place + 1, list.len())
        }
        None => format!("{} long", list.len()),
    };
    Err(mismatch(path, field, show(expected), show(found)))
}

fn same<T: PartialEq + Display>(
    path: &Path,
    field: &'static str,
    expected: T,
    found: T,
) -> Result<(), EvalError> {
    if expected == found {
        return Ok(());
    }
    let show = |value: T| excerpt(&value.to_string());
    Err(mismatch(path, field, show(expected), show(found)))
}

fn mismatch(path: &Path, field: &'static str, expected: String, found: String) -> EvalError {
    EvalError::Mismatch {
        path: path.display().to_string(),
        field,
        expected,
        found,
    }
}

/// Whether a file without a complete line is the beginning of the header, and so nothing of the
/// user's.
fn is_begun(path: &Path, header: &Header) -> Result<(), EvalError> {
    let unreadable = |error| EvalError::Unreadable {
        path: path.display().to_string(),
        error,
    };
    let whole = serde_json::to_vec(header).map_err(|error| unreadable(error.into()))?;
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = file.take(whole.len() as u64 + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    if whole.starts_with(&bytes) {
        return Ok(());
    }
    Err(EvalError::Line {
        path: path.display().to_string(),
        line: 1,
        expected: "the header of a results file",
        found: excerpt(String::from_utf8_lossy(&bytes).trim()),
    })
}

/// Two runs that write to one file would lose each other's lines.
fn locked(path: &Path, file: File) -> Result<File, EvalError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EvalError::InUse {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(file),
        Err(TryLockError::Error(error)) => Err(unwritable(path, error)),
    }
}

fn unwritable(path: &Path, error: io::Error) -> EvalError {
    EvalError::Unwritable {
        path: path.display().to_string(),
        error,
    }
}

impl Header {
    /// The current version.
    pub const VERSION: u32 = VERSION;
}
