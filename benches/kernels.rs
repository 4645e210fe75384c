//! Convolutions of the networks, one by one, in f32 and bf16: milliseconds, GFLOP/s by the direct
//! algorithm's operations, and the share of the type's measured peak, for the direct algorithm and for the
//! Winograd tiles where they apply. Arguments select the shapes whose line contains one of them.
//!
//! ```text
//! cargo bench --bench kernels
//! cargo bench --bench kernels -- "1x1 /1" g32
//! cargo bench --bench kernels -- bf16
//! RAYON_NUM_THREADS=1 SENET_ISA=avx2 cargo bench --bench kernels
//! ```
//!
//! Every Winograd result must agree with the direct one.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::Instant;

use senet::kernels::{
    Activation, Bf16, ConvGeometry, DepthwiseConv, DirectConv, Element, Epilogue, GroupedConv, Isa,
    KernelShape, Padding, TileSize, Winograd, Word, peak_flops,
};

const ROUNDS: usize = 41;

/// Side of the map, inputs, outputs, kernel size, stride, groups.
const SHAPES: [[usize; 6]; 70] = [
    [224, 3, 64, 7, 2, 1],
    [56, 64, 64, 1, 1, 1],
    [56, 64, 256, 1, 1, 1],
    [56, 256, 64, 1, 1, 1],
    [28, 512, 128, 1, 1, 1],
    [28, 128, 512, 1, 1, 1],
    [14, 1024, 256, 1, 1, 1],
    [14, 256, 1024, 1, 1, 1],
    [7, 2048, 512, 1, 1, 1],
    [7, 512, 2048, 1, 1, 1],
    [28, 512, 512, 1, 1, 1],
    [14, 1024, 1024, 1, 1, 1],
    [7, 2048, 2048, 1, 1, 1],
    [112, 64, 128, 3, 1, 1],
    [56, 64, 64, 3, 1, 1],
    [28, 128, 128, 3, 1, 1],
    [14, 256, 256, 3, 1, 1],
    [7, 512, 512, 3, 1, 1],
    [28, 512, 1024, 3, 2, 1],
    [56, 128, 128, 3, 1, 32],
    [28, 256, 256, 3, 1, 32],
    [14, 512, 512, 3, 1, 32],
    [7, 1024, 1024, 3, 1, 32],
    [56, 128, 256, 3, 1, 64],
    [28, 256, 512, 3, 1, 64],
    [14, 512, 1024, 3, 1, 64],
    // Groups of 8, 16, 24, 56, 64, 72, 112 and 232 channels: RegNetY.
    [14, 1024, 1024, 3, 1, 32],
    [28, 104, 104, 3, 1, 13],
    [28, 112, 112, 3, 1, 7],
    [14, 256, 256, 3, 1, 16],
    [56, 48, 48, 3, 1, 2],
    [28, 120, 120, 3, 1, 5],
    [14, 336, 336, 3, 1, 14],
    [7, 888, 888, 3, 1, 37],
    [56, 168, 168, 3, 1, 3],
    [28, 448, 448, 3, 1, 8],
    [14, 896, 896, 3, 1, 16],
    [7, 2016, 2016, 3, 1, 36],
    [28, 192, 192, 3, 1, 3],
    [14, 512, 512, 3, 1, 8],
    [14, 576, 576, 3, 1, 8],
    [56, 224, 224, 3, 1, 2],
    [28, 448, 448, 3, 1, 4],
    [14, 896, 896, 3, 1, 8],
    [28, 696, 696, 3, 1, 3],
    [14, 1392, 1392, 3, 1, 6],
    // Depthwise: MobileNetV3-Large, EfficientNet-B0 and, at 288 pixels, -B3.
    [112, 16, 16, 3, 1, 16],
    [112, 64, 64, 3, 2, 64],
    [56, 72, 72, 3, 1, 72],
    [56, 72, 72, 5, 2, 72],
    [28, 120, 120, 5, 1, 120],
    [28, 240, 240, 3, 2, 240],
    [14, 200, 200, 3, 1, 200],
    [14, 480, 480, 3, 1, 480],
    [14, 672, 672, 5, 2, 672],
    [7, 960, 960, 5, 1, 960],
    [112, 32, 32, 3, 1, 32],
    [112, 96, 96, 3, 2, 96],
    [56, 144, 144, 3, 1, 144],
    [56, 144, 144, 5, 2, 144],
    [28, 240, 240, 5, 1, 240],
    [14, 672, 672, 5, 1, 672],
    [7, 1152, 1152, 5, 1, 1152],
    [7, 1152, 1152, 3, 1, 1152],
    [144, 40, 40, 3, 1, 40],
    [144, 144, 144, 3, 2, 144],
    [72, 192, 192, 5, 2, 192],
    [36, 288, 288, 5, 1, 288],
    [18, 816, 816, 5, 1, 816],
    [9, 1392, 1392, 5, 1, 1392],
];

/// Side of the map, inputs, channels, kernel size, stride: a depthwise convolution of what a 1x1 convolution
/// makes of the map, in MobileNetV3-Large, EfficientNet-B0 and, at 288 pixels, -B3.
const EXPANDED: [[usize; 5]; 17] = [
    [112, 16, 64, 3, 2],
    [56, 24, 72, 3, 1],
    [56, 24, 72, 5, 2],
    [28, 40, 120, 5, 1],
    [28, 40, 240, 3, 2],
    [14, 80, 200, 3, 1],
    [112, 16, 96, 3, 2],
    [56, 24, 144, 3, 1],
    [28, 40, 240, 5, 1],
    [14, 80, 480, 3, 1],
    [14, 112, 672, 5, 1],
    [144, 24, 144, 3, 2],
    [72, 32, 192, 3, 1],
    [72, 32, 192, 5, 2],
    [36, 48, 288, 5, 1],
    [18, 96, 576, 3, 1],
    [18, 136, 816, 5, 1],
];

fn main() {
    // Cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    measure_all::<f32>(&wanted);
    measure_all::<Bf16>(&wanted);
    for shape in EXPANDED {
        measure_expanded(shape, &wanted);
    }
}

/// The two convolutions one after the other, and as one.
fn measure_expanded([side, inputs, channels, kernel_size, stride]: [usize; 5], wanted: &[String]) {
    let name = format!(
        "f32  {side:4}x{side:<3} {inputs:5} to {channels:<5} 1x1, then {kernel_size}x{kernel_size} /{stride}"
    );
    if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
        return;
    }
    let isa = Isa::best().of::<f32>();
    let pointwise = ConvGeometry::dense(inputs, channels, 1);
    let depthwise = ConvGeometry {
        kernel_size,
        stride,
        padding: Padding::Each(kernel_size / 2),
        groups: channels,
        ..ConvGeometry::dense(channels, channels, kernel_size)
    };
    let values =
        |len: usize| -> Vec<f32> { (0..len).map(|i| 0.1 * (i as f32 * 0.37).sin()).collect() };
    let filters = [
        values(inputs * channels),
        values(channels * depthwise.depth()),
    ];
    let bias = values(channels);
    let x = values(side * side * inputs);
    let size = [1, side, side];
    let mut map = vec![0.0; side * side * channels];
    let mut y = vec![0.0; depthwise.output(side) * depthwise.output(side) * channels];
    for activation in [Activation::HardSwish, Activation::Silu] {
        let activation = Some(activation);
        let epilogue = || Epilogue {
            activation,
            sums: None,
        };
        let first = DirectConv::<f32>::new(isa, &filters[0], &bias, pointwise);
        let second = DepthwiseConv::<f32>::new(isa, &filters[1], &bias, depthwise);
        let [apart, _] = time(|| {
            first.run(&x, size, &mut map, epilogue());
            second.run(&map, size, &mut y, epilogue());
        });
        let fused = second.expanding(&filters[0], &bias, activation);
        let [together, _] = time(|| fused.run(&x, size, &mut y, epilogue()));
        println!(
            "{name} {activation:?} apart {apart:7.3} ms, together {together:7.3} ms, {:.2}",
            together / apart
        );
    }
}

fn measure_all<T: Element>(wanted: &[String]) {
    let isa = Isa::best().of::<T>();
    let shapes = SHAPES.map(|shape| (shape, name::<T>(shape)));
    let mut shapes = shapes
        .into_iter()
        .filter(|(_, name)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part)))
        .peekable();
    if shapes.peek().is_none() {
        return;
    }
    let peak = peak_flops::<T>(isa) / 1e9;
    println!(
        "{} {}, {} threads, peak {peak:.0} GFLOP/s; median (fastest) of {ROUNDS}",
        isa.name(),
        T::NAME,
        rayon::current_num_threads(),
    );
    for (shape, name) in shapes {
        measure::<T>(isa, peak, shape, &name);
    }
}

fn name<T: Element>([side, inputs, outputs, kernel_size, stride, groups]: [usize; 6]) -> String {
    let element = T::NAME;
    format!(
        "{element:4} {side:4}x{side:<3} {inputs:5} to {outputs:<5} {kernel_size}x{kernel_size} /{stride} g{groups:<3}"
    )
}

fn measure<T: Element>(isa: Isa, peak: f64, shape: [usize; 6], name: &str) {
    let [side, inputs, outputs, kernel_size, stride, groups] = shape;
    let geometry = ConvGeometry {
        inputs,
        outputs,
        kernel_size,
        shape: KernelShape::Square,
        stride,
        padding: Padding::Each(kernel_size / 2),
        dilation: 1,
        groups,
    };
    let weights = outputs * geometry.depth();
    let filters: Vec<f32> = (0..weights).map(|i| (i as f32 * 0.37).sin()).collect();
    let bias = vec![0.1; outputs];
    let x: Vec<T> = (0..side * side * inputs)
        .map(|i| T::from_f32((i as f32 * 0.71).cos()))
        .collect();
    let pixels = geometry.output(side) * geometry.output(side);
    let operations = 2.0 * (pixels * weights) as f64;
    let size = [1, side, side];
    let mut y = vec![T::zeroed(); pixels * outputs];
    let report = |algorithm: &str, [median, fastest]: [f64; 2]| {
        let speed = operations / median / 1e6;
        let share = speed / peak * 100.0;
        println!(
            "{name} {algorithm:15} {median:7.3} ({fastest:.3}) ms {speed:6.0} GFLOP/s {share:4.0} %"
        );
    };
    if DepthwiseConv::<T>::supports(&geometry) {
        let conv = DepthwiseConv::<T>::new(isa, &filters, &bias, geometry);
        let times = time(|| conv.run(&x, size, &mut y, Epilogue::default()));
        return report("depthwise", times);
    }
    if groups > 1 && geometry.group_inputs().is_multiple_of(T::Word::INPUTS) {
        let conv = GroupedConv::<T::Word>::new(isa, &filters, &bias, geometry);
        let times = time(|| conv.run(&x, size, &mut y, Epilogue::default()));
        report("grouped", times);
    } else if groups == 1 {
        let conv = DirectConv::<T>::new(isa, &filters, &bias, geometry);
        let times = time(|| conv.run(&x, size, &mut y, Epilogue::default()));
        report("direct", times);
    } else {
        return;
    }
    let Some(x) = bytemuck::try_cast_slice(&x)
        .ok()
        .filter(|_| !T::NARROW && Winograd::supports(&geometry))
    else {
        return;
    };
    for (algorithm, tile) in [
        ("winograd 2x2", TileSize::Two),
        ("winograd 4x4", TileSize::Four),
    ] {
        let conv = Winograd::new(isa, &filters, &bias, geometry, tile);
        let mut z = vec![0.0; y.len()];
        let times = time(|| conv.run(x, size, &mut z, Epilogue::default()));
        let y = y.iter().map(|y| y.to_f32());
        let scale = y.clone().fold(1.0, |most: f32, y| most.max(y.abs()));
        let largest = y
            .zip(&z)
            .fold(0.0, |most: f32, (y, z)| most.max((y - z).abs()));
        assert!(
            largest <= 1e-4 * scale,
            "{algorithm}: off by {largest} of {scale}"
        );
        report(algorithm, times);
    }
}

/// Calls that are timed together take about as many milliseconds: in a network, too, threads find the next
/// layer before they fall asleep.
const TOGETHER: f64 = 0.5;

/// Milliseconds of a call, median and fastest, after a warm-up.
fn time(mut run: impl FnMut() + Send) -> [f64; 2] {
    // From within the pool: a call from outside would wake it.
    rayon::scope(|_| {
        let mut milliseconds = |calls: usize| {
            let start = Instant::now();
            (0..calls).for_each(|_| run());
            start.elapsed().as_secs_f64() * 1e3 / calls as f64
        };
        milliseconds(1);
        let calls = (TOGETHER / milliseconds(4)).ceil() as usize;
        let mut times = [0.0; ROUNDS];
        for time in &mut times {
            *time = milliseconds(calls);
        }
        times.sort_by(f64::total_cmp);
        [times[ROUNDS / 2], times[0]]
    })
}
