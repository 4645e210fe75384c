//! The micro-kernel of the matrix product: rows times a panel of weights, tile by tile.
//!
//! A tile of results is kept in registers: up to [`Simd::ROWS`] rows by up to [`Simd::VECTORS`] vectors
//! of outputs. Each call sums over some hundred inputs. [`blocks`] and [`by_element`] have the products of
//! machines with special instructions for them.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

mod blocks;
mod by_element;

use std::mem::MaybeUninit;
use std::ptr;

use super::element::{Element, Word, by_blocks, step};
use super::simd::LINE_BYTES;
use super::{Kernel, MAX_LANES, MatMut, Simd};

/// Most inputs that a tile sums at a time. To load and store tiles seldom matters more than to keep
/// a panel in L1: it comes fast enough from L2.
pub(super) const fn most_depth<T>() -> usize {
    2048 / size_of::<T>()
}

/// Values from one packed row to the next. Not a multiple of the page size, so that the rows of a
/// tile fall into different cache sets.
pub(super) const fn packed_row<T>() -> usize {
    most_depth::<T>() + LINE_BYTES / size_of::<T>()
}

/// Values from one packed row of up to `depth` inputs in f32 to the next, at most [`packed_row`].
#[inline(always)]
pub(super) fn packed_stride(depth: usize) -> usize {
    (depth.min(most_depth::<f32>()) + LINE).next_multiple_of(LINE)
}

/// Words by which the weights are prefetched ahead: for the first tile of a panel they are far
/// away. Past the end of this panel the next one follows in memory.
const AHEAD: usize = 32;

/// Words of a tile's rows after which more of what comes next is prefetched: a cache line of f32.
const LINE: usize = 16;

/// Most rows of a tile on any instruction set.
const MAX_ROWS: usize = 14;

/// How the inputs of rows lie in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowLayout {
    /// Values from one row to the next; rows may overlap.
    pub stride: usize,
    /// Contiguous runs of inputs that a row consists of, such as the rows of a window.
    pub runs: usize,
    /// Inputs per run, and values from one run of a row to the next. Up to four inputs are multiplied at a
    /// time: the last ones of a run may read up to three values more, which have the weight 0: if one is not
    /// finite, the result is NaN.
    pub run: usize,
    pub run_stride: usize,
}

impl RowLayout {
    /// Rows of `depth` contiguous inputs, `stride` values apart.
    #[inline(always)]
    pub(super) fn plain(depth: usize, stride: usize) -> Self {
        Self {
            stride,
            runs: 1,
            run: depth,
            run_stride: 0,
        }
    }

    /// Values from the first to the last input of so many rows, where a run is read in steps of so many
    /// inputs.
    pub(super) fn reach(self, rows: usize, step: usize) -> usize {
        let run = self.run.next_multiple_of(step);
        (rows.max(1) - 1) * self.stride + (self.runs.max(1) - 1) * self.run_stride + run
    }
}

/// Rows times a panel of weights: `y = rows * panel + bias`.
pub(super) struct PanelProduct<'a, W: Word> {
    pub rows: &'a [W::Element],
    pub layout: RowLayout,
    /// The weights of all outputs, step by step.
    pub panel: &'a [W],
    /// What to prefetch meanwhile: weights into L2, inputs into L1.
    pub next: [&'a [u8]; 2],
    pub y: MatMut<'a, W::Element>,
    /// Where the sums over some of the inputs are kept from call to call, for whole panels; `None` if one
    /// call sums over all inputs, and in f32, where they are in `y`.
    pub partial: Option<MatMut<'a>>,
    /// What the sums start from; `None` adds to the partial ones.
    pub bias: Option<&'a [f32]>,
    /// Whether the sums are complete, and go to `y`.
    pub last: bool,
    pub relu: bool,
    /// To which the sum over the rows is added, per output.
    pub sums: Option<&'a mut [f32]>,
}

/// Multiplies, with so many vectors in the panel.
///
/// # Panics
/// If there are no such panels, a slice is too short, or `y` has more columns than the panel.
#[inline(always)]
pub(super) fn multiply<S: Simd, W: Word>(simd: S, vectors: usize, product: PanelProduct<'_, W>) {
    assert!(vectors <= S::VECTORS);
    match vectors {
        1 => simd.run(Multiply::<W, 1>(product)),
        2 => simd.run(Multiply::<W, 2>(product)),
        // In a constant, so that wider panels than there are registers for are not compiled.
        3 => {
            if const { S::VECTORS >= 3 } {
                simd.run(Multiply::<W, 3>(product));
            }
        }
        _ => unreachable!("a panel has at most `S::VECTORS` vectors"),
    }
}

/// A kernel, and so a function of its own: within each of its callers it would be compiled many times.
struct Multiply<'a, W: Word, const VECTORS: usize>(PanelProduct<'a, W>);

impl<W: Word, const VECTORS: usize> Kernel for Multiply<'_, W, VECTORS> {
    type Output = ();
    type Element = W::Element;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        multiply_tiles::<S, W, VECTORS>(simd, self.0);
    }
}

#[inline(always)]
fn multiply_tiles<S: Simd, W: Word, const VECTORS: usize>(simd: S, product: PanelProduct<'_, W>) {
    let PanelProduct {
        rows,
        layout,
        panel,
        next,
        mut y,
        mut partial,
        bias,
        last,
        relu,
        mut sums,
    } = product;
    let (width, columns) = (VECTORS * S::LANES, y.columns());
    if y.rows() == 0 {
        return;
    }
    // In words, as are the lengths below that are not of `y`.
    let step = const { step::<S, W>() };
    let depth = layout.runs * layout.run.next_multiple_of(step) / W::INPUTS;
    assert!(columns <= width && rows.len() >= layout.reach(y.rows(), step));
    assert!(panel.len() >= depth * width);
    assert!(bias.is_none_or(|bias| bias.len() >= width));
    // Without partial sums of their own, they are in `y`.
    let narrow = W::Element::NARROW;
    match &partial {
        Some(partial) => {
            assert!(narrow && partial.rows() == y.rows() && partial.columns() >= width);
        }
        None => assert!(!narrow || bias.is_some() && last),
    }
    assert!(sums.as_ref().is_none_or(|sums| sums.len() >= columns));
    // Tiles of nearly equal height: one of few rows would be bound by the latency of its sums. Blocks have two
    // rows.
    let unit = const { if by_blocks::<S, W>() { 2 } else { 1 } };
    let (count, units) = (y.rows().div_ceil(S::ROWS), y.rows().div_ceil(unit));
    let (least, taller) = (units / count, units % count);
    // Bytes to prefetch for each input of each tile.
    let steps = next.map(|next| next.len().div_ceil((count * depth).max(1)));
    // Prefetching from an unmapped page costs time, so what is empty points to the weights.
    let mut next = next.map(|next| match next {
        [] => panel.as_ptr().cast(),
        next => next.as_ptr(),
    });
    let mut whole = MaybeUninit::<[f32; MAX_ROWS * 2 * MAX_LANES]>::uninit();
    let mut start = 0;
    for index in 0..count {
        let height = (unit * (least + usize::from(index < taller))).min(y.rows() - start);
        // A panel wider than `y` writes to a buffer of its own width.
        let whole = whole.as_mut_ptr().cast::<W::Element>();
        let (results, result_stride) = if columns == width {
            (y.row_ptr(start), y.stride())
        } else {
            (whole, width)
        };
        let copied = if columns == width { 0 } else { height };
        if bias.is_none() && !narrow {
            for r in 0..copied {
                let row = y.row(start + r);
                // SAFETY: `whole` has room for MAX_ROWS >= height rows of `width` values, and a
                // row of `y` has `columns`, fewer than that. What it lacks is zero, as `rows_of`
                // reads whole vectors.
                unsafe {
                    ptr::copy_nonoverlapping(row.as_ptr(), whole.add(r * width), columns);
                    ptr::write_bytes(whole.add(r * width + columns), 0, width - columns);
                }
            }
        }
        let (sums_at, sums_stride) = match &mut partial {
            Some(partial) => (partial.row_ptr(start), partial.stride()),
            None => (results.cast(), result_stride),
        };
        let tile = Tile {
            rows: rows[start * layout.stride..].as_ptr(),
            layout,
            panel: panel.as_ptr(),
            next,
            steps,
            results,
            result_stride,
            partial: sums_at,
            partial_stride: sums_stride,
            bias: bias.map(<[f32]>::as_ptr),
            last,
            relu,
        };
        macro_rules! of_rows {
            ($($rows:literal)*) => {
                match height {
                    // In a constant, so that taller tiles than there are registers are not compiled.
                    $($rows => if const { $rows <= S::ROWS } {
                        // SAFETY: the lengths were checked above: the tile's rows are among `rows`,
                        // its results are rows of `y` or of `whole`, `width` values each, and its
                        // partial sums rows of `partial` or, if the type is f32, the results, which
                        // were written above if there is no bias.
                        unsafe {
                            rows_of::<S, W, $rows, VECTORS>(
                                simd,
                                tile,
                                sums.as_deref_mut(),
                                columns,
                            );
                        }
                    },)*
                    _ => unreachable!("a tile has at most `S::ROWS` rows"),
                }
            };
        }
        of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        for r in 0..if last || !narrow { copied } else { 0 } {
            let row = y.row(start + r);
            // SAFETY: `rows_of` wrote `height` rows of `width` values.
            unsafe { copy_columns(whole.add(r * width), row.as_mut_ptr(), columns) };
        }
        next = [0, 1].map(|i| next[i].wrapping_add(steps[i] * depth));
        start += height;
    }
}

/// Copies a row of results, in pieces of a constant size: a call of `memcpy` would take longer.
///
/// # Safety
/// So many values are valid for reading and for writing.
#[inline(always)]
unsafe fn copy_columns<T: Copy>(from: *const T, to: *mut T, columns: usize) {
    const PIECE: usize = 8;
    macro_rules! piece {
        ($at:expr) => {
            // SAFETY: the piece ends with the columns.
            unsafe {
                let values = from.add($at).cast::<[T; PIECE]>().read_unaligned();
                to.add($at).cast::<[T; PIECE]>().write_unaligned(values);
            }
        };
    }
    if columns < PIECE {
        // SAFETY: as the caller guarantees.
        unsafe { ptr::copy_nonoverlapping(from, to, columns) };
        return;
    }
    let mut at = 0;
    while at + PIECE <= columns {
        piece!(at);
        at += PIECE;
    }
    if at < columns {
        // It overlaps the one before it.
        piece!(columns - PIECE);
    }
}

/// As [`PanelProduct`], for up to [`Simd::ROWS`] rows and with all columns.
struct Tile<W: Word> {
    rows: *const W::Element,
    layout: RowLayout,
    panel: *const W,
    next: [*const u8; 2],
    steps: [usize; 2],
    results: *mut W::Element,
    result_stride: usize,
    partial: *mut f32,
    partial_stride: usize,
    bias: Option<*const f32>,
    last: bool,
    relu: bool,
}

/// A vector of weights, `at` words into a panel of so many outputs. The first one of a cache line prefetches
/// that line of later inputs.
///
/// # Safety
/// They are valid for reading.
#[inline(always)]
unsafe fn load_weights<S: Simd, W: Word>(
    simd: S,
    panel: *const W,
    at: usize,
    width: usize,
) -> S::V {
    if (at * size_of::<W>()).is_multiple_of(LINE_BYTES) {
        simd.prefetch_at(panel.cast(), (at + AHEAD * width) * size_of::<W>());
    }
    // SAFETY: as the caller guarantees.
    unsafe { W::load(simd, panel.add(at)) }
}

/// Rows per base pointer: x86 addressing can add an index register times 1 or 2.
const GROUP: usize = 3;

/// Inputs of a tile's rows that are multiplied next.
struct Inputs<'a, W: Word> {
    /// Every [`GROUP`]th row, from these inputs on.
    groups: &'a mut [*const W::Element; MAX_ROWS.div_ceil(GROUP)],
    /// Values from one row to the next.
    stride: usize,
    /// Their weights.
    panel: &'a mut *const W,
    /// How many there are, in words.
    words: usize,
}

impl<W: Word> Inputs<'_, W> {
    /// The inputs of a row.
    #[inline(always)]
    fn row(&self, row: usize) -> *const W::Element {
        self.groups[row / GROUP].wrapping_add(row % GROUP * self.stride)
    }

    /// Skips so many words, of `width` outputs.
    #[inline(always)]
    fn advance(&mut self, words: usize, width: usize) {
        *self.panel = self.panel.wrapping_add(words * width);
        for group in &mut *self.groups {
            *group = group.wrapping_add(words * W::INPUTS);
        }
        self.words -= words;
    }
}

/// # Safety
/// With `width = VECTORS * LANES`: the layout's inputs of `R` rows and `width` words per word of inputs
/// are valid for reading, as are `width` values of the bias. `width` results per row are valid for writing
/// if the type is f32 or `last`. Otherwise, and without a bias, `width` partial sums per row are valid for
/// reading and writing; without a bias they are initialised.
#[inline(always)]
unsafe fn rows_of<S: Simd, W: Word, const R: usize, const VECTORS: usize>(
    simd: S,
    tile: Tile<W>,
    totals: Option<&mut [f32]>,
    columns: usize,
) {
    let width = VECTORS * S::LANES;
    let Tile {
        results,
        result_stride,
        ..
    } = tile;
    // When `y` is written for the first time: in f32 with the first inputs, otherwise with the last ones.
    let is_new = if W::Element::NARROW {
        tile.last
    } else {
        tile.bias.is_some()
    };
    if is_new {
        for at in 0..R * (width * size_of::<W::Element>()).div_ceil(LINE_BYTES) {
            let row = results.wrapping_add(at % R * result_stride).cast::<u8>();
            simd.prefetch_write(row.wrapping_add(at / R * LINE_BYTES));
        }
    }
    let mut sums = [[simd.splat(0.0); VECTORS]; R];
    // SAFETY: offsets stay below the lengths that the caller guarantees.
    unsafe {
        for r in 0..R {
            for v in 0..VECTORS {
                let from = match tile.bias {
                    Some(bias) => bias,
                    None => tile.partial.add(r * tile.partial_stride).cast_const(),
                };
                sums[r][v] = simd.load_unchecked(from.add(v * S::LANES));
            }
        }
        // The second row of the last block, if the tile has an odd number.
        let mut spare = [simd.splat(0.0); VECTORS];
        if const { by_blocks::<S, W>() } {
            blocks::exchange(simd, &mut sums, &mut spare);
        }
        let RowLayout {
            stride,
            runs,
            run,
            run_stride,
        } = tile.layout;
        let mut next = tile.next;
        let mut panel = tile.panel;
        let mut start = tile.rows;
        for _ in 0..runs {
            let mut groups = [start; MAX_ROWS.div_ceil(GROUP)];
            for (g, group) in groups.iter_mut().enumerate() {
                *group = group.wrapping_add(g * GROUP * stride);
            }
            start = start.wrapping_add(run_stride);
            let mut left = run.next_multiple_of(const { step::<S, W>() }) / W::INPUTS;
            while left > 0 {
                let count = left.min(const { if S::BY_ELEMENT { 4 * LINE } else { LINE } });
                left -= count;
                // Once per line: a second prefetch of the same line would take a fill buffer from
                // another.
                simd.prefetch_far(next[0], tile.steps[0] * count);
                for at in (0..tile.steps[1] * count).step_by(LINE_BYTES) {
                    simd.prefetch(next[1].wrapping_add(at));
                }
                for (next, step) in next.iter_mut().zip(tile.steps) {
                    *next = next.wrapping_add(step * count);
                }
                let mut inputs = Inputs {
                    groups: &mut groups,
                    stride,
                    panel: &mut panel,
                    words: count,
                };
                if const { by_blocks::<S, W>() } {
                    inputs.add_blocks(simd, &mut sums, &mut spare);
                } else if const { S::BY_ELEMENT } {
                    inputs.add_fours(simd, &mut sums);
                }
                let rest = inputs.words;
                for _ in 0..rest {
                    let mut weights = [simd.splat(0.0); VECTORS];
                    for v in 0..VECTORS {
                        weights[v] = load_weights(simd, panel, v * S::LANES, width);
                    }
                    panel = panel.add(width);
                    // Written out: a loop this long would not be unrolled, with its sums in memory.
                    macro_rules! of_each_row {
                        ($($r:literal)*) => {
                            $(if $r < R {
                                let x = groups[$r / GROUP].add($r % GROUP * stride);
                                let x = W::splat(simd, x);
                                for v in 0..VECTORS {
                                    let sum = &mut sums[$r][v];
                                    *sum = W::multiply_add(simd, x, weights[v], *sum);
                                }
                            })*
                        };
                    }
                    of_each_row!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
                    for group in &mut groups {
                        *group = group.wrapping_add(W::INPUTS);
                    }
                }
            }
        }
        if const { by_blocks::<S, W>() } {
            blocks::exchange(simd, &mut sums, &mut spare);
        }
        // Short loops, one after the other: a long one would not be unrolled, with its sums in memory.
        if tile.relu {
            for r in 0..R {
                for v in 0..VECTORS {
                    sums[r][v] = simd.relu(sums[r][v]);
                }
            }
        }
        if tile.last || !W::Element::NARROW {
            for r in 0..R {
                for v in 0..VECTORS {
                    let to = results.add(r * result_stride + v * S::LANES);
                    W::Element::store(simd, sums[r][v], to);
                }
            }
        } else {
            for r in 0..R {
                for v in 0..VECTORS {
                    let to = tile.partial.add(r * tile.partial_stride + v * S::LANES);
                    simd.store_unchecked(sums[r][v], to);
                }
            }
        }
    }
    if let Some(totals) = totals {
        for v in 0..VECTORS {
            let mut total = sums[0][v];
            for row in &sums[1..] {
                total = simd.add(total, row[v]);
            }
            let start = (v * S::LANES).min(columns);
            let end = columns.min(start + S::LANES);
            let totals = &mut totals[start..end];
            let before = simd.load_some(totals);
            simd.store_some(simd.add(before, total), totals);
        }
    }
}
