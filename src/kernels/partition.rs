//! How work is partitioned into tasks for the threads, and that of a matrix product in particular.
//!
//! A product's task packs its rows for all its panels of weights and reads its panels for all its
//! rows, so it should have many of both; within these limits the busiest thread should have as
//! little to do as possible.

use std::ops::Range;

use super::MatMut;
use crate::machine;

/// Rows and columns of a result that are still to be computed, in units that its [`Tasks`] choose.
pub(super) struct Work<'a, T = f32> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// Where the results of these rows and columns go.
    pub y: MatMut<'a, T>,
    /// Where the sums over rows go, if they are wanted.
    pub sums: Option<MatMut<'a>>,
}

/// Where to split work in two.
pub(super) enum Split {
    /// Before this unit of rows.
    Rows(usize),
    /// Before this unit of columns.
    Columns(usize),
}

/// A computation that is split recursively into tasks, each with its own window of the results.
pub(super) trait Tasks: Sync {
    /// The type of the results.
    type Element: Send;

    /// Where to split; `None` if this is one task.
    fn split(&self, rows: &Range<usize>, columns: &Range<usize>) -> Option<Split>;

    /// The first row of the results and the first row of the sums of a unit of rows.
    fn row(&self, unit: usize) -> [usize; 2];

    /// The first column of the results of a unit of columns.
    fn column(&self, unit: usize) -> usize;

    /// Computes one task.
    fn run(&self, task: Work<'_, Self::Element>);
}

impl<T: Send> Work<'_, T> {
    /// Runs all tasks on the threads of the current pool.
    pub(super) fn run(self, tasks: &impl Tasks<Element = T>) {
        let Self {
            rows,
            columns,
            y,
            sums,
        } = self;
        let (first, second) = match tasks.split(&rows, &columns) {
            None => {
                return tasks.run(Work {
                    rows,
                    columns,
                    y,
                    sums,
                });
            }
            Some(Split::Rows(middle)) => {
                let (start, at) = (tasks.row(rows.start), tasks.row(middle));
                let (above, below) = y.split_rows(at[0] - start[0]);
                let sums = sums.map(|sums| sums.split_rows(at[1] - start[1]));
                let (sums_above, sums_below) = sums.unzip();
                let above = Work {
                    rows: rows.start..middle,
                    columns: columns.clone(),
                    y: above,
                    sums: sums_above,
                };
                let below = Work {
                    rows: middle..rows.end,
                    columns,
                    y: below,
                    sums: sums_below,
                };
                (above, below)
            }
            Some(Split::Columns(middle)) => {
                let at = tasks.column(middle) - tasks.column(columns.start);
                let (left, right) = y.split_columns(at);
                let (sums_left, sums_right) = sums.map(|sums| sums.split_columns(at)).unzip();
                let left = Work {
                    rows: rows.clone(),
                    columns: columns.start..middle,
                    y: left,
                    sums: sums_left,
                };
                let right = Work {
                    rows,
                    columns: middle..columns.end,
                    y: right,
                    sums: sums_right,
                };
                (left, right)
            }
        };
        rayon::join(|| first.run(tasks), || second.run(tasks));
    }
}

/// The middle of a range of at least two.
pub(super) fn middle(range: &Range<usize>) -> usize {
    range.start + range.len() / 2
}

/// Into how many shares work is divided, each of some tasks: one for each thread. Two where some threads are
/// slower, as they have a slower core or half of one: the last task of a slow thread then holds the others up
/// half as long.
pub(super) fn shares() -> usize {
    let threads = rayon::current_num_threads();
    let is_equal = threads <= machine::equal_threads();
    if is_equal { threads } else { 2 * threads }
}

/// Tasks per share where possible: with more than one, no thread waits long for another.
const TASKS: usize = 2;

/// Fewest rows and outputs of a task, as long as every thread gets one.
const TASK_ROWS: usize = 96;
const TASK_OUTPUTS: usize = 256;

/// Fewest tiles of rows of a task, with a panel at least, where threads would be idle otherwise.
const TASK_TILES: usize = 4;

/// Load imbalance below 1/32 of a thread's share counts as none.
const STEPS: usize = 32;

/// The product to partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub rows: usize,
    /// Rows of which a tile must not cross the end, such as the pixels of an image. Divides `rows`.
    pub segment: Option<usize>,
    /// Most rows of a tile.
    pub tile: usize,
    /// Most tiles of a group, if the rows of each group are summed.
    pub group_tiles: Option<usize>,
    /// Panels of weights, and outputs per panel.
    pub panels: usize,
    pub width: usize,
}

/// A division of rows into groups of whole tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups {
    rows: usize,
    tiles: usize,
    pub count: usize,
}

impl Groups {
    /// Tiles of at most `tile` rows, groups of at most `most` tiles.
    pub(super) fn new(rows: usize, tile: usize, most: usize) -> Self {
        let tiles = rows.div_ceil(tile);
        let count = tiles.div_ceil(most);
        Self { rows, tiles, count }
    }

    /// An even number of groups, if there are several, so that two tasks can have the same.
    fn even(self) -> Self {
        let odd = self.count > 1 && self.count % 2 == 1;
        Self {
            count: self.count + usize::from(odd),
            ..self
        }
    }

    /// First row of a group.
    pub(super) fn start(self, group: usize) -> usize {
        let tile = group * self.tiles / self.count;
        tile * self.rows / self.tiles
    }
}

/// The tasks: `row_tasks` times `panel_tasks`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskGrid {
    pub row_tasks: usize,
    pub panel_tasks: usize,
    pub task_panels: usize,
    /// Rows of which a tile must not cross the end: all rows, if there are no segments.
    pub segment: usize,
    /// Tasks per segment; 1 also where a task has several segments.
    pub segment_tasks: usize,
    /// Segments per task, at most; 1 also where a segment has several tasks.
    pub task_segments: usize,
    /// What tasks have whole ones of, in each segment: rows or, where groups of them are summed, groups.
    /// They depend on the segment alone, so sums do not depend on the number of threads.
    pub groups: Groups,
}

impl TaskGrid {
    pub(super) fn new(size: Size, threads: usize) -> Self {
        let (segment, segments) = match size.segment {
            Some(segment) if size.rows > segment => (segment, size.rows / segment),
            _ => (size.rows, 1),
        };
        let groups = match size.group_tiles {
            Some(most) => Groups::new(segment, size.tile, most).even(),
            None => Groups::new(segment, 1, 1),
        };
        let whole = Self {
            row_tasks: 1,
            panel_tasks: 1,
            task_panels: size.panels,
            segment,
            segment_tasks: 1,
            task_segments: segments,
            groups,
        };
        let panel_tasks = size.panels * size.width / TASK_OUTPUTS;
        let wanted = TASKS * threads;
        let grid = whole.best(segment / TASK_ROWS, panel_tasks, wanted, threads);
        if grid.tasks() >= threads {
            return grid;
        }
        let segment_tasks = segment / (TASK_TILES * size.tile);
        whole.best(segment_tasks, size.panels, threads, threads)
    }

    /// One task for all rows, and one for each panel.
    pub(super) fn single(rows: usize, panels: usize) -> Self {
        Self {
            row_tasks: 1,
            panel_tasks: panels,
            task_panels: 1,
            segment: rows,
            segment_tasks: 1,
            task_segments: 1,
            groups: Groups::new(rows, 1, 1),
        }
    }

    /// Of all grids with at most so many tasks per segment and panel tasks, the one whose busiest
    /// thread has least to do; among equals the one closest to the wanted number of tasks, then the
    /// one with the fewest panel tasks.
    fn best(self, segment_tasks: usize, panel_tasks: usize, wanted: usize, threads: usize) -> Self {
        let (segments, panels) = (self.task_segments, self.task_panels);
        let several = (1..=segments.div_ceil(wanted)).map(|count| (1, count));
        let single = (2..=segment_tasks.min(wanted).min(self.groups.count)).map(|tasks| (tasks, 1));
        let rows = several
            .chain(single)
            .map(|(segment_tasks, task_segments)| Self {
                row_tasks: segments.div_ceil(task_segments) * segment_tasks,
                segment_tasks,
                task_segments,
                ..self
            });
        let grids = rows.flat_map(|grid| {
            (1..=panel_tasks.clamp(1, wanted)).map(move |panel_tasks| {
                let task_panels = panels.div_ceil(panel_tasks);
                Self {
                    panel_tasks: panels.div_ceil(task_panels),
                    task_panels,
                    ..grid
                }
            })
        });
        let share = (segments * self.segment * panels).div_ceil(threads);
        let cost = |grid: &Self| {
            let groups = (grid.task_segments * grid.groups.count).div_ceil(grid.segment_tasks);
            let rows = (groups * grid.segment).div_ceil(grid.groups.count);
            let busiest = grid.tasks().div_ceil(threads) * rows * grid.task_panels;
            let steps = busiest * STEPS / share;
            (steps, grid.tasks().abs_diff(wanted), grid.panel_tasks)
        };
        grids.min_by_key(cost).unwrap_or(self)
    }

    fn tasks(&self) -> usize {
        self.row_tasks * self.panel_tasks
    }

    /// First row of a task.
    pub(super) fn start(&self, task: usize) -> usize {
        self.group_start(self.first_group(task))
    }

    /// First group of a task, of those of all segments.
    pub(super) fn first_group(&self, task: usize) -> usize {
        let (segment, task) = (task / self.segment_tasks, task % self.segment_tasks);
        let first = segment * self.task_segments * self.groups.count;
        first + task * self.groups.count / self.segment_tasks
    }

    /// First row of a group of those of all segments.
    pub(super) fn group_start(&self, group: usize) -> usize {
        let (segment, group) = (group / self.groups.count, group % self.groups.count);
        segment * self.segment + self.groups.start(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> impl Iterator<Item = Size> {
        let rows = [
            1, 2, 25, 49, 81, 100, 196, 324, 784, 1296, 3136, 10561, 12100, 12544,
        ];
        let rows = rows.into_iter().flat_map(|rows| {
            let segments = [1, 2, 3, 5, 6, 7, 8, 16, 65];
            segments.map(|segments| (rows, segments))
        });
        let rows = rows.flat_map(|rows| [1, 2, 3, 8, 16, 64].map(|panels| (rows, panels)));
        let sizes = rows.flat_map(|((segment, segments), panels)| {
            [(14, 32), (6, 16), (6, 4)].map(|(tile, width)| Size {
                rows: segment * segments,
                segment: Some(segment),
                tile,
                group_tiles: None,
                panels,
                width,
            })
        });
        sizes.flat_map(|size| {
            [None, Some(1), Some(8)].map(|group_tiles| Size {
                group_tiles,
                ..size
            })
        })
    }

    #[test]
    fn every_row_and_panel_has_one_task() {
        for size in sizes() {
            for threads in [1, 2, 3, 4, 8, 64, 100, 192] {
                let grid = TaskGrid::new(size, threads);
                let mut starts: Vec<_> = (0..grid.row_tasks).map(|task| grid.start(task)).collect();
                assert_eq!(starts[0], 0);
                starts.push(size.rows);
                let grow = starts.is_sorted_by(|a, b| a < b);
                assert!(grow, "{size:?} {threads} {starts:?}");
                let before_last = (grid.panel_tasks - 1) * grid.task_panels;
                assert!(before_last < size.panels);
                assert!(grid.panel_tasks * grid.task_panels >= size.panels);
            }
        }
    }

    #[test]
    fn no_thread_has_much_more_than_another() {
        let worth_it = |size: &Size| size.rows >= 196 && size.panels * size.width >= 512;
        for size in sizes().filter(worth_it) {
            for threads in [2, 3, 4] {
                let tasks = TaskGrid::new(size, threads).tasks();
                let most = tasks.div_ceil(threads) * threads;
                assert!(most * 2 <= tasks * 3, "{size:?}: {tasks} for {threads}");
                assert!(threads > 2 || most == tasks, "{size:?}: {tasks} for two");
            }
        }
    }

    #[test]
    fn a_small_product_has_all_the_tasks_it_can() {
        for (rows, panels, threads, tasks) in [
            (1, 4, 8, 4),
            (1, 2, 4, 2),
            (1, 1, 4, 1),
            (1, 64, 4, 8),
            (49, 16, 32, 16),
            (196, 8, 32, 24),
        ] {
            let size = Size {
                rows,
                segment: None,
                tile: 14,
                group_tiles: None,
                panels,
                width: 32,
            };
            assert_eq!(TaskGrid::new(size, threads).tasks(), tasks, "{size:?}");
        }
    }
}
