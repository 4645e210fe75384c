//! Class folders, flat folders, and folders of archives.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{Found, end_of, in_archive, is_archive, with_slashes};
use crate::eval::spool::Spool;
use crate::eval::{Classes, EvalError, Source};
use crate::image::is_picture_name;
use crate::quote::lost_bytes;

/// The pictures below the folder, or those of the archives below it. Links are followed, but for
/// those that lead back up.
pub(super) fn pictures(
    folder: &Path,
    prefix: Option<&str>,
    classes: &Classes<'_>,
    spool: &mut Spool,
) -> Result<Vec<Found>, EvalError> {
    let files = files(folder)?;
    let (archives, pictures): (Vec<PathBuf>, Vec<PathBuf>) =
        files.into_iter().partition(|file| is_archive(file));
    if let (Some(archive), Some(picture)) = (archives.first(), pictures.first()) {
        return Err(EvalError::PicturesAndArchives {
            path: folder.display().to_string(),
            picture: picture.display().to_string(),
            archive: archive.display().to_string(),
        });
    }
    let named = |inner: &str| prefix.map_or(inner.to_owned(), |prefix| format!("{prefix}/{inner}"));
    let mut found = Vec::new();
    for archive in archives {
        let name = named(&with_slashes(&archive));
        found.extend(in_archive(&folder.join(&archive), &name, classes, spool)?);
    }
    found.extend(pictures.into_iter().map(|picture| {
        let inner = with_slashes(&picture);
        let class = inner.split_once('/').map(|(class, _)| class.to_owned());
        let name = named(&inner);
        Found {
            name_bytes: lost_bytes(&end_of(&folder.join(&picture), &name)),
            name,
            inner,
            classes: class.into_iter().collect(),
            by_folders: false,
            source: Source::File(folder.join(picture)),
        }
    }));
    Ok(found)
}

/// Pictures and archives by name, their paths relative to the folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let mut files = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    let mut keep = |path: &Path| files.push(path.strip_prefix(folder).unwrap_or(path).to_owned());
    for entry in walk {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                if is_picture_name(entry.path()) || is_archive(entry.path()) {
                    keep(entry.path());
                }
            }
            Ok(_) => {}
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                let broken_link = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
                if broken_link && is_picture_name(&path) {
                    // Counted as a picture that cannot be read.
                    keep(&path);
                    continue;
                }
                return Err(EvalError::Unreadable {
                    path: path.display().to_string(),
                    error: error.into(),
                });
            }
        }
    }
    Ok(files)
}
