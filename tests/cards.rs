//! The cards, the names they are found by, and the models that need no card.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use senet::cards::{Card, CardError, CardName, DEFAULT_MODEL, DEMO_MODEL, Selection, Zoo, embedded_weights};
use senet::labels::LabelSet;
use senet::nets::{Naming, StrideOn};

fn zoo() -> &'static Zoo {
    Zoo::builtin().expect("the built-in cards are right")
}

fn models() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Text of a card that changes can be made to.
fn text_of(name: &str) -> String {
    fs::read_to_string(models().join(format!("{name}.toml"))).unwrap()
}

/// The full name that `text` resolves to, and the note.
fn resolved(text: &str) -> (String, Option<String>) {
    match zoo().resolve(text).unwrap_or_else(|error| panic!("{text}: {error}")) {
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
fn the_zoo_holds_every_file() {
    let stems: BTreeSet<String> = fs::read_dir(models())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let names: BTreeSet<String> = zoo().cards().iter().map(|card| card.name.to_string()).collect();
    assert_eq!(names, stems);
    assert_eq!(zoo().cards().len(), 35);
    assert_eq!(zoo().architectures().len(), 27);
}

#[test]
fn facts_that_are_easy_to_get_wrong() {
    let card = |name: &str| zoo().get(name).unwrap_or_else(|| panic!("no {name}"));
    // Counted by timm; `Card::parse` has compared each with its own count.
    assert_eq!(card("seresnet50.ra2_in1k").params, 28_088_024);
    assert_eq!(card("legacy_senet154.in1k").params, 115_088_984);
    assert_eq!(card("seresnextaa201d_32x8d.sw_in12k").params, 171_567_133);
    assert_eq!(card("skresnet18.ra_in1k").params, 11_958_056);
    assert_eq!(card("seresnet33ts.ra2_in1k").params, 19_779_200);

    assert_eq!(card("legacy_seresnet50.in1k").network.stride_on, StrideOn::Conv1);
    assert_eq!(card("seresnet50.a1_in1k").network.stride_on, StrideOn::Conv2);
    assert_eq!(card("legacy_seresnext50_32x4d.in1k").network.stride_on, StrideOn::Conv2);
    let aa = &card("seresnextaa101d_32x8d.ah_in1k").network;
    assert_eq!(aa.stride_on, StrideOn::AvgAfterConv2);
    // The same tensors as its sibling, so only the name tells them apart.
    assert_ne!(*aa, card("seresnext101d_32x8d.ah_in1k").network);
    assert!(card("legacy_seresnet18.in1k").network.se.as_ref().unwrap().relu_before);

    let bilinear = zoo().cards().iter().filter(|card| {
        card.name.architecture().starts_with("legacy")
            && card.input.interpolation == senet::image::Interpolation::Bilinear
    });
    assert_eq!(bilinear.count(), 7);
    let legacy = zoo().cards().iter().filter(|card| card.naming == Naming::Senet);
    assert_eq!(legacy.clone().count(), 9);
    assert!(legacy.clone().all(|card| card.weights.release.is_some()));
    assert_eq!(legacy.filter(|card| card.weights.repo.is_some() && card.cadene.is_some()).count(), 6);
}

#[test]
fn a_timm_repository_is_named_after_its_card() {
    let mut count = 0;
    for card in zoo().cards() {
        if let Some(name) = card.weights.repo.as_ref().and_then(|repo| repo.strip_prefix("timm/")) {
            assert_eq!(name, card.name.to_string());
            count += 1;
        }
    }
    assert_eq!(count, 25);
}

#[test]
fn embedded_weights_hold_the_parameters() {
    for card in zoo().cards() {
        let Some(file) = &card.weights.embedded else { continue };
        let path = models().join("weights").join(file);
        let bytes = embedded_weights(file);
        assert_eq!(bytes.is_some(), path.is_file(), "{file}");
        if let Some(bytes) = bytes {
            assert!(bytes.len() > 2 * card.params, "{file}: {} bytes", bytes.len());
        }
    }
    assert!(embedded_weights("other.safetensors").is_none());
}

#[test]
fn each_architecture_has_one_default() {
    for architecture in zoo().architectures() {
        let cards: Vec<&Card> =
            zoo().cards().iter().filter(|card| card.name.architecture() == architecture).collect();
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
        assert_eq!(zoo().default_of(&architecture).unwrap().name.to_string(), name);
    }
}

#[test]
fn the_default_model_is_the_best_small_one() {
    let best = |card: &Card| card.published.iter().map(|entry| entry.top1).fold(0.0, f64::max);
    let small = zoo().cards().iter().filter(|card| card.params < 30_000_000 && card.labels == "imagenet-1k");
    let first = small.max_by(|a, b| best(a).total_cmp(&best(b))).unwrap();
    assert_eq!(first.name.to_string(), DEFAULT_MODEL);
    assert!(zoo().get(DEMO_MODEL).unwrap().weights.embedded.is_some());
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
        assert_eq!(resolved(&card.name.to_string()), (card.name.to_string(), None));
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
        ("SE-ResNeXt-50 (32x4d)".trim_end_matches(" (32x4d)"), "seresnext50_32x4d.racm_in1k"),
        ("sk-resnext50", "skresnext50_32x4d.ra_in1k"),
        ("seresnextaa101d", "seresnextaa101d_32x8d.sw_in12k_ft_in1k_288"),
        ("demo", "seresnet20.fashion_mnist"),
        ("Demo", "seresnet20.fashion_mnist"),
    ] {
        let (name, note) = resolved(text);
        assert_eq!(name, expected, "{text}");
        let note = note.unwrap_or_else(|| panic!("no note for {text}"));
        assert!(note.starts_with(&format!("{} is {expected}", text.trim())), "{note}");
    }
}

#[test]
fn the_note_lists_what_else_could_be_meant() {
    assert_eq!(
        resolved("se-resnet50").1.unwrap(),
        "se-resnet50 is seresnet50.ra2_in1k; others: seresnet50.a1_in1k, seresnet50.a2_in1k, \
         seresnet50.a3_in1k, legacy_seresnet50.in1k"
    );
    assert_eq!(resolved("skresnet18").1.unwrap(), "skresnet18 is skresnet18.ra_in1k");
    assert_eq!(resolved("cadene/se-resnet50").1.unwrap(), "cadene/se-resnet50 is legacy_seresnet50.in1k");
    // A tag leaves nothing open.
    let note = resolved("timm/seresnet50.ra2_in1k").1.unwrap();
    assert_eq!(note, "timm/seresnet50.ra2_in1k is seresnet50.ra2_in1k");
}

#[test]
fn a_near_miss_is_an_error_with_suggestions() {
    for (text, first) in [
        ("seresent50", "seresnet50"),
        ("seresnet152", "seresnet152d"),
        ("se_resnet101", "legacy_seresnet101"),
        ("cadene/se_resnet5", "cadene/se_resnet50"),
        ("seresnet50.ra3_in1k", "seresnet50.a1_in1k"),
        ("seresnet", "seresnet20"),
        ("resnet50", "seresnet50"),
    ] {
        let CardError::UnknownModel { name, suggestions } = refused(text) else {
            panic!("{text}: {}", refused(text));
        };
        assert_eq!(name, text);
        assert!((1..=5).contains(&suggestions.len()), "{text}: {suggestions:?}");
        assert_eq!(suggestions[0], first, "{text}: {suggestions:?}");
    }
    let message = refused("seresent50").to_string();
    assert!(message.starts_with("unknown model `seresent50`; did you mean seresnet50"), "{message}");
}

#[test]
fn far_from_everything() {
    let long = "x".repeat(100_000);
    for text in ["", " ", ".", "vit_base", "a.b.c", "./folder", "/", "//", "ü", "hfü", long.as_str()] {
        let error = refused(text);
        assert!(matches!(&error, CardError::UnknownModel { suggestions, .. } if suggestions.is_empty()), "{error}");
        assert!(error.hint().unwrap().contains("senet list"));
    }
}

#[test]
fn the_beginning_of_several_names_is_ambiguous() {
    let CardError::AmbiguousModel { candidates, .. } = refused("se-resnext101") else {
        panic!("{}", refused("se-resnext101"));
    };
    assert_eq!(candidates, ["seresnext101_32x4d", "seresnext101_32x8d", "seresnext101_64x4d"]);
    // Not up to a `_`: two other architectures, neither of which is meant for certain.
    let CardError::UnknownModel { suggestions, .. } = refused("seresnext26") else {
        panic!("{}", refused("seresnext26"));
    };
    assert!(suggestions.contains(&"seresnext26ts".to_owned()), "{suggestions:?}");
}

#[test]
fn hub_repositories_need_their_prefix() {
    for (text, repo, revision) in [
        ("hf-hub:org/repo", "org/repo", None),
        ("hf_hub:timm/seresnet50.ra2_in1k", "timm/seresnet50.ra2_in1k", None),
        ("HF-hub:org/my-model_2.0@v1", "org/my-model_2.0", Some("v1")),
        ("hf-hub:org/repo@refs/pr/3", "org/repo", Some("refs/pr/3")),
    ] {
        let expected = Selection::Hub { repo: repo.into(), revision: revision.map(str::to_owned) };
        assert_eq!(zoo().resolve(text).unwrap(), expected);
    }
    for text in ["org/repo", "timm/resnet50.a1_in1k", "timm/vit", "smp-hub/other.imagenet", "org/repo@main"] {
        let error = refused(text);
        assert!(matches!(error, CardError::NotACard { .. }), "{text}: {error}");
        assert!(error.hint().unwrap().contains(&format!("`hf-hub:{text}`")));
    }
    for text in [
        "hf-hub:", "hf-hub:repo", "hf-hub:a/b/c", "hf-hub:../x", "hf-hub:a/..", "hf-hub:/b", "hf-hub:a/",
        "hf-hub:a/b@", "hf-hub:a/b@../c", "hf-hub:a/b@x y", "hf-hub:a/b@/c", "hf-hub:a b/c", "hf-hub:a\\b/c",
    ] {
        assert!(matches!(refused(text), CardError::HubName { .. }), "{text}: {}", refused(text));
    }
}

/// Replaces `from`, which must be there, by `to` in a card and returns the error.
fn broken(name: &str, from: &str, to: &str) -> CardError {
    let text = text_of(name);
    assert!(text.contains(from), "{name} lacks {from}");
    let file = format!("{name}.toml");
    match Card::parse(&file, &text.replacen(from, to, 1)) {
        Err(error) => error,
        Ok(_) => panic!("{name} with {to:?} for {from:?} was accepted"),
    }
}

#[test]
fn a_wrong_value_is_an_error_with_file_and_field() {
    let name = "seresnext50_32x4d.racm_in1k";
    for (from, to, field) in [
        ("apache-2.0", "", "license"),
        ("[\"1709.01507\", \"1611.05431\"]", "[]", "paper"),
        ("1709.01507", "1709.0150x", "paper"),
        ("1709.01507", "arXiv:1709.01507", "paper"),
        ("https://github.com", "github.com", "origin"),
        ("27_559_896", "27_559_897", "params"),
        ("gmacs = 4.233", "gmacs = -1.0", "gmacs"),
        ("gmacs = 4.233", "gmacs = nan", "gmacs"),
        ("layers = [3, 4, 6, 3]", "layers = [3, 4, 6]", "network.channels"),
        ("layers = [3, 4, 6, 3]", "layers = []", "network.layers"),
        ("layers = [3, 4, 6, 3]", "layers = [3, 0, 6, 3]", "network.layers"),
        ("layers = [3, 4, 6, 3]", "layers = [3, 4, 6, 18446744073709]", "network.layers"),
        ("layers = [3, 4, 6, 3]", "layers = [3, 4, 7, 3]", "params"),
        ("widths = [128, 256, 512, 1024]", "widths = [128, 256, 512, 1025]", "network.groups"),
        ("groups = [32, 32, 32, 32]", "groups = [32]", "network.groups"),
        ("reduced = [16, 32, 64, 128]", "reduced = [16, 32, 64]", "network.se.reduced"),
        ("\"bottleneck\"", "\"basic\"", "network.stride_on"),
        ("\"bottleneck\"", "\"bottleneck\"\nsk = { reduced = [1, 1, 1, 1], split_input = false }", "network.se"),
        ("kernel = 7", "kernel = 6", "network.stem.kernel"),
        ("strides = [2]", "strides = [2, 2]", "network.stem.strides"),
        ("naming = \"resnet\"", "naming = \"sknet\"", "tensors.naming"),
        ("imagenet-1k", "imagenet-2k", "labels.set"),
        ("repo = \"timm/", "repo = \"", "weights.repo"),
        ("repo = \"timm/", "repo = \"../", "weights.repo"),
        ("file = \"model.safetensors\"", "", "weights.file"),
        ("\"model.safetensors\"", "\"../model.safetensors\"", "weights.file"),
        ("file =", "revision = \"main\"\nfile =", "weights.revision"),
        ("file =", "sha256 = \"00\"\nfile =", "weights.sha256"),
        ("file =", "release = \"https://a.b/c.pth\"\nfile =", "weights.release"),
        ("file =", "release = \"http://a.b/c-01234567.pth\"\nfile =", "weights.release"),
        ("size = [224, 224]", "size = [0, 224]", "input.size"),
        ("crop_pct = 0.875", "crop_pct = 1.3", "input.crop_pct"),
        ("crop_pct = 0.875", "crop_pct = 0.0", "input.crop_pct"),
        ("crop_pct = 0.875", "crop_pct = nan", "input.crop_pct"),
        ("test_size = [288, 288]", "", "input.test_crop_pct"),
        ("[0.485,", "[123.7,", "input.mean"),
        ("[0.229,", "[0.0,", "input.std"),
        ("top1 = 81.268", "top1 = 181.268", "published.top1"),
        ("top5 = 95.624", "top5 = 80.0", "published.top5"),
        ("[[published]]\nsize = [224, 224]", "[[published]]\nsize = [225, 225]", "published.size"),
        ("source = \"timm", "source = \"\" # \"timm", "published.source"),
    ] {
        match broken(name, from, to) {
            CardError::Field { file, field: found, reason } => {
                assert_eq!(file, format!("{name}.toml"));
                assert_eq!(found, field, "{to}: {reason}");
                assert!(!reason.is_empty());
            }
            other => panic!("{to}: {other}"),
        }
    }
    let error = broken("seresnet20.fashion_mnist", "embedded = ", "# embedded = ");
    assert!(matches!(&error, CardError::Field { field, .. } if field == "weights"), "{error}");
    let error = broken("seresnet20.fashion_mnist", "embedded = \"", "embedded = \"/etc/");
    assert!(matches!(&error, CardError::Field { field, .. } if field == "weights.embedded"), "{error}");
}

#[test]
fn unknown_missing_and_mistyped_fields_are_errors_with_the_line() {
    let name = "seresnet50.ra2_in1k";
    let text = text_of(name);
    for table in ["", "[network]\n", "[tensors]\n", "[weights]\n", "[input]\n", "[labels]\n", "[[published]]\n"] {
        let error = broken(name, table, &format!("{table}crop_percent = 1\n"));
        let CardError::Toml { text, message, .. } = &error else { panic!("{table}: {error}") };
        assert_eq!(text, "crop_percent = 1", "{error}");
        assert!(message.contains("unknown field `crop_percent`"), "{error}");
    }
    for table in ["stem = { ", "se = { "] {
        let error = broken(name, table, &format!("{table}bias = true, "));
        assert!(error.to_string().contains("unknown field `bias`"), "{error}");
    }
    // Every line but those of optional fields is needed, and an error about it names the field.
    for line in text.lines().filter(|line| line.contains(" = ")) {
        let key = line.split(" = ").next().unwrap();
        let optional = ["recommended", "gmacs", "test_crop_pct"];
        let without = text.replacen(&format!("{line}\n"), "", 1);
        match Card::parse("seresnet50.ra2_in1k.toml", &without) {
            Ok(_) => assert!(optional.contains(&key), "{line} is not needed"),
            Err(error) => {
                let message = error.to_string();
                assert!(!optional.contains(&key) && message.contains("seresnet50.ra2_in1k.toml"), "{message}");
                let named = message.contains(key) || (key == "test_size" && message.contains("test_crop_pct"));
                assert!(named || key == "repo", "{line}: {message}");
            }
        }
        // A table fits no field of a card but `stem` and `se`, which are not empty.
        let error = broken(name, line, &format!("{key} = {{}}"));
        let CardError::Toml { line: number, .. } = &error else { panic!("{line}: {error}") };
        assert!(*number > 0 && error.to_string().contains(key), "{line}: {error}");
    }
}

#[test]
fn damaged_cards_never_panic() {
    let file = "seresnext26ts.ch_in1k.toml";
    let text = text_of("seresnext26ts.ch_in1k");
    let mut accepted = 0;
    for end in 0..text.len() {
        if let Some(cut) = text.get(..end) {
            match Card::parse(file, cut) {
                Ok(_) => accepted += 1,
                Err(error) => assert!(error.to_string().contains(file), "{error}"),
            }
        }
    }
    // Only the end of the file, whose measurements are optional, can be missing.
    assert!(accepted < 30, "{accepted}");
    for seed in 0..2000_usize {
        let mut bytes = text.clone().into_bytes();
        let at = seed.wrapping_mul(7919) % bytes.len();
        bytes[at] = b"0-\"[]{}=.\n#x9"[seed % 13];
        if let Ok(changed) = String::from_utf8(bytes) {
            let _ = Card::parse(file, &changed);
        }
    }
}

#[test]
fn a_card_is_named_by_its_file() {
    for file in ["seresnet50.toml", "a.b.c.toml", "SE.b.toml", ".b.toml", "a..toml", "a.b", "a/b.c.toml", "toml"] {
        assert!(matches!(Card::parse(file, ""), Err(CardError::FileName { .. })), "{file}");
    }
}

#[test]
fn cards_of_one_architecture_must_agree() {
    let (a1, a2) = (text_of("seresnet50.a1_in1k"), text_of("seresnet50.a2_in1k"));
    let parse = |a: &str, b: &str| Zoo::parse([("s.a1.toml", a), ("s.a2.toml", b)]);
    let recommended = a1.replacen("params", "recommended = true\nparams", 1);
    assert_eq!(parse(&recommended, &a2).unwrap().default_of("s").unwrap().name.tag(), "a1");

    for (a, b, found) in [(&a1, &a2, 0), (&recommended, &recommended, 2)] {
        match parse(a, b) {
            Err(CardError::Recommended { files, found: number }) => {
                assert_eq!((files, number), (vec!["s.a1.toml".into(), "s.a2.toml".into()], found));
            }
            other => panic!("{other:?}"),
        }
    }
    let other = a2.replacen("\"max_pad\"", "\"max_ceil\"", 1);
    match parse(&recommended, &other) {
        Err(CardError::Differ { first, second, field }) => {
            assert_eq!((first.as_str(), second.as_str()), ("s.a1.toml", "s.a2.toml"));
            assert_eq!(field, "network.stem_pool");
        }
        other => panic!("{other:?}"),
    }
    let other = a2.replacen("\"resnet\"", "\"senet\"", 1);
    let error = parse(&recommended, &other).unwrap_err();
    assert!(error.to_string().contains("`tensors.naming`"), "{error}");
}

#[test]
fn label_sets_are_complete() {
    for (name, classes) in [("imagenet-1k", 1000), ("imagenet-12k", 11_821), ("fashion-mnist", 10)] {
        let set = LabelSet::builtin(name).unwrap();
        assert_eq!((set.len(), set.name.as_str()), (classes, name));
        assert_eq!(LabelSet::builtin_len(name).unwrap(), classes);
        assert!(set.source.contains("http") || set.source.contains("timm"), "{}", set.source);
        assert!(set.entries.iter().all(|label| !label.name.is_empty() && label.full.starts_with(&label.name)));
        let ids: BTreeSet<_> = set.entries.iter().filter_map(|label| label.id.as_ref()).collect();
        assert_eq!(ids.len(), if name == "fashion-mnist" { 0 } else { classes });
    }
    let set = LabelSet::builtin("imagenet-1k").unwrap();
    let label = |index: usize| (set.entries[index].id.as_deref().unwrap(), set.entries[index].name.as_str());
    assert_eq!(label(0), ("n01440764", "tench"));
    assert_eq!(label(281), ("n02123045", "tabby"));
    assert_eq!(label(999), ("n15075141", "toilet tissue"));
    assert_eq!(LabelSet::builtin("fashion-mnist").unwrap().entries[9].name, "Ankle boot");
    let error = LabelSet::builtin("imagenet").unwrap_err();
    assert!(error.hint().unwrap().contains("imagenet-12k"));
    assert_eq!(LabelSet::builtin_names().count(), 3);
    assert_eq!(LabelSet::numbered(18).entries[17].name, "class 17");
}
