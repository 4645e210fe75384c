//! Scalar products of rows with vectors, and of rows with themselves.

use super::{Isa, Kernel, MAX_LANES, Simd};

/// Most vectors that rows are multiplied with: for more, [`PackedRows`](super::PackedRows) is faster.
pub const MOST_VECTORS: usize = 4;

/// Sums per product, so that additions do not wait for each other.
const CHAINS: usize = 2;

/// Bytes by which rows are prefetched ahead: the machine's own prefetching stops at the end of a page.
const AHEAD: usize = 4096;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Scalar products of each row of `rows`, `[n, width]`, with each of up to [`MOST_VECTORS`] `vectors`, `[m, width]`, into
/// `products`, `[n, m]`, and with itself into `squares`, `[n]`. A product depends on its two vectors and the
/// instruction set alone.
///
/// # Panics
/// If there are more vectors, `width` is 0 or a slice does not have the length of its shape.
pub fn dots(
    isa: Isa,
    width: usize,
    rows: &[f32],
    vectors: &[f32],
    products: &mut [f32],
    squares: &mut [f32],
) {
    assert!(rows.len().is_multiple_of(width) && vectors.len().is_multiple_of(width));
    assert!(vectors.len() <= MOST_VECTORS * width);
    assert_eq!(squares.len(), rows.len() / width);
    assert_eq!(products.len(), squares.len() * (vectors.len() / width));
    isa.run(Dots {
        width,
        rows,
        vectors,
        products,
        squares,
    });
}

struct Dots<'a> {
    width: usize,
    rows: &'a [f32],
    vectors: &'a [f32],
    products: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for Dots<'_> {
    type Output = ();
    type Element = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.width;
        let count = self.vectors.len() / width;
        for (index, row) in self.rows.chunks_exact(width).enumerate() {
            let products = &mut self.products[index * count..][..count];
            self.squares[index] = match count {
                0 => with_itself::<S, 1>(simd, row, self.vectors, products),
                1 => with_itself::<S, 2>(simd, row, self.vectors, products),
                2 => with_itself::<S, 3>(simd, row, self.vectors, products),
                3 => with_itself::<S, 4>(simd, row, self.vectors, products),
                _ => with_itself::<S, 5>(simd, row, self.vectors, products),
            };
        }
    }
}

/// Products with `N - 1` vectors; returns the one of the row with itself, for which it is read only once.
#[inline(always)]
fn with_itself<S: Simd, const N: usize>(
    simd: S,
    row: &[f32],
    vectors: &[f32],
    products: &mut [f32],
) -> f32 {
    let at = |index: usize| match index {
        0 => row,
        _ => &vectors[(index - 1) * row.len()..][..row.len()],
    };
    let results = multiply::<S, N>(simd, row, std::array::from_fn(at));
    products.copy_from_slice(&results[1..]);
    results[0]
}

#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]
fn multiply<S: Simd, const N: usize>(simd: S, row: &[f32], vectors: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[simd.splat(0.0); CHAINS]; N];
    let step = CHAINS * S::LANES;
    let whole = row.len() / step * step;
    let vectors = vectors.map(|vector| &vector[..row.len()]);
    let mut start = 0;
    while start < whole {
        let ahead = row.as_ptr().wrapping_add(start).cast::<u8>();
        for line in (0..step * size_of::<f32>()).step_by(LINE) {
            simd.prefetch(ahead.wrapping_add(AHEAD + line));
        }
        for chain in 0..CHAINS {
            let lanes = start + chain * S::LANES..start + (chain + 1) * S::LANES;
            let x = simd.load(&row[lanes.clone()]);
            for v in 0..N {
                let y = simd.load(&vectors[v][lanes.clone()]);
                sums[v][chain] = simd.fma(x, y, sums[v][chain]);
            }
        }
        start += step;
    }
    while start < row.len() {
        let lanes = start..row.len().min(start + S::LANES);
        let x = simd.load_some(&row[lanes.clone()]);
        for v in 0..N {
            let y = simd.load_some(&vectors[v][lanes.clone()]);
            sums[v][0] = simd.fma(x, y, sums[v][0]);
        }
        start += S::LANES;
    }
    let mut products = [0.0; N];
    for v in 0..N {
        let mut lanes = [0.0; MAX_LANES];
        simd.store(simd.add(sums[v][0], sums[v][1]), &mut lanes);
        // By halves: additions one after the other would delay the next row.
        let mut half = S::LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        products[v] = lanes[0];
    }
    products
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
    fn products_match_those_in_f64() {
        for isa in Isa::available() {
            for (width, rows, vectors) in [
                (1, 3, 1),
                (7, 2, 3),
                (32, 4, 0),
                (33, 1, 4),
                (100, 5, 2),
                (2048, 3, 2),
            ] {
                let (x, y) = (random(rows * width, 1), random(vectors * width, 2));
                let (mut products, mut squares) = (vec![0.0; rows * vectors], vec![0.0; rows]);
                dots(isa, width, &x, &y, &mut products, &mut squares);
                let bound = 1e-6 * width as f64;
                for (row, x) in x.chunks(width).enumerate() {
                    assert!((f64::from(squares[row]) - exact(x, x)).abs() <= bound);
                    for (vector, y) in y.chunks(width).enumerate() {
                        let product = f64::from(products[row * vectors + vector]);
                        assert!((product - exact(x, y)).abs() <= bound, "{width} {row}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_does_not_depend_on_the_others() {
        let width = 77;
        let (x, y) = (random(width, 3), random(4 * width, 4));
        for isa in Isa::available() {
            let (mut together, mut square) = ([0.0; 4], [0.0]);
            dots(isa, width, &x, &y, &mut together, &mut square);
            for (y, together) in y.chunks(width).zip(together) {
                let mut alone = [0.0];
                dots(isa, width, &x, y, &mut alone, &mut square);
                assert_eq!(alone[0].to_bits(), together.to_bits());
            }
        }
    }
}
