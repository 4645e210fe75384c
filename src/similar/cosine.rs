//! The cosine of two vectors in f64, and how far one in f32 can be from it.

use super::{SimilarError, Vectors};

/// Sums of a product, so that the compiler makes vectors of them.
const CHAINS: usize = 16;

/// Squares of lengths that are safe in f32: no product or sum of such vectors overflows, and what underflows
/// is too small to matter.
const SAFE: std::ops::RangeInclusive<f64> = 1e-30..=1e30;

/// The scalar product, summed in a fixed order. Products of two f32 are exact in f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; CHAINS];
    let (a_chunks, a_rest) = a.as_chunks::<CHAINS>();
    let (b_chunks, b_rest) = b.as_chunks::<CHAINS>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += f64::from(a) * f64::from(b);
    }
    sums.iter().sum()
}

/// A vector and the square of its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured<'a> {
    pub(super) values: &'a [f32],
    pub(super) square: f64,
}

impl<'a> Measured<'a> {
    /// `None` if a value is not finite.
    pub(super) fn new(values: &'a [f32]) -> Option<Self> {
        // No sum of squares of f32 overflows in f64.
        let square = dot(values, values);
        square.is_finite().then_some(Self { values, square })
    }

    /// The cosine of the angle between two vectors, from -1 to 1: 0 if one of them is 0, and exactly 1 if
    /// they are equal.
    pub(super) fn cosine(self, other: Self) -> f64 {
        let squares = self.square * other.square;
        if squares == 0.0 {
            return 0.0;
        }
        let cosine = dot(self.values, other.values) / squares.sqrt();
        // Without the sign of zero, which would order equal values.
        cosine.clamp(-1.0, 1.0) + 0.0
    }

    /// The vector divided by its length, to f32; 0 stays 0.
    pub(super) fn write_unit(self, to: &mut [f32]) {
        let pairs = to.iter_mut().zip(self.values);
        if is_safe(self.square) {
            let factor = self.square.sqrt().recip() as f32;
            pairs.for_each(|(to, &x)| *to = x * factor);
        } else if self.square == 0.0 {
            to.fill(0.0);
        } else {
            let length = self.square.sqrt();
            pairs.for_each(|(to, &x)| *to = (f64::from(x) / length) as f32);
        }
    }
}

/// Whether a square of a length is safe in f32.
pub(super) fn is_safe(square: f64) -> bool {
    SAFE.contains(&square)
}

/// How far a cosine in f32 can be from that in f64: from the product of vectors that [`Measured::write_unit`]
/// wrote, or of one of them and a vector that is divided by its length afterwards, in whatever order the
/// machine sums `width` values.
///
/// With `u = 2^-24`, a product of unit vectors in f32 is off by less than `width u`, the length of a vector
/// by half of that, and what is rounded once by `u` each (Higham, "Accuracy and Stability of Numerical
/// Algorithms", 3.1).
pub(super) fn margin(width: usize) -> f64 {
    2.0 * (width + 8) as f64 * f64::from(f32::EPSILON) / 2.0
}

/// The square of the length of every vector.
pub(super) fn squares(vectors: &dyn Vectors) -> Result<Vec<f64>, SimilarError> {
    use rayon::prelude::*;
    // Vectors to read at a time.
    const ROWS: usize = 64;
    let width = vectors.width();
    let mut squares = vec![0.0; vectors.len()];
    let blocks = squares.par_chunks_mut(ROWS).enumerate();
    blocks.try_for_each(|(block, squares)| {
        let start = block * ROWS;
        let range = start..start + squares.len();
        for (index, (row, square)) in (start..).zip(
            vectors
                .rows(range.clone())
                .chunks_exact(width)
                .zip(&mut *squares),
        ) {
            *square = Measured::new(row)
                .ok_or(SimilarError::NotFinite { index })?
                .square;
        }
        vectors.release(range);
        Ok(())
    })?;
    Ok(squares)
}
