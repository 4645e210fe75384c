//! Tables of a `config.json` and the errors about their fields.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::zoo::CardError;

/// A table of the file, with its place for error messages.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) file: &'a str,
    /// The table's name; empty at the top level.
    table: &'a str,
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(file: &'a str, table: &'a str, value: &'a Value) -> Result<Self, CardError> {
        match value {
            Value::Object(map) => Ok(Self { file, table, map }),
            other => {
                let field = if table.is_empty() { "(top)" } else { table };
                let reason = format!("expected a table, found {}", describe(other));
                Err(CardError::field(file, field, reason))
            }
        }
    }

    pub(super) fn error(&self, name: &str, reason: impl Into<String>) -> CardError {
        let field = match self.table {
            "" => name.to_owned(),
            table => format!("{table}.{name}"),
        };
        CardError::field(self.file, &field, reason)
    }

    /// The value, if it is set: timm writes `null` for what is not set.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The value, unless Python considers it false: timm uses a default for such input settings and
    /// labels.
    pub(super) fn filled(&self, name: &str) -> Option<&'a Value> {
        self.get(name).filter(|value| match value {
            Value::Null => false,
            Value::Bool(is_true) => *is_true,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
        })
    }

    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, CardError> {
        self.get(name)
            .map(|value| self.read(name, value, expected))
            .transpose()
    }

    /// Converts `value`, the value of the field `name`.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        name: &str,
        value: &Value,
        expected: &str,
    ) -> Result<T, CardError> {
        T::deserialize(value).map_err(|_| {
            let found = describe(value);
            self.error(name, format!("expected {expected}, found {found}"))
        })
    }

    pub(super) fn required<T: DeserializeOwned>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<T, CardError> {
        self.optional(name, expected)?
            .ok_or_else(|| self.error(name, format!("expected {expected}, found nothing")))
    }

    pub(super) fn table(&self, name: &'static str) -> Result<Option<Fields<'a>>, CardError> {
        self.get(name)
            .map(|value| Fields::new(self.file, name, value))
            .transpose()
    }
}

/// The value as JSON, cut to a readable length.
pub(super) fn describe(value: &Value) -> String {
    const SHOWN: usize = 40;
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(SHOWN).collect::<String>())
}
