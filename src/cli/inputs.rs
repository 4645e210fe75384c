//! Resolves arguments to images.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::rows::RowError;
use crate::error::Error;
use crate::hub::{self, HubOptions};
use crate::preprocess::{self, DecodeOptions, MAX_FILE_BYTES, RgbImage};
use crate::text::{Lines, TextError};
use crate::walk::{self, Entry, PassedOver};
use anyhow::{Context, bail};

/// One image to classify.
#[derive(Clone, Debug)]
pub(super) enum Input {
    File(PathBuf),
    /// An image on the web.
    Url(String),
    /// The bytes of standard input.
    Stdin(std::sync::Arc<Vec<u8>>),
    /// A directory or list entry that could not be read: it gets a row of its own, like a bad image.
    Unreadable {
        path: PathBuf,
        reason: String,
    },
}

impl Input {
    /// Its path, unless it is a URL or standard input.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Unreadable { path, .. } => Some(path),
            Self::Url(_) | Self::Stdin(_) => None,
        }
    }

    /// Reads and decodes the image.
    pub(super) fn open(
        &self,
        options: &DecodeOptions,
        hub: &HubOptions,
    ) -> Result<RgbImage, RowError> {
        let image = match self {
            Self::File(path) => preprocess::open(path, options),
            Self::Url(url) => {
                let bytes = hub::fetch_image(url, MAX_FILE_BYTES, hub);
                let bytes = bytes.map_err(|error| RowError::from(&Error::from(error)))?;
                preprocess::decode(&bytes, options)
            }
            Self::Stdin(bytes) => preprocess::decode(bytes, options),
            Self::Unreadable { reason, .. } => return Err(RowError::new(reason)),
        };
        image.map_err(|error| RowError::from(&Error::from(error)))
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Unreadable { path, .. } => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
            Self::Stdin(_) => f.write_str("-"),
        }
    }
}

/// Resolves files, directories, `-` and a list of paths, in the order given; a directory's files by
/// name. Files that are skipped in directories are counted.
///
/// # Errors
/// If standard input is named twice, a list cannot be read, or there are no images.
pub(super) fn collect(
    arguments: &[PathBuf],
    files_from: Option<&Path>,
    null: bool,
) -> anyhow::Result<(Vec<Input>, PassedOver)> {
    let stdin_uses = arguments.iter().filter(|path| is_stdin(path)).count()
        + usize::from(files_from.is_some_and(is_stdin));
    if stdin_uses > 1 {
        bail!("standard input can be read only once, but `-` is given {stdin_uses} times");
    }
    let mut inputs = Vec::new();
    let mut passed = PassedOver::default();
    for argument in arguments {
        if is_stdin(argument) {
            inputs.push(Input::Stdin(read_stdin()?.into()));
        } else {
            push_path(argument.clone(), &mut inputs, &mut passed);
        }
    }
    if let Some(list) = files_from {
        for path in read_list(list, null)? {
            push_path(path, &mut inputs, &mut passed);
        }
    }
    if inputs.is_empty() {
        let places: Vec<String> = arguments
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let places = if places.is_empty() {
            "the list".to_owned()
        } else {
            places.join(", ")
        };
        let passed = passed.note().map(|note| format!("; {note}"));
        bail!("no images found in {places}{}", passed.unwrap_or_default());
    }
    Ok((inputs, passed))
}

pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

pub(super) fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .context("cannot read standard input")?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("standard input is longer than {MAX_FILE_BYTES} bytes, the limit for an image");
    }
    Ok(bytes)
}

/// The paths of a list, one per line or separated by NUL bytes.
fn read_list(list: &Path, null: bool) -> Result<Vec<PathBuf>, Error> {
    let name = if is_stdin(list) {
        "standard input".to_owned()
    } else {
        list.display().to_string()
    };
    let mut lines = if is_stdin(list) {
        Lines::new(name.clone(), std::io::stdin().lock())
    } else {
        Lines::open(list)
    }?;
    let wrong = |line, expected, found: &str| {
        Error::from(TextError::Undecodable {
            path: name.clone(),
            line,
            expected,
            found: found.to_owned(),
        })
    };
    // The buffer is longer than any path, so it has a NUL byte if the list has any.
    let (said, null) = (null, null || lines.start()?.contains(&0));
    let mut paths = Vec::new();
    let mut short = 0;
    while let Some((bytes, end)) =
        lines.next_bytes(|byte| byte == 0 || (!null && matches!(byte, b'\n' | b'\r')))?
    {
        let line = lines.line();
        match (null, end) {
            (true, _) if bytes.is_empty() => {
                return Err(wrong(line, "a path before each NUL byte", "none"));
            }
            (false, Some(0)) => {
                let expected = "a path on each line (`--null` reads NUL bytes between them)";
                return Err(wrong(line, expected, "a NUL byte"));
            }
            _ => {}
        }
        short += usize::from(bytes.len() == 1);
        if !bytes.is_empty() {
            paths.push(path_from_bytes(bytes));
        }
    }
    // Every second byte of English text in UTF-16 is NUL.
    if null && !said && short > 1 && 2 * short > paths.len() {
        let expected = "text in UTF-8, or in UTF-16 with a byte order mark";
        return Err(wrong(1, expected, "paths of one letter"));
    }
    if paths.is_empty() {
        return Err(Error::from(TextError::Empty { path: name }));
    }
    Ok(paths)
}

#[cfg(unix)]
pub(super) fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
pub(super) fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

fn push_path(path: PathBuf, inputs: &mut Vec<Input>, passed: &mut PassedOver) {
    let url = path
        .to_str()
        .filter(|path| path.starts_with("https://") || path.starts_with("http://"));
    if let Some(url) = url {
        inputs.push(Input::Url(url.to_owned()));
        return;
    }
    if !path.is_dir() {
        inputs.push(Input::File(path));
        return;
    }
    for entry in walk::below(&path, |_| false, passed) {
        let (path, reason) = match entry {
            Entry::File(path) => {
                inputs.push(Input::File(path));
                continue;
            }
            Entry::Foreign(_, kind) => {
                passed.foreign(kind);
                continue;
            }
            Entry::Folder(_) => continue,
            Entry::BrokenLink(path) => (path, "a broken link".to_owned()),
            Entry::Unreadable(path, error) => (path, error.to_string()),
        };
        inputs.push(Input::Unreadable { path, reason });
    }
}
