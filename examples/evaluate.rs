//! Measures the accuracy of the built-in model on a directory with one subdirectory of images for
//! each class, or on images that a file labels: `cargo run --example evaluate -- DIRECTORY [LABELS]`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;

use senet::Model;
use senet::eval::{Classes, Dataset, DatasetOptions, EvalOptions, Evaluation, Outcome};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let directory = arguments.next().ok_or("expected a directory of images")?;

    let model = Model::builder("demo").open()?;
    let classes = Classes::new(&model.spec().labels);
    let mut options = DatasetOptions::default();
    options.labels = arguments.next();
    let data = Dataset::open(&[directory], &classes, &options)?;

    let mut evaluation = Evaluation::new([&model], &data, EvalOptions::default())?;
    evaluation.run(|batch| {
        for record in &batch[0] {
            match &record.outcome {
                Outcome::Error { error } => eprintln!("{}: {error}", record.image),
                _ => eprintln!("{}: {:?}", record.image, record.answer()),
            }
        }
    })?;
    let report = evaluation.runs()[0].report(&[1, 5]);
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
