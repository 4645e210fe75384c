//! Pooling of channels-last maps, `[N, H, W, C]`.

use rayon::prelude::*;

use super::element::Element;
use super::simd::{Isa, Kernel, Simd};

/// A pooling operation with stride 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Max 3x3, padding 1.
    MaxPad,
    /// Max 3x3, no padding, the output's size rounded up as in Caffe.
    MaxCeil,
    /// Average 2x2; an odd last row or column is dropped.
    Average,
    /// Average 2x2, the output's size rounded up; the last window averages the pixels that it has.
    AverageCeil,
}

impl Pool {
    /// Height or width of the output for that of the input, in pixels.
    pub fn output(self, size: usize) -> usize {
        match self {
            Self::MaxPad | Self::AverageCeil => size.div_ceil(2),
            Self::MaxCeil | Self::Average => size / 2,
        }
    }

    /// The pixels of window `index` along one axis.
    fn window(self, index: usize, size: usize) -> std::ops::Range<usize> {
        match self {
            Self::MaxPad => (2 * index).saturating_sub(1)..(2 * index + 2).min(size),
            Self::MaxCeil => 2 * index..(2 * index + 3).min(size),
            Self::Average | Self::AverageCeil => 2 * index..(2 * index + 2).min(size),
        }
    }

    /// Whether it takes the maximum; otherwise, the mean.
    pub fn is_max(self) -> bool {
        matches!(self, Self::MaxPad | Self::MaxCeil)
    }

    /// Pools `x`, `[n, h, w, channels]`, into `y`, `[n, output(h), output(w), channels]`. NaN in a
    /// window makes its maximum NaN.
    ///
    /// # Panics
    /// If a slice does not have the length of its shape.
    pub fn run<T: Element>(self, isa: Isa, x: &[T], [n, h, w, channels]: [usize; 4], y: &mut [T]) {
        let (oh, ow) = (self.output(h), self.output(w));
        assert_eq!(x.len(), n * h * w * channels);
        assert_eq!(y.len(), n * oh * ow * channels);
        if y.is_empty() {
            return;
        }
        let rows = y.par_chunks_exact_mut(ow * channels).enumerate();
        rows.for_each(|(row, y)| {
            let image = &x[row / oh * h * w * channels..][..h * w * channels];
            isa.run(Row {
                pool: self,
                image,
                rows: self.window(row % oh, h),
                width: w,
                channels,
                y,
            });
        });
    }
}

/// One row of the output.
struct Row<'a, T> {
    pool: Pool,
    image: &'a [T],
    rows: std::ops::Range<usize>,
    width: usize,
    channels: usize,
    y: &'a mut [T],
}

impl<T: Element> Kernel for Row<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.channels;
        for (index, y) in self.y.chunks_exact_mut(channels).enumerate() {
            let columns = self.pool.window(index, self.width);
            let factor = simd.splat(1.0 / (self.rows.len() * columns.len()) as f32);
            for (at, y) in y.chunks_mut(S::LANES).enumerate() {
                let at = at * S::LANES;
                let mut result = simd.splat(if self.pool.is_max() {
                    f32::NEG_INFINITY
                } else {
                    0.0
                });
                for row in self.rows.clone() {
                    for column in columns.clone() {
                        let pixel = (row * self.width + column) * channels;
                        let x = simd.load_some(&self.image[pixel + at..pixel + channels]);
                        result = if self.pool.is_max() {
                            simd.max(result, x)
                        } else {
                            simd.add(result, x)
                        };
                    }
                }
                if !self.pool.is_max() {
                    result = simd.mul(result, factor);
                }
                simd.store_some(result, y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every window written out.
    fn reference(pool: Pool, x: &[f32], [n, h, w, channels]: [usize; 4]) -> Vec<f32> {
        let (oh, ow) = (pool.output(h), pool.output(w));
        let (size, padding) = match pool {
            Pool::MaxPad => (3, 1),
            Pool::MaxCeil => (3, 0),
            Pool::Average | Pool::AverageCeil => (2, 0),
        };
        let mut y = Vec::new();
        for index in 0..n * oh * ow * channels {
            let (pixel, channel) = (index / channels, index % channels);
            let (image, oy, ox) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
            let mut values = Vec::new();
            for tap in 0..size * size {
                let (iy, ix) = (oy * 2 + tap / size, ox * 2 + tap % size);
                if iy >= padding && ix >= padding && iy - padding < h && ix - padding < w {
                    let pixel = (image * h + iy - padding) * w + ix - padding;
                    values.push(x[pixel * channels + channel]);
                }
            }
            y.push(if pool.is_max() {
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            } else {
                values.iter().sum::<f32>() / values.len() as f32
            });
        }
        y
    }

    const POOLS: [Pool; 4] = [
        Pool::MaxPad,
        Pool::MaxCeil,
        Pool::Average,
        Pool::AverageCeil,
    ];

    #[test]
    fn pools_match_windows_written_out() {
        for isa in Isa::available() {
            for shape in [[1, 2, 2, 1], [2, 5, 4, 19], [3, 7, 7, 64], [1, 9, 12, 33]] {
                // Negative values only, so that a padding of zero would show.
                let count = shape.iter().product::<usize>();
                let x: Vec<f32> = (0..count).map(|i| -1.0 - (i * 31 % 23) as f32).collect();
                for pool in POOLS {
                    let expected = reference(pool, &x, shape);
                    let mut y = vec![0.0; expected.len()];
                    pool.run(isa, &x, shape, &mut y);
                    for (y, expected) in y.iter().zip(&expected) {
                        assert!((y - expected).abs() <= 1e-5, "{pool:?} {shape:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        for isa in Isa::available() {
            for pool in POOLS {
                for damaged in 0..4 {
                    let mut x = [1.0; 4];
                    x[damaged] = f32::NAN;
                    let mut y = [0.0];
                    pool.run(isa, &x, [1, 2, 2, 1], &mut y);
                    assert!(y[0].is_nan(), "{pool:?}");
                }
            }
        }
    }
}
