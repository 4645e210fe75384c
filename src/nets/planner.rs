//! From a spec to its plan.

use super::NetError;
use super::names::{Branch, ConvName, Names, Naming};
use super::plan::{BlockPlan, ConvPlan, LinearPlan, Plan, SePlan, ShortcutPlan, SkPlan, StepPlan};
use super::spec::{Activation, BlockKind, NetworkSpec, SePosition, Shortcut, StrideOn};

impl NetworkSpec {
    /// Resolves the spec with the names of `naming` and a classifier of `classes`.
    ///
    /// # Errors
    /// [`NetError::Spec`] with the field, if the spec contradicts itself or cannot be named so.
    pub fn plan(&self, naming: Naming, classes: usize) -> Result<Plan, NetError> {
        self.check()?;
        if classes == 0 {
            return Err(NetError::spec(
                "classes",
                "a classifier needs at least one class",
            ));
        }
        let names = naming.names();
        Planner { spec: self, names }.plan(classes)
    }
}

struct Planner<'a> {
    spec: &'a NetworkSpec,
    names: &'static Names,
}

/// Where a block is and what it is given.
struct Place {
    stage: usize,
    inputs: usize,
    stride: usize,
    /// Prefix of the block's tensors.
    name: String,
}

impl Place {
    fn conv(&self, [conv, norm]: ConvName) -> [String; 2] {
        [self.below(conv), self.below(norm)]
    }

    fn below(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }
}

impl Planner<'_> {
    fn plan(&self, classes: usize) -> Result<Plan, NetError> {
        let spec = self.spec;
        let stem = self.stem()?;
        let mut channels = stem.last().map_or(0, |conv| conv.outputs);
        let mut stages = Vec::with_capacity(spec.layers.len());
        for (stage, &layers) in spec.layers.iter().enumerate() {
            let mut blocks = Vec::with_capacity(layers);
            for index in 0..layers {
                let place = Place {
                    stage,
                    inputs: channels,
                    stride: if stage > 0 && index == 0 { 2 } else { 1 },
                    name: self.names.block(stage, index),
                };
                blocks.push(self.block(place)?);
                channels = spec.channels[stage];
            }
            stages.push(blocks);
        }
        let mut head_conv = None;
        if let Some(outputs) = spec.head_conv {
            let name = self.names.head_conv()?.map(str::to_owned);
            head_conv = Some(self.conv(name, channels, outputs, 1));
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
            head_conv,
            classifier,
        })
    }

    fn conv(
        &self,
        [conv, norm]: [String; 2],
        inputs: usize,
        outputs: usize,
        kernel: usize,
    ) -> ConvPlan {
        ConvPlan {
            conv,
            norm,
            inputs,
            outputs,
            kernel,
            stride: 1,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
            activation: Some(self.spec.activation),
        }
    }

    fn stem(&self) -> Result<Vec<ConvPlan>, NetError> {
        let stem = &self.spec.stem;
        let names = self.names.stem(stem.widths.len())?;
        let mut inputs = stem.inputs;
        let mut convs = Vec::with_capacity(names.len());
        for ((name, &outputs), &stride) in names.iter().zip(&stem.widths).zip(&stem.strides) {
            convs.push(ConvPlan {
                stride,
                ..self.conv(name.map(str::to_owned), inputs, outputs, stem.kernel)
            });
            inputs = outputs;
        }
        Ok(convs)
    }

    fn block(&self, place: Place) -> Result<BlockPlan, NetError> {
        let spec = self.spec;
        let steps = match spec.block {
            BlockKind::Basic => self.basic_steps(&place)?,
            BlockKind::Bottleneck => self.bottleneck_steps(&place)?,
        };
        let outputs = spec.channels[place.stage];
        let changes_shape = place.stride != 1 || place.inputs != outputs;
        Ok(BlockPlan {
            steps,
            se: self.se(&place, SePosition::AfterLastNorm, outputs)?,
            shortcut: changes_shape.then(|| self.shortcut(&place)),
            activation: spec.activation,
            name: place.name,
        })
    }

    fn basic_steps(&self, place: &Place) -> Result<Vec<StepPlan>, NetError> {
        let spec = self.spec;
        let names = self.names.branch(Branch::Basic)?;
        let (width, outputs) = (spec.widths[place.stage], spec.channels[place.stage]);
        let first = if spec.sk.is_some() {
            StepPlan::Sk(self.selective(place, 1, place.inputs, place.stride)?)
        } else {
            StepPlan::Conv(ConvPlan {
                stride: place.stride,
                groups: self.groups(place.stage),
                ..self.conv(place.conv(names[0]), place.inputs, width, 3)
            })
        };
        let last = ConvPlan {
            activation: self.branch_end(),
            ..self.conv(place.conv(names[1]), width, outputs, 3)
        };
        Ok(vec![first, StepPlan::Conv(last)])
    }

    fn bottleneck_steps(&self, place: &Place) -> Result<Vec<StepPlan>, NetError> {
        let spec = self.spec;
        let names = self.names.branch(Branch::Bottleneck)?;
        let (width, outputs) = (spec.widths[place.stage], spec.channels[place.stage]);
        let narrow = spec
            .conv1_widths
            .as_ref()
            .map_or(width, |widths| widths[place.stage]);
        let on = |at| {
            if spec.stride_on == at {
                place.stride
            } else {
                1
            }
        };
        let mut steps = vec![StepPlan::Conv(ConvPlan {
            stride: on(StrideOn::Conv1),
            ..self.conv(place.conv(names[0]), place.inputs, narrow, 1)
        })];
        let stride = on(StrideOn::Conv2);
        steps.push(if spec.sk.is_some() {
            StepPlan::Sk(self.selective(place, 2, narrow, stride)?)
        } else {
            StepPlan::Conv(ConvPlan {
                stride,
                groups: self.groups(place.stage),
                ..self.conv(place.conv(names[1]), narrow, width, 3)
            })
        });
        if on(StrideOn::AvgAfterConv2) == 2 {
            steps.push(StepPlan::AvgPool);
        }
        let se = self.se(place, SePosition::BeforeLastConv, width)?;
        steps.extend(se.map(StepPlan::Se));
        steps.push(StepPlan::Conv(ConvPlan {
            activation: self.branch_end(),
            ..self.conv(place.conv(names[2]), width, outputs, 1)
        }));
        Ok(steps)
    }

    /// What follows the branch's last BatchNorm, before the module.
    fn branch_end(&self) -> Option<Activation> {
        let relu = self.spec.se.as_ref().is_some_and(|se| se.relu_before);
        relu.then_some(Activation::Relu)
    }

    fn groups(&self, stage: usize) -> usize {
        self.spec.groups.as_ref().map_or(1, |groups| groups[stage])
    }

    /// The unit in place of the branch's convolution number `position`, from 1.
    fn selective(
        &self,
        place: &Place,
        position: usize,
        inputs: usize,
        stride: usize,
    ) -> Result<SkPlan, NetError> {
        let names = self.names.selective()?;
        let numbered = |name: &str| place.below(&name.replace("{n}", &position.to_string()));
        let sk = self.spec.sk.as_ref();
        let (split_input, reduced) =
            sk.map_or((false, 0), |sk| (sk.split_input, sk.reduced[place.stage]));
        let outputs = self.spec.widths[place.stage];
        let path_inputs = if split_input { inputs / 2 } else { inputs };
        let path = |index: usize| ConvPlan {
            stride,
            padding: index + 1,
            dilation: index + 1,
            groups: self.groups(place.stage),
            ..self.conv(names.paths[index].map(numbered), path_inputs, outputs, 3)
        };
        Ok(SkPlan {
            paths: [path(0), path(1)],
            split_input,
            attention: numbered(names.attention),
            channels: outputs,
            reduced,
        })
    }

    fn se(
        &self,
        place: &Place,
        position: SePosition,
        channels: usize,
    ) -> Result<Option<SePlan>, NetError> {
        let Some(se) = self.spec.se.as_ref().filter(|se| se.position == position) else {
            return Ok(None);
        };
        let names = self.names.se()?;
        let name = place.below(names.module);
        Ok(Some(SePlan {
            reduce: format!("{name}.{}", names.reduce),
            expand: format!("{name}.{}", names.expand),
            name,
            channels,
            reduced: se.reduced[place.stage],
        }))
    }

    fn shortcut(&self, place: &Place) -> ShortcutPlan {
        let kind = self.spec.shortcut;
        // A projection that keeps the resolution is a plain 1x1 in every model.
        let kernel = if kind == Shortcut::Conv3x3 && place.stride != 1 {
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
        let outputs = self.spec.channels[place.stage];
        let conv = ConvPlan {
            stride: if avg_pool { 1 } else { place.stride },
            activation: None,
            ..self.conv(place.conv(name), place.inputs, outputs, kernel)
        };
        ShortcutPlan { avg_pool, conv }
    }
}
