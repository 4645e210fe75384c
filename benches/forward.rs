//! Forward passes on our CPU kernels.
//!
//! ```text
//! cargo bench --bench forward                  # seresnet50, seresnext50_32x4d, senet154
//! cargo bench --bench forward -- legacy_seresnet50
//! ```
//!
//! Printed are the medians with the fastest and slowest run.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../tests/library/networks/formula.rs"]
mod formula;

use std::hint::black_box;
use std::time::Instant;

use candle_core::Device;
use senet::nets::Network;
use senet::nn::Precision;
use senet::weights::Weights;
use senet::{ModelSpec, Zoo};

const ROUNDS: usize = 7;
const ARCHITECTURES: [&str; 3] = ["seresnet50", "seresnext50_32x4d", "senet154"];

fn main() {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    let named: Vec<&str> = if named.is_empty() {
        ARCHITECTURES.to_vec()
    } else {
        named.iter().map(String::as_str).collect()
    };
    println!(
        "{} threads, batch 1, 224 px, {ROUNDS} rounds; ms: median (fastest to slowest)",
        rayon::current_num_threads()
    );
    for name in named {
        time(name);
    }
}

fn time(architecture: &str) {
    let card = Zoo::builtin()
        .default_of(architecture)
        .expect("a built-in architecture");
    let spec = ModelSpec::from_card(card).unwrap();
    let plan = spec.network.plan(spec.naming, spec.classes()).unwrap();
    let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
    let network = Network::load(&plan, &weights, &Device::Cpu, Precision::F32).unwrap();
    let (x, _) = formula::rgb_images(1, 224, 224);
    // The first round warms up.
    let times = (0..=ROUNDS)
        .map(|_| milliseconds(|| drop(black_box(network.forward(&x).unwrap()))))
        .skip(1);
    println!("{architecture:20} {}", Summary::new(times.collect()));
}

fn milliseconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e3
}

struct Summary {
    median: f64,
    fastest: f64,
    slowest: f64,
}

impl Summary {
    fn new(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self {
            median: times[times.len() / 2],
            fastest: times[0],
            slowest: times[times.len() - 1],
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:7.1} ({:.1} to {:.1})",
            self.median, self.fastest, self.slowest
        )
    }
}
