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

/// Networks that timm lacks: that of Fashion-MNIST, and those of tests/tools/hosts.py, whose parameters and
/// tensors are in their golden files.
const NOT_IN_TIMM: [&str; 2] = ["seresnet20", "se_bn_inception"];

/// Names and shapes of all tensors match timm's, with a published checkpoint and without.
#[test]
fn every_architecture_has_the_tensors_of_timm() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/topologies.json");
    let expected: Topologies = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let zoo = Zoo::builtin();
    let mut names: BTreeSet<&str> = zoo.architectures().into_iter().collect();
    names.extend(zoo.untrained_names());
    names.retain(|name| !NOT_IN_TIMM.contains(name));
    assert_eq!(
        names,
        expected.architectures.keys().map(String::as_str).collect()
    );
    for (name, topology) in &expected.architectures {
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
