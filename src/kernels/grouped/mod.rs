//! Grouped convolution of channels-last maps, for groups of few channels, depthwise included.
//!
//! A group of four or eight channels is too narrow for a matrix product. Here a vector holds output
//! channels of several groups, and its operand for input channel `j` of every group is a
//! permutation of the input channels of one pixel: in each lane the `j`-th channel of the lane's
//! group. Where all lanes are in one group, the operand is a single value in all lanes.

mod by_element;
mod operand;
#[cfg(test)]
mod tests;
mod tile;

use std::ops::Range;

use operand::Source;
use tile::{Sharing, Task};

use super::element::{Element, Word};
use super::elementwise::sum_rows;
use super::epilogue::{Epilogue, Placement};
use super::geometry::ConvGeometry;
use super::matrix::MatMut;
use super::partition::{Split, Tasks, Work, middle};
use super::simd::Isa;

/// A grouped convolution with packed weights.
#[derive(Debug)]
pub struct GroupedConv<W = f32> {
    isa: Isa,
    /// With words as inputs: a pair of channels counts as one.
    geometry: ConvGeometry,
    lanes: usize,
    layout: VectorLayout,
    /// `[vectors, kernel, inputs / groups, kernel, lanes]`: vertical taps before the inputs, horizontal
    /// ones after.
    weights: Vec<W>,
    /// `[vectors, lanes]`.
    bias: Vec<f32>,
    /// The inputs of a pixel outside the map.
    zeros: Vec<W>,
    /// One for each vector.
    sources: Vec<Source>,
    /// Whether vectors are computed two at a time: if both have the same operands and there are
    /// registers for their sums.
    pairs: bool,
    /// Whether tiles are those of [`by_element`].
    by_element: bool,
}

/// Which channels the vectors have.
#[derive(Clone, Copy, Debug)]
enum VectorLayout {
    /// One after the other, whatever their groups.
    Channels { lanes: usize },
    /// As many in each group as it takes: the last one of a group is full, too, and overlaps the one before it.
    Groups {
        vectors: usize,
        lanes: usize,
        outputs: usize,
    },
}

impl VectorLayout {
    /// Vectors of their own for groups that fill some, but not a whole number.
    fn new(geometry: &ConvGeometry, lanes: usize) -> Self {
        let outputs = geometry.group_outputs();
        if outputs > lanes && !outputs.is_multiple_of(lanes) {
            let vectors = outputs.div_ceil(lanes);
            Self::Groups {
                vectors,
                lanes,
                outputs,
            }
        } else {
            Self::Channels { lanes }
        }
    }

    /// Vectors of all groups.
    fn count(self, geometry: &ConvGeometry) -> usize {
        match self {
            Self::Channels { lanes } => geometry.outputs.div_ceil(lanes),
            Self::Groups { vectors, .. } => geometry.groups * vectors,
        }
    }

    /// The first channel of a vector.
    #[inline(always)]
    fn channel(self, vector: usize) -> usize {
        match self {
            Self::Channels { lanes } => vector * lanes,
            Self::Groups {
                vectors,
                lanes,
                outputs,
            } => vector / vectors * outputs + (vector % vectors * lanes).min(outputs - lanes),
        }
    }
}

/// Most bytes of a task's weights for each vector that it computes at a time: half of a usual L1
/// cache.
const NEAR: usize = 24 << 10;

/// Most vector operations of a task.
const TASK: usize = 1 << 16;

impl<W: Word> GroupedConv<W> {
    /// Packs `filters`, `[outputs, inputs / groups, kernel, kernel]`, and `bias`, `[outputs]`.
    ///
    /// # Panics
    /// If the geometry is not valid, a slice does not fit it, or a group's inputs are not whole words.
    pub fn new(isa: Isa, filters: &[f32], bias: &[f32], geometry: ConvGeometry) -> Self {
        // The map is read as words.
        const { assert!(size_of::<W>() == W::INPUTS * size_of::<W::Element>()) };
        assert!(geometry.is_valid());
        assert_eq!(filters.len(), geometry.outputs * geometry.depth());
        assert_eq!(bias.len(), geometry.outputs);
        assert!(geometry.group_inputs().is_multiple_of(W::INPUTS));
        let lanes = isa.lanes::<W::Element>();
        let rows = isa.rows::<W::Element>();
        let filter_len = geometry.depth();
        let geometry = ConvGeometry {
            inputs: geometry.inputs / W::INPUTS,
            ..geometry
        };
        let layout = VectorLayout::new(&geometry, lanes);
        let vectors = layout.count(&geometry);
        let (kernel_size, cin) = (geometry.kernel_size, geometry.group_inputs());
        let taps = kernel_size * kernel_size;

        let mut weights = vec![W::zeroed(); vectors * geometry.depth() * lanes];
        let mut word = vec![0.0; W::INPUTS];
        let mut padded = vec![0.0; vectors * lanes];
        let places = (0..vectors).flat_map(|vector| (0..lanes).map(move |lane| (vector, lane)));
        for (vector, lane) in places {
            let channel = layout.channel(vector) + lane;
            if channel >= geometry.outputs {
                continue;
            }
            padded[vector * lanes + lane] = bias[channel];
            let filter = &filters[channel * filter_len..][..filter_len];
            for (j, filter) in filter.chunks_exact(W::INPUTS * taps).enumerate() {
                for tap in 0..taps {
                    let weights_of_tap = filter.iter().skip(tap).step_by(taps);
                    word.iter_mut()
                        .zip(weights_of_tap)
                        .for_each(|(to, &weight)| *to = weight);
                    let (ky, kx) = (tap / kernel_size, tap % kernel_size);
                    let row = ((vector * kernel_size + ky) * cin + j) * kernel_size + kx;
                    weights[row * lanes + lane] = W::pack(&word);
                }
            }
        }
        let shares = Sharing::of(&geometry).0 != Sharing::None;
        // A vector then lies in one group.
        let by_element =
            isa.by_element::<W::Element>() && shares && geometry.group_outputs() >= lanes;
        let pairs = (rows >= 14 || by_element)
            && geometry.group_outputs().is_multiple_of(2 * lanes)
            && shares;
        Self {
            isa,
            geometry,
            lanes,
            layout,
            weights,
            bias: padded,
            zeros: vec![W::zeroed(); geometry.inputs],
            sources: (0..vectors)
                .map(|vector| Source::new(&geometry, layout.channel(vector), lanes))
                .collect(),
            pairs,
            by_element,
        }
    }

    /// Instruction set, element type and tile of most outputs.
    pub fn kernel(&self) -> String {
        let (rows, columns) = match (self.pairs, self.isa.rows::<W::Element>()) {
            _ if self.by_element => (by_element::MOST, (1 + usize::from(self.pairs)) * self.lanes),
            (true, _) => (7, 2 * self.lanes),
            (false, 14..) => (14, self.lanes),
            (false, _) if W::Element::NARROW => (4, self.lanes),
            (false, _) => (7, self.lanes),
        };
        let isa = self.isa.of::<W::Element>().name();
        format!("{isa} {} {rows}x{columns}", W::NAME)
    }

    /// `y = epilogue(conv(x) + bias)` for `x` of shape `[n, h, w, inputs]` and `y` of shape
    /// `[n, output(h), output(w), outputs]`.
    ///
    /// # Panics
    /// If a slice does not have the length of its shape.
    pub fn run(
        &self,
        x: &[W::Element],
        [n, h, w]: [usize; 3],
        y: &mut [W::Element],
        epilogue: Epilogue<'_>,
    ) {
        let geometry = &self.geometry;
        let (oh, ow) = (geometry.output(h), geometry.output(w));
        let x: &[W] = bytemuck::cast_slice(x);
        assert_eq!(x.len(), n * h * w * geometry.inputs);
        assert_eq!(y.len(), n * oh * ow * geometry.outputs);
        if y.is_empty() {
            return;
        }
        let call = Call {
            conv: self,
            x,
            height: h,
            width: w,
            zeros: [h, w].map(|size| geometry.zeros(size)[0]),
            output_height: oh,
            output_width: ow,
            placement: epilogue.activation.into(),
        };
        let work = Work {
            rows: 0..n * oh,
            columns: 0..self.sources.len(),
            y: MatMut::new(&mut *y, geometry.outputs),
            sums: None,
        };
        work.run(&call);
        if let Some(sums) = epilogue.sums {
            sum_rows(self.isa, y, geometry.outputs, sums);
        }
    }
}

/// One call of [`GroupedConv::run`].
#[derive(Clone, Copy)]
struct Call<'a, W> {
    conv: &'a GroupedConv<W>,
    x: &'a [W],
    height: usize,
    width: usize,
    /// Above the map and to its left.
    zeros: [usize; 2],
    output_height: usize,
    output_width: usize,
    placement: Placement,
}

/// Output rows, counted over all images, and vectors of channels. The results do not depend on the
/// split.
impl<W: Word> Tasks for Call<'_, W> {
    type Element = W::Element;

    fn split(&self, rows: &Range<usize>, vectors: &Range<usize>) -> Option<Split> {
        let depth = self.conv.geometry.depth();
        let unit = match self.conv.layout {
            VectorLayout::Groups { vectors, .. } => vectors,
            VectorLayout::Channels { .. } => 1 + usize::from(self.conv.pairs),
        };
        let weights = vectors.len() * depth * self.conv.lanes;
        if vectors.len() > unit && weights * size_of::<W>() > NEAR * unit {
            let half = (vectors.len() / 2).next_multiple_of(unit);
            Some(Split::Columns(vectors.start + half))
        } else {
            let operations = rows.len() * self.output_width * vectors.len() * depth;
            (rows.len() > 1 && operations > TASK).then(|| Split::Rows(middle(rows)))
        }
    }

    fn row(&self, row: usize) -> [usize; 2] {
        [row * self.output_width, 0]
    }

    fn column(&self, vector: usize) -> usize {
        self.conv.layout.channel(vector)
    }

    fn run(&self, task: Work<'_, W::Element>) {
        let Work {
            rows,
            columns: vectors,
            y,
            ..
        } = task;
        let depth = self.conv.geometry.depth();
        // Prefetching costs time, and only pairs have so many weights that it pays.
        let weights = |vector: usize| vector * depth * self.conv.lanes;
        let next = &self.conv.weights[weights(vectors.end)..];
        let next = if self.conv.pairs {
            &next[..next.len().min(weights(vectors.len()))]
        } else {
            &[]
        };
        self.conv.isa.run(Task {
            call: *self,
            y,
            rows,
            vectors,
            next,
        });
    }
}
