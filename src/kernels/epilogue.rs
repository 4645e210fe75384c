//! What is done to the results of a product before they leave the caches.

use super::activation::activate;
use super::{Activation, Element, Kernel, MatMut, Simd};

/// The activation of each result, and the sums that the squeeze needs.
#[derive(Debug, Default)]
pub struct Epilogue<'a> {
    pub activation: Option<Activation>,
    /// Of the activated results.
    pub sums: Option<RowSums<'a>>,
}

/// Sums over segments of rows: one row of `outputs` values a segment.
#[derive(Debug)]
pub struct RowSums<'a> {
    /// Rows to a segment, such as the pixels of an image.
    pub segment: usize,
    pub sums: &'a mut [f32],
}

/// Where a kernel applies an activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    /// In registers: ReLU is a single instruction.
    pub relu: bool,
    /// On a task's results while they are in the cache near the core, so that the code of an
    /// activation exists once and takes no registers from the sums.
    pub after: Option<Activation>,
}

impl From<Option<Activation>> for Placement {
    fn from(activation: Option<Activation>) -> Self {
        let relu = activation == Some(Activation::Relu);
        Self {
            relu,
            after: activation.filter(|_| !relu),
        }
    }
}

/// The activation of every value, in place.
pub(super) struct ActivateRows<'a, T> {
    pub rows: MatMut<'a, T>,
    pub activation: Activation,
}

impl<T: Element> Kernel for ActivateRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for row in 0..self.rows.rows() {
            for values in self.rows.row(row).chunks_mut(S::LANES) {
                let x = simd.load_some(values);
                simd.store_some(activate(simd, x, self.activation), values);
            }
        }
    }
}
