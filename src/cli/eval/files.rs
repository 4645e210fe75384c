//! The files written in addition to the report: an HTML page, a Parquet table.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::eval::page::{Page, Thumbnail, surest_mistakes};
use crate::eval::{EvalError, Record, ReportContext};
use crate::files::Target;
use crate::preprocess::RgbImage;

/// The files to write.
pub(super) struct Files {
    pub page: Option<Output>,
    #[cfg(feature = "parquet")]
    pub table: Option<Output>,
}

impl Files {
    /// Writes them; `image` returns those that the page shows, if they are available.
    pub(super) fn write(
        &self,
        context: &ReportContext<'_>,
        image: impl Fn(&Record) -> Option<RgbImage>,
    ) -> Result<(), Error> {
        if let Some(output) = &self.page {
            output.replace(page(context, image).as_bytes())?;
        }
        #[cfg(feature = "parquet")]
        if let Some(output) = &self.table {
            let table = crate::eval::table(context.header, context.records);
            output.replace(&table.map_err(|error| unwritable(&output.path, error))?)?;
        }
        Ok(())
    }
}

fn page(context: &ReportContext<'_>, image: impl Fn(&Record) -> Option<RgbImage>) -> String {
    let thumbnails: BTreeMap<usize, Thumbnail> = surest_mistakes(context.records)
        .into_iter()
        .filter_map(|record| Some((record.index, Thumbnail::new(&image(record)?)?)))
        .collect();
    let page = Page {
        context: *context,
        thumbnails: &thumbnails,
        training: None,
    };
    page.to_string()
}

/// A file to be written, checked before the work starts.
pub(in crate::cli) struct Output {
    path: PathBuf,
}

impl Output {
    /// # Errors
    /// If the file cannot be created in its directory, the path is a directory, or it is one of
    /// `kept`, which would be lost.
    pub(in crate::cli) fn new(path: &Path, kept: &[&Path]) -> Result<Self, Error> {
        let check = || {
            let target = Target::find(path)?;
            let own = match &target {
                Target::File(path) => place(path),
                Target::Stream(_) => None,
            };
            if own.is_some() && kept.iter().any(|kept| place(kept) == own) {
                return Err(io::Error::other(
                    "it would replace a file of another argument",
                ));
            }
            target.check()
        };
        check().map_err(|error| unwritable(path, error))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    pub(in crate::cli) fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        crate::files::write(&self.path, bytes).map_err(|error| unwritable(&self.path, error))
    }
}

/// The path of an existing or future file, in canonical form.
pub(in crate::cli) fn place(path: &Path) -> Option<PathBuf> {
    let path = &match Target::find(path) {
        Ok(Target::File(path)) => path,
        _ => path.to_owned(),
    };
    fs::canonicalize(path).ok().or_else(|| {
        let folder = path.parent()?;
        let folder = if folder == Path::new("") {
            Path::new(".")
        } else {
            folder
        };
        Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
    })
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::from(EvalError::Unwritable {
        path: path.display().to_string(),
        error,
    })
}
