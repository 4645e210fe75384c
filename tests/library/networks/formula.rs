//! Weights and images by formula, bit-identical to `tests/tools/make_golden.py`, which explains the
//! numbers.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use senet::nets::Plan;

/// 64-bit FNV-1a.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Multiples of 2^-23 in [-1, 1): the top 24 bits of splitmix64, seeded with the name.
struct Uniform(u64);

impl Uniform {
    fn new(name: &str) -> Self {
        Self(name_hash(name))
    }

    fn at(&self, index: usize) -> f64 {
        let step = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0.wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 40) as i64 - (1 << 23)) as f64 / f64::from(1 << 23)
    }
}

/// Whether this is the scale of the last BatchNorm before a residual sum.
fn closes_branch(name: &str, names: &BTreeSet<&str>) -> bool {
    let Some(module) = name.strip_suffix(".weight") else {
        return false;
    };
    if module.ends_with(".expand_bn3") {
        return true;
    }
    let has = |name: String| names.contains(name.as_str());
    if let Some((block, norm)) = module.split_once(".bn")
        && block.starts_with("blocks.")
    {
        let fused = has(format!("{block}.conv_exp.weight"));
        return !block.ends_with(".0") && (norm == "3" || (norm == "2" && fused));
    }
    let in_layer = ["layer1.", "layer2.", "layer3.", "layer4.", "features.stage"];
    let in_stage = ["stages.", "s1.", "s2.", "s3.", "s4."];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| module.starts_with(prefix));
    if !starts(&in_layer) && !starts(&in_stage) {
        return false;
    }
    let last = [".bn3", ".conv3.bn", ".conv3_1x1.bn", ".conv2.bn"];
    if last.iter().any(|suffix| module.ends_with(suffix)) {
        let parts = if module.starts_with("stages.") { 3 } else { 2 };
        let block = module.split('.').take(parts).collect::<Vec<_>>().join(".");
        let first = starts(&in_stage) && (block.ends_with(".0") || block.ends_with(".b1"));
        let projected = ["shortcut", "downsample"]
            .into_iter()
            .any(|side| has(format!("{block}.{side}.conv.weight")));
        return projected || !first;
    }
    module
        .strip_suffix(".bn2")
        .is_some_and(|block| !has(format!("{block}.bn3.weight")))
}

fn centre_and_spread(name: &str, shape: &[usize], names: &BTreeSet<&str>) -> (f64, f64) {
    if shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        return (0.0, (3.0 * gain(name, names) / fan_in as f64).sqrt());
    }
    if name.ends_with(".running_var") {
        (1.25, 0.75)
    } else if name.ends_with(".weight") {
        match closes_branch(name, names) {
            false => (1.0, 0.5),
            true if name.starts_with("blocks.") => (0.12, 0.04),
            true => (0.3, 0.1),
        }
    } else {
        (0.0, 0.3)
    }
}

fn gain(name: &str, names: &BTreeSet<&str>) -> f64 {
    let leaf = name.rsplit('.').nth(1);
    let block = name.rsplitn(3, '.').nth(2);
    if let Some(block) = block.filter(|_| name.starts_with("blocks.")) {
        let has = |leaf: &str| names.contains(format!("{block}.{leaf}.weight").as_str());
        let (gated, separable) = (has("se.conv_reduce"), !has("conv_pwl"));
        match leaf {
            Some("conv_pwl") => return if gated { 4.0 } else { 2.0 },
            Some("conv_pw") if separable => return if gated { 4.0 } else { 3.0 },
            Some("conv_dw") => return if separable { 3.0 } else { 2.0 },
            _ => {}
        }
    }
    match leaf {
        Some("fc1") => 1.5,
        Some("fc_reduce") => 1.0,
        Some("fc_select") => 0.5,
        _ => 2.0,
    }
}

/// A checksum over names and bits.
#[derive(Default)]
struct Digest(u64);

impl Digest {
    /// What a value of a tensor adds to the tensor's sum.
    fn part(index: usize, value: f32) -> u64 {
        u64::from(value.to_bits()).wrapping_mul(2 * index as u64 + 1)
    }

    fn add(&mut self, name: &str, sum: u64) {
        self.0 = self.0.wrapping_add(name_hash(name) ^ sum);
    }

    fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// The plan's weights as a safetensors file, and their digest.
pub(crate) fn weights(plan: &Plan) -> (Vec<u8>, String) {
    let tensors = plan.tensors();
    let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for tensor in &tensors {
        let start = end;
        end += 4 * tensor.shape.iter().product::<usize>();
        let entry = serde_json::json!({
            "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end]
        });
        header.insert(tensor.name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let data = 8 + header.len();
    let mut file = vec![0; data + end];
    file[..8].copy_from_slice(&(header.len() as u64).to_le_bytes());
    file[8..data].copy_from_slice(header.as_bytes());
    let mut digest = Digest::default();
    let mut rest = &mut file[data..];
    for tensor in &tensors {
        let (centre, spread) = centre_and_spread(&tensor.name, &tensor.shape, &names);
        let uniform = Uniform::new(&tensor.name);
        let (bytes, after) = rest.split_at_mut(4 * tensor.shape.iter().product::<usize>());
        rest = after;
        let values = bytes.par_chunks_exact_mut(4).with_min_len(1 << 14);
        let parts = values.enumerate().map(|(index, bytes)| {
            let value = (centre + spread * uniform.at(index)) as f32;
            bytes.copy_from_slice(&value.to_le_bytes());
            Digest::part(index, value)
        });
        digest.add(&tensor.name, parts.reduce(|| 0, u64::wrapping_add));
    }
    (file, digest.hex())
}

/// Images `[n, 3, h, w]` of about the range of normalised photographs, and their digest.
pub(crate) fn rgb_images(n: usize, h: usize, w: usize) -> (Tensor, String) {
    images([n, 3, h, w])
}

/// The same for any number of channels.
pub(crate) fn images([n, channels, h, w]: [usize; 4]) -> (Tensor, String) {
    const PATCHES: usize = 64;
    let [contrast, colour, slope, patch, noise] = ["contrast", "colour", "slope", "patch", "noise"]
        .map(|part| Uniform::new(&format!("input.{part}")));
    let ramp = |at: usize, size: usize| (2 * at as i64 + 1 - size as i64) as f64 / size as f64;
    let mut values = Vec::with_capacity(n * channels * h * w);
    for plane in 0..n * channels {
        let contrast = 1.0 + 0.5 * contrast.at(plane / channels);
        let (down, right) = (slope.at(2 * plane), slope.at(2 * plane + 1));
        for y in 0..h {
            for x in 0..w {
                let [row, column] = [y, x].map(|at| at / 8 % PATCHES);
                let patch = patch.at((plane * PATCHES + row) * PATCHES + column);
                let noise = noise.at((plane * h + y) * w + x);
                let texture =
                    0.6 * (down * ramp(y, h) + right * ramp(x, w)) + 0.6 * patch + 0.6 * noise;
                values.push((contrast * (colour.at(plane) + texture)) as f32);
            }
        }
    }
    let mut digest = Digest::default();
    let parts = values.iter().enumerate();
    let parts = parts.map(|(index, &value)| Digest::part(index, value));
    digest.add("input", parts.fold(0, u64::wrapping_add));
    let shape = (n, channels, h, w);
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("the count fits the shape");
    (tensor, digest.hex())
}
