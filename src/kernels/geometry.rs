//! Sizes of a convolution.

/// Zeros around a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// This many pixels on every side.
    Each(usize),
    /// TensorFlow's `SAME`: enough for `ceil(input / stride)` outputs. Of an odd number the larger half
    /// goes below or to the right.
    Same,
}

/// What a two-dimensional convolution with a square kernel is made of, besides its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Channels of the map that comes in.
    pub inputs: usize,
    /// Channels of the map that goes out.
    pub outputs: usize,
    /// Pixels of a side of the kernel.
    pub kernel_size: usize,
    pub stride: usize,
    pub padding: Padding,
    /// Pixels from one value of the kernel to the next.
    pub dilation: usize,
    /// Output channels of a group see the input channels of that group alone.
    pub groups: usize,
}

impl ConvGeometry {
    /// Height or width of the output for that of the input, in pixels; 0 if the kernel does not fit.
    pub fn output(&self, size: usize) -> usize {
        match self.padding {
            _ if size == 0 => 0,
            Padding::Same => size.div_ceil(self.stride),
            Padding::Each(padding) => {
                let padded = size.saturating_add(2 * padding);
                let room = padded.checked_sub(self.reach());
                room.map_or(0, |room| room / self.stride + 1)
            }
        }
    }

    /// Zeros before the first and after the last of `size` pixels along an axis.
    pub fn zeros(&self, size: usize) -> [usize; 2] {
        match self.padding {
            Padding::Each(padding) => [padding; 2],
            Padding::Same => {
                let steps = self.output(size).saturating_sub(1);
                let zeros = (steps * self.stride + self.reach()).saturating_sub(size);
                [zeros / 2, zeros.div_ceil(2)]
            }
        }
    }

    /// Pixels from the first to the last one under the kernel.
    fn reach(&self) -> usize {
        self.dilation * (self.kernel_size - 1) + 1
    }

    /// Input channels of a group.
    #[inline]
    pub fn group_inputs(&self) -> usize {
        self.inputs / self.groups
    }

    /// Output channels of a group.
    #[inline]
    pub fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    /// Products that make up one output value.
    #[inline]
    pub fn depth(&self) -> usize {
        self.kernel_size * self.kernel_size * self.group_inputs()
    }

    /// Whether no size is zero and the groups divide the channels.
    pub fn is_valid(&self) -> bool {
        let sizes = [
            self.inputs,
            self.outputs,
            self.kernel_size,
            self.stride,
            self.dilation,
            self.groups,
        ];
        !sizes.contains(&0)
            && self.inputs.is_multiple_of(self.groups)
            && self.outputs.is_multiple_of(self.groups)
    }
}
