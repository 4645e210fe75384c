//! Class folders, flat folders, and folders of archives.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Bare, Found, Search, end_of, in_archive, is_archive, with_slashes};
use crate::eval::spool::Spool;
use crate::eval::{Classes, EvalError, Source};
use crate::preprocess::is_image_name;
use crate::quote::lost_bytes;
use crate::walk::{self, Entry};

/// The images below the folder, or those of the archives below it.
pub(super) fn images(
    folder: &Path,
    prefix: Option<&str>,
    classes: Option<&Classes<'_>>,
    spool: &mut Spool,
    search: &mut Search,
) -> Result<(), EvalError> {
    let named = |inner: &str| prefix.map_or(inner.to_owned(), |prefix| format!("{prefix}/{inner}"));
    let inside = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_owned();
    let (mut archives, mut images) = (Vec::new(), Vec::new());
    // Whether a folder holds images that are not read.
    let mut tops: BTreeMap<String, bool> = BTreeMap::new();
    for entry in walk::below(folder, is_archive, &mut search.passed) {
        match entry {
            Entry::File(path) if is_archive(&path) => archives.push(inside(&path)),
            Entry::File(path) => images.push(inside(&path)),
            Entry::Folder(path) => {
                let inner = with_slashes(&inside(&path));
                tops.entry(class(&inner).unwrap_or(inner)).or_default();
            }
            Entry::Foreign(path, kind) => {
                search.passed.foreign(kind);
                if let Some(top) = class(&with_slashes(&inside(&path))) {
                    tops.insert(top, true);
                }
            }
            // Counted as an image that cannot be read.
            Entry::BrokenLink(path) if is_image_name(&path) => images.push(inside(&path)),
            Entry::BrokenLink(_) => search.passed.broken_link(),
            Entry::Unreadable(path, error) => {
                return Err(EvalError::Unreadable {
                    path: path.display().to_string(),
                    error,
                });
            }
        }
    }
    if let (Some(archive), Some(image)) = (archives.first(), images.first()) {
        return Err(EvalError::ImagesAndArchives {
            path: folder.display().to_string(),
            image: image.display().to_string(),
            archive: archive.display().to_string(),
        });
    }
    for archive in &archives {
        let name = named(&with_slashes(archive));
        in_archive(&folder.join(archive), &name, classes, spool, search)?;
    }
    for image in images {
        let inner = with_slashes(&image);
        let class = class(&inner);
        if let Some(class) = &class {
            tops.remove(class);
        }
        let name = named(&inner);
        search.found.push(Found {
            name_bytes: lost_bytes(&end_of(&folder.join(&image), &name)),
            name,
            inner,
            classes: class.into_iter().collect(),
            by_folders: false,
            stated: false,
            source: Source::File(folder.join(image)),
        });
    }
    if archives.is_empty() {
        search
            .bare
            .extend(tops.into_iter().map(|(top, has_foreign)| Bare {
                name: named(&top),
                classes: vec![(top, false)],
                has_foreign,
            }));
    }
    Ok(())
}

/// The class folder of a file: the first component of its path.
fn class(inner: &str) -> Option<String> {
    inner.split_once('/').map(|(class, _)| class.to_owned())
}
