//! The kernels against their references, on every instruction set of the machine.

use super::reference::{self, random};
use super::{
    Activation, Conv, ConvGeometry, DirectConv, Element, Elementwise, Epilogue, Isa, KernelShape,
    Linear, Padding, RowSums, TileSize, Winograd, Word, mean,
};

/// No activation, and each one.
pub(super) fn activations() -> impl Iterator<Item = Option<Activation>> {
    std::iter::once(None).chain(Activation::ALL.map(Some))
}

pub(super) struct Case {
    pub(super) geometry: ConvGeometry,
    pub(super) shape: [usize; 3],
    pub(super) filters: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) x: Vec<f32>,
    pub(super) exact: Vec<f64>,
}

impl Case {
    fn new(geometry: ConvGeometry, shape: [usize; 3]) -> Self {
        Self::of(geometry, shape, random)
    }

    /// With values of `random(count, seed)`.
    pub(super) fn of(
        geometry: ConvGeometry,
        shape: [usize; 3],
        random: impl Fn(usize, u32) -> Vec<f32>,
    ) -> Self {
        let [n, h, w] = shape;
        let filters = random(geometry.outputs * geometry.depth(), 1);
        let bias = random(geometry.outputs, 2);
        let x = random(n * h * w * geometry.inputs, 3);
        let exact = reference::conv(&x, shape, &filters, &bias, geometry);
        Self {
            geometry,
            shape,
            filters,
            bias,
            x,
            exact,
        }
    }

    /// The largest value of the output, at least 1.
    pub(super) fn scale(&self) -> f64 {
        self.exact.iter().fold(1.0, |most, y| y.abs().max(most))
    }

    fn check(&self, isa: Isa, y: &[f32], activation: Option<Activation>, bound: f64) {
        assert_eq!(y.len(), self.exact.len());
        let allowed = bound * self.scale();
        for (index, (&y, &exact)) in y.iter().zip(&self.exact).enumerate() {
            let exact = reference::activate(exact, activation);
            assert!(
                (f64::from(y) - exact).abs() <= allowed,
                "{} {:?} {:?} at {index}: {y} for {exact}",
                isa.name(),
                self.geometry,
                self.shape
            );
        }
    }

    /// The sums of each image's channels.
    pub(super) fn sums(&self, activation: Option<Activation>) -> Vec<f64> {
        let outputs = self.geometry.outputs;
        let mut sums = vec![0.0; self.shape[0] * outputs];
        let image = self.exact.len() / self.shape[0];
        for (index, &y) in self.exact.iter().enumerate() {
            sums[index / image * outputs + index % outputs] += reference::activate(y, activation);
        }
        sums
    }
}

/// Geometries and shapes that leave no edge out: vectors not filled, tiles not filled, several
/// chunks of inputs, windows that leave the map, more than one image.
pub(super) fn cases() -> Vec<(ConvGeometry, [usize; 3])> {
    let mut cases = Vec::new();
    for (inputs, outputs, kernel_size) in [
        (1, 1, 1),
        (3, 5, 1),
        (17, 33, 1),
        (64, 40, 1),
        (300, 48, 1),
        (3, 16, 7),
        (5, 7, 3),
        (40, 31, 3),
        (2, 9, 5),
    ] {
        for shape in [[1, 1, 1], [2, 3, 5], [1, 8, 7], [3, 7, 7], [1, 17, 13]] {
            for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (3, 1)] {
                let geometry = ConvGeometry {
                    stride,
                    dilation,
                    padding: Padding::Each(kernel_size / 2 * dilation),
                    ..ConvGeometry::dense(inputs, outputs, kernel_size)
                };
                cases.push((geometry, shape));
            }
        }
    }
    // Windows that share what is packed: rows of the output longer than a group, strides longer
    // than the kernel, windows that lie outside the map altogether.
    for (kernel_size, stride, padding) in [(7, 2, 3), (2, 3, 0), (3, 1, 5), (3, 2, 4), (5, 7, 2)] {
        for shape in [[1, 2, 2], [2, 9, 240], [1, 20, 131]] {
            let geometry = ConvGeometry {
                stride,
                padding: Padding::Each(padding),
                ..ConvGeometry::dense(3, 20, kernel_size)
            };
            cases.push((geometry, shape));
        }
    }
    for (kernel_size, stride, padding) in [(7, 1, 3), (3, 1, 1), (7, 2, 3), (3, 1, 0), (2, 2, 1)] {
        for shape in [KernelShape::Row, KernelShape::Column] {
            for (inputs, size) in [(3, [2, 9, 40]), (40, [1, 8, 7]), (130, [1, 3, 4])] {
                for (dilation, padding) in [
                    (1, Padding::Each(padding)),
                    (2, Padding::Each(2 * padding)),
                    (1, Padding::Same),
                ] {
                    let geometry = ConvGeometry {
                        shape,
                        stride,
                        dilation,
                        padding,
                        ..ConvGeometry::dense(inputs, 20, kernel_size)
                    };
                    if !geometry.output_size([size[1], size[2]]).contains(&0) {
                        cases.push((geometry, size));
                    }
                }
            }
        }
    }
    for (kernel_size, stride, dilation) in [
        (3, 2, 1),
        (5, 2, 1),
        (4, 3, 1),
        (1, 2, 1),
        (3, 2, 2),
        (3, 1, 1),
    ] {
        for shape in [[1, 1, 1], [2, 8, 9], [1, 9, 8], [2, 12, 7]] {
            let geometry = ConvGeometry {
                stride,
                dilation,
                padding: Padding::Same,
                ..ConvGeometry::dense(5, 20, kernel_size)
            };
            cases.push((geometry, shape));
        }
    }
    cases
}

#[test]
fn same_padding_puts_the_odd_zero_last() {
    let geometry = |kernel_size, stride| ConvGeometry {
        stride,
        padding: Padding::Same,
        ..ConvGeometry::dense(1, 1, kernel_size)
    };
    for (kernel_size, stride, size, output, zeros) in [
        (3, 1, 7, 7, [1, 1]),
        (3, 2, 224, 112, [0, 1]),
        (3, 2, 225, 113, [1, 1]),
        (5, 2, 112, 56, [1, 2]),
        (6, 5, 13, 3, [1, 2]),
        (1, 2, 8, 4, [0, 0]),
        (7, 4, 1, 1, [3, 3]),
    ] {
        let geometry = geometry(kernel_size, stride);
        assert_eq!(
            geometry.output(size),
            output,
            "{kernel_size} /{stride} of {size}"
        );
        assert_eq!(
            geometry.zeros(size),
            zeros,
            "{kernel_size} /{stride} of {size}"
        );
    }
    assert_eq!(geometry(3, 2).output(0), 0);
}

/// A side of one pixel has no padding.
#[test]
fn rows_and_columns_are_padded_along_themselves() {
    let row = ConvGeometry {
        shape: KernelShape::Row,
        ..ConvGeometry::dense(1, 1, 7)
    };
    let column = ConvGeometry {
        shape: KernelShape::Column,
        ..row
    };
    assert_eq!(row.kernel(), [1, 7]);
    assert_eq!(row.output_size([9, 12]), [9, 12]);
    assert_eq!(column.output_size([12, 9]), [12, 9]);
    let padding = Padding::Each(0);
    assert_eq!(ConvGeometry { padding, ..row }.output_size([9, 12]), [9, 6]);
    assert_eq!(
        ConvGeometry { padding, ..column }.output_size([9, 12]),
        [3, 12]
    );
    let grouped = ConvGeometry {
        inputs: 2,
        outputs: 2,
        groups: 2,
        ..row
    };
    assert!(row.is_valid() && !grouped.is_valid());
}

#[test]
fn direct_convolution_and_its_sums() {
    for (geometry, shape) in cases() {
        let case = Case::new(geometry, shape);
        let bound = 1e-6 * (case.geometry.depth() as f64).sqrt();
        for isa in Isa::available() {
            let conv = DirectConv::new(isa, &case.filters, &case.bias, case.geometry);
            for activation in [None, Some(Activation::Relu)] {
                let mut y = vec![f32::NAN; case.exact.len()];
                let epilogue = Epilogue {
                    activation,
                    sums: None,
                };
                conv.run(&case.x, case.shape, &mut y, epilogue);
                case.check(isa, &y, activation, bound);

                let [n, h, w] = case.shape;
                let segment = case.geometry.output_size([h, w]).iter().product();
                let mut sums = vec![f32::NAN; n * case.geometry.outputs];
                let row_sums = RowSums {
                    segment,
                    sums: &mut sums,
                };
                let mut again = vec![f32::NAN; case.exact.len()];
                let epilogue = Epilogue {
                    activation,
                    sums: Some(row_sums),
                };
                conv.run(&case.x, case.shape, &mut again, epilogue);
                case.check(isa, &again, activation, bound);
                let allowed = bound * case.scale() * segment as f64;
                for (found, exact) in sums.iter().zip(case.sums(activation)) {
                    assert!((f64::from(*found) - exact).abs() <= allowed);
                }
            }
        }
    }
}

/// Neither the number of threads nor that of images changes a bit, so the sums are added in one order.
#[test]
fn enough_rows_for_every_way_to_cut_them() {
    for (inputs, outputs, shape) in [
        (8, 96, [1, 56, 56]),
        (8, 40, [5, 20, 20]),
        (8, 20, [9, 3, 3]),
        (8, 96, [6, 18, 18]),
        (520, 70, [1, 14, 14]),
        (2, 3, [1, 110, 110]),
    ] {
        let case = Case::new(ConvGeometry::dense(inputs, outputs, 1), shape);
        let [images, height, width] = shape;
        let segment = height * width;
        for isa in Isa::available() {
            let conv = DirectConv::new(isa, &case.filters, &case.bias, case.geometry);
            let run = |images: usize, threads| {
                let mut sums = vec![f32::NAN; images * outputs];
                let mut y = vec![f32::NAN; images * segment * outputs];
                let epilogue = Epilogue {
                    activation: None,
                    sums: Some(RowSums {
                        segment,
                        sums: &mut sums,
                    }),
                };
                let x = &case.x[..images * segment * inputs];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().unwrap();
                pool.install(|| conv.run(x, [images, height, width], &mut y, epilogue));
                (y, sums)
            };
            let (y, sums) = run(images, 1);
            case.check(isa, &y, None, 1e-6 * (inputs as f64).sqrt());
            let allowed = 1e-5 * case.scale() * segment as f64;
            for (found, exact) in sums.iter().zip(case.sums(None)) {
                assert!((f64::from(*found) - exact).abs() <= allowed);
            }
            for threads in [1, 2, 3, 8, 70] {
                for images in [1, images] {
                    let (y_again, sums_again) = run(images, threads);
                    assert!(
                        y_again == y[..y_again.len()] && sums_again == sums[..images * outputs],
                        "{isa:?}: {images} images, {threads} threads"
                    );
                }
            }
        }
    }
}

/// Any padding and shape. Filters depend on neither, so they are packed once.
fn check_winograd([inputs, outputs, groups]: [usize; 3]) {
    let paddings = [0, 1, 2].map(Padding::Each);
    for padding in paddings.into_iter().chain([Padding::Same]) {
        let geometry = ConvGeometry {
            padding,
            groups,
            ..ConvGeometry::dense(inputs, outputs, 3)
        };
        let cases = [
            [1, 1, 1],
            [2, 3, 5],
            [1, 8, 7],
            [3, 7, 7],
            [1, 17, 13],
            [2, 30, 4],
        ];
        let cases = cases.map(|shape| Case::new(geometry, shape));
        for isa in Isa::available() {
            for (size, bound) in [(TileSize::Two, 1e-5), (TileSize::Four, 1e-4)] {
                let Case { filters, bias, .. } = &cases[0];
                let conv = Winograd::new(isa, filters, bias, geometry, size);
                for case in &cases {
                    for activation in [None, Some(Activation::Relu)] {
                        let mut y = vec![f32::NAN; case.exact.len()];
                        let epilogue = Epilogue {
                            activation,
                            sums: None,
                        };
                        conv.run(&case.x, case.shape, &mut y, epilogue);
                        case.check(isa, &y, activation, bound);
                    }
                }
            }
        }
    }
}

#[test]
fn winograd_stays_within_its_bounds() {
    for channels in [
        [1, 1, 1],
        [3, 5, 1],
        [16, 16, 1],
        [20, 33, 1],
        [64, 64, 1],
        [260, 8, 1],
    ] {
        check_winograd(channels);
    }
}

#[test]
fn winograd_of_groups_stays_within_its_bounds() {
    for channels in [
        [9, 15, 3],
        [48, 48, 2],
        [80, 56, 4],
        [144, 216, 3],
        [336, 336, 14],
    ] {
        check_winograd(channels);
    }
}

#[test]
fn any_geometry_finds_a_convolution_that_computes_it() {
    for (inputs, outputs, kernel_size, groups) in [
        (32, 48, 3, 1),
        (200, 200, 3, 1),
        (32, 64, 3, 32),
        (128, 64, 3, 2),
        (64, 64, 3, 64),
        (24, 24, 1, 3),
    ] {
        let geometry = ConvGeometry {
            groups,
            ..ConvGeometry::dense(inputs, outputs, kernel_size)
        };
        let case = Case::new(geometry, [2, 6, 5]);
        for (isa, activation) in
            Isa::available().flat_map(|isa| activations().map(move |a| (isa, a)))
        {
            let conv = Conv::new(isa, &case.filters, &case.bias, geometry, activation);
            let mut y = vec![f32::NAN; case.exact.len()];
            let mut sums = vec![f32::NAN; 2 * outputs];
            conv.run(&case.x, case.shape, &mut y, Some(&mut sums));
            case.check(isa, &y, activation, 2e-5);
            let allowed = 2e-5 * case.scale() * 30.0;
            for (found, exact) in sums.iter().zip(case.sums(activation)) {
                assert!((f64::from(*found) - exact).abs() <= allowed);
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for kernel_size in [1, 3] {
            let geometry = ConvGeometry::dense(32, 32, kernel_size);
            let mut case = Case::new(geometry, [1, 9, 9]);
            case.x[(4 * 9 + 4) * 32 + 7] = value;
            for isa in Isa::available() {
                let conv = Conv::new(isa, &case.filters, &case.bias, geometry, None);
                let mut y = vec![0.0; case.exact.len()];
                conv.run(&case.x, case.shape, &mut y, None);
                assert!(!y[(4 * 9 + 4) * 32].is_finite());
                let relu = Some(Activation::Relu);
                let conv = Conv::new(isa, &case.filters, &case.bias, geometry, relu);
                conv.run(&case.x, case.shape, &mut y, None);
                let centre = &y[(4 * 9 + 4) * 32..][..32];
                assert!(centre.iter().any(|y| !y.is_finite()));
            }
        }
    }
}

#[test]
fn linear_layers_of_any_batch() {
    check_linear::<f32>(random);
}

/// Linear layers with weights of `random(count, seed)`.
pub(super) fn check_linear<W: Word<Element = f32>>(weights: impl Fn(usize, u32) -> Vec<f32>) {
    for (batch, inputs, outputs) in [(1, 1, 1), (1, 2048, 128), (5, 128, 1000), (3, 7, 33)] {
        let (weight, bias) = (weights(inputs * outputs, 1), random(outputs, 2));
        let x = random(batch * inputs, 3);
        for (isa, activation) in
            Isa::available().flat_map(|isa| activations().map(move |a| (isa, a)))
        {
            let mut y = vec![f32::NAN; batch * outputs];
            Linear::<W>::new(isa, &weight, &bias).run(&x, &mut y, activation);
            for (index, &y) in y.iter().enumerate() {
                let (n, o) = (index / outputs, index % outputs);
                let products = (0..inputs)
                    .map(|i| f64::from(x[n * inputs + i]) * f64::from(weight[o * inputs + i]));
                let exact = f64::from(bias[o]) + products.sum::<f64>();
                let bound = 2e-6 * (inputs as f64).sqrt() * exact.abs().max(1.0);
                let exact = reference::activate(exact, activation);
                assert!((f64::from(y) - exact).abs() <= bound, "{y} for {exact}");
            }
        }
    }
}

#[test]
fn elementwise_operations_equal_their_formulas() {
    check_elementwise::<f32>(random, 0.0);
}

/// Elementwise operations and means on maps with values of `maps(count, seed)`, which the type has.
/// Results may be off by `rounding`, relative to the exact value, for being stored.
pub(super) fn check_elementwise<T: Element>(maps: impl Fn(usize, u32) -> Vec<f32>, rounding: f64) {
    let stored = |values: &[f32]| -> Vec<T> { values.iter().map(|&x| T::from_f32(x)).collect() };
    for (pixels, channels) in [(1, 1), (5, 3), (49, 64), (300, 70)] {
        let (y, other) = (maps(pixels * channels, 1), maps(pixels * channels, 2));
        let (stored_y, stored_other) = (stored(&y), stored(&other));
        let (first, second) = (random(channels, 3), random(channels, 4));
        for isa in Isa::available() {
            let check = |operation: Elementwise<'_, T>, formula: &dyn Fn(usize, usize) -> f64| {
                let mut found = stored_y.clone();
                operation.run(isa, &mut found, channels);
                for (index, &found) in found.iter().enumerate() {
                    let exact = formula(index, index % channels);
                    let allowed = 1e-6 + rounding * (exact.abs() + 1e-6);
                    assert!(
                        (f64::from(found.to_f32()) - exact).abs() <= allowed,
                        "{operation:?} at {index}"
                    );
                }
            };
            let wide = |values: &[f32], index: usize| f64::from(values[index]);
            for activation in activations() {
                for gate in [None, Some(first.as_slice())] {
                    let operation = Elementwise::AddShortcut {
                        gate,
                        shortcut: &stored_other,
                        activation,
                    };
                    check(operation, &|i, c| {
                        let gate = gate.map_or(1.0, |gate| f64::from(gate[c]));
                        let sum = wide(&y, i) * gate + wide(&other, i);
                        reference::activate(sum, activation)
                    });
                }
            }
            for activation in Activation::ALL {
                check(Elementwise::Activate(activation), &|i, _| {
                    activation.value(wide(&y, i))
                });
            }
            check(Elementwise::Scale(&first), &|i, c| {
                wide(&y, i) * wide(&first, c)
            });
            let select = Elementwise::Select {
                gates: [&first, &second],
                other: &stored_other,
            };
            check(select, &|i, c| {
                wide(&y, i) * wide(&first, c) + wide(&other, i) * wide(&second, c)
            });
            for both in [false, true] {
                let mut means = vec![f32::NAN; channels];
                let second = both.then_some(stored_other.as_slice());
                mean(isa, &stored_y, second, channels, &mut means);
                for (c, &found) in means.iter().enumerate() {
                    let values = (c..y.len()).step_by(channels);
                    let sum: f64 = values
                        .map(|i| wide(&y, i) + if both { wide(&other, i) } else { 0.0 })
                        .sum();
                    assert!((f64::from(found) - sum / pixels as f64).abs() <= 1e-5);
                }
            }
        }
    }
}
