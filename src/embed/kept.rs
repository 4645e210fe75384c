//! Which images of a run have a row in a file that is there.

use std::collections::HashSet;
use std::path::Path;

use super::{EmbedError, FeatureFile, journal};
use crate::eval::Item;
use crate::quote::given_bytes;

/// Keeps the images whose path the file lacks.
///
/// # Errors
/// [`EmbedError::Twice`].
pub(super) fn keep_new(file: &FeatureFile, items: &mut Vec<&Item>) -> Result<(), EmbedError> {
    let known: HashSet<&[u8]> = file.paths().collect();
    items.retain(|item| !known.contains(&*item.path()));
    let mut new = HashSet::new();
    match items.iter().find(|item| !new.insert(item.path())) {
        Some(item) => Err(EmbedError::Twice {
            image: item.name.clone(),
        }),
        None => Ok(()),
    }
}

/// Whether a whole file has a row for each of the images but for those in the list of errors, and no
/// others.
///
/// # Errors
/// [`EmbedError::Mismatch`], [`EmbedError::Lacks`].
pub(super) fn check_whole(
    file: &FeatureFile,
    errors: &Path,
    items: &[&Item],
) -> Result<(), EmbedError> {
    let path = || file.source().display().to_string();
    let all: HashSet<_> = items.iter().map(|item| item.path()).collect();
    if let Some(other) = file.paths().find(|path| !all.contains(*path)) {
        return Err(EmbedError::Mismatch {
            path: path(),
            field: "list of images",
            expected: "that of the data".to_owned(),
            found: format!("one with `{}`", String::from_utf8_lossy(other)),
        });
    }
    let known: HashSet<&[u8]> = file.paths().collect();
    let mut failed = HashSet::new();
    journal::read_failures(errors, |failure| {
        let bytes = failure.path_bytes.as_deref().and_then(given_bytes);
        failed.insert(bytes.unwrap_or_else(|| failure.path.into_bytes()));
    })?;
    let has = |item: &&&Item| known.contains(&*item.path()) || failed.contains(&*item.path());
    let mut lacking = items.iter().filter(|item| !has(item));
    match lacking.next() {
        Some(first) => Err(EmbedError::Lacks {
            path: path(),
            count: 1 + lacking.count(),
            first: first.name.clone(),
        }),
        None => Ok(()),
    }
}
