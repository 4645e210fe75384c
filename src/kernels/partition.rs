//! How work is split into tasks for the threads, and a matrix product in particular.
//!
//! A product's task packs its rows for its panels of weights, and reads its panels for its rows, so that
//! neither may be few; within these limits the thread with most to do should have as little as it can.

use std::ops::Range;

use super::MatMut;

/// Rows and columns of a result that are not computed yet, in units that its [`Tasks`] choose.
pub(super) struct Work<'a, T = f32> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// The results of these rows and columns.
    pub y: MatMut<'a, T>,
    /// Where sums over rows go, if any are wanted.
    pub sums: Option<MatMut<'a>>,
}

/// Where work is split in two.
pub(super) enum Split {
    /// Before this unit of rows.
    Rows(usize),
    /// Before this unit of columns.
    Columns(usize),
}

/// A computation that is split into tasks, each with its own part of the results.
pub(super) trait Tasks: Sync {
    /// The type of the results.
    type Element: Send;

    /// Where to split; `None` for what is a task.
    fn split(&self, rows: &Range<usize>, columns: &Range<usize>) -> Option<Split>;

    /// First row of the results, and first row of the sums, for a unit of rows.
    fn row(&self, unit: usize) -> [usize; 2];

    /// First column of the results for a unit of columns.
    fn column(&self, unit: usize) -> usize;

    /// Computes a task.
    fn run(&self, task: Work<'_, Self::Element>);
}

impl<T: Send> Work<'_, T> {
    /// Runs all tasks, on as many threads as have time.
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

/// The middle of a range that has one.
pub(super) fn middle(range: &Range<usize>) -> usize {
    range.start + range.len() / 2
}

/// Tasks to a thread, if nothing speaks against it: with more than one, none waits long for another.
const TASKS: usize = 2;

/// Rows of a part of a segment, and outputs of a task, at least: as long as every thread has a task.
const TASK_ROWS: usize = 96;
const TASK_OUTPUTS: usize = 256;

/// The same where threads would have nothing to do otherwise, in tiles; and one panel.
const TASK_TILES: usize = 4;

/// Load imbalance below this part of a thread's share counts as none.
const STEPS: usize = 32;

/// The product that is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub rows: usize,
    /// Rows that a tile must not leave, such as the pixels of a picture. All rows are a multiple.
    pub segment: Option<usize>,
    /// Most rows of a tile.
    pub tile: usize,
    /// Panels of weights, and the outputs of each.
    pub panels: usize,
    pub width: usize,
}

/// The tasks: `row_tasks` times `panel_tasks`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskGrid {
    pub row_tasks: usize,
    pub panel_tasks: usize,
    pub task_panels: usize,
    /// Rows that a tile must not leave: all, if there is no segment.
    pub segment: usize,
    /// Tasks to a segment, 1 also where a task has several segments.
    pub parts: usize,
    /// Segments to a task, at most; 1 also where a segment has several tasks.
    pub segments: usize,
}

impl TaskGrid {
    pub(super) fn new(size: Size, threads: usize) -> Self {
        let (segment, segments) = match size.segment {
            Some(segment) if size.rows > segment => (segment, size.rows / segment),
            _ => (size.rows, 1),
        };
        let whole = Self {
            row_tasks: 1,
            panel_tasks: 1,
            task_panels: size.panels,
            segment,
            parts: 1,
            segments,
        };
        let panel_tasks = size.panels * size.width / TASK_OUTPUTS;
        let wanted = TASKS * threads;
        let grid = whole.best(segment / TASK_ROWS, panel_tasks, wanted, threads);
        if grid.tasks() >= threads {
            return grid;
        }
        let parts = segment / (TASK_TILES * size.tile);
        whole.best(parts, size.panels, threads, threads)
    }

    /// The cut of a whole into so many parts of a segment and panel tasks at most whose busiest
    /// thread has least to do; of several such, the one closest to the wanted number of tasks, and
    /// then with fewest panel tasks.
    fn best(self, parts: usize, panel_tasks: usize, wanted: usize, threads: usize) -> Self {
        let (segments, panels) = (self.segments, self.task_panels);
        let several = (1..=segments.div_ceil(wanted)).map(|count| (1, count));
        let parts = (2..=parts.min(wanted)).map(|parts| (parts, 1));
        let rows = several.chain(parts).map(|(parts, count)| Self {
            row_tasks: segments.div_ceil(count) * parts,
            parts,
            segments: count,
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
            let rows = (grid.segments * grid.segment).div_ceil(grid.parts);
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
        let (first, part) = (task / self.parts, task % self.parts);
        first * self.segments * self.segment + part * self.segment / self.parts
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
        rows.flat_map(|((segment, segments), panels)| {
            [(14, 32), (6, 16), (6, 4)].map(|(tile, width)| Size {
                rows: segment * segments,
                segment: Some(segment),
                tile,
                panels,
                width,
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
                panels,
                width: 32,
            };
            assert_eq!(TaskGrid::new(size, threads).tasks(), tasks, "{size:?}");
        }
    }
}
