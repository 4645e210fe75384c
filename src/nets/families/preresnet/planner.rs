//! Turns a spec into a plan. A norm follows a convolution's output and nothing else wherever it can be folded
//! into that convolution: only the first one of a block, and one after a module, are layers of their own.

use super::{NetworkEnd, PreresnetShortcut, PreresnetSpec};
use crate::nets::families::Family;
use crate::nets::families::resnet::{self, BlockKind, Place, ResnetRun, SePosition, StrideOn};
use crate::nets::families::runs;
use crate::nets::families::shared::normed;
use crate::nets::names::{Branch, ConvName, Names};
use crate::nets::plan::{
    BlockPlan, ConvGeometry, ConvPlan, EndingPlan, LinearPlan, NormActPlan, NormPlan,
    ProjectionPlan, SePlan, Shift, ShortcutPlan, StepPlan, SumPlan,
};
use crate::nets::{NetError, Plan};

impl Family for PreresnetSpec {
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
        format!("pre-activated {}", resnet::summary(self.block, &self.runs))
    }
}

struct Planner<'a> {
    spec: &'a PreresnetSpec,
    names: &'static Names,
}

impl Planner<'_> {
    fn plan(&self, classes: usize) -> Result<Plan, NetError> {
        let spec = self.spec;
        let names = self.names.stem(spec.stem.widths.len())?;
        let mut stem = spec.stem.plan(names, |name, geometry| {
            normed(name, spec.eps, geometry, Some(spec.activation))
        });
        if let Some(last) = stem.last_mut().filter(|_| spec.bare_stem) {
            (last.shift, last.activation) = (Shift::None, None);
        }
        let (stages, channels) =
            runs::stages(&spec.runs, self.names, spec.stem.outputs(), |place| {
                self.block(place)
            })?;
        let ending = match spec.end {
            NetworkEnd::None => None,
            NetworkEnd::Activation => Some(EndingPlan::Activate(spec.activation)),
            NetworkEnd::Norm => {
                let name = self.names.last_norm()?.to_owned();
                Some(EndingPlan::Norm(self.norm(name, channels)))
            }
        };
        Ok(Plan {
            stem,
            stem_pool: spec.stem_pool,
            stages,
            ending,
            head_conv: None,
            pooled_conv: None,
            bgr: false,
            classifier: LinearPlan {
                name: self.names.classifier.into(),
                inputs: channels,
                outputs: classes,
            },
        })
    }

    fn norm(&self, name: String, channels: usize) -> NormActPlan {
        NormActPlan {
            norm: NormPlan {
                name,
                eps: self.spec.eps,
            },
            channels,
            activation: self.spec.activation,
        }
    }

    fn block(&self, place: Place<'_>) -> Result<BlockPlan, NetError> {
        let spec = self.spec;
        let outputs = place.run.channels;
        let kind = match spec.block {
            BlockKind::Basic => Branch::Basic,
            BlockKind::Bottleneck => Branch::Bottleneck,
        };
        // Of each convolution, its own name and that of the norm before it.
        let names = self.names.branch(kind)?;
        let convs = self.convs(&place);
        let entry = self.norm(place.below(names[0][1]), place.inputs);
        let inner = self.se(&place, SePosition::BeforeLastConv, place.run.width)?;
        let mut steps = Vec::with_capacity(convs.len() + 2);
        for (index, &geometry) in convs.iter().enumerate() {
            let [conv, _] = names[index];
            let bare = ConvPlan {
                name: place.below(conv),
                geometry,
                shift: Shift::None,
                activation: None,
            };
            let Some([_, norm]) = names.get(index + 1).filter(|_| index + 1 < convs.len()) else {
                steps.push(StepPlan::Conv(bare));
                continue;
            };
            let norm = self.norm(place.below(norm), geometry.outputs);
            match inner.as_ref().filter(|_| index + 2 == convs.len()) {
                // The module scales what the norm gets.
                Some(se) => steps.extend([
                    StepPlan::Conv(bare),
                    StepPlan::Se(se.clone()),
                    StepPlan::Norm(norm),
                ]),
                None => steps.push(StepPlan::Conv(ConvPlan {
                    shift: Shift::Norm(norm.norm),
                    activation: Some(norm.activation),
                    ..bare
                })),
            }
        }
        let shortcut = if place.stride != 1 || place.inputs != outputs {
            ShortcutPlan::Projection(self.projection(&place))
        } else if spec.shortcut_activated {
            ShortcutPlan::Activated
        } else {
            ShortcutPlan::Identity
        };
        Ok(BlockPlan {
            entry: Some(entry),
            steps,
            sum: Some(SumPlan {
                se: self.se(&place, SePosition::AfterLastNorm, outputs)?,
                shortcut,
                activation: None,
            }),
            name: place.name,
        })
    }

    /// The convolutions of a branch.
    fn convs(&self, place: &Place<'_>) -> Vec<ConvGeometry> {
        let ResnetRun {
            width,
            channels,
            groups,
            ..
        } = *place.run;
        let on = |at| {
            if self.spec.stride_on == at {
                place.stride
            } else {
                1
            }
        };
        let strided = |geometry: ConvGeometry, stride, groups| ConvGeometry {
            stride,
            groups,
            ..geometry
        };
        match self.spec.block {
            BlockKind::Basic => vec![
                strided(
                    ConvGeometry::dense(place.inputs, width, 3),
                    place.stride,
                    groups,
                ),
                ConvGeometry::dense(width, channels, 3),
            ],
            BlockKind::Bottleneck => vec![
                strided(
                    ConvGeometry::dense(place.inputs, width, 1),
                    on(StrideOn::Conv1),
                    1,
                ),
                strided(
                    ConvGeometry::dense(width, width, 3),
                    on(StrideOn::Conv2),
                    groups,
                ),
                ConvGeometry::dense(width, channels, 1),
            ],
        }
    }

    fn se(
        &self,
        place: &Place<'_>,
        position: SePosition,
        channels: usize,
    ) -> Result<Option<SePlan>, NetError> {
        resnet::module(self.spec.se.as_ref(), self.names, place, position, channels)
    }

    fn projection(&self, place: &Place<'_>) -> ProjectionPlan {
        let pooled = self.spec.shortcut == PreresnetShortcut::AvgConv1x1;
        let avg_pool = pooled && place.stride == 2;
        let [name, _]: ConvName = if pooled {
            self.names.pooled_shortcut
        } else {
            self.names.shortcut
        };
        let geometry = ConvGeometry {
            stride: if avg_pool { 1 } else { place.stride },
            ..ConvGeometry::dense(place.inputs, place.run.channels, 1)
        };
        ProjectionPlan {
            avg_pool,
            conv: ConvPlan {
                name: place.below(name),
                geometry,
                shift: Shift::None,
                activation: None,
            },
        }
    }
}
