//! Rounding, and the kernels in bf16 against their references: what is stored is rounded, and nothing
//! else.

use super::Bf16;
use crate::kernels::reference::{self, random};
use crate::kernels::tests::{Case, activations, cases, check_elementwise, check_linear};
use crate::kernels::{
    Activation, Conv, ConvGeometry, Elementwise, Isa, Mixed, Padding, Pool, convert,
    to_channels_last,
};

/// Half a unit in the last place, relative to the value.
const HALF_UNIT: f64 = 1.0 / 256.0;

fn narrow(values: &[f32]) -> Vec<Bf16> {
    values.iter().map(|&x| Bf16::from_f32(x)).collect()
}

/// Values in -1..1 that bf16 has.
fn random_bf16(count: usize, seed: u32) -> Vec<f32> {
    let values = random(count, seed).into_iter();
    values.map(|x| Bf16::from_f32(x).to_f32()).collect()
}

/// Whether `y` is `exact` rounded, where the arithmetic in f32 may be off by `error`.
fn is_rounded(y: Bf16, exact: f64, error: f64) -> bool {
    (f64::from(y.to_f32()) - exact).abs() <= error + HALF_UNIT * (exact.abs() + error)
}

/// A convolution with every activation, and the sums of its channels.
pub(in crate::kernels) fn check_conv(geometry: ConvGeometry, shape: [usize; 3]) {
    let case = Case::of(geometry, shape, random_bf16);
    let x = narrow(&case.x);
    let error = 1e-6 * (geometry.depth() as f64).sqrt() * case.scale();
    for isa in Isa::available() {
        for activation in [None, Some(Activation::Relu), Some(Activation::Silu)] {
            let conv = Conv::<Bf16>::new(isa, &case.filters, &case.bias, geometry, activation);
            let kernel = conv.kernel();
            assert!(
                kernel.contains("bf16") && !kernel.contains("winograd"),
                "{kernel}"
            );
            let mut y = vec![Bf16::from_f32(f32::NAN); case.exact.len()];
            let mut sums = vec![f32::NAN; shape[0] * geometry.outputs];
            conv.run(&x, shape, &mut y, Some(&mut sums));
            for (index, (&y, &exact)) in y.iter().zip(&case.exact).enumerate() {
                let exact = reference::activate(exact, activation);
                assert!(
                    is_rounded(y, exact, error),
                    "{kernel} {geometry:?} {shape:?} {activation:?} at {index}: {} for {exact}",
                    y.to_f32()
                );
            }
            let pixels = (y.len() / sums.len().max(1)) as f64;
            let allowed = pixels * (error + HALF_UNIT * case.scale());
            for (&sum, exact) in sums.iter().zip(case.sums(activation)) {
                assert!(
                    (f64::from(sum) - exact).abs() <= allowed,
                    "{kernel}: {sum} for {exact}"
                );
            }
        }
    }
}

/// `x` is subnormal or 0 in f32: its exponent is.
fn is_tiny(x: f32) -> bool {
    x.to_bits() & 0x7f80_0000 == 0
}

/// The definition, in f64: the nearest of the two neighbours, of equally near ones the even one.
fn nearest(x: f32) -> u16 {
    let below = (x.to_bits() >> 16) as u16;
    if x.is_nan() {
        return below | 0x40;
    }
    if is_tiny(x) {
        return below & 0x8000;
    }
    // As a distance from zero, so that the sign does not matter. What follows the largest number is
    // infinity, which is nearest from the middle on to what would follow.
    let size = |bits: u16| match bits & 0x7fff {
        0x7f80 => 2f64.powi(128),
        bits => f64::from(f32::from_bits(u32::from(bits) << 16)),
    };
    let x = f64::from(x.abs());
    if x.is_infinite() {
        return below;
    }
    let (down, up) = (x - size(below), size(below + 1) - x);
    if down < up || down == up && below.is_multiple_of(2) {
        below
    } else {
        below + 1
    }
}

/// Rounds values on every instruction set, and compares with the scalar definition.
fn check_rounding(values: &[f32]) {
    for isa in Isa::available() {
        let mut found = vec![Bf16::default(); values.len()];
        convert(isa, values, &mut found);
        for (&x, found) in values.iter().zip(found) {
            let (found, expected) = (found.to_bits(), nearest(x));
            assert_eq!(
                found,
                expected,
                "{} {x:e} {:#010x}",
                isa.name(),
                x.to_bits()
            );
            assert_eq!(Bf16::from_f32(x).to_bits(), expected);
        }
    }
}

#[test]
fn rounding_is_to_the_nearest_even_value() {
    // The upper halves with what is just below, at and above the middle between two values.
    let lower = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
    for upper in 0..=u16::MAX {
        check_rounding(&lower.map(|lower| f32::from_bits(u32::from(upper) << 16 | lower)));
    }
    for (x, bits) in [
        (1.0, 0x3f80),
        (-0.0, 0x8000),
        (f32::from_bits(0x807f_ffff), 0x8000),
        (f32::MIN_POSITIVE, 0x0080),
        (f32::MAX, 0x7f80),
        (f32::NEG_INFINITY, 0xff80),
        (f32::from_bits(0x7f80_0001), 0x7fc0),
    ] {
        assert_eq!(Bf16::from_f32(x).to_bits(), bits, "{x:e}");
    }
}

#[test]
#[ignore = "minutes: cargo test --release --lib all_values_of_f32 -- --ignored"]
fn all_values_of_f32_are_rounded_to_the_nearest() {
    use rayon::prelude::*;
    (0..1_u32 << 12).into_par_iter().for_each(|upper| {
        let values: Vec<f32> = (0..1_u32 << 20)
            .map(|lower| f32::from_bits(upper << 20 | lower))
            .collect();
        check_rounding(&values);
    });
}

#[test]
fn every_value_of_bf16_is_kept() {
    let values: Vec<Bf16> = (0..=u16::MAX).map(Bf16::from_bits).collect();
    let wide: Vec<f32> = values.iter().map(|x| x.to_f32()).collect();
    for isa in Isa::available() {
        let mut found = vec![Bf16::default(); values.len()];
        convert(isa, &wide, &mut found);
        // A gate of 1 loads the values themselves.
        let mut scaled = values.clone();
        Elementwise::Scale(&[1.0; 64]).run(isa, &mut scaled, 64);
        for ((found, scaled), x) in found.iter().zip(scaled).zip(&wide) {
            let expected = match x {
                x if x.is_nan() => (x.to_bits() >> 16) as u16 | 0x40,
                x if is_tiny(*x) => (x.to_bits() >> 16) as u16 & 0x8000,
                x => (x.to_bits() >> 16) as u16,
            };
            assert_eq!(found.to_bits(), expected);
            assert_eq!(scaled.to_bits(), expected);
        }
    }
}

#[test]
fn dense_convolutions() {
    for (geometry, shape) in cases() {
        check_conv(geometry, shape);
    }
    // Several chunks of inputs, and whole panels of outputs.
    for (inputs, outputs, kernel_size, shape) in [
        (2050, 40, 1, [2, 3, 5]),
        (1030, 33, 1, [1, 1, 1]),
        (130, 64, 3, [1, 9, 8]),
        (64, 64, 3, [2, 14, 14]),
    ] {
        check_conv(ConvGeometry::dense(inputs, outputs, kernel_size), shape);
    }
    // Rows of taps to which up to three zeros are added, in several chunks.
    for (inputs, outputs, kernel_size, stride, dilation) in [
        (117, 20, 3, 1, 1),
        (117, 20, 3, 1, 2),
        (118, 20, 3, 2, 1),
        (119, 20, 3, 1, 2),
        (1029, 33, 1, 1, 1),
        (1030, 33, 1, 2, 1),
        (1031, 33, 1, 1, 1),
        (1031, 33, 1, 2, 1),
    ] {
        let geometry = ConvGeometry {
            stride,
            dilation,
            padding: Padding::Each(kernel_size / 2 * dilation),
            ..ConvGeometry::dense(inputs, outputs, kernel_size)
        };
        check_conv(geometry, [2, 5, 4]);
    }
}

#[test]
fn convolutions_of_every_activation() {
    for (inputs, outputs, kernel_size, groups) in [(32, 48, 3, 1), (32, 64, 3, 8), (24, 24, 3, 24)]
    {
        let geometry = ConvGeometry {
            groups,
            ..ConvGeometry::dense(inputs, outputs, kernel_size)
        };
        let case = Case::of(geometry, [1, 6, 5], random_bf16);
        for (isa, activation) in
            Isa::available().flat_map(|isa| activations().map(move |a| (isa, a)))
        {
            let conv = Conv::<Bf16>::new(isa, &case.filters, &case.bias, geometry, activation);
            let mut y = vec![Bf16::default(); case.exact.len()];
            conv.run(&narrow(&case.x), case.shape, &mut y, None);
            for (&y, &exact) in y.iter().zip(&case.exact) {
                let exact = reference::activate(exact, activation);
                assert!(is_rounded(y, exact, 2e-5), "{activation:?}");
            }
        }
    }
}

/// With one thread or many, and however the rows are cut, the sums are in the same order.
#[test]
fn results_do_not_depend_on_the_threads() {
    for (inputs, outputs, kernel_size, shape) in [(520, 70, 1, [1, 14, 14]), (64, 96, 3, [3, 9, 9])]
    {
        let case = Case::of(
            ConvGeometry::dense(inputs, outputs, kernel_size),
            shape,
            random_bf16,
        );
        let isa = Isa::best();
        let conv = Conv::<Bf16>::new(isa, &case.filters, &case.bias, case.geometry, None);
        let mut results = [1, 2, 3, 8].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let mut y = vec![Bf16::default(); case.exact.len()];
            let pool = pool.build().unwrap();
            pool.install(|| conv.run(&narrow(&case.x), shape, &mut y, None));
            y
        });
        let (first, others) = results.split_first_mut().unwrap();
        assert!(others.iter().all(|y| y == first));
    }
}

/// NaN and infinity reach what the window of an output covers, and nothing else. An exception is the first
/// channel of a pixel in a map of an odd number: it is the partner of the value before it.
#[test]
fn what_is_not_finite_stays_where_it_is() {
    for (inputs, kernel_size, groups) in [(32, 1, 1), (32, 3, 1), (33, 3, 1), (32, 3, 8), (9, 3, 3)]
    {
        let geometry = ConvGeometry {
            groups,
            ..ConvGeometry::dense(inputs, inputs, kernel_size)
        };
        let case = Case::of(geometry, [1, 9, 9], random_bf16);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = narrow(&case.x);
            x[(4 * 9 + 4) * inputs + 7] = Bf16::from_f32(value);
            for isa in Isa::available() {
                let conv = Conv::<Bf16>::new(isa, &case.filters, &case.bias, geometry, None);
                let mut y = vec![Bf16::default(); case.exact.len()];
                conv.run(&x, case.shape, &mut y, None);
                for (pixel, y) in y.chunks_exact(inputs).enumerate() {
                    let reach = kernel_size / 2;
                    let near = (pixel / 9).abs_diff(4) <= reach && (pixel % 9).abs_diff(4) <= reach;
                    let finite = y.iter().all(|y| y.to_f32().is_finite());
                    assert_eq!(finite, !near, "{geometry:?} {pixel} {value}");
                }
            }
        }
    }
}

#[test]
fn linear_layers_have_weights_in_bf16_and_inputs_in_f32() {
    check_linear::<Mixed>(random_bf16);
}

#[test]
fn elementwise_operations_are_rounded_once() {
    check_elementwise::<Bf16>(random_bf16, HALF_UNIT);
}

/// The maximum of values that bf16 has is one of them; a mean is rounded once.
#[test]
fn pools_equal_those_in_f32_rounded() {
    for isa in Isa::available() {
        for shape in [[1, 2, 2, 1], [2, 5, 4, 19], [3, 7, 7, 64]] {
            let x = random_bf16(shape.iter().product(), 1);
            for pool in Pool::ALL {
                let [n, h, w, channels] = shape;
                let len = n * pool.output(h) * pool.output(w) * channels;
                let (mut exact, mut found) = (vec![0.0; len], vec![Bf16::default(); len]);
                pool.run(isa, &x, shape, &mut exact);
                pool.run(isa, &narrow(&x), shape, &mut found);
                assert_eq!(found, narrow(&exact), "{pool:?} {shape:?}");
            }
        }
    }
}

#[test]
fn images_are_rounded_on_their_way_in() {
    let x = random(2 * 3 * 7 * 5, 1);
    let (mut wide, mut found) = (vec![0.0_f32; x.len()], vec![Bf16::default(); x.len()]);
    to_channels_last(&x, [3, 35], &mut wide);
    to_channels_last(&x, [3, 35], &mut found);
    assert_eq!(found, narrow(&wide));
}

/// Rows of the map that fill the memory for packed rows to the last value.
#[test]
fn windows_that_fill_the_packed_rows() {
    let geometry = ConvGeometry {
        stride: 173,
        padding: Padding::Each(0),
        ..ConvGeometry::dense(96, 4, 3)
    };
    check_conv(geometry, [1, 3, 176]);
}

#[test]
fn padding_as_in_tensorflow() {
    for (kernel_size, stride) in [(3, 2), (5, 1), (2, 3)] {
        let geometry = ConvGeometry {
            stride,
            padding: Padding::Same,
            ..ConvGeometry::dense(3, 20, kernel_size)
        };
        check_conv(geometry, [2, 9, 8]);
    }
}
