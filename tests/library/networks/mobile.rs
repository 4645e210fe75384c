//! Mistakes that a port of MobileNetV3 is prone to, and its trace: padding as in TensorFlow, depthwise
//! convolutions, blocks without a sum, and a layer after the pool.

use super::*;

const ARCH: &str = "tf_mobilenetv3_small_100";

#[test]
fn the_trace_follows_same_padding_and_continues_after_the_pool() {
    let plan = plan(ARCH, 1000);
    let layers = plan.trace(75, 64).unwrap();
    let params: usize = layers.iter().map(|layer| layer.params).sum();
    assert_eq!(params, recorded(ARCH).parameters);
    for (name, output) in [
        ("conv_stem", [16, 38, 32]),
        ("blocks.0.0.conv_dw", [16, 19, 16]),
        ("blocks.1.0.conv_pwl", [24, 10, 8]),
        ("pool", [576, 1, 1]),
        ("conv_head", [1024, 1, 1]),
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
        ("hard swish inside the module", |plan| {
            modules(plan).for_each(|se| se.hidden = Activation::HardSwish);
        }),
        ("sigmoid gate", |plan| {
            modules(plan).for_each(|se| se.gate = Activation::Sigmoid);
        }),
        ("activation after the sum", |plan| {
            for sum in plan
                .stages
                .iter_mut()
                .flatten()
                .filter_map(|block| block.sum.as_mut())
            {
                sum.activation = Some(Activation::HardSwish);
            }
        }),
        ("no shortcuts", |plan| {
            for block in plan.stages.iter_mut().flatten() {
                block.sum = None;
            }
        }),
        ("hard swish in the first stages", |plan| {
            for conv in convs(plan).filter(|conv| conv.activation == Some(Activation::Relu)) {
                conv.activation = Some(Activation::HardSwish);
            }
        }),
        ("no activation after the head", |plan| {
            plan.pooled_conv.as_mut().unwrap().activation = None;
        }),
    ];
    let golden = recorded(ARCH).runs[0].golden();
    for (mistake, make) in mistakes {
        let mut plan = plan(ARCH, 1000);
        let (weights, _) = formula::weights(&plan);
        make(&mut plan);
        let network = load(&plan, weights);
        notice(ARCH, mistake, &golden.compare(&network).unwrap());
    }
}
