//! The nearest neighbours of a few vectors among many, in one pass over the many.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use super::cosine::{Measured, is_safe, margin};
use super::{SimilarError, Vectors, check_widths};
use crate::kernels::{Isa, MOST_VECTORS, PackedRows, dots};

/// Bytes of the vectors that are read at a time, so that they are still in a cache when they are compared with
/// the last query.
const BLOCK: usize = 1 << 20;

/// A vector that is near to a query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Neighbor {
    /// Its index.
    pub index: usize,
    /// Cosine of the angle between the two, from -1 to 1; 0 if one of them is 0.
    pub similarity: f64,
}

/// The `k` nearest of `vectors` to each of `queries`, by the cosine, the nearest first and equally near ones
/// by index.
///
/// The vectors are read once, by all threads of the current pool, at the speed of the memory for a few
/// queries.
///
/// # Errors
/// If the widths differ, or a value is not finite.
pub fn nearest(
    vectors: &dyn Vectors,
    queries: &dyn Vectors,
    k: usize,
) -> Result<Vec<Vec<Neighbor>>, SimilarError> {
    if queries.is_empty() || vectors.is_empty() || k == 0 {
        return Ok(vec![Vec::new(); queries.len()]);
    }
    check_widths(vectors, queries)?;
    let width = vectors.width();
    let values = queries.rows(0..queries.len());
    let mut units = vec![0.0; values.len()];
    let mut measured = Vec::with_capacity(queries.len());
    for (index, (row, unit)) in values
        .chunks_exact(width)
        .zip(units.chunks_exact_mut(width))
        .enumerate()
    {
        let query = Measured::new(row).ok_or(SimilarError::NotFinite { index })?;
        query.write_unit(unit);
        measured.push(query);
    }
    let (isa, many) = (Isa::best(), queries.len() > MOST_VECTORS);
    let search = Search {
        vectors,
        queries: &measured,
        units: match many {
            true => Units::Packed(PackedRows::new(isa, width, queries.len(), |query, to| {
                to.copy_from_slice(&units[query * width..][..width]);
            })),
            false => Units::Plain(&units),
        },
        margin: margin(width),
        isa,
    };
    let none = || vec![Best::new(k); measured.len()];
    let rows = (BLOCK / (width * size_of::<f32>())).clamp(1, vectors.len());
    let best = (0..vectors.len().div_ceil(rows))
        .into_par_iter()
        .map(|block| block * rows..((block + 1) * rows).min(vectors.len()))
        .try_fold(none, |mut best, range| {
            search.block(range, &mut best)?;
            Ok(best)
        })
        .try_reduce(none, |mut best, others| {
            let pairs = best.iter_mut().zip(others);
            pairs.for_each(|(best, other)| other.heap.into_iter().for_each(|n| best.offer(n.0)));
            Ok(best)
        })?;
    Ok(best.into_iter().map(Best::sorted).collect())
}

struct Search<'a> {
    vectors: &'a dyn Vectors,
    queries: &'a [Measured<'a>],
    units: Units<'a>,
    margin: f64,
    isa: Isa,
}

/// The queries, divided by their lengths.
enum Units<'a> {
    Plain(&'a [f32]),
    Packed(PackedRows),
}

impl Search<'_> {
    /// Compares some of the vectors with all queries.
    fn block(&self, range: Range<usize>, best: &mut [Best]) -> Result<(), SimilarError> {
        let (width, count) = (self.vectors.width(), self.queries.len());
        let rows = self.vectors.rows(range.clone());
        let mut products = vec![0.0; range.len() * count];
        let mut squares = vec![0.0; range.len()];
        match &self.units {
            Units::Plain(units) => {
                dots(self.isa, width, &rows, units, &mut products, &mut squares);
            }
            Units::Packed(units) => {
                dots(self.isa, width, &rows, &[], &mut [], &mut squares);
                units.products(&rows, &mut products);
            }
        }
        let products = products.chunks_exact(count).zip(squares);
        for ((index, row), (products, square)) in range.zip(rows.chunks_exact(width)).zip(products)
        {
            let mut measured = None;
            let safe = is_safe(f64::from(square));
            let length = square.sqrt();
            for ((query, best), product) in self.queries.iter().zip(&mut *best).zip(products) {
                // In f32, only to rule out.
                if safe && f64::from(product / length) + self.margin < best.least() {
                    continue;
                }
                let row = match measured {
                    Some(row) => row,
                    None => Measured::new(row).ok_or(SimilarError::NotFinite { index })?,
                };
                measured = Some(row);
                best.offer(Neighbor {
                    index,
                    similarity: query.cosine(row),
                });
            }
        }
        Ok(())
    }
}

/// The best neighbours of a query so far.
#[derive(Clone)]
struct Best {
    k: usize,
    heap: BinaryHeap<Worst>,
}

impl Best {
    fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::new(),
        }
    }

    /// The similarity below which none is needed.
    fn least(&self) -> f64 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.k => worst.0.similarity,
            _ => f64::NEG_INFINITY,
        }
    }

    fn offer(&mut self, neighbor: Neighbor) {
        if self.heap.len() < self.k {
            self.heap.push(Worst(neighbor));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Worst(neighbor) < *worst
        {
            *worst = Worst(neighbor);
        }
    }

    fn sorted(self) -> Vec<Neighbor> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|worst| worst.0).collect()
    }
}

/// A neighbour; the greatest is the one to give up first.
#[derive(Clone, Copy)]
struct Worst(Neighbor);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        let nearer = other.0.similarity.total_cmp(&self.0.similarity);
        nearer.then(self.0.index.cmp(&other.0.index))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Worst {}
