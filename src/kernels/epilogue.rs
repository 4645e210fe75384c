//! What is done to the results of a product while they are still in the caches.

use super::activation::activate;
use super::{Activation, Element, Isa, Kernel, MatMut, Simd};

/// The activation of each result, and the sums that the squeeze needs.
#[derive(Debug, Default)]
pub struct Epilogue<'a> {
    /// Applied to every result.
    pub activation: Option<Activation>,
    /// Sums of the activated results.
    pub sums: Option<RowSums<'a>>,
}

/// Sums over the rows of each segment.
#[derive(Debug)]
pub struct RowSums<'a> {
    /// Rows per segment, such as the pixels of an image.
    pub segment: usize,
    /// `[segments, outputs]`.
    pub sums: &'a mut [f32],
}

/// Where a kernel applies the activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    /// In registers, since ReLU is a single instruction.
    pub relu: bool,
    /// On a task's results while they are in L1 or L2, so that the code of an activation function
    /// exists once and takes no registers from the sums.
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

impl Activation {
    /// Applies it to every value, in place.
    pub fn apply(self, isa: Isa, values: &mut [f32]) {
        let columns = values.len();
        isa.run(ActivateRows {
            rows: MatMut::new(values, columns),
            from: None,
            activation: self,
        });
    }
}

/// Applies an activation to every value.
pub(super) struct ActivateRows<'a, T> {
    /// The results, and the values if they are nowhere else.
    pub rows: MatMut<'a, T>,
    /// The values, and how many there are from one row to the next.
    pub from: Option<(&'a [f32], usize)>,
    pub activation: Activation,
}

impl<T: Element> Kernel for ActivateRows<'_, T> {
    type Output = ();
    type Element = T;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        // A choice for each row, not for each vector. A closure would not be compiled for the instruction set.
        macro_rules! load_from {
            ($from:expr, $values:expr, $at:expr) => {
                match $from {
                    Some(from) => simd.load(&from[$at..]),
                    None => simd.load(&$values[$at..]),
                }
            };
        }
        macro_rules! activate_row {
            ($activation:expr, $from:expr, $values:expr) => {{
                let (from, values) = ($from, $values);
                // The last vector overlaps the one before it, so it is loaded before that one is stored.
                let last = values.len().checked_sub(S::LANES);
                let end = match last {
                    Some(at) => Some(load_from!(from, values, at)),
                    None => None,
                };
                let mut at = 0;
                while at + S::LANES <= values.len() {
                    let x = load_from!(from, values, at);
                    simd.store(activate(simd, x, $activation), &mut values[at..]);
                    at += S::LANES;
                }
                if let (Some(last), Some(x)) = (last, end) {
                    if at < values.len() {
                        simd.store(activate(simd, x, $activation), &mut values[last..]);
                    }
                } else {
                    let x = match from {
                        Some(from) => simd.load_some(from),
                        None => simd.load_some(&*values),
                    };
                    simd.store_some(activate(simd, x, $activation), values);
                }
            }};
        }
        macro_rules! each {
            ($activation:expr) => {
                if let (None, Some(values)) = (self.from, self.rows.contiguous()) {
                    activate_row!($activation, None::<&[f32]>, values);
                } else {
                    for row in 0..self.rows.rows() {
                        let from = self.from.map(|(values, stride)| &values[row * stride..]);
                        activate_row!($activation, from, self.rows.row(row));
                    }
                }
            };
        }
        match self.activation {
            Activation::Silu => each!(Activation::Silu),
            Activation::HardSwish => each!(Activation::HardSwish),
            other => each!(other),
        }
    }
}
