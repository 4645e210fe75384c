//! Writes a file of features, row by row, so that a killed run loses a second of work.
//!
//! Rows go into `FILE.part`, behind the space for the header. `FILE.journal` says how many of them count.
//! When all images are done the paths and the header are added and the file gets its name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::container::LONGEST_HEADER;
use super::format::Layout;
use super::journal::{self, Failure, Journal, Progress, State, Task};
use super::kept;
use super::names::Names;
use super::places::Places;
use super::{Batch, EmbedError, FeatureFile, FeatureHeader, FeatureType, Format};
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
    /// Images that are not run, because that file has them.
    known: usize,
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
    /// [`EmbedError::Mismatch`] if what is there is of something else, [`EmbedError::Lacks`] if a whole
    /// file that would be resumed lacks images, [`EmbedError::InUse`], [`EmbedError::Damaged`];
    /// [`EmbedError::Twice`] if one of two images of one path cannot be appended.
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
        let images = items.len();
        let keeps = options.append || options.start == Start::Resume && !unfinished;
        let old = match keeps {
            true => places.old(path, &header)?,
            false => None,
        };
        let old = match old {
            Some(old) if options.append => {
                kept::keep_new(&old, &mut items)?;
                if items.is_empty() && !unfinished {
                    return Ok(Opened::Whole(Box::new(old)));
                }
                Some(old)
            }
            Some(old) => {
                kept::check_whole(&old, &places.errors, &items)?;
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
            list: names.fingerprint(),
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
            known: images - items.len(),
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

    /// Number of images in the whole run, with those that were done before it was interrupted.
    pub fn images(&self) -> usize {
        self.items.len()
    }

    /// Number of images that are not run, because the file that is appended to has a row for their path.
    pub fn known(&self) -> usize {
        self.known
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
        self.places.remove_journal()?;
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
