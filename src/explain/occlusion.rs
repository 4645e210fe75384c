//! Whether the cells that a map names matter to the network: they are covered, and the probability compared.

use serde::Serialize;

use super::Cam;
use crate::error::Result;
use crate::model::Model;
use crate::nets::Grid;

/// Random tenths that are averaged.
const DRAWS: usize = 10;
/// Covered images in a forward pass.
const BATCH: usize = 8;

/// By how much the probability of a class falls when a tenth of the cells is covered with the mean colour of
/// the preprocessing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Cells that are covered: a tenth of all, at least one.
    pub cells: usize,
    /// Fall of the probability when the highest cells are covered.
    pub top_drop: f64,
    /// The same for random cells, the mean of `draws`.
    pub random_drop: f64,
    /// Random choices of cells.
    pub draws: usize,
}

/// Checks the maps of an image. `input` are the values that the model's transform wrote for it, `logits` what
/// the network made of them, and `maps` have the class whose probability is compared. The random cells are the
/// same in every run.
///
/// # Errors
/// If the network fails on the covered images.
pub fn check(
    model: &Model,
    grid: &Grid,
    input: &[f32],
    logits: &[f32],
    maps: &[(usize, &Cam)],
) -> Result<Vec<Check>> {
    let cells = grid.rows.cells * grid.columns.cells;
    let count = (cells / 10).max(1);
    let mut random = Random(0);
    let draws = (0..DRAWS).map(|_| random.choose(count, cells));
    let tops = maps.iter().map(|(_, cam)| cam.top(count));
    let covered: Vec<Vec<usize>> = draws.chain(tops).collect();
    let is_channels_last = model.network().is_channels_last();
    let mut probabilities = Vec::new();
    for batch in covered.chunks(BATCH) {
        let mut values = Vec::with_capacity(batch.len() * input.len());
        for cells in batch {
            let start = values.len();
            values.extend_from_slice(input);
            cover(&mut values[start..], grid, cells, is_channels_last);
        }
        for logits in model.logits_each(values) {
            probabilities.push(model.probabilities(&logits?));
        }
    }
    let before = model.probabilities(logits);
    let checks = maps.iter().enumerate().map(|(place, &(class, _))| {
        let drop = |after: &Vec<f64>| before[class] - after[class];
        let random = probabilities[..DRAWS].iter().map(drop).sum::<f64>() / DRAWS as f64;
        Check {
            cells: count,
            top_drop: drop(&probabilities[DRAWS + place]),
            random_drop: random,
            draws: DRAWS,
        }
    });
    Ok(checks.collect())
}

/// Sets the pixels of cells to 0, which is the mean colour.
fn cover(values: &mut [f32], grid: &Grid, cells: &[usize], is_channels_last: bool) {
    let (height, width) = (grid.rows.size, grid.columns.size);
    let channels = values.len() / (height * width);
    for cell in cells {
        let columns = grid.columns.pixels(cell % grid.columns.cells);
        for row in grid.rows.pixels(cell / grid.columns.cells) {
            if is_channels_last {
                let row = &mut values[row * width * channels..][..width * channels];
                row[columns.start * channels..columns.end * channels].fill(0.0);
                continue;
            }
            for plane in values.chunks_exact_mut(height * width) {
                plane[row * width..][columns.clone()].fill(0.0);
            }
        }
    }
}

/// Pseudorandom numbers: splitmix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `count` of the numbers below `total`.
    fn choose(&mut self, count: usize, total: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..total).collect();
        for place in 0..count {
            let rest = (total - place) as u64;
            all.swap(place, place + (self.next() % rest) as usize);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nets::Axis;

    #[test]
    fn both_layouts_are_covered_alike() {
        let axis = |cells, size| Axis {
            cells,
            first: 1.0,
            step: 2.0,
            size,
        };
        let grid = Grid {
            rows: axis(2, 4),
            columns: axis(3, 6),
        };
        let mut first = vec![1.0; 2 * 24];
        let mut last = first.clone();
        cover(&mut first, &grid, &[1, 5], false);
        cover(&mut last, &grid, &[1, 5], true);
        for pixel in 0..24 {
            let (row, column) = (pixel / 6, pixel % 6);
            let is_covered = (row < 2 && (2..4).contains(&column)) || (row >= 2 && column >= 4);
            for channel in 0..2 {
                let expected = if is_covered { 0.0 } else { 1.0 };
                assert_eq!(first[channel * 24 + pixel], expected);
                assert_eq!(last[pixel * 2 + channel], expected);
            }
        }
    }

    #[test]
    fn random_cells_are_different_ones() {
        let mut random = Random(0);
        let mut seen = [0; 49];
        for _ in 0..1000 {
            let mut cells = random.choose(5, 49);
            cells.sort_unstable();
            cells.dedup();
            assert_eq!(cells.len(), 5);
            cells.iter().for_each(|&cell| seen[cell] += 1);
        }
        assert!(
            seen.iter().all(|&times| (60..150).contains(&times)),
            "{seen:?}"
        );
        assert_eq!(random.choose(3, 3).len(), 3);
    }
}
