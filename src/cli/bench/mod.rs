//! `senet bench`: measures inference speed.

mod layers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{Device, DeviceLocation, Tensor};
use clap::Args;
use serde::Serialize;

use crate::cli::args::{DeviceArgs, HubArgs, ImageSize};
use crate::cli::format::{FormatArgs, Row, cell};
use crate::cli::output::{Messages, Results, Table, Tone};
use crate::cli::{SUCCESS, session};
use crate::error::Error;
use crate::kernels::{Bf16, Element, Isa, peak_flops};
use crate::machine;
use crate::model::Model;
use crate::nn::Precision;
use crate::zoo::{DEMO_MODEL, ModelSpec, Overrides};

/// Untimed passes before the timed ones.
const WARM_UP: u32 = 3;

/// Measure inference speed on this machine
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  senet bench\n  senet bench se-resnet50 skresnet18 --batch-size 1,8 --json"
)]
pub(super) struct Arguments {
    /// Checkpoints, architectures, families, local directories with config.json, or hf-hub:ORG/REPO[@REVISION]
    #[arg(value_name = "MODEL", default_value = DEMO_MODEL)]
    models: Vec<String>,
    /// Use this weights file (.safetensors, .bin or .pth) instead of the model's own; for one model
    #[arg(short, long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Images per forward pass; several values, comma-separated, are measured in turn
    #[arg(short, long, value_name = "N", default_value = "1", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: Vec<u32>,
    /// Input size in pixels, N or HEIGHTxWIDTH [default: the model's]
    #[arg(long, value_name = "SIZE")]
    img_size: Option<ImageSize>,
    /// Timed passes, after 3 warm-up passes
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Also print the time of every layer
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// The first fields have the names of timm's benchmark results.
#[derive(Serialize)]
struct BenchRow {
    model: String,
    infer_samples_per_sec: f64,
    /// Milliseconds per batch, median.
    infer_step_time: f64,
    infer_batch_size: u32,
    infer_img_size: usize,
    infer_gmacs: f64,
    /// Millions.
    param_count: f64,
    threads: usize,
    device: String,
    precision: Precision,
    isa: Option<&'static str>,
    gflops: f64,
    peak_share: Option<f64>,
    peak_memory_mib: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    step_times_ms: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<layers::LayerRow>,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    if arguments.weights.is_some() && arguments.models.len() > 1 {
        anyhow::bail!(
            "--weights is for one model, found {}",
            arguments.models.len()
        );
    }
    if arguments.layers && arguments.format.is_csv() {
        anyhow::bail!("CSV has no layers: use `--json` with `--layers`");
    }
    let hub = session::hub_from(&arguments.hub)?;
    let from = &arguments.hub.source;
    let overrides = Overrides {
        size: arguments.img_size.map(|size| size.0),
        ..Overrides::ALL
    };
    let specs = arguments
        .models
        .iter()
        .map(|name| session::find_at(name, from, &overrides, &hub, messages))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let names = arguments.models.join(", ");
    let options = session::open_device(&arguments.device, &names, messages)?;
    // Whoever measures speed wants to know.
    session::note_faster_precision(&options.device, options.precision, messages);
    let is_cpu = options.device.is_cpu();
    let (isa, peak) = is_cpu
        .then(|| match options.precision {
            Precision::Bf16 => isa_and_peak::<Bf16>(),
            _ => isa_and_peak::<f32>(),
        })
        .unzip();
    let mut rows = arguments.format.rows::<BenchRow>(results)?;
    let mut table = table(&specs);
    for spec in specs {
        let weights = session::open_weights(&spec, arguments.weights.as_deref(), &hub, messages)?;
        let model = session::load(spec, &weights, &options, messages)?;
        drop(weights);
        for &batch in &arguments.batch_size {
            let row = measure(&model, batch, arguments, isa, peak)?;
            session::note_reduced_batch(&model, messages);
            rows.write(&row, |results| {
                table.row(cells(&row));
                table.print(results)?;
                print_layers(&row, results)
            })?;
        }
    }
    Ok(SUCCESS)
}

/// The instruction set for maps of a type, and its peak in operations a second.
fn isa_and_peak<T: Element>() -> (Isa, f64) {
    let isa = Isa::best().of::<T>();
    (isa, peak_flops::<T>(isa))
}

fn measure(
    model: &Model,
    batch: u32,
    arguments: &Arguments,
    isa: Option<Isa>,
    peak: Option<f64>,
) -> anyhow::Result<BenchRow> {
    let [height, width] = model.spec().input.size;
    let plan = model.network().plan();
    let trace = plan.trace(height, width).map_err(Error::from)?;
    let gmacs = trace.iter().map(|layer| layer.macs).sum::<u64>() as f64 / 1e9;
    let x = input(model, batch as usize)?;
    let mut times = Vec::new();
    for index in 0..WARM_UP + arguments.runs {
        let start = Instant::now();
        // The logits are on the CPU when all is done, whatever the device.
        model.network().forward(&x).map_err(Error::from)?;
        if index >= WARM_UP {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let layers = if arguments.layers {
        layers::measure(model, &x, arguments.runs, peak)?
    } else {
        Vec::new()
    };
    let step = median(&times);
    let gflops = 2.0 * gmacs * f64::from(batch) / (step / 1e3);
    Ok(BenchRow {
        model: model.spec().name.clone(),
        infer_samples_per_sec: f64::from(batch) / (step / 1e3),
        infer_step_time: step,
        infer_batch_size: batch,
        infer_img_size: height.max(width),
        infer_gmacs: gmacs,
        param_count: plan.param_count() as f64 / 1e6,
        threads: rayon::current_num_threads(),
        device: device_name(model.network().device()),
        precision: model.network().precision(),
        isa: isa.map(Isa::name),
        gflops,
        peak_share: peak.map(|peak| gflops * 1e9 / peak),
        peak_memory_mib: machine::peak_memory().map(|bytes| bytes as f64 / f64::from(1 << 20)),
        step_times_ms: times,
        layers,
    })
}

/// The device as `--device` takes it.
fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { .. } => "metal".into(),
    }
}

/// Reproducible values between -2 and 2.
fn input(model: &Model, batch: usize) -> anyhow::Result<Tensor> {
    let value = |index: usize| (index * 7919 % 4001) as f32 / 1000.0 - 2.0;
    let values = (0..batch * model.image_len()).map(value).collect();
    Ok(model.batch_from(values)?)
}

/// The median of at least one value.
pub(super) fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// The columns are wide enough for every row, because the first is printed before the second is
/// measured.
fn table(specs: &[ModelSpec]) -> Table {
    let mut table = Table::new(&[
        "model",
        ">px",
        ">batch",
        ">threads",
        ">ms per batch (min..max)",
        ">images/s",
        ">GFLOP/s",
        ">of peak",
        ">peak MiB",
        ">parameters",
    ]);
    let names = specs.iter().map(|spec| spec.name.chars().count());
    table.reserve(0, names.max().unwrap_or(0));
    table
}

fn cells(row: &BenchRow) -> Vec<String> {
    let times = row.step_times_ms.iter().copied();
    let low = times.clone().fold(f64::INFINITY, f64::min);
    let high = times.fold(0.0, f64::max);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let peak_share = row.peak_share;
    vec![
        row.model.clone(),
        row.infer_img_size.to_string(),
        row.infer_batch_size.to_string(),
        row.threads.to_string(),
        format!("{:.2} ({low:.2}..{high:.2})", row.infer_step_time),
        format!("{:.1}", row.infer_samples_per_sec),
        format!("{:.1}", row.gflops),
        or_dash(peak_share.map(|share| format!("{:.0} %", share * 100.0))),
        or_dash(row.peak_memory_mib.map(|mib| format!("{mib:.0}"))),
        format!("{:.2} M", row.param_count),
    ]
}

fn print_layers(row: &BenchRow, results: &mut Results) -> anyhow::Result<()> {
    if row.layers.is_empty() {
        return Ok(());
    }
    let title = format!("{}, batch {}", row.model, row.infer_batch_size);
    results.line("")?;
    results.pieces(&[(Tone::Bold, &title)])?;
    layers::print(&row.layers, results)?;
    Ok(results.line("")?)
}

impl Row for BenchRow {
    const COLUMNS: &'static [&'static str] = &[
        "model",
        "infer_samples_per_sec",
        "infer_step_time",
        "infer_batch_size",
        "infer_img_size",
        "infer_gmacs",
        "param_count",
        "threads",
        "isa",
        "gflops",
        "peak_share",
        "peak_memory_mib",
        "device",
        "precision",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.model),
            cell(self.infer_samples_per_sec),
            cell(self.infer_step_time),
            cell(self.infer_batch_size),
            cell(self.infer_img_size),
            cell(self.infer_gmacs),
            cell(self.param_count),
            cell(self.threads),
            cell(self.isa),
            cell(self.gflops),
            cell(self.peak_share),
            cell(self.peak_memory_mib),
            cell(&self.device),
            cell(self.precision.to_string()),
        ]]
    }
}
