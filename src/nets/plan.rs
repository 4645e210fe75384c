//! A spec resolved into layers: names of tensors, shapes, strides.
//!
//! The plan is the one description from which a network is loaded (strictly), its parameters are
//! counted and its layers are printed.

use serde::{Deserialize, Serialize};

pub use crate::nn::{Activation, ConvGeometry, KernelShape, Padding, Pool};

/// The pool between stem and first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StemPool {
    /// Max 3x3, stride 2, padding 1 (timm `resnet.py`).
    MaxPad,
    /// Max 3x3, stride 2, no padding, output size rounded up: what Caffe does, kept by the legacy
    /// models because their weights were trained with it (timm `senet.py`).
    MaxCeil,
    /// Average 2x2, stride 2, size rounded down: the anti-aliased ("aa") models.
    Avg,
    /// No pool.
    None,
}

impl StemPool {
    pub(super) fn pool(self) -> Option<Pool> {
        match self {
            Self::MaxPad => Some(Pool::MaxPad),
            Self::MaxCeil => Some(Pool::MaxCeil),
            Self::Avg => Some(Pool::Average),
            Self::None => None,
        }
    }
}

/// A convolution with its BatchNorm or bias, and the activation after that.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvPlan {
    /// Prefix of the convolution's `weight`.
    pub name: String,
    /// Channels, kernel, stride, padding, dilation and groups.
    pub geometry: ConvGeometry,
    /// What is added to its output.
    pub shift: Shift,
    /// Applied after that; `None` for a linear output.
    pub activation: Option<Activation>,
}

/// What is added to the products of a convolution: a BatchNorm's shift, a bias, both or nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Shift {
    /// The BatchNorm that follows the convolution.
    Norm(NormPlan),
    /// The convolution's own `bias`.
    Bias,
    /// The convolution's own `bias`, and products and bias times a factor: residual scaling
    /// (arXiv:1602.07261, section 3.3).
    ScaledBias(f64),
    /// The convolution's own `bias`, then a BatchNorm (VGG, which has had its biases before its norms).
    BiasAndNorm(NormPlan),
    /// Nothing.
    None,
}

/// A BatchNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct NormPlan {
    /// Prefix of its `weight`, `bias`, `running_mean` and `running_var`.
    pub name: String,
    /// Added to the variance.
    pub eps: f64,
}

/// Squeeze-and-excitation module: two 1x1 convolutions with bias.
#[derive(Clone, Debug, PartialEq)]
pub struct SePlan {
    /// Prefix of the module's tensors, such as `layer1.0.se`.
    pub name: String,
    /// Prefix of the first convolution's `weight` and `bias`.
    pub reduce: String,
    /// Prefix of the second one's.
    pub expand: String,
    /// Channels of the map that is scaled.
    pub channels: usize,
    /// Channels between the two convolutions.
    pub reduced: usize,
    /// After the first convolution.
    pub hidden: Activation,
    /// After the second one.
    pub gate: Activation,
}

/// Selective-kernel unit: two paths and the attention that weighs them.
#[derive(Clone, Debug, PartialEq)]
pub struct SkPlan {
    /// 3x3 convolutions, with dilation 1 and 2.
    pub paths: [ConvPlan; 2],
    /// Each path sees half of the input channels instead of all of them.
    pub split_input: bool,
    /// Prefix of `fc_reduce` and `fc_select`, such as `layer1.0.conv1.attn`.
    pub attention: String,
    /// Between these two.
    pub norm: NormPlan,
    /// Output channels.
    pub channels: usize,
    /// Channels between `fc_reduce` and `fc_select`.
    pub reduced: usize,
}

/// A BatchNorm that no convolution can take in, and the activation after it.
#[derive(Clone, Debug, PartialEq)]
pub struct NormActPlan {
    /// The norm.
    pub norm: NormPlan,
    /// Channels of the map.
    pub channels: usize,
    /// Applied after it.
    pub activation: Activation,
}

/// One step of a block.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StepPlan {
    /// Convolution, with norm or bias, and activation.
    Conv(ConvPlan),
    /// Maximum or mean of windows.
    Pool(Pool),
    /// Squeeze-and-excitation inside the branch.
    Se(SePlan),
    /// Selective-kernel unit.
    Sk(Box<SkPlan>),
    /// Branches that all begin with the same map and end with maps of the same size, whose channels are
    /// put side by side. A branch without steps is the map itself.
    Branches(Vec<Vec<StepPlan>>),
    /// The channels, so many runs of equal length, dealt out in turn (arXiv:1707.01083, section 3.1).
    Shuffle(usize),
    /// An activation that does not follow a convolution or a sum.
    Activate(Activation),
    /// A norm that does not follow a convolution alone.
    Norm(NormActPlan),
}

/// What is added to a block's branch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ShortcutPlan {
    /// The block's input as it is.
    Identity,
    /// The block's input after [`BlockPlan::entry`].
    Activated,
    /// A convolution that makes the shapes equal.
    Projection(ProjectionPlan),
}

/// The shortcut of a block that changes shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionPlan {
    /// 2x2 average, stride 2, size rounded up, before the convolution.
    pub avg_pool: bool,
    /// The convolution, without activation.
    pub conv: ConvPlan,
}

/// The residual sum that ends a block: `activation(branch * gate + shortcut)`.
#[derive(Clone, Debug, PartialEq)]
pub struct SumPlan {
    /// The module on the branch's output, whose gate it is.
    pub se: Option<SePlan>,
    /// What is added to the branch.
    pub shortcut: ShortcutPlan,
    /// Applied to the sum.
    pub activation: Option<Activation>,
}

/// A block: its branch, and the residual sum if it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockPlan {
    /// Prefix of its tensors, such as `layer1.0`.
    pub name: String,
    /// What the branch and a projection begin with (arXiv:1603.05027, figure 4e).
    pub entry: Option<NormActPlan>,
    /// The branch.
    pub steps: Vec<StepPlan>,
    /// `None` for a block without a shortcut.
    pub sum: Option<SumPlan>,
}

/// What ends a network of pre-activated blocks, whose last sum is neither normed nor activated.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EndingPlan {
    /// An activation alone.
    Activate(Activation),
    /// A norm and an activation.
    Norm(NormActPlan),
}

/// The classifier, with bias.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearPlan {
    /// Prefix of its `weight` and `bias`.
    pub name: String,
    /// Width of the features.
    pub inputs: usize,
    /// Number of classes.
    pub outputs: usize,
}

/// All layers of a network, in the order in which they run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The convolutions before the first stage.
    pub stem: Vec<ConvPlan>,
    /// The pool after them.
    pub stem_pool: StemPool,
    /// The blocks of each stage.
    pub stages: Vec<Vec<BlockPlan>>,
    /// Between the last stage and what follows: what ends a network of pre-activated blocks.
    pub ending: Option<EndingPlan>,
    /// Before the global average pool.
    pub head_conv: Option<ConvPlan>,
    /// After it, on the single pixel that it leaves.
    pub pooled_conv: Option<ConvPlan>,
    /// The last layer.
    pub classifier: LinearPlan,
    /// In the weights file the first convolution's filters take blue, green and red. Images have them in
    /// the other order, so the filters' inputs are reversed when they are loaded.
    pub bgr: bool,
}

/// One tensor of a weights file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlan {
    /// Full name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Sizes in PyTorch's order: convolutions are `[out, in / groups, height, width]`.
    pub shape: Vec<usize>,
    /// Learned by gradient descent: everything but the running statistics.
    pub parameter: bool,
}

impl StepPlan {
    /// Calls `visit` with every step, and for branches with theirs instead.
    fn each<'a>(steps: &'a [Self], visit: &mut impl FnMut(&'a Self)) {
        for step in steps {
            match step {
                Self::Branches(branches) => {
                    branches.iter().for_each(|steps| Self::each(steps, visit))
                }
                step => visit(step),
            }
        }
    }
}

impl BlockPlan {
    /// All steps in running order, those of parallel branches one branch after the other.
    pub fn flat_steps(&self) -> Vec<&StepPlan> {
        let mut all = Vec::new();
        StepPlan::each(&self.steps, &mut |step| all.push(step));
        all
    }

    pub(super) fn projection(&self) -> Option<&ProjectionPlan> {
        match &self.sum.as_ref()?.shortcut {
            ShortcutPlan::Projection(projection) => Some(projection),
            ShortcutPlan::Identity | ShortcutPlan::Activated => None,
        }
    }
}

impl Plan {
    /// Every tensor that a weights file must hold, and no other.
    pub fn tensors(&self) -> Vec<TensorPlan> {
        let mut list = TensorList(Vec::new());
        self.stem.iter().for_each(|conv| list.conv(conv));
        for block in self.blocks() {
            block.entry.iter().for_each(|entry| list.norm_act(entry));
            for step in block.flat_steps() {
                match step {
                    StepPlan::Norm(norm) => list.norm_act(norm),
                    StepPlan::Conv(conv) => list.conv(conv),
                    StepPlan::Se(se) => list.se(se),
                    StepPlan::Sk(sk) => list.sk(sk),
                    StepPlan::Pool(_)
                    | StepPlan::Branches(_)
                    | StepPlan::Shuffle(_)
                    | StepPlan::Activate(_) => {}
                }
            }
            let se = block.sum.iter().filter_map(|sum| sum.se.as_ref());
            se.for_each(|se| list.se(se));
            let projection = block.projection();
            projection.iter().for_each(|side| list.conv(&side.conv));
        }
        if let Some(EndingPlan::Norm(norm)) = &self.ending {
            list.norm_act(norm);
        }
        let head = self.head_conv.iter().chain(&self.pooled_conv);
        head.for_each(|conv| list.conv(conv));
        let LinearPlan {
            name,
            inputs,
            outputs,
        } = &self.classifier;
        list.parameter(format!("{name}.weight"), &[*outputs, *inputs]);
        list.parameter(format!("{name}.bias"), &[*outputs]);
        list.0
    }

    /// Number of trainable parameters, as timm and the papers count them: running statistics are
    /// not counted.
    pub fn param_count(&self) -> usize {
        let tensors = self.tensors();
        tensors
            .iter()
            .filter(|t| t.parameter)
            .map(|t| t.shape.iter().product::<usize>())
            .sum()
    }

    /// The blocks of all stages, in running order.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockPlan> {
        self.stages.iter().flatten()
    }

    /// Channels of the input.
    pub fn inputs(&self) -> usize {
        self.stem.first().map_or(0, |conv| conv.geometry.inputs)
    }

    /// Width of the features that the classifier takes.
    pub fn num_features(&self) -> usize {
        self.classifier.inputs
    }
}

struct TensorList(Vec<TensorPlan>);

impl TensorList {
    fn parameter(&mut self, name: String, shape: &[usize]) {
        self.0.push(TensorPlan {
            name,
            shape: shape.to_vec(),
            parameter: true,
        });
    }

    fn norm(&mut self, NormPlan { name, .. }: &NormPlan, channels: usize) {
        for (part, parameter) in [
            ("weight", true),
            ("bias", true),
            ("running_mean", false),
            ("running_var", false),
        ] {
            let name = format!("{name}.{part}");
            self.0.push(TensorPlan {
                name,
                shape: vec![channels],
                parameter,
            });
        }
    }

    fn norm_act(&mut self, plan: &NormActPlan) {
        self.norm(&plan.norm, plan.channels);
    }

    fn conv(&mut self, conv: &ConvPlan) {
        let outputs = conv.geometry.outputs;
        let [height, width] = conv.geometry.kernel();
        let shape = [outputs, conv.geometry.group_inputs(), height, width];
        self.parameter(format!("{}.weight", conv.name), &shape);
        match &conv.shift {
            Shift::Norm(norm) => self.norm(norm, outputs),
            Shift::Bias | Shift::ScaledBias(_) => {
                self.parameter(format!("{}.bias", conv.name), &[outputs]);
            }
            Shift::BiasAndNorm(norm) => {
                self.parameter(format!("{}.bias", conv.name), &[outputs]);
                self.norm(norm, outputs);
            }
            Shift::None => {}
        }
    }

    fn se(&mut self, se: &SePlan) {
        for (name, inputs, outputs) in [
            (&se.reduce, se.channels, se.reduced),
            (&se.expand, se.reduced, se.channels),
        ] {
            self.parameter(format!("{name}.weight"), &[outputs, inputs, 1, 1]);
            self.parameter(format!("{name}.bias"), &[outputs]);
        }
    }

    fn sk(&mut self, sk: &SkPlan) {
        sk.paths.iter().for_each(|path| self.conv(path));
        let name = &sk.attention;
        self.parameter(
            format!("{name}.fc_reduce.weight"),
            &[sk.reduced, sk.channels, 1, 1],
        );
        self.norm(&sk.norm, sk.reduced);
        self.parameter(
            format!("{name}.fc_select.weight"),
            &[2 * sk.channels, sk.reduced, 1, 1],
        );
    }
}
