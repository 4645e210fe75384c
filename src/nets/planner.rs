//! From a spec to its plan.

use super::NetError;
use super::plan::{
    BlockPlan, ConvPlan, LinearPlan, Naming, Plan, SePlan, ShortcutPlan, SkPlan, StepPlan,
};
use super::spec::{Activation, BlockKind, NetworkSpec, SePosition, Shortcut, StrideOn};

impl NetworkSpec {
    /// Resolves the spec with the names of `naming` and a classifier of `classes`.
    ///
    /// # Errors
    /// [`NetError::Spec`] with the field, if the spec contradicts itself or cannot be named so.
    pub fn plan(&self, naming: Naming, classes: usize) -> Result<Plan, NetError> {
        self.check()?;
        self.check_naming(naming)?;
        if classes == 0 {
            return Err(NetError::spec(
                "classes",
                "a classifier needs at least one class",
            ));
        }
        Planner { spec: self, naming }.plan(classes)
    }

    fn check_naming(&self, naming: Naming) -> Result<(), NetError> {
        let fits = match naming {
            Naming::Resnet | Naming::Senet => {
                self.sk.is_none()
                    && self.head_conv.is_none()
                    && self
                        .se
                        .as_ref()
                        .is_some_and(|se| se.position == SePosition::AfterLastNorm)
            }
            Naming::Sknet => self.sk.is_some(),
            Naming::Byobnet => self.block == BlockKind::Bottleneck && self.sk.is_none(),
        };
        if fits {
            return Ok(());
        }
        let reason = format!("the tensor names of {naming:?} have no word for this topology");
        Err(NetError::spec("tensors.naming", reason))
    }
}

struct Planner<'a> {
    spec: &'a NetworkSpec,
    naming: Naming,
}

impl Planner<'_> {
    fn plan(&self, classes: usize) -> Result<Plan, NetError> {
        let spec = self.spec;
        let stem = self.stem();
        let mut channels = stem.last().map_or(0, |conv| conv.outputs);
        let mut stages = Vec::with_capacity(spec.layers.len());
        for (stage, &layers) in spec.layers.iter().enumerate() {
            let mut blocks = Vec::with_capacity(layers);
            for index in 0..layers {
                blocks.push(self.block(stage, index, channels));
                channels = spec.channels[stage];
            }
            stages.push(blocks);
        }
        let head_conv = spec.head_conv.map(|outputs| {
            let conv = self.conv("final_conv", channels, outputs, 1);
            channels = outputs;
            conv
        });
        let name = match self.naming {
            Naming::Senet => "last_linear",
            Naming::Byobnet => "head.fc",
            Naming::Resnet | Naming::Sknet => "fc",
        };
        let classifier = LinearPlan {
            name: name.into(),
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

    /// A convolution named after the module that holds it: `name.conv`, `name.bn`.
    fn conv(&self, name: &str, inputs: usize, outputs: usize, kernel: usize) -> ConvPlan {
        ConvPlan {
            conv: format!("{name}.conv"),
            norm: format!("{name}.bn"),
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

    fn stem(&self) -> Vec<ConvPlan> {
        let stem = &self.spec.stem;
        let last = stem.widths.len() - 1;
        let mut inputs = stem.inputs;
        let mut convs = Vec::with_capacity(stem.widths.len());
        for (i, (&outputs, &stride)) in stem.widths.iter().zip(&stem.strides).enumerate() {
            let (conv, norm) = match self.naming {
                Naming::Senet => (
                    format!("layer0.conv{}", i + 1),
                    format!("layer0.bn{}", i + 1),
                ),
                Naming::Byobnet => (
                    format!("stem.conv{}.conv", i + 1),
                    format!("stem.conv{}.bn", i + 1),
                ),
                Naming::Resnet | Naming::Sknet if last == 0 => ("conv1".into(), "bn1".into()),
                // A Sequential of convolution, norm and activation whose last norm lies outside.
                Naming::Resnet | Naming::Sknet if i == last => {
                    (format!("conv1.{}", 3 * i), "bn1".into())
                }
                Naming::Resnet | Naming::Sknet => {
                    (format!("conv1.{}", 3 * i), format!("conv1.{}", 3 * i + 1))
                }
            };
            convs.push(ConvPlan {
                conv,
                norm,
                stride,
                ..self.conv("", inputs, outputs, stem.kernel)
            });
            inputs = outputs;
        }
        convs
    }

    fn block(&self, stage: usize, index: usize, inputs: usize) -> BlockPlan {
        let spec = self.spec;
        let name = match self.naming {
            Naming::Byobnet => format!("stages.{stage}.{index}"),
            Naming::Resnet | Naming::Senet | Naming::Sknet => {
                format!("layer{}.{index}", stage + 1)
            }
        };
        let stride = if stage > 0 && index == 0 { 2 } else { 1 };
        let steps = match spec.block {
            BlockKind::Basic => self.basic_steps(&name, stage, inputs, stride),
            BlockKind::Bottleneck => self.bottleneck_steps(&name, stage, inputs, stride),
        };
        let changes_shape = stride != 1 || inputs != spec.channels[stage];
        BlockPlan {
            steps,
            se: self.se(
                &name,
                stage,
                SePosition::AfterLastNorm,
                spec.channels[stage],
            ),
            shortcut: (index == 0 && changes_shape)
                .then(|| self.shortcut(&name, stage, inputs, stride)),
            activation: spec.activation,
            name,
        }
    }

    fn basic_steps(
        &self,
        block: &str,
        stage: usize,
        inputs: usize,
        stride: usize,
    ) -> Vec<StepPlan> {
        let (width, outputs) = (self.spec.widths[stage], self.spec.channels[stage]);
        let first = if self.spec.sk.is_some() {
            StepPlan::Sk(self.selective(&format!("{block}.conv1"), stage, inputs, stride))
        } else {
            let groups = self.groups(stage);
            let conv = self.block_conv(block, 1, inputs, width, 3);
            StepPlan::Conv(ConvPlan {
                stride,
                groups,
                ..conv
            })
        };
        let last = self.block_conv(block, 2, width, outputs, 3);
        vec![
            first,
            StepPlan::Conv(ConvPlan {
                activation: self.branch_end(),
                ..last
            }),
        ]
    }

    fn bottleneck_steps(
        &self,
        block: &str,
        stage: usize,
        inputs: usize,
        stride: usize,
    ) -> Vec<StepPlan> {
        let spec = self.spec;
        let (width, outputs) = (spec.widths[stage], spec.channels[stage]);
        let conv1_width = spec
            .conv1_widths
            .as_ref()
            .map_or(width, |widths| widths[stage]);
        let on = |place| if spec.stride_on == place { stride } else { 1 };
        let conv1 = self.block_conv(block, 1, inputs, conv1_width, 1);
        let mut steps = vec![StepPlan::Conv(ConvPlan {
            stride: on(StrideOn::Conv1),
            ..conv1
        })];
        let conv2_stride = on(StrideOn::Conv2);
        steps.push(if spec.sk.is_some() {
            let name = format!("{block}.conv2");
            StepPlan::Sk(self.selective(&name, stage, conv1_width, conv2_stride))
        } else {
            let conv2 = self.block_conv(block, 2, conv1_width, width, 3);
            StepPlan::Conv(ConvPlan {
                stride: conv2_stride,
                groups: self.groups(stage),
                ..conv2
            })
        });
        if on(StrideOn::AvgAfterConv2) == 2 {
            steps.push(StepPlan::AvgPool);
        }
        steps.extend(
            self.se(block, stage, SePosition::BeforeLastConv, width)
                .map(StepPlan::Se),
        );
        let conv3 = self.block_conv(block, 3, width, outputs, 1);
        steps.push(StepPlan::Conv(ConvPlan {
            activation: self.branch_end(),
            ..conv3
        }));
        steps
    }

    /// What follows the branch's last BatchNorm, before the module.
    fn branch_end(&self) -> Option<Activation> {
        let relu = self.spec.se.as_ref().is_some_and(|se| se.relu_before);
        relu.then_some(Activation::Relu)
    }

    fn groups(&self, stage: usize) -> usize {
        self.spec.groups.as_ref().map_or(1, |groups| groups[stage])
    }

    /// The block's convolution number `position` (1, 2, 3).
    fn block_conv(
        &self,
        block: &str,
        position: usize,
        inputs: usize,
        outputs: usize,
        kernel: usize,
    ) -> ConvPlan {
        let plan = |name: &str| self.conv(name, inputs, outputs, kernel);
        match self.naming {
            Naming::Resnet | Naming::Senet => ConvPlan {
                conv: format!("{block}.conv{position}"),
                norm: format!("{block}.bn{position}"),
                ..plan("")
            },
            Naming::Sknet => plan(&format!("{block}.conv{position}")),
            Naming::Byobnet => {
                let size = if position == 2 { "kxk" } else { "1x1" };
                plan(&format!("{block}.conv{position}_{size}"))
            }
        }
    }

    fn selective(&self, name: &str, stage: usize, inputs: usize, stride: usize) -> SkPlan {
        let sk = self.spec.sk.as_ref();
        let (split_input, reduced) =
            sk.map_or((false, 0), |sk| (sk.split_input, sk.reduced[stage]));
        let outputs = self.spec.widths[stage];
        let path_inputs = if split_input { inputs / 2 } else { inputs };
        let path = |index: usize| ConvPlan {
            stride,
            padding: index + 1,
            dilation: index + 1,
            groups: self.groups(stage),
            ..self.conv(&format!("{name}.paths.{index}"), path_inputs, outputs, 3)
        };
        SkPlan {
            paths: [path(0), path(1)],
            split_input,
            attention: format!("{name}.attn"),
            channels: outputs,
            reduced,
        }
    }

    fn se(
        &self,
        block: &str,
        stage: usize,
        position: SePosition,
        channels: usize,
    ) -> Option<SePlan> {
        let se = self.spec.se.as_ref().filter(|se| se.position == position)?;
        let module = match self.naming {
            Naming::Senet => "se_module",
            Naming::Byobnet => "attn",
            Naming::Resnet | Naming::Sknet => "se",
        };
        let name = format!("{block}.{module}");
        Some(SePlan {
            name,
            channels,
            reduced: se.reduced[stage],
        })
    }

    fn shortcut(&self, block: &str, stage: usize, inputs: usize, stride: usize) -> ShortcutPlan {
        let kind = self.spec.shortcut;
        // The first stage keeps the resolution; its projection is a plain 1x1 in every model.
        let first = stage == 0;
        let kernel = if kind == Shortcut::Conv3x3 && !first {
            3
        } else {
            1
        };
        let avg_pool = kind == Shortcut::AvgConv1x1 && stride == 2;
        let outputs = self.spec.channels[stage];
        let conv = ConvPlan {
            stride: if avg_pool { 1 } else { stride },
            activation: None,
            ..self.conv(&format!("{block}.shortcut"), inputs, outputs, kernel)
        };
        if self.naming == Naming::Byobnet {
            return ShortcutPlan { avg_pool, conv };
        }
        // Entry 0 of the Sequential is the pool, or the identity in its place.
        let at = usize::from(kind == Shortcut::AvgConv1x1);
        let conv = ConvPlan {
            conv: format!("{block}.downsample.{at}"),
            norm: format!("{block}.downsample.{}", at + 1),
            ..conv
        };
        ShortcutPlan { avg_pool, conv }
    }
}
