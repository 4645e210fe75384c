//! Measures the built-in model on a folder with a folder of images for each class, or on images that
//! a file labels: `cargo run --example evaluate -- FOLDER [LABELS]`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;

use candle_core::Device;
use senet::Model;
use senet::eval::{Classes, Dataset, DatasetOptions, EvalOptions, Evaluation, Outcome};
use senet::hub::HubOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("expected a folder of images")?;

    let model = Model::open("demo", &HubOptions::from_env()?, &Device::Cpu)?;
    let classes = Classes::new(&model.spec().labels);
    let mut options = DatasetOptions::default();
    options.labels = arguments.next();
    let data = Dataset::open(&[folder], &classes, &options)?;

    let mut evaluation = Evaluation::new([&model], &data, EvalOptions::default())?;
    evaluation.run(|batch| {
        for record in &batch[0] {
            match &record.outcome {
                Outcome::Error { error } => eprintln!("{}: {error}", record.picture),
                _ => eprintln!("{}: {:?}", record.picture, record.answer()),
            }
        }
    })?;
    let report = evaluation.runs()[0].report(&[1, 5]);
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
