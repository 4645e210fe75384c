//! What only a GPU can show; `tests/tools/gpu_check.sh` runs it. Each result is a line of JSON.
//!
//! `SENET_TEST_DEVICE` is a device such as `cuda:0`; `cpu` is a dry run of the same operations.
//! `SENET_TEST_PRECISIONS` and `SENET_TEST_NETWORKS` are lists with commas, `SENET_TEST_SIZE` the pixels of
//! a side of the images.

use std::path::PathBuf;
use std::time::Instant;

use senet::DeviceChoice;
use serde_json::{Value, json};

use super::*;

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn list(name: &str, default: &str) -> Vec<String> {
    let text = variable(name, default);
    text.split(',').map(str::to_owned).collect()
}

fn precisions() -> Vec<Precision> {
    let names = list("SENET_TEST_PRECISIONS", "f32,tf32,bf16").into_iter();
    names
        .map(|name| serde_json::from_value(name.into()).unwrap())
        .collect()
}

fn engine(precision: Precision) -> CandleEngine {
    let choice: DeviceChoice = variable("SENET_TEST_DEVICE", "cuda:0").parse().unwrap();
    CandleEngine::new(&choice.open().unwrap().device, precision).unwrap()
}

fn network(arch: &str, engine: &CandleEngine) -> Network {
    let plan = plan(arch, 1000);
    let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
    Network::load_on(&plan, &weights, Backend::Candle(engine.clone())).unwrap()
}

fn images(count: usize) -> Tensor {
    let size = variable("SENET_TEST_SIZE", "224").parse().unwrap();
    formula::rgb_images(count, size, size).0
}

#[expect(clippy::print_stdout, reason = "the results of the check")]
fn print(result: Value) {
    println!("{result}");
}

/// Largest difference of two tensors over the largest value of the second.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    f64::from(largest(&(found - expected).unwrap()) / largest(expected))
}

/// What a precision may change: f32, the order of sums.
fn allowed(precision: Precision) -> f64 {
    if precision == Precision::F32 {
        2e-5
    } else {
        0.01
    }
}

#[test]
#[ignore = "needs a GPU: tests/tools/gpu_check.sh 1"]
fn goldens() {
    let names = variable("SENET_TEST_NETWORKS", "");
    let chosen = |arch: &str| names.is_empty() || names.split(',').any(|name| name == arch);
    let all = ARCHITECTURES.iter().copied();
    let all: Vec<_> = all.filter(|(arch, _)| chosen(arch)).collect();
    assert!(!all.is_empty(), "there is no network called {names}");
    let mut failed = Vec::new();
    for precision in precisions() {
        let engine = engine(precision);
        for &(arch, expected) in &all {
            let recorded = recorded(arch);
            let plan = plan(arch, recorded.classes);
            let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
            let network =
                Network::load_on(&plan, &weights, Backend::Candle(engine.clone())).unwrap();
            let counted = device::launches(&network, &engine, 1);
            let mut ok = counted == expected;
            let mut most: f64 = 0.0;
            for run in &recorded.runs {
                let report = run.golden().compare(&network).unwrap();
                // Reduced precision is judged by the logits.
                let logits = report.rows.iter().filter(|row| row.tensor == "logits");
                let differences: Vec<f64> = logits.filter_map(|row| row.max_rel).collect();
                ok &= match precision {
                    Precision::F32 => report.ok,
                    _ => !differences.is_empty() && differences.iter().all(|rel| *rel < 0.02),
                };
                most = differences.into_iter().fold(most, f64::max);
            }
            print(json!({
                "check": "golden", "network": arch, "precision": precision, "ok": ok,
                "launches": counted, "logits_max_rel": most,
            }));
            if !ok {
                failed.push((arch, precision));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// NaN in an input on the device is an error.
#[test]
#[ignore = "needs a GPU: tests/tools/gpu_check.sh 1"]
fn damaged_inputs() {
    let engine = engine(Precision::F32);
    let network = network("seresnext26ts", &engine);
    let x = (images(2) * f64::NAN).unwrap();
    let x = x.to_device(network.device()).unwrap();
    let error = network.forward(&x).unwrap_err();
    print(json!({"check": "damaged input", "ok": true, "error": error.to_string()}));
    assert!(
        matches!(error, senet::nets::NetError::InputNotFinite),
        "{error}"
    );
}

/// A batch gives each image what it gets alone, whatever portions it is computed in.
#[test]
#[ignore = "needs a GPU: tests/tools/gpu_check.sh 2"]
fn batches() {
    let arch = variable("SENET_TEST_NETWORKS", "seresnext50_32x4d");
    let batches = list("SENET_TEST_BATCHES", "1,3,64,600");
    for precision in precisions() {
        let network = network(&arch, &engine(precision));
        for batch in &batches {
            let count: usize = batch.parse().unwrap();
            let x = images(count);
            let logits = network.forward(&x).unwrap();
            let differences = [0, count / 2, count - 1].map(|index| {
                let alone = network.forward(&x.narrow(0, index, 1).unwrap()).unwrap();
                relative(&logits.narrow(0, index, 1).unwrap(), &alone)
            });
            let ok = differences.iter().all(|rel| *rel <= allowed(precision));
            let most = differences.into_iter().fold(0.0, f64::max);
            print(json!({
                "check": "batch", "network": arch, "precision": precision, "batch": count, "ok": ok,
                "max_rel": most,
            }));
            assert!(ok);
        }
    }
}

/// Two threads that use one network at once get what each gets alone.
#[test]
#[ignore = "needs a GPU: tests/tools/gpu_check.sh 1"]
fn two_threads() {
    let arch = variable("SENET_TEST_NETWORKS", "seresnext50_32x4d");
    let rounds: usize = variable("SENET_TEST_ROUNDS", "50").parse().unwrap();
    let engine = engine(Precision::F32);
    let network = network(&arch, &engine);
    let inputs = [images(2), images(3)];
    let alone = inputs.each_ref().map(|x| network.forward(x).unwrap());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (x, expected) in inputs.iter().zip(&alone) {
            let network = &network;
            scope.spawn(move || {
                for _ in 0..rounds {
                    let found = network.forward(x).unwrap();
                    assert!(relative(&found, expected) <= allowed(Precision::F32));
                }
            });
        }
    });
    print(json!({
        "check": "two threads", "network": arch, "rounds": rounds, "ok": true,
        "seconds": start.elapsed().as_secs_f64(),
    }));
}

/// Weights from the formula as files, for `senet bench` and for other engines.
#[test]
#[ignore = "writes files: tests/tools/gpu_check.sh 1"]
fn write_weights() {
    let folder = PathBuf::from(std::env::var("SENET_TEST_FOLDER").unwrap());
    for arch in list("SENET_TEST_NETWORKS", "seresnext50_32x4d,senet154") {
        let weights = formula::weights(&plan(&arch, 1000)).0;
        std::fs::write(folder.join(format!("{arch}.safetensors")), weights).unwrap();
    }
}
