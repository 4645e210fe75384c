//! Neighbours against the speed of the memory, and near-duplicates against the peak of the processor, on
//! pseudorandom vectors of 2,048 values. Arguments select `nearest` or `duplicates`, and set the number of
//! vectors.
//!
//! ```text
//! cargo bench --bench similar
//! cargo bench --bench similar -- nearest 1000000
//! cargo bench --bench similar -- duplicates 127000
//! cargo bench --bench similar -- nearest vectors.safetensors
//! ```
//!
//! The last one searches a file of features, which is mapped anew each time.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use rayon::prelude::*;
use senet::embed::FeatureFile;
use senet::kernels::{Isa, peak_flops};
use senet::similar::{DuplicateOptions, Matrix, duplicates, nearest};

const WIDTH: usize = 2048;
const ROUNDS: usize = 9;

/// Vectors, if no argument says how many.
const NEAREST: usize = 250_000;
const DUPLICATES: usize = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.iter().find_map(|argument| argument.parse().ok());
    let wanted = |name: &str| {
        let mut names = arguments.iter().filter(|a| a.parse::<usize>().is_err());
        // Cargo adds `--bench`.
        names.clone().all(|a| a.starts_with("--")) || names.any(|a| a == name)
    };
    println!(
        "{}, {} threads, {WIDTH} values",
        Isa::best().name(),
        rayon::current_num_threads()
    );
    if let Some(file) = arguments.iter().find(|a| a.ends_with(".safetensors")) {
        return measure_file(file);
    }
    if wanted("nearest") {
        measure_nearest(count.unwrap_or(NEAREST));
    }
    if wanted("duplicates") {
        measure_duplicates(count.unwrap_or(DUPLICATES));
    }
}

/// Pseudorandom values in -1..1.
fn random(count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    let blocks = values.par_chunks_mut(WIDTH).enumerate();
    blocks.for_each(|(block, values)| {
        let mut state = (block as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for value in values {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *value = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        }
    });
    values
}

fn measure_nearest(count: usize) {
    let values = random(count * WIDTH);
    let bytes = size_of_val(&*values) as f64;
    let vectors = Matrix::new(&values, WIDTH);
    let report = |name: &str, [median, fastest]: [f64; 2]| {
        println!(
            "{count} vectors, {name:10} {:8.1} ({:.1}) ms  {:5.1} GB/s",
            median * 1e3,
            fastest * 1e3,
            bytes / median / 1e9
        );
    };
    report("reading", time(|| black_box(read(&values))));
    for queries in [1, 4, 16, 64] {
        let asked = Matrix::new(&values[..queries * WIDTH], WIDTH);
        let name = format!("{queries} queries");
        report(&name, time(|| nearest(&vectors, &asked, 10).unwrap()));
    }
}

fn measure_file(path: &str) {
    let file = FeatureFile::open(path).unwrap();
    let (count, width) = (file.len(), file.width());
    let asked = file.row(0).into_owned();
    let report = |name: &str, [median, fastest]: [f64; 2]| {
        println!(
            "{count} mapped vectors, {name:8} {:8.1} ({:.1}) ms  {:5.1} GB/s",
            median * 1e3,
            fastest * 1e3,
            (count * width * size_of::<f32>()) as f64 / median / 1e9
        );
    };
    let open = || FeatureFile::open(path).unwrap();
    report("reading", time(|| black_box(read(&open().rows(0..count)))));
    let query = Matrix::new(&asked, width);
    report("1 query", time(|| nearest(&open(), &query, 10).unwrap()));
}

/// Reads all values and does next to nothing with them.
fn read(values: &[f32]) -> u32 {
    let sums = values.par_chunks(1 << 18).map(|values| {
        let words: &[u32] = bytemuck::cast_slice(values);
        let mut sums = [0_u32; 64];
        for words in words.chunks_exact(64) {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum ^= word;
            }
        }
        sums.iter().fold(0, |sum, word| sum ^ word)
    });
    sums.reduce(|| 0, |a, b| a ^ b)
}

/// Seconds of a call, median and fastest, after a warm-up call.
fn time<R>(mut run: impl FnMut() -> R) -> [f64; 2] {
    run();
    let mut times = [0.0; ROUNDS];
    for time in &mut times {
        let start = Instant::now();
        black_box(run());
        *time = start.elapsed().as_secs_f64();
    }
    times.sort_by(f64::total_cmp);
    [times[ROUNDS / 2], times[0]]
}

fn measure_duplicates(count: usize) {
    let mut values = random(count * WIDTH);
    // One pair, so that something is found.
    values.copy_within(WIDTH..2 * WIDTH, 5 * WIDTH);
    let vectors = Matrix::new(&values, WIDTH);
    let peak = peak_flops::<f32>(Isa::best()) / 1e9;
    let start = Instant::now();
    let options = DuplicateOptions::default();
    let groups = duplicates(&vectors, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(groups.len(), 1);
    let operations = count as f64 * (count - 1) as f64 * WIDTH as f64;
    let speed = operations / seconds / 1e9;
    println!(
        "{count} vectors, all pairs {seconds:.2} s  {speed:.0} GFLOP/s  {:.0} % of {peak:.0}",
        100.0 * speed / peak
    );
}
