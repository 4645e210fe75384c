//! Colours for the values of a map, even to the eye.
//!
//! Both scales are paths through OKLab, a space in which equal distances look equally large
//! (Björn Ottosson, <https://bottosson.github.io/posts/oklab>, public domain).

use std::f64::consts::PI;

/// Red, green and blue from 0 to 255.
pub type Colour = [u8; 3];

/// How values become colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// From dark violet for the lowest value to light yellow for the highest. Lightness and hue change at a
    /// constant rate and the chroma stays the same, so all steps look equally large.
    Sequential,
    /// From blue for the most negative value to orange for the most positive one, equally light. What is 0 has no
    /// colour.
    Diverging,
}

/// Lightness, chroma and hue (in degrees) of a colour.
struct Lch(f64, f64, f64);

impl Scale {
    /// The colour of a value and how opaque it is. The value is from 0 to 1 for [`Scale::Sequential`], and from
    /// -1 to 1 for [`Scale::Diverging`].
    pub fn colour(self, value: f64) -> (Colour, f64) {
        match self {
            Self::Sequential => (sequential(value.clamp(0.0, 1.0)).srgb(), 0.6),
            Self::Diverging => {
                let hue = if value < 0.0 { 255.0 } else { 55.0 };
                (Lch(0.66, 0.15, hue).srgb(), 0.85 * value.abs().min(1.0))
            }
        }
    }

    /// The place on this scale of a value of a map with this range.
    pub fn place(self, value: f64, [low, high]: [f64; 2]) -> f64 {
        let (zero, span) = match self {
            Self::Sequential => (low, high - low),
            Self::Diverging => (0.0, low.abs().max(high.abs())),
        };
        // A map may have one value everywhere.
        if span > 0.0 {
            (value - zero) / span
        } else {
            0.0
        }
    }
}

fn sequential(value: f64) -> Lch {
    Lch(0.28 + 0.62 * value, 0.145, 300.0 + 155.0 * value)
}

impl Lch {
    fn lab(&self) -> [f64; 3] {
        let Self(lightness, chroma, hue) = *self;
        let hue = hue * PI / 180.0;
        [lightness, chroma * hue.cos(), chroma * hue.sin()]
    }

    fn linear(&self) -> [f64; 3] {
        let [lightness, a, b] = self.lab();
        let cube = |by_a: f64, by_b: f64| (lightness + by_a * a + by_b * b).powi(3);
        let l = cube(0.396_337_777_4, 0.215_803_757_3);
        let m = cube(-0.105_561_345_8, -0.063_854_172_8);
        let s = cube(-0.089_484_177_5, -1.291_485_548);
        [
            4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
            -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
            -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s,
        ]
    }

    fn srgb(&self) -> Colour {
        self.linear().map(|value| {
            let value = value.clamp(0.0, 1.0);
            let encoded = match value {
                dark @ ..=0.003_130_8 => 12.92 * dark,
                light => 1.055 * light.powf(1.0 / 2.4) - 0.055,
            };
            (255.0 * encoded).round() as u8
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_equal_and_inside_srgb() {
        let labs: Vec<[f64; 3]> = (0..=255)
            .map(|step| sequential(f64::from(step) / 255.0).lab())
            .collect();
        let steps = labs.windows(2).map(|pair| {
            let squares = [0, 1, 2].map(|axis| (pair[1][axis] - pair[0][axis]).powi(2));
            squares.iter().sum::<f64>().sqrt()
        });
        let steps: Vec<f64> = steps.collect();
        assert!(
            steps
                .iter()
                .all(|step| (step / steps[0] - 1.0).abs() < 1e-9)
        );
        for step in 0..=255 {
            let linear = sequential(f64::from(step) / 255.0).linear();
            let inside = linear.iter().all(|value| (-1e-3..=1.001).contains(value));
            assert!(inside, "{step}: {linear:?}");
        }
        for hue in [255.0, 55.0] {
            let linear = Lch(0.66, 0.15, hue).linear();
            assert!(
                linear.iter().all(|value| (-1e-3..=1.001).contains(value)),
                "{linear:?}"
            );
        }
    }

    #[test]
    fn the_ends_of_a_map_are_those_of_its_scale() {
        assert_eq!(Scale::Sequential.place(3.0, [1.0, 5.0]), 0.5);
        assert_eq!(Scale::Sequential.place(2.0, [2.0, 2.0]), 0.0);
        assert_eq!(Scale::Diverging.place(-2.0, [-4.0, 1.0]), -0.5);
        assert_eq!(Scale::Diverging.colour(0.0).1, 0.0);
        let [red, _, blue] = Scale::Diverging.colour(1.0).0;
        assert!(red > blue);
    }
}
