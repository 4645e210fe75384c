//! Networks with one input channel, which take grey images, and with four, which take no images.

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use senet::nets::{Network, Plan};
use senet::nn::Precision;
use senet::weights::Weights;

use super::env::Env;
use super::models::{config, spec, weights_of};

fn plan(channels: usize, classes: usize) -> Plan {
    let mut spec = spec("seresnet20.fashion_mnist");
    spec.network.set_inputs(channels);
    spec.network.plan(spec.naming, classes).unwrap()
}

/// A directory `model` with a network of this many channels.
fn env(channels: usize) -> Env {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let arguments = format!("\"model_args\": {{\"in_chans\": {channels}, \"num_classes\": 3}}");
    env.write("model/config.json", config(3, &arguments));
    env.write("model/model.safetensors", weights_of(&plan(channels, 3)));
    env
}

/// Exit code, and stdout and stderr together.
fn run(env: &Env, arguments: &[&str]) -> (i32, String) {
    let output = env.run(arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code().unwrap(), text)
}

/// A golden file of what the network computes.
fn golden(env: &Env, channels: usize) {
    let weights = Weights::open(env.path("model/model.safetensors")).unwrap();
    let network =
        Network::load(&plan(channels, 3), &weights, &Device::Cpu, Precision::F32).unwrap();
    let count = channels * 28 * 28;
    let values: Vec<f32> = (0..count)
        .map(|i| (i * 31 % 17) as f32 / 8.0 - 1.0)
        .collect();
    let input = Tensor::from_slice(&values, (1, channels, 28, 28), &Device::Cpu).unwrap();
    let logits = network.forward(&input).unwrap();
    let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let bytes = |values: &[f32]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    let (input, logits) = (bytes(&values), bytes(&logits));
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
    let tensors = [
        ("input", view(&[1, channels, 28, 28], &input)),
        ("logits", view(&[1, 3], &logits)),
    ];
    env.write(
        "golden.safetensors",
        safetensors::serialize(tensors, None).unwrap(),
    );
}

#[test]
fn one_channel_takes_grey_images() {
    let env = env(1);
    golden(&env, 1);
    for arguments in [
        &["info", "model", "--layers"][..],
        &["bench", "model", "--runs", "1"],
        &["verify", "model", "--golden", "golden.safetensors"],
        &["classify", "boot.png", "-m", "model"],
    ] {
        let (code, text) = run(&env, arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
    }
    let (_, info) = run(&env, &["info", "model"]);
    assert!(info.contains("channels       1 (greyscale)"), "{info}");
    let (code, note) = run(
        &env,
        &[
            "preprocess",
            "boot.png",
            "-m",
            "model",
            "-o",
            "x.safetensors",
        ],
    );
    assert_eq!(code, 0);
    assert!(note.contains("wrote input [1, 1, 28, 28]"), "{note}");
    let file = std::fs::read(env.path("x.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(file.tensor("input").unwrap().shape(), [1, 1, 28, 28]);
    // The boot is grey, so its colour and grey versions are equal.
    env.write(
        "one/a/boot.png",
        std::fs::read(env.path("boot.png")).unwrap(),
    );
    let map = ["eval", "one", "-m", "model", "--labels", "labels.csv"];
    env.write("labels.csv", "a/boot.png,0\n");
    let (code, text) = run(&env, &map);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn four_channels_run_but_take_no_images() {
    let env = env(4);
    golden(&env, 4);
    for arguments in [
        &["info", "model", "--layers"][..],
        &["bench", "model", "--runs", "1", "--batch-size", "1,3"],
        &["verify", "model", "--golden", "golden.safetensors"],
    ] {
        let (code, text) = run(&env, arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
    }
    let (_, info) = run(&env, &["info", "model"]);
    assert!(info.contains("channels       4"), "{info}");
    env.write("one/a/boot.png", "x");
    for arguments in [
        &["classify", "boot.png", "-m", "model"][..],
        &["eval", "one", "-m", "model"],
        &[
            "preprocess",
            "boot.png",
            "-m",
            "model",
            "-o",
            "x.safetensors",
        ],
    ] {
        let (code, text) = run(&env, arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(
            text.contains("takes 4 channels, but images have 3, or 1 if grey"),
            "{text}"
        );
        assert!(text.contains("hint:"), "{text}");
    }
}

#[test]
fn weights_with_other_channels_need_a_config() {
    let env = env(1);
    for (model, channels, classes, snapshot) in [
        ("demo", 1, 10, "channels-one"),
        ("demo", 4, 2, "channels-four"),
        ("model", 3, 3, "channels-config"),
    ] {
        env.write("mine.pth", weights_of(&plan(channels, classes)));
        let arguments = ["classify", "boot.png", "-m", model, "-w", "mine.pth", "-q"];
        env.check(snapshot, &arguments);
    }
}
