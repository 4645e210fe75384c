//! The kernels of `kernels.h` on the CPU: the plain definition of each, one value at a time.
//!
//! With it all of the lowering is tested where there is no GPU.

use rayon::prelude::*;

use super::launch::{Kernel, Params};
use crate::kernels::{Activation, Isa};

/// What a kernel reads apart from its parameters. A missing operand is empty.
pub(super) struct Operands<'a> {
    pub x: &'a [f32],
    pub other: &'a [f32],
    pub bias: &'a [f32],
    pub factors: &'a [f32],
}

/// Values that a thread computes at a time.
const TASK: usize = 1 << 14;

/// Computes all of `y`.
pub(super) fn run(
    kernel: Kernel,
    params: &Params,
    operands: &Operands<'_>,
    activation: Option<Activation>,
    y: &mut [f32],
) {
    let value = match kernel {
        Kernel::Epilogue => epilogue,
        Kernel::Squeeze => squeeze,
        Kernel::Depthwise => depthwise,
        Kernel::Unfold => unfold,
        Kernel::Weigh => weigh,
        Kernel::Pool => pool,
    };
    let tasks = y.par_chunks_mut(TASK).enumerate();
    tasks.for_each(|(index, y)| {
        for (i, y) in (index * TASK..).zip(y.iter_mut()) {
            *y = value(params, operands, i as u32, *y);
        }
        if let Some(activation) = activation {
            activation.apply(Isa::best(), y);
        }
    });
}

/// The value at an index of an optional operand.
fn at(operand: &[f32], index: u32) -> Option<f32> {
    operand.get(index as usize).copied()
}

fn epilogue(p: &Params, operands: &Operands<'_>, i: u32, y: f32) -> f32 {
    let channel = i / p.inner % p.channels;
    let image = i % p.inner / (p.out_height * p.out_width);
    let mut sum = y + at(operands.bias, channel).unwrap_or(0.0);
    if let Some(gate) = at(operands.factors, image * p.channels + channel) {
        sum *= gate;
    }
    sum + at(operands.other, i).unwrap_or(0.0)
}

fn squeeze(p: &Params, operands: &Operands<'_>, i: u32, _: f32) -> f32 {
    let (image, channel) = (i / p.channels, i % p.channels);
    let pixels = (p.height * p.width) as usize;
    let start = (channel * p.batch + image) as usize * pixels;
    let sum = |map: &[f32]| -> f64 {
        let plane = map.get(start..start + pixels).unwrap_or_default();
        plane.iter().map(|&value| f64::from(value)).sum()
    };
    let mean = (sum(operands.x) + sum(operands.other)) / pixels as f64;
    mean as f32 + at(operands.bias, channel).unwrap_or(0.0)
}

/// The pixel under a tap, or a number beyond the map.
fn pixel(window: u32, tap: u32, before: u32, p: &Params) -> u32 {
    (window * p.stride + tap * p.dilation).wrapping_sub(before)
}

fn depthwise(p: &Params, operands: &Operands<'_>, i: u32, _: f32) -> f32 {
    let (column, row) = (i % p.out_width, i / p.out_width % p.out_height);
    let plane = i / (p.out_width * p.out_height);
    let (channel, image) = (plane / p.batch, plane % p.batch);
    let map = (channel / p.multiplier * p.batch + image) * p.height;
    let mut sum = at(operands.bias, channel).unwrap_or(0.0);
    for ky in 0..p.kernel_height {
        for kx in 0..p.kernel_width {
            let (y, x) = (pixel(row, ky, p.top, p), pixel(column, kx, p.left, p));
            if y < p.height && x < p.width {
                let tap = (channel * p.kernel_height + ky) * p.kernel_width + kx;
                let value = operands.x[((map + y) * p.width + x) as usize];
                sum += value * operands.factors[tap as usize];
            }
        }
    }
    sum
}

fn unfold(p: &Params, operands: &Operands<'_>, i: u32, _: f32) -> f32 {
    let (column, row) = (i % p.out_width, i / p.out_width % p.out_height);
    let image = i / (p.out_width * p.out_height) % p.batch;
    let tap = i / p.inner;
    let (kx, ky) = (tap % p.kernel_width, tap / p.kernel_width % p.kernel_height);
    let channel = tap / (p.kernel_height * p.kernel_width);
    let (y, x) = (pixel(row, ky, p.top, p), pixel(column, kx, p.left, p));
    if y < p.height && x < p.width {
        operands.x[(((channel * p.batch + image) * p.height + y) * p.width + x) as usize]
    } else {
        0.0
    }
}

fn weigh(p: &Params, operands: &Operands<'_>, i: u32, y: f32) -> f32 {
    let channel = i / p.inner;
    let image = i % p.inner / (p.out_height * p.out_width);
    let first = (2 * image * p.channels + channel) as usize;
    let second = first + p.channels as usize;
    y * operands.factors[first] + operands.other[i as usize] * operands.factors[second]
}

fn pool(p: &Params, operands: &Operands<'_>, i: u32, _: f32) -> f32 {
    let (column, row) = (i % p.out_width, i / p.out_width % p.out_height);
    let map = i / (p.out_width * p.out_height) * p.height;
    let mut values = (0..p.kernel_height * p.kernel_width).filter_map(|tap| {
        let y = (row * p.stride + tap / p.kernel_width).wrapping_sub(p.top);
        let x = (column * p.stride + tap % p.kernel_width).wrapping_sub(p.left);
        let inside = y < p.height && x < p.width;
        inside.then(|| operands.x[((map + y) * p.width + x) as usize])
    });
    if p.is_max == 1 {
        let first = values.next().unwrap_or(f32::NAN);
        // Unlike with `f32::max`, NaN stays.
        values.fold(first, |most, value| {
            if value > most || value.is_nan() {
                value
            } else {
                most
            }
        })
    } else {
        let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        let pixels = if p.counts_padding == 1 {
            p.kernel_height * p.kernel_width
        } else {
            count
        };
        sum / pixels as f32
    }
}
