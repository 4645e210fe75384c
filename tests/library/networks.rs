//! Every architecture against timm: stem, pool, stages, gates, pooled features and logits.
//!
//! Weights and images come from a formula, so that the recorded numbers in `tests/data/golden` are
//! all that is stored. `tests/tools/make_golden.py` makes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};
use senet::nets::{
    Activation, BlockPlan, ConvPlan, LayerTime, Naming, Network, NetworkSpec, Padding, PaddingRule,
    Plan, Point, ResnetSpec, SePlan, Shift, ShortcutPlan, StemPool, StepPlan, SumPlan, TensorPlan,
    random_weights,
};
use senet::nn::{Backend, CandleEngine, Isa, Precision};
use senet::verify::{Expected, Golden, VerifyReport};
use senet::weights::Weights;
use serde::Deserialize;

use list::{ARCHITECTURES, NOT_RUN};

use crate::zoo::card_files;

mod device;
mod files;
pub(crate) mod formula;
mod gpu;
mod list;
mod mobile;

/// Another order of summation may differ by this multiple of timm's own single-precision error.
const SLACK: f64 = 20.0;
/// Nor is a difference an error below this share of the tensor's largest magnitude: timm's own
/// single-precision error reaches 1e-6 of it, and the smallest mistake
/// (`another_epsilon_is_noticed`) 2e-3.
const FLOOR: f64 = 1e-5;

#[derive(Deserialize)]
struct Recorded {
    classes: usize,
    parameters: usize,
    weights_digest: String,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    input: [usize; 4],
    input_digest: String,
    bf16_error: f64,
    tensors: BTreeMap<String, Numbers>,
}

/// The fields are described in make_golden.py.
#[derive(Deserialize)]
struct Numbers {
    shape: Vec<usize>,
    stats: [f64; 4],
    probes: Vec<f64>,
    error: f64,
}

impl Run {
    fn golden(&self) -> Golden {
        let (input, digest) = formula::images(self.input);
        assert_eq!(
            digest, self.input_digest,
            "the formula's images are not those of the recording"
        );
        let expected = |(name, numbers): (&String, &Numbers)| {
            let elements: usize = numbers.shape.iter().product();
            let count = numbers.probes.len();
            Expected {
                name: name.clone(),
                point: name.trim_start_matches("cadene.").to_owned(),
                shape: numbers.shape.clone(),
                stats: Some(numbers.stats),
                index: Some((0..count).map(|i| i * elements / count).collect()),
                values: numbers.probes.clone(),
                tolerance: (SLACK * numbers.error).max(FLOOR * numbers.stats[2]),
            }
        };
        Golden {
            input,
            expected: self.tensors.iter().map(expected).collect(),
            unknown: Vec::new(),
        }
    }
}

/// The root of the project. Where cargo runs the tests it is not the one that they were compiled in, if the
/// folder was moved.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    here.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn data(name: &str) -> PathBuf {
    root().join("tests/data/golden").join(name)
}

fn recorded(arch: &str) -> Recorded {
    let text = std::fs::read_to_string(data(&format!("{arch}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The topology from one of the architecture's cards.
fn spec(arch: &str) -> (NetworkSpec, Naming) {
    #[derive(Deserialize)]
    struct Card {
        network: NetworkSpec,
        tensors: Tensors,
    }
    #[derive(Deserialize)]
    struct Tensors {
        naming: Naming,
    }
    // A deeper network of He et al.'s section 4.2 with timm's names has no weights and so no card.
    if let Some(blocks) = match arch {
        "seresnet32" => Some(5),
        _ => None,
    } {
        return edited("seresnet20", |spec| {
            spec.runs.iter_mut().for_each(|run| run.blocks = blocks);
        });
    }
    // Blocks without SE.
    if let Some(with) = match arch {
        "resnet50" => Some("seresnet50"),
        "resnext50_32x4d" => Some("seresnext50_32x4d"),
        _ => None,
    } {
        return edited(with, |spec| {
            spec.se = None;
            spec.runs.iter_mut().for_each(|run| run.reduced = None);
        });
    }
    let card = card_files()
        .into_iter()
        .find(|path| architecture(path) == arch);
    let card = card.unwrap_or_else(|| panic!("{arch} has no card"));
    let card: Card = toml::from_str(&std::fs::read_to_string(card).unwrap()).unwrap();
    (card.network, card.tensors.naming)
}

/// As [`spec`], with a change.
fn edited(arch: &str, change: impl Fn(&mut ResnetSpec)) -> (NetworkSpec, Naming) {
    match spec(arch) {
        (NetworkSpec::Resnet(mut spec), naming) => {
            change(&mut spec);
            (NetworkSpec::Resnet(spec), naming)
        }
        other => panic!("{other:?}"),
    }
}

/// A card is called `architecture.tag.toml`.
fn architecture(card: &Path) -> String {
    let name = card.file_name().unwrap().to_str().unwrap();
    name.split('.').next().unwrap().to_owned()
}

pub(crate) fn plan(arch: &str, classes: usize) -> Plan {
    let (spec, naming) = spec(arch);
    spec.plan(naming, classes).unwrap()
}

fn load(plan: &Plan, weights: Vec<u8>) -> Network {
    let weights = Weights::from_bytes("formula", weights).unwrap();
    Network::load(plan, &weights, &Device::Cpu, Precision::F32).unwrap()
}

/// The rows that failed, as text.
fn failures(report: &VerifyReport) -> String {
    let rows = report.rows.iter().filter(|row| !row.ok);
    rows.map(|row| format!("{}\n", serde_json::to_string(row).unwrap()))
        .collect()
}

/// Tests of larger networks run one at a time: the largest is 0.6 GB, and needs twice that while
/// loading.
const LARGE: usize = 40_000_000;
static ONE_LARGE: Mutex<()> = Mutex::new(());

fn check(arch: &str) {
    let recorded = recorded(arch);
    check_recorded(arch, plan(arch, recorded.classes), &recorded);
}

/// What a GPU would run, on the CPU.
fn candle(precision: Precision) -> CandleEngine {
    CandleEngine::new(&Device::Cpu, precision).unwrap()
}

fn check_recorded(arch: &str, plan: Plan, recorded: &Recorded) {
    assert_eq!(plan.param_count(), recorded.parameters);
    let large = plan.param_count() > LARGE;
    let _guard = large.then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let (weights, digest) = formula::weights(&plan);
    assert_eq!(
        digest, recorded.weights_digest,
        "the formula's weights are not those of the recording"
    );
    let weights = Weights::from_bytes("formula", weights).unwrap();
    // Without vectors a large network takes long, and its layers are those of smaller ones.
    let skipped = usize::from(large && Isa::available().count() > 1);
    let engines = Isa::available().skip(skipped);
    let engines = engines.map(|isa| Backend::cpu(isa, Precision::F32).unwrap());
    for backend in engines.chain([Backend::Candle(candle(Precision::F32))]) {
        let network = Network::load_on(&plan, &weights, backend.clone()).unwrap();
        if let Backend::Candle(engine) = &backend {
            let known = ARCHITECTURES.iter().find(|(name, _)| *name == arch);
            assert_eq!(
                device::launches(&network, engine, 1),
                known.unwrap().1,
                "launches of {arch}"
            );
        }
        for run in &recorded.runs {
            let report = run.golden().compare(&network).unwrap();
            assert_eq!(report.rows.len(), run.tensors.len());
            let failures = failures(&report);
            assert!(report.ok, "{arch} {:?} {backend:?}:\n{failures}", run.input);
        }
    }
    check_bf16(arch, &plan, &weights, recorded);
}

/// Largest error of a logit in bf16, over the largest logit.
const BF16_ERROR: f64 = 0.006;
/// Or this multiple of the error that PyTorch's bf16 has, if that is more.
const BF16_SLACK: f64 = 1.3;
/// PyTorch's own error, divided by the largest logit, from which answers in bf16 are noise: of the deepest
/// network, EfficientNet-L2 with weights by formula.
const BF16_NOISE: f64 = 0.125;
/// The same for networks of inverted residual blocks, whose weights magnify every error: the largest of a few
/// logits is a matter of chance.
const BF16_SLACK_INVERTED: f64 = 2.0;

/// Logits of images.
type Logits = Vec<Vec<f32>>;

/// The logits of each run in f32 and in bf16.
fn in_both_precisions(plan: &Plan, weights: &Weights, recorded: &Recorded) -> Vec<[Logits; 2]> {
    let networks = [Precision::F32, Precision::Bf16].map(|precision| {
        let backend = Backend::cpu(Isa::best(), precision).unwrap();
        Network::load_on(plan, weights, backend).unwrap()
    });
    let logits = |run: &Run| {
        let (input, _) = formula::images(run.input);
        let logits = |network: &Network| network.forward(&input).unwrap().to_vec2().unwrap();
        networks.each_ref().map(logits)
    };
    recorded.runs.iter().map(logits).collect()
}

/// The largest logit, and the largest difference of a logit divided by it.
fn error([exact, found]: &[Logits; 2]) -> (f64, f64) {
    let largest = exact
        .iter()
        .flatten()
        .fold(0.0, |most: f32, x| most.max(x.abs()));
    let pairs = found.iter().flatten().zip(exact.iter().flatten());
    let error = pairs.fold(0.0, |most: f32, (found, exact)| {
        most.max((found - exact).abs())
    });
    (largest.into(), f64::from(error) / f64::from(largest))
}

/// In bf16 the logits are close to those in f32, and answers that are not close to another are the same.
fn check_bf16(arch: &str, plan: &Plan, weights: &Weights, recorded: &Recorded) {
    let inverted = plan.blocks().any(|block| block.name.starts_with("blocks."));
    let slack = if inverted {
        BF16_SLACK_INVERTED
    } else {
        BF16_SLACK
    };
    let logits = in_both_precisions(plan, weights, recorded);
    for (run, logits) in recorded.runs.iter().zip(&logits) {
        let (largest, error) = error(logits);
        let allowed = BF16_ERROR.max(slack * run.bf16_error);
        assert!(error <= allowed, "{arch} {:?} in bf16: {error}", run.input);
        assert!(error > 1e-5, "{arch} was not computed in bf16");
        let [exact, found] = logits;
        for (found, exact) in found.iter().zip(exact) {
            let best = |logits: &[f32]| {
                let index = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                index.unwrap()
            };
            let first = best(exact);
            let others = exact
                .iter()
                .enumerate()
                .filter(|&(index, _)| index != first);
            let second = others.map(|(_, &x)| x).fold(f32::NEG_INFINITY, f32::max);
            if f64::from(exact[first] - second) > 2.0 * BF16_ERROR * largest
                && run.bf16_error < BF16_NOISE
            {
                assert_eq!(best(found), first, "{arch} {:?} in bf16", run.input);
            }
        }
    }
}

/// Maps and gates on the way to the logits are close in bf16, too.
#[test]
fn every_point_is_close_in_bf16() {
    for arch in ["seresnext26d_32x4d", "skresnet18", "seresnext26ts"] {
        let recorded = recorded(arch);
        let plan = plan(arch, recorded.classes);
        let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
        let backend = Backend::cpu(Isa::best(), Precision::Bf16).unwrap();
        let network = Network::load_on(&plan, &weights, backend).unwrap();
        for run in &recorded.runs {
            let mut golden = run.golden();
            for expected in &mut golden.expected {
                expected.tolerance = 0.03 * expected.stats.unwrap()[2];
            }
            let report = golden.compare(&network).unwrap();
            assert!(report.ok, "{arch} {:?}:\n{}", run.input, failures(&report));
        }
    }
}

#[test]
#[ignore = "prints figures: cargo test --release --test library errors_in_bf16 -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn errors_in_bf16() {
    for &(arch, _) in ARCHITECTURES {
        let recorded = recorded(arch);
        let plan = plan(arch, recorded.classes);
        let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
        let logits = in_both_precisions(&plan, &weights, &recorded);
        for (run, logits) in recorded.runs.iter().zip(&logits) {
            let [n, _, h, w] = run.input;
            let (found, torch) = (error(logits).1, run.bf16_error);
            println!("{arch} {n}x{h}x{w}: {found:.4}, PyTorch {torch:.4}");
        }
    }
}

/// Networks of timm's with the tensor names of pytorchcv.
const RENAMED: [(&str, &str); 21] = [
    ("mmpretrain_seresnet101", "seresnet101"),
    ("mmpretrain_seresnet50", "seresnet50"),
    ("pytorchcv_senet154", "senet154"),
    ("pytorchcv_seresnet101b", "seresnet101"),
    ("pytorchcv_seresnet50b", "seresnet50"),
    ("pytorchcv_seresnext101_32x4d", "seresnext101_32x4d"),
    ("pytorchcv_seresnext101_64x4d", "seresnext101_64x4d"),
    ("pytorchcv_seresnext50_32x4d", "seresnext50_32x4d"),
    ("torchvision_efficientnet_b0", "efficientnet_b0"),
    ("torchvision_efficientnet_b1", "efficientnet_b1"),
    ("torchvision_efficientnet_b2", "efficientnet_b2"),
    ("torchvision_efficientnet_b3", "efficientnet_b3"),
    ("torchvision_efficientnet_b4", "efficientnet_b4"),
    ("torchvision_regnet_y_128gf", "regnety_1280"),
    ("torchvision_regnet_y_16gf", "regnety_160"),
    ("torchvision_regnet_y_1_6gf", "regnety_016"),
    ("torchvision_regnet_y_32gf", "regnety_320"),
    ("torchvision_regnet_y_3_2gf", "regnety_032"),
    ("torchvision_regnet_y_400mf", "regnety_004"),
    ("torchvision_regnet_y_800mf", "regnety_008_tv"),
    ("torchvision_regnet_y_8gf", "regnety_080_tv"),
];

/// Networks of torchvision's with an epsilon of 0.001 and equal padding on all sides, and timm's with one of them.
const RENAMED_EPS: [(&str, &str); 8] = [
    ("torchvision_efficientnet_b5", "tf_efficientnet_b5"),
    ("torchvision_efficientnet_b6", "tf_efficientnet_b6"),
    ("torchvision_efficientnet_b7", "tf_efficientnet_b7"),
    ("torchvision_efficientnet_v2_l", "tf_efficientnetv2_l"),
    ("torchvision_efficientnet_v2_m", "tf_efficientnetv2_m"),
    ("torchvision_efficientnet_v2_s", "tf_efficientnetv2_s"),
    ("torchvision_mobilenet_v3_large", "mobilenetv3_large_100"),
    ("torchvision_mobilenet_v3_small", "mobilenetv3_small_100"),
];

/// The network is timm's, and its tensors under other names give the same logits.
#[test]
fn renamed_networks_are_those_of_timm() {
    for (ours, timms) in RENAMED {
        assert_eq!(spec(ours).0, spec(timms).0, "{ours}");
    }
    for (ours, timms) in RENAMED_EPS {
        let NetworkSpec::InvertedResidual(mut expected) = spec(timms).0 else {
            panic!("{timms}");
        };
        (expected.eps, expected.padding) = (1e-3, PaddingRule::Symmetric);
        assert_eq!(
            spec(ours).0,
            NetworkSpec::InvertedResidual(expected),
            "{ours}"
        );
    }
    let (ours, timms) = (plan("pytorchcv_seresnet50b", 7), plan("seresnet50", 7));
    let (weights, _) = formula::weights(&timms);
    let weights = Weights::from_bytes("formula", weights).unwrap();
    let values = |(ours, timms): (&TensorPlan, &TensorPlan)| {
        assert_eq!(ours.shape, timms.shape);
        let values = weights.f32(&timms.name).unwrap();
        let tensor = Tensor::from_vec(values, ours.shape.clone(), &Device::Cpu).unwrap();
        (ours.name.clone(), tensor)
    };
    let renamed: HashMap<String, Tensor> = (ours.tensors().iter())
        .zip(&timms.tensors())
        .map(values)
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    candle_core::safetensors::save(&renamed, file.path()).unwrap();
    let renamed = Weights::open(file.path()).unwrap();
    let (images, _) = formula::images([2, 3, 63, 49]);
    let logits = |plan: &Plan, weights: &Weights| -> Logits {
        let network = Network::load(plan, weights, &Device::Cpu, Precision::F32).unwrap();
        network.forward(&images).unwrap().to_vec2().unwrap()
    };
    assert_eq!(logits(&ours, &renamed), logits(&timms, &weights));
}

/// Grey images, and inputs that do not come from images.
#[test]
fn other_input_channels() {
    for (arch, inputs) in [
        ("legacy_seresnet18", 1),
        ("seresnext26t_32x4d", 1),
        ("seresnext26t_32x4d", 4),
        ("skresnet18", 4),
    ] {
        let recorded = recorded(&format!("{arch}.{inputs}ch"));
        let (mut spec, naming) = spec(arch);
        spec.set_inputs(inputs);
        let plan = spec.plan(naming, recorded.classes).unwrap();
        assert_eq!(plan.inputs(), inputs);
        check_recorded(arch, plan, &recorded);
    }
}

/// Weights for measurements of speed: nothing overflows, and nothing becomes subnormal.
#[test]
fn random_weights_keep_magnitudes() {
    for arch in ["lcnet_050", "seresnet20", "skresnet18", "resnetrs50"] {
        let plan = plan(arch, 10);
        let weights = random_weights(&plan).unwrap();
        let network = Network::load(&plan, &weights, &Device::Cpu, Precision::F32).unwrap();
        let shape = (1, plan.inputs(), 64, 64);
        let ones = vec![1.0_f32; 64 * 64 * plan.inputs()];
        let x = Tensor::from_vec(ones, shape, &Device::Cpu).unwrap();
        let logits = network.forward(&x).unwrap().flatten_all().unwrap();
        let logits = logits.to_vec1::<f32>().unwrap();
        let fine = |logit: &f32| (1e-6..1e6).contains(&logit.abs());
        assert!(logits.iter().all(fine), "{arch}: {logits:?}");
    }
}

#[test]
fn every_card_has_a_golden_file_and_a_test() {
    let tested: BTreeSet<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
    for card in card_files() {
        let name = architecture(&card);
        assert!(
            tested.contains(name.as_str()) != NOT_RUN.contains(&name.as_str()),
            "{} is not tested",
            card.display()
        );
    }
    for entry in std::fs::read_dir(data("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let arch = name.split('.').next().unwrap();
        assert!(tested.contains(arch), "{name} is not used");
    }
}

/// Images do not affect each other, and neither do threads: one image at a time, or with another number
/// of threads, gives the same as a batch to the last bit.
#[test]
fn a_batch_equals_its_images() {
    for (arch, h, w) in [
        ("legacy_seresnet18", 61, 40),
        ("seresnext26ts", 50, 45),
        ("seresnext26d_32x4d", 39, 64),
        ("skresnet18", 33, 71),
        ("regnety_002", 63, 50),
        ("tf_mobilenetv3_small_100", 71, 58),
        ("lcnet_050", 64, 45),
        ("efficientnet_b0", 65, 49),
    ] {
        let plan = plan(arch, 1000);
        let network = load(&plan, formula::weights(&plan).0);
        let (images, _) = formula::rgb_images(3, h, w);
        let batch = network.forward(&images).unwrap();
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let forward = |images: &Tensor| network.forward(images).unwrap();
            let [again, second] = pool
                .build()
                .unwrap()
                .install(|| [forward(&images), forward(&images.narrow(0, 1, 1).unwrap())]);
            let differences = [
                (again - &batch).unwrap(),
                (second - batch.narrow(0, 1, 1).unwrap()).unwrap(),
            ];
            assert_eq!(
                differences.map(|x| largest(&x)),
                [0.0; 2],
                "{arch}, {threads} threads"
            );
        }
        let pair = [0, 2].map(|i| batch.narrow(0, i, 1).unwrap());
        let between = largest(&(&pair[0] - &pair[1]).unwrap());
        assert!(
            between > 0.01 * largest(&batch),
            "{arch}: all images get the same logits"
        );
    }
}

/// Large images go through the first stages a few at a time.
#[test]
fn a_batch_of_large_images_equals_its_images() {
    let plan = plan("legacy_seresnet18", 10);
    let network = load(&plan, formula::weights(&plan).0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
    pool.build().unwrap().install(|| {
        // With a single thread: one at a time, and two and then the remaining one.
        for (height, width) in [(201, 170), (125, 112)] {
            let (images, _) = formula::rgb_images(3, height, width);
            let batch = network.forward(&images).unwrap();
            let whole = network.forward_observed(&images, &mut |_, _| Ok(()));
            let difference = largest(&(&batch - whole.unwrap()).unwrap());
            assert!(difference <= 1e-5 * largest(&batch), "{difference}");
            for i in 0..3 {
                let image = images.narrow(0, i, 1).unwrap();
                let alone = network.forward(&image).unwrap();
                let there = batch.narrow(0, i, 1).unwrap();
                assert_eq!(largest(&(alone - there).unwrap()), 0.0, "image {i}");
            }
            let names = |images: &Tensor| -> Vec<String> {
                let times = network.layer_times(images).unwrap();
                times.into_iter().map(|layer| layer.name).collect()
            };
            assert_eq!(names(&images), names(&images.narrow(0, 0, 1).unwrap()));
        }
    });
}

/// The first convolution of a block with few channels runs with the depthwise one, on the CPU in f32.
#[test]
fn layers_that_run_as_one_have_both_names() {
    let plan = plan("mobilenetv3_small_100", 10);
    let weights = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
    let trace = plan.trace(64, 64).unwrap();
    let pairs = |backend: Backend| -> Vec<String> {
        let network = Network::load_on(&plan, &weights, backend).unwrap();
        let (images, _) = formula::rgb_images(1, 64, 64);
        let times = network.layer_times(&images).unwrap();
        let pairs = times
            .into_iter()
            .filter(|layer| layer.name.contains(LayerTime::AND));
        pairs.map(|layer| layer.name).collect()
    };
    let [cpu, bf16] = [Precision::F32, Precision::Bf16]
        .map(|precision| Backend::of(&Device::Cpu, precision).unwrap());
    let found = pairs(cpu);
    let expected: Vec<String> = ["1.0", "1.1", "2.0"]
        .map(|block| format!("blocks.{block}.conv_pw + blocks.{block}.conv_dw"))
        .to_vec();
    assert_eq!(found, expected);
    for name in found.iter().flat_map(|pair| pair.split(LayerTime::AND)) {
        assert!(trace.iter().any(|layer| layer.name == name), "{name}");
    }
    assert!(pairs(bf16).is_empty());
    assert!(pairs(Backend::Candle(candle(Precision::F32))).is_empty());
}

fn largest(x: &Tensor) -> f32 {
    x.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

/// Each mistake that a port is prone to moves the logits far beyond their tolerance.
#[test]
fn mistakes_are_noticed() {
    type Mistake = fn(&mut Plan);
    let mistakes: &[(&str, &str, Mistake)] = &[
        (
            "legacy_seresnet18",
            "no ReLU before the SE module",
            |plan| {
                for block in plan.stages.iter_mut().flatten() {
                    let Some(StepPlan::Conv(last)) = block.steps.last_mut() else {
                        panic!("every branch ends in a convolution");
                    };
                    last.activation = None;
                }
            },
        ),
        ("legacy_seresnet18", "padded stem pool", |plan| {
            plan.stem_pool = StemPool::MaxPad
        }),
        ("legacy_seresnet50", "stride on the 3x3", |plan| {
            move_stride(plan, 0, 1)
        }),
        ("seresnet50", "stride on the first 1x1", |plan| {
            move_stride(plan, 1, 0)
        }),
        ("seresnet50", "pool of the legacy family", |plan| {
            plan.stem_pool = StemPool::MaxCeil
        }),
        ("seresnext26d_32x4d", "strided 1x1 shortcut", |plan| {
            for block in plan.stages.iter_mut().skip(1).flatten() {
                if let ShortcutPlan::Projection(projection) = &mut sum(block).shortcut {
                    projection.avg_pool = false;
                    projection.conv.geometry.stride = 2;
                }
            }
        }),
        ("seresnext26ts", "ReLU after the residual sum", |plan| {
            for block in plan.stages.iter_mut().flatten() {
                sum(block).activation = Some(Activation::Relu);
            }
        }),
        ("skresnet18", "no dilation", |plan| {
            for step in plan
                .stages
                .iter_mut()
                .flatten()
                .flat_map(|block| &mut block.steps)
            {
                if let StepPlan::Sk(sk) = step {
                    sk.paths[1].geometry.dilation = 1;
                    sk.paths[1].geometry.padding = Padding::Each(1);
                }
            }
        }),
    ];
    for (arch, mistake, make) in mistakes {
        let mut plan = plan(arch, 1000);
        let (weights, _) = formula::weights(&plan);
        make(&mut plan);
        let golden = recorded(arch).runs[0].golden();
        notice(
            arch,
            mistake,
            &golden.compare(&load(&plan, weights)).unwrap(),
        );
    }
}

fn sum(block: &mut BlockPlan) -> &mut SumPlan {
    block.sum.as_mut().expect("every block ends in a sum")
}

fn move_stride(plan: &mut Plan, from: usize, to: usize) {
    for block in plan
        .stages
        .iter_mut()
        .skip(1)
        .filter_map(|stage| stage.first_mut())
    {
        for (at, stride) in [(from, 1), (to, 2)] {
            let StepPlan::Conv(conv) = &mut block.steps[at] else {
                panic!("no convolution")
            };
            conv.geometry.stride = stride;
        }
    }
}

fn notice(arch: &str, mistake: &str, report: &VerifyReport) {
    let logits = report
        .rows
        .iter()
        .find(|row| row.tensor == "logits")
        .unwrap();
    let noticed = logits.max_abs.unwrap() / logits.tolerance;
    assert!(
        !logits.ok && noticed > 50.0,
        "{arch}, {mistake}: {noticed:.2} times the tolerance"
    );
}

/// The smallest known mistake: BatchNorm's epsilon of 1e-3, here added to the variances.
#[test]
fn another_epsilon_is_noticed() {
    let plan = plan("legacy_seresnet18", 1000);
    let (weights, _) = formula::weights(&plan);
    let golden = recorded("legacy_seresnet18").runs[0].golden();
    let changed = files::edit(&weights, |tensors| {
        for (name, tensor) in tensors.iter_mut() {
            if name.ends_with("running_var") {
                for bytes in tensor.data.chunks_exact_mut(4) {
                    let value = f32::from_le_bytes(bytes.try_into().unwrap()) + 1e-3 - 1e-5;
                    bytes.copy_from_slice(&value.to_le_bytes());
                }
            }
        }
    });
    notice(
        "legacy_seresnet18",
        "epsilon 1e-3",
        &golden.compare(&load(&plan, changed)).unwrap(),
    );
}

/// The trace predicts the sizes of the outputs.
#[test]
fn maps_have_the_sizes_of_the_trace() {
    let sizes = [
        (32, 32),
        (33, 64),
        (47, 95),
        (127, 34),
        (161, 97),
        (32, 512),
    ];
    for arch in [
        "legacy_seresnet18",
        "seresnext26d_32x4d",
        "seresnext26ts",
        "skresnet18",
        "regnety_002",
        "lcnet_050",
        "tf_mobilenetv3_small_100",
    ] {
        let (network, naming) = spec(arch);
        let plan = network.plan(naming, 10).unwrap();
        let network = load(&plan, formula::weights(&plan).0);
        for (height, width) in sizes {
            let layers = plan.trace(height, width).unwrap();
            let traced = |name: &str| layers.iter().find(|layer| layer.name == name).unwrap();
            let (mut pooled, mut last) = (Vec::new(), Vec::new());
            let (x, _) = formula::rgb_images(1, height, width);
            let logits = network.forward_observed(&x, &mut |point, x| {
                match point {
                    Point::StemPool => pooled = x.dims()[1..].to_vec(),
                    Point::Stage(_) => last = x.dims()[2..].to_vec(),
                    _ => {}
                }
                Ok(())
            });
            assert_eq!(logits.unwrap().dims(), [1, 10]);
            let pool = layers.iter().find(|layer| layer.name == "stem pool");
            let expected = pool.map_or(&[][..], |layer| &layer.output);
            assert_eq!(pooled, expected, "{arch} at {height}x{width}");
            let mean = format!("mean {}x{}", last[0], last[1]);
            assert_eq!(traced("pool").kind, mean, "{arch} at {height}x{width}");
        }
    }
}
