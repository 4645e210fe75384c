//! Where the cells of the last map lie in the network's input.

use super::NetError;
use super::plan::{ConvPlan, Plan, StepPlan};
use crate::nn::Pool;

/// The cells of the map that is pooled, by the centres of their receptive fields.
///
/// A convolution of stride 2 with a kernel of odd size is centred on every second pixel, the first included:
/// so the first cell of a ResNet lies at the corner of the image, and not in the middle of its first 32 pixels
/// (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019).
/// Branches are followed, not shortcuts; of parallel branches the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// From top to bottom.
    pub rows: Axis,
    /// From left to right.
    pub columns: Axis,
}

/// The cells along one edge of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Number of cells.
    pub cells: usize,
    /// The centre of the first cell: pixels from the edge of the input, where the first pixel's centre is 0.5.
    pub first: f64,
    /// Pixels from one centre to the next.
    pub step: f64,
    /// Pixels of the input.
    pub size: usize,
}

impl Plan {
    /// The cells of the map that is pooled, for an input of `height` x `width`.
    ///
    /// # Errors
    /// As [`Plan::trace`].
    pub fn grid(&self, height: usize, width: usize) -> Result<Grid, NetError> {
        self.check_size(height, width)?;
        Ok(Grid {
            rows: Axis::of(self, height, 0),
            columns: Axis::of(self, width, 1),
        })
    }
}

impl Axis {
    /// `edge` is 0 from top to bottom and 1 from left to right.
    fn of(plan: &Plan, size: usize, edge: usize) -> Self {
        let mut axis = Self {
            cells: size,
            first: 0.5,
            step: 1.0,
            size,
        };
        plan.stem.iter().for_each(|conv| axis.conv(conv, edge));
        if let Some(pool) = plan.stem_pool.pool() {
            axis.pool(pool);
        }
        plan.blocks()
            .for_each(|block| axis.steps(&block.steps, edge));
        plan.head_conv.iter().for_each(|conv| axis.conv(conv, edge));
        axis
    }

    fn steps(&mut self, steps: &[StepPlan], edge: usize) {
        for step in steps {
            match step {
                StepPlan::Conv(conv) => self.conv(conv, edge),
                StepPlan::Pool(pool) => self.pool(*pool),
                // Its paths have the same centre.
                StepPlan::Sk(sk) => self.conv(&sk.paths[0], edge),
                StepPlan::Branches(branches) => {
                    branches
                        .first()
                        .into_iter()
                        .for_each(|steps| self.steps(steps, edge));
                }
                StepPlan::Se(_)
                | StepPlan::Shuffle(_)
                | StepPlan::Activate(_)
                | StepPlan::Norm(_) => {}
            }
        }
    }

    fn conv(&mut self, conv: &ConvPlan, edge: usize) {
        let geometry = &conv.geometry.axes()[edge];
        let reach = geometry.dilation * (geometry.kernel_size - 1);
        let [before, _] = geometry.zeros(self.cells);
        self.window(reach, before, geometry.stride);
        self.cells = geometry.output(self.cells);
    }

    fn pool(&mut self, pool: Pool) {
        let windows = pool.windows();
        self.window(windows.size - 1, windows.padding, windows.stride);
        self.cells = pool.output(self.cells);
    }

    /// Windows over the cells: from the first cell of a window to its last there are `reach`, and `before` of
    /// the first window lie outside.
    fn window(&mut self, reach: usize, before: usize, stride: usize) {
        self.first += self.step * (reach as f64 / 2.0 - before as f64);
        self.step *= stride as f64;
    }

    /// The centre of a cell, in pixels from the edge of the input.
    pub fn centre(&self, cell: usize) -> f64 {
        self.first + self.step * cell as f64
    }

    /// The pixels that are closer to this cell's centre than to any other's.
    pub fn pixels(&self, cell: usize) -> std::ops::Range<usize> {
        // The first pixel whose centre is not before the middle between two cells.
        let from = |cell: usize| {
            let middle = self.centre(cell) - self.step / 2.0;
            ((middle - 0.5).ceil().max(0.0) as usize).min(self.size)
        };
        let start = if cell == 0 { 0 } else { from(cell) };
        let end = if cell + 1 >= self.cells {
            self.size
        } else {
            from(cell + 1)
        };
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_belongs_to_one_cell() {
        for (cells, first, step, size) in [
            (7, 0.5, 32.0, 224),
            (7, 2.5, 32.0, 225),
            (1, 9.0, 4.0, 5),
            (9, 0.5, 0.5, 4),
        ] {
            let axis = Axis {
                cells,
                first,
                step,
                size,
            };
            let pixels: Vec<usize> = (0..cells).flat_map(|cell| axis.pixels(cell)).collect();
            assert_eq!(pixels, (0..size).collect::<Vec<_>>(), "{axis:?}");
        }
    }
}
