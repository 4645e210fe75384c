//! Sizes of a convolution.

/// What a two-dimensional convolution with a square kernel is made of, besides its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Channels of the map that comes in.
    pub inputs: usize,
    /// Channels of the map that goes out.
    pub outputs: usize,
    /// Pixels of a side of the kernel.
    pub kernel: usize,
    pub stride: usize,
    /// Zeros around the map, in pixels.
    pub padding: usize,
    /// Pixels from one value of the kernel to the next.
    pub dilation: usize,
    /// Output channels of a group see the input channels of that group alone.
    pub groups: usize,
}

impl ConvGeometry {
    /// Height or width of the output for that of the input, in pixels; 0 if the kernel does not fit.
    #[inline]
    pub fn output(&self, size: usize) -> usize {
        let reach = self.dilation * (self.kernel - 1) + 1;
        match (size + 2 * self.padding).checked_sub(reach) {
            Some(room) => room / self.stride + 1,
            None => 0,
        }
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
        self.kernel * self.kernel * self.group_inputs()
    }

    /// Whether no size is zero and the groups divide the channels.
    pub fn is_valid(&self) -> bool {
        let sizes = [
            self.inputs,
            self.outputs,
            self.kernel,
            self.stride,
            self.dilation,
            self.groups,
        ];
        !sizes.contains(&0)
            && self.inputs.is_multiple_of(self.groups)
            && self.outputs.is_multiple_of(self.groups)
    }
}
