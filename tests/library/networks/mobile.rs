//! A small MobileNetV3 with a hand-written plan: layers that no family here uses yet, compared with
//! timm (`build_mobile` of `tests/tools/make_golden.py`).

use senet::nets::{
    Activation, BlockPlan, ConvGeometry, ConvPlan, KernelShape, LinearPlan, NormPlan, Padding,
    Plan, SePlan, Shift, ShortcutPlan, StemPool, StepPlan, SumPlan,
};

use super::{check_recorded, formula, load, notice, recorded};

/// The name of its recording.
pub(crate) const MOBILE: &str = "mobile";
/// The kernels that a GPU launches for it.
pub(crate) const LAUNCHES: u64 = 43;
const EPS: f64 = 1e-3;

#[derive(Clone, Copy)]
struct Shape {
    channels: [usize; 2],
    kernel_size: usize,
    stride: usize,
    groups: usize,
}

fn pointwise(inputs: usize, outputs: usize) -> Shape {
    Shape {
        channels: [inputs, outputs],
        kernel_size: 1,
        stride: 1,
        groups: 1,
    }
}

fn depthwise(channels: usize, kernel_size: usize, stride: usize) -> Shape {
    Shape {
        channels: [channels; 2],
        kernel_size,
        stride,
        groups: channels,
    }
}

fn conv(name: &str, norm: Option<&str>, shape: Shape, activation: Option<Activation>) -> ConvPlan {
    let Shape {
        channels: [inputs, outputs],
        kernel_size,
        stride,
        groups,
    } = shape;
    ConvPlan {
        name: name.into(),
        geometry: ConvGeometry {
            inputs,
            outputs,
            kernel_size,
            shape: KernelShape::Square,
            stride,
            padding: Padding::Same,
            dilation: 1,
            groups,
        },
        shift: norm.map_or(Shift::Bias, |norm| {
            let name = norm.into();
            Shift::Norm(NormPlan { name, eps: EPS })
        }),
        activation,
    }
}

/// The named convolutions of a block, with a module before the last one.
fn block(name: &str, convs: &[(&str, &str, Shape)], reduced: usize, sum: bool) -> BlockPlan {
    let last = convs.len() - 1;
    let mut steps: Vec<StepPlan> = convs
        .iter()
        .enumerate()
        .map(|(index, (conv_name, norm, shape))| {
            let activation = (index < last).then_some(Activation::HardSwish);
            let [conv_name, norm] = [conv_name, norm].map(|part| format!("{name}.{part}"));
            StepPlan::Conv(conv(&conv_name, Some(&norm), *shape, activation))
        })
        .collect();
    let se = SePlan {
        name: format!("{name}.se"),
        reduce: format!("{name}.se.conv_reduce"),
        expand: format!("{name}.se.conv_expand"),
        channels: convs[last].2.channels[0],
        reduced,
        hidden: Activation::Silu,
        gate: Activation::HardSigmoid,
    };
    steps.insert(last, StepPlan::Se(se));
    BlockPlan {
        name: name.into(),
        steps,
        sum: sum.then_some(SumPlan {
            se: None,
            shortcut: ShortcutPlan::Identity,
            activation: None,
        }),
    }
}

pub(crate) fn plan() -> Plan {
    let stem = Shape {
        channels: [3, 16],
        kernel_size: 3,
        stride: 2,
        groups: 1,
    };
    let swish = Some(Activation::HardSwish);
    let separable = [
        ("conv_dw", "bn1", depthwise(16, 3, 2)),
        ("conv_pw", "bn2", pointwise(16, 16)),
    ];
    let inverted = |inputs, wide, stride| {
        [
            ("conv_pw", "bn1", pointwise(inputs, wide)),
            ("conv_dw", "bn2", depthwise(wide, 5, stride)),
            ("conv_pwl", "bn3", pointwise(wide, 24)),
        ]
    };
    Plan {
        stem: vec![conv("conv_stem", Some("bn1"), stem, swish)],
        stem_pool: StemPool::None,
        stages: vec![
            vec![block("blocks.0.0", &separable, 8, false)],
            vec![
                block("blocks.1.0", &inverted(16, 48, 2), 16, false),
                block("blocks.1.1", &inverted(24, 72, 1), 24, true),
            ],
        ],
        head_conv: None,
        pooled_conv: Some(conv("conv_head", None, pointwise(24, 40), swish)),
        classifier: LinearPlan {
            name: "classifier".into(),
            inputs: 40,
            outputs: 10,
        },
        bgr: false,
    }
}

#[test]
fn a_plan_by_hand_computes_what_timm_does() {
    check_recorded(MOBILE, plan(), &recorded(MOBILE));
}

#[test]
fn the_trace_follows_same_padding_and_continues_after_the_pool() {
    let plan = plan();
    let layers = plan.trace(75, 64).unwrap();
    let params: usize = layers.iter().map(|layer| layer.params).sum();
    assert_eq!(params, recorded(MOBILE).parameters);
    for (name, output) in [
        ("conv_stem", [16, 38, 32]),
        ("blocks.0.0.conv_dw", [16, 19, 16]),
        ("blocks.1.1.conv_pwl", [24, 10, 8]),
        ("pool", [24, 1, 1]),
        ("conv_head", [40, 1, 1]),
    ] {
        let layer = layers.iter().find(|layer| layer.name == name).unwrap();
        assert_eq!(layer.output, output, "{name}");
    }
    // No input is too small for this padding.
    plan.check_size(1, 1).unwrap();
}

fn convs(plan: &mut Plan) -> impl Iterator<Item = &mut ConvPlan> {
    let steps = (plan.stages.iter_mut().flatten()).flat_map(|block| &mut block.steps);
    plan.stem
        .iter_mut()
        .chain(steps.filter_map(|step| match step {
            StepPlan::Conv(conv) => Some(conv),
            _ => None,
        }))
}

fn modules(plan: &mut Plan) -> impl Iterator<Item = &mut SePlan> {
    let steps = (plan.stages.iter_mut().flatten()).flat_map(|block| &mut block.steps);
    steps.filter_map(|step| match step {
        StepPlan::Se(se) => Some(se),
        _ => None,
    })
}

#[test]
fn mistakes_are_noticed() {
    type Mistake = fn(&mut Plan);
    let mistakes: &[(&str, Mistake)] = &[
        ("epsilon 1e-5", |plan| {
            for conv in convs(plan) {
                if let Shift::Norm(norm) = &mut conv.shift {
                    norm.eps = 1e-5;
                }
            }
        }),
        ("symmetric padding", |plan| {
            for ConvPlan { geometry, .. } in convs(plan) {
                geometry.padding = Padding::Each(geometry.kernel_size / 2);
            }
        }),
        ("ReLU inside the module", |plan| {
            modules(plan).for_each(|se| se.hidden = Activation::Relu);
        }),
        ("sigmoid gate", |plan| {
            modules(plan).for_each(|se| se.gate = Activation::Sigmoid);
        }),
        ("activation after the sum", |plan| {
            let sum = plan.stages[1][1].sum.as_mut().unwrap();
            sum.activation = Some(Activation::HardSwish);
        }),
        ("no shortcut", |plan| plan.stages[1][1].sum = None),
        ("no activation after the head", |plan| {
            plan.pooled_conv.as_mut().unwrap().activation = None;
        }),
    ];
    let golden = recorded(MOBILE).runs[0].golden();
    for (mistake, make) in mistakes {
        let mut plan = plan();
        let (weights, _) = formula::weights(&plan);
        make(&mut plan);
        let network = load(&plan, weights);
        notice(MOBILE, mistake, &golden.compare(&network).unwrap());
    }
}
