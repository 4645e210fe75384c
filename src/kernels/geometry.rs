//! The geometry of a convolution.

/// How filters `[outputs, inputs / groups, kernel, kernel]` move over a map; the same along both
/// axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
}

impl ConvGeometry {
    /// Size of the output along an axis of `size` pixels; 0 where the window does not fit.
    pub fn output(&self, size: usize) -> usize {
        let window = self.dilation * (self.kernel - 1) + 1;
        (size + 2 * self.padding)
            .checked_sub(window)
            .map_or(0, |room| room / self.stride + 1)
    }
}
