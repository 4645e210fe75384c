//! The channels of maps `[pixels, channels]` put side by side, or in another order.

use rayon::prelude::*;

use super::{Element, Isa, Kernel, Simd};

/// Values per task.
const TASK: usize = 1 << 14;

/// The channels of several maps side by side in `y`, `[pixels, channels]`: of each map its values and its
/// number of channels. With a `gate` each channel of `y` is scaled on the way.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn join<T: Element>(isa: Isa, maps: &[(&[T], usize)], gate: Option<&[f32]>, y: &mut [T]) {
    let channels = maps.iter().map(|(_, channels)| channels).sum::<usize>();
    let pixels = y.len() / channels.max(1);
    assert_eq!(y.len(), pixels * channels);
    assert!(maps.iter().all(|(x, each)| x.len() == pixels * each));
    assert!(gate.is_none_or(|gate| gate.len() == channels));
    let size = (TASK / channels.max(1)).max(1);
    let tasks = y.par_chunks_mut(size * channels.max(1)).enumerate();
    tasks.for_each(|(index, y)| {
        isa.run(Join {
            maps,
            gate,
            first: index * size,
            channels,
            y,
        });
    });
}

/// The pixels of one task, from `first` on.
struct Join<'a, T> {
    maps: &'a [(&'a [T], usize)],
    gate: Option<&'a [f32]>,
    first: usize,
    channels: usize,
    y: &'a mut [T],
}

impl<T: Element> Kernel for Join<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut start = 0;
        for &(x, each) in self.maps {
            let pixels = self.y.chunks_exact_mut(self.channels);
            let x = x[self.first * each..].chunks_exact(each);
            for (y, x) in pixels.zip(x) {
                let y = &mut y[start..start + each];
                let Some(gate) = self.gate else {
                    y.copy_from_slice(x);
                    continue;
                };
                let lanes = y.chunks_mut(S::LANES).zip(x.chunks(S::LANES));
                let gate = gate[start..start + each].chunks(S::LANES);
                for ((y, x), gate) in lanes.zip(gate) {
                    simd.store_some(simd.mul(simd.load_some(x), simd.load_some(gate)), y);
                }
            }
            start += each;
        }
    }
}

/// `x` with its channels, `groups` runs of equal length, dealt out in turn: the first of each run, then the
/// second of each (Zhang et al., "ShuffleNet", arXiv:1707.01083, section 3.1).
///
/// # Panics
/// If the groups do not divide the channels or a slice does not fit.
pub fn shuffle<T: Element>(x: &[T], channels: usize, groups: usize, y: &mut [T]) {
    assert_eq!(x.len(), y.len());
    assert!(channels.is_multiple_of(groups) && x.len().is_multiple_of(channels));
    let size = (TASK / channels).max(1) * channels;
    let tasks = y.par_chunks_mut(size).zip(x.par_chunks(size));
    tasks.for_each(|(y, x)| {
        let pixels = y.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
        for (y, x) in pixels {
            for (group, x) in x.chunks_exact(channels / groups).enumerate() {
                let places = y.iter_mut().skip(group).step_by(groups);
                places.zip(x).for_each(|(y, &x)| *y = x);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Bf16;
    use crate::kernels::reference::random;

    #[test]
    fn joined_channels_lie_side_by_side() {
        let pixels = 700;
        for counts in [vec![1], vec![3, 1], vec![16, 40, 7, 32]] {
            let channels: usize = counts.iter().sum();
            let maps: Vec<Vec<f32>> = (1..)
                .zip(&counts)
                .map(|(seed, count)| random(pixels * count, seed))
                .collect();
            let gate = random(channels, 9);
            let mut expected = vec![Vec::new(); 2];
            for pixel in 0..pixels {
                let rows = maps.iter().zip(&counts);
                let row = rows.flat_map(|(map, count)| map[pixel * count..][..*count].to_vec());
                for (value, gate) in row.zip(&gate) {
                    expected[0].push(value);
                    expected[1].push(value * gate);
                }
            }
            let parts: Vec<_> = maps.iter().map(Vec::as_slice).zip(counts.clone()).collect();
            for isa in Isa::available() {
                for (gate, expected) in [None, Some(gate.as_slice())].into_iter().zip(&expected) {
                    let mut y = vec![f32::NAN; pixels * channels];
                    join(isa, &parts, gate, &mut y);
                    assert_eq!(&y, expected, "{counts:?}");
                }
            }
        }
    }

    #[test]
    fn in_bf16_joined_channels_are_rounded_once() {
        let narrow = |x: &[f32]| -> Vec<Bf16> { x.iter().map(|&x| Bf16::from_f32(x)).collect() };
        let (x, gate) = (narrow(&random(40, 1)), random(5, 2));
        for isa in Isa::available() {
            let mut y = vec![Bf16::default(); 40];
            join(isa, &[(&x, 5)], Some(&gate), &mut y);
            let exact: Vec<f32> = x
                .iter()
                .enumerate()
                .map(|(i, x)| x.to_f32() * gate[i % 5])
                .collect();
            assert_eq!(y, narrow(&exact));
        }
    }

    #[test]
    fn a_shuffle_is_a_transposition_of_groups() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut y = vec![0.0; 12];
        shuffle(&x, 6, 3, &mut y);
        assert_eq!(
            y,
            [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0]
        );
        let (x, mut y, mut back) = (
            random(240 * 300, 1),
            vec![0.0; 240 * 300],
            vec![0.0; 240 * 300],
        );
        shuffle(&x, 240, 3, &mut y);
        shuffle(&y, 240, 80, &mut back);
        assert_eq!(back, x);
    }
}
