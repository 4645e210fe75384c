//! Turns a spec into a plan.

use super::{BlockSpec, KernelSpec, LayerSpec, LayersSpec, ShiftSpec};
use crate::nets::families::Family;
use crate::nets::names::{LayerNames, Names};
use crate::nets::plan::{
    Activation, BlockPlan, ConvGeometry, ConvPlan, KernelShape, LinearPlan, NormPlan, Padding,
    SePlan, Shift, ShortcutPlan, StemPool, StepPlan, SumPlan,
};
use crate::nets::{NetError, Plan};

impl Family for LayersSpec {
    fn plan(&self, names: &'static Names, classes: usize) -> Result<Plan, NetError> {
        self.check()?;
        let planner = Planner {
            spec: self,
            names: names.layers()?,
        };
        planner.plan(names.classifier, classes)
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn set_inputs(&mut self, channels: usize) {
        self.inputs = channels;
    }

    fn summary(&self) -> String {
        let last = self.blocks.last().map_or(0, |block| block.stage);
        let blocks = (1..=last).map(|stage| {
            let of_stage = self.blocks.iter().filter(|block| block.stage == stage);
            of_stage.map(|block| block.repeat).sum::<usize>()
        });
        format!("written out, blocks {:?}", blocks.collect::<Vec<_>>())
    }
}

struct Planner<'a> {
    spec: &'a LayersSpec,
    names: &'static LayerNames,
}

impl Planner<'_> {
    fn plan(&self, classifier: &str, classes: usize) -> Result<Plan, NetError> {
        let spec = self.spec;
        let mut channels = spec.inputs;
        let mut stem = Vec::with_capacity(spec.stem.len());
        for layer in &spec.stem {
            let name = layer.name.clone().unwrap_or_default();
            let norm = layer.norm.clone();
            stem.push(self.conv(layer, name, norm, channels)?);
            channels = layer.conv.unwrap_or(0);
        }
        let mut stages: Vec<Vec<BlockPlan>> = Vec::new();
        for block in &spec.blocks {
            stages.resize_with(block.stage, Vec::new);
            for number in block.first..block.first + block.repeat {
                let name = block.name.replace("{n}", &number.to_string());
                let (plan, outputs) = self.block(block, name, channels)?;
                stages[block.stage - 1].push(plan);
                channels = outputs;
            }
        }
        Ok(Plan {
            stem,
            stem_pool: StemPool::None,
            stages,
            ending: None,
            head_conv: None,
            pooled_conv: None,
            classifier: LinearPlan {
                name: classifier.into(),
                inputs: channels,
                outputs: classes,
            },
            bgr: self.names.bgr && spec.inputs == 3,
        })
    }

    /// A block's plan and its output channels.
    fn block(
        &self,
        block: &BlockSpec,
        name: String,
        inputs: usize,
    ) -> Result<(BlockPlan, usize), NetError> {
        let (mut steps, outputs) = self.steps(&block.layers, &name, inputs)?;
        let sum = block.residual.then(|| {
            let se = match steps.pop() {
                Some(StepPlan::Se(se)) => Some(se),
                last => {
                    steps.extend(last);
                    None
                }
            };
            SumPlan {
                se,
                shortcut: ShortcutPlan::Identity,
                activation: (!block.linear).then_some(self.spec.activation),
            }
        });
        if block.residual && outputs != inputs {
            let reason = format!("{name}: {outputs} channels are added to {inputs}");
            return Err(NetError::spec("network.blocks.residual", reason));
        }
        let entry = None;
        Ok((
            BlockPlan {
                name,
                entry,
                steps,
                sum,
            },
            outputs,
        ))
    }

    /// The steps of layers below `block`, and their output channels.
    fn steps(
        &self,
        layers: &[LayerSpec],
        block: &str,
        mut channels: usize,
    ) -> Result<(Vec<StepPlan>, usize), NetError> {
        let mut steps = Vec::with_capacity(layers.len());
        for layer in layers {
            if let Some(outputs) = layer.conv {
                let below = |name: &String| self.below(block, name);
                let name = layer.name.as_ref().map(below).unwrap_or_default();
                let norm = layer.norm.as_ref().map(below);
                steps.push(StepPlan::Conv(self.conv(layer, name, norm, channels)?));
                channels = outputs;
            } else if let Some(branches) = &layer.join {
                let mut plans = Vec::with_capacity(branches.len());
                let mut joined = 0;
                for layers in branches {
                    let (steps, outputs) = self.steps(layers, block, channels)?;
                    plans.push(steps);
                    joined += outputs;
                }
                steps.push(StepPlan::Branches(plans));
                channels = joined;
            } else if let Some(reduced) = layer.se {
                let se = self.se(layer, reduced, block, channels);
                steps.push(StepPlan::Se(se));
            } else if let Some(groups) = layer.shuffle {
                divides(groups, channels, block)?;
                steps.push(StepPlan::Shuffle(groups));
            } else {
                steps.extend(layer.pool.map(StepPlan::Pool));
                steps.extend(layer.activate.map(StepPlan::Activate));
            }
        }
        Ok((steps, channels))
    }

    /// A layer without a name of its own has the block's.
    fn below(&self, block: &str, name: &str) -> String {
        if name.is_empty() {
            return block.to_owned();
        }
        format!("{block}{}{name}", self.names.separator)
    }

    fn conv(
        &self,
        layer: &LayerSpec,
        name: String,
        norm: Option<String>,
        inputs: usize,
    ) -> Result<ConvPlan, NetError> {
        let norm = || {
            let derived = self.names.norm.map(|suffix| format!("{name}{suffix}"));
            let name = norm.clone().or(derived).ok_or_else(|| {
                let reason = format!("{name}: this naming scheme needs `norm`, the norm's name");
                NetError::spec("network.blocks.layers", reason)
            })?;
            let eps = self.spec.eps;
            Ok::<_, NetError>(NormPlan { name, eps })
        };
        let shift = match layer.shift {
            ShiftSpec::Norm => Shift::Norm(norm()?),
            ShiftSpec::BiasAndNorm => Shift::BiasAndNorm(norm()?),
            ShiftSpec::Bias => layer.scale.map_or(Shift::Bias, Shift::ScaledBias),
        };
        let geometry = geometry(layer, inputs);
        for channels in [inputs, geometry.outputs] {
            divides(layer.groups, channels, &name)?;
        }
        let suffix = if layer.shift == ShiftSpec::Bias {
            ""
        } else {
            self.names.conv
        };
        Ok(ConvPlan {
            name: format!("{name}{suffix}"),
            geometry,
            shift,
            activation: (!layer.linear).then_some(self.spec.activation),
        })
    }

    fn se(&self, layer: &LayerSpec, reduced: usize, block: &str, channels: usize) -> SePlan {
        let name = match &layer.name {
            Some(name) => self.below(block, name),
            None => format!("{block}{}", self.names.se),
        };
        SePlan {
            reduce: format!("{name}{}", self.names.reduce),
            expand: format!("{name}{}", self.names.expand),
            name,
            channels,
            reduced,
            hidden: Activation::Relu,
            gate: Activation::Sigmoid,
        }
    }
}

fn geometry(layer: &LayerSpec, inputs: usize) -> ConvGeometry {
    let (kernel_size, shape) = match layer.kernel {
        KernelSpec::Square(size) => (size, KernelShape::Square),
        KernelSpec::Sides([1, width]) if width > 1 => (width, KernelShape::Row),
        KernelSpec::Sides([height, 1]) if height > 1 => (height, KernelShape::Column),
        KernelSpec::Sides([size, _]) => (size, KernelShape::Square),
    };
    ConvGeometry {
        inputs,
        outputs: layer.conv.unwrap_or(0),
        kernel_size,
        shape,
        stride: layer.stride,
        padding: Padding::Each(if layer.valid { 0 } else { kernel_size / 2 }),
        dilation: 1,
        groups: layer.groups,
    }
}

fn divides(groups: usize, channels: usize, name: &str) -> Result<(), NetError> {
    if channels.is_multiple_of(groups) {
        return Ok(());
    }
    let reason = format!("{name}: {channels} channels do not divide into {groups} groups");
    Err(NetError::spec("network.blocks.layers", reason))
}
