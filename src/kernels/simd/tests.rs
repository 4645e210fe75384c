//! What instruction sets have, and that they agree.

use super::*;
use crate::kernels::reference::random;
use crate::kernels::tests::activations;
use crate::kernels::{Activation, Conv, ConvGeometry, Padding};

#[test]
fn only_what_the_machine_has_can_be_named() {
    let lanes: Vec<usize> = Isa::available().map(Isa::lanes::<f32>).collect();
    assert!(lanes[0] == 4 && lanes.is_sorted());
    for isa in Isa::available() {
        assert_eq!(Isa::named(isa.name()), Some(isa));
        assert!(isa.lanes::<f32>() <= MAX_LANES);
    }
    assert!(Isa::available().any(|isa| isa == Isa::best()));
    assert_eq!(Isa::named(""), None);
    assert_eq!(Isa::named("sse9"), None);
}

/// Multiplies one block of each of the slices.
struct MultiplyBlocks<'a>(&'a [f32], &'a [f32], &'a [f32]);

impl Kernel for MultiplyBlocks<'_> {
    type Output = [[f32; MAX_LANES]; 3];
    type Element = Bf16;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self(a, b, c) = self;
        let [a, b, c] = [simd.load(a), simd.load(b), simd.load(c)];
        let [lower, upper] = simd.halves(a, b);
        let again = simd.halves(lower, upper);
        [simd.multiply_blocks(a, b, c), again[0], again[1]].map(|x| {
            let mut values = [0.0; MAX_LANES];
            simd.store(x, &mut values);
            values
        })
    }
}

#[test]
fn blocks_are_multiplied_as_pairs() {
    let pair = |x: f32| {
        let [first, second] = [x, x * 0.37 - 0.2].map(|x| Bf16::from_f32(x).to_f32().to_bits());
        f32::from_bits(first >> 16 | second)
    };
    let [a, b, c] = [1, 2, 3].map(|seed| random(MAX_LANES, seed));
    let [a, b] = [a, b].map(|values| values.into_iter().map(pair).collect::<Vec<_>>());
    for isa in Isa::available() {
        let lanes = isa.lanes::<Bf16>();
        let [found, a_again, b_again] = isa.run(MultiplyBlocks(&a, &b, &c));
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a_again[..lanes]), bits(&a[..lanes]), "{}", isa.name());
        assert_eq!(bits(&b_again[..lanes]), bits(&b[..lanes]), "{}", isa.name());
        for lane in 0..lanes {
            // Row and output of the block, of which every four lanes have one.
            let (block, row, output) = (lane / 4 * 4, lane % 4 / 2, lane % 2);
            let mut expected = c[lane];
            for word in 0..2 {
                let inputs = [a[block + 2 * row + word]; MAX_LANES];
                let weights = [b[block + 2 * output + word]; MAX_LANES];
                expected = isa.run(Dot(&inputs, &weights, expected));
            }
            let found = found[lane];
            assert_eq!(found.to_bits(), expected.to_bits(), "{} {lane}", isa.name());
        }
    }
}

/// Multiplies one pair, and adds it to a sum.
struct Dot<'a>(&'a [f32], &'a [f32], f32);

impl Kernel for Dot<'_> {
    type Output = f32;
    type Element = Bf16;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let Self(a, b, c) = self;
        let mut values = [0.0; MAX_LANES];
        let sum = simd.dot(simd.load(a), simd.load(b), simd.splat(c));
        simd.store(sum, &mut values);
        values[0]
    }
}

/// Numbers below a limit, always the same ones.
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % limit
    }

    /// From one up to a limit, small ones more often.
    fn up_to(&mut self, limit: usize) -> usize {
        let limit = 1 + self.below(limit);
        1 + self.below(limit)
    }

    /// Dense, grouped or depthwise, and the shape of its map.
    fn convolution(&mut self) -> (ConvGeometry, [usize; 3]) {
        let groups = [1, 1, 1 + self.below(5), self.up_to(70)][self.below(4)];
        let depthwise = groups > 1 && self.below(2) == 0;
        let [inputs, outputs] = [(); 2].map(|()| if depthwise { 1 } else { self.up_to(75) });
        let kernel_size = [1, 2, 3, 3, 5, 7][self.below(6)];
        let dilation = 1 + self.below(7) / 6;
        let geometry = ConvGeometry {
            groups,
            stride: 1 + self.below(3),
            dilation,
            padding: match self.below(4) {
                0 => Padding::Same,
                1 => Padding::Each(self.below(kernel_size + 1)),
                _ => Padding::Each(kernel_size / 2 * dilation),
            },
            ..ConvGeometry::dense(inputs * groups, outputs * groups, kernel_size)
        };
        let side = (kernel_size - 1) * dilation;
        let size = [
            1 + self.below(3),
            side + self.up_to(22),
            side + self.up_to(22),
        ];
        (geometry, size)
    }
}

/// A convolution's results, and the sums of its channels.
fn convolve<T: Element>(
    isa: Isa,
    [filters, bias, x]: [&[f32]; 3],
    geometry: ConvGeometry,
    shape: [usize; 3],
    activation: Option<Activation>,
) -> [Vec<f32>; 2] {
    let [n, h, w] = shape;
    let x: Vec<T> = x.iter().map(|&x| T::from_f32(x)).collect();
    let pixels: usize = geometry.output_size([h, w]).iter().product();
    let mut y = vec![T::from_f32(f32::NAN); n * pixels * geometry.outputs];
    let mut sums = vec![f32::NAN; n * geometry.outputs];
    let conv = Conv::<T>::new(isa, filters, bias, geometry, activation);
    conv.run(&x, shape, &mut y, Some(&mut sums));
    [y.iter().map(|y| y.to_f32()).collect(), sums]
}

/// Every instruction set against the portable one. Results may differ by `allowed` of the largest one, and the
/// sums of channels by that for each pixel.
fn check_agreement<T: Element>(count: usize, allowed: f32) {
    let mut choices = Choices(7);
    for _ in 0..count {
        let (geometry, shape) = choices.convolution();
        let [n, h, w] = shape;
        let activation = activations()
            .nth(choices.below(activations().count()))
            .unwrap();
        let filters = random(geometry.outputs * geometry.depth(), 1);
        let (bias, x) = (
            random(geometry.outputs, 2),
            random(n * h * w * geometry.inputs, 3),
        );
        let run = |isa| convolve::<T>(isa, [&filters, &bias, &x], geometry, shape, activation);
        let mut sets = Isa::available();
        let expected = run(sets.next().unwrap());
        let largest = expected[0]
            .iter()
            .fold(1.0_f32, |most, y| most.max(y.abs()));
        let pixels = expected[0].len() / expected[1].len();
        for isa in sets {
            let found = run(isa);
            let name = isa.name();
            for (values, most) in [
                (0, allowed * largest),
                (1, allowed * largest * pixels as f32),
            ] {
                for (at, (found, expected)) in
                    found[values].iter().zip(&expected[values]).enumerate()
                {
                    assert!(
                        (found - expected).abs() <= most,
                        "{name} {geometry:?} {shape:?} {activation:?} at {at}: {found} for {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn instruction_sets_agree_in_f32() {
    check_agreement::<f32>(100, 2e-5);
}

/// What is near the middle of two values may be rounded to either.
#[test]
fn instruction_sets_agree_in_bf16() {
    check_agreement::<Bf16>(100, 1.0 / 128.0);
}
