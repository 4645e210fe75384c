//! The names that a user may give for a model.

use std::collections::BTreeSet;

use senet::zoo::{Card, CardError, Selection};

use super::zoo;

/// The full name that `text` resolves to, and the note.
fn resolved(text: &str) -> (String, Option<String>) {
    match zoo()
        .resolve(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
    {
        Selection::Card { card, note } => (card.name.to_string(), note),
        hub => panic!("{text}: {hub:?}"),
    }
}

fn refused(text: &str) -> CardError {
    match zoo().resolve(text) {
        Err(error) => error,
        Ok(selection) => panic!("{text}: {selection:?}"),
    }
}

#[test]
fn names_do_not_collide() {
    let squash = |name: &str| name.replace(['_', '-'], "");
    let names: BTreeSet<_> = zoo().architectures().into_iter().map(squash).collect();
    assert_eq!(names.len(), zoo().architectures().len());
}

#[test]
fn a_full_name_needs_no_note() {
    for card in zoo().cards() {
        assert_eq!(
            resolved(&card.name.to_string()),
            (card.name.to_string(), None)
        );
    }
}

#[test]
fn other_names_come_with_a_note() {
    for (text, expected) in [
        ("se-resnet50", "seresnet50.ra2_in1k"),
        ("se_resnet50", "seresnet50.ra2_in1k"),
        ("SE-ResNet-50", "seresnet50.ra2_in1k"),
        (" seresnet50 ", "seresnet50.ra2_in1k"),
        ("SE-ResNet-50.A1_in1k", "seresnet50.a1_in1k"),
        ("timm/seresnet50.ra2_in1k", "seresnet50.ra2_in1k"),
        ("timm/seresnet50", "seresnet50.ra2_in1k"),
        ("timm/legacy_seresnet50.in1k", "legacy_seresnet50.in1k"),
        ("legacy_seresnet50", "legacy_seresnet50.in1k"),
        ("cadene/se_resnet50", "legacy_seresnet50.in1k"),
        ("cadene/senet154", "legacy_senet154.in1k"),
        ("smp-hub/se_resnet101.imagenet", "legacy_seresnet101.in1k"),
        ("senet154", "senet154.gluon_in1k"),
        ("se_resnext50_32x4d", "seresnext50_32x4d.racm_in1k"),
        ("se-resnext50", "seresnext50_32x4d.racm_in1k"),
        (
            "SE-ResNeXt-50 (32x4d)".trim_end_matches(" (32x4d)"),
            "seresnext50_32x4d.racm_in1k",
        ),
        ("sk-resnext50", "skresnext50_32x4d.ra_in1k"),
        (
            "seresnextaa101d",
            "seresnextaa101d_32x8d.sw_in12k_ft_in1k_288",
        ),
        ("efficientnet-b0", "efficientnet_b0.ra_in1k"),
        ("RegNetY-016", "regnety_016.tv2_in1k"),
        ("demo", "seresnet20.fashion_mnist"),
        ("Demo", "seresnet20.fashion_mnist"),
        (
            "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/se_resnet50-ce0d4300.pth",
            "legacy_seresnet50.in1k",
        ),
    ] {
        let (name, note) = resolved(text);
        assert_eq!(name, expected, "{text}");
        let note = note.unwrap_or_else(|| panic!("no note for {text}"));
        assert!(
            note.starts_with(&format!("{} is {expected}", text.trim())),
            "{note}"
        );
    }
}

/// timm 1.0.31 loads these for its own old names: `register_model_deprecations` in its `models`.
#[test]
fn timms_former_names() {
    for (text, expected) in [
        ("gluon_seresnext50_32x4d", "seresnext50_32x4d.gluon_in1k"),
        ("gluon_seresnext101_32x4d", "seresnext101_32x4d.gluon_in1k"),
        ("gluon_seresnext101_64x4d", "seresnext101_64x4d.gluon_in1k"),
        ("gluon_senet154", "senet154.gluon_in1k"),
        ("seresnext26tn_32x4d", "seresnext26t_32x4d.bt_in1k"),
        ("Gluon-SENet154", "senet154.gluon_in1k"),
        ("timm/gluon_senet154", "senet154.gluon_in1k"),
        ("gluon_senet154.gluon_in1k", "senet154.gluon_in1k"),
        // A given tag takes precedence over the one that the old name implies.
        (
            "gluon_seresnext50_32x4d.racm_in1k",
            "seresnext50_32x4d.racm_in1k",
        ),
    ] {
        let note = format!("{text} is timm's former name of {expected}");
        assert_eq!(resolved(text), (expected.to_owned(), Some(note)), "{text}");
    }
    let CardError::UnknownCheckpoint { checkpoints, .. } = refused("gluon_senet154.in1k") else {
        panic!("{}", refused("gluon_senet154.in1k"));
    };
    assert_eq!(checkpoints, ["senet154.gluon_in1k"]);
}

#[test]
fn the_note_lists_what_else_could_be_meant() {
    assert_eq!(
        resolved("se-resnet50").1.unwrap(),
        "se-resnet50 is seresnet50.ra2_in1k; others: seresnet50.a1_in1k, seresnet50.a2_in1k, \
         seresnet50.a3_in1k, legacy_seresnet50.in1k"
    );
    assert_eq!(
        resolved("skresnet18").1.unwrap(),
        "skresnet18 is skresnet18.ra_in1k"
    );
    assert_eq!(
        resolved("cadene/se-resnet50").1.unwrap(),
        "cadene/se-resnet50 is legacy_seresnet50.in1k"
    );
    // A tag is unambiguous.
    let note = resolved("timm/seresnet50.ra2_in1k").1.unwrap();
    assert_eq!(note, "timm/seresnet50.ra2_in1k is seresnet50.ra2_in1k");
}

#[test]
fn an_architecture_without_a_checkpoint() {
    for (text, name, others) in [
        (
            "seresnet152",
            "seresnet152",
            "; different networks: seresnet152d, legacy_seresnet152",
        ),
        (
            "SE-ResNet-101",
            "seresnet101",
            "; different networks: legacy_seresnet101",
        ),
        (
            "timm/seresnet18",
            "seresnet18",
            "; different networks: legacy_seresnet18",
        ),
        ("skresnet50d.untrained", "skresnet50d", ""),
    ] {
        let Selection::Architecture { architecture, note } = zoo().resolve(text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(architecture.name, name);
        let expected =
            format!("{text} is the architecture {name}, of which no checkpoint is published");
        assert!(note.starts_with(&(expected + others)), "{note}");
    }
    for (text, publisher) in [
        ("torchvision_efficientnet_b0", "torchvision"),
        ("mmpretrain-seresnet50", "mmpretrain"),
    ] {
        let Selection::Architecture { note, .. } = zoo().resolve(text).unwrap() else {
            panic!("{text}");
        };
        assert!(
            note.ends_with(&format!("for files that {publisher} publishes")),
            "{note}"
        );
    }
    for architecture in zoo().untrained() {
        let Selection::Architecture {
            architecture: found,
            ..
        } = zoo().resolve(&architecture.name).unwrap()
        else {
            panic!("{}", architecture.name);
        };
        assert_eq!(found.name, architecture.name);
    }
    // 1.6 or 16 billion multiply-adds?
    assert!(matches!(
        refused("torchvision-regnet-y-16gf"),
        CardError::UnknownModel { .. }
    ));
    for text in ["seresnet152.a1_in1k", "skresnet50.ra_in1k"] {
        assert!(
            matches!(refused(text), CardError::UnknownModel { .. }),
            "{text}"
        );
    }
}

#[test]
fn the_name_of_a_family() {
    for family in zoo().families() {
        let cards = || zoo().cards().filter(|card| card.family == family);
        let usable = |card: &&Card| card.is_imagenet() && card.is_permissive();
        if cards().filter(usable).count() == 0 {
            continue;
        }
        let Selection::Card { card, note } = zoo().resolve(family).unwrap() else {
            panic!("{family}");
        };
        assert!(
            card.family == family && usable(&card),
            "{family}: {}",
            card.name
        );
        assert_eq!(zoo().default_of(card.name.architecture()), Some(card));
        let all = || cards().filter(usable).filter(|card| zoo().is_default(card));
        let best = |card: &Card| card.published.iter().map(|p| p.top1).fold(0.0, f64::max);
        let why = if card.params < 30_000_000 {
            let small = all().filter(|card| card.params < 30_000_000);
            assert_eq!(best(card), small.map(best).fold(0.0, f64::max), "{family}");
            "the most accurate below 30 million parameters"
        } else {
            assert_eq!(
                Some(card.params),
                all().map(|card| card.params).min(),
                "{family}"
            );
            "the smallest"
        };
        assert_eq!(
            note,
            Some(format!("{family} is {}, of this family {why}", card.name))
        );
    }
    for (text, family) in [
        ("MobileNetV3", "mobilenetv3"),
        ("seresnet", "se-resnet"),
        ("timm/regnety", "regnety"),
    ] {
        let card = zoo().get(&resolved(text).0).unwrap();
        assert_eq!(card.family, family);
    }
}

#[test]
fn a_near_miss_is_an_error_with_suggestions() {
    for (text, first) in [
        ("seresent50", "seresnet50"),
        ("seresnet153", "seresnet152d"),
        ("skresnet43", "skresnet34"),
        ("cadene/se_resnet5", "cadene/se_resnet50"),
        ("resnet50", "seresnet50"),
        ("resnet", "resnetrs50"),
    ] {
        let CardError::UnknownModel { name, suggestions } = refused(text) else {
            panic!("{text}: {}", refused(text));
        };
        assert_eq!(name, text);
        assert!(
            (1..=5).contains(&suggestions.len()),
            "{text}: {suggestions:?}"
        );
        assert_eq!(suggestions[0], first, "{text}: {suggestions:?}");
    }
    let message = refused("seresent50").to_string();
    let expected = "unknown model `seresent50`; similar names, each a different network with its own \
                    weights: seresnet50";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn an_unknown_tag_is_an_error_with_those_of_the_architecture() {
    let error = refused("seresnet50.ra3_in1k").to_string();
    let expected = "unknown model `seresnet50.ra3_in1k`; the checkpoints of seresnet50 are \
                    seresnet50.a1_in1k, seresnet50.a2_in1k, seresnet50.a3_in1k, seresnet50.ra2_in1k";
    assert_eq!(error, expected);
}

#[test]
fn far_from_everything() {
    let long = "x".repeat(100_000);
    for text in [
        "",
        " ",
        ".",
        "vit_base",
        "a.b.c",
        "./folder",
        "/",
        "//",
        "ü",
        "hfü",
        long.as_str(),
    ] {
        let error = refused(text);
        assert!(
            matches!(&error, CardError::UnknownModel { suggestions, .. } if suggestions.is_empty()),
            "{error}"
        );
    }
}

#[test]
fn the_beginning_of_several_names_is_ambiguous() {
    let CardError::AmbiguousModel { candidates, .. } = refused("se-resnext101") else {
        panic!("{}", refused("se-resnext101"));
    };
    assert_eq!(
        candidates,
        [
            "seresnext101_32x4d",
            "seresnext101_32x8d",
            "seresnext101_64x4d"
        ]
    );
    // The text does not end before a `_`: two other architectures match, neither for certain.
    let CardError::UnknownModel { suggestions, .. } = refused("seresnext26") else {
        panic!("{}", refused("seresnext26"));
    };
    assert!(
        suggestions.contains(&"seresnext26ts".to_owned()),
        "{suggestions:?}"
    );
}

#[test]
fn hub_repositories_need_their_prefix() {
    for (text, repo, revision) in [
        ("hf-hub:org/repo", "org/repo", None),
        (
            "hf_hub:timm/seresnet50.ra2_in1k",
            "timm/seresnet50.ra2_in1k",
            None,
        ),
        ("HF-hub:org/my-model_2.0@v1", "org/my-model_2.0", Some("v1")),
        ("hf-hub:org/repo@refs/pr/3", "org/repo", Some("refs/pr/3")),
    ] {
        let expected = Selection::Hub {
            repo: repo.into(),
            revision: revision.map(str::to_owned),
            note: None,
        };
        assert_eq!(zoo().resolve(text).unwrap(), expected);
    }
    let page = "hf-hub:https://huggingface.co/org/repo";
    assert!(matches!(
        zoo().resolve(page).unwrap(),
        Selection::Hub { repo, .. } if repo == "org/repo"
    ));
    for text in [
        "org/repo",
        "timm/resnet50.a1_in1k",
        "timm/vit",
        "smp-hub/other.imagenet",
        "org/repo@main",
    ] {
        let error = refused(text);
        assert!(
            matches!(error, CardError::NotACard { .. }),
            "{text}: {error}"
        );
        assert!(error.hint().unwrap().contains(&format!("`hf-hub:{text}`")));
    }
    for text in [
        "hf-hub:",
        "hf-hub:repo",
        "hf-hub:a/b/c",
        "hf-hub:../x",
        "hf-hub:a/..",
        "hf-hub:/b",
        "hf-hub:a/",
        "hf-hub:a/b@",
        "hf-hub:a/b@../c",
        "hf-hub:a/b@x y",
        "hf-hub:a/b@/c",
        "hf-hub:a b/c",
        "hf-hub:a\\b/c",
    ] {
        assert!(
            matches!(refused(text), CardError::HubName { .. }),
            "{text}: {}",
            refused(text)
        );
    }
}

#[test]
fn a_page_of_the_hub_is_its_repository() {
    for (text, short) in [
        ("https://huggingface.co/org/repo", "org/repo"),
        ("http://www.huggingface.co/org/repo/", "org/repo"),
        ("HTTPS://HuggingFace.co/org/repo?library=timm", "org/repo"),
        ("huggingface.co/org/my-model_2.0", "org/my-model_2.0"),
        ("hf.co/org/repo#files", "org/repo"),
        ("hf://org/repo@v1", "org/repo@v1"),
        ("https://huggingface.co/org/repo/tree/main", "org/repo@main"),
        ("https://hf.co/org/repo/tree/v1.0/", "org/repo@v1.0"),
        (
            "https://huggingface.co/org/repo/tree/refs%2Fpr%2F3",
            "org/repo@refs/pr/3",
        ),
        (
            "https://huggingface.co/org/repo/commit/0123456789abcdef",
            "org/repo@0123456789abcdef",
        ),
    ] {
        let (repo, revision) = match short.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.to_owned())),
            None => (short, None),
        };
        let expected = Selection::Hub {
            repo: repo.into(),
            revision,
            note: Some(format!("{text} is hf-hub:{short}")),
        };
        assert_eq!(zoo().resolve(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn other_addresses_come_with_the_right_form() {
    for (text, expected) in [
        (
            "https://huggingface.co/org/repo/blob/main/model.safetensors",
            "`hf-hub:org/repo@main`",
        ),
        (
            "https://huggingface.co/org/repo/resolve/v1/sub/best.pth?download=true",
            "`hf-hub:org/repo@v1`",
        ),
        ("hf.co/org/repo/tree/main/sub/folder", "`hf-hub:org/repo`"),
        (
            "https://huggingface.co/org/repo/discussions",
            "`hf-hub:org/repo`",
        ),
        ("https://hf-mirror.com/org/repo", "`hf-hub:org/repo`"),
        ("https://example.org/best.pth", "hf-hub:ORG/REPO"),
        ("https://example.org/files/best.pth", "as the weights"),
        ("https://huggingface.co/org", "hf-hub:ORG/REPO"),
        ("https://huggingface.co/", "hf-hub:ORG/REPO"),
        ("https://", "hf-hub:ORG/REPO"),
        ("https://huggingface.co/datasets/org/set", "hf-hub:ORG/REPO"),
        ("https://huggingface.co/spaces/org/app", "hf-hub:ORG/REPO"),
        ("https://huggingface.co/../repo", "hf-hub:ORG/REPO"),
        (
            "https://huggingface.co/org/repo/tree/..%2F..",
            "hf-hub:ORG/REPO",
        ),
    ] {
        let error = refused(text);
        assert!(
            matches!(error, CardError::Address { .. }),
            "{text}: {error}"
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains(expected), "{text}: {hint}");
    }
    assert!(matches!(
        refused("ftp://huggingface.co/org/repo"),
        CardError::UnknownModel { .. }
    ));
}

#[test]
fn a_directory_with_timms_prefix() {
    for (text, folder) in [
        ("local-dir:pets", "pets"),
        ("Local-Dir:/models/pets", "/models/pets"),
        ("local-dir:./a.b/c@d", "./a.b/c@d"),
    ] {
        let expected = Selection::Directory(folder.into());
        assert_eq!(zoo().resolve(text).unwrap(), expected);
    }
}
