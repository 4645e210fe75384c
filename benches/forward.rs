//! The forward pass beside the same network written in Candle's own operations, with BatchNorm
//! folded into the convolutions on both sides.
//!
//! ```text
//! cargo bench --bench forward                  # seresnet50, seresnext50_32x4d, senet154
//! cargo bench --bench forward -- legacy_seresnet50
//! ```
//!
//! Both sides must give the same logits; then they run in turn, so that a noisy machine disturbs
//! them alike. The figures are medians, with the fastest and slowest run, and their ratio.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../tests/golden/formula.rs"]
mod formula;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use candle_core::{D, Device, Result, Tensor};
use senet::nets::{
    Activation, BlockPlan, ConvPlan, LinearPlan, Network, Plan, SePlan, StemPool, StepPlan,
};
use senet::nn::BatchNorm;
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
        compare(name);
    }
}

fn compare(architecture: &str) {
    let card = Zoo::builtin()
        .unwrap()
        .default_of(architecture)
        .expect("a built-in architecture");
    let spec = ModelSpec::from_card(card).unwrap();
    let plan = spec.network.plan(spec.naming, spec.classes()).unwrap();
    let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
    let network = Network::load(&plan, &weights, &Device::Cpu).unwrap();
    let plain = Plain::new(&plan, &weights).unwrap();
    let (x, _) = formula::pictures(1, 224, 224);
    let difference = (network.forward(&x).unwrap() - plain.forward(&x).unwrap())
        .unwrap()
        .abs()
        .unwrap();
    let difference = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference < 1e-3, "the logits differ by {difference}");

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let a = milliseconds(|| drop(black_box(network.forward(&x).unwrap())));
        let b = milliseconds(|| drop(black_box(plain.forward(&x).unwrap())));
        // The first round warms up.
        if round > 0 {
            ours.push(a);
            theirs.push(b);
        }
    }
    let (ours, theirs) = (Summary::new(ours), Summary::new(theirs));
    println!(
        "{architecture:20} senet {ours}   candle {theirs}   ratio {:.2}",
        ours.median / theirs.median
    );
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

/// The network in Candle's operations.
struct Plain<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    layers: HashMap<&'a str, (Tensor, Tensor)>,
    modules: HashMap<&'a str, [(Tensor, Tensor); 2]>,
}

impl<'a> Plain<'a> {
    fn new(plan: &'a Plan, weights: &'a Weights) -> Result<Self> {
        let mut plain = Self {
            plan,
            weights,
            layers: HashMap::new(),
            modules: HashMap::new(),
        };
        plan.stem
            .iter()
            .chain(&plan.head_conv)
            .try_for_each(|conv| plain.conv(conv))?;
        for block in plan.blocks() {
            for step in &block.steps {
                match step {
                    StepPlan::Conv(conv) => plain.conv(conv)?,
                    StepPlan::AvgPool => {}
                    StepPlan::Se(se) => plain.se(se)?,
                    StepPlan::Sk(_) => candle_core::bail!("selective kernels are not compared"),
                }
            }
            block.se.iter().try_for_each(|se| plain.se(se))?;
            block
                .shortcut
                .iter()
                .try_for_each(|shortcut| plain.conv(&shortcut.conv))?;
        }
        let LinearPlan {
            name,
            inputs,
            outputs,
        } = &plan.classifier;
        let layer = plain.linear(name, *inputs, *outputs)?;
        plain.layers.insert(name, layer);
        Ok(plain)
    }

    fn values(&self, name: &str) -> Result<Vec<f32>> {
        self.weights.f32(name).map_err(candle_core::Error::wrap)
    }

    fn conv(&mut self, conv: &'a ConvPlan) -> Result<()> {
        let part = |part: &str| {
            self.weights
                .f64(&format!("{}.{part}", conv.norm))
                .map_err(candle_core::Error::wrap)
        };
        let norm = BatchNorm {
            weight: part("weight")?,
            bias: part("bias")?,
            running_mean: part("running_mean")?,
            running_var: part("running_var")?,
        };
        let mut filters = self.values(&format!("{}.weight", conv.conv))?;
        let bias = norm.fold(&mut filters);
        let shape = (
            conv.outputs,
            conv.inputs / conv.groups,
            conv.kernel,
            conv.kernel,
        );
        let filters = Tensor::from_vec(filters, shape, &Device::Cpu)?;
        let bias = Tensor::from_vec(bias, (1, conv.outputs, 1, 1), &Device::Cpu)?;
        self.layers.insert(&conv.conv, (filters, bias));
        Ok(())
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<(Tensor, Tensor)> {
        let weight = self.values(&format!("{name}.weight"))?;
        let weight = Tensor::from_vec(weight, (outputs, inputs), &Device::Cpu)?
            .t()?
            .contiguous()?;
        let bias = Tensor::from_vec(self.values(&format!("{name}.bias"))?, outputs, &Device::Cpu)?;
        Ok((weight, bias))
    }

    fn se(&mut self, se: &'a SePlan) -> Result<()> {
        let fc1 = self.linear(&se.reduce, se.channels, se.reduced)?;
        let fc2 = self.linear(&se.expand, se.reduced, se.channels)?;
        self.modules.insert(&se.name, [fc1, fc2]);
        Ok(())
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for conv in &self.plan.stem {
            x = self.run(conv, &x)?;
        }
        // After ReLU a border of zeros is never the largest.
        let pad = |x: &Tensor, before, after| {
            x.pad_with_zeros(2, before, after)?
                .pad_with_zeros(3, before, after)
        };
        x = match self.plan.stem_pool {
            StemPool::MaxPad => pad(&x, 1, 1)?.max_pool2d_with_stride(3, 2)?,
            StemPool::MaxCeil => pad(&x, 0, 1)?.max_pool2d_with_stride(3, 2)?,
            StemPool::Avg => x.avg_pool2d(2)?,
            StemPool::None => x,
        };
        for block in self.plan.blocks() {
            x = self.block(block, &x)?;
        }
        if let Some(conv) = &self.plan.head_conv {
            x = self.run(conv, &x)?;
        }
        let (weight, bias) = &self.layers[self.plan.classifier.name.as_str()];
        x.mean((2, 3))?.matmul(weight)?.broadcast_add(bias)
    }

    fn run(&self, conv: &ConvPlan, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = &self.layers[conv.conv.as_str()];
        let y = x.conv2d(
            weight,
            conv.padding,
            conv.stride,
            conv.dilation,
            conv.groups,
        )?;
        let y = y.broadcast_add(bias)?;
        match conv.activation {
            Some(Activation::Relu) => y.relu(),
            Some(Activation::Silu) => y.silu(),
            None => Ok(y),
        }
    }

    fn scale(&self, se: &SePlan, x: &Tensor) -> Result<Tensor> {
        let [(squeeze, squeeze_bias), (excite, excite_bias)] = &self.modules[se.name.as_str()];
        let hidden = x
            .mean((2, 3))?
            .matmul(squeeze)?
            .broadcast_add(squeeze_bias)?
            .relu()?;
        let gate = candle_nn::ops::sigmoid(&hidden.matmul(excite)?.broadcast_add(excite_bias)?)?;
        x.broadcast_mul(&gate.unsqueeze(D::Minus1)?.unsqueeze(D::Minus1)?)
    }

    fn block(&self, block: &BlockPlan, x: &Tensor) -> Result<Tensor> {
        let mut y = x.clone();
        for step in &block.steps {
            y = match step {
                StepPlan::Conv(conv) => self.run(conv, &y)?,
                StepPlan::AvgPool => y.avg_pool2d(2)?,
                StepPlan::Se(se) => self.scale(se, &y)?,
                StepPlan::Sk(_) => candle_core::bail!("selective kernels are not compared"),
            };
        }
        if let Some(se) = &block.se {
            y = self.scale(se, &y)?;
        }
        let shortcut = match &block.shortcut {
            Some(shortcut) if shortcut.avg_pool => self.run(&shortcut.conv, &x.avg_pool2d(2)?)?,
            Some(shortcut) => self.run(&shortcut.conv, x)?,
            None => x.clone(),
        };
        match block.activation {
            Activation::Relu => (y + shortcut)?.relu(),
            Activation::Silu => (y + shortcut)?.silu(),
        }
    }
}
