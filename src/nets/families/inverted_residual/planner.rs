//! Turns a spec into a plan.

use super::{InvertedResidualRun, InvertedResidualSpec, MobileBlock, PaddingRule};
use crate::nets::families::Family;
use crate::nets::families::runs;
use crate::nets::families::shared::normed;
use crate::nets::names::{Branch, Names, SeNames, numbered};
use crate::nets::plan::{
    Activation, BlockPlan, ConvGeometry, ConvPlan, LinearPlan, Padding, SePlan, Shift,
    ShortcutPlan, StemPool, StepPlan, SumPlan,
};
use crate::nets::{NetError, Plan};

impl Family for InvertedResidualSpec {
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
        let runs = self.runs.iter();
        let rows = runs::alike(runs.map(|run| (run.blocks, [run.stage, run.channels, run.kernel])));
        let each = |index: usize| rows.iter().map(|(_, row)| row[index]).collect::<Vec<_>>();
        let blocks: Vec<usize> = rows.iter().map(|(blocks, _)| *blocks).collect();
        format!(
            "inverted residual blocks {blocks:?}, channels {:?}, kernels {:?}",
            each(1),
            each(2),
        )
    }
}

struct Planner<'a> {
    spec: &'a InvertedResidualSpec,
    names: &'static Names,
}

type Place<'a> = runs::Place<'a, InvertedResidualRun>;

impl Planner<'_> {
    fn plan(&self, classes: usize) -> Result<Plan, NetError> {
        let spec = self.spec;
        let names = self.names.stem(spec.stem.widths.len())?;
        let stem = spec.stem.plan(names, |name, geometry| {
            self.conv(name, geometry, Some(spec.activation))
        });
        let (stages, mut channels) =
            runs::stages(&spec.runs, self.names, spec.stem.outputs(), |place| {
                self.block(place)
            })?;
        let (mut head_conv, mut pooled_conv) = (None, None);
        if let Some(head) = &spec.head {
            let geometry = ConvGeometry::dense(channels, head.channels, 1);
            if head.after_pool {
                pooled_conv = Some(ConvPlan {
                    name: self.names.pooled_conv()?.into(),
                    geometry,
                    shift: if head.bias { Shift::Bias } else { Shift::None },
                    activation: Some(spec.activation),
                });
            } else {
                let name = self.names.head_conv(stages.len())?;
                head_conv = Some(self.conv(name, geometry, Some(spec.activation)));
            }
            channels = head.channels;
        }
        let classifier = LinearPlan {
            name: self.names.classifier.into(),
            inputs: channels,
            outputs: classes,
        };
        Ok(Plan {
            stem,
            stem_pool: StemPool::None,
            stages,
            ending: None,
            head_conv,
            pooled_conv,
            classifier,
            bgr: false,
        })
    }

    fn conv(
        &self,
        name: [String; 2],
        geometry: ConvGeometry,
        activation: Option<Activation>,
    ) -> ConvPlan {
        let padding = match self.spec.padding {
            PaddingRule::Symmetric => geometry.padding,
            PaddingRule::Same => Padding::Same,
        };
        let geometry = ConvGeometry {
            padding,
            ..geometry
        };
        normed(name, self.spec.eps, geometry, activation)
    }

    fn block(&self, place: Place<'_>) -> Result<BlockPlan, NetError> {
        let spec = self.spec;
        let Place {
            run,
            inputs,
            stride,
            ..
        } = place;
        let outputs = run.channels;
        let width = run.width.unwrap_or(inputs);
        let strided = |inputs, outputs, groups| ConvGeometry {
            stride,
            groups,
            ..ConvGeometry::dense(inputs, outputs, run.kernel)
        };
        let (branch, geometries) = match run.block {
            MobileBlock::Separable => (
                Branch::Separable,
                vec![
                    strided(inputs, inputs, inputs),
                    ConvGeometry::dense(inputs, outputs, 1),
                ],
            ),
            MobileBlock::Inverted => (
                Branch::Inverted,
                vec![
                    ConvGeometry::dense(inputs, width, 1),
                    strided(width, width, width),
                    ConvGeometry::dense(width, outputs, 1),
                ],
            ),
            MobileBlock::Fused => (
                Branch::Fused,
                vec![
                    strided(inputs, width, 1),
                    ConvGeometry::dense(width, outputs, 1),
                ],
            ),
            MobileBlock::Conv => (Branch::Single, vec![strided(inputs, outputs, 1)]),
        };
        let activation = run.activation.unwrap_or(spec.activation);
        let activated_end = spec.activation_at_end || run.block == MobileBlock::Conv;
        let last = geometries.len() - 1;
        let mut steps = Vec::with_capacity(geometries.len() + 1);
        let names = self.names.branch(branch)?;
        for (index, (geometry, names)) in geometries.into_iter().zip(names).enumerate() {
            if index == last && index > 0 {
                let step = steps.len();
                steps.extend(self.se(&place, step, width, activation)?.map(StepPlan::Se));
            }
            let activation = (index < last || activated_end).then_some(activation);
            let names = names.map(|part| place.below(&numbered(part, "step", steps.len())));
            steps.push(StepPlan::Conv(self.conv(names, geometry, activation)));
        }
        let sum = run.shortcut && stride == 1 && inputs == outputs;
        Ok(BlockPlan {
            entry: None,
            name: place.name,
            steps,
            sum: sum.then_some(SumPlan {
                se: None,
                shortcut: ShortcutPlan::Identity,
                activation: None,
            }),
        })
    }

    fn se(
        &self,
        place: &Place<'_>,
        step: usize,
        channels: usize,
        activation: Activation,
    ) -> Result<Option<SePlan>, NetError> {
        let (Some(se), Some(reduced)) = (&self.spec.se, place.run.reduced) else {
            return Ok(None);
        };
        let activations = [se.hidden.unwrap_or(activation), se.gate];
        let names = self.names.se()?;
        let names = SeNames {
            module: &numbered(names.module, "step", step),
            ..names
        };
        Ok(Some(place.se(names, [channels, reduced], activations)))
    }
}
