//! Compares two images by their embeddings, the pooled features before the classifier:
//! `cargo run --example embed -- [IMAGE IMAGE]`.
//!
//! The model is the built-in one; `MODEL=se-resnet50` in the environment chooses another.

#![allow(clippy::print_stdout)]

use senet::Model;
use senet::preprocess::{DecodeOptions, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths: Vec<_> = std::env::args_os().skip(1).collect();
    if paths.is_empty() {
        paths.push("tests/data/pictures/ankle-boot.png".into());
        paths.push("tests/data/pictures/grey.png".into());
    }
    let [first, second] = &paths[..] else {
        return Err("expected two images".into());
    };

    let name = std::env::var("MODEL").unwrap_or_else(|_| "demo".into());
    let model = Model::builder(name).open()?;
    let options = DecodeOptions::default();
    let batch = model.batch(&[open(first, &options)?, open(second, &options)?])?;

    // One row for each image: its length depends on the model.
    let rows = model.network().features(&batch)?.to_vec2::<f32>()?;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let (a, b) = (&rows[0], &rows[1]);
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    println!("{} features, cosine similarity {cosine:.3}", a.len());
    Ok(())
}
