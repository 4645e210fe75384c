//! Products of rows with packed rows, and which of them reach a limit: tile by tile, so that only those leave
//! the caches.

use std::ops::Range;

use super::direct::Pixels;
use super::gemm::{Packed, multiply_panels};
use super::{Isa, Kernel, Simd};

/// Columns of a tile of products: a multiple of the width of any panel, 12 or a power of two, and few enough
/// that the products of a group of rows stay in L2.
pub const COLUMNS: usize = 480;

/// Products that are compared at a time.
const RUN: usize = 64;

/// Rows that others are multiplied with.
#[derive(Debug)]
pub struct PackedRows {
    isa: Isa,
    packed: Packed,
}

/// A product that reaches the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Row among those that were multiplied.
    pub row: usize,
    /// Packed row.
    pub column: usize,
    /// Their product, summed in f32 in any order.
    pub product: f32,
}

impl PackedRows {
    /// `count` rows of `width` values: `row(index, values)` writes those of a row, as far as they are not 0.
    pub fn new(isa: Isa, width: usize, count: usize, row: impl Fn(usize, &mut [f32])) -> Self {
        Self {
            isa,
            packed: Packed::new(isa, width, &vec![0.0; count], row),
        }
    }

    /// Products of each row of `rows` with all packed rows, on this thread: `[n, count]`.
    ///
    /// # Panics
    /// If a slice is not whole rows.
    pub fn products(&self, rows: &[f32], products: &mut [f32]) {
        let (inputs, count) = (self.packed.depth(), self.packed.outputs());
        assert_eq!(rows.len() * count, products.len() * inputs);
        let rows = Pixels { x: rows, inputs };
        multiply_panels(&self.packed, &rows, 0..self.packed.panels(), products);
    }

    /// Multiplies each row of `rows` with those of the packed rows in `columns`, on this thread, and tells the
    /// pairs whose product is at least `limit`: [`COLUMNS`] columns after the others, in them row by row.
    ///
    /// # Panics
    /// If `rows` are not whole rows, or there are no such columns.
    pub fn reaching(
        &self,
        rows: &[f32],
        columns: Range<usize>,
        limit: f32,
        mut found: impl FnMut(Hit),
    ) {
        let (width, count) = (self.packed.depth(), self.packed.outputs());
        let height = rows.len() / width.max(1);
        assert!(height * width == rows.len() && columns.end <= count);
        let panel = self.packed.width();
        let end = columns.end.div_ceil(panel);
        let mut tile = vec![0.0; height * COLUMNS.min(count)];
        for start in (columns.start / COLUMNS * COLUMNS..columns.end).step_by(COLUMNS) {
            let panels = start / panel..((start + COLUMNS) / panel).min(end);
            let stride = (panels.end * panel).min(count) - start;
            let tile = &mut tile[..height * stride];
            let rows = Pixels {
                x: rows,
                inputs: width,
            };
            multiply_panels(&self.packed, &rows, panels, tile);
            reaching(self.isa, tile, limit, &mut |at, product| {
                let (row, column) = (at / stride, start + at % stride);
                if columns.contains(&column) {
                    found(Hit {
                        row,
                        column,
                        product,
                    });
                }
            });
        }
    }
}

/// Tells the places of the values that are at least `limit`.
fn reaching(isa: Isa, values: &[f32], limit: f32, found: &mut impl FnMut(usize, f32)) {
    // Whole runs: a kernel that calls back would have the callback compiled for each instruction set.
    let mut start = 0;
    while let Some(run) = isa.run(NextRun {
        values,
        runs: start..values.len() / RUN,
        limit,
    }) {
        tell(run * RUN..(run + 1) * RUN, values, limit, found);
        start = run + 1;
    }
    let rest = values.len() / RUN * RUN..values.len();
    tell(rest, values, limit, found);
}

fn tell(range: Range<usize>, values: &[f32], limit: f32, found: &mut impl FnMut(usize, f32)) {
    for at in range {
        if values[at] >= limit {
            found(at, values[at]);
        }
    }
}

/// Finds the next run of which a value is at least the limit.
struct NextRun<'a> {
    values: &'a [f32],
    runs: Range<usize>,
    limit: f32,
}

impl Kernel for NextRun<'_> {
    type Output = Option<usize>;
    type Element = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<usize> {
        for run in self.runs {
            let values = &self.values[run * RUN..][..RUN];
            let mut most = simd.load(values);
            for at in (S::LANES..RUN).step_by(S::LANES) {
                most = simd.max(most, simd.load(&values[at..]));
            }
            let mut lanes = [f32::NEG_INFINITY; super::MAX_LANES];
            simd.store(most, &mut lanes);
            let mut reaches = false;
            for lane in lanes {
                reaches |= lane >= self.limit;
            }
            if reaches {
                return Some(run);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::random;
    use super::*;

    fn exact(a: &[f32], b: &[f32]) -> f64 {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.sum()
    }

    #[test]
    fn exactly_the_products_that_reach_the_limit_are_told() {
        for isa in Isa::available() {
            for (width, height, count, columns) in [
                (1, 1, 1, 0..1),
                (5, 3, 7, 2..7),
                (64, 113, 40, 0..40),
                (700, 9, 1100, 530..1030),
                (33, 250, 513, 0..513),
                (33, 12, 600, 3..520),
            ] {
                let (x, y) = (random(height * width, 1), random(count * width, 2));
                let packed = PackedRows::new(isa, width, count, |row, to| {
                    to.copy_from_slice(&y[row * width..][..width]);
                });
                let mut products = vec![0.0; height * count];
                packed.products(&x, &mut products);
                for (x, products) in x.chunks(width).zip(products.chunks(count)) {
                    for (y, product) in y.chunks(width).zip(products) {
                        assert!((exact(x, y) - f64::from(*product)).abs() <= 1e-6 * width as f64);
                    }
                }
                let limit = 0.6 * (width as f32).sqrt() / 3.0;
                let mut told = Vec::new();
                packed.reaching(&x, columns.clone(), limit, |hit| told.push(hit));
                let place = |hit: &Hit| (hit.column / COLUMNS, hit.row, hit.column);
                assert!(told.is_sorted_by_key(place));
                told.sort_by_key(|hit| (hit.row, hit.column));
                let mut told = told.into_iter().peekable();
                let mut count_told = 0;
                for (row, x) in x.chunks(width).enumerate() {
                    for (column, y) in y.chunks(width).enumerate() {
                        let product = exact(x, y);
                        let hit = told.next_if(|hit| (hit.row, hit.column) == (row, column));
                        count_told += usize::from(hit.is_some());
                        let sure = (product - f64::from(limit)).abs() > 1e-6 * width as f64;
                        let reaches = columns.contains(&column) && product >= f64::from(limit);
                        assert!(!sure || hit.is_some() == reaches, "{width} {row} {column}");
                        assert!(hit.is_none_or(|hit| {
                            (f64::from(hit.product) - product).abs() <= 1e-6 * width as f64
                        }));
                    }
                }
                assert_eq!(told.next(), None);
                assert!(
                    count_told > 0 || height < 9,
                    "the limit is too high to test anything"
                );
            }
        }
    }
}
