//! Plans: sizes, shapes and counts that need no weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use senet::nets::{NetError, Plan};
use senet::{Card, ModelSpec, Zoo};
use serde::Deserialize;
use sha2::{Digest, Sha256};

fn cards() -> impl Iterator<Item = &'static Card> {
    Zoo::builtin().cards()
}

fn plan(card: &Card) -> Plan {
    let spec = ModelSpec::from_card(card).unwrap();
    spec.network.plan(spec.naming, spec.classes()).unwrap()
}

#[test]
fn counts_match_the_cards() {
    for card in cards() {
        let plan = plan(card);
        let [height, width] = card.input.size;
        let layers = plan.trace(height, width).unwrap();
        assert_eq!(plan.param_count(), card.params, "{}", card.name);
        assert_eq!(
            layers.iter().map(|layer| layer.params).sum::<usize>(),
            card.params,
            "{}",
            card.name
        );
        let gmacs = layers.iter().map(|layer| layer.macs).sum::<u64>() as f64 / 1e9;
        let Some(stated) = card.gmacs else { continue };
        assert!(
            (gmacs - stated).abs() < 6e-5,
            "{}: {gmacs} and {stated}",
            card.name
        );
    }
}

/// Anti-aliased networks round down in one branch and up in the other; timm fails at the same sizes
/// (32 to 259 were tried). Caffe's pools round up, its convolutions down.
#[test]
fn every_size_works_except_odd_maps_of_anti_aliased_networks() {
    for card in cards() {
        let plan = plan(card);
        let architecture = card.name.architecture();
        let is_even_at = |size: usize, strides: [usize; 2]| {
            let at = |stride: usize| size.div_ceil(2) * 2 / stride;
            strides.iter().all(|&stride| at(stride).is_multiple_of(2))
        };
        for size in 32..=512 {
            let works = match architecture {
                "se_bn_inception" => is_even_at(size, [8, 16]),
                name if name.starts_with("seresnextaa") => matches!(size % 32, 31 | 0 | 1 | 2),
                _ => true,
            };
            assert_eq!(
                plan.check_size(size, 64).is_ok(),
                works,
                "{} at {size}",
                card.name
            );
            assert_eq!(
                plan.check_size(96, size).is_ok(),
                works,
                "{} at {size}",
                card.name
            );
        }
    }
}

#[test]
fn sizes_without_a_pixel_are_errors() {
    for card in cards() {
        let plan = plan(card);
        for (height, width) in [(0, 224), (224, 0), (0, 0)] {
            let error = plan.check_size(height, width).unwrap_err();
            assert!(matches!(error, NetError::InputSize { .. }), "{}", card.name);
        }
        // Whatever the result, none of these may panic or overflow.
        for size in [1, 2, 3, 7, usize::MAX / 2, usize::MAX] {
            let _ = plan.check_size(size, size);
        }
    }
}

#[test]
fn tensor_names_are_unique() {
    for card in cards() {
        let tensors = plan(card).tensors();
        let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tensors.len(), "{}", card.name);
    }
}

#[derive(Deserialize)]
struct Topologies {
    architectures: BTreeMap<String, Topology>,
}

/// What timm's network consists of; see tests/tools/make_topologies.py.
#[derive(Deserialize)]
struct Topology {
    params: usize,
    tensors: usize,
    digest: String,
}

/// Names and shapes of all tensors match pytorchcv's; tests/tools/pytorchcv_nets.py recorded them.
#[test]
fn every_file_of_pytorchcv_has_its_tensors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pytorchcv.json");
    let mut expected: BTreeMap<String, (usize, String)> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let of_pytorchcv = |card: &&Card| card.name.tag().starts_with("osmr_");
    for card in cards().filter(of_pytorchcv) {
        let url = card.weights.release.as_ref().unwrap();
        let file = url.rsplit('/').next().unwrap();
        let name = file.split('-').next().unwrap();
        let (params, digest) = expected.remove(name).unwrap();
        let plan = plan(card);
        let mut lines: Vec<String> = plan
            .tensors()
            .iter()
            .map(|tensor| format!("{} {:?}", tensor.name, tensor.shape))
            .collect();
        lines.sort_unstable();
        // 64-bit FNV-1a.
        let found = lines
            .join("\n")
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
        assert_eq!(
            (plan.param_count(), format!("{found:016x}")),
            (params, digest),
            "{}",
            card.name
        );
        // The digits in the name are the error: top-5 on ImageNet, else top-1.
        let error: f64 = file.split('-').nth(1).unwrap().parse().unwrap();
        let published = &card.published[0];
        let accuracy = published.top5.unwrap_or(published.top1);
        assert!(
            (100.0 - error / 100.0 - accuracy).abs() < 1e-9,
            "{}",
            card.name
        );
    }
    assert!(expected.is_empty(), "without a card: {expected:?}");
}

/// Names and shapes of all tensors match timm's, with a published checkpoint and without.
#[test]
fn every_architecture_has_the_tensors_of_timm() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/topologies.json");
    let expected: Topologies = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let zoo = Zoo::builtin();
    let mut names: BTreeSet<&str> = zoo.architectures().into_iter().collect();
    names.extend(zoo.untrained_names());
    names.retain(|name| zoo.is_in_timm(name));
    assert_eq!(
        names,
        expected.architectures.keys().map(String::as_str).collect()
    );
    has_tensors(&expected.architectures);
}

/// The same for torchvision's; tests/tools/torchvision_nets.py recorded them.
#[test]
fn every_architecture_has_the_tensors_of_torchvision() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchvision.json");
    let expected: BTreeMap<String, Topology> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let names = Zoo::builtin().untrained_names();
    let names = names.filter(|name| name.starts_with("torchvision_"));
    assert!(names.eq(expected.keys()));
    has_tensors(&expected);
}

fn has_tensors(expected: &BTreeMap<String, Topology>) {
    let zoo = Zoo::builtin();
    for (name, topology) in expected {
        let known = zoo.architecture(name).unwrap();
        let plan = known.network.plan(known.naming, 1000).unwrap();
        let mut lines: Vec<String> = plan
            .tensors()
            .iter()
            .map(|tensor| format!("{} {:?}\n", tensor.name, tensor.shape))
            .collect();
        lines.sort_unstable();
        let digest = Sha256::digest(lines.concat());
        let digest: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            (plan.param_count(), lines.len(), &digest),
            (topology.params, topology.tensors, &topology.digest),
            "{name}"
        );
    }
}
