//! How a matrix product is cut into tasks for the threads: by rows as long as there are enough of
//! them, because a task then packs its own rows and no others, then by panels of weights.

/// Tasks to a thread, so that none waits for another.
const TASKS: usize = 2;

/// Rows and outputs below which a task is not worth its packing of rows and its reading of weights,
/// as long as every thread has one.
const TASK_ROWS: usize = 96;
const TASK_OUTPUTS: usize = 256;

/// Tiles below which a task has no rows to speak of.
const TASK_TILES: usize = 4;

/// The product that is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub rows: usize,
    /// Rows that a tile must not leave, such as the pixels of a picture; all rows are whole ones.
    pub segment: Option<usize>,
    /// Most rows of a tile.
    pub tile: usize,
    /// Panels of weights, and the outputs of each.
    pub panels: usize,
    pub width: usize,
}

/// The tasks: `row_tasks` times `panel_tasks`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub row_tasks: usize,
    pub panel_tasks: usize,
    pub task_panels: usize,
    /// Rows that a tile must not leave: all, if there is no segment.
    pub segment: usize,
    /// Tasks to a segment, 1 also where a task has several segments.
    pub parts: usize,
    /// Segments to a task, 1 also where a segment has several tasks.
    pub segments: usize,
}

impl Grid {
    /// The cut whose busiest thread has least to do, and among such one of about [`TASKS`] tasks to
    /// a thread.
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
        let panels = size.panels * size.width / TASK_OUTPUTS;
        whole
            .best(size, segment / TASK_ROWS, panels, TASKS * threads, threads)
            .or_else(|| {
                // Every thread is worth more than large tasks.
                let parts = segment / (TASK_TILES * size.tile);
                whole.best(size, parts, size.panels, threads, threads)
            })
            .unwrap_or(whole)
    }

    /// With so many parts and panel tasks at most, if there is a task for each thread.
    fn best(
        self,
        size: Size,
        parts: usize,
        panel_tasks: usize,
        wanted: usize,
        threads: usize,
    ) -> Option<Self> {
        let segments = self.segments;
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
                let task_panels = size.panels.div_ceil(panel_tasks);
                Self {
                    panel_tasks: size.panels.div_ceil(task_panels),
                    task_panels,
                    ..grid
                }
            })
        });
        grids
            .filter(|grid| grid.tasks() >= threads)
            .min_by_key(|grid| {
                let task = (grid.segments * self.segment).div_ceil(grid.parts) * grid.task_panels;
                let busiest = grid.tasks().div_ceil(threads) * task;
                (busiest, grid.tasks().abs_diff(wanted), grid.panel_tasks)
            })
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
        let rows = rows
            .into_iter()
            .flat_map(|rows| [1, 2, 3, 5, 6, 7, 8, 16, 65].map(|segments| (rows, segments)));
        rows.flat_map(|(segment, segments)| {
            [1, 2, 3, 8, 16, 64].map(|panels| Size {
                rows: segment * segments,
                segment: Some(segment),
                tile: 14,
                panels,
                width: 32,
            })
        })
    }

    #[test]
    fn every_row_and_panel_has_one_task() {
        for size in sizes() {
            for threads in [1, 2, 3, 4, 8, 64, 100, 192] {
                let grid = Grid::new(size, threads);
                let starts: Vec<_> = (0..grid.row_tasks).map(|task| grid.start(task)).collect();
                assert_eq!(starts[0], 0);
                assert!(starts.is_sorted(), "{size:?} {threads} {starts:?}");
                assert!(starts[starts.len() - 1] < size.rows, "{size:?} {threads}");
                assert!(
                    grid.start(grid.row_tasks) >= size.rows,
                    "{size:?} {threads}"
                );
                let before_last = (grid.panel_tasks - 1) * grid.task_panels;
                assert!(before_last < size.panels);
                assert!(grid.panel_tasks * grid.task_panels >= size.panels);
            }
        }
    }

    #[test]
    fn no_thread_has_much_more_than_another() {
        let worth_it = |size: &Size| size.rows >= 196 && size.panels >= 16;
        for size in sizes().filter(worth_it) {
            for threads in [2, 3, 4] {
                let grid = Grid::new(size, threads);
                let tasks = grid.tasks();
                let most = tasks.div_ceil(threads) * threads;
                assert!(most * 2 <= tasks * 3, "{size:?}: {tasks} for {threads}");
                assert!(threads > 2 || most == tasks, "{size:?}: {tasks} for two");
            }
        }
    }
}
