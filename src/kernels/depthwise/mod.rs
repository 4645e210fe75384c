//! Depthwise convolution of channels-last maps: each channel by itself.
//!
//! A vector holds consecutive channels of one pixel. For one vector of channels after the other, rows
//! of the map are copied into a ring of as many rows as the kernel reaches, with zeros around them: what
//! the taps read is contiguous, in f32 and in L1, wherever the map's channels lie. A row of sums is
//! then activated, summed and stored while it is there.

mod expansion;
mod rows;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ops::Range;

use expansion::Expansion;
use rows::Task;

use super::Activation;
use super::aligned::Aligned;
use super::element::Element;
use super::epilogue::{Epilogue, RowSums};
use super::geometry::ConvGeometry;
use super::matrix::MatMut;
use super::partition::{Groups, Split, Tasks, Work, middle, shares};
use super::scratch::with_scratch;
use super::simd::Isa;
use crate::machine;

/// Fewest channels: those of the narrowest vector.
const FEWEST_CHANNELS: usize = 4;

/// Most pixels of a group of rows, whose sums are added up by themselves, if it has several rows.
const GROUP_PIXELS: usize = 64;

/// Bytes of a map that stay in L2 next to what is made of them, of each KiB there.
const NEAR: usize = 400;

/// Tasks for each share, and fewest vector operations of a task.
const TASKS: usize = 2;
const TASK: usize = 1 << 13;

/// A depthwise convolution with packed weights.
#[derive(Debug)]
pub struct DepthwiseConv<T: Element = f32> {
    /// With vectors of no more values than there are channels.
    isa: Isa,
    geometry: ConvGeometry,
    lanes: usize,
    /// `[vectors, kernel, kernel, lanes]`, in f32: there is nothing to gain from a narrower type.
    weights: Aligned,
    /// `[vectors, lanes]`.
    bias: Aligned,
    /// What makes the map, row by row; `None` where it is there.
    expansion: Option<Expansion>,
    element: PhantomData<T>,
}

impl<T: Element> DepthwiseConv<T> {
    /// Whether every channel is a group, there are enough for a vector, and the kernel is no larger than 11x11.
    pub fn supports(geometry: &ConvGeometry) -> bool {
        let ConvGeometry {
            inputs,
            outputs,
            groups,
            ..
        } = *geometry;
        let is_depthwise = groups == inputs && groups == outputs;
        is_depthwise && groups >= FEWEST_CHANNELS && geometry.depth() <= rows::MOST_TAPS
    }

    /// Packs `filters`, `[channels, 1, kernel, kernel]`, and `bias`, `[channels]`.
    ///
    /// # Panics
    /// If the geometry is not supported or a slice does not fit it.
    pub fn new(isa: Isa, filters: &[f32], bias: &[f32], geometry: ConvGeometry) -> Self {
        assert!(geometry.is_valid() && Self::supports(&geometry));
        let (channels, taps) = (geometry.outputs, geometry.depth());
        assert_eq!((bias.len(), filters.len()), (channels, channels * taps));
        let isa = narrowed::<T>(isa, channels);
        let lanes = isa.lanes::<T>();
        Self {
            isa,
            geometry,
            lanes,
            weights: per_vector(filters, taps, lanes),
            bias: per_vector(bias, 1, lanes),
            expansion: None,
            element: PhantomData,
        }
    }

    /// The same convolution of what a 1x1 convolution with bias and activation makes of a map: of its filters,
    /// `[channels, inputs]`, and its `bias`, `[channels]`.
    ///
    /// # Panics
    /// If the slices do not fit, there are more than 512 inputs, or the type is not f32.
    #[must_use]
    pub fn expanding(self, filters: &[f32], bias: &[f32], activation: Option<Activation>) -> Self {
        let channels = self.geometry.outputs;
        assert!(!T::NARROW && bias.len() == channels && filters.len().is_multiple_of(channels));
        assert!((1..=Expansion::MOST_INPUTS).contains(&(filters.len() / channels)));
        let expansion = Expansion::new(self.lanes, filters, bias, activation);
        Self {
            expansion: Some(expansion),
            ..self
        }
    }

    /// Channels of the map that it takes.
    pub fn inputs(&self) -> usize {
        let expansion = self.expansion.as_ref();
        expansion.map_or(self.geometry.inputs, |expansion| expansion.inputs)
    }

    /// Instruction set, element type and most outputs that are computed at a time.
    pub fn kernel(&self) -> String {
        let isa = self.isa.of::<T>().name();
        let outputs = if self.geometry.stride <= 2 {
            rows::MOST_OUTPUTS
        } else {
            1
        };
        let first = match &self.expansion {
            Some(_) => "with 1x1, ",
            None => "",
        };
        format!("{first}{isa} {} {outputs}x{}", T::NAME, self.lanes)
    }

    /// `y[N, H', W', channels] = epilogue(conv(x[N, H, W, inputs]) + bias)`.
    ///
    /// # Panics
    /// If a slice does not fit.
    pub fn run(&self, x: &[T], [n, h, w]: [usize; 3], y: &mut [T], epilogue: Epilogue<'_>) {
        let geometry = &self.geometry;
        let channels = geometry.outputs;
        let (oh, ow) = (geometry.output(h), geometry.output(w));
        assert_eq!(x.len(), n * h * w * self.inputs());
        assert_eq!(y.len(), n * oh * ow * channels);
        if y.is_empty() {
            return;
        }
        // Of the image alone, so that sums depend neither on the batch nor on the threads.
        let groups = Groups::new(oh, 1, (GROUP_PIXELS / ow).max(1));
        let operations = y.len() / self.lanes * geometry.depth();
        let call = Call {
            conv: self,
            x,
            size: [h, w],
            output: [oh, ow],
            zeros: [h, w].map(|size| geometry.zeros(size)[0]),
            activation: epilogue.activation,
            groups,
            task: (operations / (TASKS * shares())).max(TASK),
        };
        let work = |y, sums| Work {
            rows: 0..n * groups.count,
            columns: 0..channels.div_ceil(self.lanes),
            y,
            sums,
        };
        let y = MatMut::new(y, channels);
        let Some(RowSums { segment, sums }) = epilogue.sums else {
            return work(y, None).run(&call);
        };
        assert_eq!((segment, sums.len()), (oh * ow, n * channels));
        if groups.count == 1 {
            return work(y, Some(MatMut::new(sums, channels))).run(&call);
        }
        let mut partial = vec![0.0; sums.len() * groups.count];
        work(y, Some(MatMut::new(&mut partial, channels))).run(&call);
        let partial = partial.chunks_exact(groups.count * channels);
        for (sums, partial) in sums.chunks_exact_mut(channels).zip(partial) {
            sums.fill(0.0);
            for partial in partial.chunks_exact(channels) {
                sums.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
            }
        }
    }
}

/// The widest instruction set up to `isa` whose vectors so many channels fill.
fn narrowed<T: Element>(isa: Isa, channels: usize) -> Isa {
    let fits = |isa: &Isa| isa.lanes::<T>() <= channels;
    if fits(&isa) {
        return isa;
    }
    Isa::available().rfind(fits).unwrap_or(isa)
}

/// Filters of `taps` weights as `[vectors, taps, lanes]`.
fn per_vector(filters: &[f32], taps: usize, lanes: usize) -> Aligned {
    let channels = filters.len() / taps;
    let vectors = channels.div_ceil(lanes);
    let mut weights = Aligned::zeros(vectors * taps * lanes);
    for (vector, packed) in weights.chunks_exact_mut(taps * lanes).enumerate() {
        let first = first_channel(vector, lanes, channels);
        let filters = filters[first * taps..].chunks_exact(taps).take(lanes);
        for (lane, filter) in filters.enumerate() {
            let weights = packed.iter_mut().skip(lane).step_by(lanes);
            weights.zip(filter).for_each(|(to, &weight)| *to = weight);
        }
    }
    weights
}

/// The first channel of a vector. The last vector is full, too: it may overlap the one before it.
fn first_channel(vector: usize, lanes: usize, channels: usize) -> usize {
    (vector * lanes).min(channels - lanes)
}

/// One call of [`DepthwiseConv::run`].
struct Call<'a, T: Element> {
    conv: &'a DepthwiseConv<T>,
    x: &'a [T],
    /// Height and width of the map, and of the output.
    size: [usize; 2],
    output: [usize; 2],
    /// Above the map and to its left.
    zeros: [usize; 2],
    activation: Option<Activation>,
    /// Of the rows of an image of the output.
    groups: Groups,
    /// Vector operations of a task.
    task: usize,
}

impl<T: Element> Call<'_, T> {
    /// The image of a group, and its rows of the output.
    fn rows(&self, group: usize) -> (usize, Range<usize>) {
        let (image, group) = (group / self.groups.count, group % self.groups.count);
        (
            image,
            self.groups.start(group)..self.groups.start(group + 1),
        )
    }
}

/// Groups of rows of the output, counted over all images, and vectors of channels.
impl<T: Element> Tasks for Call<'_, T> {
    type Element = T;

    fn split(&self, groups: &Range<usize>, vectors: &Range<usize>) -> Option<Split> {
        let geometry = &self.conv.geometry;
        let rows = groups.len() * self.output[0] / self.groups.count;
        let operations = rows * self.output[1] * vectors.len() * geometry.depth();
        if operations <= self.task {
            return None;
        }
        // A task of some rows copies those that it shares with its neighbours, too.
        let has_many_rows = rows * geometry.stride >= 8 * geometry.kernel_size;
        // A vector that overlaps the one before it stays with it.
        let at = middle(vectors);
        let overlap = !geometry.outputs.is_multiple_of(self.conv.lanes);
        let last = vectors.end.saturating_sub(1 + usize::from(overlap));
        if groups.len() > 1 && (has_many_rows || at > last || vectors.len() < 2) {
            Some(Split::Rows(middle(groups)))
        } else {
            (vectors.len() > 1 && at <= last).then_some(Split::Columns(at))
        }
    }

    fn row(&self, group: usize) -> [usize; 2] {
        let (image, rows) = self.rows(group);
        [
            (image * self.output[0] + rows.start) * self.output[1],
            group,
        ]
    }

    fn column(&self, vector: usize) -> usize {
        vector * self.conv.lanes
    }

    fn run(&self, task: Work<'_, T>) {
        let ring = self.ring_rows() * self.ring_row();
        let row = self.output[1] * self.conv.lanes;
        // Outside of the kernel, because a closure inside it would not be compiled for the instruction set.
        with_scratch(ring + row, |scratch| {
            let (ring, row) = scratch.split_at_mut(ring);
            self.conv.isa.run(Task {
                call: self,
                work: task,
                ring,
                row,
            });
        });
    }
}

impl<T: Element> Call<'_, T> {
    /// Rows of the map from the first to the last one under the kernel.
    fn ring_rows(&self) -> usize {
        let geometry = &self.conv.geometry;
        geometry.dilation * (geometry.kernel_size - 1) + 1
    }

    /// Groups of rows whose part of the map stays in L2 while all vectors of channels are computed, one after
    /// the other: of so many, as each band copies rows of its neighbours, too.
    fn band(&self, groups: usize) -> usize {
        let geometry = &self.conv.geometry;
        let row = geometry.stride * self.size[1] * self.conv.inputs() * size_of::<T>();
        let group = row * self.output[0] / self.groups.count;
        let near = machine::l2() / 1024 * NEAR;
        let bands = (groups * group).div_ceil(near).min(groups);
        groups.div_ceil(bands.max(1))
    }

    /// Values of a row of the ring: as many pixels as a row of the output reaches.
    fn ring_row(&self) -> usize {
        let geometry = &self.conv.geometry;
        ((self.output[1] - 1) * geometry.stride + self.ring_rows()) * self.conv.lanes
    }
}
