//! What a GPU is given to do, counted on the CPU, and how a network goes about its memory.

use super::*;

/// The kernels that a GPU launches for a batch of images as small as the network takes.
pub(super) fn launches(network: &Network, engine: &CandleEngine, batch: usize) -> u64 {
    let before = engine.work().launches;
    let plan = network.plan();
    let mut sizes = [32, 96, 224].into_iter();
    let size = sizes.find(|&size| plan.check_size(size, size).is_ok());
    let size = size.unwrap();
    let (x, _) = formula::images([batch, plan.inputs(), size, size]);
    network.forward(&x).unwrap();
    engine.work().launches - before
}

#[test]
fn launches_do_not_depend_on_the_batch() {
    for arch in ["seresnext26ts", "skresnet18", "tf_mobilenetv3_small_100"] {
        let plan = plan(arch, 10);
        let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
        let engine = candle(Precision::F32);
        let network = Network::load_on(&plan, &weights, Backend::Candle(engine.clone())).unwrap();
        let one = launches(&network, &engine, 1);
        assert_eq!(launches(&network, &engine, 3), one, "{arch}");
    }
}

/// A block is a few large operations, whatever the number of its channels.
#[test]
fn launches_of_an_inverted_residual_block() {
    for arch in [
        "mobilenetv3_large_100",
        "efficientnet_b0",
        "tf_efficientnetv2_b0",
    ] {
        let plan = plan(arch, 10);
        let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
        let backend = Backend::Candle(candle(Precision::F32));
        let network = Network::load_on(&plan, &weights, backend).unwrap();
        let layers = network
            .layer_times(&formula::rgb_images(1, 64, 64).0)
            .unwrap();
        for block in plan.blocks() {
            let below = format!("{}.", block.name);
            let inside = layers.iter().filter(|layer| layer.name.starts_with(&below));
            let launches: u64 = inside.map(|layer| layer.work.unwrap().launches).sum();
            let has_se = block
                .steps
                .iter()
                .any(|step| matches!(step, StepPlan::Se(_)));
            let most = if has_se { 12 } else { 6 };
            assert!(
                (1..=most).contains(&launches),
                "{arch} {}: {launches}",
                block.name
            );
        }
    }
}

/// A device without room for a batch computes fewer images at once, and says so; without room for one it
/// is an error that names the size.
#[test]
fn a_device_without_memory_takes_fewer_images() {
    let plan = plan("seresnext26ts", 10);
    let (weights, _) = formula::weights(&plan);
    let weights = Weights::from_bytes("formula", weights).unwrap();
    let engine = candle(Precision::F32);
    let network = Network::load_on(&plan, &weights, Backend::Candle(engine.clone())).unwrap();
    let (x, _) = formula::rgb_images(5, 64, 64);
    let whole = network.forward(&x).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(network.reduced_batch(), None);
    // The largest map of an image, the unfolded one of the third convolution, has 1.18 MB.
    engine.set_most_bytes(2_400_000);
    let portions = network.forward(&x).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(network.reduced_batch(), Some(2));
    for (found, expected) in portions.concat().iter().zip(whole.concat()) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }
    engine.set_most_bytes(1000);
    let error = network.forward(&x).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the device has too little memory for 1 image of 64x64"),
        "{error}"
    );
    assert!(error.hint().is_some());
}

/// In bf16 the logits stay close, even with weights that nobody trained.
#[test]
fn bf16_is_close() {
    for arch in [
        "seresnet50",
        "seresnext50_32x4d",
        "skresnet18",
        "resnetrs50",
    ] {
        let plan = plan(arch, 100);
        let (weights, _) = formula::weights(&plan);
        let weights = Weights::from_bytes("formula", weights).unwrap();
        let logits = |precision| {
            let backend = Backend::Candle(candle(precision));
            let network = Network::load_on(&plan, &weights, backend).unwrap();
            network.forward(&formula::rgb_images(2, 64, 64).0).unwrap()
        };
        let exact = logits(Precision::F32);
        let difference = largest(&(logits(Precision::Bf16) - &exact).unwrap());
        let relative = difference / largest(&exact);
        assert!(relative < 0.01, "{arch}: {relative}");
        assert!(relative > 1e-5, "{arch} was not computed in bf16");
    }
}

/// A batch that is computed in portions, because its maps are too large at once, has the same logits.
#[test]
fn portions_have_the_logits_of_the_batch() {
    let plan = plan("seresnext26ts", 10);
    let (weights, _) = formula::weights(&plan);
    let weights = Weights::from_bytes("formula", weights).unwrap();
    let backend = Backend::Candle(candle(Precision::F32));
    let mut network = Network::load_on(&plan, &weights, backend).unwrap();
    let (x, _) = formula::rgb_images(5, 64, 64);
    let whole = network.forward(&x).unwrap().to_vec2::<f32>().unwrap();
    for most_values in [1, 1 << 19, 1 << 20, 1 << 24] {
        network.set_most_values(most_values);
        let portions = network.forward(&x).unwrap().to_vec2::<f32>().unwrap();
        for (found, expected) in portions.concat().iter().zip(whole.concat()) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }
}
