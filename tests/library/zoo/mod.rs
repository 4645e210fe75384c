//! The built-in cards and label sets, the names they are found by, and models without a card.

mod checkpoints;
mod config;
mod format;
mod names;
mod values;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use senet::labels::LabelSet;
use senet::nets::{Naming, StrideOn};
use senet::preprocess::Interpolation;
use senet::zoo::{
    Card, CardName, DEFAULT_MODEL, DEMO_MODEL, Selection, WeightsRef, Zoo, embedded_weights,
};

fn zoo() -> &'static Zoo {
    Zoo::builtin()
}

fn models() -> PathBuf {
    crate::networks::root().join("models")
}

/// Every file of a card or of a topology without weights.
pub(crate) fn card_files() -> Vec<PathBuf> {
    let folders = fs::read_dir(models()).unwrap();
    let folders = folders
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect()
}

/// Path under `models/` of a card, and its text, to be changed.
fn card_file(name: &str) -> (String, String) {
    let card = zoo().get(name).unwrap_or_else(|| panic!("no {name}"));
    let file = format!("{}/{name}.toml", card.family);
    let text = fs::read_to_string(models().join(&file)).unwrap();
    (file, text)
}

fn text_of(name: &str) -> String {
    card_file(name).1
}

#[test]
fn the_zoo_holds_every_file() {
    let files: BTreeSet<PathBuf> = card_files().into_iter().collect();
    let cards = zoo().cards();
    let cards = cards.map(|card| format!("{}/{}.toml", card.family, card.name));
    let untrained = zoo().untrained();
    let untrained = untrained.map(|known| format!("{}/{}.toml", known.family, known.name));
    let known: BTreeSet<PathBuf> = cards
        .chain(untrained)
        .map(|file| models().join(file))
        .collect();
    assert_eq!(known, files);
}

#[test]
fn facts_that_are_easy_to_get_wrong() {
    let card = |name: &str| zoo().get(name).unwrap_or_else(|| panic!("no {name}"));
    let network = |name: &str| card(name).network.as_resnet().unwrap();
    // Counted by timm; `Card::parse` has compared each with its own count.
    assert_eq!(card("seresnet50.ra2_in1k").params, 28_088_024);
    assert_eq!(card("legacy_senet154.in1k").params, 115_088_984);
    assert_eq!(card("seresnextaa201d_32x8d.sw_in12k").params, 171_567_133);
    assert_eq!(card("skresnet18.ra_in1k").params, 11_958_056);
    assert_eq!(card("seresnet33ts.ra2_in1k").params, 19_779_200);

    assert_eq!(network("legacy_seresnet50.in1k").stride_on, StrideOn::Conv1);
    assert_eq!(network("seresnet50.a1_in1k").stride_on, StrideOn::Conv2);
    assert_eq!(
        network("legacy_seresnext50_32x4d.in1k").stride_on,
        StrideOn::Conv2
    );
    let aa = network("seresnextaa101d_32x8d.ah_in1k");
    assert_eq!(aa.stride_on, StrideOn::AvgAfterConv2);
    // The same tensors as its sibling: only the name distinguishes them.
    assert_ne!(aa, network("seresnext101d_32x8d.ah_in1k"));
    assert!(
        network("legacy_seresnet18.in1k")
            .se
            .as_ref()
            .unwrap()
            .relu_before
    );

    let legacy = || zoo().cards().filter(|card| card.naming == Naming::Senet);
    assert!(legacy().count() > 0);
    for card in legacy() {
        assert!(card.name.architecture().starts_with("legacy_"));
        assert!(card.weights.release.is_some());
        assert_eq!(card.weights.repo.is_some(), card.cadene.is_some());
        let bicubic = card.input.interpolation == Interpolation::Bicubic;
        let trained_later = ["legacy_seresnet18", "legacy_seresnext26_32x4d"];
        assert_eq!(bicubic, trained_later.contains(&card.name.architecture()));
    }
}

#[test]
fn a_timm_repository_is_named_after_its_card() {
    let repos = zoo()
        .cards()
        .filter_map(|card| Some((card, card.weights.repo.as_deref()?)));
    let timms = repos.filter_map(|(card, repo)| Some((card, repo.strip_prefix("timm/")?)));
    let mut count = 0;
    for (card, name) in timms {
        assert_eq!(name, card.name.to_string());
        count += 1;
    }
    assert!(count > 0);
}

/// Only the files that contain the text are parsed to find these.
#[test]
fn a_card_is_found_by_its_repository_its_release_and_cadenes_name() {
    for card in zoo().cards() {
        let cadene = card.cadene.as_ref().map(|name| format!("cadene/{name}"));
        let WeightsRef { repo, release, .. } = &card.weights;
        for text in repo.iter().chain(release).chain(&cadene) {
            let found = zoo().resolve(text).unwrap();
            assert!(
                matches!(found, Selection::Card { card: found, .. } if found == card),
                "{text}"
            );
        }
    }
}

#[test]
fn embedded_weights_hold_the_parameters() {
    for card in zoo().cards() {
        let Some(file) = &card.weights.embedded else {
            continue;
        };
        let path = models().join("weights").join(file);
        let bytes = embedded_weights(file);
        assert_eq!(bytes.is_some(), path.is_file(), "{file}");
        if let Some(bytes) = bytes {
            assert!(
                bytes.len() > 2 * card.params,
                "{file}: {} bytes",
                bytes.len()
            );
        }
    }
    assert!(embedded_weights("other.safetensors").is_none());
}

#[test]
fn each_architecture_has_one_default() {
    for architecture in zoo().architectures() {
        let cards: Vec<&Card> = zoo()
            .cards()
            .filter(|card| card.name.architecture() == architecture)
            .collect();
        let recommended = cards.iter().filter(|card| card.recommended).count();
        assert_eq!(recommended, usize::from(cards.len() > 1), "{architecture}");
        assert!(cards.contains(&zoo().default_of(architecture).unwrap()));
    }
    for name in [
        "seresnet50.ra2_in1k",
        "seresnext50_32x4d.racm_in1k",
        "seresnextaa101d_32x8d.sw_in12k_ft_in1k_288",
        "seresnextaa201d_32x8d.sw_in12k_ft_in1k_384",
    ] {
        let architecture = CardName::parse(name).unwrap().architecture().to_owned();
        assert_eq!(
            zoo().default_of(&architecture).unwrap().name.to_string(),
            name
        );
    }
}

#[test]
fn the_default_model_is_the_best_small_one() {
    let best = |card: &Card| {
        card.published
            .iter()
            .map(|entry| entry.top1)
            .fold(0.0, f64::max)
    };
    let small = zoo()
        .cards()
        .filter(|card| ["se-resnet", "se-resnext"].contains(&&*card.family))
        .filter(|card| card.params < 30_000_000 && card.labels == "imagenet-1k");
    let first = small.max_by(|a, b| best(a).total_cmp(&best(b))).unwrap();
    assert_eq!(first.name.to_string(), DEFAULT_MODEL);
    let Ok(Selection::Card { card, .. }) = zoo().resolve("se-resnext") else {
        panic!("a family");
    };
    assert_eq!(card.name, first.name, "a family's name means the same");
    assert!(zoo().get(DEMO_MODEL).unwrap().weights.embedded.is_some());
}

#[test]
fn label_sets_are_complete() {
    for (name, classes) in [
        ("imagenet-1k", 1000),
        ("imagenet-12k", 11_821),
        ("imagenet-21k", 21_843),
        ("imagenet-21k-miil", 11_221),
        ("fashion-mnist", 10),
        ("cifar-10", 10),
        ("cifar-100", 100),
        ("cub-200", 200),
        ("svhn", 10),
    ] {
        let set = LabelSet::builtin(name).unwrap();
        assert_eq!((set.len(), set.name.as_str()), (classes, name));
        assert_eq!(LabelSet::builtin_len(name).unwrap(), classes);
        assert!(
            set.source.contains("http") || set.source.contains("timm"),
            "{}",
            set.source
        );
        assert!(
            set.entries
                .iter()
                .all(|label| !label.name.is_empty() && label.full.starts_with(&label.name))
        );
        let ids: BTreeSet<_> = set
            .entries
            .iter()
            .filter_map(|label| label.id.as_ref())
            .collect();
        let without = ["fashion-mnist", "cifar-10", "svhn"].contains(&name);
        assert_eq!(ids.len(), if without { 0 } else { classes });
    }
    let set = LabelSet::builtin("imagenet-1k").unwrap();
    let label = |index: usize| {
        (
            set.entries[index].id.as_deref().unwrap(),
            set.entries[index].name.as_str(),
        )
    };
    assert_eq!(label(0), ("n01440764", "tench"));
    assert_eq!(label(281), ("n02123045", "tabby"));
    assert_eq!(label(999), ("n15075141", "toilet tissue"));
    assert_eq!(
        LabelSet::builtin("fashion-mnist").unwrap().entries[9].name,
        "Ankle boot"
    );
    let error = LabelSet::builtin("imagenet").unwrap_err();
    assert!(error.hint().unwrap().contains("imagenet-12k"));
    assert_eq!(LabelSet::builtin_names().count(), 10);
    assert_eq!(LabelSet::numbered(18).entries[17].name, "class 17");
}
