//! Some rows of tiles, of some panels.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use std::ops::Range;
use std::{ptr, slice};

use super::transform::{input_axis, output_axis};
use super::{Call, TileSize};
use crate::kernels::epilogue::ActivateRows;
use crate::kernels::gemm::depth_chunks;
use crate::kernels::micro::{PanelProduct, RowLayout, multiply};
use crate::kernels::partition::Tasks;
use crate::kernels::{Kernel, MAX_LANES, MatMut, Simd};

/// Some rows of tiles of some panels, `most` tiles at a time.
pub(super) struct Task<'a> {
    pub(super) call: Call<'a>,
    pub(super) tile_rows: Range<usize>,
    pub(super) panels: Range<usize>,
    /// Those of the panels: whole ones, if there are several.
    pub(super) groups: Range<usize>,
    pub(super) most: usize,
    /// Values from one row of transformed windows to the next.
    pub(super) stride: usize,
    pub(super) y: MatMut<'a>,
    /// The transformed windows: for each position and chunk of inputs of the groups, one row per tile.
    pub(super) inputs: &'a mut [f32],
    /// For each position, one row of the outputs of all panels per tile.
    pub(super) products: &'a mut [f32],
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
            match self.call.conv.size {
                TileSize::Two => self.group::<S, 4, 2>(simd, &tiles),
                TileSize::Four => self.group::<S, 6, 4>(simd, &tiles),
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
    fn group<S: Simd, const W: usize, const M: usize>(&mut self, simd: S, tiles: &Range<usize>) {
        for (row, tile) in tiles.clone().enumerate() {
            self.transform_window::<S, W, M>(simd, row, tile);
        }
        self.multiply(simd, tiles.len());
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
        let geometry = &self.call.conv.geometry;
        let first = self.groups.start * geometry.group_inputs();
        let channels = self.groups.len() * geometry.group_inputs();
        let ([height, width], [above, before]) = (self.call.size, self.call.zeros);
        let (image, top, left) = self.place(tile, M);
        let chunks = depth_chunks::<f32>(channels).count();
        // Where the channels of each pixel of the window lie, if it is on the map.
        let mut places = [[ptr::null(); W]; W];
        for (i, places) in places.iter_mut().enumerate() {
            for (j, place) in places.iter_mut().enumerate() {
                let (y, x) = (top + i, left + j);
                if y >= above && x >= before && y - above < height && x - before < width {
                    let pixel = (image * height + y - above) * width + x - before;
                    let pixel = &self.call.x[pixel * geometry.inputs + first..];
                    *place = pixel[..channels].as_ptr();
                }
            }
        }
        // From one position of the window to the next.
        let step = chunks * self.most * self.stride;
        assert!(self.inputs.len() >= W * W * step && row < self.most);
        assert!(self.stride >= channels.div_ceil(chunks).next_multiple_of(S::LANES));
        // Outside of the loops: it is too large for registers and would be cleared in each
        // iteration.
        let mut half = [[simd.splat(0.0); W]; W];
        for (chunk, depth) in depth_chunks::<f32>(channels).enumerate() {
            assert!(depth.end <= channels && depth.len() <= channels.div_ceil(chunks));
            let to = self.inputs[(chunk * self.most + row) * self.stride..].as_mut_ptr();
            for channel in depth.clone().step_by(S::LANES) {
                let is_whole = channel + S::LANES <= depth.end;
                for j in 0..W {
                    let mut column = [simd.splat(0.0); W];
                    for i in 0..W {
                        if !places[i][j].is_null() {
                            // SAFETY: a place is valid for reading so many channels.
                            column[i] = unsafe {
                                let from = places[i][j].add(channel);
                                if is_whole {
                                    simd.load_unchecked(from)
                                } else {
                                    simd.load_some(slice::from_raw_parts(from, depth.end - channel))
                                }
                            };
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
                        // Lanes past the chunk's end are zeros that are never read.
                        // SAFETY: for every position there is a row of `stride` values, which the chunk
                        // fits in as whole vectors.
                        unsafe {
                            let to = to.add((i * W + j) * step + channel - depth.start);
                            simd.store_unchecked(values[j], to);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, tiles: usize) {
        let conv = self.call.conv;
        let width = conv.filters[0].width();
        let columns = self.panels.len() * width;
        let zeros = [0.0; 2 * MAX_LANES];
        let (inputs, panels) = (conv.geometry.group_inputs(), conv.panels());
        // Several groups have one chunk.
        let chunks = depth_chunks::<f32>(inputs).count();
        let positions = conv.size.positions();
        let filters =
            |panel: usize, position: usize| &conv.filters[panel / panels * positions + position];
        let products = self.products.chunks_exact_mut(self.most * columns);
        for (position, products) in products.enumerate() {
            let mut products = MatMut::new(products, columns);
            for (chunk, depth) in depth_chunks::<f32>(inputs).enumerate() {
                let rows = &self.inputs[(position * chunks + chunk) * self.most * self.stride..];
                for (index, panel) in self.panels.clone().enumerate() {
                    let group = panel / panels;
                    let packed = filters(panel, position);
                    let next = if panel + 1 < self.panels.end {
                        filters(panel + 1, position).panel(&depth, (panel + 1) % panels)
                    } else {
                        let after = (position + 1) % positions;
                        let first = self.panels.start;
                        filters(first, after).panel(&depth, first % panels)
                    };
                    let panel = panel % panels;
                    let panel_width = packed.panel_width(panel);
                    let start = index * width;
                    let product = PanelProduct {
                        rows: &rows[(group - self.groups.start) * inputs..],
                        layout: RowLayout::plain(depth.len(), self.stride),
                        panel: packed.panel(&depth, panel),
                        next: [bytemuck::cast_slice(next), &[]],
                        y: products.window(0..tiles, start..start + panel_width),
                        partial: None,
                        bias: (chunk == 0).then_some(&zeros),
                        last: chunk + 1 == chunks,
                        relu: false,
                        sums: None,
                    };
                    multiply(simd, packed.vectors(panel), product);
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
        let conv = self.call.conv;
        let panel_width = conv.filters[0].width();
        let columns = self.panels.len() * panel_width;
        let first = self.call.column(self.panels.start);
        let [height, width] = self.call.output;
        let (image, top, left) = self.place(tile, M);
        let start = self.call.pixel(self.tile_rows.start);
        // Of each group; a part of the only one has fewer.
        let outputs = self.y.columns() / self.groups.len();
        // From one position of the window to the next.
        let step = self.most * columns;
        assert!(self.products.len() >= W * W * step && row < self.most);
        let last = (self.groups.len() - 1) * conv.panels() * panel_width;
        assert!(last + outputs.next_multiple_of(S::LANES) <= columns);
        // Where each pixel of the tile lies, if it is on the map.
        let mut places = [[None; M]; M];
        for (i, places) in places.iter_mut().enumerate() {
            for (j, place) in places.iter_mut().enumerate() {
                if top + i < height && left + j < width {
                    let pixel = (image * height + top + i) * width + left + j - start;
                    *place = Some(self.y.row_ptr(pixel));
                }
            }
        }
        let mut half = [[simd.splat(0.0); W]; M];
        for group in 0..self.groups.len() {
            let from = row * columns + group * conv.panels() * panel_width;
            let from = self.products[from..].as_ptr();
            let to = group * outputs;
            for channel in (0..outputs).step_by(S::LANES) {
                let is_whole = channel + S::LANES <= outputs;
                let bias = simd.load(&conv.bias[first + to + channel..]);
                for j in 0..W {
                    let mut column = [simd.splat(0.0); W];
                    for i in 0..W {
                        // SAFETY: for every position there is a row of the panels of all groups.
                        column[i] =
                            unsafe { simd.load_unchecked(from.add((i * W + j) * step + channel)) };
                    }
                    let column = output_axis::<S, W, M>(simd, column);
                    for i in 0..M {
                        half[i][j] = column[i];
                    }
                }
                for i in 0..M {
                    let values = output_axis::<S, W, M>(simd, half[i]);
                    for j in 0..M {
                        let Some(place) = places[i][j] else {
                            continue;
                        };
                        let mut value = simd.add(values[j], bias);
                        if self.call.placement.relu {
                            value = simd.relu(value);
                        }
                        // SAFETY: a place is a row of `y`, which has the outputs of all groups.
                        unsafe {
                            let place = place.add(to + channel);
                            if is_whole {
                                simd.store_unchecked(value, place);
                            } else {
                                let rest = slice::from_raw_parts_mut(place, outputs - channel);
                                simd.store_some(value, rest);
                            }
                        }
                    }
                }
            }
        }
    }
}
