//! The shapes an image takes on its way through a plan, without running it.

use std::fmt;

use serde::Serialize;

use super::NetError;
use super::plan::{
    BlockPlan, ConvPlan, EndingPlan, LinearPlan, NormActPlan, Plan, SePlan, Shift, SkPlan,
    StemPool, StepPlan,
};
use crate::nn::{ConvGeometry, Pool};

/// One layer as it is applied to one image.
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
    /// Every layer with its output shape for an image of `height` x `width`, in running order.
    ///
    /// # Errors
    /// [`NetError::InputSize`] if a layer's output would be empty or two branches differ in size.
    pub fn trace(&self, height: usize, width: usize) -> Result<Vec<LayerTrace>, NetError> {
        let mut walk = Walk {
            layers: Some(Vec::new()),
            ..Walk::new(height, width)
        };
        walk.plan(self)?;
        Ok(walk.layers.unwrap_or_default())
    }

    /// Values per image of the largest map, counting what the windows of a convolution hold: its
    /// memory where it is computed as a matrix product.
    ///
    /// # Errors
    /// As [`Plan::trace`].
    pub(super) fn largest_map(&self, height: usize, width: usize) -> Result<usize, NetError> {
        let mut walk = Walk::new(height, width);
        walk.plan(self)?;
        Ok(walk.largest)
    }

    /// Shapes `[C, height, width]` of the stem's output before its pool, and of every stage's output.
    ///
    /// # Errors
    /// As [`Plan::trace`].
    pub fn stage_shapes(&self, height: usize, width: usize) -> Result<Vec<[usize; 3]>, NetError> {
        let mut walk = Walk::new(height, width);
        walk.plan(self)?;
        Ok(walk.stages)
    }

    /// Checks that the network can be applied to images of `height` x `width`.
    ///
    /// # Errors
    /// As [`Plan::trace`].
    pub fn check_size(&self, height: usize, width: usize) -> Result<(), NetError> {
        Walk::new(height, width).plan(self)
    }
}

struct Walk {
    input: Size,
    /// `None` if only the sizes are checked.
    layers: Option<Vec<LayerTrace>>,
    /// As [`Plan::largest_map`], so far.
    largest: usize,
    /// As [`Plan::stage_shapes`], so far.
    stages: Vec<[usize; 3]>,
}

impl Walk {
    fn new(height: usize, width: usize) -> Self {
        Self {
            input: (height, width),
            layers: None,
            largest: 0,
            stages: Vec::new(),
        }
    }

    fn plan(&mut self, plan: &Plan) -> Result<(), NetError> {
        let mut size = self.input;
        let mut channels = plan.inputs();
        for conv in &plan.stem {
            size = self.conv(conv, size)?;
            channels = conv.geometry.outputs;
        }
        self.stages.push([channels, size.0, size.1]);
        size = self.stem_pool(plan.stem_pool, channels, size)?;
        for stage in &plan.stages {
            for block in stage {
                (channels, size) = self.block(block, channels, size)?;
            }
            self.stages.push([channels, size.0, size.1]);
        }
        if let Some(EndingPlan::Norm(norm)) = &plan.ending {
            self.norm(norm, size);
        }
        if let Some(conv) = &plan.head_conv {
            size = self.conv(conv, size)?;
            channels = conv.geometry.outputs;
        }
        let kind = format_args!("mean {}x{}", size.0, size.1);
        self.layer(format_args!("pool"), kind, [channels, 1, 1], 0, 0);
        if let Some(conv) = &plan.pooled_conv {
            self.conv(conv, (1, 1))?;
        }
        let LinearPlan {
            name,
            inputs,
            outputs,
        } = &plan.classifier;
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

    /// The size of a layer's output, of which a side is 0 if no window fits.
    fn fits(&self, layer: &str, size: Size, output: Size) -> Result<Size, NetError> {
        match output {
            (0, _) | (_, 0) => {
                let reason = format!("a map of {}x{} is too small", size.0, size.1);
                Err(self.fail(layer, reason))
            }
            output => Ok(output),
        }
    }

    fn conv(&mut self, conv: &ConvPlan, size: Size) -> Result<Size, NetError> {
        let ConvPlan { name, geometry, .. } = conv;
        let [down, across] = geometry.axes();
        let out = (down.output(size.0), across.output(size.1));
        let (height, width) = self.fits(name, size, out)?;
        let outputs = geometry.outputs;
        let [kernel_height, kernel_width] = geometry.kernel();
        let values = (geometry.inputs * kernel_height * kernel_width)
            .max(outputs)
            .saturating_mul(height)
            .saturating_mul(width);
        self.largest = self.largest.max(values);
        let weights = outputs * geometry.depth();
        let shifts = match conv.shift {
            Shift::Norm(_) => 2 * outputs,
            Shift::Bias | Shift::ScaledBias(_) => outputs,
            Shift::BiasAndNorm(_) => 3 * outputs,
            Shift::None => 0,
        };
        self.layer(
            format_args!("{name}"),
            format_args!("{}", Kind(geometry)),
            [outputs, height, width],
            weights + shifts,
            weights.saturating_mul(height).saturating_mul(width),
        );
        Ok((height, width))
    }

    fn stem_pool(&mut self, pool: StemPool, channels: usize, size: Size) -> Result<Size, NetError> {
        match pool.pool() {
            Some(pool) => self.pool(pool, "stem pool", channels, size),
            None => Ok(size),
        }
    }

    fn pool(
        &mut self,
        pool: Pool,
        name: &str,
        channels: usize,
        size: Size,
    ) -> Result<Size, NetError> {
        let out = (pool.output(size.0), pool.output(size.1));
        let (height, width) = self.fits(name, size, out)?;
        let kind = format_args!("{}", kind(pool));
        self.layer(
            format_args!("{name}"),
            kind,
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

    fn norm(&mut self, plan: &NormActPlan, (height, width): Size) {
        let channels = plan.channels;
        self.layer(
            format_args!("{}", plan.norm.name),
            format_args!("batch norm"),
            [channels, height, width],
            2 * channels,
            0,
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
            format_args!("{}", sk.norm.name),
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

    /// The channels and the size of what the steps of the block `block` make of a map.
    fn steps(
        &mut self,
        steps: &[StepPlan],
        block: &str,
        mut channels: usize,
        size: Size,
    ) -> Result<(usize, Size), NetError> {
        let mut out = size;
        for step in steps {
            match step {
                StepPlan::Conv(conv) => {
                    out = self.conv(conv, out)?;
                    channels = conv.geometry.outputs;
                }
                StepPlan::Pool(pool) => {
                    out = self.pool(*pool, &format!("{block}.pool"), channels, out)?;
                }
                StepPlan::Se(se) => self.se(se),
                StepPlan::Sk(sk) => {
                    out = self.sk(sk, out)?;
                    channels = sk.channels;
                }
                StepPlan::Branches(branches) => {
                    (channels, out) = self.branches(branches, block, channels, out)?;
                }
                StepPlan::Shuffle(groups) => {
                    let name = format!("{block}.shuffle");
                    let kind = format_args!("shuffle g{groups}");
                    self.layer(format_args!("{name}"), kind, [channels, out.0, out.1], 0, 0);
                }
                StepPlan::Activate(_) => {}
                StepPlan::Norm(norm) => self.norm(norm, out),
            }
        }
        Ok((channels, out))
    }

    /// As [`Walk::steps`], of parallel branches.
    fn branches(
        &mut self,
        branches: &[Vec<StepPlan>],
        block: &str,
        channels: usize,
        size: Size,
    ) -> Result<(usize, Size), NetError> {
        let mut joined = 0;
        let mut out = None;
        for steps in branches {
            let (outputs, side) = self.steps(steps, block, channels, size)?;
            joined += outputs;
            let first = *out.get_or_insert(side);
            if side != first {
                let reason = format!(
                    "one branch gives {}x{} and another {}x{}",
                    first.0, first.1, side.0, side.1
                );
                return Err(self.fail(block, reason));
            }
        }
        let out = out.unwrap_or(size);
        self.largest = self
            .largest
            .max(joined.saturating_mul(out.0).saturating_mul(out.1));
        let kind = format_args!("join {}", branches.len());
        self.layer(
            format_args!("{block}.join"),
            kind,
            [joined, out.0, out.1],
            0,
            0,
        );
        Ok((joined, out))
    }

    /// The channels and the size of a block's output.
    fn block(
        &mut self,
        block: &BlockPlan,
        channels: usize,
        size: Size,
    ) -> Result<(usize, Size), NetError> {
        if let Some(entry) = &block.entry {
            self.norm(entry, size);
        }
        let (channels, out) = self.steps(&block.steps, &block.name, channels, size)?;
        if let Some(se) = block.sum.as_ref().and_then(|sum| sum.se.as_ref()) {
            self.se(se);
        }
        let Some(shortcut) = block.projection() else {
            return Ok((channels, out));
        };
        let mut side = size;
        if shortcut.avg_pool {
            // Rounded up, unlike the anti-aliased branch: odd maps make the two differ.
            let name = format!("{}.shortcut pool", block.name);
            let inputs = shortcut.conv.geometry.inputs;
            side = self.pool(Pool::AverageCeil, &name, inputs, size)?;
        }
        side = self.conv(&shortcut.conv, side)?;
        if side == out {
            return Ok((channels, out));
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
struct Kind<'a>(&'a ConvGeometry);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConvGeometry {
            stride,
            groups,
            dilation,
            ..
        } = *self.0;
        let [height, width] = self.0.kernel();
        write!(f, "conv {height}x{width}")?;
        for (sign, value) in [(" /", stride), (" g", groups), (" d", dilation)] {
            if value != 1 {
                write!(f, "{sign}{value}")?;
            }
        }
        Ok(())
    }
}

fn kind(pool: Pool) -> &'static str {
    match pool {
        Pool::MaxPad => "max pool 3x3 /2",
        Pool::MaxCeil => "max pool 3x3 /2 ceil",
        Pool::MaxValid => "max pool 3x3 /2 valid",
        Pool::MaxSame => "max pool 3x3",
        Pool::MaxHalf => "max pool 2x2 /2",
        Pool::AveragePad => "avg pool 3x3 /2",
        Pool::AverageSame => "avg pool 3x3",
        Pool::AverageInside => "avg pool 3x3 inside",
        Pool::Average => "avg pool 2x2 /2",
        Pool::AverageCeil => "avg pool 2x2 /2 ceil",
    }
}
