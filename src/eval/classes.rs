//! Resolves the names, ids and numbers of a data set to classes of a model.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::LazyLock;

use super::EvalError;
use super::error::NUMBER_OF_A_CLASS;
use super::lists::{Entry, entries, is_entry, lines};
use super::names::{Names, find, shown};
use crate::labels::{Label, LabelSet};
use crate::text::Lines;

/// The label sets of ImageNet's classes, which its own numbers and subsets refer to: in the order of the
/// WordNet ids, and in that of the development kit.
const IMAGENET: [&str; 2] = ["imagenet-1k", "imagenet-1k-devkit"];

/// WordNet ids in the order of ILSVRC2012_ID, which counts from 1.
const DEVKIT: &str = include_str!("../../models/labels/ilsvrc2012-devkit.txt");

/// Data sets with a subset of ImageNet's classes, whose papers restrict a model's answers to it.
const SUBSETS: [(&str, &str); 2] = [
    (
        "imagenet-a",
        include_str!("../../models/labels/imagenet-a.txt"),
    ),
    (
        "imagenet-r",
        include_str!("../../models/labels/imagenet-r.txt"),
    ),
];

/// How class numbers are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelIds {
    /// From 0, in the order of the classifier's outputs (for ImageNet, sorted by WordNet id, as in
    /// Caffe's lists).
    Index,
    /// From 1, in the order of ImageNet's development kit.
    Devkit,
    /// From 1, in the order of the classifier's outputs.
    FromOne,
}

/// The classes of a model, looked up by the names that people and data sets use.
#[derive(Debug)]
pub struct Classes<'a> {
    set: &'a LabelSet,
    /// The user's map from texts to classes.
    map: Names,
    ids: Names,
    names: Names,
    synonyms: Names,
    /// How the user says that numbers are counted.
    label_ids: Option<LabelIds>,
}

/// What a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Class(usize),
    Excluded,
    Several(Vec<usize>),
    Unknown,
}

impl<'a> Classes<'a> {
    /// The classes of a label set.
    pub fn new(set: &'a LabelSet) -> Self {
        let mut classes = Self {
            set,
            map: Names::default(),
            ids: Names::default(),
            names: Names::default(),
            synonyms: Names::default(),
            label_ids: None,
        };
        for (index, label) in set.entries.iter().enumerate() {
            if let Some(id) = &label.id {
                classes.ids.insert(id, Some(index));
            }
            for name in [&label.name, &label.full] {
                classes.names.insert(name, Some(index));
            }
            for name in label.full.split(", ") {
                classes.synonyms.insert(name, Some(index));
            }
        }
        classes
    }

    /// Reads a map from a file: on each line a name, a separator (a tab, else a comma, else a
    /// space) and a class as [`Classes`] knows it, or `-` to exclude images of that name; or a JSON
    /// object of names and classes.
    ///
    /// # Errors
    /// If the file cannot be read, a line does not have two parts or its class is unknown, or two
    /// lines give one name different classes.
    pub fn read_map(&mut self, path: &Path) -> Result<(), EvalError> {
        // Classes are looked up without the map, so the order of its lines does not matter.
        let mut map = HashMap::new();
        for entry in entries(path, Lines::open(path)?, self)? {
            let entry = entry?;
            let class = self.mapped(path, &entry)?;
            let other = map.insert(entry.name.clone(), class);
            if other.is_some_and(|other| other != class) {
                return Err(entry.wrong(path, "one class for a name, and this one had another"));
            }
        }
        for (name, class) in map {
            self.map.insert(&name, class);
        }
        Ok(())
    }

    fn mapped(&self, path: &Path, entry: &Entry) -> Result<Option<usize>, EvalError> {
        let [class] = &entry.classes[..] else {
            return Err(entry.wrong(path, "one class for a name"));
        };
        match self.meaning(class) {
            _ if class.trim() == "-" => Ok(None),
            Meaning::Class(index) => Ok(Some(index)),
            Meaning::Several(_) => Err(entry.wrong(path, "a class, and this name has several")),
            _ => Err(entry.wrong(path, "a class of the model after the name")),
        }
    }

    /// Sets how numbers are counted. The default is [`LabelIds::Index`]; in a list of numbers alone
    /// it is detected.
    ///
    /// # Errors
    /// If the development kit's numbers are requested for a label set other than ImageNet's.
    pub fn set_label_ids(&mut self, ids: LabelIds) -> Result<(), EvalError> {
        if ids == LabelIds::Devkit && !self.is_imagenet() {
            return Err(EvalError::NotImageNet {
                what: "the development kit's numbers",
                set: self.set_name(),
            });
        }
        self.label_ids = Some(ids);
        Ok(())
    }

    /// The classes of a data set that has a subset of ImageNet's (`imagenet-a`, `imagenet-r`), or
    /// those in a file with one per line; in the order of the model's outputs.
    ///
    /// # Errors
    /// If `name` is neither, or a line names no class.
    pub fn subset(&self, name: &str) -> Result<Vec<usize>, EvalError> {
        let path = Path::new(name);
        let text = match SUBSETS.iter().find(|(subset, _)| *subset == name) {
            Some(_) if !self.is_imagenet() => {
                return Err(EvalError::NotImageNet {
                    what: "the classes of this data set",
                    set: self.set_name(),
                });
            }
            Some((_, text)) => Lines::new(name.to_owned(), text.as_bytes())?,
            None => Lines::open(path)?,
        };
        let mut subset = BTreeSet::new();
        for line in lines(path, text) {
            let (line, text) = line?;
            let Meaning::Class(index) = self.meaning(&text) else {
                return Err(EvalError::Line {
                    path: name.to_owned(),
                    line,
                    expected: "a class of the model",
                    found: shown(&text),
                });
            };
            subset.insert(index);
        }
        Ok(subset.into_iter().collect())
    }

    /// The known subset of ImageNet that consists of exactly these classes, in order.
    pub fn known_subset(&self, present: &[usize]) -> Option<&'static str> {
        let names = SUBSETS.iter().map(|(name, _)| *name);
        names
            .into_iter()
            .find(|name| self.subset(name).is_ok_and(|subset| subset == present))
    }

    fn is_imagenet(&self) -> bool {
        IMAGENET.contains(&self.set.name.as_str())
    }

    /// The development kit's classes in its order, if this is ImageNet's label set.
    pub fn devkit(&self) -> Option<&'static [usize]> {
        static ORDERS: LazyLock<[Vec<usize>; 2]> = LazyLock::new(|| IMAGENET.map(order));
        fn order(set: &str) -> Vec<usize> {
            let set = LabelSet::builtin(set);
            let classes = set.as_ref().ok().map(|set| Classes::new(set));
            let index = |id: &str| match classes.as_ref()?.meaning(id) {
                Meaning::Class(index) => Some(index),
                _ => None,
            };
            let ids = DEVKIT.lines().filter(|line| is_entry(line));
            ids.filter_map(index).collect()
        }
        let set = IMAGENET.iter().position(|name| *name == self.set.name)?;
        Some(&ORDERS[set])
    }

    /// The classes in a list of one number per image. How they are counted is detected if the list
    /// has a 0 or ImageNet's last number, 1000.
    pub(super) fn numbered_list(
        &self,
        path: &Path,
        numbers: &[usize],
    ) -> Result<Vec<usize>, EvalError> {
        let last = self.set.len();
        let devkit = self.devkit();
        let ids = match self.label_ids {
            Some(ids) => ids,
            None if devkit.is_none() || numbers.contains(&0) => LabelIds::Index,
            None if numbers.contains(&last) => LabelIds::Devkit,
            None => {
                return Err(EvalError::LabelIds {
                    path: path.display().to_string(),
                    last,
                });
            }
        };
        let class = |(number, line): (usize, usize)| {
            let index = match ids {
                LabelIds::Index => (number < last).then_some(number),
                LabelIds::FromOne => number.checked_sub(1).filter(|&index| index < last),
                LabelIds::Devkit => {
                    devkit.and_then(|order| order.get(number.wrapping_sub(1)).copied())
                }
            };
            index.ok_or_else(|| EvalError::Line {
                path: path.display().to_string(),
                line,
                expected: NUMBER_OF_A_CLASS,
                found: number.to_string(),
            })
        };
        numbers.iter().copied().zip(1..).map(class).collect()
    }

    /// The class that a text names: a WordNet id, a name or an index.
    ///
    /// # Errors
    /// [`EvalError::NotOneClass`].
    pub fn class(&self, text: &str) -> Result<usize, EvalError> {
        let classes = match self.meaning(text) {
            Meaning::Class(index) => return Ok(index),
            Meaning::Several(indices) => {
                indices.iter().map(|&index| self.described(index)).collect()
            }
            Meaning::Excluded | Meaning::Unknown => Vec::new(),
        };
        Err(EvalError::NotOneClass {
            text: text.to_owned(),
            set: self.set_name(),
            classes,
        })
    }

    /// The index of a class, with its WordNet id.
    fn described(&self, index: usize) -> String {
        match &self.set.entries[index].id {
            Some(id) => format!("{index} ({id})"),
            None => index.to_string(),
        }
    }

    /// Looks a text up in the user's map, then as a WordNet id, a name, an index; but an exact
    /// match comes before one that differs in case or has `_` for spaces.
    pub(super) fn meaning(&self, text: &str) -> Meaning {
        if let Some(found) = find(&self.all(), text) {
            return match found.first() {
                Some(Some(index)) if found.len() == 1 => Meaning::Class(*index),
                Some(None) if found.len() == 1 => Meaning::Excluded,
                _ => Meaning::Several(found.iter().copied().flatten().collect()),
            };
        }
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<usize>().ok().filter(|_| digits);
        let index = number.and_then(|number| match (self.label_ids, self.devkit()) {
            (Some(LabelIds::Devkit), Some(order)) => order.get(number.wrapping_sub(1)).copied(),
            (Some(LabelIds::FromOne), _) => number.checked_sub(1),
            _ => Some(number),
        });
        let index = index.filter(|&index| index < self.set.len());
        index.map_or(Meaning::Unknown, Meaning::Class)
    }

    /// Whether a list of names is that of these classes in their order, up to a tenth of other
    /// names.
    #[cfg(feature = "parquet")]
    pub(super) fn are_called(&self, names: &[String]) -> bool {
        let fits = |(index, name): (usize, &String)| match self.meaning(name) {
            Meaning::Class(found) => found == index,
            Meaning::Several(found) => found.contains(&index),
            Meaning::Excluded | Meaning::Unknown => false,
        };
        let fitting = names.iter().enumerate().filter(|&pair| fits(pair)).count();
        names.len() == self.len() && fitting * 10 >= names.len() * 9
    }

    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether a text is known as a class by its number only.
    pub(super) fn by_number(&self, text: &str) -> bool {
        find(&self.all(), text).is_none() && self.knows(text)
    }

    /// Whether the user's map has the text.
    pub(super) fn is_mapped(&self, text: &str) -> bool {
        find(&[&self.map], text).is_some()
    }

    /// How the user says that numbers are counted.
    pub(super) fn label_ids(&self) -> Option<LabelIds> {
        self.label_ids
    }

    pub(super) fn knows(&self, text: &str) -> bool {
        self.meaning(text) != Meaning::Unknown
    }

    /// A name that looks like `text` but differs in invisible characters, with these shown in both.
    pub(super) fn lookalike(&self, text: &str) -> Option<String> {
        let name = self
            .all()
            .into_iter()
            .find_map(|names| names.lookalike(text))?;
        Some(format!("`{}` and the class `{}`", shown(text), shown(name)))
    }

    fn all(&self) -> [&Names; 4] {
        [&self.map, &self.ids, &self.names, &self.synonyms]
    }

    pub(super) fn labels(&self) -> &[Label] {
        &self.set.entries
    }

    pub(super) fn set_name(&self) -> String {
        set_name(self.set)
    }

    /// The error for a text with several meanings.
    pub(super) fn ambiguous(&self, path: &Path, text: &str, indices: &[usize]) -> EvalError {
        let classes: Vec<String> = indices.iter().map(|&index| self.described(index)).collect();
        EvalError::Ambiguous {
            path: path.display().to_string(),
            text: text.to_owned(),
            set: self.set.name.clone(),
            count: indices.len(),
            classes: classes.join(", "),
        }
    }
}

/// Name and size of a label set.
pub(super) fn set_name(set: &LabelSet) -> String {
    format!("{} ({} classes)", set.name, set.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imagenet_by_id_name_and_index() {
        let set = LabelSet::builtin("imagenet-1k").unwrap();
        let classes = Classes::new(set);
        assert_eq!(classes.meaning("n01440764"), Meaning::Class(0));
        assert_eq!(classes.meaning("tench"), Meaning::Class(0));
        assert_eq!(classes.meaning("Great_White_Shark"), Meaning::Class(2));
        assert_eq!(classes.meaning("Tinca tinca"), Meaning::Class(0));
        assert_eq!(classes.meaning("999"), Meaning::Class(999));
        for unknown in ["1000", "-1", "+1", "n99999999", "", "photos"] {
            assert_eq!(classes.meaning(unknown), Meaning::Unknown, "{unknown}");
        }
        // A crane is a bird and a machine.
        assert_eq!(classes.meaning("crane"), Meaning::Several(vec![134, 517]));
        assert_eq!(classes.class("Tinca tinca").unwrap(), 0);
        let several = classes.class("crane").unwrap_err().to_string();
        assert!(
            several.contains("134 (n02012849), 517 (n03126707)"),
            "{several}"
        );
        let unknown = classes.class("photos").unwrap_err().to_string();
        assert_eq!(
            unknown,
            "`photos` is not a class of imagenet-1k (1000 classes)"
        );
    }

    #[test]
    fn every_class_is_found_by_its_id_and_its_index() {
        let set = LabelSet::builtin("imagenet-1k").unwrap();
        let classes = Classes::new(set);
        for (index, label) in set.entries.iter().enumerate() {
            let id = label.id.as_deref().unwrap();
            assert_eq!(classes.meaning(id), Meaning::Class(index));
            assert_eq!(classes.meaning(&index.to_string()), Meaning::Class(index));
        }
    }

    #[test]
    fn a_map_comes_first_and_can_exclude() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.txt");
        std::fs::write(&path, "# mine\n\nkran\tn03126707\ntench,goldfish\nrest -\n").unwrap();
        let set = LabelSet::builtin("imagenet-1k").unwrap();
        let mut classes = Classes::new(set);
        classes.read_map(&path).unwrap();
        assert_eq!(classes.meaning("kran"), Meaning::Class(517));
        assert_eq!(classes.meaning("tench"), Meaning::Class(1));
        assert_eq!(classes.meaning("rest"), Meaning::Excluded);
        std::fs::write(&path, "0 1\n1 0\n").unwrap();
        classes.read_map(&path).unwrap();
        assert_eq!(classes.meaning("0"), Meaning::Class(1));
        assert_eq!(classes.meaning("1"), Meaning::Class(0));
        let mut classes = Classes::new(set);
        std::fs::write(&path, "a,0\na,tench\n").unwrap();
        assert!(classes.read_map(&path).is_ok(), "the same twice");
        for (text, line) in [
            ("x great white shark\na\tb\n", 2),
            ("a\tb\nlonely\n", 1),
            ("a\t0\nlonely\n", 2),
            ("x,crane", 1),
            ("a,0\nb,2\na,1\n", 3),
        ] {
            std::fs::write(&path, text).unwrap();
            match classes.read_map(&path) {
                Err(EvalError::Line { line: found, .. }) => assert_eq!(found, line),
                other => panic!("{other:?}"),
            }
        }
    }
}
