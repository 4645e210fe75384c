//! The architectures, with and without published weights.

use std::ffi::OsString;

use serde::Serialize;

use super::choice::Choice;
use crate::cli::format::{FormatArgs, Row, cell, shape};
use crate::cli::output::{Results, Table};
use crate::error::Error;
use crate::nets::NetError;
use crate::zoo::{Architecture, Zoo};

#[derive(Serialize)]
struct ArchitectureRow {
    name: String,
    params: usize,
    num_features: usize,
    size: [usize; 2],
    checkpoints: Vec<String>,
    family: String,
    #[serde(skip)]
    publisher: Option<&'static str>,
}

impl ArchitectureRow {
    fn new(known: Architecture) -> Result<Self, NetError> {
        let names = Zoo::builtin().names();
        let of_it = names.filter(|name| name.architecture() == known.name);
        Ok(Self {
            checkpoints: of_it.map(ToString::to_string).collect(),
            num_features: known.network.plan(known.naming, 1)?.num_features(),
            name: known.name,
            params: known.params,
            size: known.input.size,
            family: known.family,
            publisher: known.naming.publisher(),
        })
    }
}

pub(super) fn list(
    choice: &Choice,
    format: &FormatArgs,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut all = choice.architectures()?;
    all.sort_by(|a, b| (&a.family, &a.name).cmp(&(&b.family, &b.name)));
    let mut rows = format.rows::<ArchitectureRow>(results)?;
    let mut table = Table::new(&[
        "architecture",
        ">params M",
        ">features",
        ">input",
        ">checkpoints",
    ]);
    let mut family = String::new();
    for known in all {
        let row = ArchitectureRow::new(known).map_err(Error::from)?;
        rows.write(&row, |_| {
            if family != row.family {
                family.clone_from(&row.family);
                table.section(&family);
            }
            table.row(vec![
                row.name.clone(),
                format!("{:.2}", row.params as f64 / 1e6),
                row.num_features.to_string(),
                row.size[0].to_string(),
                match row.checkpoints.len() {
                    0 => row.publisher.map_or_else(
                        || "no published weights".into(),
                        |publisher| format!("for {publisher}'s files"),
                    ),
                    count => count.to_string(),
                },
            ]);
            Ok(())
        })?;
    }
    rows.text(|results| Ok(table.print(results)?))
}

impl Row for ArchitectureRow {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "params",
        "num_features",
        "size",
        "checkpoints",
        "family",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.name),
            cell(self.params),
            cell(self.num_features),
            shape(&self.size),
            self.checkpoints.join(" ").into(),
            cell(&self.family),
        ]]
    }
}
