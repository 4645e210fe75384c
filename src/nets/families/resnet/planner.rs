//! Turns a spec into a plan.

use super::{BlockKind, ResnetRun, ResnetSpec, SePosition, SeSpec, Shortcut, StrideOn};
use crate::nets::families::Family;
use crate::nets::families::runs;
use crate::nets::families::shared::normed;
use crate::nets::names::{Branch, Names};
use crate::nets::plan::{
    Activation, BlockPlan, ConvGeometry, ConvPlan, EndingPlan, LinearPlan, NormPlan, Padding, Pool,
    ProjectionPlan, SePlan, ShortcutPlan, SkPlan, StepPlan, SumPlan,
};
use crate::nets::{NetError, Plan};

impl Family for ResnetSpec {
    fn plan(&self, names: &'static Names, classes: usize) -> Result<Plan, NetError> {
        self.check()?;
        Planner { spec: self, names }.plan(classes)
    }

    fn inputs(&self) -> usize {
        self.stem.inputs
    }

    fn set_inputs(&mut self, channels: usize) {
        self.stem.inputs = channels;
    }

    fn summary(&self) -> String {
        summary(self.block, &self.runs)
    }
}

/// One line for people.
pub(in crate::nets::families) fn summary(block: BlockKind, runs: &[ResnetRun]) -> String {
    let rows = runs::alike(runs.iter().map(|run| {
        let row = [run.stage, run.channels, run.width, run.groups];
        (run.blocks, row)
    }));
    let each = |index: usize| rows.iter().map(|(_, row)| row[index]).collect::<Vec<_>>();
    let blocks: Vec<usize> = rows.iter().map(|(blocks, _)| *blocks).collect();
    let mut text = format!(
        "{block:?} blocks {blocks:?}, channels {:?}, widths {:?}",
        each(1),
        each(2)
    );
    let groups = each(3);
    if groups.iter().any(|&groups| groups > 1) {
        text += &format!(", groups {groups:?}");
    }
    text.to_lowercase()
}

/// The module of a block at `position`, if it has one there.
pub(in crate::nets::families) fn module(
    se: Option<&SeSpec>,
    names: &Names,
    place: &Place<'_>,
    position: SePosition,
    channels: usize,
) -> Result<Option<SePlan>, NetError> {
    let se = se.filter(|se| se.position == position);
    let (Some(se), Some(reduced)) = (se, place.run.reduced) else {
        return Ok(None);
    };
    let activations = [se.hidden, se.gate];
    Ok(Some(place.se(
        names.se()?,
        [channels, reduced],
        activations,
    )))
}

struct Planner<'a> {
    spec: &'a ResnetSpec,
    names: &'static Names,
}

pub(in crate::nets::families) type Place<'a> = runs::Place<'a, ResnetRun>;

impl Planner<'_> {
    fn se(
        &self,
        place: &Place<'_>,
        position: SePosition,
        channels: usize,
    ) -> Result<Option<SePlan>, NetError> {
        module(self.spec.se.as_ref(), self.names, place, position, channels)
    }

    fn plan(&self, classes: usize) -> Result<Plan, NetError> {
        let spec = self.spec;
        let names = self.names.stem(spec.stem.widths.len())?;
        let stem = spec
            .stem
            .plan(names, |name, geometry| self.conv(name, geometry));
        let (stages, mut channels) =
            runs::stages(&spec.runs, self.names, spec.stem.outputs(), |place| {
                self.block(place)
            })?;
        let ending = (spec.final_activation).then_some(EndingPlan::Activate(spec.activation));
        let mut head_conv = None;
        if let Some(outputs) = spec.head_conv {
            let name = self.names.head_conv(stages.len())?;
            head_conv = Some(self.conv(name, ConvGeometry::dense(channels, outputs, 1)));
            channels = outputs;
        }
        let classifier = LinearPlan {
            name: self.names.classifier.into(),
            inputs: channels,
            outputs: classes,
        };
        Ok(Plan {
            stem,
            stem_pool: spec.stem_pool,
            stages,
            ending,
            head_conv,
            pooled_conv: None,
            classifier,
            bgr: false,
        })
    }

    fn conv(&self, name: [String; 2], geometry: ConvGeometry) -> ConvPlan {
        normed(name, self.spec.eps, geometry, Some(self.spec.activation))
    }

    fn norm(&self, name: String) -> NormPlan {
        let eps = self.spec.eps;
        NormPlan { name, eps }
    }

    fn block(&self, place: Place<'_>) -> Result<BlockPlan, NetError> {
        let spec = self.spec;
        let steps = match spec.block {
            BlockKind::Basic => self.basic_steps(&place)?,
            BlockKind::Bottleneck => self.bottleneck_steps(&place)?,
        };
        let outputs = place.run.channels;
        let se = self.se(&place, SePosition::AfterLastNorm, outputs)?;
        let changes_shape = place.stride != 1 || place.inputs != outputs;
        let shortcut = if !changes_shape {
            Some(ShortcutPlan::Identity)
        } else if spec.shortcut == Shortcut::None {
            None
        } else {
            Some(ShortcutPlan::Projection(self.projection(&place)))
        };
        let sum = shortcut.map(|shortcut| SumPlan {
            se,
            shortcut,
            activation: (!spec.linear_end).then_some(spec.activation),
        });
        Ok(BlockPlan {
            entry: None,
            steps,
            sum,
            name: place.name,
        })
    }

    fn basic_steps(&self, place: &Place<'_>) -> Result<Vec<StepPlan>, NetError> {
        let spec = self.spec;
        let names = self.names.branch(Branch::Basic)?;
        let (width, outputs) = (place.run.width, place.run.channels);
        let first = if spec.sk.is_some() {
            StepPlan::Sk(Box::new(self.selective(
                place,
                1,
                place.inputs,
                place.stride,
            )?))
        } else {
            let geometry = ConvGeometry {
                stride: place.stride,
                groups: place.run.groups,
                ..ConvGeometry::dense(place.inputs, width, 3)
            };
            StepPlan::Conv(self.conv(names[0].map(|part| place.below(part)), geometry))
        };
        let last = ConvPlan {
            activation: self.branch_end(),
            ..self.conv(
                names[1].map(|part| place.below(part)),
                ConvGeometry::dense(width, outputs, 3),
            )
        };
        Ok(vec![first, StepPlan::Conv(last)])
    }

    fn bottleneck_steps(&self, place: &Place<'_>) -> Result<Vec<StepPlan>, NetError> {
        let spec = self.spec;
        let names = self.names.branch(Branch::Bottleneck)?;
        let (width, outputs) = (place.run.width, place.run.channels);
        let narrow = place.run.conv1_width.unwrap_or(width);
        let on = |at| {
            if spec.stride_on == at {
                place.stride
            } else {
                1
            }
        };
        let geometry = ConvGeometry {
            stride: on(StrideOn::Conv1),
            ..ConvGeometry::dense(place.inputs, narrow, 1)
        };
        let mut steps = vec![StepPlan::Conv(
            self.conv(names[0].map(|part| place.below(part)), geometry),
        )];
        let stride = on(StrideOn::Conv2);
        steps.push(if spec.sk.is_some() {
            StepPlan::Sk(Box::new(self.selective(place, 2, narrow, stride)?))
        } else {
            let geometry = ConvGeometry {
                stride,
                groups: place.run.groups,
                ..ConvGeometry::dense(narrow, width, 3)
            };
            StepPlan::Conv(self.conv(names[1].map(|part| place.below(part)), geometry))
        });
        if on(StrideOn::AvgAfterConv2) == 2 {
            steps.push(StepPlan::Pool(Pool::Average));
        }
        let se = self.se(place, SePosition::BeforeLastConv, width)?;
        steps.extend(se.map(StepPlan::Se));
        steps.push(StepPlan::Conv(ConvPlan {
            activation: self.branch_end(),
            ..self.conv(
                names[2].map(|part| place.below(part)),
                ConvGeometry::dense(width, outputs, 1),
            )
        }));
        Ok(steps)
    }

    /// The activation between the branch's last BatchNorm and the module.
    fn branch_end(&self) -> Option<Activation> {
        let relu = self.spec.se.as_ref().is_some_and(|se| se.relu_before);
        relu.then_some(Activation::Relu)
    }

    /// The selective-kernel unit that replaces the branch's convolution number `position`, from 1.
    fn selective(
        &self,
        place: &Place<'_>,
        position: usize,
        inputs: usize,
        stride: usize,
    ) -> Result<SkPlan, NetError> {
        let names = self.names.selective()?;
        let numbered = |name: &str| place.below(&name.replace("{n}", &position.to_string()));
        let split_input = self.spec.sk.as_ref().is_some_and(|sk| sk.split_input);
        let outputs = place.run.width;
        let path_inputs = if split_input { inputs / 2 } else { inputs };
        let path = |index: usize| {
            let geometry = ConvGeometry {
                stride,
                padding: Padding::Each(index + 1),
                dilation: index + 1,
                groups: place.run.groups,
                ..ConvGeometry::dense(path_inputs, outputs, 3)
            };
            self.conv(names.paths[index].map(numbered), geometry)
        };
        let attention = numbered(names.attention);
        Ok(SkPlan {
            paths: [path(0), path(1)],
            split_input,
            norm: self.norm(format!("{attention}.bn")),
            attention,
            channels: outputs,
            reduced: place.run.reduced.unwrap_or(0),
        })
    }

    fn projection(&self, place: &Place<'_>) -> ProjectionPlan {
        let kind = self.spec.shortcut;
        // A projection that keeps the resolution is a plain 1x1 in every model.
        let kernel_size = if kind == Shortcut::Conv3x3 && place.stride != 1 {
            3
        } else {
            1
        };
        let pooled = kind == Shortcut::AvgConv1x1;
        let avg_pool = pooled && place.stride == 2;
        let name = if pooled {
            self.names.pooled_shortcut
        } else {
            self.names.shortcut
        };
        let outputs = place.run.channels;
        let geometry = ConvGeometry {
            stride: if avg_pool { 1 } else { place.stride },
            ..ConvGeometry::dense(place.inputs, outputs, kernel_size)
        };
        let conv = ConvPlan {
            activation: None,
            ..self.conv(name.map(|part| place.below(part)), geometry)
        };
        ProjectionPlan { avg_pool, conv }
    }
}
