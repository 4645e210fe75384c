//! Draws a map on the image that it explains.

use image::RgbImage;

use super::{Cam, Colour, Scale};
use crate::nets::Grid;
use crate::preprocess::Placement;

/// A map, and where its cells lie in the image.
#[derive(Clone, Copy, Debug)]
pub struct HeatMap<'a> {
    /// The map.
    pub cam: &'a Cam,
    /// Where its cells lie in the network's input.
    pub grid: &'a Grid,
    /// Where the input lies in the image.
    pub placement: &'a Placement,
    /// The colours.
    pub scale: Scale,
}

/// Colours of a table.
const STEPS: usize = 512;

/// What is left of the light of an image where the network does not see it.
const DIMMED: f64 = 0.3;

impl HeatMap<'_> {
    /// The place in the image, `[y, x]` in pixels, of the centre of a cell. It may lie outside, where the input was
    /// padded.
    pub fn centre(&self, row: usize, column: usize) -> [f64; 2] {
        let input = [self.grid.rows.centre(row), self.grid.columns.centre(column)];
        self.placement.in_image(input)
    }

    /// The value of the map at a place of the image, `[y, x]` in pixels; between the cells' centres it is
    /// interpolated.
    pub fn at(&self, image: [f64; 2]) -> f64 {
        let [y, x] = self.placement.in_input(image);
        let (rows, columns) = (&self.grid.rows, &self.grid.columns);
        let row = (y - rows.first) / rows.step;
        let column = (x - columns.first) / columns.step;
        self.cam.at(row, column)
    }

    /// The map over the image in grey. The part that the network does not see is darker. `image` may be smaller than
    /// the one that was explained, if it shows all of it.
    pub fn draw(&self, image: &RgbImage) -> RgbImage {
        let (low, high) = match self.scale {
            Scale::Sequential => (0.0, 1.0),
            Scale::Diverging => (-1.0, 1.0),
        };
        let step = |step: usize| low + (high - low) * step as f64 / (STEPS - 1) as f64;
        let table: Vec<(Colour, f64)> = (0..STEPS).map(|at| self.scale.colour(step(at))).collect();
        let range = self.cam.range();
        let [height, width] = self.placement.image();
        let down = height as f64 / f64::from(image.height().max(1));
        let across = width as f64 / f64::from(image.width().max(1));
        let [rows, columns] = self.placement.crop();
        let mut drawn = image.clone();
        for (x, y, pixel) in drawn.enumerate_pixels_mut() {
            let place = [(f64::from(y) + 0.5) * down, (f64::from(x) + 0.5) * across];
            if !rows.contains(&place[0]) || !columns.contains(&place[1]) {
                pixel.0 = pixel.0.map(|value| (f64::from(value) * DIMMED) as u8);
                continue;
            }
            let value = self.scale.place(self.at(place), range);
            let entry = ((value - low) / (high - low) * (STEPS - 1) as f64).round() as usize;
            let (colour, opacity) = table[entry.min(STEPS - 1)];
            let [r, g, b] = pixel.0.map(f64::from);
            // Rec. 601, as in Pillow's grey.
            let grey = 0.299 * r + 0.587 * g + 0.114 * b;
            pixel.0 =
                colour.map(|colour| (grey + (f64::from(colour) - grey) * opacity).round() as u8);
        }
        drawn
    }
}
