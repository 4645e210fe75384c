//! `senet version`: what this build of the program can do on this machine.

use clap::Args;
use serde::Serialize;

use super::SUCCESS;
use super::output::Results;
use crate::kernels::Isa;

/// Print the version, the features of this build, and the CPU instruction sets
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  senet version\n  senet version --json")]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct VersionReport {
    version: &'static str,
    features: Vec<&'static str>,
    /// Instruction sets that the kernels know and this machine has.
    isa_available: Vec<&'static str>,
    /// The one that they use.
    isa: &'static str,
}

pub(super) fn run(arguments: &Arguments, results: &mut Results) -> anyhow::Result<u8> {
    let features = [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("parquet", cfg!(feature = "parquet")),
        ("turbojpeg", cfg!(feature = "turbojpeg")),
    ];
    let features = features.into_iter().filter(|(_, enabled)| *enabled);
    let available = Isa::available();
    let report = VersionReport {
        version: env!("CARGO_PKG_VERSION"),
        features: features.map(|(name, _)| name).collect(),
        isa_available: available.map(Isa::name).collect(),
        isa: Isa::best().name(),
    };
    if arguments.json {
        results.json(&report)?;
        return Ok(SUCCESS);
    }
    let list = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    results.line(format!("senet {}", report.version))?;
    results.line(format!("features: {}", list(&report.features)))?;
    let available = list(&report.isa_available);
    results.line(format!(
        "instruction sets: {available} (used: {})",
        report.isa
    ))?;
    Ok(SUCCESS)
}
