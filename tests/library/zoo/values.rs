//! Unusual values in a `config.json`: labels of other libraries, arguments that change nothing,
//! settings that the user replaces.

use senet::preprocess::{CropMode, Interpolation};
use senet::zoo::{CardError, ModelSpec, Overrides, WeightsSource};

fn parse_with(text: &str, overrides: &Overrides) -> Result<ModelSpec, CardError> {
    let source = WeightsSource::File("model.safetensors".into());
    ModelSpec::from_timm_config(text, "pets", source, overrides)
}

fn parse(text: &str) -> Result<ModelSpec, CardError> {
    parse_with(text, &Overrides::default())
}

/// A model of three classes with these fields at the top and these in `pretrained_cfg`.
fn with(top: &str, pretrained: &str) -> String {
    format!(
        r#"{{"architecture": "seresnet50", "num_classes": 3, {top} "pretrained_cfg": {{"x": 1{pretrained}}}}}"#
    )
}

fn names(spec: &ModelSpec) -> Vec<&str> {
    let entries = spec.labels.entries.iter();
    entries.map(|label| label.name.as_str()).collect()
}

#[test]
fn names_may_be_numbers_and_may_be_missing() {
    for (field, expected) in [
        (r#"[0, 1, 2]"#, ["0", "1", "2"]),
        (r#"["cat", 7, 1.5]"#, ["cat", "7", "1.5"]),
        (r#"["cat", null, "dog"]"#, ["cat", "class 1", "dog"]),
        (r#"{"0": 5, "2": "dog"}"#, ["5", "class 1", "dog"]),
        (r#"{"dog": 2, "cat": 0}"#, ["cat", "class 1", "dog"]),
        (r#"[]"#, ["class 0", "class 1", "class 2"]),
        (r#"{}"#, ["class 0", "class 1", "class 2"]),
    ] {
        let spec = parse(&with(&format!(r#""label_names": {field},"#), "")).unwrap();
        assert_eq!(names(&spec), expected, "{field}");
        assert!(spec.notes.is_empty());
    }
    for field in [r#"["a", ["b"], "c"]"#, r#"["a", true, "c"]"#, "7", r#""a""#] {
        let error = parse(&with(&format!(r#""label_names": {field},"#), "")).unwrap_err();
        assert!(error.to_string().contains("field `label_names`"), "{error}");
    }
}

#[test]
fn names_in_the_fields_of_other_libraries() {
    let pets = ["cat", "dog", "emu"];
    for (field, value) in [
        ("id2label", r#"{"0": "cat", "1": "dog", "2": "emu"}"#),
        ("class_names", r#"["cat", "dog", "emu"]"#),
        ("classes", r#"["cat", "dog", "emu"]"#),
        ("labels", r#"["cat", "dog", "emu"]"#),
        ("label2id", r#"{"emu": 2, "cat": 0, "dog": 1}"#),
        ("class_to_idx", r#"{"emu": 2, "cat": 0, "dog": 1}"#),
    ] {
        let note = format!("pets/config.json: the names of the classes are those in `{field}`");
        let top = with(&format!(r#""{field}": {value},"#), "");
        let inside = with("", &format!(r#", "{field}": {value}"#));
        for text in [top, inside] {
            let spec = parse(&text).unwrap();
            assert_eq!(names(&spec), pets, "{text}");
            assert_eq!(spec.notes, [&*note], "{text}");
        }
    }
    // timm's own field takes precedence, wherever it is.
    let both = r#""class_names": ["a", "b", "c"],"#;
    let spec = parse(&with(both, r#", "label_names": ["cat", "dog", "emu"]"#)).unwrap();
    assert_eq!(names(&spec), pets);
    assert!(spec.notes.is_empty());
}

#[test]
fn names_of_other_libraries_that_do_not_fit_are_noted() {
    for (field, value, note) in [
        ("class_names", r#"["a", "b"]"#, "expected 3 names, found 2"),
        (
            "id2label",
            r#"{"7": "a"}"#,
            "the number of one of 3 classes",
        ),
        (
            "class_to_idx",
            r#"{"a": -1}"#,
            "the number of one of 3 classes",
        ),
    ] {
        let spec = parse(&with(&format!(r#""{field}": {value},"#), "")).unwrap();
        assert_eq!(names(&spec)[0], "class 0");
        assert!(spec.notes[0].contains(note), "{:?}", spec.notes);
        assert!(spec.notes[0].ends_with("; the names are not used"));
    }
    // The number of classes, as some write it.
    let spec = parse(&with(r#""classes": 3,"#, "")).unwrap();
    assert_eq!((names(&spec)[0], spec.notes.len()), ("class 0", 0));
}

#[test]
fn refused_classes_and_names_can_be_overridden() {
    for top in [
        r#""label_names": ["a", "b"],"#,
        r#""label_names": {"9": "a", "b": "c"},"#,
        r#""model_args": {"num_classes": 4},"#,
    ] {
        let error = parse(&with(top, "")).unwrap_err();
        let hint = error.hint().unwrap_or_default();
        assert!(
            hint.contains("an override of the number of classes"),
            "{error}: {hint}"
        );
        let three = Overrides {
            num_classes: Some(3),
            ..Overrides::default()
        };
        let spec = parse_with(&with(top, ""), &three).unwrap();
        assert_eq!((spec.classes(), names(&spec)[0]), (3, "class 0"));
    }
}

/// timm 1.0.31 builds the same network for each: `create_model(architecture, **model_args)`.
#[test]
fn arguments_that_change_nothing() {
    for argument in [
        r#""scriptable": true"#,
        r#""exportable": false"#,
        r#""no_jit": true"#,
        r#""checkpoint_path": """#,
        r#""cache_dir": "/tmp""#,
        r#""features_only": false"#,
        r#""drop_rate": 0.3"#,
        r#""drop_path_rate": 0.1"#,
        r#""drop_block_rate": 0.1"#,
        r#""zero_init_last": false"#,
        r#""pretrained": true"#,
        r#""pruned": false"#,
        r#""output_stride": 32"#,
        r#""replace_stem_pool": false"#,
        r#""global_pool": "fast""#,
        r#""act_layer": "relu""#,
        r#""norm_layer": "batchnorm2d""#,
        r#""layers": [3, 4, 6, 3]"#,
        r#""cardinality": 1, "base_width": 64, "channels": [64, 128, 256, 512]"#,
        r#""stem_type": "", "stem_width": 64, "avg_down": false"#,
        r#""down_kernel_size": 1, "block_reduce_first": 1"#,
        r#""block_args": {"attn_layer": "se"}"#,
        r#""img_size": null"#,
        r#""block_args": null"#,
    ] {
        let spec = parse(&with(&format!(r#""model_args": {{{argument}}},"#), ""));
        assert!(spec.is_ok(), "{argument}: {}", spec.unwrap_err());
    }
    for (argument, field) in [
        (r#""checkpoint_path": "best.pth""#, "checkpoint_path"),
        (r#""features_only": true"#, "features_only"),
        (r#""output_stride": 16"#, "output_stride"),
        (r#""replace_stem_pool": true"#, "replace_stem_pool"),
        (r#""act_layer": "silu""#, "act_layer"),
        (r#""norm_layer": "groupnorm""#, "norm_layer"),
        (r#""layers": [3, 4, 23, 3]"#, "layers"),
        (r#""global_pool": "max""#, "global_pool"),
        (r#""stem_type": "deep""#, "stem_type"),
        (r#""cardinality": 32"#, "cardinality"),
        (r#""block_args": {"attn_layer": "eca"}"#, "block_args"),
        (r#""img_size": 224"#, "img_size"),
    ] {
        let error = parse(&with(&format!(r#""model_args": {{{argument}}},"#), "")).unwrap_err();
        let expected = format!("pets/config.json: field `model_args.{field}`: ");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(
            error.hint().unwrap().contains("remove it from the file"),
            "{error}"
        );
    }
}

/// The error for a refused value names the option, and giving the option resolves it.
#[test]
fn what_is_refused_can_be_replaced() {
    for (value, overrides) in [
        (
            r#""interpolation": "random""#,
            Overrides {
                interpolation: Some(Interpolation::Bicubic),
                ..Overrides::default()
            },
        ),
        (
            r#""crop_mode": "centre""#,
            Overrides {
                crop_mode: Some(CropMode::Border),
                ..Overrides::default()
            },
        ),
        (
            r#""crop_pct": "0.9""#,
            Overrides {
                crop_pct: Some(0.9),
                ..Overrides::default()
            },
        ),
        (
            r#""crop_pct": -1"#,
            Overrides {
                crop_pct: Some(0.9),
                ..Overrides::default()
            },
        ),
        (
            r#""test_crop_pct": 0.001"#,
            Overrides {
                crop_pct: Some(0.9),
                ..Overrides::default()
            },
        ),
        (
            r#""input_size": [3, 0, 224]"#,
            Overrides {
                size: Some([96, 96]),
                ..Overrides::default()
            },
        ),
        (
            r#""test_input_size": "big""#,
            Overrides {
                size: Some([96, 96]),
                ..Overrides::default()
            },
        ),
        (
            r#""mean": [0.5, 0.5]"#,
            Overrides {
                mean: Some([0.5; 3]),
                ..Overrides::default()
            },
        ),
        (
            r#""std": [0, 1, 1]"#,
            Overrides {
                std: Some([0.5; 3]),
                ..Overrides::default()
            },
        ),
        (
            r#""std": [1e-46, 1, 1]"#,
            Overrides {
                std: Some([0.5; 3]),
                ..Overrides::default()
            },
        ),
        (
            r#""mean": [1e39, 0, 0]"#,
            Overrides {
                mean: Some([0.5; 3]),
                ..Overrides::default()
            },
        ),
    ] {
        let text = with("", &format!(", {value}"));
        let error = parse(&text).unwrap_err();
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("an override"), "{value}: {error}, {hint}");
        let spec = parse_with(&text, &overrides).unwrap();
        assert_eq!(
            spec.input.crop_mode,
            overrides.crop_mode.unwrap_or_default()
        );
        assert_eq!(spec.input.size, overrides.size.unwrap_or([224, 224]));
        assert_eq!(
            spec.input.mean[1],
            overrides.mean.map_or(0.456, |mean| mean[1])
        );
        assert_eq!(spec.input.test_size, None, "{value}");
        assert!(parse_with(&text, &Overrides::ALL).is_ok(), "{value}");
    }
}

#[test]
fn a_mean_of_values_up_to_255_is_noted() {
    let text = with("", r#", "mean": [123.675, 116.28, 103.53]"#);
    let spec = parse(&text).unwrap();
    assert_eq!(spec.input.mean, [123.675, 116.28, 103.53]);
    assert!(
        spec.notes[0].contains("an override of mean and std replaces it"),
        "{:?}",
        spec.notes
    );
    assert!(parse_with(&text, &Overrides::ALL).unwrap().notes.is_empty());
}

#[test]
fn configurations_of_other_libraries_are_named() {
    for (text, library, kind) in [
        (
            r#"{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}"#,
            "transformers",
            Some("ResNetForImageClassification"),
        ),
        (
            r#"{"model_type": "timm_backbone", "backbone": "seresnet50"}"#,
            "transformers",
            Some("timm_backbone"),
        ),
        (r#"{"transformers_version": "4.0"}"#, "transformers", None),
        (
            r#"{"encoder_name": "se_resnet50", "classes": 1}"#,
            "segmentation_models_pytorch",
            Some("se_resnet50"),
        ),
        (
            r#"{"model_cfg": {}, "preprocess_cfg": {}}"#,
            "open_clip",
            None,
        ),
    ] {
        let error = parse(text).unwrap_err();
        match &error {
            CardError::OtherLibrary {
                library: found,
                kind: named,
                ..
            } => assert_eq!((*found, named.as_deref()), (library, kind)),
            other => panic!("{text}: {other}"),
        }
        let start = format!("pets/config.json is a configuration of {library}");
        assert!(error.to_string().starts_with(&start), "{error}");
        assert!(error.hint().unwrap().contains("weights"));
    }
    // transformers keeps timm's fields for timm's models.
    let wrapped = r#"{"architecture": "seresnet50", "architectures": ["TimmWrapperModel"],
        "model_type": "timm_wrapper", "num_classes": 2, "pretrained_cfg": {"crop_pct": 0.9},
        "id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}"#;
    let spec = parse(wrapped).unwrap();
    assert_eq!(names(&spec), ["cat", "dog"]);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let text = format!("\u{feff}{}", with("", ""));
    assert_eq!(parse(&text).unwrap().classes(), 3);
}
