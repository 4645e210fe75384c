//! The micro-kernel of the matrix product in f32: rows times a panel of weights, tile by tile.
//!
//! A tile of results is kept in registers: up to [`Simd::ROWS`] rows by one or two vectors of
//! outputs. Each call sums over some hundred inputs.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use std::mem::MaybeUninit;
use std::ptr;

use super::{Kernel, MAX_LANES, MatMut, Simd};

/// Most inputs that a tile sums at a time. To load and store tiles seldom matters more than to keep
/// a panel in L1: it comes fast enough from L2.
pub(super) const MOST_DEPTH: usize = 512;

/// Values from one packed row to the next. Not a multiple of the page size, so that the rows of a
/// tile fall into different cache sets.
pub(super) const ROW: usize = MOST_DEPTH + 16;

/// Values from one packed row of up to `depth` inputs to the next, at most [`ROW`].
#[inline(always)]
pub(super) fn packed_stride(depth: usize) -> usize {
    (depth.min(MOST_DEPTH) + 16).next_multiple_of(LINE)
}

/// Inputs by which the weights are prefetched ahead: for the first tile of a panel they are far
/// away. Past the end of this panel the next one follows in memory.
const AHEAD: usize = 32;

/// Values in a cache line.
const LINE: usize = 16;
pub(super) const LINE_BYTES: usize = LINE * size_of::<f32>();

/// Most rows of a tile on any instruction set.
const MAX_ROWS: usize = 14;

/// How the inputs of rows lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct RowLayout {
    /// Values from one row to the next; rows may overlap.
    pub stride: usize,
    /// Contiguous runs of inputs that a row consists of, such as the rows of a window.
    pub runs: usize,
    /// Inputs per run, and values from one run of a row to the next.
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

    /// Values from the first to the last input of so many rows.
    pub(super) fn reach(self, rows: usize) -> usize {
        (rows.max(1) - 1) * self.stride + (self.runs.max(1) - 1) * self.run_stride + self.run
    }
}

/// Rows times a panel of weights: `y = rows * panel + bias`.
pub struct PanelProduct<'a, T> {
    pub rows: &'a [T],
    pub layout: RowLayout,
    /// The weights of all outputs, input by input.
    pub panel: &'a [T],
    /// What to prefetch meanwhile: weights into L2, inputs into L1.
    pub next: [&'a [T]; 2],
    pub y: MatMut<'a, T>,
    /// What the sums start from; `None` adds to what `y` holds.
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
    /// To which the sum over the rows is added, per output.
    pub sums: Option<&'a mut [f32]>,
}

/// As [`Element::multiply`](super::Element::multiply).
#[inline(always)]
pub(super) fn multiply<S: Simd, const VECTORS: usize>(simd: S, product: PanelProduct<'_, f32>) {
    simd.run(Multiply::<VECTORS>(product));
}

/// A kernel, and so a function of its own: within each of its callers it would be compiled many times.
struct Multiply<'a, const VECTORS: usize>(PanelProduct<'a, f32>);

impl<const VECTORS: usize> Kernel for Multiply<'_, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        multiply_tiles::<S, VECTORS>(simd, self.0);
    }
}

#[inline(always)]
fn multiply_tiles<S: Simd, const VECTORS: usize>(simd: S, product: PanelProduct<'_, f32>) {
    let PanelProduct {
        rows,
        layout,
        panel,
        next,
        mut y,
        bias,
        relu,
        mut sums,
    } = product;
    let (width, columns) = (VECTORS * S::LANES, y.columns());
    if y.rows() == 0 {
        return;
    }
    let depth = layout.runs * layout.run;
    assert!(columns <= width && rows.len() >= layout.reach(y.rows()));
    assert!(panel.len() >= depth * width);
    assert!(bias.is_none_or(|bias| bias.len() >= width));
    assert!(sums.as_ref().is_none_or(|sums| sums.len() >= columns));
    // Tiles of nearly equal height: one of few rows would be bound by the latency of its sums.
    let count = y.rows().div_ceil(S::ROWS);
    let (least, taller) = (y.rows() / count, y.rows() % count);
    // Bytes to prefetch for each input of each tile.
    let steps = next.map(|next| size_of_val(next).div_ceil((count * depth).max(1)));
    // Prefetching from an unmapped page costs time, so what is empty points to the weights.
    let mut next = next.map(|next| {
        let values = if next.is_empty() { panel } else { next };
        values.as_ptr().cast::<u8>()
    });
    let mut whole = MaybeUninit::<[f32; MAX_ROWS * 2 * MAX_LANES]>::uninit();
    let mut start = 0;
    for index in 0..count {
        let height = least + usize::from(index < taller);
        // A panel wider than `y` writes to a buffer of its own width.
        let whole = whole.as_mut_ptr().cast::<f32>();
        let (results, result_stride) = if columns == width {
            (y.row_ptr(start), y.stride())
        } else {
            (whole, width)
        };
        let copied = if columns == width { 0 } else { height };
        if bias.is_none() {
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
        let tile = Tile {
            rows: rows[start * layout.stride..].as_ptr(),
            layout,
            panel: panel.as_ptr(),
            next,
            steps,
            results,
            result_stride,
            bias: bias.map(<[f32]>::as_ptr),
            relu,
        };
        macro_rules! of_rows {
            ($($rows:literal)*) => {
                match height {
                    // In a constant, so that taller tiles than there are registers are not compiled.
                    $($rows => if const { $rows <= S::ROWS } {
                        // SAFETY: the lengths were checked above: the tile's rows are among `rows`,
                        // and its results are rows of `y` or of `whole`, `width` values each, which
                        // were written above if there is no bias.
                        unsafe {
                            rows_of::<S, $rows, VECTORS>(simd, tile, sums.as_deref_mut(), columns);
                        }
                    },)*
                    _ => unreachable!("a tile has at most `S::ROWS` rows"),
                }
            };
        }
        of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        for r in 0..copied {
            let row = y.row(start + r);
            // SAFETY: `rows_of` wrote `height` rows of `width` values.
            unsafe { ptr::copy_nonoverlapping(whole.add(r * width), row.as_mut_ptr(), columns) };
        }
        next = [0, 1].map(|i| next[i].wrapping_add(steps[i] * depth));
        start += height;
    }
}

/// As [`PanelProduct`], for up to [`Simd::ROWS`] rows and with all columns.
#[derive(Clone, Copy)]
struct Tile {
    rows: *const f32,
    layout: RowLayout,
    panel: *const f32,
    next: [*const u8; 2],
    steps: [usize; 2],
    results: *mut f32,
    result_stride: usize,
    bias: Option<*const f32>,
    relu: bool,
}

/// Rows per base pointer: x86 addressing can add an index register times 1 or 2.
const GROUP: usize = 3;

/// # Safety
/// With `width = VECTORS * LANES`: the layout's inputs of `R` rows and `width` weights per input
/// are valid for reading, as are `width` values of the bias; `width` results per row are valid for
/// writing, and without a bias they are initialised.
#[inline(always)]
unsafe fn rows_of<S: Simd, const R: usize, const VECTORS: usize>(
    simd: S,
    tile: Tile,
    totals: Option<&mut [f32]>,
    columns: usize,
) {
    let width = VECTORS * S::LANES;
    let Tile {
        results,
        result_stride,
        ..
    } = tile;
    if tile.bias.is_some() {
        for at in 0..R * width.div_ceil(LINE) {
            let (r, line) = (at % R, at / R);
            simd.prefetch_write(results.wrapping_add(r * result_stride + line * LINE).cast());
        }
    }
    let mut sums = [[simd.splat(0.0); VECTORS]; R];
    // SAFETY: offsets stay below the lengths that the caller guarantees.
    unsafe {
        for r in 0..R {
            for v in 0..VECTORS {
                let from = match tile.bias {
                    Some(bias) => bias,
                    None => results.add(r * result_stride).cast_const(),
                };
                sums[r][v] = simd.load_unchecked(from.add(v * S::LANES));
            }
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
            let mut left = run;
            while left > 0 {
                let count = left.min(LINE);
                left -= count;
                // Once per line: a second prefetch of the same line would take a fill buffer from
                // another.
                for at in (0..tile.steps[0] * count).step_by(LINE_BYTES) {
                    simd.prefetch_far(next[0].wrapping_add(at));
                }
                for at in (0..tile.steps[1] * count).step_by(LINE_BYTES) {
                    simd.prefetch(next[1].wrapping_add(at));
                }
                for (next, step) in next.iter_mut().zip(tile.steps) {
                    *next = next.wrapping_add(step * count);
                }
                for _ in 0..count {
                    let mut weights = [simd.splat(0.0); VECTORS];
                    for v in 0..VECTORS {
                        let at = panel.add(v * S::LANES);
                        if (v * S::LANES).is_multiple_of(LINE) {
                            simd.prefetch(at.wrapping_add(AHEAD * width).cast());
                        }
                        weights[v] = simd.load_unchecked(at);
                    }
                    panel = panel.add(width);
                    // Written out: a loop this long would not be unrolled, with its sums in memory.
                    macro_rules! of_each_row {
                        ($($r:literal)*) => {
                            $(if $r < R {
                                let x = simd.splat(*groups[$r / GROUP].add($r % GROUP * stride));
                                for v in 0..VECTORS {
                                    sums[$r][v] = simd.fma(x, weights[v], sums[$r][v]);
                                }
                            })*
                        };
                    }
                    of_each_row!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
                    for group in &mut groups {
                        *group = group.wrapping_add(1);
                    }
                }
            }
        }
        for r in 0..R {
            for v in 0..VECTORS {
                if tile.relu {
                    sums[r][v] = simd.relu(sums[r][v]);
                }
                simd.store_unchecked(sums[r][v], results.add(r * result_stride + v * S::LANES));
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
