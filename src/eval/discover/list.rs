//! The classes that a file gives to images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Named;
use crate::eval::find::Found;
use crate::eval::label::{Places, not_there, numbers, with_places};
use crate::eval::lists::{self, Entry, Place, cells};
use crate::eval::names::composed;
use crate::eval::{Classes, EvalError};
use crate::labels::LabelSet;
use crate::text::Lines;

/// What a list says about an image.
struct Line {
    entry: Entry,
    class: String,
    group: Option<String>,
}

/// The images that the file at `list` labels, those that are not there at the end. `column` is that of
/// a table which groups them; `path` is the data set.
pub(super) fn listed(
    found: Vec<Found>,
    list: &Path,
    path: &str,
    column: Option<&str>,
) -> Result<Vec<Named>, EvalError> {
    let mut text = Lines::open(list)?;
    if lists::begins_with(&mut text, b'[')? {
        return Err(EvalError::Line {
            path: list.display().to_string(),
            line: 1,
            expected: "one class for each image, and not lists of classes",
            found: "[".into(),
        });
    }
    let start = text.start()?.split(|byte| matches!(byte, b'\n' | b'\r'));
    let mut start = start
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && line[0] != b'#');
    let first = start.next().unwrap_or_default().to_owned();
    if first.iter().all(u8::is_ascii_digit) && !first.is_empty() {
        match column {
            Some(column) => return Err(no_column(list, column, &[])),
            None => return by_number(found, list, &numbers(list, text)?),
        }
    }
    let heads = cells(&String::from_utf8_lossy(&first));
    let is_json = first.first() == Some(&b'{');
    let lines = if !is_json && (heads.len() > 2 || column.is_some()) {
        table(list, text, &heads, column)?
    } else {
        match column {
            Some(column) => return Err(no_column(list, column, &[])),
            None => pairs(list, text)?,
        }
    };
    by_name(found, list, path, lines)
}

fn no_column(list: &Path, column: &str, found: &[String]) -> EvalError {
    EvalError::NoColumn {
        path: list.display().to_string(),
        column: column.to_owned(),
        found: found.join(", "),
    }
}

/// The lines of a table after the one that names its columns.
fn table(
    list: &Path,
    text: Lines,
    heads: &[String],
    column: Option<&str>,
) -> Result<Vec<Line>, EvalError> {
    let place = |column: &str| heads.iter().position(|head| head == column);
    let group = match column {
        Some(column) => Some(place(column).ok_or_else(|| no_column(list, column, heads))?),
        None => None,
    };
    let mut others = (0..heads.len()).filter(|&place| group != Some(place));
    let (Some(name), Some(class)) = (others.next(), others.next()) else {
        return Err(EvalError::Line {
            path: list.display().to_string(),
            line: 1,
            expected: "columns for the image, its class and its group",
            found: heads.join(", "),
        });
    };
    let mut lines = Vec::new();
    for line in lists::lines(list, text).skip(1) {
        let (number, text) = line?;
        let cells = cells(&text);
        let entry = Entry {
            name: cells.get(name).cloned().unwrap_or_default(),
            classes: vec![cells.get(class).cloned().unwrap_or_default()],
            place: Place::Line(number, text),
        };
        if cells.len() != heads.len() || entry.name.is_empty() {
            return Err(entry.wrong(
                list,
                "as many cells as the first line has, and the name of an image",
            ));
        }
        lines.push(Line {
            class: composed(&entry.classes[0]),
            group: group.and_then(|group| cells.get(group).cloned()),
            entry,
        });
    }
    Ok(lines)
}

/// The names and classes of a list. A first line whose class no other line has may be a header; that
/// is found out later.
fn pairs(list: &Path, text: Lines) -> Result<Vec<Line>, EvalError> {
    let none = LabelSet::numbered(0);
    let classes = Classes::new(&none);
    let mut lines = Vec::new();
    for entry in lists::entries(list, text, &classes)? {
        let entry = entry?;
        match &entry.classes[..] {
            [] => {}
            [class] => lines.push(Line {
                class: composed(class.trim()),
                group: None,
                entry,
            }),
            _ => return Err(entry.wrong(list, "one class for an image")),
        }
    }
    Ok(lines)
}

/// Looks the images up by name.
fn by_name(
    found: Vec<Found>,
    list: &Path,
    path: &str,
    lines: Vec<Line>,
) -> Result<Vec<Named>, EvalError> {
    let places = Places::new(&found);
    let mut labels: Vec<Option<(String, Option<String>)>> = vec![None; found.len()];
    let mut missing: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
    let classes: BTreeSet<&str> = lines.iter().skip(1).map(|line| &*line.class).collect();
    let header = lines.first().filter(|line| {
        let is_line = matches!(line.entry.place, Place::Line(..));
        is_line && places.of(&line.entry.name).is_empty() && !classes.contains(&*line.class)
    });
    let skipped = usize::from(header.is_some());
    let first = lines.get(skipped).map(|line| line.entry.name.clone());
    for line in lines.iter().skip(skipped) {
        let label = (line.class.clone(), line.group.clone());
        if line.class.is_empty() {
            continue;
        }
        let known = match places.of(&line.entry.name) {
            [] => {
                let name = line.entry.name.trim().trim_start_matches("./");
                missing.insert(name.to_owned(), label.clone())
            }
            [place] => labels[*place].replace(label.clone()),
            _ => {
                let expected = "the name of one image; several have it";
                return Err(line.entry.wrong(list, expected));
            }
        };
        if known.is_some_and(|known| known != label) {
            let expected = "one class and group for an image, and this one had another";
            return Err(line.entry.wrong(list, expected));
        }
    }
    if labels.iter().all(Option::is_none) && !missing.is_empty() {
        return Err(EvalError::NothingListed {
            path: list.display().to_string(),
            folder: path.to_owned(),
            listed: lines.len() - skipped,
            first: first.unwrap_or_default(),
        });
    }
    drop(places);
    let labelled = found.into_iter().zip(labels);
    let labelled = labelled.filter_map(|(image, label)| {
        let (class, group) = label?;
        Some((image, class, group))
    });
    let missing = missing
        .into_iter()
        .map(|(name, (class, group))| (not_there(name), class, group));
    Ok(labelled.chain(missing).collect())
}

/// Gives the image whose name ends in n the n-th number, from 1, as its class.
fn by_number(found: Vec<Found>, list: &Path, numbers: &[usize]) -> Result<Vec<Named>, EvalError> {
    let images = with_places(found, list, numbers.len())?;
    let named = images.into_iter();
    Ok(named
        .map(|(image, place)| (image, numbers[place].to_string(), None))
        .collect())
}
