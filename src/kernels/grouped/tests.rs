//! Against the convolution written out, on every instruction set of the machine.

use super::GroupedConv;
use crate::kernels::activation::Activation;
use crate::kernels::bf16;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::geometry::{ConvGeometry, KernelShape, Padding};
use crate::kernels::reference::{self, random};
use crate::kernels::simd::Isa;

fn geometry(inputs: usize, outputs: usize, groups: usize) -> ConvGeometry {
    ConvGeometry {
        inputs,
        outputs,
        kernel_size: 3,
        shape: KernelShape::Square,
        stride: 1,
        padding: Padding::Each(1),
        dilation: 1,
        groups,
    }
}

fn check(geometry: ConvGeometry, shape: [usize; 3]) {
    bf16::tests::check_conv(geometry, shape);
    let [n, h, w] = shape;
    let filters = random(geometry.outputs * geometry.depth(), 1);
    let bias = random(geometry.outputs, 2);
    let x = random(n * h * w * geometry.inputs, 3);
    let exact = reference::conv(&x, shape, &filters, &bias, geometry);
    let bound = 1e-6 * (geometry.depth() as f64).sqrt() * 2.0;
    for isa in Isa::available() {
        let conv = GroupedConv::<f32>::new(isa, &filters, &bias, geometry);
        for activation in [None, Some(Activation::Relu), Some(Activation::Silu)] {
            let epilogue = Epilogue {
                activation,
                sums: None,
            };
            let mut y = vec![f32::NAN; exact.len()];
            conv.run(&x, shape, &mut y, epilogue);
            for (index, (&y, &exact)) in y.iter().zip(&exact).enumerate() {
                let exact = reference::activate(exact, activation);
                assert!(
                    (f64::from(y) - exact).abs() <= bound,
                    "{} {geometry:?} {shape:?} at {index}: {y} for {exact}",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn shapes_of_the_family() {
    for (inputs, outputs, groups) in [
        (128, 128, 32),
        (256, 256, 32),
        (128, 256, 64),
        (256, 512, 64),
        (256, 512, 32),
    ] {
        for stride in [1, 2] {
            let geometry = ConvGeometry {
                stride,
                ..geometry(inputs, outputs, groups)
            };
            check(geometry, [1, 7, 7]);
            check(geometry, [2, 5, 17]);
            check(geometry, [1, 3, 20]);
        }
    }
}

#[test]
fn any_groups() {
    for (inputs, outputs, groups) in [
        (1, 1, 1),
        (3, 5, 1),
        (4, 6, 2),
        (24, 24, 24),
        (33, 33, 33),
        (5, 10, 5),
        (20, 20, 5),
        (36, 36, 9),
        (6, 9, 3),
        (30, 30, 10),
        (64, 32, 16),
        (96, 24, 8),
        (34, 34, 2),
        (72, 72, 3),
        (56, 112, 2),
        (120, 60, 3),
        (40, 132, 4),
        (48, 96, 2),
        (64, 64, 2),
        (96, 96, 3),
        (16, 128, 2),
        (40, 20, 20),
    ] {
        for shape in [[1, 1, 1], [3, 2, 3], [2, 9, 16]] {
            check(geometry(inputs, outputs, groups), shape);
        }
    }
}

#[test]
fn any_kernel_stride_padding_and_dilation() {
    for (kernel_size, stride, padding, dilation) in [
        (3, 1, Padding::Each(2), 2),
        (3, 2, Padding::Each(2), 2),
        (3, 4, Padding::Each(2), 2),
        (3, 1, Padding::Each(3), 3),
        (3, 2, Padding::Each(0), 1),
        (3, 1, Padding::Each(0), 1),
        (3, 3, Padding::Each(1), 1),
        (3, 2, Padding::Each(5), 3),
        (1, 1, Padding::Each(0), 1),
        (1, 2, Padding::Each(0), 1),
        (2, 2, Padding::Each(1), 1),
        (5, 1, Padding::Each(2), 1),
        (7, 2, Padding::Each(3), 1),
        (4, 3, Padding::Each(2), 2),
        (3, 1, Padding::Same, 1),
        (3, 2, Padding::Same, 1),
        (5, 2, Padding::Same, 1),
    ] {
        for (inputs, outputs, groups) in [(20, 20, 5), (32, 64, 2), (6, 9, 3)] {
            let geometry = ConvGeometry {
                inputs,
                outputs,
                kernel_size,
                shape: KernelShape::Square,
                stride,
                padding,
                dilation,
                groups,
            };
            for shape in [[1, 8, 8], [2, 11, 31]] {
                check(geometry, shape);
            }
        }
    }
}

#[test]
fn a_map_smaller_than_the_kernel_gives_nothing() {
    let geometry = ConvGeometry {
        padding: Padding::Each(0),
        ..geometry(8, 8, 2)
    };
    let conv = GroupedConv::<f32>::new(Isa::best(), &[0.5; 8 * 36], &[0.0; 8], geometry);
    conv.run(&[1.0; 32], [1, 2, 2], &mut [], Epilogue::default());
}

#[test]
fn damaged_values_reach_their_group_alone() {
    let geometry = geometry(32, 32, 8);
    let (h, w) = (20, 20);
    let filters = random(32 * geometry.depth(), 1);
    for isa in Isa::available() {
        let conv = GroupedConv::<f32>::new(isa, &filters, &[0.0; 32], geometry);
        for damaged in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = random(h * w * 32, 3);
            // Channel 9 of pixel (10, 15), so group 2.
            x[(10 * w + 15) * 32 + 9] = damaged;
            let mut y = vec![0.0; h * w * 32];
            conv.run(&x, [1, h, w], &mut y, Epilogue::default());
            for (index, y) in y.iter().enumerate() {
                let (row, column, channel) = (index / 32 / w, index / 32 % w, index % 32);
                let reached =
                    (9..=11).contains(&row) && (14..=16).contains(&column) && channel / 4 == 2;
                assert_eq!(!y.is_finite(), reached, "{} {row} {column}", isa.name());
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let geometry = geometry(128, 128, 32);
    let shape = [2, 30, 29];
    let filters = random(128 * geometry.depth(), 1);
    let bias = random(128, 2);
    let x = random(2 * 30 * 29 * 128, 3);
    let conv = GroupedConv::<f32>::new(Isa::best(), &filters, &bias, geometry);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let mut y = vec![0.0; x.len()];
        pool.build()
            .unwrap()
            .install(|| conv.run(&x, shape, &mut y, Epilogue::default()));
        y
    };
    assert_eq!(run(1), run(3));
}
