//! Dense 3x3 convolution of stride 1 with fewer multiplications (Lavin and Gray, "Fast Algorithms
//! for Convolutional Neural Networks", arXiv:1509.09308).
//!
//! A tile of 2x2 or 4x4 output pixels depends on a window of 4x4 or 6x6 input pixels. Window and
//! filter are transformed, multiplied position by position, and the products transformed back. At
//! each position the products of all tiles form a matrix product. An infinite input becomes NaN.

#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

mod filters;
mod transform;

use std::ops::Range;

use filters::FilterPanel;
use transform::{input_axis, output_axis};

use super::elementwise::sum_rows;
use super::epilogue::{ActivateRows, Epilogue, Placement};
use super::gemm::{Packed, depth_chunks};
use super::micro::{PanelProduct, RowLayout, multiply, packed_stride};
use super::partition::{Split, Tasks, Work, middle};
use super::scratch::with_scratch;
use super::{ConvGeometry, Isa, Kernel, KernelShape, MatMut, Padding, Simd};

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
}

/// A dense 3x3 convolution of stride 1 and dilation 1 on maps `[N, H, W, C]`.
#[derive(Debug)]
pub struct Winograd {
    isa: Isa,
    geometry: ConvGeometry,
    size: TileSize,
    /// The transformed filters for each position of the window.
    positions: Vec<Packed>,
    bias: Vec<f32>,
}

impl Winograd {
    /// Whether the algorithm applies to a geometry.
    pub fn supports(geometry: &ConvGeometry) -> bool {
        (
            geometry.kernel_size,
            geometry.stride,
            geometry.dilation,
            geometry.groups,
        ) == (3, 1, 1, 1)
            && geometry.shape == KernelShape::Square
            && !matches!(geometry.padding, Padding::Each(3..))
    }

    /// From filters `[outputs, inputs, 3, 3]` and one bias per output.
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
        assert!(Self::supports(&geometry));
        let ConvGeometry {
            inputs, outputs, ..
        } = geometry;
        assert_eq!((filters.len(), bias.len()), (outputs * inputs * 9, outputs));
        let zeros = vec![0.0; outputs];
        let mut positions: Vec<Packed> = (0..size.window() * size.window())
            .map(|_| Packed::zeros(isa, inputs, &zeros))
            .collect();
        let (width, panels) = (positions[0].width(), positions[0].panels());
        for panel in 0..panels {
            let first = panel * width;
            for chunk in depth_chunks::<f32>(inputs) {
                let mut positions: Vec<&mut [f32]> = positions
                    .iter_mut()
                    .map(|packed| packed.panel_mut(&chunk, panel))
                    .collect();
                isa.run(FilterPanel {
                    filters: &filters[(first * inputs + chunk.start) * 9..],
                    inputs,
                    outputs: width.min(outputs - first),
                    window: size.window(),
                    width,
                    positions: &mut positions,
                });
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(outputs.next_multiple_of(isa.lanes::<f32>()), 0.0);
        Self {
            isa,
            geometry,
            size,
            positions,
            bias,
        }
    }

    pub(super) fn size(&self) -> TileSize {
        self.size
    }

    /// Instruction set, element type and tile of the products.
    pub fn kernel(&self) -> String {
        self.positions[0].kernel()
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
        let threads = rayon::current_num_threads();
        let panels = self.positions[0].panels();
        let all_tile_rows = batch * tile_rows;
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
        let call = Call {
            conv: self,
            x,
            size: [height, width],
            output,
            zeros: [height, width].map(|size| self.geometry.zeros(size)[0]),
            tile_rows,
            tiles,
            placement: epilogue.activation.into(),
            task_tile_rows: all_tile_rows.div_ceil(row_tasks),
            task_panels: panels.div_ceil(panel_tasks),
        };
        let outputs = self.geometry.outputs;
        let work = Work {
            rows: 0..all_tile_rows,
            columns: 0..panels,
            y: MatMut::new(&mut *y, outputs),
            sums: None,
        };
        work.run(&call);
        if let Some(sums) = epilogue.sums {
            sum_rows(self.isa, y, outputs, sums);
        }
    }

    /// Whether the weights of all positions exceed L2.
    fn is_heavy(&self) -> bool {
        self.geometry.inputs * self.geometry.outputs > 128 * 128
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
        if tile_rows.len() > self.task_tile_rows {
            Some(Split::Rows(middle(tile_rows)))
        } else {
            (panels.len() > self.task_panels).then(|| Split::Columns(middle(panels)))
        }
    }

    fn row(&self, tile_row: usize) -> [usize; 2] {
        [self.pixel(tile_row), 0]
    }

    fn column(&self, panel: usize) -> usize {
        panel * self.conv.positions[0].width()
    }

    fn run(&self, task: Work<'_>) {
        let Work {
            rows: tile_rows,
            columns: panels,
            y,
            ..
        } = task;
        let isa = self.conv.isa;
        let positions = self.conv.positions.len();
        let chunks = depth_chunks::<f32>(self.conv.geometry.inputs).count();
        let most = self.conv.most_tiles().min(tile_rows.len() * self.tiles);
        let stride = packed_stride(self.conv.geometry.inputs);
        let inputs = positions * chunks * most * stride;
        let products = positions * most * panels.len() * self.conv.positions[0].width();
        with_scratch(inputs + products, |scratch| {
            let (inputs, products) = scratch.split_at_mut(inputs);
            isa.run(Task {
                call: *self,
                tile_rows,
                panels,
                most,
                y,
                inputs,
                products,
            });
        });
    }
}

/// Some rows of tiles times some panels, `most` tiles at a time.
struct Task<'a> {
    call: Call<'a>,
    tile_rows: Range<usize>,
    panels: Range<usize>,
    most: usize,
    y: MatMut<'a>,
    /// The transformed windows: for each position and chunk of inputs, one packed row per tile.
    inputs: &'a mut [f32],
    /// For each position, one row of outputs per tile.
    products: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();
    type Element = f32;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let first = self.tile_rows.start * self.call.tiles;
        let end = self.tile_rows.end * self.call.tiles;
        let groups = (end - first).div_ceil(self.most);
        let at = |group: usize| first + group * (end - first) / groups;
        for group in 0..groups {
            let tiles = at(group)..at(group + 1);
            match (self.call.conv.size, self.call.conv.positions[0].vectors()) {
                (TileSize::Two, 1) => self.group::<S, 4, 2, 1>(simd, &tiles),
                (TileSize::Two, _) => self.group::<S, 4, 2, 2>(simd, &tiles),
                (TileSize::Four, 1) => self.group::<S, 6, 4, 1>(simd, &tiles),
                (TileSize::Four, _) => self.group::<S, 6, 4, 2>(simd, &tiles),
            }
        }
        if let Some(activation) = self.call.placement.after {
            simd.run(ActivateRows {
                rows: self.y,
                from: None,
                activation,
            });
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn group<S: Simd, const W: usize, const M: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        tiles: &Range<usize>,
    ) {
        for (row, tile) in tiles.clone().enumerate() {
            self.transform_window::<S, W, M>(simd, row, tile);
        }
        self.multiply::<S, VECTORS>(simd, tiles.len());
        for (row, tile) in tiles.clone().enumerate() {
            self.transform_products::<S, W, M>(simd, row, tile);
        }
    }

    /// The image and the first output row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize, side: usize) -> (usize, usize, usize) {
        let (tile_row, column) = (tile / self.call.tiles, tile % self.call.tiles);
        let (image, row) = (
            tile_row / self.call.tile_rows,
            tile_row % self.call.tile_rows,
        );
        (image, row * side, column * side)
    }

    #[inline(always)]
    fn transform_window<S: Simd, const W: usize, const M: usize>(
        &mut self,
        simd: S,
        row: usize,
        tile: usize,
    ) {
        let channels = self.call.conv.geometry.inputs;
        let ([height, width], [above, before]) = (self.call.size, self.call.zeros);
        let (image, top, left) = self.place(tile, M);
        let chunks = depth_chunks::<f32>(channels).count();
        // Where each pixel of the window lies, unless it is outside of the map.
        let mut places = [[None; W]; W];
        for (i, places) in places.iter_mut().enumerate() {
            for (j, place) in places.iter_mut().enumerate() {
                let (y, x) = (top + i, left + j);
                if y >= above && x >= before && y - above < height && x - before < width {
                    let pixel = (image * height + y - above) * width + x - before;
                    *place = Some(pixel * channels);
                }
            }
        }
        let stride = packed_stride(channels);
        // Outside of the loops: it is too large for registers and would be cleared in each
        // iteration.
        let mut half = [[simd.splat(0.0); W]; W];
        for (chunk, depth) in depth_chunks::<f32>(channels).enumerate() {
            let mut channel = depth.start;
            while channel < depth.end {
                let end = depth.end.min(channel + S::LANES);
                for j in 0..W {
                    let mut column = [simd.splat(0.0); W];
                    for i in 0..W {
                        if let Some(at) = places[i][j] {
                            column[i] = simd.load_some(&self.call.x[at + channel..at + end]);
                        }
                    }
                    let column = input_axis(simd, column);
                    for i in 0..W {
                        half[i][j] = column[i];
                    }
                }
                for i in 0..W {
                    let values = input_axis(simd, half[i]);
                    for j in 0..W {
                        let position = i * W + j;
                        let at = ((position * chunks + chunk) * self.most + row) * stride
                            + (channel - depth.start);
                        // Lanes past the chunk's end are zeros that are never read.
                        simd.store(values[j], &mut self.inputs[at..at + S::LANES]);
                    }
                }
                channel = end;
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize>(&mut self, simd: S, tiles: usize) {
        let conv = self.call.conv;
        let width = VECTORS * S::LANES;
        let columns = self.panels.len() * width;
        let zeros = [0.0; 2 * super::MAX_LANES];
        let stride = packed_stride(conv.geometry.inputs);
        let chunks = depth_chunks::<f32>(conv.geometry.inputs).count();
        let products = self.products.chunks_exact_mut(self.most * columns);
        for (position, (packed, products)) in conv.positions.iter().zip(products).enumerate() {
            let mut products = MatMut::new(products, columns);
            for (chunk, depth) in depth_chunks::<f32>(conv.geometry.inputs).enumerate() {
                let rows = &self.inputs[(position * chunks + chunk) * self.most * stride..];
                for (index, panel) in self.panels.clone().enumerate() {
                    let next = if panel + 1 < self.panels.end {
                        packed.panel(&depth, panel + 1)
                    } else {
                        let after = conv.positions.get(position + 1).unwrap_or(packed);
                        after.panel(&depth, self.panels.start)
                    };
                    let product = PanelProduct {
                        rows,
                        layout: RowLayout::plain(depth.len(), stride),
                        panel: packed.panel(&depth, panel),
                        next: [bytemuck::cast_slice(next), &[]],
                        y: products.window(0..tiles, index * width..(index + 1) * width),
                        partial: None,
                        bias: (chunk == 0).then_some(&zeros),
                        last: chunk + 1 == chunks,
                        relu: false,
                        sums: None,
                    };
                    multiply::<S, f32, VECTORS>(simd, product);
                }
            }
        }
    }

    #[inline(always)]
    fn transform_products<S: Simd, const W: usize, const M: usize>(
        &mut self,
        simd: S,
        row: usize,
        tile: usize,
    ) {
        let columns = self.panels.len() * self.call.conv.positions[0].width();
        let first = self.panels.start * self.call.conv.positions[0].width();
        let [height, width] = self.call.output;
        let (image, top, left) = self.place(tile, M);
        let start = self.call.pixel(self.tile_rows.start);
        let outputs = self.y.columns();
        let mut half = [[simd.splat(0.0); W]; M];
        let mut channel = 0;
        while channel < outputs {
            let end = outputs.min(channel + S::LANES);
            let bias = simd.load(&self.call.conv.bias[first + channel..]);
            for j in 0..W {
                let mut column = [simd.splat(0.0); W];
                for i in 0..W {
                    let at = ((i * W + j) * self.most + row) * columns + channel;
                    column[i] = simd.load(&self.products[at..at + S::LANES]);
                }
                let column = output_axis::<S, W, M>(simd, column);
                for i in 0..M {
                    half[i][j] = column[i];
                }
            }
            for i in 0..M {
                let values = output_axis::<S, W, M>(simd, half[i]);
                for j in 0..M {
                    if top + i < height && left + j < width {
                        let pixel = (image * height + top + i) * width + left + j - start;
                        let mut value = simd.add(values[j], bias);
                        if self.call.placement.relu {
                            value = simd.relu(value);
                        }
                        simd.store_some(value, &mut self.y.row(pixel)[channel..end]);
                    }
                }
            }
            channel = end;
        }
    }
}
