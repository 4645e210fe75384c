//! Numbers of classes in another order than the model's: as strings, as torchvision's `ImageFolder`
//! sorts folders, or counted from 1.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::classes::LabelIds;
use super::find::Found;
use super::{Classes, EvalError, Numbering};

/// The order of class folders that their classes were numbered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderOrder {
    /// 0, 1, 2, … 10: a folder's number is its class.
    Numeric,
    /// 0, 1, 10, … 2: a class is a folder's place among all, sorted as strings.
    String,
}

/// Where the numbers come from that all labels of a data set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    Folders,
    List,
}

/// The classes of folders by their names, where a class is the place among all.
///
/// # Errors
/// If there is not one folder for each class, and the missing ones are not those of other numbers.
pub(super) fn by_string<'f>(
    folders: impl Iterator<Item = &'f str>,
    data: &Path,
    classes: &Classes<'_>,
) -> Result<HashMap<String, usize>, EvalError> {
    let folders = folders.filter(|folder| !classes.is_mapped(folder));
    let folders: BTreeSet<&str> = folders.collect();
    let all = classes.len();
    if folders.len() == all {
        let numbered = folders.into_iter().map(str::to_owned).zip(0..);
        return Ok(numbered.collect());
    }
    let from_one = match classes.label_ids() {
        Some(LabelIds::FromOne) => true,
        Some(_) => false,
        None => !folders.contains("0") && folders.contains(&*all.to_string()),
    };
    let order = strings(all, usize::from(from_one));
    if folders.iter().all(|folder| order.contains_key(*folder)) {
        return Ok(order);
    }
    Err(EvalError::FolderOrder {
        path: data.display().to_string(),
        folders: folders.len(),
        classes: all,
    })
}

/// The places of numbers, from `first` on, among all sorted as strings.
fn strings(count: usize, first: usize) -> HashMap<String, usize> {
    let mut numbers: Vec<String> = (first..first + count).map(|n| n.to_string()).collect();
    numbers.sort_unstable();
    numbers.into_iter().zip(0..).collect()
}

/// The folder that is the class of an image: the first of its candidates that is a number, else the
/// first.
pub(super) fn folder(found: &Found) -> Option<&str> {
    let number = |name: &&str| name.bytes().all(|byte| byte.is_ascii_digit());
    found
        .classes()
        .find(number)
        .or_else(|| found.classes().next())
}

/// Another reading of numbers than the one that was taken.
pub(super) struct Reading {
    /// What the numbers would count.
    pub numbering: Numbering,
    /// The class that a label would mean, by label.
    pub classes: Vec<Option<usize>>,
}

/// Other readings of labels that were all numbers, where the user has not said what these count.
pub(super) fn readings(
    numbered: Numbered,
    order: Option<FolderOrder>,
    classes: &Classes<'_>,
) -> Vec<Reading> {
    let all = classes.len();
    let is_open = classes.label_ids().is_none();
    let mut readings = Vec::new();
    if is_open && order != Some(FolderOrder::String) {
        readings.push(Reading {
            numbering: Numbering {
                label_ids: Some(LabelIds::FromOne),
                order: None,
            },
            classes: (0..all).map(|label| label.checked_sub(1)).collect(),
        });
    }
    if numbered == Numbered::Folders && order.is_none() {
        // The number that was read as each label.
        let read = usize::from(classes.label_ids() == Some(LabelIds::FromOne));
        for (first, label_ids) in [(0, None), (1, Some(LabelIds::FromOne))] {
            if is_open || first == read {
                let order = strings(all, first);
                let meant = |label: usize| order.get(&(label + read).to_string()).copied();
                readings.push(Reading {
                    numbering: Numbering {
                        label_ids,
                        order: Some(FolderOrder::String),
                    },
                    classes: (0..all).map(meant).collect(),
                });
            }
        }
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelSet;

    #[test]
    fn places_among_strings() {
        let set = LabelSet::numbered(12);
        let classes = Classes::new(&set);
        let order = |folders: &[&str]| {
            let order = by_string(folders.iter().copied(), "data".as_ref(), &classes);
            order.map(|order| folders.iter().map(|name| order[*name]).collect::<Vec<_>>())
        };
        assert_eq!(order(&["2", "10", "0"]).unwrap(), [4, 2, 0]);
        assert_eq!(order(&["2", "12", "1"]).unwrap(), [4, 3, 0]);
        let padded: Vec<String> = (0..12).map(|number| format!("{number:02}")).collect();
        let padded: Vec<&str> = padded.iter().map(String::as_str).collect();
        assert_eq!(order(&padded).unwrap(), (0..12).collect::<Vec<_>>());
        let mut names = ["b", "a", "C", "l", "k", "j", "i", "h", "g", "f", "e", "d"];
        assert_eq!(
            order(&names).unwrap(),
            [2, 1, 0, 11, 10, 9, 8, 7, 6, 5, 4, 3]
        );
        names[3] = "k";
        assert!(order(&names).is_err());
        assert!(order(&["0", "12"]).is_err());
        assert!(order(&["00", "01"]).is_err());
    }
}
