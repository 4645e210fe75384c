//! Times rten or tract on one ONNX file and prints what it measured as JSON.
//!
//!     peers-rust ENGINE MODEL.onnx INPUT.f32 NxCxHxW THREADS WARM_UP ITERATIONS
//!
//! INPUT.f32 holds little-endian f32 values in the order of the shape. The JSON object has `step_times_ms`,
//! one value for each iteration after the warm-up, and `logits`, those of the last one.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use rten::{ModelOptions, RunOptions, ThreadPool, ValueView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor as RtenTensor, TensorView};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::multithread::{Executor, set_default_executor};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// One forward pass, from input to logits.
type Step = Box<dyn FnMut() -> Result<Vec<f32>>>;

fn rten_step(path: &str, shape: &[usize], input: Vec<f32>, threads: usize) -> Result<Step> {
    let model = ModelOptions::with_all_ops()
        .prepack_weights(true)
        .load_file(path)?;
    let options = RunOptions::default()
        .with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(threads))));
    let input = RtenTensor::from_data(shape, input);
    Ok(Box::new(move || {
        let view: TensorView<f32> = input.view();
        let output = model.run_one(ValueView::from(view).into(), Some(options.clone()))?;
        let logits: RtenTensor<f32> = output.try_into()?;
        Ok(logits.to_vec())
    }))
}

fn tract_step(path: &str, shape: &[usize], input: Vec<f32>, threads: usize) -> Result<Step> {
    set_default_executor(Executor::multithread(threads));
    let plan = tract_onnx::onnx()
        .model_for_path(path)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let input: TValue = Tensor::from_shape(shape, &input)?.into();
    Ok(Box::new(move || {
        let outputs = plan.run(tvec!(input.clone()))?;
        Ok(outputs[0].view().as_slice::<f32>()?.to_vec())
    }))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [engine, path, input, shape, threads, warm_up, iterations] = &arguments[..] else {
        return Err("ENGINE MODEL.onnx INPUT.f32 NxCxHxW THREADS WARM_UP ITERATIONS".into());
    };
    let shape: Vec<usize> = shape
        .split('x')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let input: Vec<f32> = fs::read(input)?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let threads = threads.parse()?;
    let mut step = match engine.as_str() {
        "rten" => rten_step(path, &shape, input, threads)?,
        "tract" => tract_step(path, &shape, input, threads)?,
        other => return Err(format!("no engine {other}: rten or tract").into()),
    };

    for _ in 0..warm_up.parse()? {
        step()?;
    }
    let (mut times, mut logits) = (Vec::new(), Vec::new());
    for _ in 0..iterations.parse()? {
        let start = Instant::now();
        logits = step()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "{}",
        serde_json::json!({ "step_times_ms": times, "logits": logits })
    );
    Ok(())
}
