//! The images of folders, archives and tables, before they have labels.

mod folder;
mod members;
#[cfg(feature = "parquet")]
pub(super) mod parquet;
mod tar;

use std::path::{Path, PathBuf};

use super::spool::Spool;
use super::{Classes, EvalError, Source};
use crate::quote::lost_bytes;
use crate::walk::PassedOver;

/// The label of an image whose table or archive states that it has none.
pub(super) const NULL: &str = "null";

/// An image found in the data set.
#[derive(Debug)]
pub(super) struct Found {
    /// Its name in results: the path inside all that is evaluated, with `/` as the separator.
    pub name: String,
    /// The bytes of the name in base64, where it is not UTF-8.
    pub name_bytes: Option<String>,
    /// Its path inside its folder or archive, as label files give it.
    pub inner: String,
    /// Candidate class names, of which the first that is known counts: the name of a folder or
    /// archive, or the label that the archive states.
    pub classes: Vec<String>,
    /// Whether the folders in `inner` are candidates too, innermost first.
    pub by_folders: bool,
    /// Whether the label comes from the archive or table and not from a folder's name.
    pub stated: bool,
    pub source: Source,
}

impl Found {
    /// Whether only a list names it.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.source, Source::Nothing(_)) && self.stated && self.classes.is_empty()
    }

    /// The candidate class names, of which the first that is known counts.
    pub(super) fn classes(&self) -> impl Iterator<Item = &str> {
        let folders = self.inner.rsplit('/').skip(1);
        let folders = folders.filter(|_| self.by_folders);
        self.classes.iter().map(String::as_str).chain(folders)
    }
}

/// A folder without an image below it.
#[derive(Debug)]
pub(super) struct Bare {
    pub name: String,
    /// Candidate class names, of which the first that is known counts, and whether the folder of
    /// that name has an image below it.
    pub classes: Vec<(String, bool)>,
    /// Whether it has files that look like images.
    pub has_foreign: bool,
}

/// What was found, and what was skipped.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub found: Vec<Found>,
    pub bare: Vec<Bare>,
    pub passed: PassedOver,
}

/// The images of `paths`: folders by name, archives in their own order. What cannot be read in
/// place is copied to `spool`. Without `classes` no labels are read, and a path may be one image.
///
/// # Errors
/// If a path cannot be read, lies inside another, or holds no images.
pub(super) fn images(
    paths: &[impl AsRef<Path>],
    classes: Option<&Classes<'_>>,
    spool: &mut Spool,
) -> Result<Search, EvalError> {
    let mut all = Search::default();
    let mut known: Vec<(PathBuf, &Path)> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if !is_stream(path)
            && let Ok(place) = path.canonicalize()
        {
            let shared = |(other, _): &&(PathBuf, &Path)| {
                place.starts_with(other) || other.starts_with(&place)
            };
            if let Some((_, other)) = known.iter().find(shared) {
                return Err(EvalError::Twice {
                    path: path.display().to_string(),
                    other: other.display().to_string(),
                });
            }
            known.push((place, path));
        }
        let own_name = path.file_name().unwrap_or(path.as_os_str());
        let own_name = own_name.to_string_lossy();
        if is_stream(path) || (is_archive(path) && !path.is_dir()) {
            in_archive(path, &own_name, classes, spool, &mut all)?;
        } else if path.is_dir() {
            let prefix = (paths.len() > 1).then_some(&*own_name);
            folder::images(path, prefix, classes, spool, &mut all)?;
        } else if classes.is_none() && path.is_file() {
            all.found.push(one(path));
        } else {
            return Err(EvalError::NoData {
                path: path.display().to_string(),
                exists: path.exists(),
            });
        }
    }
    if all.found.is_empty() {
        let paths = paths.iter().map(|path| path.as_ref().display().to_string());
        return Err(EvalError::NoImages {
            path: paths.collect::<Vec<_>>().join(", "),
            passed: all.passed.note(),
        });
    }
    Ok(all)
}

/// An image that is named by itself; results call it by the whole path.
fn one(path: &Path) -> Found {
    let name = path.to_string_lossy().into_owned();
    Found {
        name_bytes: lost_bytes(path.as_os_str().as_encoded_bytes()),
        inner: name.clone(),
        name,
        classes: Vec::new(),
        by_folders: false,
        stated: false,
        source: Source::File(path.to_owned()),
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    let found = path.extension().and_then(|extension| extension.to_str());
    found.is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn is_archive(path: &Path) -> bool {
    archive_stem(path).is_some() || has_extension(path, "parquet")
}

/// The name of a tar archive without its extensions.
fn archive_stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let stem = |extension: &str| {
        let place = name.len().checked_sub(extension.len())?;
        let (stem, found) = (name.get(..place)?, name.get(place..)?);
        (!stem.is_empty() && found.eq_ignore_ascii_case(extension)).then(|| stem.to_owned())
    };
    [".tar", ".tar.gz", ".tgz"].into_iter().find_map(stem)
}

/// Whether a path is standard input or a pipe, which can only hold an archive.
fn is_stream(path: &Path) -> bool {
    let kind = path.metadata().map(|metadata| metadata.file_type());
    is_stdin(path) || kind.is_ok_and(|kind| !kind.is_file() && !kind.is_dir())
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The images of an archive that results call `name`.
#[cfg_attr(
    not(feature = "parquet"),
    expect(unused_variables, reason = "only a table names classes")
)]
fn in_archive(
    path: &Path,
    name: &str,
    classes: Option<&Classes<'_>>,
    spool: &mut Spool,
    search: &mut Search,
) -> Result<(), EvalError> {
    if !has_extension(path, "parquet") {
        return tar::images(path, name, spool, search);
    }
    #[cfg(feature = "parquet")]
    return parquet::images(path, name, classes).map(|found| search.found.extend(found));
    #[cfg(not(feature = "parquet"))]
    Err(EvalError::NoParquet {
        path: path.display().to_string(),
    })
}

/// A path with `/` as the separator.
fn with_slashes(path: &Path) -> String {
    let parts = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// The end of the path from which `name` was made, with U+FFFD for what is not UTF-8.
fn end_of(path: &Path, name: &str) -> Vec<u8> {
    let parts = name.split('/').count();
    let mut end: Vec<&[u8]> = path
        .components()
        .rev()
        .take(parts)
        .map(|part| part.as_os_str().as_encoded_bytes())
        .collect();
    end.reverse();
    end.join(&b'/')
}
