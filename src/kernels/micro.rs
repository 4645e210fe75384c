//! The product of a few rows with a panel of weights, in registers.
//!
//! Everything that is a sum over channels is cut into such tiles: up to [`Simd::ROWS`] pixels by
//! one or two vectors of output channels, over some hundred inputs at a time.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use super::{Isa, MAX_LANES, MatMut, Simd};

/// Most inputs that one pass over a tile sums.
const MAX_DEPTH: usize = 512;

/// Most values of a panel. More inputs at a time mean fewer passes; a panel of 32 KiB still comes
/// fast enough, from the second cache where the first has no more than that.
const PANEL: usize = 8192;

/// Most inputs that one pass of an instruction set sums.
pub(super) fn most_depth(isa: Isa) -> usize {
    (PANEL / (2 * isa.lanes())).min(MAX_DEPTH)
}

/// From one packed row to the next. Not a multiple of the page, so that the rows of a tile fall
/// into different sets of the cache; a constant, so that rows are addressed without a register each.
pub(super) const ROW: usize = MAX_DEPTH + 16;

/// Inputs whose weights are asked for ahead: the first tile of a block finds them far away, and the
/// panel after this one follows in memory.
const AHEAD: usize = 32;

/// Values in a line of the cache.
const LINE: usize = 16;

/// Most rows that any instruction set has registers for.
const MAX_ROWS: usize = 14;

/// A tile of results and what makes it.
pub(super) struct Tile<'a> {
    /// One row every [`ROW`] values.
    pub packed: &'a [f32],
    /// For each input, the weights of all outputs.
    pub panel: &'a [f32],
    /// Inputs to sum.
    pub depth: usize,
    pub y: MatMut<'a>,
    /// What the sum starts from; `None` goes on from what `y` holds.
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
    /// Receives the sum over the tile's rows, per output.
    pub sums: Option<&'a mut [f32]>,
}

/// `y = packed * panel + bias` for a panel of `VECTORS` vectors.
///
/// # Panics
/// If a slice is too short, or `y` has no row, more than [`Simd::ROWS`], or more columns than the
/// panel.
#[inline(always)]
pub(super) fn multiply<S: Simd, const VECTORS: usize>(simd: S, tile: Tile<'_>) {
    let (width, rows, columns) = (VECTORS * S::LANES, tile.y.rows(), tile.y.columns());
    assert!(rows > 0 && rows <= S::ROWS && tile.depth <= MAX_DEPTH && columns <= width);
    assert!(tile.packed.len() >= (rows - 1) * ROW + tile.depth);
    assert!(tile.panel.len() >= tile.depth * width);
    assert!(tile.bias.is_none_or(|bias| bias.len() >= width));
    assert!(tile.sums.as_ref().is_none_or(|sums| sums.len() >= columns));
    macro_rules! of_rows {
        ($($count:literal)*) => {
            match rows {
                // SAFETY: the lengths were checked above.
                $($count => unsafe { rows_of::<S, $count, VECTORS>(simd, tile) },)*
                _ => unreachable!("rows were checked"),
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// # Safety
/// The lengths are as [`multiply`] checks them, and `tile.y` has `R` rows.
#[inline(always)]
unsafe fn rows_of<S: Simd, const R: usize, const VECTORS: usize>(simd: S, mut tile: Tile<'_>) {
    if R > S::ROWS {
        return;
    }
    let width = VECTORS * S::LANES;
    let columns = tile.y.columns();
    // Results that do not fill the panel go through a tile that does.
    let mut whole = [0.0; MAX_ROWS * 2 * MAX_LANES];
    let (results, stride) = if columns == width {
        (tile.y.row_ptr(0), tile.y.stride())
    } else {
        if tile.bias.is_none() {
            for (r, row) in whole.chunks_exact_mut(width).take(R).enumerate() {
                row[..columns].copy_from_slice(tile.y.row(r));
            }
        }
        (whole.as_mut_ptr(), width)
    };
    let (a, b) = (tile.packed.as_ptr(), tile.panel.as_ptr());
    if tile.bias.is_some() {
        for at in 0..R * width.div_ceil(LINE) {
            let (r, line) = (at % R, at / R);
            simd.prefetch_write(results.wrapping_add(r * stride + line * LINE));
        }
    }
    let mut sums = [[simd.splat(0.0); VECTORS]; R];
    // SAFETY: offsets stay below the lengths that `multiply` checked: bias and panel rows have
    // `width` values, packed row `r` has `depth` from `r * ROW`, each of `R` results has `width`.
    unsafe {
        for r in 0..R {
            for v in 0..VECTORS {
                let from = match tile.bias {
                    Some(bias) => bias.as_ptr(),
                    None => results.add(r * stride).cast_const(),
                };
                sums[r][v] = simd.load_unchecked(from.add(v * S::LANES));
            }
        }
        for k in 0..tile.depth {
            let mut weights = [simd.splat(0.0); VECTORS];
            for v in 0..VECTORS {
                let at = b.add(k * width + v * S::LANES);
                if (v * S::LANES).is_multiple_of(LINE) {
                    simd.prefetch(at.wrapping_add(AHEAD * width));
                }
                weights[v] = simd.load_unchecked(at);
            }
            for r in 0..R {
                let x = simd.splat(*a.add(r * ROW + k));
                for v in 0..VECTORS {
                    sums[r][v] = simd.fma(x, weights[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..VECTORS {
                if tile.relu {
                    sums[r][v] = simd.relu(sums[r][v]);
                }
                simd.store_unchecked(sums[r][v], results.add(r * stride + v * S::LANES));
            }
        }
    }
    if let Some(totals) = &mut tile.sums {
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
    if columns < width {
        for (r, row) in whole.chunks_exact(width).take(R).enumerate() {
            tile.y.row(r).copy_from_slice(&row[..columns]);
        }
    }
}
