//! Output formats: text for people, JSON Lines and CSV for programs.
//!
//! A command hands over each row together with the way to print it for people. Only what
//! has no flat form asks which format was chosen, so a new format is an addition to this file.

use std::ffi::OsString;
use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::output::Results;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Jsonl,
    Csv,
}

#[derive(Args, Debug)]
#[group(multiple = false)]
pub(super) struct FormatArgs {
    /// Output format: text, JSON Lines (one object per line), or CSV with a header line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Short for --format jsonl
    #[arg(long)]
    json: bool,
    /// Short for --format csv
    #[arg(long)]
    csv: bool,
}

/// A result, serialised as one JSON object.
pub(super) trait Row: Serialize {
    /// Column names of the CSV form.
    const COLUMNS: &'static [&'static str];

    /// The CSV records of this row, mostly one; each has a value for every column. They are
    /// `OsString` because paths need not be UTF-8.
    fn records(&self) -> Vec<Vec<OsString>>;
}

/// Prints rows as they come.
pub(super) enum Rows<'a> {
    Text(&'a mut Results),
    Jsonl(&'a mut Results),
    Csv(Box<csv::Writer<&'a mut Results>>),
}

impl FormatArgs {
    fn format(&self) -> Format {
        match (self.json, self.csv) {
            (true, _) => Format::Jsonl,
            (_, true) => Format::Csv,
            _ => self.format,
        }
    }

    pub(super) fn is_csv(&self) -> bool {
        matches!(self.format(), Format::Csv)
    }

    pub(super) fn rows<'a, R: Row>(&self, results: &'a mut Results) -> anyhow::Result<Rows<'a>> {
        Ok(match self.format() {
            Format::Text => Rows::Text(results),
            Format::Jsonl => Rows::Jsonl(results),
            Format::Csv => {
                let mut csv = Box::new(csv::Writer::from_writer(results));
                csv.write_record(R::COLUMNS)?;
                Rows::Csv(csv)
            }
        })
    }

    /// Prints a report: one JSON object, or in CSV its `rows`.
    pub(super) fn report<R: Row>(
        &self,
        report: &impl Serialize,
        rows: &[R],
        results: &mut Results,
        text: impl FnOnce(&mut Results) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self.rows::<R>(results)? {
            Rows::Text(results) => text(results),
            Rows::Jsonl(results) => Ok(results.json(report)?),
            mut csv @ Rows::Csv(_) => rows.iter().try_for_each(|row| csv.write(row, |_| Ok(()))),
        }
    }
}

impl Rows<'_> {
    /// Prints a row and flushes it; `text` prints it for people.
    pub(super) fn write(
        &mut self,
        row: &impl Row,
        text: impl FnOnce(&mut Results) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Text(results) => {
                text(results)?;
                results.flush()?;
            }
            Self::Jsonl(results) => {
                results.json(row)?;
                results.flush()?;
            }
            Self::Csv(csv) => {
                for record in row.records() {
                    csv.write_record(record.iter().map(|cell| cell.as_encoded_bytes()))?;
                }
                csv.flush()?;
            }
        }
        Ok(())
    }

    /// Prints what is only in the text format, such as totals.
    pub(super) fn text(
        &mut self,
        text: impl FnOnce(&mut Results) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Text(results) => text(results),
            Self::Jsonl(_) | Self::Csv(_) => Ok(()),
        }
    }
}

/// A CSV cell as the value is written in JSON, but without quotes; empty where there is none.
pub(super) fn cell(value: impl Serialize) -> OsString {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(Value::Null) | Err(_) => String::new(),
        Ok(value) => value.to_string(),
    }
    .into()
}

/// A CSV cell for a shape: `28x28`.
pub(super) fn shape(sizes: &[usize]) -> OsString {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.join("x").into()
}
