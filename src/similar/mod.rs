//! Which images are alike: nearest neighbours and near-duplicates by the cosine of their features.
//!
//! Both are exact. Products in f32 only rule out what cannot count, with a bound on their error; whatever is
//! left is computed in f64 in a fixed order. So an answer depends neither on the number of threads nor on
//! the machine's instructions.
//!
//! ```
//! use senet::similar::{Matrix, nearest};
//!
//! let features = [1.0, 0.0, 0.9, 0.1, 0.0, 2.0];
//! let images = Matrix::new(&features, 2);
//! let best = &nearest(&images, &Matrix::new(&[0.0, 1.0], 2), 2)?[0];
//! assert_eq!((best[0].index, best[0].similarity), (2, 1.0));
//! assert_eq!(best[1].index, 1);
//! # Ok::<(), senet::similar::SimilarError>(())
//! ```

mod cosine;
mod duplicates;
mod error;
mod groups;
mod nearest;
pub mod page;

use std::borrow::Cow;
use std::ops::Range;

pub use duplicates::{DuplicateOptions, Progress, duplicates, duplicates_between};
pub use error::SimilarError;
pub use groups::{Group, Pair};
pub use nearest::{Neighbor, nearest};

use crate::embed::FeatureFile;

/// Vectors of one width, numbered from 0.
pub trait Vectors: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Values of a vector.
    fn width(&self) -> usize;

    /// Some of the vectors, one after the other: `[range.len(), width]`.
    fn rows(&self, range: Range<usize>) -> Cow<'_, [f32]>;

    /// Says that some of the vectors will not be read again soon, so that those of a file need not stay in
    /// memory.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Vectors in memory.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    width: usize,
}

impl<'a> Matrix<'a> {
    /// `[n, width]` values.
    ///
    /// # Panics
    /// If that is not a whole number of vectors, or `width` is 0.
    pub fn new(values: &'a [f32], width: usize) -> Self {
        assert!(width > 0 && values.len().is_multiple_of(width));
        Self { values, width }
    }
}

impl Vectors for Matrix<'_> {
    fn len(&self) -> usize {
        self.values.len() / self.width
    }

    fn width(&self) -> usize {
        self.width
    }

    fn rows(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self.values[range.start * self.width..range.end * self.width])
    }
}

impl Vectors for FeatureFile {
    fn len(&self) -> usize {
        self.len()
    }

    fn width(&self) -> usize {
        self.width()
    }

    fn rows(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        self.rows(range)
    }

    fn release(&self, range: Range<usize>) {
        self.release(range);
    }
}

/// Checks that vectors can be compared.
fn check_widths(vectors: &dyn Vectors, with: &dyn Vectors) -> Result<(), SimilarError> {
    match (vectors.width(), with.width()) {
        (0, _) | (_, 0) => Err(SimilarError::NoValues),
        (expected, found) if expected != found => Err(SimilarError::Width { expected, found }),
        _ => Ok(()),
    }
}
