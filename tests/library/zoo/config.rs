//! Models described by timm's `config.json`.

use std::fs;
use std::path::Path;

use senet::nets::Naming;
use senet::preprocess::{CropMode, Interpolation};
use senet::zoo::WeightsRef;
use senet::zoo::{CardError, ModelSpec, Overrides, WeightsSource, Zoo};

/// As timm 1.0.31 saves a network that was fine-tuned on ten classes.
const CURRENT: &str = r#"{"architecture": "seresnet50", "num_classes": 10, "num_features": 2048,
 "global_pool": "avg", "label_names": ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"],
 "model_args": {"num_classes": 10, "in_chans": 3, "global_pool": "avg"},
 "pretrained_cfg": {"tag": "ra2_in1k", "custom_load": false, "input_size": [3, 224, 224],
  "test_input_size": [3, 288, 288], "fixed_input_size": false, "interpolation": "bicubic", "crop_pct": 0.875,
  "test_crop_pct": 0.95, "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
  "num_classes": 10, "pool_size": [7, 7], "first_conv": "conv1", "classifier": "fc", "license": "apache-2.0"}}"#;

/// The layout of 2023, as on the Hub.
const OF_2023: &str = r#"{"architecture": "legacy_seresnet18", "num_classes": 1000, "num_features": 512,
 "pretrained_cfg": {"tag": "in1k", "custom_load": false, "input_size": [3, 224, 224], "fixed_input_size": false,
  "interpolation": "bilinear", "crop_pct": 0.875, "crop_mode": "squash", "mean": [0.485, 0.456, 0.406],
  "std": [0.229, 0.224, 0.225], "num_classes": 1000, "pool_size": [7, 7], "first_conv": "layer0.conv1",
  "classifier": "last_linear"}}"#;

fn parse(text: &str) -> Result<ModelSpec, CardError> {
    parse_with(text, &Overrides::default())
}

fn parse_with(text: &str, overrides: &Overrides) -> Result<ModelSpec, CardError> {
    let repo = WeightsRef {
        repo: Some("org/repo".into()),
        ..WeightsRef::default()
    };
    let weights = WeightsSource::Reference(repo);
    ModelSpec::from_timm_config(text, "org/repo", weights, overrides)
}

fn classes(count: usize) -> Overrides {
    Overrides {
        num_classes: Some(count),
        ..Overrides::default()
    }
}

/// The ten-class model with `from` replaced by `to`.
fn changed(from: &str, to: &str) -> Result<ModelSpec, CardError> {
    assert!(CURRENT.contains(from), "{from}");
    parse(&CURRENT.replacen(from, to, 1))
}

fn names(spec: &ModelSpec) -> Vec<&str> {
    spec.labels
        .entries
        .iter()
        .map(|label| label.name.as_str())
        .collect()
}

#[test]
fn the_current_layout() {
    let spec = parse(CURRENT).unwrap();
    let card = Zoo::builtin().get("seresnet50.ra2_in1k").unwrap();
    assert_eq!(spec.network, card.network);
    assert_eq!(spec.input, card.input);
    assert_eq!((spec.naming, spec.classes()), (Naming::Resnet, 10));
    assert_eq!(spec.name, "org/repo");
    assert_eq!(names(&spec)[3], "c3");
    assert_eq!(spec.labels.source, "org/repo/config.json");
}

#[test]
fn the_layout_of_2023() {
    let spec = parse(OF_2023).unwrap();
    assert_eq!(spec.naming, Naming::Senet);
    assert_eq!(spec.input.interpolation, Interpolation::Bilinear);
    assert_eq!(spec.input.crop_mode, CropMode::Squash);
    assert_eq!(spec.input.test_size, None);
    assert_eq!(spec.labels.name, "imagenet-1k");
}

/// timm ignores the tag and accepts former names (`is_model` and `model_entrypoint` in its
/// `models/_registry.py`).
#[test]
fn an_architecture_with_a_tag_or_a_former_name() {
    for (written, meant) in [
        ("legacy_seresnet18.in1k", "legacy_seresnet18"),
        ("seresnet50.a1_in1k", "seresnet50"),
        ("seresnet50.my.own", "seresnet50"),
        ("gluon_seresnext50_32x4d", "seresnext50_32x4d"),
        ("gluon_senet154.gluon_in1k", "senet154"),
        ("seresnext26tn_32x4d", "seresnext26t_32x4d"),
    ] {
        let spec = parse(&format!(r#"{{"architecture": "{written}"}}"#)).unwrap();
        let card = Zoo::builtin().default_of(meant).unwrap();
        assert_eq!(spec.network, card.network, "{written}");
        assert_eq!(spec.naming, card.naming, "{written}");
    }
}

#[test]
fn the_flat_layout_before_2023() {
    let spec = parse(
        r#"{"architecture": "skresnet18", "num_classes": 3, "input_size": [3, 96, 64], "crop_pct": 1}"#,
    );
    let spec = spec.unwrap();
    assert_eq!(
        (spec.input.size, spec.input.crop_pct, spec.classes()),
        ([96, 64], 1.0, 3)
    );
    // timm renames `labels` in this layout only.
    let flat =
        r#"{"architecture": "skresnet18", "num_classes": 3, "labels": ["cat", "dog", "emu"]}"#;
    assert_eq!(names(&parse(flat).unwrap()), ["cat", "dog", "emu"]);
    match parse(&flat.replacen("\"cat\", ", "", 1)) {
        Err(CardError::Field { field, .. }) => assert_eq!(field, "labels"),
        other => panic!("{other:?}"),
    }
    let both = flat.replacen("}", r#", "label_names": ["a", "b", "c"]}"#, 1);
    assert_eq!(names(&parse(&both).unwrap()), ["cat", "dog", "emu"]);
    // Next to `pretrained_cfg` timm ignores them; here they are used, with a note.
    let nested = flat.replacen("\"labels\"", "\"pretrained_cfg\": {}, \"labels\"", 1);
    let nested = parse(&nested).unwrap();
    assert_eq!((names(&nested)[0], nested.notes.len()), ("cat", 1));
}

#[test]
fn the_number_of_classes_among_the_arguments_counts() {
    let top = "\"num_classes\": 10, \"num_features\"";
    let spec = changed(top, "\"num_features\"").unwrap();
    assert_eq!(spec.classes(), 10);
    let text = r#"{"architecture": "skresnet18", "model_args": {"num_classes": 7}}"#;
    assert_eq!(parse(text).unwrap().classes(), 7);
    let error = changed("{\"num_classes\": 10,", "{\"num_classes\": 11,").unwrap_err();
    assert_eq!(
        error.to_string(),
        "org/repo/config.json: field `model_args.num_classes`: \
         expected 10 as in the field `num_classes`, found 11"
    );
    let error = parse(&text.replacen('7', "0", 1)).unwrap_err().to_string();
    assert!(
        error.contains("`model_args.num_classes`: the model has no"),
        "{error}"
    );
}

#[test]
fn labels_are_what_the_file_says() {
    let list = r#"["c0", "c1","#;
    let spec = changed(list, r#"["a\nb", "\u001b[31mred","#).unwrap();
    assert_eq!(names(&spec)[..2], ["a\nb", "\u{1b}[31mred"]);
    // With a description that is found nevertheless.
    let described =
        r#""label_descriptions": {"a\nb": "one\r\u009b2J"}, "label_names": ["a\nb", "c1","#;
    let spec = changed(&format!("\"label_names\": {list}"), described).unwrap();
    assert_eq!(spec.labels.entries[0].full, "one\r\u{9b}2J");
}

#[test]
fn missing_fields_have_timms_defaults() {
    let spec =
        parse(r#"{"architecture": "seresnet50", "pretrained_cfg": {"crop_pct": null}}"#).unwrap();
    assert_eq!((spec.input.size, spec.input.crop_pct), ([224, 224], 0.875));
    assert_eq!(spec.input.interpolation, Interpolation::Bicubic);
    assert_eq!(spec.input.mean, [0.485, 0.456, 0.406]);
    assert_eq!(spec.labels.name, "imagenet-1k");
}

#[test]
fn the_number_of_classes_at_the_top_is_decisive() {
    let spec = parse(&OF_2023.replacen("\"num_classes\": 1000", "\"num_classes\": 37", 1)).unwrap();
    assert_eq!(spec.classes(), 37);
    assert_eq!(names(&spec)[17], "class 17");
    // A user's own thousand classes, trained from a checkpoint of ten, are not ImageNet's.
    let own = CURRENT.replacen("\"num_classes\": 10", "\"num_classes\": 1000", 2);
    let start = own.find(" \"global_pool\"").unwrap();
    let end = own.find(" \"model_args\"").unwrap();
    let spec = parse(&own.replacen(&own[start..end], "", 1)).unwrap();
    assert_eq!(names(&spec)[999], "class 999");
    let spec = parse(r#"{"architecture": "seresnextaa101d_32x8d", "num_classes": 11821}"#).unwrap();
    assert_eq!(spec.labels.name, "imagenet-12k");
}

#[test]
fn label_names_and_descriptions() {
    let list = r#"["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"]"#;
    let spec = changed(list, r#"{"0": "cat", "9": "dog"}"#).unwrap();
    assert_eq!(
        (names(&spec)[0], names(&spec)[1], names(&spec)[9]),
        ("cat", "class 1", "dog")
    );

    let described = r#"{"0": "n01440764", "1": "cat"}, "label_descriptions":
        {"n01440764": "tench, Tinca tinca", "cat": "a small, tame animal"}"#;
    let spec = changed(list, described).unwrap();
    let (tench, cat) = (&spec.labels.entries[0], &spec.labels.entries[1]);
    assert_eq!(
        (tench.id.as_deref(), tench.name.as_str()),
        (Some("n01440764"), "tench")
    );
    assert_eq!(tench.full, "tench, Tinca tinca");
    assert_eq!((cat.id.as_deref(), cat.name.as_str()), (None, "cat"));
    assert_eq!(cat.full, "a small, tame animal");

    // Some projects put them next to the input settings.
    let inside = CURRENT.replacen(&format!("\"label_names\": {list},"), "", 1);
    let inside = inside.replacen("\"tag\"", &format!("\"label_names\": {list}, \"tag\""), 1);
    assert_eq!(names(&parse(&inside).unwrap())[3], "c3");
}

#[test]
fn an_unknown_architecture_comes_with_near_ones() {
    let error = changed("\"seresnet50\"", "\"seresnet5O\"").unwrap_err();
    let CardError::UnknownArchitecture {
        architecture,
        suggestions,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(architecture, "seresnet5O");
    assert!(suggestions.contains(&"seresnet50".to_owned()));
    assert!(
        error
            .to_string()
            .starts_with("org/repo/config.json: field `architecture`: unknown"),
        "{error}"
    );
    let error = changed("\"seresnet50\"", "\"vit_base_patch16_224\"").unwrap_err();
    assert!(!error.to_string().contains("similar"), "{error}");
}

#[test]
fn a_wrong_value_is_an_error_with_file_and_field() {
    for (from, to, field) in [
        ("\"seresnet50\"", "50", "architecture"),
        ("\"seresnet50\"", "null", "architecture"),
        ("\"num_classes\": 10", "\"num_classes\": 0", "num_classes"),
        ("\"num_classes\": 10", "\"num_classes\": -1", "num_classes"),
        (
            "\"num_classes\": 10",
            "\"num_classes\": 1e99",
            "num_classes",
        ),
        (
            "\"num_classes\": 10",
            "\"num_classes\": 99999999999",
            "num_classes",
        ),
        (
            "\"num_classes\": 10",
            "\"num_classes\": 11",
            "model_args.num_classes",
        ),
        (
            "\"num_features\": 2048",
            "\"num_features\": 512",
            "num_features",
        ),
        (
            "\"global_pool\": \"avg\"",
            "\"global_pool\": \"avgmax\"",
            "global_pool",
        ),
        ("[\"c0\", ", "[", "label_names"),
        (
            "{\"num_classes\": 10,",
            "{\"output_stride\": 16,",
            "model_args.output_stride",
        ),
        ("\"in_chans\": 3", "\"in_chans\": 0", "model_args.in_chans"),
        (
            "\"in_chans\": 3",
            "\"in_chans\": 9999",
            "model_args.in_chans",
        ),
        (
            "\"in_chans\": 3",
            "\"in_chans\": \"3\"",
            "model_args.in_chans",
        ),
        (
            "\"in_chans\": 3, \"global_pool\": \"avg\"",
            "\"global_pool\": \"max\"",
            "model_args.global_pool",
        ),
        (
            "{\"num_classes\": 10, \"in_chans\": 3, \"global_pool\": \"avg\"}",
            "7",
            "model_args",
        ),
        (
            "\"pretrained_cfg\": {",
            "\"pretrained_cfg\": 1, \"x\": {",
            "pretrained_cfg",
        ),
        ("[3, 224, 224]", "[224]", "pretrained_cfg.input_size"),
        ("[3, 224, 224]", "[3, 0, 224]", "pretrained_cfg.input_size"),
        (
            "[3, 288, 288]",
            "[3, 288, 99999]",
            "pretrained_cfg.test_input_size",
        ),
        ("\"bicubic\"", "\"random\"", "pretrained_cfg.interpolation"),
        (
            "\"crop_pct\": 0.875",
            "\"crop_pct\": \"0.875\"",
            "pretrained_cfg.crop_pct",
        ),
        (
            "\"crop_pct\": 0.875",
            "\"crop_pct\": -0.5",
            "pretrained_cfg.crop_pct",
        ),
        (
            "\"test_crop_pct\": 0.95",
            "\"test_crop_pct\": 0.001",
            "pretrained_cfg.test_crop_pct",
        ),
        ("\"center\"", "\"centre\"", "pretrained_cfg.crop_mode"),
        ("[0.485, 0.456, 0.406]", "[0.485, 1]", "pretrained_cfg.mean"),
        ("[0.229,", "[0,", "pretrained_cfg.std"),
    ] {
        match changed(from, to) {
            Err(CardError::Field {
                file,
                field: found,
                reason,
            }) => {
                assert_eq!(
                    (file.as_str(), found.as_str()),
                    ("org/repo/config.json", field),
                    "{reason}"
                );
            }
            other => panic!("{to}: {other:?}"),
        }
    }
    for (labels, field) in [
        (r#"{"10": "x"}"#, "label_names.10"),
        (r#"{"x": "y"}"#, "label_names.x"),
        (r#"{"1": [2]}"#, "label_names.1"),
    ] {
        let text = CURRENT.replacen(
            "\"label_names\": [",
            &format!("\"label_names\": {labels}, \"old\": ["),
            1,
        );
        match parse(&text) {
            Err(CardError::Field { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{labels}: {other:?}"),
        }
    }
    let long = format!("\"{}\"", "é".repeat(500));
    assert!(changed("\"bicubic\"", &long).unwrap_err().to_string().len() < 250);
}

#[test]
fn arguments_of_the_training_do_not_matter() {
    let arguments = "{\"drop_rate\": 0.1, \"drop_path_rate\": 0.05, \"zero_init_last\": false, \"num_classes\": 10,";
    assert!(changed("{\"num_classes\": 10,", arguments).is_ok());
}

#[test]
fn damaged_files_never_panic() {
    for end in 0..CURRENT.len() {
        let error = parse(&CURRENT[..end]).unwrap_err();
        assert!(matches!(error, CardError::Json { .. }), "{error}");
        assert!(error.to_string().contains("org/repo/config.json"));
    }
    for text in ["[]", "null", "3", "\"x\"", "{}", "{\"architecture\": []}"] {
        assert!(
            matches!(parse(text), Err(CardError::Field { .. })),
            "{text}"
        );
    }
    assert!(matches!(
        parse(&"[".repeat(100_000)),
        Err(CardError::Json { .. })
    ));
    for seed in 0..2000_usize {
        let mut bytes = CURRENT.as_bytes().to_vec();
        let at = seed.wrapping_mul(7919) % bytes.len();
        bytes[at] = b"0-\"[]{}:,.ne9"[seed % 13];
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = parse(&text);
        }
    }
}

#[test]
fn a_directory_needs_only_its_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let open = |path: &Path| ModelSpec::from_timm_dir(path, &Overrides::default());
    match open(path) {
        Err(CardError::MissingFile { folder, expected }) => {
            assert_eq!((folder.as_path(), expected), (path, "config.json"));
        }
        other => panic!("{other:?}"),
    }
    fs::write(path.join("config.json"), CURRENT).unwrap();
    let spec = open(path).unwrap();
    assert_eq!(spec.weights, WeightsSource::Directory(path.to_owned()));
    let config = path.join("config.json").display().to_string();
    assert_eq!(spec.config, Some(config));

    fs::write(path.join("config.json"), [0xff, 0xfe]).unwrap();
    let error = open(path).unwrap_err();
    assert!(matches!(error, CardError::Read { .. }), "{error}");
    assert!(error.to_string().contains("config.json"));
    let error = open(&path.join("absent")).unwrap_err();
    assert!(error.hint().unwrap().contains("config.json"), "{error}");
}

#[test]
fn the_number_of_classes_can_be_given() {
    // Names that fit are kept.
    let spec = parse_with(CURRENT, &classes(10)).unwrap();
    assert_eq!(names(&spec)[3], "c3");
    assert!(spec.notes.is_empty());
    let spec = parse_with(CURRENT, &classes(3)).unwrap();
    assert_eq!(names(&spec), ["class 0", "class 1", "class 2"]);
    assert_eq!(
        spec.notes,
        ["the label names of org/repo/config.json do not fit 3 classes and are left out"]
    );
    // The names of the fine-tune, with the number of the original checkpoint.
    let kept = CURRENT.replacen("\"num_classes\": 10", "\"num_classes\": 1000", 3);
    let spec = parse_with(&kept, &classes(10)).unwrap();
    assert_eq!(names(&spec)[9], "c9");
    assert!(spec.notes.is_empty());
    // Whatever is wrong with the number in the file.
    for wrong in ["0", "-1", "\"ten\"", "[]", "1000001", "null"] {
        let text = CURRENT.replacen(
            "\"num_classes\": 10",
            &format!("\"num_classes\": {wrong}"),
            1,
        );
        assert_eq!(
            parse_with(&text, &classes(10)).unwrap().classes(),
            10,
            "{wrong}"
        );
    }
    let text = CURRENT.replacen("\"label_names\": [", "\"label_names\": [{}, ", 1);
    assert_eq!(parse_with(&text, &classes(10)).unwrap().notes.len(), 1);
    // ImageNet's names are only for its own thousand classes.
    let spec = parse_with(OF_2023, &classes(1000)).unwrap();
    assert_eq!(spec.labels.name, "imagenet-1k");
    assert_eq!(
        parse_with(OF_2023, &classes(2)).unwrap().labels.name,
        "numbered"
    );

    let card = Zoo::builtin().get("seresnet50.ra2_in1k").unwrap();
    let spec = ModelSpec::from_card(card).unwrap();
    let mut set = spec.clone();
    set.set(&classes(1000));
    assert_eq!(set, spec);
    set.set(&classes(2));
    assert_eq!((set.classes(), set.notes.len()), (2, 1));
}

#[test]
fn other_input_channels() {
    // timm keeps the checkpoint's input size, and `model_args` decides.
    let spec = changed("\"in_chans\": 3", "\"in_chans\": 1").unwrap();
    assert_eq!(spec.channels(), 1);
    let near =
        |found: [f32; 3], expected: f32| found.iter().all(|value| (value - expected).abs() < 1e-7);
    // The mean of the three values, as timm's `resolve_input_data_config` takes it.
    assert!(near(spec.input.mean, 0.449) && near(spec.input.std, 0.226));
    assert_eq!(
        spec.notes,
        ["mean", "std"].map(|name| {
            let mean = if name == "mean" { 0.449 } else { 0.226 };
            format!(
                "org/repo/config.json: `{name}` has 3 values for a network of 1 channel; as in timm, \
                 their mean {mean} is taken"
            )
        })
    );
    assert_eq!(spec.transform().unwrap().channels(), 1);
    // What was saved by timm for one channel has one value.
    let own = CURRENT.replacen("\"in_chans\": 3", "\"in_chans\": 1", 1);
    let own = own.replacen("[0.485, 0.456, 0.406]", "[0.5]", 1);
    let own = own.replacen("[0.229, 0.224, 0.225]", "[0.25]", 1);
    let own = own.replacen("[3, 224, 224]", "[1, 224, 224]", 1);
    let spec = parse(&own).unwrap();
    assert_eq!((spec.input.mean, spec.input.std), ([0.5; 3], [0.25; 3]));
    // Without `model_args`, the input size decides.
    let text = r#"{"architecture": "skresnet18", "num_classes": 2, "input_size": [1, 96, 64]}"#;
    let spec = parse(text).unwrap();
    assert_eq!((spec.channels(), spec.input.size), (1, [96, 64]));
    assert!(near(spec.input.mean, 0.449));
    let spec = changed("\"in_chans\": 3", "\"in_chans\": 4").unwrap();
    assert_eq!(spec.channels(), 4);
    let error = spec.transform().unwrap_err();
    assert!(error.to_string().contains("takes 4 channels"), "{error}");
    assert!(
        error
            .hint()
            .unwrap()
            .contains("described, timed and verified")
    );
}

#[test]
fn a_card_gives_the_same_description() {
    for card in Zoo::builtin().cards() {
        let spec = ModelSpec::from_card(card).unwrap();
        assert_eq!(spec.name, card.name.to_string());
        assert_eq!(spec.weights, WeightsSource::Reference(card.weights.clone()));
        let plan = spec.network.plan(spec.naming, spec.classes()).unwrap();
        assert_eq!(plan.param_count(), card.params);
    }
}
