//! The report as a page in a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::published::Comparison;
use crate::error::Error;
use crate::eval::page::{Page, Published, Thumbnail, surest_mistakes};
use crate::eval::{EvalError, Header, Record, Report};
use crate::image::RgbImage;

/// A file that a page can be written to, found out before the work that the page is about.
pub(super) struct Output {
    path: PathBuf,
}

impl Output {
    /// # Errors
    /// If no file can be made beside `path`, or something that is no file has its name.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let prepare = || {
            // A link stays what it is; the file that it leads to is replaced.
            let path = match fs::canonicalize(path) {
                Ok(path) if path.is_file() => path,
                Ok(_) => return Err(io::Error::other("it exists and is no file")),
                Err(_) => path.to_owned(),
            };
            let temporary = beside(&path)?;
            File::create_new(&temporary)?;
            fs::remove_file(&temporary)?;
            Ok(path)
        };
        let path = prepare().map_err(|error| unwritable(path, error))?;
        Ok(Self { path })
    }

    /// Writes the page; `picture` gives those that it shows, as far as they are at hand.
    pub(super) fn write(
        &self,
        header: &Header,
        report: &Report,
        records: &[Record],
        warnings: &[String],
        comparison: Option<&Comparison>,
        picture: impl Fn(&Record) -> Option<RgbImage>,
    ) -> Result<(), Error> {
        let thumbnails: BTreeMap<usize, Thumbnail> = surest_mistakes(records)
            .into_iter()
            .filter_map(|record| Some((record.index, Thumbnail::new(&picture(record)?)?)))
            .collect();
        let page = Page {
            header,
            report,
            records,
            warnings,
            published: comparison.map(|comparison| Published {
                top1: comparison.top1,
                top5: comparison.top5,
                source: &comparison.source,
                agrees: comparison.agrees,
            }),
            thumbnails: &thumbnails,
        };
        self.replace(&page.to_string())
            .map_err(|error| unwritable(&self.path, error))
    }

    /// The file gets its name when it is whole.
    fn replace(&self, text: &str) -> io::Result<()> {
        let temporary = beside(&self.path)?;
        let write = || {
            let mut file = File::create_new(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }
}

/// A name in the same folder that no other process uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it is no name of a file"))?
        .to_owned();
    name.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(name))
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::from(EvalError::Unwritable {
        path: path.display().to_string(),
        error,
    })
}
