//! The product of a few rows with a panel of weights, in registers.
//!
//! Everything that is a sum over channels is cut into such tiles: up to [`Simd::ROWS`] pixels by
//! one or two vectors of output channels, over some hundred inputs at a time.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use std::mem::MaybeUninit;
use std::ptr;

use super::{MAX_LANES, MatMut, Simd};

/// Most inputs that one pass over a tile sums. Few passes matter more than a panel that fits into
/// the first cache: it comes fast enough from the second one.
pub(super) const MOST_DEPTH: usize = 512;

/// From one packed row to the next. Not a multiple of the page, so that the rows of a tile fall
/// into different sets of the cache.
pub(super) const ROW: usize = MOST_DEPTH + 16;

/// From one packed row of up to `depth` inputs to the next, at most [`ROW`].
#[inline(always)]
pub(super) fn packed_stride(depth: usize) -> usize {
    (depth.min(MOST_DEPTH) + 16).next_multiple_of(LINE)
}

/// Inputs whose weights are asked for ahead: the first tile of a block finds them far away, and the
/// panel after this one follows in memory.
const AHEAD: usize = 32;

/// Values in a line of the cache.
const LINE: usize = 16;
pub(super) const LINE_BYTES: usize = LINE * size_of::<f32>();

/// Most rows that any instruction set has registers for.
const MAX_ROWS: usize = 14;

/// Where the inputs of rows lie.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Values from one row to the next; rows may overlap.
    pub stride: usize,
    /// Runs of inputs that a row is made of, such as the rows of a window.
    pub runs: usize,
    /// Inputs of a run, and values from a row's one run to its next.
    pub run: usize,
    pub run_stride: usize,
}

impl Layout {
    /// Rows of `depth` inputs side by side, from one row to the next `stride` values.
    #[inline(always)]
    pub(super) fn plain(depth: usize, stride: usize) -> Self {
        Self {
            stride,
            runs: 1,
            run: depth,
            run_stride: 0,
        }
    }

    /// Values that so many rows reach over.
    pub(super) fn reach(self, rows: usize) -> usize {
        (rows.max(1) - 1) * self.stride + (self.runs.max(1) - 1) * self.run_stride + self.run
    }
}

/// Rows of results and what makes them.
pub struct Strip<'a, T> {
    pub rows: &'a [T],
    pub layout: Layout,
    /// For each input, the weights of all outputs.
    pub panel: &'a [T],
    /// What will be read soon, asked for on the way: weights into the second cache, inputs into the
    /// first.
    pub next: [&'a [T]; 2],
    pub y: MatMut<'a, T>,
    /// What the sum starts from; `None` goes on from what `y` holds.
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
    /// Receives the sum over the rows, per output.
    pub sums: Option<&'a mut [f32]>,
}

/// `y = rows * panel + bias` for a panel of `VECTORS` vectors.
///
/// # Panics
/// If a slice is too short, or `y` has more columns than the panel.
#[inline(always)]
pub(super) fn multiply<S: Simd, const VECTORS: usize>(simd: S, strip: Strip<'_, f32>) {
    let Strip {
        rows,
        layout,
        panel,
        next,
        mut y,
        bias,
        relu,
        mut sums,
    } = strip;
    let (width, columns) = (VECTORS * S::LANES, y.columns());
    if y.rows() == 0 {
        return;
    }
    let depth = layout.runs * layout.run;
    assert!(columns <= width && rows.len() >= layout.reach(y.rows()));
    assert!(panel.len() >= depth * width);
    assert!(bias.is_none_or(|bias| bias.len() >= width));
    assert!(sums.as_ref().is_none_or(|sums| sums.len() >= columns));
    // Tiles of nearly equal height: one of few rows would wait for its own results.
    let count = y.rows().div_ceil(S::ROWS);
    let (least, taller) = (y.rows() / count, y.rows() % count);
    // Bytes of what comes next for each input of each tile.
    let steps = next.map(|next| size_of_val(next).div_ceil((count * depth).max(1)));
    // Looking for a page that does not exist costs time: what is empty begins where the weights do.
    let mut next = next.map(|next| {
        let values = if next.is_empty() { panel } else { next };
        values.as_ptr().cast::<u8>()
    });
    let mut whole = MaybeUninit::<[f32; MAX_ROWS * 2 * MAX_LANES]>::uninit();
    let mut start = 0;
    for index in 0..count {
        let height = least + usize::from(index < taller);
        // Results that do not fill the panel go through a tile that does.
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
                // row of `y` has `columns`, fewer than that.
                unsafe { ptr::copy_nonoverlapping(row.as_ptr(), whole.add(r * width), columns) };
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
                    // SAFETY: the lengths were checked above: the tile's rows are rows of `strip`,
                    // and its results are rows of `y` or of `whole`, `width` values each.
                    $($rows => unsafe {
                        rows_of::<S, $rows, VECTORS>(simd, tile, sums.as_deref_mut(), columns);
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

/// A tile of results: what [`Strip`] says, of up to [`Simd::ROWS`] rows and with all columns.
#[derive(Clone, Copy)]
struct Tile {
    rows: *const f32,
    layout: Layout,
    panel: *const f32,
    next: [*const u8; 2],
    steps: [usize; 2],
    results: *mut f32,
    result_stride: usize,
    bias: Option<*const f32>,
    relu: bool,
}

/// Rows that are addressed from one pointer: the machine adds a register, or twice that, on its own.
const GROUP: usize = 3;

/// # Safety
/// With `width = VECTORS * LANES`: for `R` rows there are inputs as the layout says and `width` results
/// to overwrite, for each input and for the bias there are `width` values.
#[inline(always)]
unsafe fn rows_of<S: Simd, const R: usize, const VECTORS: usize>(
    simd: S,
    tile: Tile,
    totals: Option<&mut [f32]>,
    columns: usize,
) {
    if R > S::ROWS {
        return;
    }
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
    // SAFETY: offsets stay below the lengths that the caller vouches for.
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
        let Layout {
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
                // Once a line: asking again for one that is on its way would take the place of
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
                    // Written out: a loop of this length would stay one, with its sums in memory.
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
