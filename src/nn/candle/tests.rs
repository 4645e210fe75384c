//! The layers on Candle's CPU device against plain definitions in f64.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::kernels::{KernelShape, Padding, reference};
use crate::nn::Precision;

fn engine(precision: Precision) -> Engine {
    Engine::new(&Device::Cpu, precision).unwrap()
}

/// A map of random values, and these as `[N, H, W, C]`.
fn random_map(engine: &Engine, [n, h, w, c]: [usize; 4], seed: u32) -> (Map, Vec<f32>) {
    let values = reference::random(n * h * w * c, seed);
    let x = Tensor::from_vec(values.clone(), (n, h, w, c), &Device::Cpu).unwrap();
    let map = enter(engine, &x.permute((0, 3, 1, 2)).unwrap()).unwrap();
    (map, values)
}

/// The values of a map as `[N, H, W, C]`.
fn channels_last(map: &Map) -> Vec<f32> {
    let y = to_tensor(map).unwrap().permute((0, 2, 3, 1)).unwrap();
    y.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], exact: impl IntoIterator<Item = f64>, allowed: f64, what: &str) {
    let exact: Vec<f64> = exact.into_iter().collect();
    assert_eq!(found.len(), exact.len(), "{what}");
    for (&found, exact) in found.iter().zip(exact) {
        let error = (f64::from(found) - exact).abs();
        assert!(
            error <= allowed * exact.abs().max(1.0),
            "{what}: {found} for {exact}"
        );
    }
}

/// Groups, kernels, strides, dilations, paddings and sizes of every kind.
fn geometries() -> impl Iterator<Item = ConvGeometry> {
    let channels = [
        (3, 5, 1),
        (64, 128, 1),
        (8, 8, 8),
        (96, 96, 96),
        (6, 12, 6),
        (128, 128, 32),
        (64, 128, 64 / 2),
        (12, 24, 4),
    ];
    let windows = [
        (1, 1, 1, Padding::Each(0)),
        (1, 2, 1, Padding::Each(0)),
        (1, 1, 1, Padding::Each(1)),
        (1, 1, 1, Padding::Same),
        (3, 1, 1, Padding::Each(1)),
        (3, 2, 1, Padding::Each(1)),
        (3, 1, 2, Padding::Each(2)),
        (3, 2, 1, Padding::Same),
        (7, 2, 1, Padding::Each(3)),
    ];
    let square = channels
        .into_iter()
        .flat_map(move |(inputs, outputs, groups)| {
            windows.map(|(kernel_size, stride, dilation, padding)| ConvGeometry {
                inputs,
                outputs,
                kernel_size,
                shape: KernelShape::Square,
                stride,
                padding,
                dilation,
                groups,
            })
        });
    let long = [KernelShape::Row, KernelShape::Column].map(|shape| ConvGeometry {
        inputs: 5,
        outputs: 12,
        kernel_size: 5,
        shape,
        stride: 1,
        padding: Padding::Each(2),
        dilation: 1,
        groups: 1,
    });
    square.chain(long)
}

#[test]
fn convolutions_match_the_definition() {
    for precision in [Precision::F32, Precision::Bf16] {
        let engine = engine(precision);
        for (index, geometry) in geometries().enumerate() {
            for [batch, height, width] in [[1, 7, 6], [3, 5, 8], [3, 1, 1]] {
                let activation = [None, Some(Activation::Silu)][index % 2];
                let (x, values) = random_map(&engine, [batch, height, width, geometry.inputs], 1);
                let scale = 1.0 / (geometry.depth() as f32).sqrt();
                let filters: Vec<f32> = reference::random(geometry.outputs * geometry.depth(), 2)
                    .into_iter()
                    .map(|value| value * scale)
                    .collect();
                let bias = reference::random(geometry.outputs, 3);
                let exact: Vec<f64> =
                    reference::conv(&values, [batch, height, width], &filters, &bias, geometry)
                        .into_iter()
                        .map(|value| reference::activate(value, activation))
                        .collect();
                let layer = Conv::new(&filters, bias, geometry, activation, &engine).unwrap();
                let allowed = if precision == Precision::F32 {
                    1e-5
                } else {
                    0.02
                };
                let what = format!("{precision:?} {geometry:?}");
                let y = conv(&layer, &x).unwrap();
                assert_close(&channels_last(&y), exact.iter().copied(), allowed, &what);
                // The same with the squeeze, whose map may have its bias still to be added.
                let (y, means) = conv_squeezed(&layer, &x).unwrap();
                assert_close(&channels_last(&y), exact.iter().copied(), allowed, &what);
                let pixels = exact.len() / batch / geometry.outputs;
                let exact_means = (0..batch * geometry.outputs).map(|index| {
                    let (image, channel) = (index / geometry.outputs, index % geometry.outputs);
                    let image = exact.chunks(pixels * geometry.outputs).nth(image).unwrap();
                    let plane = image.iter().skip(channel).step_by(geometry.outputs);
                    plane.sum::<f64>() / pixels as f64
                });
                let means: Vec<f32> = means.flatten_all().unwrap().to_vec1().unwrap();
                assert_close(&means, exact_means, allowed, &what);
            }
        }
    }
}

/// A part of a batch does not start where its memory does.
#[test]
fn parts_of_a_batch_are_entered_where_they_start() {
    let engine = engine(Precision::F32);
    let x = Tensor::arange(0f32, 3.0 * 2.0 * 4.0, &Device::Cpu).unwrap();
    let x = x.reshape((3, 2, 2, 2)).unwrap();
    for start in 0..3 {
        let part = x.narrow(0, start, 1).unwrap();
        let found = to_tensor(&enter(&engine, &part).unwrap()).unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&found), values(&part));
    }
}

#[test]
fn blocks_end_with_gate_shortcut_and_activation() {
    let engine = engine(Precision::F32);
    let [n, h, w, c] = [2, 3, 5, 4];
    let (shortcut, other) = random_map(&engine, [n, h, w, c], 2);
    let gate = reference::random(n * c, 3);
    let gates = Tensor::from_slice(&gate, (n, c), &Device::Cpu).unwrap();
    for activation in std::iter::once(None).chain(Activation::ALL.map(Some)) {
        let exact = |value: f64| reference::activate(value, activation);
        let factor = |i: usize| f64::from(gate[i / (h * w * c) * c + i % c]);
        let (branch, values) = random_map(&engine, [n, h, w, c], 1);
        let y = add_shortcut(branch, Some(&gates), &shortcut, activation).unwrap();
        let sums = (0..values.len())
            .map(|i| exact(f64::from(values[i]) * factor(i) + f64::from(other[i])));
        assert_close(&channels_last(&y), sums, 1e-6, "gated sum");
        let (branch, _) = random_map(&engine, [n, h, w, c], 1);
        let y = add_shortcut(branch, None, &shortcut, activation).unwrap();
        let sums = (0..values.len()).map(|i| exact(f64::from(values[i]) + f64::from(other[i])));
        assert_close(&channels_last(&y), sums, 1e-6, "sum");
        let (branch, _) = random_map(&engine, [n, h, w, c], 1);
        let y = scale(branch, &gates).unwrap();
        let products = (0..values.len()).map(|i| f64::from(values[i]) * factor(i));
        assert_close(&channels_last(&y), products, 1e-6, "product");
    }
}

#[test]
fn paths_are_weighed_image_by_image() {
    let engine = engine(Precision::F32);
    let [n, h, w, c] = [3, 2, 3, 4];
    let (first, a) = random_map(&engine, [n, h, w, c], 1);
    let (second, b) = random_map(&engine, [n, h, w, c], 2);
    let gate = reference::random(n * 2 * c, 3);
    let gates = Tensor::from_slice(&gate, (n, 2, c), &Device::Cpu).unwrap();
    let means: Vec<f32> = mean(&first, Some(&second))
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let exact_means = (0..n * c).map(|index| {
        let pixels = (0..h * w).map(|pixel| (index / c * h * w + pixel) * c + index % c);
        pixels
            .map(|i| f64::from(a[i]) + f64::from(b[i]))
            .sum::<f64>()
            / (h * w) as f64
    });
    assert_close(&means, exact_means, 1e-6, "means");
    let y = select([first, second], &gates).unwrap();
    let sums = (0..a.len()).map(|i| {
        let (image, channel) = (i / (h * w * c), i % c);
        let gate = |path: usize| f64::from(gate[(image * 2 + path) * c + channel]);
        f64::from(a[i]) * gate(0) + f64::from(b[i]) * gate(1)
    });
    assert_close(&channels_last(&y), sums, 1e-6, "paths");
}

#[test]
fn channels_are_copied() {
    let engine = engine(Precision::F32);
    let (map, values) = random_map(&engine, [2, 2, 3, 6], 1);
    let part = channels(&map, 2, 3).unwrap();
    let expected: Vec<f32> = values
        .chunks(6)
        .flat_map(|pixel| pixel[2..5].to_vec())
        .collect();
    assert_eq!(channels_last(&part), expected);
    // Changing the part leaves the whole as it was.
    let gates = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    scale(part, &gates).unwrap();
    assert_eq!(channels_last(&map), values);
}

#[test]
fn joined_and_shuffled_channels_are_those_of_the_cpu() {
    let engine = engine(Precision::F32);
    let (first, a) = random_map(&engine, [2, 3, 4, 6], 1);
    let (second, b) = random_map(&engine, [2, 3, 4, 3], 2);
    let gate = reference::random(18, 3);
    let gates = Tensor::from_slice(&gate, (2, 9), &Device::Cpu).unwrap();
    let pixels = a.chunks(6).zip(b.chunks(3));
    let exact: Vec<f32> = pixels.flat_map(|(a, b)| [a, b].concat()).collect();
    let y = join(&[&first, &second], None).unwrap();
    assert_eq!(channels_last(&y), exact);
    let y = join(&[&first, &second], Some(&gates)).unwrap();
    let scaled = exact.iter().enumerate();
    let scaled = scaled.map(|(i, x)| f64::from(x * gate[i / 108 * 9 + i % 9]));
    assert_close(&channels_last(&y), scaled, 1e-6, "scaled");
    let mut exact = vec![0.0; a.len()];
    crate::kernels::shuffle(&a, 6, 3, &mut exact);
    assert_eq!(channels_last(&shuffle(&first, 3).unwrap()), exact);
    let y = activate(first, Activation::Relu).unwrap();
    let exact: Vec<f32> = a.iter().map(|x| x.max(0.0)).collect();
    assert_eq!(channels_last(&y), exact);
    assert!(shuffle(&second, 2).is_err());
    assert!(join(&[], None).is_err());
}

#[test]
fn pools_match_those_of_the_cpu() {
    let engine = engine(Precision::F32);
    for kind in Pool::ALL {
        for [h, w] in [[2, 2], [2, 3], [3, 2], [5, 4], [7, 7], [8, 6], [9, 12]] {
            if kind.output(h.min(w)) == 0 {
                continue;
            }
            let (map, values) = random_map(&engine, [2, h, w, 3], 1);
            // Negative values only, so that a padding of zeros would show.
            let shift = Tensor::full(-2f32, (3, 2, h, w), &Device::Cpu).unwrap();
            let map = Map {
                values: (map.values + shift).unwrap(),
                ..map
            };
            let values: Vec<f32> = values.iter().map(|value| value - 2.0).collect();
            let mut exact = vec![0.0; 2 * kind.output(h) * kind.output(w) * 3];
            let isa = crate::kernels::Isa::best();
            kind.run(isa, &values, [2, h, w, 3], &mut exact);
            let y = pool(kind, &map).unwrap();
            let exact = exact.into_iter().map(f64::from);
            assert_close(
                &channels_last(&y),
                exact,
                1e-6,
                &format!("{kind:?} {h}x{w}"),
            );
        }
    }
}

#[test]
fn linear_layers_have_bias_and_activation_in_f32() {
    for precision in [Precision::F32, Precision::Bf16] {
        let engine = engine(precision);
        let (weight, x) = (reference::random(5 * 7, 1), reference::random(3 * 7, 2));
        let bias = reference::random(5, 3);
        let layer = Linear::new(&weight, bias.clone(), &engine).unwrap();
        let inputs = Tensor::from_slice(&x, (3, 7), &Device::Cpu).unwrap();
        let y = linear(&layer, &inputs, Some(Activation::Sigmoid)).unwrap();
        let exact = (0..15).map(|index| {
            let products = x[index / 5 * 7..][..7]
                .iter()
                .zip(&weight[index % 5 * 7..][..7]);
            let sum: f64 = products.map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            Activation::Sigmoid.value(sum + f64::from(bias[index % 5]))
        });
        assert_close(
            &y.flatten_all().unwrap().to_vec1().unwrap(),
            exact,
            1e-6,
            "linear",
        );
    }
}

#[test]
fn work_is_counted() {
    let engine = engine(Precision::F32);
    let geometry = ConvGeometry {
        inputs: 2,
        outputs: 3,
        kernel_size: 3,
        shape: KernelShape::Square,
        stride: 1,
        padding: Padding::Each(1),
        dilation: 1,
        groups: 1,
    };
    let (x, _) = random_map(&engine, [1, 4, 4, 2], 1);
    let layer = Conv::new(&[0.0; 54], vec![0.0; 3], geometry, None, &engine).unwrap();
    let before = engine.work();
    conv(&layer, &x).unwrap();
    let after = engine.work();
    // Unfolded map, product, bias.
    assert_eq!(after.launches - before.launches, 3);
    assert_eq!(after.macs - before.macs, 3 * 18 * 16);
    let unfold = 2 * 16 + 18 * 16;
    let product = 54 + 18 * 16 + 3 * 16;
    let bias = 3 + 2 * 3 * 16;
    assert_eq!(after.bytes - before.bytes, 4 * (unfold + product + bias));
}

#[test]
fn results_that_are_too_large_are_errors() {
    let engine = engine(Precision::F32);
    assert!(engine.reserve(1 << 31, DType::F32).is_err());
    engine.set_most_bytes(100);
    let error = engine.reserve(26, DType::F32).unwrap_err();
    assert!(is_out_of_memory(&error), "{error}");
    assert!(engine.reserve(25, DType::F32).is_ok());
}

#[test]
fn nan_stays_in_pools_and_activations() {
    let engine = engine(Precision::F32);
    let x = Tensor::new(&[[[[f32::NAN, 1.0], [2.0, 3.0]]]], &Device::Cpu).unwrap();
    let map = enter(&engine, &x).unwrap();
    for kind in [Pool::MaxPad, Pool::MaxCeil, Pool::Average] {
        let y = channels_last(&pool(kind, &map).unwrap());
        assert!(y[0].is_nan(), "{kind:?}: {y:?}");
    }
    for activation in Activation::ALL {
        let other = enter(&engine, &x.zeros_like().unwrap()).unwrap();
        let map = enter(&engine, &x).unwrap();
        let y = channels_last(&add_shortcut(map, None, &other, Some(activation)).unwrap());
        assert!(y[0].is_nan(), "{activation:?}: {y:?}");
    }
}

/// The kernels get the parameters as they lie in memory, and are found by their names.
#[test]
fn parameters_and_names_are_those_of_the_text() {
    let text = include_str!("kernels.h");
    let fields = |text: &'static str, prefix: &str, end: char| -> Vec<&'static str> {
        let (_, body) = text.split_once("struct Params {").unwrap();
        let (body, _) = body.split_once('}').unwrap();
        let names = body
            .lines()
            .filter_map(|line| line.trim().strip_prefix(prefix));
        names.map(|line| line.split(end).next().unwrap()).collect()
    };
    let ours = fields(include_str!("launch.rs"), "pub ", ':');
    assert_eq!(fields(text, "uint ", ';'), ours);
    assert_eq!(ours.len() * size_of::<u32>(), size_of::<Params>());
    for kernel in [
        Kernel::Epilogue,
        Kernel::Squeeze,
        Kernel::Depthwise,
        Kernel::Unfold,
        Kernel::Weigh,
        Kernel::Pool,
    ] {
        let head = format!("KERNEL({}) OPERANDS", kernel.name());
        assert!(text.contains(&head), "{head}");
    }
}

/// Wrong operands are errors on every device, as a GPU would read them as what they are not.
#[test]
fn operands_of_another_type_or_shape_are_errors() {
    let engine = engine(Precision::F32);
    let map = || random_map(&engine, [1, 2, 2, 3], 1).0;
    let gate = Tensor::ones((1, 3), DType::F32, &Device::Cpu).unwrap();
    assert!(scale(map(), &gate).is_ok());
    assert!(scale(map(), &gate.to_dtype(DType::BF16).unwrap()).is_err());
    let wide = Tensor::ones((3, 2), DType::F32, &Device::Cpu).unwrap();
    assert!(scale(map(), &wide.narrow(1, 0, 1).unwrap()).is_err());
    let launch = Launch {
        bias: Some(&wide),
        ..Launch::new(Kernel::Epilogue, params_of(&map().values).unwrap())
    };
    assert!(launch.in_place(&engine, &map().values).is_err());
}

/// A network's input is the caller's, who may use it again.
#[test]
fn the_input_is_not_changed() {
    let engine = engine(Precision::F32);
    let x = Tensor::ones((1, 3, 2, 2), DType::F32, &Device::Cpu).unwrap();
    let gate = Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap();
    scale(enter(&engine, &x).unwrap(), &gate).unwrap();
    let sum = x.sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert!((sum - 12.0).abs() < 1e-6, "{sum}");
}
