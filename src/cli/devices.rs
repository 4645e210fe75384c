//! `senet devices`: where a network can run.

use std::ffi::OsString;

use candle_core::Device;
use clap::Args;
use serde::Serialize;

use super::SUCCESS;
use super::format::{FormatArgs, Row, cell};
use super::output::{Results, Table, human_bytes};
use crate::device::{DeviceChoice, DeviceDetails};
use crate::kernels::Isa;
use crate::machine;
use crate::nn::Precision;

/// List the devices that networks can run on, and the precisions of each
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  senet devices\n  senet devices --json\n\n\
    The devices are in the order in which `--device auto` tries them. A kind that this build\n\
    does not support, or that does not work, has one row with the reason.")]
pub(super) struct Arguments {
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct DeviceRow {
    device: String,
    name: Option<String>,
    threads: Option<usize>,
    isa: Option<&'static str>,
    isa_available: Vec<&'static str>,
    compute_capability: Option<String>,
    total_memory: Option<u64>,
    free_memory: Option<u64>,
    precisions: &'static [Precision],
    error: Option<String>,
}

pub(super) fn run(arguments: &Arguments, results: &mut Results) -> anyhow::Result<u8> {
    let mut rows = arguments.format.rows::<DeviceRow>(results)?;
    let mut table = Table::new(&["device", "precisions", ">free", ">memory", "description"]);
    for choice in DeviceChoice::all() {
        let row = match choice.open() {
            Ok(open) => DeviceRow::new(choice, &open.device),
            Err(error) => DeviceRow {
                error: Some(error.to_string()),
                ..DeviceRow::unopened(choice)
            },
        };
        rows.write(&row, |_| {
            table.row(row.cells());
            Ok(())
        })?;
    }
    rows.text(|results| Ok(table.print(results)?))?;
    Ok(SUCCESS)
}

impl DeviceRow {
    fn unopened(choice: DeviceChoice) -> Self {
        Self {
            device: choice.to_string(),
            name: None,
            threads: None,
            isa: None,
            isa_available: Vec::new(),
            compute_capability: None,
            total_memory: None,
            free_memory: None,
            precisions: &[],
            error: None,
        }
    }

    fn new(choice: DeviceChoice, device: &Device) -> Self {
        let details = DeviceDetails::of(device);
        let is_cpu = device.is_cpu();
        let capability = details.compute_capability;
        Self {
            name: details.name,
            threads: is_cpu.then(machine::threads),
            isa: is_cpu.then(|| Isa::best().name()),
            isa_available: Isa::available().filter(|_| is_cpu).map(Isa::name).collect(),
            compute_capability: capability.map(|(major, minor)| format!("{major}.{minor}")),
            total_memory: details.total_memory,
            free_memory: details.free_memory,
            precisions: Precision::available(device),
            ..Self::unopened(choice)
        }
    }

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let precisions = (!self.precisions.is_empty()).then(|| self.list_precisions(", "));
        let threads = self.threads.map(|threads| {
            let plural = if threads == 1 { "" } else { "s" };
            format!("{threads} thread{plural}")
        });
        let capability = self.compute_capability.as_ref();
        let description = [
            self.name.clone(),
            threads,
            self.isa.map(str::to_owned),
            capability.map(|capability| format!("compute capability {capability}")),
            self.error.clone(),
        ];
        let description: Vec<String> = description.into_iter().flatten().collect();
        vec![
            self.device.clone(),
            or_dash(precisions),
            or_dash(self.free_memory.map(human_bytes)),
            or_dash(self.total_memory.map(human_bytes)),
            description.join(", "),
        ]
    }

    fn list_precisions(&self, separator: &str) -> String {
        let names: Vec<String> = self.precisions.iter().map(Precision::to_string).collect();
        names.join(separator)
    }
}

impl Row for DeviceRow {
    const COLUMNS: &'static [&'static str] = &[
        "device",
        "name",
        "threads",
        "isa",
        "isa_available",
        "compute_capability",
        "total_memory",
        "free_memory",
        "precisions",
        "error",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.device),
            cell(&self.name),
            cell(self.threads),
            cell(self.isa),
            self.isa_available.join(" ").into(),
            cell(&self.compute_capability),
            cell(self.total_memory),
            cell(self.free_memory),
            self.list_precisions(" ").into(),
            cell(&self.error),
        ]]
    }
}
