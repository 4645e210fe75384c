//! Pooling of channels-last maps, `[N, H, W, C]`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::element::Element;
use super::simd::{Isa, Kernel, Simd};

/// A pooling operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Max 3x3, stride 2, padding 1.
    MaxPad,
    /// Max 3x3, stride 2, no padding, the output's size rounded up as in Caffe.
    MaxCeil,
    /// Max 3x3, stride 2, no padding, size rounded down.
    MaxValid,
    /// Max 3x3, stride 1, padding 1.
    MaxSame,
    /// Max 2x2, stride 2; an odd last row or column is dropped.
    MaxHalf,
    /// Average 2x2, stride 2; an odd last row or column is dropped.
    Average,
    /// Average 2x2, stride 2, the output's size rounded up; the last window averages the pixels that it has.
    AverageCeil,
    /// Average 3x3, stride 2, padding 1, whose zeros count as pixels.
    AveragePad,
    /// Average 3x3, stride 1, padding 1, whose zeros count as pixels.
    AverageSame,
    /// Average 3x3, stride 1, padding 1; a window averages the pixels that it has.
    AverageInside,
}

/// The windows of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Pixels of a side.
    pub size: usize,
    /// Pixels from one to the next.
    pub stride: usize,
    /// How far the first reaches over the edge.
    pub padding: usize,
    /// One that begins on the map counts even if it does not end there.
    pub ceil: bool,
}

impl Pool {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::MaxPad,
        Self::MaxCeil,
        Self::MaxValid,
        Self::MaxSame,
        Self::MaxHalf,
        Self::Average,
        Self::AverageCeil,
        Self::AveragePad,
        Self::AverageSame,
        Self::AverageInside,
    ];

    /// Its windows.
    pub fn windows(self) -> Windows {
        let (size, stride, padding, ceil) = match self {
            Self::MaxPad | Self::AveragePad => (3, 2, 1, false),
            Self::MaxCeil => (3, 2, 0, true),
            Self::MaxValid => (3, 2, 0, false),
            Self::MaxSame | Self::AverageSame | Self::AverageInside => (3, 1, 1, false),
            Self::MaxHalf | Self::Average => (2, 2, 0, false),
            Self::AverageCeil => (2, 2, 0, true),
        };
        Windows {
            size,
            stride,
            padding,
            ceil,
        }
    }

    /// Height or width of the output for that of the input, in pixels.
    pub fn output(self, size: usize) -> usize {
        let windows = self.windows();
        let beyond = if windows.ceil { windows.stride - 1 } else { 0 };
        let padded = size.saturating_add(2 * windows.padding + beyond + windows.stride);
        padded.saturating_sub(windows.size) / windows.stride
    }

    /// The pixels of window `index` along one axis.
    fn window(self, index: usize, size: usize) -> std::ops::Range<usize> {
        let windows = self.windows();
        let start = windows.stride * index;
        let end = (start + windows.size).saturating_sub(windows.padding);
        start.saturating_sub(windows.padding)..end.min(size)
    }

    /// Whether it takes the maximum; otherwise, the mean.
    pub fn is_max(self) -> bool {
        matches!(
            self,
            Self::MaxPad | Self::MaxCeil | Self::MaxValid | Self::MaxSame | Self::MaxHalf
        )
    }

    /// Whether the mean is over all pixels of a window, those outside of the map included.
    pub fn counts_padding(self) -> bool {
        matches!(self, Self::AveragePad | Self::AverageSame)
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
            let pixels = if self.pool.counts_padding() {
                self.pool.windows().size.pow(2)
            } else {
                self.rows.len() * columns.len()
            };
            let factor = simd.splat(1.0 / pixels as f32);
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
        let (size, stride, padding) = match pool {
            Pool::MaxPad | Pool::AveragePad => (3, 2, 1),
            Pool::MaxCeil | Pool::MaxValid => (3, 2, 0),
            Pool::MaxSame | Pool::AverageSame | Pool::AverageInside => (3, 1, 1),
            Pool::MaxHalf | Pool::Average | Pool::AverageCeil => (2, 2, 0),
        };
        let mut y = Vec::new();
        for index in 0..n * oh * ow * channels {
            let (pixel, channel) = (index / channels, index % channels);
            let (image, oy, ox) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
            let mut values = Vec::new();
            for tap in 0..size * size {
                let (iy, ix) = (oy * stride + tap / size, ox * stride + tap % size);
                if iy >= padding && ix >= padding && iy - padding < h && ix - padding < w {
                    let pixel = (image * h + iy - padding) * w + ix - padding;
                    values.push(x[pixel * channels + channel]);
                }
            }
            y.push(if pool.is_max() {
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            } else {
                let count = match pool {
                    Pool::AveragePad | Pool::AverageSame => 9,
                    _ => values.len(),
                };
                values.iter().sum::<f32>() / count as f32
            });
        }
        y
    }

    /// As PyTorch and Caffe count them.
    #[test]
    fn sizes() {
        for (pool, sizes) in [
            (Pool::MaxPad, [1, 1, 2, 2, 3, 56]),
            (Pool::MaxCeil, [0, 1, 1, 2, 2, 56]),
            (Pool::MaxValid, [0, 0, 1, 1, 2, 55]),
            (Pool::MaxSame, [1, 2, 3, 4, 5, 112]),
            (Pool::MaxHalf, [0, 1, 1, 2, 2, 56]),
            (Pool::Average, [0, 1, 1, 2, 2, 56]),
            (Pool::AverageCeil, [1, 1, 2, 2, 3, 56]),
            (Pool::AveragePad, [1, 1, 2, 2, 3, 56]),
            (Pool::AverageSame, [1, 2, 3, 4, 5, 112]),
            (Pool::AverageInside, [1, 2, 3, 4, 5, 112]),
        ] {
            let found = [1, 2, 3, 4, 5, 112].map(|size| pool.output(size));
            assert_eq!(found, sizes, "{pool:?}");
            assert_eq!(pool.output(0), 0, "{pool:?}");
        }
    }

    #[test]
    fn pools_match_windows_written_out() {
        for isa in Isa::available() {
            for shape in [[1, 2, 2, 1], [2, 5, 4, 19], [3, 7, 7, 64], [1, 9, 12, 33]] {
                // Negative values only, so that a padding of zero would show.
                let count = shape.iter().product::<usize>();
                let x: Vec<f32> = (0..count).map(|i| -1.0 - (i * 31 % 23) as f32).collect();
                for pool in Pool::ALL {
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
            for pool in Pool::ALL {
                for damaged in 0..4 {
                    let mut x = [1.0; 4];
                    x[damaged] = f32::NAN;
                    let mut y = vec![0.0; pool.output(2).pow(2)];
                    pool.run(isa, &x, [1, 2, 2, 1], &mut y);
                    assert!(y.iter().all(|y| y.is_nan()), "{pool:?}");
                }
            }
        }
    }
}
