//! Transforms 3x3 filters for Winograd's algorithm and packs them.

#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use crate::kernels::{Kernel, MAX_LANES, Simd};

/// Filters that are transformed together.
const LANES: usize = 8;

/// Outputs of the widest panel: two vectors.
const MOST_OUTPUTS: usize = 2 * MAX_LANES;

/// One value of each of the filters. In f64, so that a transformed weight is rounded once.
type Values = [f64; LANES];

/// Transforms the filters of a panel of outputs for a chunk of inputs.
pub(super) struct FilterPanel<'a> {
    /// `[outputs of the panel, inputs, 3, 3]`, from the first input of the chunk on.
    pub filters: &'a [f32],
    /// Inputs of the convolution.
    pub inputs: usize,
    pub outputs: usize,
    /// Side of the window: 4 or 6.
    pub window: usize,
    /// Outputs that a panel has room for.
    pub width: usize,
    /// For each position of the window the panel's weights for the chunk.
    pub positions: &'a mut [&'a mut [f32]],
}

impl Kernel for FilterPanel<'_> {
    type Output = ();
    type Element = f32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.window {
            4 => self.transform::<4>(),
            _ => self.transform::<6>(),
        }
    }
}

impl FilterPanel<'_> {
    #[inline(always)]
    fn transform<const W: usize>(self) {
        assert_eq!(self.positions.len(), W * W);
        let chunk = self.positions[0].len() / self.width;
        // A weight's places in all positions fall into the same cache set, so whole lines are
        // written at once.
        let mut lines = [[[0.0; MOST_OUTPUTS]; W]; W];
        for input in 0..chunk {
            let mut first = 0;
            while first < self.outputs {
                // Lanes without a filter repeat the last one; their results are dropped.
                let mut taps = [[0.0; LANES]; 9];
                for lane in 0..LANES {
                    let output = (first + lane).min(self.outputs - 1);
                    let filter = &self.filters[(output * self.inputs + input) * 9..][..9];
                    for tap in 0..9 {
                        taps[tap][lane] = f64::from(filter[tap]);
                    }
                }
                let mut half = [[[0.0; LANES]; 3]; W];
                for x in 0..3 {
                    let column = axis::<W>([taps[x], taps[3 + x], taps[6 + x]]);
                    for i in 0..W {
                        half[i][x] = column[i];
                    }
                }
                for i in 0..W {
                    let row = axis::<W>(half[i]);
                    for j in 0..W {
                        for lane in 0..LANES {
                            lines[i][j][first + lane] = row[j][lane] as f32;
                        }
                    }
                }
                first += LANES;
            }
            let at = input * self.width;
            for i in 0..W {
                for j in 0..W {
                    self.positions[i * W + j][at..at + self.outputs]
                        .copy_from_slice(&lines[i][j][..self.outputs]);
                }
            }
        }
    }
}

/// The filter's transform along one axis, a value for each position of the window:
/// `[1, 0, 0], [1, 1, 1] / 2, [1, -1, 1] / 2, [0, 0, 1]` for four of them, and
/// `[1, 0, 0] / 4, [1, 1, 1] / -6, [1, -1, 1] / -6, [1, 2, 4] / 24, [1, -2, 4] / 24, [0, 0, 1]`
/// for six.
#[inline(always)]
fn axis<const W: usize>(g: [Values; 3]) -> [Values; W] {
    let mut t = [[0.0; LANES]; W];
    for lane in 0..LANES {
        let [a, b, c] = [g[0][lane], g[1][lane], g[2][lane]];
        if W == 4 {
            let (outer, middle) = ((a + c) * 0.5, b * 0.5);
            t[0][lane] = a;
            t[1][lane] = outer + middle;
            t[2][lane] = outer - middle;
            t[3][lane] = c;
        } else {
            let (outer, middle) = ((a + c) * (-1.0 / 6.0), b * (1.0 / 6.0));
            t[0][lane] = a * 0.25;
            t[1][lane] = outer - middle;
            t[2][lane] = outer + middle;
            let (outer, middle) = (a * (1.0 / 24.0) + c * (1.0 / 6.0), b * (1.0 / 12.0));
            t[3][lane] = outer + middle;
            t[4][lane] = outer - middle;
            t[5][lane] = c;
        }
    }
    t
}
