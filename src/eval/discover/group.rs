//! Images that belong together, such as those of one burst or of one patient.

use std::collections::HashMap;
use std::convert::Infallible;
use std::str::FromStr;

use super::{DiscoverOptions, Named};
use crate::eval::EvalError;
use crate::eval::names::composed;

/// What says that images belong together, so that they must not be learnt from and tested on at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupBy {
    /// The folder that an image is in, if that is not the folder of its class: `cat/burst7` is a group,
    /// and images directly in `cat` are a group each.
    Folder,
    /// The values of this column of the file of labels, or of the Parquet table.
    Column(String),
}

/// `folder`, or the name of a column.
impl FromStr for GroupBy {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "folder" => Self::Folder,
            column => Self::Column(column.to_owned()),
        })
    }
}

impl GroupBy {
    pub(super) fn column(&self) -> Option<&str> {
        match self {
            Self::Folder => None,
            Self::Column(column) => Some(column),
        }
    }
}

/// The number of each image's group.
///
/// # Errors
/// [`EvalError::NoColumn`] if the column is not there.
pub(super) fn groups(
    named: &[Named],
    options: &DiscoverOptions,
    path: &str,
) -> Result<Vec<usize>, EvalError> {
    let names: Vec<Option<String>> = match &options.group_by {
        None => vec![None; named.len()],
        Some(GroupBy::Folder) => {
            let is_listed = options.labels.is_some();
            named.iter().map(|image| folder(image, is_listed)).collect()
        }
        Some(GroupBy::Column(_)) if options.labels.is_some() => {
            let groups = named.iter().map(|(_, _, group)| group.clone());
            groups
                .map(|group| group.filter(|group| !group.is_empty()))
                .collect()
        }
        Some(GroupBy::Column(column)) => values(named, column, path)?,
    };
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut count = 0;
    let mut next = || {
        count += 1;
        count - 1
    };
    let numbered = names.into_iter().map(|name| match name {
        Some(name) => *numbers.entry(name).or_insert_with(&mut next),
        None => next(),
    });
    Ok(numbered.collect())
}

/// The folder of an image below that of its class; of listed and stated classes no folder is theirs.
fn folder((found, class, _): &Named, is_listed: bool) -> Option<String> {
    let (folder, _) = found.name.rsplit_once('/')?;
    let (inner, _) = found.inner.rsplit_once('/')?;
    let innermost = inner.rsplit('/').next().unwrap_or_default();
    let is_class = match (is_listed || found.stated, found.by_folders) {
        (true, _) => false,
        (false, true) => composed(innermost) == *class,
        (false, false) => !inner.contains('/'),
    };
    (!is_class).then(|| folder.to_owned())
}

/// The values of a column of Parquet tables.
#[cfg(feature = "parquet")]
fn values(named: &[Named], column: &str, path: &str) -> Result<Vec<Option<String>>, EvalError> {
    use std::collections::hash_map::Entry;
    use std::sync::Arc;

    use crate::eval::Source;
    use crate::eval::find::NULL;

    let mut tables: HashMap<*const (), Vec<String>> = HashMap::new();
    let value = |(found, ..): &Named| {
        let Source::Row { table, row } = &found.source else {
            return Err(no_column(path, column));
        };
        let texts = match tables.entry(Arc::as_ptr(table).cast()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let texts = table.texts(column).map_err(|reason| EvalError::Archive {
                    path: path.to_owned(),
                    reason,
                })?;
                place.insert(texts)
            }
        };
        Ok(texts.get(*row).filter(|text| *text != NULL).cloned())
    };
    named.iter().map(value).collect()
}

#[cfg(not(feature = "parquet"))]
fn values(_: &[Named], column: &str, path: &str) -> Result<Vec<Option<String>>, EvalError> {
    Err(no_column(path, column))
}

fn no_column(path: &str, column: &str) -> EvalError {
    EvalError::NoColumn {
        path: path.to_owned(),
        column: column.to_owned(),
        found: String::new(),
    }
}
