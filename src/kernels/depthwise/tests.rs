//! Against the convolution written out, on every instruction set of the machine.

use super::DepthwiseConv;
use crate::kernels::Conv;
use crate::kernels::activation::Activation;
use crate::kernels::bf16;
use crate::kernels::epilogue::{Epilogue, RowSums};
use crate::kernels::geometry::{ConvGeometry, KernelShape, Padding};
use crate::kernels::reference::{self, random};
use crate::kernels::simd::Isa;
use crate::kernels::tests::activations;

fn geometry(channels: usize, kernel_size: usize, stride: usize, padding: Padding) -> ConvGeometry {
    ConvGeometry {
        inputs: channels,
        outputs: channels,
        kernel_size,
        shape: KernelShape::Square,
        stride,
        padding,
        dilation: 1,
        groups: channels,
    }
}

fn check(geometry: ConvGeometry, shape: [usize; 3]) {
    assert!(DepthwiseConv::<f32>::supports(&geometry));
    bf16::tests::check_conv(geometry, shape);
    let [n, h, w] = shape;
    let channels = geometry.outputs;
    let filters = random(channels * geometry.depth(), 1);
    let bias = random(channels, 2);
    let x = random(n * h * w * channels, 3);
    let exact = reference::conv(&x, shape, &filters, &bias, geometry);
    let bound = 1e-6 * (geometry.depth() as f64).sqrt() * 2.0;
    let pixels = exact.len() / n / channels;
    for isa in Isa::available() {
        let conv = DepthwiseConv::<f32>::new(isa, &filters, &bias, geometry);
        for activation in [None, Some(Activation::Relu), Some(Activation::Silu)] {
            let of = format!("{} {geometry:?} {shape:?} {activation:?}", isa.name());
            let mut y = vec![f32::NAN; exact.len()];
            let mut sums = vec![f32::NAN; n * channels];
            let epilogue = Epilogue {
                activation,
                sums: Some(RowSums {
                    segment: pixels,
                    sums: &mut sums,
                }),
            };
            conv.run(&x, shape, &mut y, epilogue);
            let mut expected = vec![0.0; sums.len()];
            for (index, (&y, &exact)) in y.iter().zip(&exact).enumerate() {
                let exact = reference::activate(exact, activation);
                assert!(
                    (f64::from(y) - exact).abs() <= bound,
                    "{of} at {index}: {y} for {exact}"
                );
                let image = index / (pixels * channels);
                expected[image * channels + index % channels] += exact;
            }
            for (&sum, exact) in sums.iter().zip(expected) {
                let allowed = 2.0 * bound * pixels as f64;
                assert!(
                    (f64::from(sum) - exact).abs() <= allowed,
                    "{of}: {sum} for {exact}"
                );
            }
            // Without sums.
            let mut without = vec![f32::NAN; exact.len()];
            let epilogue = Epilogue {
                activation,
                sums: None,
            };
            conv.run(&x, shape, &mut without, epilogue);
            assert_eq!(without, y, "{of}");
        }
    }
}

#[test]
fn shapes_of_the_families() {
    for (channels, kernel_size, stride) in [
        (16, 3, 1),
        (40, 3, 2),
        (72, 5, 2),
        (24, 5, 1),
        (184, 3, 1),
        (8, 7, 1),
    ] {
        for padding in [Padding::Each(kernel_size / 2), Padding::Same] {
            let geometry = geometry(channels, kernel_size, stride, padding);
            for shape in [[1, 7, 7], [2, 14, 15], [1, 9, 31], [1, 30, 16]] {
                check(geometry, shape);
            }
        }
    }
}

#[test]
fn any_number_of_channels_and_any_size() {
    for channels in [4, 5, 7, 8, 11, 15, 17, 31, 33, 50] {
        for shape in [[1, 1, 1], [3, 2, 3], [2, 9, 16], [1, 1, 29]] {
            check(geometry(channels, 3, 1, Padding::Each(1)), shape);
        }
    }
}

#[test]
fn any_kernel_stride_padding_and_dilation() {
    for (kernel_size, stride, padding, dilation) in [
        (1, 1, Padding::Each(0), 1),
        (1, 2, Padding::Each(0), 1),
        (2, 2, Padding::Each(1), 1),
        (3, 1, Padding::Each(0), 1),
        (3, 1, Padding::Each(2), 2),
        (3, 2, Padding::Each(2), 2),
        (3, 2, Padding::Each(5), 3),
        (3, 3, Padding::Each(1), 1),
        (3, 5, Padding::Each(4), 1),
        (4, 3, Padding::Each(2), 2),
        (5, 1, Padding::Each(9), 1),
        (5, 2, Padding::Same, 1),
        (5, 2, Padding::Same, 2),
        (7, 2, Padding::Each(3), 1),
        (9, 1, Padding::Same, 1),
        (11, 2, Padding::Each(5), 1),
    ] {
        for channels in [6, 20, 32] {
            let geometry = ConvGeometry {
                dilation,
                ..geometry(channels, kernel_size, stride, padding)
            };
            for shape in [[1, 1, 1], [2, 9, 16], [1, 16, 9], [1, 3, 40]] {
                let [_, h, w] = shape;
                if geometry.output(h) > 0 && geometry.output(w) > 0 {
                    check(geometry, shape);
                }
            }
        }
    }
}

#[test]
fn every_activation() {
    let geometry = geometry(24, 3, 1, Padding::Each(1));
    let shape = [1, 5, 6];
    let filters = random(24 * 9, 1);
    let x = random(5 * 6 * 24, 3);
    let exact = reference::conv(&x, shape, &filters, &[0.5; 24], geometry);
    for isa in Isa::available() {
        for activation in activations() {
            let conv = Conv::<f32>::new(isa, &filters, &[0.5; 24], geometry, activation);
            assert!(
                conv.kernel().starts_with("depthwise, "),
                "{}",
                conv.kernel()
            );
            let mut y = vec![f32::NAN; exact.len()];
            conv.run(&x, shape, &mut y, None);
            for (&y, &exact) in y.iter().zip(&exact) {
                let exact = reference::activate(exact, activation);
                assert!(
                    (f64::from(y) - exact).abs() <= 1e-5,
                    "{activation:?}: {y} for {exact}"
                );
            }
        }
    }
}

/// What is not finite reaches the outputs whose windows it is in, and no others: no zeros around the map, no
/// lane of another channel.
#[test]
fn values_reach_their_own_window_alone() {
    let geometry = geometry(40, 5, 1, Padding::Each(2));
    let (h, w) = (12, 17);
    let filters = random(40 * 25, 1);
    for isa in Isa::available() {
        let conv = DepthwiseConv::<f32>::new(isa, &filters, &[0.0; 40], geometry);
        for damaged in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for channel in [3, 25, 39] {
                let mut x = random(h * w * 40, 3);
                x[(4 * w + 1) * 40 + channel] = damaged;
                let mut y = vec![0.0; h * w * 40];
                conv.run(&x, [1, h, w], &mut y, Epilogue::default());
                for (index, y) in y.iter().enumerate() {
                    let (row, column) = (index / 40 / w, index / 40 % w);
                    let reached = (2..=6).contains(&row) && column <= 3 && index % 40 == channel;
                    assert_eq!(!y.is_finite(), reached, "{} {row} {column}", isa.name());
                }
            }
        }
    }
}

#[test]
fn neither_threads_nor_the_batch_change_a_bit() {
    for (channels, side, kernel_size, stride) in [
        (24, 40, 3, 1),
        (72, 33, 5, 2),
        (200, 14, 3, 1),
        (130, 7, 5, 1),
        (8, 60, 3, 2),
    ] {
        let geometry = geometry(channels, kernel_size, stride, Padding::Same);
        let filters = random(channels * geometry.depth(), 1);
        let bias = random(channels, 2);
        let x = random(5 * side * side * channels, 3);
        let pixels = geometry.output(side) * geometry.output(side);
        for isa in Isa::available() {
            let conv = DepthwiseConv::<f32>::new(isa, &filters, &bias, geometry);
            let run = |threads, x: &[f32]| {
                let batch = x.len() / (side * side * channels);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let mut y = vec![0.0; batch * pixels * channels];
                let mut sums = vec![0.0; batch * channels];
                let epilogue = Epilogue {
                    activation: Some(Activation::HardSwish),
                    sums: Some(RowSums {
                        segment: pixels,
                        sums: &mut sums,
                    }),
                };
                pool.build()
                    .unwrap()
                    .install(|| conv.run(x, [batch, side, side], &mut y, epilogue));
                (y, sums)
            };
            let whole = run(1, &x);
            for threads in [2, 3, 8] {
                assert!(run(threads, &x) == whole, "{} {geometry:?}", isa.name());
            }
            let images = x.chunks_exact(side * side * channels);
            let alone: (Vec<_>, Vec<_>) = images.map(|x| run(3, x)).unzip();
            assert!(alone.0.concat() == whole.0 && alone.1.concat() == whole.1);
        }
    }
}

/// To the last bit what the two convolutions are one after the other: with a vector of channels or more, the
/// depthwise one has the same instructions.
#[test]
fn an_expansion_changes_no_bit() {
    for (inputs, channels, kernel_size, stride, padding, [n, h, w]) in [
        (16, 64, 3, 2, Padding::Same, [2, 25, 22]),
        (24, 72, 5, 2, Padding::Each(2), [1, 31, 29]),
        (3, 20, 3, 1, Padding::Each(1), [2, 14, 40]),
        (40, 33, 5, 1, Padding::Each(4), [1, 9, 3]),
        (8, 130, 3, 1, Padding::Each(0), [3, 3, 5]),
        (1, 17, 7, 3, Padding::Each(3), [1, 1, 1]),
        (512, 16, 3, 1, Padding::Each(1), [1, 4, 5]),
    ] {
        let geometry = geometry(channels, kernel_size, stride, padding);
        let pointwise = ConvGeometry::dense(inputs, channels, 1);
        let shape = [n, h, w];
        let filters = [
            random(channels * inputs, 1),
            random(channels * geometry.depth(), 2),
        ];
        let bias = [random(channels, 3), random(channels, 4)];
        let x = random(n * h * w * inputs, 5);
        for isa in Isa::available() {
            for activation in activations() {
                let of = format!("{} {inputs} {geometry:?} {activation:?}", isa.name());
                let expand = Conv::<f32>::new(isa, &filters[0], &bias[0], pointwise, activation);
                let mut map = vec![f32::NAN; n * h * w * channels];
                expand.run(&x, shape, &mut map, None);
                let conv = DepthwiseConv::<f32>::new(isa, &filters[1], &bias[1], geometry);
                let [oh, ow] = geometry.output_size([h, w]);
                let run = |conv: &DepthwiseConv, x: &[f32]| {
                    let mut y = vec![f32::NAN; n * oh * ow * channels];
                    let mut sums = vec![f32::NAN; n * channels];
                    let epilogue = Epilogue {
                        activation,
                        sums: Some(RowSums {
                            segment: oh * ow,
                            sums: &mut sums,
                        }),
                    };
                    conv.run(x, shape, &mut y, epilogue);
                    (y, sums)
                };
                let expected = run(&conv, &map);
                let conv = conv.expanding(&filters[0], &bias[0], activation);
                assert!(run(&conv, &x) == expected, "{of}");
            }
        }
    }
}
