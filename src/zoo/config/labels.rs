//! The names of a `config.json`'s classes.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{Fields, describe};
use crate::labels::{Label, LabelSet};
use crate::zoo::CardError;

/// Fields of other libraries that may hold the names: lists, or tables by number.
const OTHER_NAMES: [&str; 4] = ["labels", "id2label", "class_names", "classes"];
/// Fields of other libraries with tables of numbers by name.
const OTHER_NUMBERS: [&str; 2] = ["label2id", "class_to_idx"];

/// The name of each class; `None` for one without.
type Names = Vec<Option<String>>;

/// `nested` is the table `pretrained_cfg`, which files from before 2023 lack.
pub(super) fn read(
    root: Fields<'_>,
    nested: Option<Fields<'_>>,
    classes: usize,
    notes: &mut Vec<String>,
) -> Result<Cow<'static, LabelSet>, CardError> {
    let pretrained = nested.unwrap_or(root);
    // Before 2023 timm called this field `labels`.
    let places = match nested {
        Some(nested) => [(root, "label_names"), (nested, "label_names")],
        None => [(root, "labels"), (root, "label_names")],
    };
    let named = places
        .into_iter()
        .find(|(fields, name)| fields.filled(name).is_some());
    let names = match named {
        Some((fields, field)) => Some(names_in(fields, field, classes)?),
        None => others(&[root, pretrained], classes, notes),
    };
    let Some(names) = names else {
        let own: Option<usize> = pretrained.optional("num_classes", "a whole number")?;
        let standard = match classes {
            _ if own.is_some_and(|own| own != classes) => None,
            1000 => Some("imagenet-1k"),
            11_821 => Some("imagenet-12k"),
            _ => None,
        };
        return Ok(match standard {
            Some(name) => Cow::Borrowed(LabelSet::builtin(name)?),
            None => Cow::Owned(LabelSet::numbered(classes)),
        });
    };
    let descriptions = places
        .into_iter()
        .find_map(|(fields, _)| fields.table("label_descriptions").transpose());
    let descriptions = descriptions.transpose()?;
    let mut entries = Vec::with_capacity(classes);
    for (index, name) in names.into_iter().enumerate() {
        let described = match (&name, descriptions) {
            (Some(name), Some(texts)) => texts.optional::<String>(name, "a text")?,
            _ => None,
        };
        entries.push(match (name, described) {
            (None, _) => Label::numbered(index),
            (Some(id), Some(names)) if is_wordnet_id(&id) => Label::new(Some(id), names),
            (Some(name), Some(full)) => Label {
                id: None,
                name,
                full,
            },
            (Some(name), None) => Label {
                id: None,
                full: name.clone(),
                name,
            },
        });
    }
    let source = root.file.to_owned();
    Ok(Cow::Owned(LabelSet {
        name: source.clone(),
        source,
        entries,
    }))
}

/// An ImageNet class is labelled by its WordNet id, such as `n01440764`, and described by its names.
fn is_wordnet_id(label: &str) -> bool {
    label
        .strip_prefix('n')
        .is_some_and(|id| id.len() == 8 && id.bytes().all(|b| b.is_ascii_digit()))
}

/// Names from the fields of other libraries. timm would run the model without them, so names that
/// do not fit are not an error.
fn others(tables: &[Fields<'_>], classes: usize, notes: &mut Vec<String>) -> Option<Names> {
    let named = OTHER_NAMES.map(|field| (field, names_in as Read));
    let numbered = OTHER_NUMBERS.map(|field| (field, numbers_in as Read));
    for fields in tables {
        for (field, read) in named.into_iter().chain(numbered) {
            // `classes` may be their number.
            if !matches!(
                fields.filled(field),
                Some(Value::Array(_) | Value::Object(_))
            ) {
                continue;
            }
            match read(*fields, field, classes) {
                Ok(names) => {
                    let file = fields.file;
                    notes.push(format!(
                        "{file}: the names of the classes are those in `{field}`"
                    ));
                    return Some(names);
                }
                Err(error) => notes.push(format!("{error}; the names are not used")),
            }
        }
    }
    None
}

type Read = fn(Fields<'_>, &'static str, usize) -> Result<Names, CardError>;

/// Names from a list, or from a table of names by number or numbers by name, which may have gaps.
fn names_in(fields: Fields<'_>, field: &'static str, classes: usize) -> Result<Names, CardError> {
    let mut names = vec![None; classes];
    match fields.get(field) {
        Some(Value::Object(_)) => {
            let table = fields.table(field)?.unwrap_or(fields);
            let is_turned = |(name, value): (&String, &Value)| {
                name.trim().parse::<usize>().is_err() && value.is_u64()
            };
            if table.map.iter().all(is_turned) {
                return numbers_in(fields, field, classes);
            }
            for (index, value) in table.map {
                let slot = index
                    .trim()
                    .parse()
                    .ok()
                    .and_then(|index: usize| names.get_mut(index));
                let Some(slot) = slot else {
                    return Err(table.error(index, no_number(classes)));
                };
                *slot = name(value).map_err(|reason| table.error(index, reason))?;
            }
        }
        Some(Value::Array(values)) if values.len() == classes => {
            for (slot, value) in names.iter_mut().zip(values) {
                *slot = name(value).map_err(|reason| fields.error(field, reason))?;
            }
        }
        Some(Value::Array(values)) => {
            let reason = format!("expected {classes} names, found {}", values.len());
            return Err(fields.error(field, reason));
        }
        other => {
            let found = describe(other.unwrap_or(&Value::Null));
            let reason = format!("expected a list or a table of names, found {found}");
            return Err(fields.error(field, reason));
        }
    }
    Ok(names)
}

/// Names from a table of their numbers.
fn numbers_in(fields: Fields<'_>, field: &'static str, classes: usize) -> Result<Names, CardError> {
    let mut names = vec![None; classes];
    let table = fields.table(field)?.unwrap_or(fields);
    for (name, value) in table.map {
        let index = value.as_u64().and_then(|index| usize::try_from(index).ok());
        let Some(slot) = index.and_then(|index| names.get_mut(index)) else {
            return Err(table.error(name, no_number(classes)));
        };
        *slot = Some(name.clone());
    }
    Ok(names)
}

fn no_number(classes: usize) -> String {
    format!("expected the number of one of {classes} classes")
}

/// A name may be written as a number; `null` means no name.
fn name(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("expected a name, found {}", describe(value)))
        }
    }
}
