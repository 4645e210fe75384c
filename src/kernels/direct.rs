//! Convolution as a matrix product: each output pixel's window is a row of inputs. As in Dukhan,
//! "The Indirect Convolution Algorithm", arXiv:1907.02129, there is no im2col buffer of the whole
//! map, but windows are packed a group at a time.

use std::ops::Range;

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::gemm::{Packed, Rows, gemm};
use super::micro::{RowLayout, most_depth, packed_row};
use super::{ConvGeometry, Element, Isa, Kernel, Simd};

/// A dense convolution of any kernel, stride, padding and dilation on maps `[N, H, W, C]`.
#[derive(Debug)]
pub struct DirectConv<T: Element = f32> {
    geometry: ConvGeometry,
    packed: Packed<T::Word>,
}

/// Inputs of a row of taps, in whole steps: the weight of what is added is 0.
fn tap_row(geometry: &ConvGeometry, step: usize) -> usize {
    (geometry.kernel()[1] * geometry.inputs).next_multiple_of(step)
}

impl<T: Element> DirectConv<T> {
    /// From filters `[outputs, inputs, kernel height, kernel width]` and one bias per output.
    ///
    /// # Panics
    /// If the lengths do not fit the geometry, or it has groups.
    pub fn new(isa: Isa, filters: &[f32], bias: &[f32], geometry: ConvGeometry) -> Self {
        let ConvGeometry {
            inputs,
            outputs,
            groups,
            ..
        } = geometry;
        let [height, width] = geometry.kernel();
        let taps = height * width;
        assert_eq!(
            (groups, bias.len(), filters.len()),
            (1, outputs, outputs * inputs * taps)
        );
        // A window's inputs in the order in which they lie in the map: tap by tap.
        let tap_row = tap_row(&geometry, isa.step::<T::Word>());
        let packed = Packed::new(isa, height * tap_row, bias, |output, row| {
            let filter = &filters[output * inputs * taps..][..inputs * taps];
            if taps == 1 {
                return row[..inputs].copy_from_slice(filter);
            }
            let rows = row.chunks_exact_mut(tap_row);
            let rows = rows.flat_map(|row| row.chunks_exact_mut(inputs).take(width));
            for (tap, row) in rows.enumerate() {
                let weights = filter.iter().skip(tap).step_by(taps);
                row.iter_mut()
                    .zip(weights)
                    .for_each(|(to, &weight)| *to = weight);
            }
        });
        Self { geometry, packed }
    }

    /// Instruction set, element type and tile.
    pub fn kernel(&self) -> String {
        self.packed.kernel()
    }

    /// Whether its rows are the pixels of the map, whose channels can be scaled on the way.
    pub(super) fn is_pointwise(&self) -> bool {
        self.geometry.is_pointwise()
    }

    /// As [`DirectConv::run`], of the map times one factor for each channel of each image, `[N, inputs]`.
    ///
    /// # Panics
    /// If it is not pointwise, or the lengths do not fit.
    pub(super) fn run_scaled(
        &self,
        x: &[T],
        factors: &[f32],
        size: [usize; 3],
        y: &mut [T],
        epilogue: Epilogue<'_>,
    ) {
        let ConvGeometry {
            inputs, outputs, ..
        } = self.geometry;
        let [batch, height, width] = size;
        let pixels = height * width;
        assert!(self.is_pointwise());
        assert_eq!(factors.len(), batch * inputs);
        assert_eq!(x.len(), batch * pixels * inputs);
        assert_eq!(y.len(), batch * pixels * outputs);
        let rows = Scaled {
            x,
            factors,
            inputs,
            pixels,
        };
        gemm(&self.packed, &rows, y, epilogue);
    }

    /// `y[N, H', W', outputs] = epilogue(conv(x[N, H, W, inputs]) + bias)`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn run(
        &self,
        x: &[T],
        [batch, height, width]: [usize; 3],
        y: &mut [T],
        epilogue: Epilogue<'_>,
    ) {
        let ConvGeometry {
            inputs,
            outputs,
            kernel_size,
            stride,
            ..
        } = self.geometry;
        let output = self.geometry.output_size([height, width]);
        let [down, across] = self.geometry.axes();
        assert_eq!(x.len(), batch * height * width * inputs);
        assert_eq!(y.len(), batch * output[0] * output[1] * outputs);
        if kernel_size == 1 && stride == 1 && output == [height, width] {
            return gemm(&self.packed, &Pixels { x, inputs }, y, epilogue);
        }
        let windows = Windows {
            x,
            size: [height, width],
            output,
            zeros: [down.zeros(height)[0], across.zeros(width)[0]],
            geometry: self.geometry,
            step: self.packed.step(),
        };
        gemm(&self.packed, &windows, y, epilogue);
    }
}

/// The pixels of a map, which are the rows of a product in place.
pub(super) struct Pixels<'a, T> {
    pub x: &'a [T],
    pub inputs: usize,
}

impl<T: Element> Rows<T> for Pixels<'_, T> {
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        _: S,
        rows: Range<usize>,
        depth: Range<usize>,
        packed: &mut [T],
    ) -> RowLayout {
        let row_len = const { packed_row::<T>() };
        for (row, to) in rows.zip(packed.chunks_mut(row_len)) {
            let from = &self.x[row * self.inputs..][depth.start..depth.end.min(self.inputs)];
            to[..from.len()].copy_from_slice(from);
            to[from.len()..depth.len()].fill(T::zeroed());
        }
        RowLayout::plain(depth.len(), row_len)
    }

    fn in_place(&self) -> Option<(&[T], usize)> {
        Some((self.x, self.inputs))
    }
}

/// The pixels of a map whose channels have a factor each: scaled while they are packed.
struct Scaled<'a, T> {
    x: &'a [T],
    factors: &'a [f32],
    inputs: usize,
    /// Of an image.
    pixels: usize,
}

impl<T: Element> Rows<T> for Scaled<'_, T> {
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        depth: Range<usize>,
        packed: &mut [T],
    ) -> RowLayout {
        let row_len = const { packed_row::<T>() };
        let inputs = depth.start..depth.end.min(self.inputs);
        for (row, to) in rows.zip(packed.chunks_mut(row_len)) {
            let from = &self.x[row * self.inputs..][inputs.clone()];
            let factors = &self.factors[row / self.pixels * self.inputs..][inputs.clone()];
            let mut at = 0;
            while at + S::LANES <= from.len() {
                let scaled = simd.mul(simd.load(&from[at..]), simd.load(&factors[at..]));
                simd.store(scaled, &mut to[at..]);
                at += S::LANES;
            }
            for at in at..from.len() {
                to[at] = T::from_f32(from[at].to_f32() * factors[at]);
            }
            to[from.len()..depth.len()].fill(T::zeroed());
        }
        RowLayout::plain(depth.len(), row_len)
    }
}

/// The window of every output pixel, with zeros outside of the map.
struct Windows<'a, T> {
    x: &'a [T],
    size: [usize; 2],
    output: [usize; 2],
    /// Above the map and to its left.
    zeros: [usize; 2],
    geometry: ConvGeometry,
    /// Inputs that are multiplied at a time.
    step: usize,
}

impl<T: Element> Windows<'_, T> {
    /// Index of the first channel of a pixel.
    fn offset(&self, image: usize, top: usize, left: usize) -> usize {
        ((image * self.size[0] + top) * self.size[1] + left) * self.geometry.inputs
    }

    /// The layout of so many neighbouring windows if the map's rows that they reach are packed once
    /// for all: a window's rows of taps are runs, and windows overlap. Only if a window's whole
    /// depth is packed at once.
    fn overlapping(&self, neighbours: usize) -> Option<RowLayout> {
        let ConvGeometry {
            inputs,
            kernel_size,
            stride,
            dilation,
            ..
        } = self.geometry;
        let [kernel_height, kernel_width] = self.geometry.kernel();
        let width = (neighbours - 1) * stride + kernel_width;
        let depth = kernel_height * tap_row(&self.geometry, self.step);
        (kernel_size > 1 && dilation == 1 && depth <= most_depth::<T>()).then_some(RowLayout {
            stride: stride * inputs,
            runs: kernel_height,
            run: kernel_width * inputs,
            run_stride: width * inputs,
        })
    }

    /// The rows of the map that the windows of a row of the output reach, from pixel `first` of the
    /// output on, zeros around the map.
    #[inline(always)]
    fn pack_overlapping(&self, first: usize, layout: RowLayout, packed: &mut [T]) {
        let ConvGeometry { inputs, stride, .. } = self.geometry;
        let ([height, width], [above, before]) = (self.size, self.zeros);
        let (row, column) = (first / self.output[1], first % self.output[1]);
        let (image, top) = (row / self.output[0], row % self.output[0] * stride);
        let left = column * stride;
        let pixels = layout.run_stride / inputs;
        // Pixels of a run before the map, and one past those on it.
        let start = before.saturating_sub(left).min(pixels);
        let end = (width + before).saturating_sub(left).clamp(start, pixels);
        let runs = packed.chunks_exact_mut(layout.run_stride).take(layout.runs);
        for (tap, run) in runs.enumerate() {
            let y = (top + tap).checked_sub(above).filter(|&y| y < height);
            let Some(y) = y.filter(|_| start < end) else {
                run.fill(T::zeroed());
                continue;
            };
            let from = self.offset(image, y, left + start - before);
            run[..start * inputs].fill(T::zeroed());
            run[start * inputs..end * inputs]
                .copy_from_slice(&self.x[from..][..(end - start) * inputs]);
            run[end * inputs..].fill(T::zeroed());
        }
        // The last step of the last run may reach beyond it.
        let end = layout.runs * layout.run_stride;
        let beyond = layout.run.next_multiple_of(self.step) - layout.run;
        packed[end..][..beyond].fill(T::zeroed());
    }
}

impl<T: Element> Rows<T> for Windows<'_, T> {
    fn segment(&self) -> Option<usize> {
        self.overlapping(1).map(|_| self.output[1])
    }

    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        _: S,
        rows: Range<usize>,
        depth: Range<usize>,
        packed: &mut [T],
    ) -> RowLayout {
        let layout = self.overlapping(rows.len()).filter(|layout| {
            rows.start / self.output[1] == (rows.end - 1) / self.output[1]
                && layout.reach(rows.len(), self.step) <= packed.len()
        });
        if let Some(layout) = layout {
            self.pack_overlapping(rows.start, layout, packed);
            return layout;
        }
        let ConvGeometry {
            inputs,
            stride,
            dilation,
            ..
        } = self.geometry;
        let kernel_width = self.geometry.kernel()[1];
        let ([height, width], [above, before]) = (self.size, self.zeros);
        let row_len = const { packed_row::<T>() };
        let tap_row = tap_row(&self.geometry, self.step);
        let added = tap_row - kernel_width * inputs;
        for (row, to) in rows.zip(packed.chunks_mut(row_len)) {
            let (pixel, image) = (
                row % (self.output[0] * self.output[1]),
                row / (self.output[0] * self.output[1]),
            );
            let (top, left) = (
                pixel / self.output[1] * stride,
                pixel % self.output[1] * stride,
            );
            // What is added to a row of taps is shorter than a step, so that no chunk starts in it.
            let (mut tap_y, within) = (depth.start / tap_row, depth.start % tap_row);
            let (mut tap_x, mut channel) = (within / inputs, within % inputs);
            let mut at = 0;
            while at < depth.len() {
                let (y, x) = (top + tap_y * dilation, left + tap_x * dilation);
                let inside = y >= above && y < height + above && x >= before && x < width + before;
                // Without dilation the taps of a filter's row are neighbours in the map, too.
                let taps = if dilation == 1 && inside {
                    (kernel_width - tap_x).min(width + before - x)
                } else {
                    1
                };
                let run = (taps * inputs - channel).min(depth.len() - at);
                if inside {
                    let from = self.offset(image, y - above, x - before) + channel;
                    copy_run(&self.x[from..], &mut to[at..], run);
                } else {
                    to[at..at + run].fill(T::zeroed());
                }
                at += run;
                channel = 0;
                tap_x += taps;
                if tap_x == kernel_width {
                    (tap_y, tap_x) = (tap_y + 1, 0);
                    if added > 0 && at < depth.len() {
                        to[at..at + added].fill(T::zeroed());
                        at += added;
                    }
                }
            }
        }
        RowLayout::plain(depth.len(), row_len)
    }
}

/// Copies the first `len` values, and where that is faster some of those after them.
#[inline(always)]
fn copy_run<T: Copy>(from: &[T], to: &mut [T], len: usize) {
    const STEP: usize = 8;
    // The runs of a stem's windows are so short that a call of `memcpy` would cost more.
    const SHORT: usize = 8 * STEP;
    let whole = len.next_multiple_of(STEP);
    if len <= SHORT && whole <= from.len() && whole <= to.len() {
        let (from, to) = (from[..whole].as_chunks().0, to[..whole].as_chunks_mut().0);
        for (to, from) in to.iter_mut().zip(from) {
            let values: &[T; STEP] = from;
            *to = *values;
        }
    } else {
        to[..len].copy_from_slice(&from[..len]);
    }
}

/// `[N, C, H, W]` in f32 to `[N, H, W, C]`.
pub fn to_channels_last<T: Element>(x: &[f32], [channels, plane]: [usize; 2], y: &mut [T]) {
    // Pixels per task.
    const TASK: usize = 1 << 12;
    assert_eq!(x.len(), y.len());
    let size = (channels * plane).max(1);
    let images = y.par_chunks_exact_mut(size).zip(x.par_chunks_exact(size));
    images.for_each(|(y, x)| {
        y.par_chunks_mut(TASK * channels)
            .enumerate()
            .for_each(|(task, y)| {
                for (channel, x) in x.chunks_exact(plane).enumerate() {
                    let to = y.iter_mut().skip(channel).step_by(channels);
                    to.zip(&x[task * TASK..])
                        .for_each(|(to, &from)| *to = T::from_f32(from));
                }
            });
    });
}

/// Rounds values in f32.
pub fn convert<T: Element>(isa: Isa, x: &[f32], y: &mut [T]) {
    // Values per task.
    const TASK: usize = 1 << 14;
    assert_eq!(x.len(), y.len());
    let tasks = y.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
    tasks.for_each(|(y, x)| isa.run(Convert { x, y }));
}

struct Convert<'a, T> {
    x: &'a [f32],
    y: &'a mut [T],
}

impl<T: Element> Kernel for Convert<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (y, x) in self.y.chunks_mut(S::LANES).zip(self.x.chunks(S::LANES)) {
            simd.store_some(simd.load_some(x), y);
        }
    }
}
