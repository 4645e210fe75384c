//! 3x3 convolution of stride 1 with fewer multiplications (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", arXiv:1509.09308), dense or in groups.
//!
//! A tile of 2x2 or 4x4 output pixels depends on a window of 4x4 or 6x6 input pixels. Window and
//! filter are transformed, multiplied position by position, and the products transformed back. At
//! each position the products of all tiles form a matrix product. An infinite input becomes NaN.

mod filters;
mod task;
mod transform;

use std::ops::Range;

use filters::FilterPanel;
use task::Task;

use super::elementwise::sum_rows;
use super::epilogue::{Epilogue, Placement};
use super::gemm::{Packed, depth_chunks};
use super::micro::{most_depth, packed_stride};
use super::partition::{Split, Tasks, Work, middle, shares};
use super::scratch::with_scratch;
use super::{ConvGeometry, Isa, KernelShape, MatMut, Padding};
use crate::machine;

/// Output pixels along one side of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileSize {
    /// F(2x2, 3x3): 2.25 times fewer multiplications.
    Two,
    /// F(4x4, 3x3): 4 times fewer, at the cost of about one decimal digit.
    Four,
}

impl TileSize {
    pub(super) fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Input pixels along one side of a tile's window.
    fn window(self) -> usize {
        self.outputs() + 2
    }

    /// Input pixels of a window.
    fn positions(self) -> usize {
        self.window() * self.window()
    }
}

/// A 3x3 convolution of stride 1 and dilation 1 on maps `[N, H, W, C]`.
#[derive(Debug)]
pub struct Winograd {
    isa: Isa,
    geometry: ConvGeometry,
    size: TileSize,
    /// The transformed filters, group by group, in each for each position of the window.
    filters: Vec<Packed>,
    /// One per output, and a vector more.
    bias: Vec<f32>,
}

impl Winograd {
    /// Whether the algorithm applies to a geometry.
    pub fn supports(geometry: &ConvGeometry) -> bool {
        (geometry.kernel_size, geometry.stride, geometry.dilation) == (3, 1, 1)
            && (geometry.groups == 1 || geometry.group_inputs() <= most_depth::<f32>())
            && geometry.shape == KernelShape::Square
            && !matches!(geometry.padding, Padding::Each(3..))
    }

    /// From filters `[outputs, inputs / groups, 3, 3]` and one bias per output.
    ///
    /// # Panics
    /// If the geometry is not supported or a slice does not fit it.
    pub fn new(
        isa: Isa,
        filters: &[f32],
        bias: &[f32],
        geometry: ConvGeometry,
        size: TileSize,
    ) -> Self {
        assert!(geometry.is_valid() && Self::supports(&geometry));
        assert_eq!(filters.len(), geometry.outputs * geometry.depth());
        assert_eq!(bias.len(), geometry.outputs);
        let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
        let zeros = vec![0.0; outputs];
        let mut packed = Vec::with_capacity(geometry.groups * size.positions());
        for filters in filters.chunks_exact(outputs * inputs * 9) {
            let start = packed.len();
            packed.extend((0..size.positions()).map(|_| Packed::zeros(isa, inputs, &zeros)));
            let positions = &mut packed[start..];
            let (width, panels) = (positions[0].width(), positions[0].panels());
            for panel in 0..panels {
                let first = panel * width;
                for chunk in depth_chunks::<f32>(inputs) {
                    let width_of_panel = positions[0].panel_width(panel);
                    let mut positions: Vec<&mut [f32]> = positions
                        .iter_mut()
                        .map(|packed| packed.panel_mut(&chunk, panel))
                        .collect();
                    isa.run(FilterPanel {
                        filters: &filters[(first * inputs + chunk.start) * 9..],
                        inputs,
                        outputs: width.min(outputs - first),
                        window: size.window(),
                        width: width_of_panel,
                        positions: &mut positions,
                    });
                }
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(bias.len() + isa.lanes::<f32>(), 0.0);
        Self {
            isa,
            geometry,
            size,
            filters: packed,
            bias,
        }
    }

    pub(super) fn size(&self) -> TileSize {
        self.size
    }

    /// Instruction set, element type and tile of the products.
    pub fn kernel(&self) -> String {
        self.filters[0].kernel()
    }

    /// `y[N, H', W', outputs] = epilogue(conv(x[N, H, W, inputs]) + bias)`.
    ///
    /// # Panics
    /// If a slice does not fit.
    pub fn run(
        &self,
        x: &[f32],
        [batch, height, width]: [usize; 3],
        y: &mut [f32],
        epilogue: Epilogue<'_>,
    ) {
        let output = [self.geometry.output(height), self.geometry.output(width)];
        assert_eq!(x.len(), batch * height * width * self.geometry.inputs);
        assert_eq!(
            y.len(),
            batch * output[0] * output[1] * self.geometry.outputs
        );
        if y.is_empty() {
            return;
        }
        let tile_rows = output[0].div_ceil(self.size.outputs());
        let tiles = output[1].div_ceil(self.size.outputs());
        let all_tile_rows = batch * tile_rows;
        let (task_tile_rows, task_panels) = if self.geometry.groups == 1 {
            self.dense_task(all_tile_rows, tiles)
        } else {
            self.grouped_task(all_tile_rows, tiles)
        };
        let call = Call {
            conv: self,
            x,
            size: [height, width],
            output,
            zeros: [height, width].map(|size| self.geometry.zeros(size)[0]),
            tile_rows,
            tiles,
            placement: epilogue.activation.into(),
            task_tile_rows,
            task_panels,
        };
        let outputs = self.geometry.outputs;
        let work = Work {
            rows: 0..all_tile_rows,
            columns: 0..self.panels() * self.geometry.groups,
            y: MatMut::new(&mut *y, outputs),
            sums: None,
        };
        work.run(&call);
        if let Some(sums) = epilogue.sums {
            sum_rows(self.isa, y, outputs, sums);
        }
    }

    /// Panels of a group.
    fn panels(&self) -> usize {
        self.filters[0].panels()
    }

    /// Rows of tiles and panels of a task of a dense convolution.
    fn dense_task(&self, all_tile_rows: usize, tiles: usize) -> (usize, usize) {
        let (threads, panels) = (shares(), self.panels());
        // Tasks by rows of tiles each read all weights; tasks by panels each transform all windows,
        // and with few panels each there would be more transforms than products.
        let is_even = all_tile_rows.next_multiple_of(threads) * 16 <= all_tile_rows * 17;
        let panel_tasks = if self.is_heavy() || !is_even {
            threads.min(panels / 4).max(1)
        } else {
            1
        };
        let row_tasks = if panel_tasks == threads {
            1
        } else {
            let tile_rows_per_task = self.most_tiles().div_ceil(tiles);
            (all_tile_rows / tile_rows_per_task).clamp(1, 4 * threads)
        };
        let panel_tasks = panel_tasks.max(threads.div_ceil(row_tasks).min(panels));
        (
            all_tile_rows.div_ceil(row_tasks),
            panels.div_ceil(panel_tasks),
        )
    }

    /// Rows of tiles and panels of a task of a convolution in groups: it has whole groups, as many as stay in
    /// L2, and all rows where there are groups enough for all threads.
    fn grouped_task(&self, all_tile_rows: usize, tiles: usize) -> (usize, usize) {
        let (tasks, panels) = (2 * shares(), self.panels());
        let groups = self.geometry.groups;
        let inputs = self.geometry.group_inputs();
        let values = self.size.positions() * (inputs + panels * self.filters[0].width());
        let most = self.most_tiles().min(all_tile_rows * tiles);
        // Half of L2, for the transformed windows and products of the groups that a task computes together.
        let near = machine::l2() / 2;
        let task_groups = (near / size_of::<f32>() / (values * most))
            .min(most_depth::<f32>() / inputs)
            .min(groups.div_ceil(tasks))
            .max(1);
        let row_tasks = tasks.div_ceil(groups.div_ceil(task_groups));
        (all_tile_rows.div_ceil(row_tasks), task_groups * panels)
    }

    /// Whether the weights of all positions of a dense convolution exceed L2.
    fn is_heavy(&self) -> bool {
        self.geometry.groups == 1
            && self.geometry.inputs * self.geometry.outputs > machine::l2() / 64
    }

    /// Most tiles of the map that a task transforms at a time: as many as L2 holds the windows and
    /// products of, and more where the weights come from beyond L2 for each group of tiles.
    fn most_tiles(&self) -> usize {
        if self.is_heavy() {
            4 * self.isa.rows::<f32>()
        } else {
            (2 * self.isa.rows::<f32>()).max(18)
        }
    }
}

/// One call of [`Winograd::run`].
#[derive(Clone, Copy)]
struct Call<'a> {
    conv: &'a Winograd,
    x: &'a [f32],
    size: [usize; 2],
    output: [usize; 2],
    /// Above the map and to its left.
    zeros: [usize; 2],
    /// Rows of tiles per image.
    tile_rows: usize,
    /// Tiles per row of tiles.
    tiles: usize,
    placement: Placement,
    task_tile_rows: usize,
    task_panels: usize,
}

impl Call<'_> {
    /// The first output pixel of a row of tiles, counted over all images.
    fn pixel(&self, tile_row: usize) -> usize {
        let (image, row) = (tile_row / self.tile_rows, tile_row % self.tile_rows);
        (image * self.output[0] + row * self.conv.size.outputs()) * self.output[1]
    }
}

impl Tasks for Call<'_> {
    type Element = f32;

    fn split(&self, tile_rows: &Range<usize>, panels: &Range<usize>) -> Option<Split> {
        let is_grouped = self.conv.geometry.groups > 1;
        let by_panels = panels.len() > self.task_panels;
        if is_grouped && by_panels {
            // At a multiple of what a task has, and so between two groups.
            let half = (panels.len() / 2).next_multiple_of(self.task_panels);
            Some(Split::Columns(panels.start + half))
        } else if tile_rows.len() > self.task_tile_rows {
            Some(Split::Rows(middle(tile_rows)))
        } else {
            by_panels.then(|| Split::Columns(middle(panels)))
        }
    }

    fn row(&self, tile_row: usize) -> [usize; 2] {
        [self.pixel(tile_row), 0]
    }

    fn column(&self, panel: usize) -> usize {
        let (group, panel) = (panel / self.conv.panels(), panel % self.conv.panels());
        group * self.conv.geometry.group_outputs() + panel * self.conv.filters[0].width()
    }

    fn run(&self, task: Work<'_>) {
        let Work {
            rows: tile_rows,
            columns: panels,
            y,
            ..
        } = task;
        let conv = self.conv;
        let groups = panels.start / conv.panels()..panels.end.div_ceil(conv.panels());
        let channels = groups.len() * conv.geometry.group_inputs();
        let positions = conv.size.positions();
        let most = conv.most_tiles().min(tile_rows.len() * self.tiles);
        let stride = packed_stride(channels);
        let inputs = positions * depth_chunks::<f32>(channels).count() * most * stride;
        let products = positions * most * panels.len() * conv.filters[0].width();
        with_scratch(inputs + products, |scratch| {
            let (inputs, products) = scratch.split_at_mut(inputs);
            conv.isa.run(Task {
                call: *self,
                tile_rows,
                panels,
                groups,
                most,
                stride,
                y,
                inputs,
                products,
            });
        });
    }
}
