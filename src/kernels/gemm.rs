//! Matrix product with weights that are packed once: `[rows, depth] x [depth, outputs]`.
//!
//! A group of rows is packed, some hundred inputs at a time, and stays in L2 while all panels of
//! weights are multiplied with it; short rows are read in place. Where the rows come from is up to
//! the caller: pixels of a map, windows of a convolution (im2col, a group at a time), inputs of a
//! linear layer.

use std::ops::Range;

use super::aligned::Aligned;
use super::elementwise::sum_rows;
use super::epilogue::{ActivateRows, Epilogue, Placement, RowSums};
use super::micro::{MOST_DEPTH, PanelProduct, ROW, RowLayout};
use super::partition::{Size, Split, TaskGrid, Tasks, Work, middle};
use super::scratch::with_scratch;
use super::{Element, Isa, Kernel, MatMut, Simd};

/// Tiles of rows that are packed at a time.
const TILES: usize = 8;

/// Most inputs of rows that are read in place. Longer rows would compete for the same few sets of
/// L1, as the numbers of channels are powers of two.
const MOST_IN_PLACE: usize = 512;

/// Values between unpacked rows of weights, so that those of a panel do not fall into the same few
/// cache sets.
const SPREAD: usize = 16;

/// Weights in the order in which the micro-kernel reads them: chunks of inputs, within them panels
/// of one or two vectors of outputs, within them as [`Element::pack`] has it. Missing outputs are
/// 0.
#[derive(Debug)]
pub(super) struct Packed<T = f32> {
    isa: Isa,
    depth: usize,
    outputs: usize,
    vectors: usize,
    width: usize,
    values: Aligned<T>,
    /// One per output, padded to whole panels.
    bias: Vec<f32>,
}

impl<T: Element> Packed<T> {
    /// From one bias per output and the weights: `row(output, weights)` writes those of an output
    /// in the order of the inputs.
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

    /// With all weights 0, to be filled panel by panel.
    pub(super) fn zeros(isa: Isa, depth: usize, bias: &[f32]) -> Self {
        let lanes = isa.lanes();
        let outputs = bias.len();
        let vectors = if outputs > lanes { 2 } else { 1 };
        let width = vectors * lanes;
        let panels = outputs.div_ceil(width);
        let mut padded = bias.to_vec();
        padded.resize(panels * width, 0.0);
        Self {
            isa,
            depth,
            outputs,
            vectors,
            width,
            values: Aligned::zeros(panels * width * depth),
            bias: padded,
        }
    }

    /// Packs a panel from the weights of its outputs, `stride` values apart.
    fn fill(&mut self, panel: usize, rows: &[f32], stride: usize) {
        let width = self.width;
        let columns = width.min(self.outputs - panel * width);
        for inputs in depth_chunks(self.depth) {
            let rows = &rows[inputs.start..columns * stride];
            T::pack(rows, stride, width, self.panel_mut(&inputs, panel));
        }
    }

    /// Instruction set, element type and tile of the micro-kernel that reads the weights.
    pub(super) fn kernel(&self) -> String {
        let (isa, rows) = (self.isa.name(), self.isa.rows());
        format!("{isa} {} {rows}x{}", T::NAME, self.width)
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn panels(&self) -> usize {
        self.bias.len() / self.width
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn vectors(&self) -> usize {
        self.vectors
    }

    /// The weights of a panel for a chunk of inputs.
    pub(super) fn panel(&self, inputs: &Range<usize>, panel: usize) -> &[T] {
        &self.values[self.place(inputs, panel)]
    }

    /// As [`Packed::panel`].
    pub(super) fn panel_mut(&mut self, inputs: &Range<usize>, panel: usize) -> &mut [T] {
        let place = self.place(inputs, panel);
        &mut self.values[place]
    }

    fn place(&self, inputs: &Range<usize>, panel: usize) -> Range<usize> {
        let start = inputs.start * self.bias.len() + panel * self.width * inputs.len();
        start..start + self.width * inputs.len()
    }
}

/// The inputs in equal chunks of at most [`MOST_DEPTH`].
pub(super) fn depth_chunks(depth: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = depth.div_ceil(MOST_DEPTH).max(1);
    let size = depth.div_ceil(count);
    (0..count).map(move |i| (i * size).min(depth)..((i + 1) * size).min(depth))
}

/// Where the rows of a product come from.
pub(super) trait Rows<T>: Sync {
    /// Packs the inputs `depth` of `rows` into `packed`, which has room for as many rows of `ROW`
    /// values, and returns their layout there.
    fn pack(&self, rows: Range<usize>, depth: Range<usize>, packed: &mut [T]) -> RowLayout;

    /// Rows of which a group should not cross the end, as they are packed together best.
    fn segment(&self) -> Option<usize> {
        None
    }

    /// The rows and the distance from one to the next in values, if they can be read in place.
    fn in_place(&self) -> Option<(&[T], usize)> {
        None
    }
}

/// `y = epilogue(rows * weights + bias)`.
///
/// # Panics
/// If `y` is not a whole number of rows of `packed.outputs()`, or the sums are not one row per
/// segment.
pub(super) fn gemm<T: Element>(
    packed: &Packed<T>,
    rows: &impl Rows<T>,
    y: &mut [T],
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

fn multiply_all<T: Element>(
    packed: &Packed<T>,
    rows: &impl Rows<T>,
    y: MatMut<'_, T>,
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
        tile: packed.isa.rows(),
        panels: packed.panels(),
        width: packed.width,
    };
    let grid = TaskGrid::new(size, rayon::current_num_threads());
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
    if grid.segment_tasks == 1 {
        sums.fill(0.0);
        return work(y, Some(MatMut::new(sums, packed.outputs))).run(&product);
    }
    let mut partial = vec![0.0; grid.row_tasks * packed.outputs];
    let slots = MatMut::new(&mut partial, packed.outputs);
    work(y, Some(slots)).run(&product);
    for (sums, partial) in sums
        .chunks_exact_mut(packed.outputs)
        .zip(partial.chunks_exact(grid.segment_tasks * packed.outputs))
    {
        sums.fill(0.0);
        for partial in partial.chunks_exact(packed.outputs) {
            sums.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
        }
    }
}

struct Product<'a, T, R> {
    packed: &'a Packed<T>,
    rows: &'a R,
    placement: Placement,
    grid: TaskGrid,
}

impl<T: Element, R: Rows<T>> Tasks for Product<'_, T, R> {
    type Element = T;

    fn split(&self, tasks: &Range<usize>, panels: &Range<usize>) -> Option<Split> {
        if tasks.len() > 1 {
            Some(Split::Rows(middle(tasks)))
        } else {
            (panels.len() > 1).then(|| Split::Columns(middle(panels)))
        }
    }

    fn row(&self, task: usize) -> [usize; 2] {
        [self.grid.start(task), task * self.grid.task_segments]
    }

    fn column(&self, task: usize) -> usize {
        task * self.grid.task_panels * self.packed.width
    }

    fn run(&self, task: Work<'_, T>) {
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
        // Outside of the kernel, because a closure inside it would not be compiled for the
        // instruction set.
        with_scratch(TILES * isa.rows() * ROW, |scratch| {
            isa.run(Task {
                product: self,
                first,
                panels,
                y,
                sums,
                scratch,
            });
        });
    }
}

/// The rows from `first` on, as many as `y` has, times some of the panels.
struct Task<'a, T, R> {
    product: &'a Product<'a, T, R>,
    first: usize,
    panels: Range<usize>,
    y: MatMut<'a, T>,
    sums: Option<MatMut<'a>>,
    scratch: &'a mut [T],
}

impl<T: Element, R: Rows<T>> Kernel for Task<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.product.packed.vectors {
            1 => self.run_vectors::<S, 1>(simd),
            _ => self.run_vectors::<S, 2>(simd),
        }
    }
}

impl<T: Element, R: Rows<T>> Task<'_, T, R> {
    #[inline(always)]
    fn run_vectors<S: Simd, const VECTORS: usize>(mut self, simd: S) {
        let grid = self.product.grid;
        let rows = self.y.rows();
        let mut start = 0;
        while start < rows {
            let segment = start / grid.segment;
            let end = rows.min((segment + 1) * grid.segment);
            let tiles = (end - start).div_ceil(S::ROWS);
            let count = tiles.div_ceil(TILES);
            for group in 0..count {
                let at = |group: usize| {
                    let tile = group * tiles / count;
                    start + tile * (end - start) / tiles
                };
                let group = at(group)..at(group + 1);
                self.multiply_group::<S, VECTORS>(simd, group, segment);
            }
            start = end;
        }
    }

    /// Multiplies a group of rows, packed together, with all panels.
    #[inline(always)]
    fn multiply_group<S: Simd, const VECTORS: usize>(
        &mut self,
        simd: S,
        group: Range<usize>,
        segment: usize,
    ) {
        let Product { packed, rows, .. } = self.product;
        let source = self.first + group.start..self.first + group.end;
        let in_place = rows.in_place();
        // The next group's rows are prefetched meanwhile.
        let upcoming = in_place.map_or(&[][..], |(rows, stride)| {
            let start = rows.len().min(source.end * stride);
            &rows[start..rows.len().min(start + source.len() * stride)]
        });
        let in_place = in_place.filter(|&(_, stride)| stride <= MOST_IN_PLACE);
        let mut depths = depth_chunks(packed.depth).peekable();
        let products = depths.clone().count() * self.panels.len();
        let mut done = 0;
        while let Some(inputs) = depths.next() {
            let last = depths.peek().is_none();
            let after = depths.peek().cloned().unwrap_or(0..inputs.len());
            let (rows, layout) = if let Some((rows, stride)) = in_place {
                let rows = &rows[source.start * stride + inputs.start..];
                (rows, RowLayout::plain(inputs.len(), stride))
            } else {
                let layout = rows.pack(source.clone(), inputs.clone(), self.scratch);
                (&*self.scratch, layout)
            };
            for panel in self.panels.clone() {
                let bias = &packed.bias[panel * packed.width..];
                let column = (panel - self.panels.start) * packed.width;
                let columns = packed.width.min(self.y.columns() - column);
                let next = if panel + 1 < self.panels.end {
                    packed.panel(&inputs, panel + 1)
                } else {
                    packed.panel(&after, self.panels.start)
                };
                let at = |product: usize| product * upcoming.len() / products;
                let upcoming = &upcoming[at(done)..at(done + 1)];
                done += 1;
                let sums = self.sums.as_mut().filter(|_| last);
                let product = PanelProduct {
                    rows,
                    layout,
                    panel: packed.panel(&inputs, panel),
                    next: [next, upcoming],
                    y: self.y.window(group.clone(), column..column + columns),
                    bias: (inputs.start == 0).then_some(bias),
                    relu: last && self.product.placement.relu,
                    sums: sums.map(|sums| &mut sums.row(segment)[column..column + columns]),
                };
                T::multiply::<S, VECTORS>(simd, product);
            }
        }
        if let Some(activation) = self.product.placement.after {
            let columns = 0..self.y.columns();
            let rows = self.y.window(group, columns);
            simd.run(ActivateRows { rows, activation });
        }
    }
}
