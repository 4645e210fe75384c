//! Matrix product with weights that are packed once: `[rows, depth] x [depth, outputs]`.
//!
//! A group of rows is packed, some hundred inputs at a time, and stays in L2 while all panels of
//! weights are multiplied with it; short rows are read in place. Where the rows come from is up to
//! the caller: pixels of a map, windows of a convolution (im2col, a group at a time), inputs of a
//! linear layer.

use std::ops::Range;

use super::aligned::Aligned;
use super::element::{Word, most_step};
use super::elementwise::sum_rows;
use super::epilogue::{ActivateRows, Epilogue, Placement, RowSums};
use super::micro::{PanelProduct, RowLayout, most_depth, multiply, packed_row};
use super::partition::{Groups, Size, Split, TaskGrid, Tasks, Work, middle, shares};
use super::scratch::with_scratch;
use super::{Element, Isa, Kernel, MatMut, Simd};

/// Tiles of rows that are packed at a time.
const TILES: usize = 8;

/// Most bytes of rows that are read in place. Longer rows would compete for the same few sets of
/// L1, as the numbers of channels are powers of two.
const MOST_IN_PLACE: usize = 2048;

/// Values between unpacked rows of weights, so that those of a panel do not fall into the same few
/// cache sets.
const SPREAD: usize = 16;

/// Weights in the order in which the micro-kernel reads them: chunks of inputs, within them panels
/// of up to [`Isa::vectors`] vectors of outputs, within them step by step: the words of each output.
/// Missing outputs are 0.
#[derive(Debug)]
pub(super) struct Packed<W = f32> {
    isa: Isa,
    /// Inputs that are multiplied at a time.
    step: usize,
    depth: usize,
    outputs: usize,
    lanes: usize,
    width: usize,
    words: Aligned<W>,
    /// One per output, padded to whole panels or, in the last one, to a whole vector.
    bias: Vec<f32>,
}

impl<W: Word> Packed<W> {
    /// From one bias per output and the weights: `row(output, weights)` writes those of an output
    /// in the order of the inputs, as far as they are not 0.
    ///
    /// # Panics
    /// If the inputs are not a whole number of steps: [`Isa::step`].
    pub(super) fn new(
        isa: Isa,
        depth: usize,
        bias: &[f32],
        row: impl Fn(usize, &mut [f32]),
    ) -> Self {
        let mut packed = Self::zeros(isa, depth, bias);
        let stride = depth + SPREAD;
        let mut rows = vec![0.0; packed.width * stride];
        for panel in 0..packed.panels() {
            let first = panel * packed.width;
            let columns = packed.width.min(packed.outputs - first);
            for (column, inputs) in rows.chunks_exact_mut(stride).take(columns).enumerate() {
                row(first + column, &mut inputs[..depth]);
            }
            packed.fill(panel, &rows, stride);
        }
        packed
    }

    /// With all weights 0, to be filled panel by panel. The last panel has no more vectors than its outputs fill.
    pub(super) fn zeros(isa: Isa, depth: usize, bias: &[f32]) -> Self {
        let step = isa.step::<W>();
        assert!(depth.is_multiple_of(step));
        let lanes = isa.lanes::<W::Element>();
        let outputs = bias.len();
        let vectors = outputs
            .div_ceil(lanes)
            .clamp(1, isa.vectors::<W::Element>());
        let width = vectors * lanes;
        let mut padded = bias.to_vec();
        padded.resize(outputs.next_multiple_of(lanes), 0.0);
        Self {
            isa,
            step,
            depth,
            outputs,
            lanes,
            width,
            words: Aligned::zeros(padded.len() * (depth / W::INPUTS)),
            bias: padded,
        }
    }

    /// Packs a panel from the weights of its outputs, `stride` values apart.
    fn fill(&mut self, panel: usize, rows: &[f32], stride: usize) {
        let width = self.width;
        let columns = width.min(self.outputs - panel * width);
        for inputs in depth_chunks::<W>(self.depth) {
            let rows = &rows[inputs.start..columns * stride];
            let (step, panel_width) = (self.step, self.panel_width(panel));
            let words = step / W::INPUTS;
            let steps = self
                .panel_mut(&inputs, panel)
                .chunks_exact_mut(panel_width * words);
            for (at, outputs) in steps.enumerate() {
                for (column, to) in outputs.chunks_exact_mut(words).take(columns).enumerate() {
                    for (word, to) in to.iter_mut().enumerate() {
                        *to = W::pack(&rows[column * stride + at * step + word * W::INPUTS..]);
                    }
                }
            }
        }
    }

    /// Instruction set, element type and tile of the micro-kernel that reads the weights.
    pub(super) fn kernel(&self) -> String {
        let rows = self.isa.rows::<W::Element>();
        let isa = self.isa.of::<W::Element>().name();
        format!("{isa} {} {rows}x{}", W::NAME, self.width)
    }

    /// Inputs that are multiplied at a time.
    pub(super) fn step(&self) -> usize {
        self.step
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn panels(&self) -> usize {
        self.bias.len().div_ceil(self.width)
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The vectors of a panel.
    #[inline(always)]
    pub(super) fn vectors(&self, panel: usize) -> usize {
        self.panel_width(panel) / self.lanes
    }

    /// The weights of a panel for a chunk of inputs.
    pub(super) fn panel(&self, inputs: &Range<usize>, panel: usize) -> &[W] {
        &self.words[self.place(inputs, panel)]
    }

    /// As [`Packed::panel`].
    pub(super) fn panel_mut(&mut self, inputs: &Range<usize>, panel: usize) -> &mut [W] {
        let place = self.place(inputs, panel);
        &mut self.words[place]
    }

    fn place(&self, inputs: &Range<usize>, panel: usize) -> Range<usize> {
        let words = inputs.len() / W::INPUTS;
        let start = inputs.start / W::INPUTS * self.bias.len() + panel * self.width * words;
        start..start + self.panel_width(panel) * words
    }

    /// The outputs of a panel, with those that are added.
    #[inline(always)]
    pub(super) fn panel_width(&self, panel: usize) -> usize {
        self.width.min(self.bias.len() - panel * self.width)
    }
}

/// The inputs in equal chunks of whole steps of any instruction set, as many as a tile sums at a time.
pub(super) fn depth_chunks<W: Word>(depth: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = depth.div_ceil(most_depth::<W::Element>()).max(1);
    let size = depth.div_ceil(count).next_multiple_of(most_step::<W>());
    (0..count).map(move |i| (i * size).min(depth)..((i + 1) * size).min(depth))
}

/// Where the rows of a product come from.
pub(super) trait Rows<T>: Sync {
    /// Packs the inputs `depth` of `rows` into `packed`, which has room for as many rows of
    /// [`packed_row`] values, and returns their layout there.
    fn pack<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        depth: Range<usize>,
        packed: &mut [T],
    ) -> RowLayout;

    /// Rows of which a group should not cross the end, as they are packed together best.
    fn segment(&self) -> Option<usize> {
        None
    }

    /// The rows and the distance from one to the next in values, if they need no packing. They are read in place
    /// where that distance is short and a whole number of steps.
    fn in_place(&self) -> Option<(&[T], usize)> {
        None
    }
}

/// `y = epilogue(rows * weights + bias)`.
///
/// # Panics
/// If `y` is not a whole number of rows of `packed.outputs()`, or the sums are not one row per
/// segment.
pub(super) fn gemm<W: Word>(
    packed: &Packed<W>,
    rows: &impl Rows<W::Element>,
    y: &mut [W::Element],
    epilogue: Epilogue<'_>,
) {
    let Epilogue { activation, sums } = epilogue;
    let placement = Placement::from(activation);
    // Sums are of activated results, which are in registers only if the activation is applied
    // there.
    let (sums, sums_after) = if placement.after.is_none() {
        (sums, None)
    } else {
        (None, sums)
    };
    multiply_all(
        packed,
        rows,
        MatMut::new(&mut *y, packed.outputs),
        placement,
        sums,
    );
    if let Some(sums) = sums_after {
        sum_rows(packed.isa, y, packed.outputs, sums);
    }
}

fn multiply_all<W: Word>(
    packed: &Packed<W>,
    rows: &impl Rows<W::Element>,
    y: MatMut<'_, W::Element>,
    placement: Placement,
    sums: Option<RowSums<'_>>,
) {
    if y.rows() == 0 {
        return;
    }
    let segment = match &sums {
        Some(sums) => Some(sums.segment),
        None => rows.segment(),
    };
    let size = Size {
        rows: y.rows(),
        segment,
        tile: packed.isa.rows::<W::Element>(),
        group_tiles: sums.is_some().then_some(TILES),
        panels: packed.panels(),
        width: packed.width,
    };
    let grid = TaskGrid::new(size, shares());
    let product = Product {
        packed,
        rows,
        placement,
        grid,
    };
    let work = |y, sums| Work {
        rows: 0..grid.row_tasks,
        columns: 0..grid.panel_tasks,
        y,
        sums,
    };
    let Some(RowSums { segment, sums }) = sums else {
        return work(y, None).run(&product);
    };
    assert_eq!(sums.len() * segment, y.rows() * packed.outputs);
    if grid.groups.count == 1 {
        sums.fill(0.0);
        return work(y, Some(MatMut::new(sums, packed.outputs))).run(&product);
    }
    let mut partial = vec![0.0; sums.len() * grid.groups.count];
    let slots = MatMut::new(&mut partial, packed.outputs);
    work(y, Some(slots)).run(&product);
    for (sums, partial) in sums
        .chunks_exact_mut(packed.outputs)
        .zip(partial.chunks_exact(grid.groups.count * packed.outputs))
    {
        sums.fill(0.0);
        for partial in partial.chunks_exact(packed.outputs) {
            sums.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
        }
    }
}

/// `y = rows * weights + bias` for some of the panels, on this thread alone: `y` has the columns of these
/// panels, as far as there are outputs.
///
/// # Panics
/// If there are no such panels, or `y` is not a whole number of rows.
pub(super) fn multiply_panels<W: Word>(
    packed: &Packed<W>,
    rows: &impl Rows<W::Element>,
    panels: Range<usize>,
    y: &mut [W::Element],
) {
    let columns = (panels.end * packed.width).min(packed.outputs) - panels.start * packed.width;
    let y = MatMut::new(y, columns);
    let product = Product {
        packed,
        rows,
        placement: Placement::from(None),
        grid: TaskGrid::single(y.rows(), packed.panels()),
    };
    product.run(Work {
        rows: 0..1,
        columns: panels,
        y,
        sums: None,
    });
}

struct Product<'a, W, R> {
    packed: &'a Packed<W>,
    rows: &'a R,
    placement: Placement,
    grid: TaskGrid,
}

impl<W: Word, R: Rows<W::Element>> Tasks for Product<'_, W, R> {
    type Element = W::Element;

    fn split(&self, tasks: &Range<usize>, panels: &Range<usize>) -> Option<Split> {
        if tasks.len() > 1 {
            Some(Split::Rows(middle(tasks)))
        } else {
            (panels.len() > 1).then(|| Split::Columns(middle(panels)))
        }
    }

    fn row(&self, task: usize) -> [usize; 2] {
        [self.grid.start(task), self.grid.first_group(task)]
    }

    fn column(&self, task: usize) -> usize {
        task * self.grid.task_panels * self.packed.width
    }

    fn run(&self, task: Work<'_, W::Element>) {
        let Work {
            rows,
            columns,
            y,
            sums,
        } = task;
        let panels = columns.start * self.grid.task_panels
            ..(columns.end * self.grid.task_panels).min(self.packed.panels());
        let first = self.grid.start(rows.start);
        let isa = self.packed.isa;
        let group = TILES * isa.rows::<W::Element>();
        let packed =
            group * packed_row::<W::Element>() * size_of::<W::Element>() / size_of::<f32>();
        let partial = if self.has_partial_sums() {
            group * panels.len() * self.packed.width
        } else {
            0
        };
        // Outside of the kernel, because a closure inside it would not be compiled for the
        // instruction set.
        with_scratch(packed + partial, |scratch| {
            let (packed, partial) = scratch.split_at_mut(packed);
            isa.run(Task {
                product: self,
                first,
                first_group: self.grid.first_group(rows.start),
                panels,
                y,
                sums,
                packed: bytemuck::cast_slice_mut(packed),
                partial,
            });
        });
    }
}

impl<W: Word, R> Product<'_, W, R> {
    /// Whether results are kept in f32 until they are complete, because they are rounded only once:
    /// after all inputs, and after the activation.
    #[inline(always)]
    fn has_partial_sums(&self) -> bool {
        let chunks = depth_chunks::<W>(self.packed.depth).count();
        W::Element::NARROW && (chunks > 1 || self.placement.after.is_some())
    }
}

/// The rows from `first` on, as many as `y` has, times some of the panels.
struct Task<'a, W: Word, R> {
    product: &'a Product<'a, W, R>,
    first: usize,
    /// The number of its first group, if groups of rows are summed.
    first_group: usize,
    panels: Range<usize>,
    y: MatMut<'a, W::Element>,
    sums: Option<MatMut<'a>>,
    /// Room for a group of packed rows.
    packed: &'a mut [W::Element],
    /// Room for the partial sums of a group, if there are any.
    partial: &'a mut [f32],
}

impl<W: Word, R: Rows<W::Element>> Kernel for Task<'_, W, R> {
    type Output = ();
    type Element = W::Element;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let grid = self.product.grid;
        if let Some(sums) = &self.sums {
            for index in 0..sums.rows() {
                let row = |group| grid.group_start(self.first_group + group) - self.first;
                let group = row(index)..row(index + 1);
                self.multiply_group(simd, group, index);
            }
            return;
        }
        let rows = self.y.rows();
        let mut start = 0;
        while start < rows {
            let end = rows.min((start / grid.segment + 1) * grid.segment);
            let groups = Groups::new(end - start, S::ROWS, TILES);
            for index in 0..groups.count {
                let group = start + groups.start(index)..start + groups.start(index + 1);
                self.multiply_group(simd, group, index);
            }
            start = end;
        }
    }
}

impl<W: Word, R: Rows<W::Element>> Task<'_, W, R> {
    /// Multiplies a group of rows, packed together, with all panels. `index` is the row of its sums, if
    /// there are any.
    #[inline(always)]
    fn multiply_group<S: Simd>(&mut self, simd: S, group: Range<usize>, index: usize) {
        let Product { packed, rows, .. } = self.product;
        let source = self.first + group.start..self.first + group.end;
        let in_place = rows.in_place();
        // The next group's rows are prefetched meanwhile.
        let upcoming = in_place.map_or(&[][..], |(rows, stride)| {
            let start = rows.len().min(source.end * stride);
            &rows[start..rows.len().min(start + source.len() * stride)]
        });
        let in_place = in_place.filter(|&(_, stride)| {
            stride.is_multiple_of(packed.step) && stride * size_of::<W::Element>() <= MOST_IN_PLACE
        });
        let after = self.product.placement.after;
        let has_partial_sums = self.product.has_partial_sums();
        let partial_columns = self.panels.len() * packed.width;
        let mut partial = has_partial_sums.then(|| {
            let values = &mut self.partial[..group.len() * partial_columns];
            MatMut::new(values, partial_columns)
        });
        let mut depths = depth_chunks::<W>(packed.depth).peekable();
        let products = depths.clone().count() * self.panels.len();
        let mut done = 0;
        while let Some(inputs) = depths.next() {
            let last = depths.peek().is_none();
            let following = depths.peek().cloned().unwrap_or(0..inputs.len());
            let (rows, layout) = if let Some((rows, stride)) = in_place {
                let rows = &rows[source.start * stride + inputs.start..];
                (rows, RowLayout::plain(inputs.len(), stride))
            } else {
                let layout = rows.pack(simd, source.clone(), inputs.clone(), self.packed);
                (&*self.packed, layout)
            };
            for panel in self.panels.clone() {
                let bias = &packed.bias[panel * packed.width..];
                let column = (panel - self.panels.start) * packed.width;
                let columns = packed.width.min(self.y.columns() - column);
                let next = if panel + 1 < self.panels.end {
                    packed.panel(&inputs, panel + 1)
                } else {
                    packed.panel(&following, self.panels.start)
                };
                let at = |product: usize| product * upcoming.len() / products;
                let upcoming = &upcoming[at(done)..at(done + 1)];
                done += 1;
                let sums = self.sums.as_mut().filter(|_| last);
                let product = PanelProduct {
                    rows,
                    layout,
                    panel: packed.panel(&inputs, panel),
                    next: [bytemuck::cast_slice(next), bytemuck::cast_slice(upcoming)],
                    y: self.y.window(group.clone(), column..column + columns),
                    partial: partial.as_mut().map(|partial| {
                        partial.window(0..group.len(), column..column + packed.width)
                    }),
                    bias: (inputs.start == 0).then_some(bias),
                    last: last && (!has_partial_sums || after.is_none()),
                    relu: last && self.product.placement.relu,
                    sums: sums.map(|sums| &mut sums.row(index)[column..column + columns]),
                };
                multiply(simd, packed.vectors(panel), product);
            }
        }
        if let Some(activation) = after {
            let columns = 0..self.y.columns();
            let rows = self.y.window(group, columns);
            let from = has_partial_sums.then_some((&*self.partial, partial_columns));
            simd.run(ActivateRows {
                rows,
                from,
                activation,
            });
        }
    }
}
