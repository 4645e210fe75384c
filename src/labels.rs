//! Label sets: the names of a classifier's outputs.
//!
//! The files under `models/labels/` are compiled into the program, compressed. Lines that begin with `#`
//! name the public source; every other line is a class, in the order of the classifier's outputs: WordNet
//! id, tab, names. Sets without ids have one column. `tests/tools/make_labels.py` writes the files.

use std::io::Read;
use std::sync::{LazyLock, OnceLock};

use flate2::read::ZlibDecoder;
use serde::Serialize;

use crate::quote::excerpt;

include!(concat!(env!("OUT_DIR"), "/labels.rs"));

/// The names of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Unique id that data sets use as directory names: the WordNet id of an ImageNet class.
    pub id: Option<String>,
    /// The first name. Not unique: ImageNet-1k has two cranes and two maillots.
    pub name: String,
    /// All names, separated by a comma and a space.
    pub full: String,
}

impl Label {
    /// A label with the names in `full`, the first of which is the short one.
    pub fn new(id: Option<String>, full: String) -> Self {
        let name = full.split(", ").next().unwrap_or_default().to_owned();
        Self { id, name, full }
    }

    /// A label for a class without a known name: `class 17`.
    pub fn numbered(index: usize) -> Self {
        Self::new(None, format!("class {index}"))
    }
}

/// The classes of a classifier in the order of its outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelSet {
    /// `imagenet-1k`, or the place where a custom set was found.
    pub name: String,
    /// Where the names come from.
    pub source: String,
    /// The classes, by output.
    pub entries: Vec<Label>,
}

/// A label set that does not exist or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// No built-in set has this name.
    #[error("there is no label set `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// A line of a label file is not a class.
    #[error(
        "labels/{file}, line {line}: expected an id, a tab and names, or names alone; found `{text}`"
    )]
    Line {
        /// The label file.
        file: String,
        /// The line number, from 1.
        line: usize,
        /// The start of the line.
        text: String,
    },
}

impl LabelError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => {
                let names: Vec<_> = LabelSet::builtin_names().collect();
                Some(format!("the label sets are {}", names.join(", ")))
            }
            Self::Line { .. } => None,
        }
    }
}

/// A built-in file, decompressed and parsed on first use: most runs need one set of a thousand lines, and
/// the largest has twenty times as many.
struct Builtin {
    name: &'static str,
    classes: usize,
    compressed: &'static [u8],
    parsed: OnceLock<Result<LabelSet, LabelError>>,
}

static BUILTIN: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
    let set = |&(name, classes, compressed): &(&'static str, usize, &'static [u8])| Builtin {
        name,
        classes,
        compressed,
        parsed: OnceLock::new(),
    };
    LABELS.iter().map(set).collect()
});

impl Builtin {
    fn read(&self) -> Result<LabelSet, LabelError> {
        let mut text = String::new();
        ZlibDecoder::new(self.compressed)
            .read_to_string(&mut text)
            .expect("the build script has compressed a text");
        LabelSet::parse(self.name, &text)
    }
}

impl LabelSet {
    /// A built-in set, such as `imagenet-1k`.
    ///
    /// # Errors
    /// [`LabelError::Unknown`] if there is no set of that name.
    pub fn builtin(name: &str) -> Result<&'static Self, LabelError> {
        let set = find(name)?;
        set.parsed
            .get_or_init(|| set.read())
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Number of classes of a built-in set, without reading it.
    ///
    /// # Errors
    /// [`LabelError::Unknown`] if there is no set of that name.
    pub fn builtin_len(name: &str) -> Result<usize, LabelError> {
        Ok(find(name)?.classes)
    }

    /// Names of the built-in sets.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|set| set.name)
    }

    /// Parses a label file; the module's documentation describes its format.
    ///
    /// # Errors
    /// [`LabelError::Line`] with the first line that is not a class.
    pub fn parse(name: &str, text: &str) -> Result<Self, LabelError> {
        let mut comments = Vec::new();
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(comment) = line.strip_prefix('#') {
                comments.push(comment.trim());
                continue;
            }
            let (id, full) = match line.split_once('\t') {
                Some((id, full)) => (Some(id), full),
                None => (None, line),
            };
            if id == Some("") || full.trim().is_empty() || full.contains('\t') {
                let (file, text) = (format!("{name}.tsv"), excerpt(line));
                return Err(LabelError::Line {
                    file,
                    line: index + 1,
                    text,
                });
            }
            entries.push(Label::new(id.map(str::to_owned), full.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            source: comments.join("; "),
            entries,
        })
    }

    /// `class 0`, `class 1`, …: for models without label names.
    pub fn numbered(classes: usize) -> Self {
        let entries = (0..classes).map(Label::numbered).collect();
        Self {
            name: "numbered".into(),
            source: "the model names no classes".into(),
            entries,
        }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no classes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn find(name: &str) -> Result<&'static Builtin, LabelError> {
    BUILTIN
        .iter()
        .find(|set| set.name == name)
        .ok_or_else(|| LabelError::Unknown {
            name: name.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_name_is_an_error_with_its_number() {
        for bad in [
            "# source\nn01\ttench\n\n",
            "# source\nn01\ttench\nn02\t \n",
            "#\na\n\tgoldfish",
            "#\na\nb\tc\td",
        ] {
            let Err(LabelError::Line { file, line, .. }) = LabelSet::parse("pets", bad) else {
                panic!("accepted {bad:?}");
            };
            assert_eq!((file.as_str(), line), ("pets.tsv", 3));
        }
    }

    #[test]
    fn the_short_name_is_the_first() {
        let set =
            LabelSet::parse("pets", "# a\n# b\nn01\ttench, Tinca tinca\nAnkle boot\n").unwrap();
        assert_eq!(set.source, "a; b");
        assert_eq!(set.entries[0].id.as_deref(), Some("n01"));
        assert_eq!(set.entries[0].name, "tench");
        assert_eq!(set.entries[0].full, "tench, Tinca tinca");
        assert_eq!(set.entries[1].id, None);
        assert_eq!(set.entries[1].name, "Ankle boot");
    }
}
