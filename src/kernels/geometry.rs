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

/// The sides of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelShape {
    /// As high as it is wide.
    #[default]
    Square,
    /// One pixel high.
    Row,
    /// One pixel wide.
    Column,
}

/// What a two-dimensional convolution is made of, besides its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Channels of the map that comes in.
    pub inputs: usize,
    /// Channels of the map that goes out.
    pub outputs: usize,
    /// Pixels of the kernel's longer side.
    pub kernel_size: usize,
    /// How long the other one is.
    pub shape: KernelShape,
    pub stride: usize,
    /// Along the kernel's longer side; along a side of one pixel there is none.
    pub padding: Padding,
    /// Pixels from one value of the kernel to the next.
    pub dilation: usize,
    /// Output channels of a group see the input channels of that group alone.
    pub groups: usize,
}

impl ConvGeometry {
    /// A square kernel, one group, stride 1, and a padding that keeps the resolution.
    pub fn dense(inputs: usize, outputs: usize, kernel_size: usize) -> Self {
        Self {
            inputs,
            outputs,
            kernel_size,
            shape: KernelShape::Square,
            stride: 1,
            padding: Padding::Each(kernel_size / 2),
            dilation: 1,
            groups: 1,
        }
    }

    /// Height and width of the kernel.
    pub fn kernel(&self) -> [usize; 2] {
        match self.shape {
            KernelShape::Square => [self.kernel_size; 2],
            KernelShape::Row => [1, self.kernel_size],
            KernelShape::Column => [self.kernel_size, 1],
        }
    }

    /// The convolutions with square kernels that it is from top to bottom and from left to right.
    pub fn axes(&self) -> [Self; 2] {
        self.kernel().map(|kernel_size| Self {
            kernel_size,
            shape: KernelShape::Square,
            padding: match self.padding {
                Padding::Each(_) if kernel_size != self.kernel_size => Padding::Each(0),
                padding => padding,
            },
            ..*self
        })
    }

    /// Height and width of the output for those of the input; 0 where the kernel does not fit.
    pub fn output_size(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let [down, across] = self.axes();
        [down.output(height), across.output(width)]
    }

    /// Output pixels along the kernel's longer side for those of the input; 0 if the kernel does not fit.
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

    /// Zeros before the first and after the last of `size` pixels along the kernel's longer side.
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

    /// Whether every output pixel is made of the input pixel in its place.
    pub fn is_pointwise(&self) -> bool {
        let keeps_size = matches!(self.padding, Padding::Each(0) | Padding::Same);
        self.kernel_size == 1 && self.stride == 1 && keeps_size
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
        let [height, width] = self.kernel();
        height * width * self.group_inputs()
    }

    /// Whether no size is zero, the groups divide the channels, and a kernel of groups is square.
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
            && (self.groups == 1 || self.shape == KernelShape::Square)
            && self.inputs.is_multiple_of(self.groups)
            && self.outputs.is_multiple_of(self.groups)
    }
}
