//! Classifiers, on features of a file or on made-up ones: time, accuracy and, on Linux, the most memory.
//!
//! ```text
//! cargo bench --bench train                             # 5,000 images, 2,048 features, 10 classes
//! cargo bench --bench train -- fit 100000 2048 1000 1e-4
//! cargo bench --bench train -- FILE.safetensors HEAD.safetensors 0.1
//! ```
//!
//! The last form is for `tests/tools/train_sklearn.py`: it cross-validates with the tensors `features` and
//! `labels` of the file, writes the classifier of the given strength, and prints an object of JSON.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use senet::eval::Answer;
use senet::train::{Samples, TrainOptions, cross_validate, fit, label_doubts, learning_curve};
use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => {
            let (features, labels) = made_up(5000, 2048, 10);
            let samples = Samples::new(&features, 2048, &labels, 10).unwrap();
            println!("{:#}", validate(&samples));
        }
        ["fit", images, width, classes, strength] => {
            let [images, width, classes] = [images, width, classes].map(|x| x.parse().unwrap());
            let (features, labels) = made_up(images, width, classes);
            let samples = Samples::new(&features, width, &labels, classes).unwrap();
            let start = Instant::now();
            let head = fit(
                &samples,
                strength.parse().unwrap(),
                &TrainOptions::default(),
            )
            .unwrap();
            println!(
                "{:.1} s, {} iterations, converged: {}; {}",
                start.elapsed().as_secs_f64(),
                head.iterations,
                head.converged,
                most_memory()
            );
        }
        [file, head, strength] => {
            compare(Path::new(file), Path::new(head), strength.parse().unwrap())
        }
        _ => println!("see the top of benches/train.rs"),
    }
}

/// What ReLUs leave of a point for each class, 64 directions common to all, and noise.
fn made_up(images: usize, width: usize, classes: usize) -> (Vec<f32>, Vec<u32>) {
    const RANK: usize = 64;
    let mut centres = Random(1);
    let centres: Vec<f32> = (0..classes * width).map(|_| centres.normal()).collect();
    let mut basis = Random(2);
    let basis: Vec<f32> = (0..RANK * width).map(|_| basis.normal()).collect();
    let mut features = vec![0.0; images * width];
    features
        .par_chunks_mut(width)
        .enumerate()
        .for_each(|(image, row)| {
            let mut random = Random(image as u64 + 3);
            let centre = &centres[image % classes * width..][..width];
            row.iter_mut()
                .zip(centre)
                .for_each(|(x, centre)| *x = 0.15 * centre + random.normal());
            for (rank, direction) in basis.chunks_exact(width).enumerate() {
                let share = random.normal() * 2.0 / (1.0 + rank as f32).sqrt();
                row.iter_mut()
                    .zip(direction)
                    .for_each(|(x, direction)| *x += share * direction);
            }
            row.iter_mut().for_each(|x| *x = x.max(0.0));
        });
    (
        features,
        (0..images).map(|image| (image % classes) as u32).collect(),
    )
}

/// Pseudorandom numbers of mean 0 and variance 1, nearly normal.
struct Random(u64);

impl Random {
    fn normal(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1 << 24) as f32;
        }
        (sum - 2.0) * 3_f32.sqrt()
    }
}

fn most_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.unwrap_or("memory unknown").to_owned()
}

/// Cross-validation, learning curve and final fit with the default options.
fn validate(samples: &Samples<'_>) -> serde_json::Value {
    let options = TrainOptions::default();
    let start = Instant::now();
    let validation = cross_validate(samples, &options, |_, _| ()).unwrap();
    let validated = start.elapsed().as_secs_f64();
    let curve = learning_curve(samples, &validation, &options, |_, _| ()).unwrap();
    let drawn = start.elapsed().as_secs_f64();
    let head = fit(samples, validation.strength, &options).unwrap();
    let all = start.elapsed().as_secs_f64();
    let top1 = |answers: &[Answer]| {
        let right = answers.iter().filter(|answer| answer.rank == 1).count();
        right as f64 / answers.len() as f64
    };
    let scores = validation.scores.iter().map(|score| {
        json!([
            score.strength,
            score.correct as f64 / samples.len() as f64,
            score.loss
        ])
    });
    let doubts = label_doubts(&validation.answers, samples.labels());
    json!({
        "seconds": { "cross_validation": validated, "learning_curve": drawn - validated, "fit": all - drawn, "all": all },
        "folds": validation.folds.of,
        "scores": scores.collect::<Vec<_>>(),
        "strength": validation.strength,
        "top1": top1(&validation.answers),
        "nested_top1": validation.nested.map(|nested| top1(&nested.answers)),
        "curve": curve.points.iter().map(|point| [point.images, point.error]).collect::<Vec<_>>(),
        "verdict": format!("{:?}", curve.verdict),
        "doubts": doubts.iter().map(|doubt| doubt.image).collect::<Vec<_>>(),
        "iterations": head.iterations,
        "converged": head.converged,
        "memory": most_memory(),
    })
}

fn compare(file: &Path, head_file: &Path, strength: f64) {
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let (images, width) = tensors["features"].dims2().unwrap();
    let features: Vec<f32> = tensors["features"]
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let labels: Vec<u32> = tensors["labels"].to_vec1().unwrap();
    let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let samples = Samples::new(&features, width, &labels, classes).unwrap();
    let head = fit(&samples, strength, &TrainOptions::default()).unwrap();
    let weight = Tensor::from_vec(head.weight, (classes, width), &Device::Cpu).unwrap();
    let bias = Tensor::from_vec(head.bias, classes, &Device::Cpu).unwrap();
    let tensors = HashMap::from([("weight", weight), ("bias", bias)]);
    candle_core::safetensors::save(&tensors, head_file).unwrap();
    let mut figures = validate(&samples);
    figures["images"] = json!(images);
    println!("{figures}");
}
