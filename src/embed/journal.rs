//! What an unfinished run has done: a line of JSON for what it is about, then lines with the images that
//! failed, and after each of its checkpoints one with how far it has come.
//!
//! Lines are only ever appended. A killed run leaves lines behind its last checkpoint, which the next
//! run cuts off: it repeats their images.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{EmbedError, FeatureHeader, Format};
use crate::files::has_no_locks;
use crate::quote::excerpt;

/// The longest line: a path and an error.
const LONGEST_LINE: u64 = 1 << 20;

/// What a run is about.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Task {
    pub(super) header: FeatureHeader,
    pub(super) format: Format,
    /// Images in the list.
    pub(super) images: usize,
    /// SHA-256 of their paths, and of those in the file that is appended to.
    pub(super) list: String,
    /// Rows in the file that is appended to.
    pub(super) appends_to: Option<usize>,
}

/// An image without a row; a line in the list of errors.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Failure {
    /// Place in the list of images, from 0.
    pub(super) index: usize,
    pub(super) path: String,
    /// In base64, if the path is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path_bytes: Option<String>,
    pub(super) error: String,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Progress {
    /// Images that were run.
    pub(super) done: usize,
    /// Rows in the file.
    pub(super) rows: usize,
    /// Length of the file in bytes.
    pub(super) bytes: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Failure(Failure),
    Progress(Progress),
}

/// A journal that is appended to.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

/// Where a run resumes.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) progress: Progress,
    /// Places of the images that failed, in order.
    pub(super) failed: Vec<usize>,
}

impl Journal {
    /// Begins a journal, in place of one that is there.
    pub(super) fn create(path: &Path, task: &Task) -> Result<Self, EmbedError> {
        let mut journal = Self::open(path)?;
        let cut = journal.file.set_len(0);
        cut.map_err(EmbedError::unwritable(path))?;
        journal.write(&[task])?;
        Ok(journal)
    }

    /// Resumes a journal of the same task, from its last checkpoint on.
    pub(super) fn resume(path: &Path, task: &Task) -> Result<(Self, State), EmbedError> {
        let mut journal = Self::open(path)?;
        let Content {
            task: found,
            state,
            end,
        } = read(path, |_| Ok(()))?;
        if let Some(found) = &found {
            compare(path, task, found)?;
        }
        let cut = journal.file.set_len(end);
        cut.map_err(EmbedError::unwritable(path))?;
        // Without a line the run was killed as it began.
        if found.is_none() {
            journal.write(&[task])?;
        }
        Ok((journal, state))
    }

    fn open(path: &Path) -> Result<Self, EmbedError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(EmbedError::unwritable(path))?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(EmbedError::InUse {
                    path: path.display().to_string(),
                });
            }
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {}
            Err(TryLockError::Error(error)) => return Err(EmbedError::unwritable(path)(error)),
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    pub(super) fn write(&mut self, lines: &[impl Serialize]) -> Result<(), EmbedError> {
        let mut text = Vec::new();
        let written = lines.iter().try_for_each(|line| {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            Ok(())
        });
        let written: io::Result<()> = written;
        let written = written.and_then(|()| self.file.write_all(&text));
        written.map_err(EmbedError::unwritable(&self.path))
    }
}

/// Whether a run is writing the journal.
pub(super) fn is_locked(path: &Path) -> bool {
    let file = File::open(path);
    file.is_ok_and(|file| matches!(lock(&file), Err(TryLockError::WouldBlock)))
}

/// Locks a journal. A run that was killed, and a process that is being started, may hold it for another
/// moment.
fn lock(file: &File) -> Result<(), TryLockError> {
    const MOMENT: Duration = Duration::from_millis(500);
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < MOMENT => {
                thread::sleep(Duration::from_millis(10));
            }
            locked => return locked,
        }
    }
}

/// Shows `each` the images in a list of errors, which is empty if there is no such file.
pub(super) fn read_failures(path: &Path, mut each: impl FnMut(Failure)) -> Result<(), EmbedError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(EmbedError::unreadable(path))?,
    };
    for line in BufReader::new(file).lines() {
        let line = line.map_err(EmbedError::unreadable(path))?;
        let failure = serde_json::from_str(&line).map_err(|error| EmbedError::Damaged {
            path: path.display().to_string(),
            problem: error.to_string(),
        })?;
        each(failure);
    }
    Ok(())
}

/// What is in a journal, up to its last checkpoint.
pub(super) struct Content {
    pub(super) task: Option<Task>,
    pub(super) state: State,
    /// Bytes up to there.
    end: u64,
}

/// Reads a journal. `each` sees the images that failed.
pub(super) fn read(
    path: &Path,
    mut each: impl FnMut(Failure) -> io::Result<()>,
) -> Result<Content, EmbedError> {
    let unreadable = |error| EmbedError::unreadable(path)(error);
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut content = Content {
        task: None,
        state: State::default(),
        end: 0,
    };
    let (mut place, mut pending) = (0, Vec::new());
    for number in 1.. {
        let mut line = Vec::new();
        let read = reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line);
        place += read.map_err(unreadable)? as u64;
        let wrong = |problem: &str| EmbedError::Damaged {
            path: path.display().to_string(),
            problem: format!(
                "line {number}: {problem}: `{}`",
                excerpt(String::from_utf8_lossy(&line).trim())
            ),
        };
        if line.last() != Some(&b'\n') {
            if line.len() as u64 == LONGEST_LINE {
                return Err(wrong("longer than 1 MiB"));
            }
            break;
        }
        if content.task.is_none() {
            let task = serde_json::from_slice(&line);
            content.task = Some(task.map_err(|_| wrong("expected what the run is about"))?);
            content.end = place;
            continue;
        }
        let line = serde_json::from_slice(&line);
        match line.map_err(|_| wrong("expected a failure or a checkpoint"))? {
            Line::Failure(failure) => pending.push(failure),
            Line::Progress(progress) => {
                content.state.progress = progress;
                content.end = place;
                for failure in pending.drain(..) {
                    content.state.failed.push(failure.index);
                    each(failure).map_err(unreadable)?;
                }
            }
        }
    }
    Ok(content)
}

/// Whether a run may go on with what another one left.
fn compare(path: &Path, expected: &Task, found: &Task) -> Result<(), EmbedError> {
    expected.header.check_same(&found.header, path)?;
    let mismatch = |field, expected: String, found: String| EmbedError::Mismatch {
        path: path.display().to_string(),
        field,
        expected,
        found,
    };
    let kind = |task: &Task| match task.appends_to {
        Some(rows) => format!("an addition to {rows} rows"),
        None => "a new file".to_owned(),
    };
    if expected.format != found.format {
        let [expected, found] = [expected, found].map(|task| format!("{:?}", task.format));
        return Err(mismatch("format", expected, found));
    }
    if expected.appends_to != found.appends_to {
        return Err(mismatch("kind of run", kind(expected), kind(found)));
    }
    if expected.images != found.images {
        let [expected, found] = [expected, found].map(|task| task.images.to_string());
        return Err(mismatch("number of images", expected, found));
    }
    if expected.list != found.list {
        let [expected, found] = [expected, found].map(|task| task.list.clone());
        return Err(mismatch("list of images", expected, found));
    }
    Ok(())
}
