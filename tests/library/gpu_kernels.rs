//! The kernels of GPUs, compiled as C++ and run on the CPU, against plain definitions in f64.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use senet::kernels::{Activation, Isa};

const EPILOGUE: u32 = 0;
const SQUEEZE: u32 = 1;
const DEPTHWISE: u32 = 2;
const UNFOLD: u32 = 3;
const WEIGH: u32 = 4;
const POOL: u32 = 5;

const HAS_OTHER: u32 = 1;
const HAS_BIAS: u32 = 2;
const HAS_FACTORS: u32 = 4;

/// As in `kernels.h`, in this order.
#[derive(Clone, Copy, Debug, Default)]
struct Params {
    channels: u32,
    inner: u32,
    batch: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    dilation: u32,
    top: u32,
    left: u32,
    multiplier: u32,
    is_max: u32,
    counts_padding: u32,
    count: u32,
    activation: u32,
    operands: u32,
}

impl Params {
    fn numbers(&self) -> [u32; 19] {
        [
            self.channels,
            self.inner,
            self.batch,
            self.height,
            self.width,
            self.out_height,
            self.out_width,
            self.kernel_height,
            self.kernel_width,
            self.stride,
            self.dilation,
            self.top,
            self.left,
            self.multiplier,
            self.is_max,
            self.counts_padding,
            self.count,
            self.activation,
            self.operands,
        ]
    }
}

/// The type of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    F32,
    Bf16,
}

impl Value {
    /// Largest relative error of a result.
    fn error(self) -> f64 {
        match self {
            Self::F32 => 2e-6,
            Self::Bf16 => 1.0 / 256.0,
        }
    }

    /// The nearest value of the type, as f32.
    fn round(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::Bf16 if x.is_nan() || x.to_bits() & 0xffff == 0 => x,
            Self::Bf16 => {
                let below = f32::from_bits(x.to_bits() & 0xffff_0000);
                let above = f32::from_bits((x.to_bits() & 0xffff_0000) + 0x1_0000);
                let (down, up) = (
                    f64::from(x) - f64::from(below),
                    f64::from(above) - f64::from(x),
                );
                let is_even = below.to_bits() & 0x1_0000 == 0;
                let (down, up) = (down.abs(), up.abs());
                if down < up || down == up && is_even {
                    below
                } else {
                    above
                }
            }
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bf16 => {
                let high = |x: &f32| (x.to_bits() >> 16) as u16;
                values.iter().flat_map(|x| high(x).to_le_bytes()).collect()
            }
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => {
                let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
                bytes.chunks(4).map(value).collect()
            }
            Self::Bf16 => {
                let value = |bytes: &[u8]| u16::from_le_bytes(bytes.try_into().unwrap());
                let wide = |bytes| f32::from_bits(u32::from(value(bytes)) << 16);
                bytes.chunks(2).map(wide).collect()
            }
        }
    }
}

/// The program that runs kernels on maps of this type, compiled once.
fn program(value: Value) -> &'static Path {
    static PROGRAMS: OnceLock<(tempfile::TempDir, [PathBuf; 2])> = OnceLock::new();
    let (_, programs) = PROGRAMS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let programs = ["f32", "bf16"].map(|name| {
            let program = folder.path().join(name);
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let compile = |sanitizer: &[&str]| {
                let mut compiler = Command::new("c++");
                compiler.args(["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror"]);
                compiler.args(["-Wno-unused-parameter", "-ffp-contract=off"]);
                if name == "bf16" {
                    compiler.arg("-DBF16");
                }
                compiler
                    .args(sanitizer)
                    .arg("-I")
                    .arg(root.join("src/nn/candle"));
                compiler.arg(root.join("tests/library/gpu_kernels.cpp"));
                compiler
                    .arg("-o")
                    .arg(&program)
                    .output()
                    .unwrap_or_else(|error| {
                        panic!("these tests need a C++ compiler, `c++`: {error}")
                    })
            };
            // Not every compiler has the libraries of the sanitizers.
            let sanitized = compile(&["-fsanitize=address,undefined", "-fno-sanitize-recover"]);
            if !sanitized.status.success() {
                let plain = compile(&[]);
                let message = String::from_utf8_lossy(&plain.stderr).into_owned();
                assert!(plain.status.success(), "{message}");
            }
            program
        });
        (folder, programs)
    });
    &programs[usize::from(value == Value::Bf16)]
}

/// The operands of a launch.
#[derive(Default)]
struct Operands {
    y: Vec<f32>,
    x: Vec<f32>,
    other: Vec<f32>,
    bias: Vec<f32>,
    factors: Vec<f32>,
}

/// What the kernel makes of `y`.
fn run(value: Value, kernel: u32, params: &Params, operands: &Operands) -> Vec<f32> {
    let of_floats = if kernel == SQUEEZE { Value::F32 } else { value };
    let buffers = [
        of_floats.bytes(&operands.y),
        value.bytes(&operands.x),
        value.bytes(&operands.other),
        Value::F32.bytes(&operands.bias),
        Value::F32.bytes(&operands.factors),
    ];
    let mut request = kernel.to_le_bytes().to_vec();
    request.extend(
        params
            .numbers()
            .iter()
            .flat_map(|number| number.to_le_bytes()),
    );
    for buffer in buffers {
        request.extend((buffer.len() as u32).to_le_bytes());
        request.extend(buffer);
    }
    let mut child = Command::new(program(value))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&request).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "kernel {kernel} with {params:?}: {message}"
    );
    of_floats.values(&output.stdout)
}

/// Pseudorandom numbers.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }

    /// From -4 to 4, in the type.
    fn values(&mut self, value: Value, count: u32) -> Vec<f32> {
        let mut one = || value.round((self.next() >> 8) as f32 / (1 << 21) as f32 - 4.0);
        (0..count).map(|_| one()).collect()
    }
}

/// Calls `check` for maps of both types with many random numbers.
fn each_case(check: impl Fn(Value, &mut Random)) {
    for value in [Value::F32, Value::Bf16] {
        for seed in 1..=40 {
            check(value, &mut Random(0x9E37_79B9_u32.wrapping_mul(seed)));
        }
    }
}

#[track_caller]
fn assert_close(value: Value, found: &[f32], exact: impl Iterator<Item = f64>, params: &Params) {
    let exact: Vec<f64> = exact.collect();
    assert_eq!(found.len(), exact.len(), "{params:?}");
    for (index, (&found, &exact)) in found.iter().zip(&exact).enumerate() {
        let error = (f64::from(found) - exact).abs();
        let allowed = value.error() * exact.abs().max(16.0);
        assert!(
            error <= allowed,
            "{value:?} {params:?}, {index}: {found} for {exact}"
        );
    }
}

fn activation(random: &mut Random) -> (u32, Option<Activation>) {
    let number = random.below(Activation::ALL.len() as u32 + 1);
    let activation = number
        .checked_sub(1)
        .map(|index| Activation::ALL[index as usize]);
    (number, activation)
}

/// The activation, which kernels/activation.rs compares with f64 over the whole range.
fn activated(x: f64, activation: Option<Activation>) -> f64 {
    let mut values = [x as f32];
    if let Some(activation) = activation {
        activation.apply(Isa::best(), &mut values);
    }
    f64::from(values[0])
}

fn at(values: &[f32], index: u32) -> f64 {
    f64::from(values[index as usize])
}

/// A random map `[channels, batch, height, width]` that a kernel works on in place.
fn in_place(random: &mut Random) -> Params {
    let [channels, batch, height, width] = [5, 3, 6, 7].map(|most| 1 + random.below(most));
    Params {
        channels,
        batch,
        height,
        width,
        out_height: height,
        out_width: width,
        inner: batch * height * width,
        count: channels * batch * height * width,
        ..Params::default()
    }
}

#[test]
fn epilogue() {
    each_case(|value, random| {
        let (number, function) = activation(random);
        let params = Params {
            activation: number,
            operands: random.below(8),
            ..in_place(random)
        };
        let Params {
            channels,
            batch,
            inner,
            count,
            ..
        } = params;
        let has = |bit: u32| params.operands & bit != 0;
        let mut given = |bit, value, count| match has(bit) {
            true => random.values(value, count),
            false => Vec::new(),
        };
        let operands = Operands {
            other: given(HAS_OTHER, value, count),
            bias: given(HAS_BIAS, Value::F32, channels),
            factors: given(HAS_FACTORS, Value::F32, batch * channels),
            y: random.values(value, count),
            ..Operands::default()
        };
        let found = run(value, EPILOGUE, &params, &operands);
        let exact = (0..count).map(|i| {
            let (channel, image) = (i / inner, i % inner / (inner / batch));
            let mut sum = at(&operands.y, i);
            if has(HAS_BIAS) {
                sum += at(&operands.bias, channel);
            }
            if has(HAS_FACTORS) {
                sum *= at(&operands.factors, image * channels + channel);
            }
            if has(HAS_OTHER) {
                sum += at(&operands.other, i);
            }
            activated(sum, function)
        });
        assert_close(value, &found, exact, &params);
    });
}

/// After a linear layer, `y` is `[batch, channels]`.
#[test]
fn epilogue_of_linear_layers() {
    each_case(|_, random| {
        let [channels, batch] = [9, 4].map(|most| 1 + random.below(most));
        let (number, function) = activation(random);
        let params = Params {
            channels,
            inner: 1,
            out_height: 1,
            out_width: 1,
            count: channels * batch,
            activation: number,
            operands: HAS_BIAS,
            ..Params::default()
        };
        let operands = Operands {
            y: random.values(Value::F32, params.count),
            bias: random.values(Value::F32, channels),
            ..Operands::default()
        };
        let found = run(Value::F32, EPILOGUE, &params, &operands);
        let exact = (0..params.count).map(|i| {
            activated(
                at(&operands.y, i) + at(&operands.bias, i % channels),
                function,
            )
        });
        assert_close(Value::F32, &found, exact, &params);
    });
}

/// Values of every size, infinity and NaN: as the CPU's activations.
#[test]
fn activations_over_the_whole_range() {
    let values: Vec<f32> = (0..=u32::MAX)
        .step_by(1_000_003)
        .map(f32::from_bits)
        .collect();
    for (index, function) in Activation::ALL.into_iter().enumerate() {
        let params = Params {
            channels: 1,
            inner: values.len() as u32,
            out_height: 1,
            out_width: values.len() as u32,
            count: values.len() as u32,
            activation: index as u32 + 1,
            ..Params::default()
        };
        let operands = Operands {
            y: values.clone(),
            ..Operands::default()
        };
        let found = run(Value::F32, EPILOGUE, &params, &operands);
        let mut expected = values.clone();
        function.apply(Isa::best(), &mut expected);
        for ((&x, found), expected) in values.iter().zip(found).zip(expected) {
            if x.is_nan() {
                assert!(found.is_nan(), "{function:?}({x}) = {found}");
                continue;
            }
            // At negative infinity a product with a factor that vanishes is 0 or NaN.
            if expected.is_nan() || found.is_nan() {
                assert!(
                    x.is_infinite(),
                    "{function:?}({x}) = {found} for {expected}"
                );
                continue;
            }
            let square = f64::from(x).powi(2).min(400.0);
            let allowed = (4e-6 + 4e-7 * square) * f64::from(expected).abs() + 1e-35;
            let error = (f64::from(found) - f64::from(expected)).abs();
            assert!(
                found == expected || error <= allowed,
                "{function:?}({x}) = {found} for {expected}"
            );
        }
    }
}

/// bfloat16 keeps every value of its own, and rounds others to the nearest.
#[test]
fn bfloat16_is_rounded_to_the_nearest() {
    let values: Vec<f32> = (0..=u16::MAX)
        .map(|high| f32::from_bits(u32::from(high) << 16))
        .collect();
    let bias = [1.0 / 384.0];
    let params = Params {
        channels: 1,
        inner: values.len() as u32,
        out_height: 1,
        out_width: values.len() as u32,
        count: values.len() as u32,
        operands: HAS_BIAS,
        ..Params::default()
    };
    let operands = Operands {
        y: values.clone(),
        bias: bias.to_vec(),
        ..Operands::default()
    };
    let found = run(Value::Bf16, EPILOGUE, &params, &operands);
    for (x, found) in values.into_iter().zip(found) {
        let exact = x + bias[0];
        if exact.is_nan() {
            assert!(found.is_nan(), "{x}: {found}");
        } else {
            assert_eq!(
                found.to_bits(),
                Value::Bf16.round(exact).to_bits(),
                "{x}: {found}"
            );
        }
    }
}

#[test]
fn squeeze() {
    each_case(|value, random| {
        let whole = in_place(random);
        let Params {
            channels,
            batch,
            height,
            width,
            ..
        } = whole;
        let params = Params {
            count: channels * batch,
            operands: random.below(4),
            ..whole
        };
        let has = |bit: u32| params.operands & bit != 0;
        let operands = Operands {
            y: vec![0.0; params.count as usize],
            x: random.values(value, whole.count),
            other: if has(HAS_OTHER) {
                random.values(value, whole.count)
            } else {
                Vec::new()
            },
            bias: if has(HAS_BIAS) {
                random.values(Value::F32, channels)
            } else {
                Vec::new()
            },
            ..Operands::default()
        };
        let found = run(value, SQUEEZE, &params, &operands);
        let pixels = height * width;
        let exact = (0..params.count).map(|i| {
            let (image, channel) = (i / channels, i % channels);
            let start = (channel * batch + image) * pixels;
            let mut sum: f64 = (start..start + pixels).map(|i| at(&operands.x, i)).sum();
            if has(HAS_OTHER) {
                sum += (start..start + pixels)
                    .map(|i| at(&operands.other, i))
                    .sum::<f64>();
            }
            let bias = if has(HAS_BIAS) {
                at(&operands.bias, channel)
            } else {
                0.0
            };
            sum / f64::from(pixels) + bias
        });
        assert_close(Value::F32, &found, exact, &params);
    });
}

/// A random convolution that fits its map.
fn convolution(random: &mut Random) -> Params {
    loop {
        let params = Params {
            kernel_height: [1, 3, 5, 7][random.below(4) as usize],
            kernel_width: [1, 3, 5, 7][random.below(4) as usize],
            stride: 1 + random.below(3),
            dilation: 1 + random.below(2),
            top: random.below(4),
            left: random.below(4),
            multiplier: 1 + random.below(2),
            ..in_place(random)
        };
        // Zeros below and to the right make up for a kernel that reaches over the border.
        let room = |size: u32, kernel: u32, before: u32| {
            let reach = params.dilation * (kernel - 1) + 1;
            (size + 2 * before).checked_sub(reach)
        };
        let rooms = (
            room(params.height, params.kernel_height, params.top),
            room(params.width, params.kernel_width, params.left),
        );
        if let (Some(down), Some(across)) = rooms {
            let (out_height, out_width) = (down / params.stride + 1, across / params.stride + 1);
            return Params {
                out_height,
                out_width,
                inner: params.batch * out_height * out_width,
                ..params
            };
        }
    }
}

/// The value of `x` under tap `ky`, `kx` of an output, 0 outside of the map.
fn under(x: &[f32], p: &Params, [channel, image, oy, ox]: [u32; 4], [ky, kx]: [u32; 2]) -> f64 {
    let y = i64::from(oy * p.stride + ky * p.dilation) - i64::from(p.top);
    let x_at = i64::from(ox * p.stride + kx * p.dilation) - i64::from(p.left);
    if !(0..i64::from(p.height)).contains(&y) || !(0..i64::from(p.width)).contains(&x_at) {
        return 0.0;
    }
    let row = (channel * p.batch + image) * p.height + y as u32;
    at(x, row * p.width + x_at as u32)
}

/// All channels, images, rows and columns of a map.
fn outputs(channels: u32, p: &Params) -> impl Iterator<Item = [u32; 4]> {
    let (batch, height, width) = (p.batch, p.out_height, p.out_width);
    (0..channels * batch * height * width).map(move |i| {
        let plane = i / (height * width);
        [plane / batch, plane % batch, i / width % height, i % width]
    })
}

#[test]
fn depthwise() {
    each_case(|value, random| {
        let map = convolution(random);
        let inputs = map.channels;
        let (number, function) = activation(random);
        let params = Params {
            channels: inputs * map.multiplier,
            count: inputs * map.multiplier * map.inner,
            activation: number,
            operands: HAS_BIAS | HAS_FACTORS,
            ..map
        };
        let (k, taps) = (
            params.kernel_width,
            params.kernel_height * params.kernel_width,
        );
        let operands = Operands {
            y: vec![0.0; params.count as usize],
            x: random.values(value, inputs * params.batch * params.height * params.width),
            bias: random.values(Value::F32, params.channels),
            factors: random.values(Value::F32, params.channels * taps),
            ..Operands::default()
        };
        let found = run(value, DEPTHWISE, &params, &operands);
        let exact = outputs(params.channels, &params).map(|[channel, image, oy, ox]| {
            let place = [channel / params.multiplier, image, oy, ox];
            let products = (0..taps).map(|tap| {
                let x = under(&operands.x, &params, place, [tap / k, tap % k]);
                x * at(&operands.factors, channel * taps + tap)
            });
            activated(
                products.sum::<f64>() + at(&operands.bias, channel),
                function,
            )
        });
        let exact: Vec<f64> = exact.collect();
        // Of sums of up to 49 products, the error is that of the largest.
        let scale = exact
            .iter()
            .fold(16.0, |scale: f64, value| scale.max(value.abs()));
        for (&found, exact) in found.iter().zip(exact) {
            let error = (f64::from(found) - exact).abs();
            assert!(
                error <= 4.0 * value.error() * scale,
                "{params:?}: {found} for {exact}"
            );
        }
    });
}

#[test]
fn unfold() {
    each_case(|value, random| {
        let map = convolution(random);
        let (k, area) = (map.kernel_width, map.kernel_height * map.kernel_width);
        let params = Params {
            count: map.channels * area * map.inner,
            ..map
        };
        let operands = Operands {
            y: vec![0.0; params.count as usize],
            x: random.values(value, map.channels * map.batch * map.height * map.width),
            ..Operands::default()
        };
        let found = run(value, UNFOLD, &params, &operands);
        let taps = (0..map.channels * area).flat_map(|row| {
            let (channel, tap) = (row / area, row % area);
            let x = &operands.x;
            outputs(1, &params).map(move |[_, image, oy, ox]| {
                under(x, &params, [channel, image, oy, ox], [tap / k, tap % k])
            })
        });
        assert_eq!(
            found,
            taps.map(|x| x as f32).collect::<Vec<_>>(),
            "{params:?}"
        );
    });
}

#[test]
fn weigh() {
    each_case(|value, random| {
        let params = in_place(random);
        let Params {
            channels,
            batch,
            inner,
            count,
            ..
        } = params;
        let operands = Operands {
            y: random.values(value, count),
            other: random.values(value, count),
            factors: random.values(Value::F32, 2 * batch * channels),
            ..Operands::default()
        };
        let found = run(value, WEIGH, &params, &operands);
        let exact = (0..count).map(|i| {
            let (channel, image) = (i / inner, i % inner / (inner / batch));
            let factor = |path: u32| at(&operands.factors, (image * 2 + path) * channels + channel);
            at(&operands.y, i) * factor(0) + at(&operands.other, i) * factor(1)
        });
        assert_close(value, &found, exact, &params);
    });
}

#[test]
fn pool() {
    each_case(|value, random| {
        let map = in_place(random);
        let (side, stride) = (2 + random.below(2), 1 + random.below(2));
        let before = random.below(2).min(side - 2);
        let [out_height, out_width] = [map.height, map.width].map(|size| size.div_ceil(stride));
        let params = Params {
            kernel_height: side,
            kernel_width: side,
            stride,
            top: before,
            left: before,
            is_max: random.below(2),
            counts_padding: random.below(2),
            out_height,
            out_width,
            inner: map.batch * out_height * out_width,
            count: map.channels * map.batch * out_height * out_width,
            ..map
        };
        let mut x = random.values(value, map.count);
        // NaN in a window makes its maximum NaN; its mean, too.
        if random.below(2) == 1 {
            let place = random.below(map.count) as usize;
            x[place] = f32::NAN;
        }
        let operands = Operands {
            y: vec![0.0; params.count as usize],
            x,
            ..Operands::default()
        };
        let found = run(value, POOL, &params, &operands);
        for (found, [channel, image, oy, ox]) in found.iter().zip(outputs(map.channels, &params)) {
            let mut window = Vec::new();
            let reach = |at: u32, size: u32| {
                let start = stride * at;
                start.saturating_sub(before)..(start + side - before).min(size)
            };
            for y in reach(oy, map.height) {
                let columns = reach(ox, map.width);
                for column in columns {
                    let row = (channel * map.batch + image) * map.height + y;
                    window.push(at(&operands.x, row * map.width + column));
                }
            }
            let pixels = if params.counts_padding == 1 {
                (side * side) as usize
            } else {
                window.len()
            };
            let mean = window.iter().sum::<f64>() / pixels as f64;
            let most = window.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exact = if params.is_max == 1 { most } else { mean };
            if window.iter().any(|value| value.is_nan()) {
                assert!(found.is_nan(), "{params:?}: {found}");
            } else {
                let error = (f64::from(*found) - exact).abs();
                assert!(
                    error <= value.error() * 4.0,
                    "{params:?}: {found} for {exact}"
                );
            }
        }
    });
}
