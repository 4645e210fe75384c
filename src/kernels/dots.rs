//! Scalar products of rows with vectors, and of rows with themselves.

use super::{Isa, Kernel, MAX_LANES, Simd};

/// Vectors that a row is multiplied with at a time.
const VECTORS: usize = 4;

/// Sums per product, so that additions do not wait for each other.
const CHAINS: usize = 2;

/// Bytes by which rows are prefetched ahead: the machine's own prefetching stops at the end of a page.
const AHEAD: usize = 4096;

/// Scalar products of each row of `rows`, `[n, width]`, with each of `vectors`, `[m, width]`, into
/// `products`, `[n, m]`, and with itself into `squares`, `[n]`. A product depends on its two vectors and the
/// instruction set alone.
///
/// # Panics
/// If `width` is 0 or a slice does not have the length of its shape.
pub fn dots(
    isa: Isa,
    width: usize,
    rows: &[f32],
    vectors: &[f32],
    products: &mut [f32],
    squares: &mut [f32],
) {
    assert!(rows.len().is_multiple_of(width) && vectors.len().is_multiple_of(width));
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
            let mut groups = self.vectors.chunks(VECTORS * width);
            let mut to = products.chunks_mut(VECTORS);
            // The first vectors come with the row itself, while it is read from memory.
            if let (Some(group), Some(products)) = (groups.next(), to.next()) {
                self.squares[index] = match products.len() {
                    1 => first::<S, 2>(simd, row, group, products),
                    2 => first::<S, 3>(simd, row, group, products),
                    3 => first::<S, 4>(simd, row, group, products),
                    _ => first::<S, 5>(simd, row, group, products),
                };
            } else {
                self.squares[index] = multiply(simd, row, [row])[0];
            }
            for (group, products) in groups.zip(to) {
                match products.len() {
                    1 => rest::<S, 1>(simd, row, group, products),
                    2 => rest::<S, 2>(simd, row, group, products),
                    3 => rest::<S, 3>(simd, row, group, products),
                    _ => rest::<S, 4>(simd, row, group, products),
                }
            }
        }
    }
}

/// Products with `N - 1` vectors; returns the one of the row with itself.
#[inline(always)]
fn first<S: Simd, const N: usize>(
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
fn rest<S: Simd, const N: usize>(simd: S, row: &[f32], vectors: &[f32], products: &mut [f32]) {
    let at = |index: usize| &vectors[index * row.len()..][..row.len()];
    products.copy_from_slice(&multiply::<S, N>(simd, row, std::array::from_fn(at)));
}

#[inline(always)]
fn multiply<S: Simd, const N: usize>(simd: S, row: &[f32], vectors: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[simd.splat(0.0); CHAINS]; N];
    let step = CHAINS * S::LANES;
    let whole = row.len() / step * step;
    for start in (0..whole).step_by(step) {
        for chain in 0..CHAINS {
            let at = start + chain * S::LANES;
            simd.prefetch(
                row.as_ptr()
                    .wrapping_add(at)
                    .cast::<u8>()
                    .wrapping_add(AHEAD),
            );
            let x = simd.load(&row[at..]);
            for (vector, sums) in vectors.iter().zip(&mut sums) {
                sums[chain] = simd.fma(x, simd.load(&vector[at..]), sums[chain]);
            }
        }
    }
    for at in (whole..row.len()).step_by(S::LANES) {
        let x = simd.load_some(&row[at..]);
        for (vector, sums) in vectors.iter().zip(&mut sums) {
            sums[0] = simd.fma(x, simd.load_some(&vector[at..]), sums[0]);
        }
    }
    sums.map(|sums| {
        let mut lanes = [0.0; MAX_LANES];
        simd.store(simd.add(sums[0], sums[1]), &mut lanes);
        lanes[..S::LANES].iter().sum()
    })
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
                (7, 2, 5),
                (32, 4, 0),
                (33, 1, 4),
                (100, 5, 9),
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
        let (x, y) = (random(width, 3), random(11 * width, 4));
        for isa in Isa::available() {
            let (mut together, mut square) = ([0.0; 11], [0.0]);
            dots(isa, width, &x, &y, &mut together, &mut square);
            for (y, together) in y.chunks(width).zip(together) {
                let mut alone = [0.0];
                dots(isa, width, &x, y, &mut alone, &mut square);
                assert_eq!(alone[0].to_bits(), together.to_bits());
            }
        }
    }
}
