//! Data sets that say themselves which classes there are.

mod group;
mod list;
mod order;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use group::GroupBy;
use group::groups;
use list::listed;
use order::natural_key;

use super::classes::set_name;
use super::find::{self, Found, NULL, Search};
use super::names::composed;
use super::spool::Spool;
use super::{Classes, Dataset, EvalError, Item};
use crate::labels::{Label, LabelSet};

/// How the classes of a data set are found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DiscoverOptions {
    /// File that labels the images, instead of folders.
    pub labels: Option<PathBuf>,
    /// What says that images belong together.
    pub group_by: Option<GroupBy>,
}

/// A data set and what was found out about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Discovered {
    /// The images, labelled.
    pub data: Dataset,
    /// The classes, in natural order.
    pub labels: LabelSet,
    /// For each item of the data set, the number of its group; without
    /// [`DiscoverOptions::group_by`], each is a group of its own.
    pub groups: Vec<usize>,
}

/// An image with its class, and with what groups it if a list says so.
type Named = (Found, String, Option<String>);

impl Dataset {
    /// The images of folders, tar archives and Parquet tables as [`Dataset::open`] reads them, and the
    /// classes that they are labelled with:
    ///
    /// * in a folder, those of the folders directly in it;
    /// * in a tar archive, the labels that it states; otherwise its folders, below those that lead to all
    ///   of its images; otherwise the name of the archive;
    /// * in a Parquet table, the labels by name, or by number where the table names no classes;
    /// * with [`DiscoverOptions::labels`], what the file says. It is read as by [`Dataset::open`]; a file
    ///   whose first line names three columns or more is a table, with the image in its first and the
    ///   class in its second column.
    ///
    /// The classes are in natural order, as timm sorts folders: without regard to case, and runs of digits
    /// as numbers. Images without a label are counted in [`Dataset::left_out`].
    ///
    /// # Errors
    /// If something cannot be read, there are no images, an image has no class or several, or
    /// [`DiscoverOptions::group_by`] names a column that is not there.
    pub fn discover(
        paths: &[impl AsRef<Path>],
        options: &DiscoverOptions,
    ) -> Result<Discovered, EvalError> {
        let none = LabelSet::numbered(0);
        let mut spool = Spool::default();
        let search = find::images(paths, Some(&Classes::new(&none)), &mut spool)?;
        let path = match paths {
            [path] => path.as_ref().display().to_string(),
            _ => "all paths".to_owned(),
        };
        let Search {
            found,
            bare,
            passed,
        } = search;
        let column = options.group_by.as_ref().and_then(GroupBy::column);
        let all = found.len();
        let (named, empty) = match &options.labels {
            Some(file) => (listed(found, file, &path, column)?, Vec::new()),
            None => {
                let empty = bare.into_iter().map(|bare| bare.name);
                (placed(found, &path)?, empty.collect())
            }
        };
        // An image that a list names and that is not there was not found.
        let there = named.iter().filter(|(found, ..)| !found.is_missing());
        let left_out = all - there.count();
        if named.is_empty() {
            return Err(EvalError::AllLeftOut {
                path,
                images: left_out,
            });
        }
        let groups = groups(&named, options, &path)?;
        let labels = label_set(&named, &path);
        let numbers: BTreeMap<&str, usize> = labels
            .entries
            .iter()
            .enumerate()
            .map(|(index, label)| (&*label.name, index))
            .collect();
        let items = named.into_iter().enumerate();
        let items = items.map(|(index, (image, class, _))| Item {
            index,
            labels: numbers.get(&*class).copied().into_iter().collect(),
            name: image.name,
            name_bytes: image.name_bytes,
            source: image.source,
        });
        let data = Self {
            items: items.collect(),
            left_out,
            passed,
            empty,
            order: None,
            numbered: None,
            spooled: spool.length,
            classes: labels.entries.clone(),
            set_name: set_name(&labels),
            multi_label: false,
            valid: None,
        };
        Ok(Discovered {
            data,
            labels,
            groups,
        })
    }
}

/// The classes that occur, in natural order.
fn label_set(named: &[Named], path: &str) -> LabelSet {
    let mut names: Vec<&String> = named.iter().map(|(_, class, _)| class).collect();
    names.sort_by_cached_key(|name| natural_key(name));
    names.dedup();
    let entries = names.into_iter().map(|name| Label {
        id: None,
        name: name.clone(),
        // A comma in the name of a folder does not separate synonyms.
        full: name.clone(),
    });
    LabelSet {
        name: path.to_owned(),
        source: path.to_owned(),
        entries: entries.collect(),
    }
}

/// The images with the class that their folder, archive or table gives them.
fn placed(found: Vec<Found>, path: &str) -> Result<Vec<Named>, EvalError> {
    let top = common_folders(&found);
    let class = |found: &Found| {
        let own = found.classes.first().map(String::as_str);
        let folder = || folders(&found.inner).nth(top).filter(|_| found.by_folders);
        own.or_else(folder).map(str::to_owned)
    };
    let loose = || found.iter().filter(|found| class(found).is_none());
    if let Some(first) = loose().next() {
        return Err(EvalError::NoClassFolder {
            path: path.to_owned(),
            images: loose().count(),
            first: first.name.clone(),
        });
    }
    let named = found.into_iter().filter_map(|found| {
        let class = composed(&class(&found)?);
        let is_none = found.stated && (class == NULL || class.is_empty());
        (!is_none).then_some((found, class, None))
    });
    Ok(named.collect())
}

/// The folders around an image, outermost first.
fn folders(inner: &str) -> impl Iterator<Item = &str> {
    let last = inner.matches('/').count();
    inner.split('/').take(last)
}

/// How many folders lead to all images of archives without labels. The folder of each image is left.
fn common_folders(found: &[Found]) -> usize {
    let mut images = found
        .iter()
        .filter(|found| found.by_folders && found.classes.is_empty());
    let Some(first) = images.next() else {
        return 0;
    };
    let first: Vec<&str> = folders(&first.inner).collect();
    images.fold(first.len().saturating_sub(1), |common, image| {
        let own: Vec<&str> = folders(&image.inner).collect();
        let pairs = own.iter().zip(&first).take(own.len().saturating_sub(1));
        let same = pairs.take_while(|(a, b)| a == b).count();
        common.min(same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Source;

    fn in_archive(inner: &str) -> Found {
        Found {
            name: format!("x.tar/{inner}"),
            name_bytes: None,
            inner: inner.to_owned(),
            classes: Vec::new(),
            by_folders: true,
            stated: false,
            source: Source::Nothing("".into()),
        }
    }

    #[test]
    fn folders_that_lead_to_all_images_are_no_classes() {
        for (inners, expected) in [
            (
                &["data/cat/1.png", "data/dog/b/2.png"][..],
                &["cat", "dog"][..],
            ),
            (&["cat/1.png", "dog/2.png"], &["cat", "dog"]),
            (&["a/b/cat/1.png", "a/b/cat/2.png"], &["cat", "cat"]),
            (&["a/cat/x/1.png", "a/cat/2.png"], &["cat", "cat"]),
            (&["data/1.png", "data/cat/2.png"], &["data", "data"]),
        ] {
            let found = inners.iter().map(|inner| in_archive(inner)).collect();
            let named = placed(found, "x.tar").unwrap();
            let classes: Vec<&str> = named.iter().map(|(_, class, _)| &**class).collect();
            assert_eq!(classes, expected);
        }
        assert!(placed(vec![in_archive("1.png")], "x.tar").is_err());
    }
}
