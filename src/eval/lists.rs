//! Lists that people write: names and their classes, one per line or as a JSON object.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::{Classes, EvalError};
use crate::text::Lines;

/// The longest JSON file of labels.
pub(super) const MAX_JSON: u64 = 256 << 20;

/// A name and the classes that a list gives for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    /// One class, except in JSON, where a name may have several.
    pub classes: Vec<String>,
    pub place: Place,
}

/// The position of an entry.
#[derive(Debug)]
pub(super) enum Place {
    Line(usize, String),
    Json,
}

impl Entry {
    /// The error for an entry that is not as expected.
    pub(super) fn wrong(&self, list: &Path, expected: &'static str) -> EvalError {
        let path = list.display().to_string();
        match &self.place {
            Place::Line(line, text) => EvalError::Line {
                path,
                line: *line,
                expected,
                found: text.clone(),
            },
            Place::Json => EvalError::Entry {
                path,
                name: self.name.clone(),
                expected,
                found: self.classes.join(", "),
            },
        }
    }
}

/// Lines that are neither blank nor comments, with their numbers from 1; at least one.
pub(super) fn lines(
    list: &Path,
    lines: Lines,
) -> impl Iterator<Item = Result<(usize, String), EvalError>> {
    let mut count = 0;
    let path = list.display().to_string();
    let lines = lines.map(|line| line.map_err(EvalError::from));
    let lines = lines.filter(|line| line.as_ref().map_or(true, |(_, text)| is_entry(text)));
    // The end, to find out whether there was any entry.
    let end = std::iter::once_with(|| None);
    lines
        .map(Some)
        .chain(end)
        .filter_map(move |line| match line {
            Some(line) => {
                count += 1;
                Some(line)
            }
            None => (count == 0).then(|| Err(EvalError::NoEntries { path: path.clone() })),
        })
}

/// Whether a line is neither blank nor a comment.
pub(super) fn is_entry(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

/// The entries of a list: a JSON object, or a name and a class on each line.
pub(super) fn entries<'a>(
    list: &'a Path,
    mut text: Lines,
    classes: &'a Classes<'_>,
) -> Result<Box<dyn Iterator<Item = Result<Entry, EvalError>> + 'a>, EvalError> {
    if begins_with(&mut text, b'{')? {
        let Pairs(pairs) = json(list, text)?;
        let entries = pairs.into_iter().map(|(name, Right(classes))| {
            Ok(Entry {
                name,
                classes,
                place: Place::Json,
            })
        });
        return Ok(Box::new(entries));
    }
    let entries = lines(list, text).map(move |line| {
        let (line, text) = line?;
        let (name, class) = split(&text, classes).ok_or_else(|| EvalError::Line {
            path: list.display().to_string(),
            line,
            expected: "a name and its class",
            found: text.clone(),
        })?;
        Ok(Entry {
            name,
            classes: vec![class],
            place: Place::Line(line, text),
        })
    });
    Ok(Box::new(entries))
}

/// Whether the first byte that is not whitespace is this one.
pub(super) fn begins_with(text: &mut Lines, byte: u8) -> Result<bool, EvalError> {
    Ok(text.start()?.trim_ascii_start().first() == Some(&byte))
}

/// The whole list as JSON.
pub(super) fn json<T: for<'de> Deserialize<'de>>(list: &Path, text: Lines) -> Result<T, EvalError> {
    serde_json::from_str(&text.whole(MAX_JSON)?).map_err(|error| EvalError::Unreadable {
        path: list.display().to_string(),
        error: error.into(),
    })
}

/// The members of a JSON object in order, including duplicates.
struct Pairs(Vec<(String, Right)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and classes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The value of a name in a JSON object: a class by name or number, or a list of them.
struct Right(Vec<String>);

impl<'de> Deserialize<'de> for Right {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a class by name or number, or a list of them"
        )]
        enum Value {
            Name(String),
            Number(u64),
            Several(Vec<Value>),
        }
        fn collect(value: Value, classes: &mut Vec<String>) {
            match value {
                Value::Name(name) => classes.push(name),
                Value::Number(number) => classes.push(number.to_string()),
                Value::Several(values) => values.into_iter().for_each(|v| collect(v, classes)),
            }
        }
        let mut classes = Vec::new();
        collect(Value::deserialize(deserializer)?, &mut classes);
        Ok(Self(classes))
    }
}

/// The two parts of a line, a name and a class. They are separated by the first tab, else the first
/// comma (parts may be quoted as in CSV and then contain commas), else the first space if a class
/// follows, else the last space.
pub(super) fn split(line: &str, classes: &Classes<'_>) -> Option<(String, String)> {
    let blank = || {
        let line = line.trim();
        let (name, class) = line.split_once(char::is_whitespace)?;
        if classes.knows(class) {
            Some((name, class))
        } else {
            line.rsplit_once(char::is_whitespace)
        }
    };
    let owned = |(name, class): (&str, &str)| (name.to_owned(), class.to_owned());
    let parts = line.split_once('\t').map(owned).or_else(|| comma(line));
    let (name, class) = parts.or_else(|| blank().map(owned))?;
    (!name.trim().is_empty() && !class.trim().is_empty()).then_some((name, class))
}

/// The two parts of a CSV line. More lenient than CSV: a class may contain commas without quotes,
/// spaces may surround quotes, and a name may itself contain quotes.
fn comma(line: &str) -> Option<(String, String)> {
    let quoted_name =
        quoted(line.trim_start()).and_then(|(name, rest)| Some((name, rest.strip_prefix(',')?)));
    let plain_name = |(name, class): (&str, _)| (name.to_owned(), class);
    let (name, class) = quoted_name.or_else(|| line.split_once(',').map(plain_name))?;
    match quoted(class.trim()) {
        Some((class, "")) => Some((name, class)),
        _ => Some((name, class.to_owned())),
    }
}

/// The cells of a line of a table, separated by tabs if it has any, else by commas as in CSV.
pub(super) fn cells(line: &str) -> Vec<String> {
    if line.contains('\t') {
        return line
            .split('\t')
            .map(|cell| cell.trim().to_owned())
            .collect();
    }
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let cell = quoted(rest.trim_start()).filter(|(_, after)| {
            let after = after.trim_start();
            after.is_empty() || after.starts_with(',')
        });
        let (cell, after) = match cell {
            Some((cell, after)) => (cell, after.trim_start().strip_prefix(',')),
            None => match rest.split_once(',') {
                Some((cell, after)) => (cell.trim().to_owned(), Some(after)),
                None => (rest.trim().to_owned(), None),
            },
        };
        cells.push(cell);
        match after {
            Some(after) => rest = after,
            None => return cells,
        }
    }
}

/// The quoted text at the beginning of a text, where `""` is an escaped quote, and the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut content = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        content += part;
        match after.strip_prefix('"') {
            Some(after) => {
                content.push('"');
                rest = after;
            }
            None => return Some((content, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelSet;

    #[test]
    fn lines_have_two_parts() {
        let set = LabelSet::builtin("imagenet-1k").unwrap();
        let classes = Classes::new(set);
        for (line, name, class) in [
            ("a b\ttench, Tinca tinca", "a b", "tench, Tinca tinca"),
            ("a \t cat ", "a ", " cat "),
            ("a.png,tench", "a.png", "tench"),
            (
                "a.png, \"tench, Tinca tinca\"",
                "a.png",
                "tench, Tinca tinca",
            ),
            ("\"a, b.png\",0", "a, b.png", "0"),
            ("\"a \"\"b\"\".png\",\"0\"", "a \"b\".png", "0"),
            ("\"a\" b.png,0", "\"a\" b.png", "0"),
            ("\"a.png,0", "\"a.png", "0"),
            ("a.png great white shark", "a.png", "great white shark"),
            ("my a.png 0 ", "my a.png", "0"),
        ] {
            let parts = split(line, &classes);
            assert_eq!(parts, Some((name.to_owned(), class.to_owned())), "{line}");
        }
        for line in ["a.png", "a.png,", ",0", "\"\",0", "a.png,\"\""] {
            assert_eq!(split(line, &classes), None, "{line}");
        }
    }

    #[test]
    fn lines_of_tables_have_cells() {
        for (line, expected) in [
            ("a.png, cat ,p1", &["a.png", "cat", "p1"][..]),
            (
                "\"a, b.png\",\"a \"\"cat\"\"\" , p1",
                &["a, b.png", "a \"cat\"", "p1"],
            ),
            ("a.png\tcat, wild\tp1", &["a.png", "cat, wild", "p1"]),
            ("a.png,,", &["a.png", "", ""]),
            ("\"a\" b.png,cat", &["\"a\" b.png", "cat"]),
            ("\"a.png,cat", &["\"a.png", "cat"]),
            ("a.png", &["a.png"]),
        ] {
            assert_eq!(cells(line), expected, "{line}");
        }
    }
}
