//! The time of every layer: `senet bench --layers`.

use std::collections::BTreeMap;
use std::ops::Add;

use candle_core::Tensor;
use serde::Serialize;

use super::median;
use crate::cli::output::{Results, Table};
use crate::error::Error;
use crate::model::Model;
use crate::nets::{LayerTime, LayerTrace};
use crate::nn::Work;

/// One layer of a pass, or all layers of a kind.
#[derive(Serialize)]
pub(super) struct LayerRow {
    /// As in `senet info --layers`; empty for the sum over a kind.
    pub name: String,
    pub kind: String,
    /// Algorithm, instruction set, type and tile; `None` for sums over a kind, pools and
    /// elementwise layers.
    pub kernel: Option<String>,
    /// Channels, height, width.
    pub output: Option<[usize; 3]>,
    pub layers: usize,
    /// Median over the passes.
    pub ms: f64,
    pub gflops: f64,
    pub peak_share: Option<f64>,
    /// What a GPU is given to do; absent for our kernels on the CPU.
    #[serde(flatten)]
    pub work: Option<Work>,
}

/// Times the layers of one network for one batch; `peak` is in operations a second.
pub(super) fn measure(
    model: &Model,
    x: &Tensor,
    runs: u32,
    peak: Option<f64>,
) -> anyhow::Result<Vec<LayerRow>> {
    let [height, width] = model.spec().input.size;
    let batch = x.dim(0).map_err(Error::from)? as f64;
    let trace = model.network().plan().trace(height, width);
    let trace = trace.map_err(Error::from)?;
    let mut passes = Vec::new();
    for _ in 0..runs {
        passes.push(model.network().layer_times(x).map_err(Error::from)?);
    }
    let mut rows = Vec::new();
    for (index, layer) in passes[0].iter().enumerate() {
        let times: Vec<f64> = passes
            .iter()
            .map(|pass| pass[index].time.as_secs_f64() * 1e3)
            .collect();
        let parts = parts(&trace, &layer.name);
        let macs: u64 = parts.iter().map(|part| part.macs).sum();
        let kind = match parts[..] {
            [part] => part.kind.clone(),
            [] => {
                let (_, kind) = layer.name.rsplit_once('.').unwrap_or(("", &layer.name));
                kind.to_owned()
            }
            [first, second] if layer.name.contains(LayerTime::AND) => {
                [&first.kind[..], &second.kind].join(LayerTime::AND)
            }
            _ => "gate".into(),
        };
        let output = parts.last().map(|part| part.output);
        let mut row = LayerRow {
            name: layer.name.clone(),
            kind,
            kernel: layer.kernel.clone(),
            output,
            layers: 1,
            ms: median(&times),
            gflops: 0.0,
            peak_share: None,
            work: layer.work,
        };
        row.rate(2.0 * macs as f64 * batch / 1e9, peak);
        rows.push(row);
    }
    Ok(rows)
}

/// The rows of the trace that are timed as one layer.
fn parts<'a>(trace: &'a [LayerTrace], name: &str) -> Vec<&'a LayerTrace> {
    let inside = |part: &str| {
        let names = name.split(LayerTime::AND);
        let mut rests = names.filter_map(|name| part.strip_prefix(name));
        rests.any(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    trace.iter().filter(|part| inside(&part.name)).collect()
}

impl LayerRow {
    /// Sets the rates from giga-operations.
    fn rate(&mut self, giga: f64, peak: Option<f64>) {
        self.gflops = giga / (self.ms / 1e3);
        self.peak_share = peak.map(|peak| self.gflops * 1e9 / peak);
    }

    fn giga(&self) -> f64 {
        self.gflops * self.ms / 1e3
    }
}

/// The layers of each kind together, the slowest kind first.
fn kinds(rows: &[LayerRow]) -> Vec<LayerRow> {
    let mut kinds: BTreeMap<&str, Vec<&LayerRow>> = BTreeMap::new();
    for row in rows {
        kinds.entry(&row.kind).or_default().push(row);
    }
    let sum = |(kind, rows): (&str, Vec<&LayerRow>)| {
        let mut sum = LayerRow {
            name: String::new(),
            kind: kind.into(),
            kernel: None,
            output: None,
            layers: rows.len(),
            ms: rows.iter().map(|row| row.ms).sum(),
            gflops: 0.0,
            peak_share: None,
            work: rows.iter().filter_map(|row| row.work).reduce(Add::add),
        };
        // Each row's share is of one peak.
        let peak = rows.iter().find_map(|row| match row.peak_share {
            Some(share) if share > 0.0 => Some(row.gflops * 1e9 / share),
            _ => None,
        });
        sum.rate(rows.iter().map(|row| row.giga()).sum(), peak);
        sum
    };
    let mut sums: Vec<LayerRow> = kinds.into_iter().map(sum).collect();
    sums.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    sums
}

/// Every layer, then the sums over kinds.
pub(super) fn print(rows: &[LayerRow], results: &mut Results) -> anyhow::Result<()> {
    let all: f64 = rows.iter().map(|row| row.ms).sum();
    let cells = |row: &LayerRow| {
        let computes = row.gflops > 0.0;
        let share = row.peak_share.filter(|_| computes);
        let mut cells = vec![
            format!("{:.3}", row.ms),
            format!("{:.1} %", row.ms / all * 100.0),
            or_dash(computes.then(|| format!("{:.1}", row.gflops))),
            or_dash(share.map(|share| format!("{:.0} %", share * 100.0))),
        ];
        if let Some(work) = row.work {
            cells.push(work.launches.to_string());
            cells.push(format!("{:.2}", work.bytes as f64 / 1e6));
            cells.push(format!("{:.3}", work.macs as f64 / 1e9));
        }
        cells
    };
    let mut rates = vec![">ms", ">of time", ">GFLOP/s", ">of peak"];
    if rows.iter().any(|row| row.work.is_some()) {
        rates.extend([">launches", ">MB", ">GMAC"]);
    }
    let mut table = Table::new(&[&["layer", "kind", "kernel", ">output"][..], &rates].concat());
    for row in rows {
        let shape = row.output.map(|[c, h, w]| format!("{c}x{h}x{w}"));
        let mut line = vec![
            row.name.clone(),
            row.kind.clone(),
            or_dash(row.kernel.clone()),
            or_dash(shape),
        ];
        line.extend(cells(row));
        table.row(line);
    }
    table.print(results)?;
    results.line("")?;
    let mut table = Table::new(&[&["kind", ">layers"][..], &rates].concat());
    for row in kinds(rows) {
        let mut line = vec![row.kind.clone(), row.layers.to_string()];
        line.extend(cells(&row));
        table.row(line);
    }
    Ok(table.print(results)?)
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}
