//! Grouped convolution of channels-last maps, for groups of few channels, depthwise included.
//!
//! A group of four or eight channels is too thin for a matrix product. Here a vector holds as many
//! output channels as it has lanes, across several groups, and its operand for input channel `j` of
//! every group is a permutation of the input channels of one pixel: lane by lane the `j`-th channel
//! of the lane's group. Where all lanes are in one group the operand is a single value.

mod block;
#[cfg(test)]
mod tests;

use std::ops::Range;

use block::Leaf;

use super::activation::Activation;
use super::geometry::ConvGeometry;
use super::matrix::MatMut;
use super::simd::{Isa, Kernel, MAX_LANES, Simd};

/// Where a vector of output channels finds its operands in the channels of an input pixel.
#[derive(Debug)]
enum Source {
    /// All lanes in one group, whose first channel this is.
    Splat(usize),
    /// For each input of a group where to load and how to order the lanes.
    Permute(Vec<(usize, [u8; MAX_LANES])>),
    /// As `Permute`, where every four lanes take from four channels in the same place.
    Near(Vec<(usize, [u8; MAX_LANES])>),
    /// As `Near`, where all lanes take from the same four channels.
    Same(Vec<(usize, [u8; MAX_LANES])>),
    /// For each input of a group the channel of every lane.
    Scattered(Vec<Vec<usize>>),
}

impl Source {
    /// For the output channels from `first` on.
    fn new(geometry: &ConvGeometry, first: usize, lanes: usize) -> Self {
        let (cin, cout) = (geometry.group_inputs(), geometry.group_outputs());
        let last = geometry.outputs.min(first + lanes) - 1;
        let groups = first / cout..=last / cout;
        if groups.start() == groups.end() {
            return Self::Splat(groups.start() * cin);
        }
        // Lanes past the last channel have zero weights; any channel in reach will do.
        let channels =
            |j: usize| (0..lanes).map(move |lane| (first + lane).min(last) / cout * cin + j);
        let start = groups.start() * cin;
        let orders = |from: &dyn Fn(usize) -> usize| {
            let order = |j: usize| {
                let mut order = [0; MAX_LANES];
                for (lane, (to, channel)) in order.iter_mut().zip(channels(j)).enumerate() {
                    *to = (channel.checked_sub(start + from(lane))?)
                        .try_into()
                        .ok()
                        .filter(|&place: &u8| place < 4)?;
                }
                Some((start, order))
            };
            (0..cin).map(order).collect::<Option<Vec<_>>>()
        };
        if start + 4 <= geometry.inputs
            && let Some(inputs) = orders(&|_| 0)
        {
            return Self::Same(inputs);
        }
        if start + lanes <= geometry.inputs
            && let Some(inputs) = orders(&|lane| lane / 4 * 4)
        {
            return Self::Near(inputs);
        }
        let reach = (groups.end() - groups.start()) * cin;
        if reach < lanes && lanes <= geometry.inputs {
            let permutation = |j: usize| {
                // A load that starts where one of a pixel's vectors does crosses no line of the cache.
                let aligned = start / lanes * lanes;
                let end = aligned + lanes;
                let base = if start + j + reach < end && end <= geometry.inputs {
                    aligned
                } else {
                    // It must end where the channels end.
                    (start + j).min(geometry.inputs - lanes)
                };
                let mut order = [0; MAX_LANES];
                for (lane, channel) in order.iter_mut().zip(channels(j)) {
                    *lane = (channel - base) as u8;
                }
                (base, order)
            };
            Self::Permute((0..cin).map(permutation).collect())
        } else {
            Self::Scattered((0..cin).map(|j| channels(j).collect()).collect())
        }
    }
}

/// A grouped convolution with its weights in the order in which the kernel reads them.
#[derive(Debug)]
pub struct GroupedConv {
    isa: Isa,
    geometry: ConvGeometry,
    lanes: usize,
    /// `[vectors, kernel, inputs / groups, kernel, lanes]`: vertical taps before the input
    /// channels, horizontal ones after.
    weights: Vec<f32>,
    /// `[vectors, lanes]`.
    bias: Vec<f32>,
    /// The channels of a pixel outside the map.
    zeros: Vec<f32>,
    /// One for each vector.
    sources: Vec<Source>,
}

/// Lanes of an instruction set, or of the one that runs in its place.
struct Lanes;

impl Kernel for Lanes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

/// Values of weights that a task keeps near: half of a usual first-level cache.
const NEAR: usize = 6 << 10;

/// Vector operations that are worth a task of their own.
const TASK: usize = 1 << 16;

impl GroupedConv {
    /// Packs `filters`, `[outputs, inputs / groups, kernel, kernel]`, and `bias`, `[outputs]`.
    ///
    /// # Panics
    /// If the geometry is not valid or a slice does not fit it.
    pub fn new(isa: Isa, filters: &[f32], bias: &[f32], geometry: ConvGeometry) -> Self {
        assert!(geometry.is_valid());
        assert_eq!(filters.len(), geometry.outputs * geometry.depth());
        assert_eq!(bias.len(), geometry.outputs);
        let lanes = isa.run(Lanes);
        let vectors = geometry.outputs.div_ceil(lanes);
        let (kernel, cin) = (geometry.kernel, geometry.group_inputs());

        let mut weights = vec![0.0; vectors * geometry.depth() * lanes];
        for (channel, filter) in filters.chunks_exact(geometry.depth()).enumerate() {
            let (vector, lane) = (channel / lanes, channel % lanes);
            for (tap, &weight) in filter.iter().enumerate() {
                let (j, ky, kx) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
                let row = ((vector * kernel + ky) * cin + j) * kernel + kx;
                weights[row * lanes + lane] = weight;
            }
        }
        let mut padded = bias.to_vec();
        padded.resize(vectors * lanes, 0.0);
        Self {
            isa,
            geometry,
            lanes,
            weights,
            bias: padded,
            zeros: vec![0.0; geometry.inputs],
            sources: (0..vectors)
                .map(|vector| Source::new(&geometry, vector * lanes, lanes))
                .collect(),
        }
    }

    /// `y = activation(conv(x) + bias)` for `x` of shape `[n, h, w, inputs]` and `y` of shape
    /// `[n, output(h), output(w), outputs]`.
    ///
    /// # Panics
    /// If a slice does not have the length of its shape.
    pub fn run(
        &self,
        x: &[f32],
        [n, h, w]: [usize; 3],
        y: &mut [f32],
        activation: Option<Activation>,
    ) {
        let geometry = &self.geometry;
        let (oh, ow) = (geometry.output(h), geometry.output(w));
        assert_eq!(x.len(), n * h * w * geometry.inputs);
        assert_eq!(y.len(), n * oh * ow * geometry.outputs);
        if y.is_empty() {
            return;
        }
        let pass = Pass {
            conv: self,
            x,
            height: h,
            width: w,
            output_height: oh,
            output_width: ow,
            activation,
        };
        let y = MatMut::new(y, geometry.outputs);
        pass.split(y, 0..n * oh, 0..self.sources.len());
    }
}

/// One call of [`GroupedConv::run`].
#[derive(Clone, Copy)]
struct Pass<'a> {
    conv: &'a GroupedConv,
    x: &'a [f32],
    height: usize,
    width: usize,
    output_height: usize,
    output_width: usize,
    activation: Option<Activation>,
}

impl Pass<'_> {
    /// Computes output rows (of all pictures, counted on) and vectors of channels, which make up
    /// `y`. Every value is the same sum whatever the split.
    fn split(self, y: MatMut<'_>, rows: Range<usize>, vectors: Range<usize>) {
        let depth = self.conv.geometry.depth();
        if vectors.len() > 1 && vectors.len() * depth * self.conv.lanes > NEAR {
            let middle = vectors.start + vectors.len() / 2;
            let (left, right) = y.split_columns((middle - vectors.start) * self.conv.lanes);
            rayon::join(
                || self.split(left, rows.clone(), vectors.start..middle),
                || self.split(right, rows.clone(), middle..vectors.end),
            );
        } else if rows.len() > 1 && rows.len() * self.output_width * vectors.len() * depth > TASK {
            let middle = rows.start + rows.len() / 2;
            let (top, bottom) = y.split_rows((middle - rows.start) * self.output_width);
            rayon::join(
                || self.split(top, rows.start..middle, vectors.clone()),
                || self.split(bottom, middle..rows.end, vectors.clone()),
            );
        } else {
            self.conv.isa.run(Leaf {
                pass: self,
                y,
                rows,
                vectors,
            });
        }
    }
}
