//! Writes a file of features, row by row, so that a killed run loses a second of work.
//!
//! Rows go into `FILE.part`, behind the space for the header. `FILE.journal` says how many of them count.
//! When all images are done the paths and the header are added and the file gets its name.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::container::LONGEST_HEADER;
use super::file::beside;
use super::format::Layout;
use super::journal::{self, Failure, Journal, Progress, State, Task};
use super::names::Names;
use super::{Batch, EmbedError, FeatureFile, FeatureHeader, FeatureType, Format};
use crate::digest::hexadecimal;
use crate::eval::Item;
use crate::files::{self, Target};

/// What to do about a file that is there, and about what an interrupted run left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// Refuse both.
    #[default]
    New,
    /// Continue the interrupted run; a whole file of the same features is kept as it is.
    Resume,
    /// Replace both.
    Replace,
}

/// How a file is written.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WriterOptions {
    /// The format of the file.
    pub format: Format,
    /// What to do about what is there.
    pub start: Start,
    /// Keep the rows of the file that is there, if there is one, and add those of images that it lacks.
    pub append: bool,
    /// Longest header, in bytes, that holds the paths; above it they are tensors.
    pub longest_header: usize,
    /// Work that a killed run may lose.
    pub checkpoint: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            format: Format::Safetensors,
            start: Start::New,
            append: false,
            longest_header: LONGEST_HEADER,
            checkpoint: Duration::from_secs(1),
        }
    }
}

/// A file that is to be written, or is whole already.
#[derive(Debug)]
#[non_exhaustive]
pub enum Opened<'a> {
    /// Images are to be run.
    Writer(Box<FeatureWriter<'a>>),
    /// No image is missing.
    Whole(Box<FeatureFile>),
}

/// A file of features that is being written.
///
/// ```no_run
/// # use senet::embed::*;
/// # use senet::{eval::Dataset, Model, weights::Weights};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (model, weights) = (Model::builder("se-resnet50").open()?, Weights::open("w.safetensors")?);
/// let data = Dataset::unlabelled(&["images"])?;
/// let options = ExtractOptions::default();
/// let header = FeatureHeader::new(&model, weights.fingerprint()?, &options, FeatureType::F32)?;
/// let mut writer = WriterOptions::default();
/// writer.start = Start::Resume;
/// let opened = FeatureWriter::open("images.safetensors", header, &data.items, &writer)?;
/// if let Opened::Writer(mut writer) = opened {
///     extract(&model, &writer.remaining(), &options, |batch| writer.push(&batch))?;
///     println!("{} rows", writer.finish()?.rows);
/// }
/// let file = FeatureFile::open("images.safetensors")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FeatureWriter<'a> {
    /// As the user gave it.
    path: PathBuf,
    places: Places,
    header: FeatureHeader,
    layout: Layout,
    /// The images to run: those that the file which is appended to lacks.
    items: Vec<&'a Item>,
    old: Option<FeatureFile>,
    part: BufWriter<File>,
    journal: Journal,
    state: State,
    /// Since the last checkpoint.
    failures: Vec<Failure>,
    /// Of the last batch.
    recent: Vec<Failure>,
    checkpoint: Duration,
    last: Instant,
}

/// How a file was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Rows in the file.
    pub rows: usize,
    /// Images that were run and have no row; `FILE.errors.jsonl` lists them.
    pub failed: usize,
}

impl<'a> FeatureWriter<'a> {
    /// Begins or resumes the file at `path` with the features of `items`, of the kind that `header` says.
    ///
    /// # Errors
    /// [`EmbedError::Exists`] and [`EmbedError::Unfinished`] by [`WriterOptions::start`],
    /// [`EmbedError::Mismatch`] if what is there is of something else, [`EmbedError::InUse`],
    /// [`EmbedError::Damaged`]; [`EmbedError::Twice`] if one of two images of one path cannot be
    /// appended.
    pub fn open(
        path: impl AsRef<Path>,
        header: FeatureHeader,
        items: impl IntoIterator<Item = &'a Item>,
        options: &WriterOptions,
    ) -> Result<Opened<'a>, EmbedError> {
        let path = path.as_ref();
        options.format.check(path, options.append, header.dtype)?;
        let places = Places::new(path)?;
        let unfinished = places.check(path, options)?;
        let mut items: Vec<&Item> = items.into_iter().collect();
        let keeps = options.append || options.start == Start::Resume && !unfinished;
        let old = match keeps {
            true => places.old(path, &header)?,
            false => None,
        };
        let old = match old {
            Some(old) if options.append => {
                let has_new = lacking(&old, &mut items)?;
                if !has_new && !unfinished {
                    return Ok(Opened::Whole(Box::new(old)));
                }
                Some(old)
            }
            Some(old) => {
                is_of(&old, &items)?;
                return Ok(Opened::Whole(Box::new(old)));
            }
            None => None,
        };
        let names = Names {
            old: old.as_ref(),
            items: &items,
            failed: &[],
        };
        let task = Task {
            header: header.clone(),
            format: options.format,
            images: items.len(),
            list: fingerprint(names),
            appends_to: old.as_ref().map(FeatureFile::len),
        };
        let layout = Layout::new(options.format, &header, names, options.longest_header)?;
        let (journal, mut state) = match unfinished {
            true => Journal::resume(&places.journal, &task)?,
            false => (Journal::create(&places.journal, &task)?, State::default()),
        };
        let begins = state.progress == Progress::default();
        if begins {
            state.progress.bytes = layout.start();
        }
        let part = places.part(state.progress.bytes, begins)?;
        let mut writer = Self {
            part: BufWriter::with_capacity(BUFFER, part),
            path: path.to_owned(),
            places,
            header,
            layout,
            items,
            old,
            journal,
            state,
            failures: Vec::new(),
            recent: Vec::new(),
            checkpoint: options.checkpoint,
            last: Instant::now(),
        };
        writer.copy_old()?;
        Ok(Opened::Writer(Box::new(writer)))
    }

    /// Whether a file can be begun or resumed at `path`, found out before the data is read.
    ///
    /// # Errors
    /// As [`FeatureWriter::open`], as far as it can be known.
    pub fn check(
        path: impl AsRef<Path>,
        dtype: FeatureType,
        options: &WriterOptions,
    ) -> Result<(), EmbedError> {
        let path = path.as_ref();
        options.format.check(path, options.append, dtype)?;
        let places = Places::new(path)?;
        places.check(path, options)?;
        let writable = Target::find(path).and_then(|target| target.check());
        writable.map_err(EmbedError::unwritable(path))
    }

    /// The images that still have to be run, in order.
    pub fn remaining(&self) -> Vec<&'a Item> {
        self.items[self.state.progress.done..].to_vec()
    }

    /// What the rows are of.
    pub fn header(&self) -> &FeatureHeader {
        &self.header
    }

    /// Number of images in the whole run, with those that were done before.
    pub fn images(&self) -> usize {
        self.items.len()
    }

    /// Adds the rows of the next images.
    ///
    /// # Errors
    /// [`EmbedError::Unwritable`].
    pub fn push(&mut self, batch: &Batch) -> Result<(), EmbedError> {
        self.recent.clear();
        let mut bytes = Vec::new();
        for row in &batch.rows {
            let index = self.state.progress.done;
            let Some(item) = self.items.get(index) else {
                // More rows than there are images.
                break;
            };
            let encoded = match row {
                Ok(values) => self.layout.encode(&self.header, item, values, &mut bytes),
                Err(error) => Err(error.clone()),
            };
            match encoded {
                Ok(()) => {
                    let written = self.part.write_all(&bytes);
                    written.map_err(EmbedError::unwritable(&self.places.part))?;
                    self.state.progress.rows += 1;
                    self.state.progress.bytes += bytes.len() as u64;
                }
                Err(error) => {
                    self.state.failed.push(index);
                    self.recent.push(Failure {
                        index,
                        path: item.name.clone(),
                        path_bytes: item.name_bytes.clone(),
                        error,
                    });
                }
            }
            self.state.progress.done += 1;
        }
        self.failures.extend_from_slice(&self.recent);
        if self.last.elapsed() >= self.checkpoint {
            self.save()?;
        }
        Ok(())
    }

    /// The images of the last batch that got no row, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let recent = self.recent.iter();
        recent.map(|failure| (&*failure.path, &*failure.error))
    }

    /// Makes a checkpoint, from which an interrupted run resumes. [`FeatureWriter::push`] makes one now
    /// and then.
    ///
    /// # Errors
    /// [`EmbedError::Unwritable`].
    pub fn save(&mut self) -> Result<(), EmbedError> {
        let flushed = self.part.flush();
        // The journal must not be ahead of the rows, even if the machine loses power.
        let flushed = flushed.and_then(|()| self.part.get_ref().sync_data());
        flushed.map_err(EmbedError::unwritable(&self.places.part))?;
        self.journal.write(&self.failures)?;
        self.failures.clear();
        self.journal.write(&[self.state.progress])?;
        self.last = Instant::now();
        Ok(())
    }

    /// Copies the rows of the file that is appended to, as far as they are not there yet.
    fn copy_old(&mut self) -> Result<(), EmbedError> {
        let Some(old) = self.old.take() else {
            return Ok(());
        };
        let step = (BUFFER / self.header.row_bytes()).max(1);
        let mut row = self.state.progress.rows;
        while row < old.len() {
            let rows = row..old.len().min(row + step);
            row = rows.end;
            let written = self.part.write_all(old.bytes(rows.clone()));
            written.map_err(EmbedError::unwritable(&self.places.part))?;
            self.state.progress.bytes += old.bytes(rows.clone()).len() as u64;
            self.state.progress.rows = row;
            old.release(rows);
        }
        self.old = Some(old);
        self.save()
    }

    /// Completes the file and gives it its name, writes the list of errors beside it, and removes the
    /// journal.
    ///
    /// # Errors
    /// [`EmbedError::Unfinished`] if images remain, [`EmbedError::Unwritable`].
    pub fn finish(mut self) -> Result<Written, EmbedError> {
        self.save()?;
        if self.state.progress.done < self.items.len() {
            return Err(EmbedError::Unfinished {
                path: self.path.display().to_string(),
            });
        }
        self.list_errors()?;
        let names = Names {
            old: self.old.as_ref(),
            items: &self.items,
            failed: &self.state.failed,
        };
        let files = [&*self.places.part, &*self.places.file];
        let finished = self
            .layout
            .finish(&self.header, names, &mut self.part, files);
        finished.map_err(EmbedError::unwritable(&self.path))?;
        let removed = fs::remove_file(&self.places.journal);
        removed.map_err(EmbedError::unwritable(&self.places.journal))?;
        Ok(Written {
            rows: self.state.progress.rows,
            failed: self.state.failed.len(),
        })
    }

    fn list_errors(&self) -> Result<(), EmbedError> {
        let path = &self.places.errors;
        let unwritable = |error| EmbedError::unwritable(path)(error);
        if self.state.failed.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(error)),
                _ => Ok(()),
            };
        }
        let mut list = BufWriter::new(files::begin(path).map_err(unwritable)?);
        journal::read(&self.places.journal, |failure| {
            serde_json::to_writer(&mut list, &failure)?;
            list.write_all(b"\n")
        })?;
        let list = list
            .into_inner()
            .map_err(|error| unwritable(error.into()))?;
        let listed = list.persist(path);
        listed.map_err(|error| unwritable(error.error))?;
        Ok(())
    }
}

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// The file and those beside it.
#[derive(Clone, Debug)]
struct Places {
    file: PathBuf,
    part: PathBuf,
    journal: PathBuf,
    errors: PathBuf,
}

impl Places {
    fn new(path: &Path) -> Result<Self, EmbedError> {
        let file = match Target::find(path).map_err(EmbedError::unwritable(path))? {
            Target::File(file) => file,
            Target::Stream(_) => {
                let error = io::Error::other("it is not a regular file");
                return Err(EmbedError::unwritable(path)(error));
            }
        };
        Ok(Self {
            part: beside(&file, ".part"),
            journal: beside(&file, ".journal"),
            errors: beside(&file, ".errors.jsonl"),
            file,
        })
    }

    /// Whether a run is to be resumed.
    fn check(&self, path: &Path, options: &WriterOptions) -> Result<bool, EmbedError> {
        let shown = || path.display().to_string();
        if self.file.exists() && !self.part.exists() && self.journal.exists() {
            // The run was killed between its last two steps, or before its first one.
            let removed = fs::remove_file(&self.journal);
            removed.map_err(EmbedError::unwritable(&self.journal))?;
        }
        let unfinished = self.part.exists() || self.journal.exists();
        match options.start {
            Start::New if unfinished => Err(EmbedError::Unfinished { path: shown() }),
            Start::New if self.file.exists() && !options.append => {
                Err(EmbedError::Exists { path: shown() })
            }
            Start::New | Start::Replace => Ok(false),
            // A whole file of another format does not say what it is of.
            Start::Resume
                if !unfinished && self.file.exists() && options.format != Format::Safetensors =>
            {
                Err(EmbedError::Exists { path: shown() })
            }
            Start::Resume => Ok(unfinished),
        }
    }

    /// The file that is there, if there is one and its features are of the same kind.
    fn old(&self, path: &Path, header: &FeatureHeader) -> Result<Option<FeatureFile>, EmbedError> {
        if !self.file.exists() {
            return Ok(None);
        }
        let old = FeatureFile::open(path)?;
        header.check_same(old.header(), path)?;
        Ok(Some(old))
    }

    /// The file that rows are added to, with those that count: so many bytes of it.
    fn part(&self, length: u64, begins: bool) -> Result<File, EmbedError> {
        let open = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(begins)
                .open(&self.part)?;
            let found = file.metadata()?.len();
            if begins || found >= length {
                file.set_len(length)?;
            }
            file.seek(SeekFrom::End(0))?;
            Ok((file, found))
        };
        let (file, found) = open().map_err(EmbedError::unwritable(&self.part))?;
        if !begins && found < length {
            return Err(EmbedError::Damaged {
                path: self.part.display().to_string(),
                problem: format!(
                    "expected the {length} bytes of the last checkpoint, found {found}"
                ),
            });
        }
        Ok(file)
    }
}

/// Keeps the images that the file lacks, and says whether there are any.
fn lacking(old: &FeatureFile, items: &mut Vec<&Item>) -> Result<bool, EmbedError> {
    let known: HashSet<&[u8]> = old.paths().collect();
    items.retain(|item| !known.contains(&*item.path()));
    let mut new = HashSet::new();
    match items.iter().find(|item| !new.insert(item.path())) {
        Some(item) => Err(EmbedError::Twice {
            image: item.name.clone(),
        }),
        None => Ok(!items.is_empty()),
    }
}

/// Whether the rows of a whole file are those of the images, without some that failed.
fn is_of(file: &FeatureFile, items: &[&Item]) -> Result<(), EmbedError> {
    let mut items = items.iter();
    for path in file.paths() {
        if !items.any(|item| *item.path() == *path) {
            return Err(EmbedError::Mismatch {
                path: file.source().display().to_string(),
                field: "list of images",
                expected: "that of the data".to_owned(),
                found: format!("one with `{}`", String::from_utf8_lossy(path)),
            });
        }
    }
    Ok(())
}

/// SHA-256 of all paths.
fn fingerprint(names: Names<'_>) -> String {
    let mut hash = Sha256::new();
    for name in names.iter() {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(&name);
    }
    hexadecimal(&hash.finalize())
}
