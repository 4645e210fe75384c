//! Dense 3x3 convolution of stride 1 with fewer multiplications (Lavin and Gray, "Fast Algorithms
//! for Convolutional Neural Networks", arXiv:1509.09308).
//!
//! A tile of 2x2 or 4x4 output pixels takes a window of 4x4 or 6x6 input pixels. Window and filter
//! are transformed, multiplied position by position, and transformed back; the products of all
//! tiles at one position are a matrix product. An infinite input becomes NaN.

#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use std::ops::Range;

use super::elementwise::sum_rows;
use super::epilogue::{ActivateRows, Epilogue, Placement};
use super::filters::FilterPanel;
use super::gemm::{Packed, depth_chunks};
use super::micro::{Layout, PanelProduct, multiply, packed_stride};
use super::partition::{Split, Tasks, Work, middle};
use super::scratch::with_scratch;
use super::{ConvGeometry, Element, Isa, Kernel, MatMut, Simd};

/// Output pixels along one side of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileSize {
    /// F(2x2, 3x3): 2.25 times fewer multiplications.
    Two,
    /// F(4x4, 3x3): 4 times fewer, about one decimal digit less exact.
    Four,
}

impl TileSize {
    pub(super) fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Side of the window.
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
    /// Transformed filters, for each position of the window.
    positions: Vec<Packed>,
    bias: Vec<f32>,
}

impl Winograd {
    /// Whether the geometry is such a convolution.
    pub fn supports(geometry: &ConvGeometry) -> bool {
        (
            geometry.kernel,
            geometry.stride,
            geometry.dilation,
            geometry.groups,
        ) == (3, 1, 1, 1)
            && geometry.padding <= 2
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
            for block in depth_chunks(inputs) {
                let mut positions: Vec<&mut [f32]> = positions
                    .iter_mut()
                    .map(|packed| packed.panel_mut(&block, panel))
                    .collect();
                isa.run(FilterPanel {
                    filters: &filters[(first * inputs + block.start) * 9..],
                    inputs,
                    outputs: width.min(outputs - first),
                    window: size.window(),
                    width,
                    positions: &mut positions,
                });
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(outputs.next_multiple_of(isa.lanes()), 0.0);
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

    /// Instruction set, type and tile of the products.
    pub fn kernel(&self) -> String {
        self.positions[0].kernel()
    }

    /// `y[N, H', W', outputs] = epilogue(conv(x[N, H, W, inputs]) + bias)`.
    ///
    /// # Panics
    /// If a slice does not fit.
    pub fn run<T: Element>(
        &self,
        x: &[T],
        [batch, height, width]: [usize; 3],
        y: &mut [T],
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
        let strips = output[0].div_ceil(self.size.outputs());
        let tiles = output[1].div_ceil(self.size.outputs());
        let threads = rayon::current_num_threads();
        let panels = self.positions[0].panels();
        let all_strips = batch * strips;
        // Tasks by strips each read all weights, tasks by panels each transform all windows: few
        // panels to a task would be more transforms than products.
        let is_even = all_strips.next_multiple_of(threads) * 16 <= all_strips * 17;
        let panel_tasks = if self.is_heavy() || !is_even {
            threads.min(panels / 4).max(1)
        } else {
            1
        };
        let row_tasks = if panel_tasks == threads {
            1
        } else {
            let strips_per_task = self.most_tiles().div_ceil(tiles);
            (all_strips / strips_per_task).clamp(1, 4 * threads)
        };
        let panel_tasks = panel_tasks.max(threads.div_ceil(row_tasks).min(panels));
        let pass = Pass {
            conv: self,
            x,
            size: [height, width],
            output,
            strips,
            tiles,
            placement: epilogue.activation.into(),
            task_strips: all_strips.div_ceil(row_tasks),
            task_panels: panels.div_ceil(panel_tasks),
        };
        let outputs = self.geometry.outputs;
        let work = Work {
            rows: 0..all_strips,
            columns: 0..panels,
            y: MatMut::new(&mut *y, outputs),
            sums: None,
        };
        work.run(&pass);
        if let Some(sums) = epilogue.sums {
            sum_rows(self.isa, y, outputs, sums);
        }
    }

    /// Whether the weights of all positions are more than the caches near a core hold.
    fn is_heavy(&self) -> bool {
        self.geometry.inputs * self.geometry.outputs > 128 * 128
    }

    /// Tiles of the map that a task takes at a time: as many as the caches near a core hold the
    /// windows and products of, and more where the weights come from farther away for each.
    fn most_tiles(&self) -> usize {
        if self.is_heavy() {
            4 * self.isa.rows()
        } else {
            (2 * self.isa.rows()).max(18)
        }
    }
}

/// One call of [`Winograd::run`].
#[derive(Clone, Copy)]
struct Pass<'a, T> {
    conv: &'a Winograd,
    x: &'a [T],
    size: [usize; 2],
    output: [usize; 2],
    /// Rows of tiles to a picture.
    strips: usize,
    /// Tiles to a strip.
    tiles: usize,
    placement: Placement,
    task_strips: usize,
    task_panels: usize,
}

impl<T> Pass<'_, T> {
    /// First output pixel of a strip, counted over all pictures.
    fn pixel(&self, strip: usize) -> usize {
        let (picture, row) = (strip / self.strips, strip % self.strips);
        (picture * self.output[0] + row * self.conv.size.outputs()) * self.output[1]
    }
}

impl<T: Element> Tasks for Pass<'_, T> {
    type Element = T;

    fn split(&self, strips: &Range<usize>, panels: &Range<usize>) -> Option<Split> {
        if strips.len() > self.task_strips {
            Some(Split::Rows(middle(strips)))
        } else {
            (panels.len() > self.task_panels).then(|| Split::Columns(middle(panels)))
        }
    }

    fn row(&self, strip: usize) -> [usize; 2] {
        [self.pixel(strip), 0]
    }

    fn column(&self, panel: usize) -> usize {
        panel * self.conv.positions[0].width()
    }

    fn run(&self, task: Work<'_, T>) {
        let Work {
            rows: strips,
            columns: panels,
            y,
            ..
        } = task;
        let isa = self.conv.isa;
        let positions = self.conv.positions.len();
        let depth_blocks = depth_chunks(self.conv.geometry.inputs).count();
        let most = self.conv.most_tiles().min(strips.len() * self.tiles);
        let stride = packed_stride(self.conv.geometry.inputs);
        let inputs = positions * depth_blocks * most * stride;
        let products = positions * most * panels.len() * self.conv.positions[0].width();
        with_scratch(inputs + products, |scratch| {
            let (inputs, products) = scratch.split_at_mut(inputs);
            isa.run(Task {
                pass: *self,
                strips,
                panels,
                most,
                y,
                inputs,
                products,
            });
        });
    }
}

/// Some strips times some panels, `most` tiles at a time.
struct Task<'a, T> {
    pass: Pass<'a, T>,
    strips: Range<usize>,
    panels: Range<usize>,
    most: usize,
    y: MatMut<'a, T>,
    /// Transformed windows: for each position and block of inputs, a packed row to a tile.
    inputs: &'a mut [f32],
    /// For each position, a row of outputs to a tile.
    products: &'a mut [f32],
}

impl<T: Element> Kernel for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let first = self.strips.start * self.pass.tiles;
        let end = self.strips.end * self.pass.tiles;
        let blocks = (end - first).div_ceil(self.most);
        let at = |block: usize| first + block * (end - first) / blocks;
        for block in 0..blocks {
            let tiles = at(block)..at(block + 1);
            match (self.pass.conv.size, self.pass.conv.positions[0].vectors()) {
                (TileSize::Two, 1) => self.block::<S, 4, 2, 1>(simd, &tiles),
                (TileSize::Two, _) => self.block::<S, 4, 2, 2>(simd, &tiles),
                (TileSize::Four, 1) => self.block::<S, 6, 4, 1>(simd, &tiles),
                (TileSize::Four, _) => self.block::<S, 6, 4, 2>(simd, &tiles),
            }
        }
        if let Some(activation) = self.pass.placement.after {
            let rows = self.y;
            simd.run(ActivateRows { rows, activation });
        }
    }
}

impl<T: Element> Task<'_, T> {
    #[inline(always)]
    fn block<S: Simd, const W: usize, const M: usize, const VECTORS: usize>(
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

    /// Picture, and first output row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize, side: usize) -> (usize, usize, usize) {
        let (strip, column) = (tile / self.pass.tiles, tile % self.pass.tiles);
        let (picture, row) = (strip / self.pass.strips, strip % self.pass.strips);
        (picture, row * side, column * side)
    }

    #[inline(always)]
    fn transform_window<S: Simd, const W: usize, const M: usize>(
        &mut self,
        simd: S,
        row: usize,
        tile: usize,
    ) {
        let ConvGeometry {
            inputs: channels,
            padding,
            ..
        } = self.pass.conv.geometry;
        let [height, width] = self.pass.size;
        let (picture, top, left) = self.place(tile, M);
        let depth_blocks = depth_chunks(channels).count();
        // Where each pixel of the window lies, if it lies in the map.
        let mut places = [[None; W]; W];
        for (i, places) in places.iter_mut().enumerate() {
            for (j, place) in places.iter_mut().enumerate() {
                let (y, x) = (top + i, left + j);
                if y >= padding && x >= padding && y - padding < height && x - padding < width {
                    let pixel = (picture * height + y - padding) * width + x - padding;
                    *place = Some(pixel * channels);
                }
            }
        }
        let stride = packed_stride(channels);
        // Outside of the loops, as it is too large for registers and would be cleared each time.
        let mut half = [[simd.splat(0.0); W]; W];
        for (block, depth) in depth_chunks(channels).enumerate() {
            let mut channel = depth.start;
            while channel < depth.end {
                let end = depth.end.min(channel + S::LANES);
                for j in 0..W {
                    let mut column = [simd.splat(0.0); W];
                    for i in 0..W {
                        if let Some(at) = places[i][j] {
                            column[i] = simd.load_some(&self.pass.x[at + channel..at + end]);
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
                        let at = ((position * depth_blocks + block) * self.most + row) * stride
                            + (channel - depth.start);
                        // Lanes past the block's end are zeros that nobody reads.
                        simd.store(values[j], &mut self.inputs[at..at + S::LANES]);
                    }
                }
                channel = end;
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize>(&mut self, simd: S, tiles: usize) {
        let conv = self.pass.conv;
        let width = VECTORS * S::LANES;
        let columns = self.panels.len() * width;
        let zeros = [0.0; 2 * super::MAX_LANES];
        let stride = packed_stride(conv.geometry.inputs);
        let depth_blocks = depth_chunks(conv.geometry.inputs).count();
        let products = self.products.chunks_exact_mut(self.most * columns);
        for (position, (packed, products)) in conv.positions.iter().zip(products).enumerate() {
            let mut products = MatMut::new(products, columns);
            for (block, depth) in depth_chunks(conv.geometry.inputs).enumerate() {
                let rows = &self.inputs[(position * depth_blocks + block) * self.most * stride..];
                for (index, panel) in self.panels.clone().enumerate() {
                    let next = if panel + 1 < self.panels.end {
                        packed.panel(&depth, panel + 1)
                    } else {
                        let after = conv.positions.get(position + 1).unwrap_or(packed);
                        after.panel(&depth, self.panels.start)
                    };
                    let product = PanelProduct {
                        rows,
                        layout: Layout::plain(depth.len(), stride),
                        panel: packed.panel(&depth, panel),
                        next: [next, &[]],
                        y: products.window(0..tiles, index * width..(index + 1) * width),
                        bias: (block == 0).then_some(&zeros),
                        relu: false,
                        sums: None,
                    };
                    multiply::<S, VECTORS>(simd, product);
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
        let columns = self.panels.len() * self.pass.conv.positions[0].width();
        let first = self.panels.start * self.pass.conv.positions[0].width();
        let [height, width] = self.pass.output;
        let (picture, top, left) = self.place(tile, M);
        let start = self.pass.pixel(self.strips.start);
        let outputs = self.y.columns();
        let mut half = [[simd.splat(0.0); W]; M];
        let mut channel = 0;
        while channel < outputs {
            let end = outputs.min(channel + S::LANES);
            let bias = simd.load(&self.pass.conv.bias[first + channel..]);
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
                        let pixel = (picture * height + top + i) * width + left + j - start;
                        let mut value = simd.add(values[j], bias);
                        if self.pass.placement.relu {
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

/// The window's transform along one axis.
#[inline(always)]
fn input_axis<S: Simd, const W: usize>(simd: S, d: [S::V; W]) -> [S::V; W] {
    let mut t = d;
    if W == 4 {
        t[0] = simd.sub(d[0], d[2]);
        t[1] = simd.add(d[1], d[2]);
        t[2] = simd.sub(d[2], d[1]);
        t[3] = simd.sub(d[1], d[3]);
    } else {
        let (two, four, five) = (simd.splat(2.0), simd.splat(4.0), simd.splat(-5.0));
        let minus_four = simd.splat(-4.0);
        // d4 - 4 d2 and d3 - 4 d1, d4 - d2 and 2 (d3 - d1).
        let even = simd.fma(d[2], minus_four, d[4]);
        let odd = simd.fma(d[1], minus_four, d[3]);
        let outer = simd.sub(d[4], d[2]);
        let inner = simd.mul(two, simd.sub(d[3], d[1]));
        t[0] = simd.fma(four, d[0], simd.fma(five, d[2], d[4]));
        t[1] = simd.add(even, odd);
        t[2] = simd.sub(even, odd);
        t[3] = simd.add(outer, inner);
        t[4] = simd.sub(outer, inner);
        t[5] = simd.fma(four, d[1], simd.fma(five, d[3], d[5]));
    }
    t
}

/// The products' transform along one axis.
#[inline(always)]
fn output_axis<S: Simd, const W: usize, const M: usize>(simd: S, m: [S::V; W]) -> [S::V; M] {
    let mut y = [simd.splat(0.0); M];
    if W == 4 {
        y[0] = simd.add(simd.add(m[0], m[1]), m[2]);
        y[1] = simd.sub(simd.sub(m[1], m[2]), m[3]);
    } else {
        let (sum, difference) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (far_sum, far_difference) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        y[0] = simd.add(simd.add(m[0], sum), far_sum);
        y[1] = simd.fma(simd.splat(2.0), far_difference, difference);
        y[2] = simd.fma(simd.splat(4.0), far_sum, sum);
        y[3] = simd.fma(simd.splat(8.0), far_difference, simd.add(difference, m[5]));
    }
    y
}
