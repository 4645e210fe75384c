//! The shapes a picture takes on its way through a plan, without running it.

use std::fmt;

use serde::Serialize;

use super::NetError;
use super::plan::{BlockPlan, ConvPlan, LinearPlan, Plan, SePlan, SkPlan, StemPool, StepPlan};

/// One layer as it is applied to one picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerTrace {
    /// Prefix of the layer's tensors, or the name of the operation where it has none.
    pub name: String,
    /// What the layer is, such as `conv 3x3 /2 g32`.
    pub kind: String,
    /// Channels, height and width of the output; vectors are `[C, 1, 1]`.
    pub output: [usize; 3],
    /// Trainable parameters, BatchNorm included.
    pub params: usize,
    /// Multiply-accumulate operations of convolutions and linear layers.
    pub macs: u64,
}

type Size = (usize, usize);

impl Plan {
    /// Every layer with its output shape for a picture of `height` x `width`, in running order.
    ///
    /// # Errors
    /// [`NetError::InputSize`] where a layer would have nothing to work on or two branches differ.
    pub fn trace(&self, height: usize, width: usize) -> Result<Vec<LayerTrace>, NetError> {
        let mut walk = Walk {
            input: (height, width),
            layers: Some(Vec::new()),
        };
        walk.plan(self)?;
        Ok(walk.layers.unwrap_or_default())
    }

    /// Checks that the network can be applied to pictures of `height` x `width`.
    ///
    /// # Errors
    /// As [`Plan::trace`].
    pub fn check_size(&self, height: usize, width: usize) -> Result<(), NetError> {
        Walk {
            input: (height, width),
            layers: None,
        }
        .plan(self)
    }
}

struct Walk {
    input: Size,
    /// Collected where somebody wants to see them.
    layers: Option<Vec<LayerTrace>>,
}

impl Walk {
    fn plan(&mut self, plan: &Plan) -> Result<(), NetError> {
        let mut size = self.input;
        let mut channels = 0;
        for conv in &plan.stem {
            size = self.conv(conv, size)?;
            channels = conv.outputs;
        }
        size = self.stem_pool(plan.stem_pool, channels, size)?;
        for block in plan.blocks() {
            size = self.block(block, size)?;
        }
        if let Some(conv) = &plan.head_conv {
            size = self.conv(conv, size)?;
        }
        let LinearPlan {
            name,
            inputs,
            outputs,
        } = &plan.classifier;
        let kind = format_args!("mean {}x{}", size.0, size.1);
        self.layer(format_args!("pool"), kind, [*inputs, 1, 1], 0, 0);
        let (params, macs) = ((inputs + 1) * outputs, inputs * outputs);
        self.layer(
            format_args!("{name}"),
            format_args!("linear"),
            [*outputs, 1, 1],
            params,
            macs,
        );
        Ok(())
    }

    fn layer(
        &mut self,
        name: fmt::Arguments<'_>,
        kind: fmt::Arguments<'_>,
        output: [usize; 3],
        params: usize,
        macs: usize,
    ) {
        if let Some(layers) = &mut self.layers {
            let (name, kind) = (name.to_string(), kind.to_string());
            layers.push(LayerTrace {
                name,
                kind,
                output,
                params,
                macs: macs as u64,
            });
        }
    }

    fn fail(&self, layer: &str, reason: String) -> NetError {
        let (height, width) = self.input;
        NetError::InputSize {
            height,
            width,
            layer: layer.into(),
            reason,
        }
    }

    fn window(&self, layer: &str, size: Size, window: &Window) -> Result<Size, NetError> {
        match (window.output(size.0), window.output(size.1)) {
            (Some(height), Some(width)) => Ok((height, width)),
            _ => {
                let reason = format!("a map of {}x{} is too small", size.0, size.1);
                Err(self.fail(layer, reason))
            }
        }
    }

    fn conv(&mut self, conv: &ConvPlan, size: Size) -> Result<Size, NetError> {
        let ConvPlan {
            kernel,
            stride,
            padding,
            dilation,
            groups,
            outputs,
            ..
        } = *conv;
        let window = Window {
            size: dilation * (kernel - 1) + 1,
            stride,
            padding,
            ceil: false,
        };
        let (height, width) = self.window(&conv.conv, size, &window)?;
        let weights = outputs * (conv.inputs / groups) * kernel * kernel;
        let macs = weights.saturating_mul(height).saturating_mul(width);
        let (name, output) = (&conv.conv, [outputs, height, width]);
        self.layer(
            format_args!("{name}"),
            format_args!("{}", Kind(conv)),
            output,
            weights + 2 * outputs,
            macs,
        );
        Ok((height, width))
    }

    fn stem_pool(&mut self, pool: StemPool, channels: usize, size: Size) -> Result<Size, NetError> {
        let (kind, window) = match pool {
            StemPool::None => return Ok(size),
            StemPool::MaxPad => (
                "max pool 3x3 /2",
                Window {
                    size: 3,
                    stride: 2,
                    padding: 1,
                    ceil: false,
                },
            ),
            StemPool::MaxCeil => (
                "max pool 3x3 /2 ceil",
                Window {
                    size: 3,
                    stride: 2,
                    padding: 0,
                    ceil: true,
                },
            ),
            StemPool::Avg => ("avg pool 2x2 /2", HALVE),
        };
        let (height, width) = self.window("the stem's pool", size, &window)?;
        self.layer(
            format_args!("stem pool"),
            format_args!("{kind}"),
            [channels, height, width],
            0,
            0,
        );
        Ok((height, width))
    }

    fn vector(&mut self, name: fmt::Arguments<'_>, inputs: usize, outputs: usize, bias: bool) {
        let (params, macs) = ((inputs + usize::from(bias)) * outputs, inputs * outputs);
        self.layer(
            name,
            format_args!("conv 1x1"),
            [outputs, 1, 1],
            params,
            macs,
        );
    }

    fn se(&mut self, se: &SePlan) {
        self.vector(format_args!("{}", se.reduce), se.channels, se.reduced, true);
        self.vector(format_args!("{}", se.expand), se.reduced, se.channels, true);
    }

    fn sk(&mut self, sk: &SkPlan, size: Size) -> Result<Size, NetError> {
        self.conv(&sk.paths[0], size)?;
        let out = self.conv(&sk.paths[1], size)?;
        let name = &sk.attention;
        self.vector(
            format_args!("{name}.fc_reduce"),
            sk.channels,
            sk.reduced,
            false,
        );
        self.layer(
            format_args!("{name}.bn"),
            format_args!("batch norm"),
            [sk.reduced, 1, 1],
            2 * sk.reduced,
            0,
        );
        self.vector(
            format_args!("{name}.fc_select"),
            sk.reduced,
            2 * sk.channels,
            false,
        );
        Ok(out)
    }

    fn block(&mut self, block: &BlockPlan, size: Size) -> Result<Size, NetError> {
        let mut out = size;
        let mut channels = 0;
        for step in &block.steps {
            match step {
                StepPlan::Conv(conv) => {
                    out = self.conv(conv, out)?;
                    channels = conv.outputs;
                }
                StepPlan::AvgPool => {
                    let name = format!("{}.pool", block.name);
                    out = self.window(&name, out, &HALVE)?;
                    self.layer(
                        format_args!("{name}"),
                        format_args!("avg pool 2x2 /2"),
                        [channels, out.0, out.1],
                        0,
                        0,
                    );
                }
                StepPlan::Se(se) => self.se(se),
                StepPlan::Sk(sk) => {
                    out = self.sk(sk, out)?;
                    channels = sk.channels;
                }
            }
        }
        if let Some(se) = &block.se {
            self.se(se);
        }
        let Some(shortcut) = &block.shortcut else {
            return Ok(out);
        };
        let mut side = size;
        if shortcut.avg_pool {
            // Rounded up, unlike the anti-aliased branch: odd maps make the two differ.
            side = (size.0.div_ceil(2), size.1.div_ceil(2));
            let output = [shortcut.conv.inputs, side.0, side.1];
            let name = format_args!("{}.shortcut pool", block.name);
            self.layer(name, format_args!("avg pool 2x2 /2 ceil"), output, 0, 0);
        }
        side = self.conv(&shortcut.conv, side)?;
        if side == out {
            return Ok(out);
        }
        let reason = format!(
            "the branch gives {}x{} and the shortcut {}x{}; anti-aliased networks take sizes that \
             leave 31, 0, 1 or 2 when divided by 32",
            out.0, out.1, side.0, side.1
        );
        Err(self.fail(&block.name, reason))
    }
}

/// `conv 3x3 /2 g32`: kernel, and what differs from 1 of stride, groups and dilation.
struct Kind<'a>(&'a ConvPlan);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConvPlan {
            kernel,
            stride,
            groups,
            dilation,
            ..
        } = *self.0;
        write!(f, "conv {kernel}x{kernel}")?;
        for (sign, value) in [(" /", stride), (" g", groups), (" d", dilation)] {
            if value != 1 {
                write!(f, "{sign}{value}")?;
            }
        }
        Ok(())
    }
}

const HALVE: Window = Window {
    size: 2,
    stride: 2,
    padding: 0,
    ceil: false,
};

/// A window that slides along one axis.
struct Window {
    size: usize,
    stride: usize,
    padding: usize,
    ceil: bool,
}

impl Window {
    /// Number of positions over `input` elements; none if the window does not fit once.
    fn output(&self, input: usize) -> Option<usize> {
        let padded = input.checked_add(2 * self.padding + self.stride)? - self.stride;
        let round_up = if self.ceil { self.stride - 1 } else { 0 };
        if input == 0 {
            return None;
        }
        let positions = (padded + round_up).checked_sub(self.size)? / self.stride + 1;
        Some(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn window_counts_positions_as_pytorch_does() {
        let legacy = Window {
            size: 3,
            stride: 2,
            padding: 0,
            ceil: true,
        };
        let padded = Window {
            size: 3,
            stride: 2,
            padding: 1,
            ceil: false,
        };
        let outputs = |window: &Window, inputs: &[usize]| -> Vec<Option<usize>> {
            inputs.iter().map(|&n| window.output(n)).collect()
        };
        let (none, some) = (None, Some);
        assert_eq!(
            outputs(&legacy, &[0, 1, 2, 3, 4, 5, 112, 113]),
            [
                none,
                none,
                some(1),
                some(1),
                some(2),
                some(2),
                some(56),
                some(56)
            ]
        );
        assert_eq!(
            outputs(&padded, &[0, 1, 2, 3, 112, 113]),
            [none, some(1), some(1), some(2), some(56), some(57)]
        );
    }
}
