//! Near-duplicates: all pairs of vectors whose cosine reaches a threshold, by products of tiles.
//!
//! Blocks of vectors are packed as the weights of a matrix product, and the others are multiplied with them
//! a few hundred at a time; only products that may reach the threshold leave the cache. Memory holds a block,
//! and what the [groups](super::groups) list.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use rayon::prelude::*;

use super::cosine::{Measured, margin, squares};
use super::groups::{Group, Groups, Pair};
use super::{SimilarError, Vectors, check_widths};
use crate::kernels::{COLUMNS, Hit, Isa, PackedRows};

/// Values of a packed block: so many that reading the others for it takes little of the time.
const BLOCK: usize = 1 << 23;

/// Vectors of a task: a multiple of the rows that the kernels pack at a time on any machine. What is listed of
/// large groups depends on the order of the tasks, so it must not depend on the machine.
const TASK: usize = 336;

/// Values of a task's vectors, at most.
const TASK_VALUES: usize = 1 << 20;

/// Tasks for each thread before their pairs are joined.
const TASKS_PER_THREAD: usize = 32;

/// What is searched for.
#[derive(Clone, Copy)]
pub struct DuplicateOptions<'a> {
    /// The least cosine of a pair.
    pub threshold: f64,
    /// Pairs of a group from which on only those are listed that join two groups: of n equal vectors there
    /// are n (n - 1) / 2 pairs.
    pub most_pairs: usize,
    /// Pairs to search; all if `None`.
    pub wanted: Option<&'a (dyn Fn(usize, usize) -> bool + Sync)>,
}

impl Default for DuplicateOptions<'_> {
    fn default() -> Self {
        Self {
            threshold: 0.97,
            most_pairs: 1000,
            wanted: None,
        }
    }
}

/// Pairs that were compared, of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Compared so far.
    pub done: u64,
    /// All.
    pub total: u64,
}

/// Groups of vectors that are alike: every member has a partner in its group with which its cosine is at
/// least the threshold. All pairs are compared; the result is exact, as if every cosine was computed in f64.
///
/// `watch` is called every now and then and may stop the search.
///
/// # Errors
/// If a value is not finite, or `watch` stopped the search.
pub fn duplicates(
    vectors: &dyn Vectors,
    options: &DuplicateOptions<'_>,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Vec<Group>, SimilarError> {
    if vectors.len() < 2 {
        return Ok(Vec::new());
    }
    check_widths(vectors, vectors)?;
    let squares = squares(vectors)?;
    let side = Side {
        vectors,
        squares: &squares,
        first: 0,
    };
    Search::new(side, side, true, options)?.run(watch)
}

/// Groups of alike vectors of which each pair has one of `new` and one of `old`, as [`duplicates`] finds them.
/// The indices of new vectors follow those of the old.
///
/// # Errors
/// If the widths differ, a value is not finite, or `watch` stopped the search.
pub fn duplicates_between(
    new: &dyn Vectors,
    old: &dyn Vectors,
    options: &DuplicateOptions<'_>,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Vec<Group>, SimilarError> {
    if new.is_empty() || old.is_empty() {
        return Ok(Vec::new());
    }
    check_widths(old, new)?;
    let old_squares = squares(old)?;
    let new_squares = squares(new).map_err(|error| match error {
        SimilarError::NotFinite { index } => SimilarError::NotFinite {
            index: old.len() + index,
        },
        error => error,
    })?;
    let old_side = Side {
        vectors: old,
        squares: &old_squares,
        first: 0,
    };
    let new_side = Side {
        vectors: new,
        squares: &new_squares,
        first: old.len(),
    };
    // The smaller file is packed, so that the larger is read the fewest times.
    let (columns, rows) = match old.len() < new.len() {
        true => (old_side, new_side),
        false => (new_side, old_side),
    };
    Search::new(columns, rows, false, options)?.run(watch)
}

/// Vectors, the squares of their lengths, and the index of the first one among all that are compared.
#[derive(Clone, Copy)]
struct Side<'a> {
    vectors: &'a dyn Vectors,
    squares: &'a [f64],
    first: usize,
}

impl Side<'_> {
    fn with<R>(&self, at: usize, work: impl FnOnce(Measured<'_>) -> R) -> R {
        work(Measured {
            values: &self.vectors.rows(at..at + 1),
            square: self.squares[at],
        })
    }
}

struct Search<'a> {
    /// Vectors that are packed in blocks.
    columns: Side<'a>,
    /// Vectors that are multiplied with them.
    rows: Side<'a>,
    /// Whether both sides are the same, so that each pair is compared once.
    same: bool,
    options: &'a DuplicateOptions<'a>,
    isa: Isa,
    width: usize,
    margin: f64,
}

/// What a task found.
#[derive(Default)]
struct Found {
    /// In the order in which they were found.
    pairs: Vec<Pair>,
    /// For numbers of groups, how many more pairs their group has.
    more: BTreeMap<usize, u64>,
}

impl<'a> Search<'a> {
    fn new(
        columns: Side<'a>,
        rows: Side<'a>,
        same: bool,
        options: &'a DuplicateOptions<'a>,
    ) -> Result<Self, SimilarError> {
        let search = Self {
            columns,
            rows,
            same,
            options,
            isa: Isa::best(),
            width: columns.vectors.width(),
            margin: margin(columns.vectors.width()),
        };
        let count = search.count();
        if u32::try_from(count).is_err() {
            return Err(SimilarError::TooMany { count });
        }
        Ok(search)
    }

    /// All vectors.
    fn count(&self) -> usize {
        let (columns, rows) = (self.columns.squares.len(), self.rows.squares.len());
        if self.same { columns } else { columns + rows }
    }

    fn run(
        &self,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Group>, SimilarError> {
        let (columns, rows) = (self.columns.squares.len(), self.rows.squares.len());
        let total = match self.same {
            true => columns as u64 * (columns as u64 - 1) / 2,
            false => columns as u64 * rows as u64,
        };
        let mut done = 0;
        let mut groups = Groups::new(self.count(), self.options.most_pairs);
        let mut listed = Vec::new();
        let size = (BLOCK / self.width / COLUMNS * COLUMNS).clamp(32, 32 * COLUMNS);
        let task = (TASK_VALUES / self.width).clamp(8, TASK);
        let wave = task * TASKS_PER_THREAD * rayon::current_num_threads();
        for start in (0..columns).step_by(size) {
            let block = start..(start + size).min(columns);
            let packed = self.pack(block.clone());
            // Of two vectors on the same side, the one with the larger index is multiplied.
            let mut next = if self.same { start + 1 } else { 0 };
            while next < rows {
                if watch(Progress { done, total }).is_break() {
                    return Err(SimilarError::Stopped);
                }
                let end = (next + wave).min(rows);
                let tasks = (next..end).into_par_iter().step_by(task);
                let found: Vec<Found> = tasks
                    .map_init(Vec::new, |units, at| {
                        let rows = at..(at + task).min(end);
                        self.task(&packed, block.clone(), rows, units, &groups)
                    })
                    .collect();
                for Found { pairs, more } in found {
                    for pair in pairs {
                        if groups.join([pair.first, pair.second]) {
                            listed.push(pair);
                        }
                    }
                    more.into_iter()
                        .for_each(|(number, pairs)| groups.count(number, pairs));
                }
                done += (next..end)
                    .map(|row| self.columns_of(&block, row).len() as u64)
                    .sum::<u64>();
                next = end;
            }
        }
        // A last call, with everything done.
        let _ = watch(Progress { done, total });
        Ok(groups.finish(listed))
    }

    fn pack(&self, block: Range<usize>) -> PackedRows {
        let packed = PackedRows::new(self.isa, self.width, block.len(), |index, to| {
            let at = block.start + index;
            self.columns.with(at, |vector| vector.write_unit(to));
        });
        self.columns.vectors.release(block);
        packed
    }

    /// The columns of a block that a row is compared with.
    fn columns_of(&self, block: &Range<usize>, row: usize) -> Range<usize> {
        let end = if self.same {
            block.end.min(row)
        } else {
            block.end
        };
        block.start..end
    }

    /// Compares some of the rows with a block of columns. `groups` are as they were some time ago.
    fn task(
        &self,
        packed: &PackedRows,
        block: Range<usize>,
        rows: Range<usize>,
        units: &mut Vec<f32>,
        groups: &Groups,
    ) -> Found {
        units.resize(rows.len() * self.width, 0.0);
        let values = self.rows.vectors.rows(rows.clone());
        let vectors = values.chunks_exact(self.width);
        let unit_rows = units.chunks_exact_mut(self.width);
        for ((at, values), unit) in rows.clone().zip(vectors).zip(unit_rows) {
            let square = self.rows.squares[at];
            Measured { values, square }.write_unit(unit);
        }
        let DuplicateOptions {
            threshold, wanted, ..
        } = *self.options;
        let mut found = Found::default();
        // Groups of this task's pairs alone, in which columns come first.
        let mut own: Option<Groups> = None;
        let last = self.columns_of(&block, rows.end - 1);
        let columns = 0..last.len();
        // To f32, and not above.
        let limit = ((threshold - self.margin) as f32).next_down();
        packed.reaching(units, columns, limit, |hit| {
            let Hit {
                row,
                column,
                product,
            } = hit;
            let (row_at, column_at) = (rows.start + row, block.start + column);
            if self.same && column_at >= row_at {
                return;
            }
            let ids = [self.columns.first + column_at, self.rows.first + row_at];
            let [first, second] = [ids[0].min(ids[1]), ids[0].max(ids[1])];
            if wanted.is_some_and(|wanted| !wanted(first, second)) {
                return;
            }
            let own_ids = [column, block.len() + row];
            let own = own.get_or_insert_with(|| {
                Groups::new(block.len() + rows.len(), self.options.most_pairs)
            });
            let is_known = groups.is_known(ids) || own.is_known(own_ids);
            if is_known && f64::from(product) >= threshold + self.margin {
                *found.more.entry(ids[0]).or_default() += 1;
                return;
            }
            let values = &values[row * self.width..][..self.width];
            let square = self.rows.squares[row_at];
            let row = Measured { values, square };
            let similarity = self.columns.with(column_at, |column| column.cosine(row));
            if similarity < threshold {
                return;
            }
            if is_known {
                *found.more.entry(ids[0]).or_default() += 1;
                return;
            }
            own.join(own_ids);
            found.pairs.push(Pair {
                first,
                second,
                similarity,
            });
        });
        self.rows.vectors.release(rows);
        found
    }
}
