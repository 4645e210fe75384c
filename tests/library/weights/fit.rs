//! Files as they occur in practice: modules around the network, keys around the state dict,
//! classifiers inside a `Sequential`, and tensors that are not the network's.

use candle_core::Device;
use senet::nets::NetError;
use senet::weights::{Weights, WeightsError};
use senet::zoo::Selection;
use senet::{Error, Model, ModelSpec, Zoo};

use super::build::{archive, dict, int, pickle, tensor};

const FILE: &[u8] = include_bytes!("../../../models/weights/seresnet20.fashion_mnist.safetensors");

type Tensors = Vec<(String, Vec<usize>)>;

/// The names and shapes of the built-in network's tensors.
fn own() -> Tensors {
    let weights = Weights::from_static("own", FILE).unwrap();
    let shape = |name: &str| weights.shape(name).unwrap().to_vec();
    weights
        .names()
        .map(|name| (name.to_owned(), shape(name)))
        .collect()
}

fn renamed(new_name: impl Fn(&str) -> String) -> Tensors {
    own()
        .into_iter()
        .map(|(name, shape)| (new_name(&name), shape))
        .collect()
}

fn prefixed(prefix: &str) -> Tensors {
    renamed(|name| format!("{prefix}{name}"))
}

fn spec() -> ModelSpec {
    match Zoo::builtin().resolve("demo").unwrap() {
        Selection::Card { card, .. } => ModelSpec::from_card(card).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A state dict of tensors that all view the same ones.
fn state(tensors: &Tensors) -> Vec<(String, Vec<u8>)> {
    let entry = |(name, shape): &(String, Vec<usize>)| {
        let shape: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let strides: Vec<i64> = (0..shape.len())
            .map(|at| shape[at + 1..].iter().product())
            .collect();
        (
            name.clone(),
            tensor("FloatStorage", LENGTH, 0, &shape, &strides),
        )
    };
    tensors.iter().map(entry).collect()
}

const LENGTH: i64 = 1 << 18;

fn body(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<(&str, Vec<u8>)> = entries
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    dict(&entries)
}

fn load(body: Vec<u8>) -> Result<Vec<String>, Box<Error>> {
    let ones = 1f32.to_le_bytes().repeat(LENGTH as usize);
    let weights =
        Weights::from_bytes("file", archive(&pickle(body), &ones)).map_err(Error::from)?;
    let model = Model::new(spec(), &weights, &Device::Cpu)?;
    Ok(model.notes().to_vec())
}

fn load_tensors(tensors: &Tensors) -> Result<Vec<String>, Box<Error>> {
    load(body(&state(tensors)))
}

#[track_caller]
fn refused(found: Result<Vec<String>, Box<Error>>, why: &[&str], hint: &str) {
    let error = found.unwrap_err();
    let (text, help) = (error.to_string(), error.hint().unwrap_or_default());
    assert!(
        why.iter().all(|why| text.contains(why)),
        "{why:?} are not all in: {text}"
    );
    assert!(help.contains(hint), "`{hint}` is not in: {help}");
    assert!(!help.contains("another architecture"), "{help}");
}

#[test]
fn a_prefix_of_all_names_is_removed() {
    assert_eq!(load_tensors(&own()).unwrap(), [""; 0]);
    for prefix in [
        "model.",
        "encoder.",
        "backbone.",
        "timm_model.",
        "net.",
        "0.",
        "a.b.c.",
        "layer1.0.",
    ] {
        let notes = load_tensors(&prefixed(prefix)).unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].contains(&format!("prefix `{prefix}`")),
            "{notes:?}"
        );
        assert!(notes[0].contains("not applied"), "{notes:?}");
    }
    // `DistributedDataParallel`, `torch.compile`: as in timm, without a note.
    for prefix in [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
    ] {
        assert_eq!(
            load_tensors(&prefixed(prefix)).unwrap(),
            [""; 0],
            "{prefix}"
        );
    }
    for prefix in ["module.model.", "model.module.", "module.module."] {
        assert_eq!(
            load_tensors(&prefixed(prefix)).unwrap().len(),
            1,
            "{prefix}"
        );
    }
    // In every format.
    let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(
        &FILE[8..][..u64::from_le_bytes(FILE[..8].try_into().unwrap()) as usize],
    )
    .unwrap();
    let data = &FILE[8 + u64::from_le_bytes(FILE[..8].try_into().unwrap()) as usize..];
    header.remove("__metadata__");
    let header: serde_json::Map<_, _> = header
        .into_iter()
        .map(|(name, value)| (format!("net.{name}"), value))
        .collect();
    let header = serde_json::to_string(&header).unwrap();
    let weights = Weights::from_bytes("w", super::build::safetensors(&header, data)).unwrap();
    let model = Model::new(spec(), &weights, &Device::Cpu).unwrap();
    assert_eq!(model.notes().len(), 1);
}

#[test]
fn a_prefix_that_fits_in_part_is_named() {
    let mut tensors = prefixed("model.");
    tensors.push(("criterion.weight".to_owned(), vec![10]));
    refused(
        load_tensors(&tensors),
        &["with the prefix `model.`", "criterion.weight"],
        "the module `model`",
    );
    // A normalisation layer with stored statistics is not ignored silently.
    let mut tensors = prefixed("1.");
    tensors.push(("0.mean".to_owned(), vec![3]));
    refused(
        load_tensors(&tensors),
        &["with the prefix `1.`"],
        "the module `1`",
    );
    // A classifier next to the encoder.
    let tensors = renamed(|name| match name.starts_with("fc.") {
        true => name.to_owned(),
        false => format!("encoder.{name}"),
    });
    refused(
        load_tensors(&tensors),
        &["with the prefix `encoder.`"],
        "the module `encoder`",
    );
    // Less than half of the network.
    let tensors = renamed(|name| match name.contains("bn1") {
        true => format!("model.{name}"),
        false => name.to_owned(),
    });
    refused(
        load_tensors(&tensors),
        &["with the prefix `model.`"],
        "the module `model`",
    );
    // Most of the network, all of it under the prefix.
    let mut tensors = prefixed("model.");
    tensors.retain(|(name, _)| !name.contains("layer3"));
    refused(
        load_tensors(&tensors),
        &["without the prefix `model.`", "missing: layer3"],
        "check the model's name",
    );
}

#[test]
fn tensors_outside_the_network_are_named() {
    let mut entries = state(&prefixed("module."));
    let counter = || tensor("FloatStorage", LENGTH, 0, &[], &[]);
    entries.push(("n_averaged".to_owned(), counter()));
    entries.push(("module.fc._extra_state".to_owned(), b"N".to_vec()));
    entries.push(("module.bn1.num_batches_tracked".to_owned(), counter()));
    entries.push(("epoch".to_owned(), int(3)));
    let notes = load(body(&entries)).unwrap();
    assert_eq!(notes.len(), 1);
    for name in [
        "3 values",
        "`n_averaged`",
        "`fc._extra_state`",
        "`epoch` (an int)",
    ] {
        assert!(notes[0].contains(name), "{notes:?}");
    }
    let mut entries = state(&prefixed("model."));
    entries.push(("n_averaged".to_owned(), counter()));
    assert_eq!(load(body(&entries)).unwrap().len(), 2);

    // A required tensor that cannot be read.
    let mut entries = state(&own());
    for (name, value) in &mut entries {
        if name == "fc.weight" {
            *value = b"ctorch._utils\n_rebuild_qtensor\n)R".to_vec();
        }
    }
    let inside = dict(&[("state_dict", body(&entries))]);
    refused(
        load(inside),
        &[r#"`["state_dict"]["fc.weight"]`"#, "a quantised tensor"],
        "dequantize",
    );
    // One that is not required counts like any other superfluous tensor.
    let mut entries = state(&own());
    entries.push((
        "more".to_owned(),
        b"ctorch._utils\n_rebuild_qtensor\n)R".to_vec(),
    ));
    refused(
        load(body(&entries)),
        &["1 unexpected: more (found a quantised tensor)"],
        "",
    );
}

/// An auxiliary classifier is named, and of other differences the shapes, for who has to rename a tensor.
#[test]
fn names_and_shapes_of_the_others_are_said() {
    let mut entries = own();
    entries.push(("AuxLogits.conv0.conv.weight".to_owned(), vec![8, 16, 1, 1]));
    entries.push(("AuxLogits.fc.bias".to_owned(), vec![10]));
    let named = "2 unexpected: AuxLogits.conv0.conv.weight (found [8, 16, 1, 1]), AuxLogits.fc.bias (found [10])";
    refused(load_tensors(&entries), &[named], "module `AuxLogits`");
    entries.push(("AuxLogitsLoss".to_owned(), vec![1]));
    refused(load_tensors(&entries), &["3 unexpected"], "");
    let first = |name: &str| match name {
        "conv1.weight" => "first.weight".to_owned(),
        other => other.to_owned(),
    };
    refused(
        load_tensors(&renamed(first)),
        &[
            "1 missing: conv1.weight (expected [16, 3, 3, 3])",
            "1 unexpected: first.weight (found [16, 3, 3, 3])",
        ],
        "",
    );
}

#[test]
fn the_only_dict_that_fits_is_used() {
    let own = body(&state(&own()));
    let other = dict(&[("x", tensor("FloatStorage", LENGTH, 0, &[1], &[1]))]);
    for key in [
        "model_state_dict",
        "net",
        "network",
        "weights",
        "params",
        "params_ema",
        "ema",
        "model_state",
        "module",
        "teacher",
        "student",
        "generator",
    ] {
        let notes = load(dict(&[("epoch", int(1)), (key, own.clone())])).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains(&format!("under `{key}`")), "{notes:?}");
    }
    let notes = load(dict(&[
        ("teacher", other.clone()),
        ("student", own.clone()),
    ]))
    .unwrap();
    assert!(notes[0].contains("under `student`"), "{notes:?}");
    // With a loss next to it, the file is also a dict of tensors.
    let loss = tensor("FloatStorage", LENGTH, 0, &[], &[]);
    let notes = load(dict(&[("loss", loss), ("net", own.clone())])).unwrap();
    assert!(notes[0].contains("under `net`"), "{notes:?}");
    let wrapped = body(&state(&prefixed("model.")));
    assert_eq!(load(dict(&[("net", wrapped)])).unwrap().len(), 2);

    let both = load(dict(&[
        ("params", own.clone()),
        ("params_ema", own.clone()),
    ]));
    let error = both.unwrap_err();
    let named = matches!(
        &*error,
        Error::Net(NetError::Weights(WeightsError::SeveralStateDicts { keys, .. })) if keys == &["params", "params_ema"]
    );
    assert!(named, "{error}");
    refused(
        Err(error),
        &["`params`, `params_ema`"],
        "torch.load(path)[\"params\"]",
    );
    // The same as timm loads.
    assert_eq!(
        load(dict(&[("net", other.clone()), ("model", own.clone())])).unwrap(),
        [""; 0]
    );
    let none = load(dict(&[("teacher", other.clone()), ("netG", own.clone())])).unwrap_err();
    let text = none.to_string();
    assert!(text.contains("2 keys are `teacher`, `netG`"), "{text}");
    assert!(text.contains("under `state_dict_ema`"), "{text}");
    refused(
        load(dict(&[("netG", own)])),
        &["its 1 keys are `netG`", "`generator`"],
        "state_dict()",
    );
}

#[test]
fn a_classifier_in_a_sequential_is_taken() {
    let head = |layer: &str| {
        renamed(|name| match name.strip_prefix("fc.") {
            Some(part) => format!("{layer}.{part}"),
            None => name.to_owned(),
        })
    };
    for layer in ["fc.1", "fc.0", "fc.drop.linear"] {
        let notes = load_tensors(&head(layer)).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].contains(&format!("`{layer}` is taken for the classifier `fc`")),
            "{notes:?}"
        );
    }
    let wrapped: Tensors = head("fc.1")
        .into_iter()
        .map(|(name, shape)| (format!("model.{name}"), shape))
        .collect();
    assert_eq!(load_tensors(&wrapped).unwrap().len(), 2);
    // Another layer that holds weights.
    let features = own()
        .into_iter()
        .find(|(name, _)| name == "fc.weight")
        .unwrap()
        .1[1];
    for (name, shape) in [("fc.0", vec![features, features]), ("fc.0", vec![features])] {
        let mut tensors = head("fc.3");
        tensors.push((format!("{name}.weight"), shape.clone()));
        tensors.push((format!("{name}.bias"), vec![features]));
        let found = load_tensors(&tensors).unwrap_err();
        assert!(found.to_string().contains("fc.0"), "{found}");
    }
    // With a different number of classes, it is still recognised as the classifier.
    let mut tensors = head("fc.1");
    for (name, shape) in &mut tensors {
        if name.starts_with("fc.1") {
            shape[0] = 3;
        }
    }
    let found = load_tensors(&tensors).unwrap_err().to_string();
    assert!(
        found.contains("file has 3 classes, but seresnet20.fashion_mnist has 10 classes"),
        "{found}"
    );
}
