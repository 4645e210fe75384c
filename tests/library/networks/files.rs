//! Golden files as `senet verify` reads them.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use senet::nets::Network;
use senet::verify::{
    DEFAULT_TOLERANCE, Golden, SameAnswers, VerifyError, VerifyReport, VerifyRow,
    suggested_tolerance,
};
use senet::weights::Weights;

use super::{data, failures, formula, load, plan};

/// A tensor of a safetensors file.
pub(crate) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// A safetensors file with its tensors changed.
pub(crate) fn edit(file: &[u8], change: impl FnOnce(&mut BTreeMap<String, Stored>)) -> Vec<u8> {
    let parsed = SafeTensors::deserialize(file).unwrap();
    let store = |(name, view): (String, TensorView<'_>)| {
        let (dtype, shape, data) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, Stored { dtype, shape, data })
    };
    let mut tensors = parsed.tensors().into_iter().map(store).collect();
    change(&mut tensors);
    safetensors::serialize(
        tensors.iter().map(|(name, stored)| (name, stored.view())),
        None,
    )
    .unwrap()
}

impl Stored {
    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.data).unwrap()
    }
}

fn seresnet20() -> Network {
    let plan = plan("seresnet20", 10);
    load(&plan, formula::weights(&plan).0)
}

fn read(
    change: impl FnOnce(&mut BTreeMap<String, Stored>),
    tolerance: f64,
) -> Result<Golden, VerifyError> {
    let file = std::fs::read(data("seresnet20.golden.safetensors")).unwrap();
    let file = Weights::from_bytes("golden", edit(&file, change)).unwrap();
    Golden::read(&file, tolerance)
}

fn compare(change: impl FnOnce(&mut BTreeMap<String, Stored>)) -> VerifyReport {
    read(change, 1e-4).unwrap().compare(&seresnet20()).unwrap()
}

fn row<'a>(report: &'a VerifyReport, tensor: &str) -> &'a VerifyRow {
    report.rows.iter().find(|row| row.tensor == tensor).unwrap()
}

/// Adds to one element of an f32 tensor.
fn add(stored: &mut Stored, at: usize, amount: f32) {
    let bytes = &mut stored.data[4 * at..4 * at + 4];
    let value = f32::from_le_bytes(bytes.try_into().unwrap()) + amount;
    bytes.copy_from_slice(&value.to_le_bytes());
}

#[test]
fn the_right_network_passes_in_every_row() {
    let report = compare(|_| {});
    assert!(report.ok, "{}", failures(&report));
    let tensors: Vec<&str> = report.rows.iter().map(|row| row.tensor.as_str()).collect();
    assert_eq!(&tensors[..2], ["stage.stem", "gate.layer1.0.se"]);
    assert_eq!(
        &tensors[tensors.len() - 4..],
        ["pre_logits", "pre_logits_f64", "logits", "logits_f64"]
    );
    assert_eq!(tensors.len(), 4 + 9 + 4);
    assert!(report.unknown.is_empty());
    let logits = row(&report, "logits_f64");
    assert_eq!(
        logits.top_k,
        Some(SameAnswers {
            images: 2,
            top1: 2,
            top5: 2
        })
    );
    assert_eq!(logits.tolerance, 1e-4);
    assert!(logits.max_rel.unwrap() > 0.0 && logits.max_rel.unwrap() < 1e-5);
    let gate = row(&report, "gate.layer1.0.se");
    assert_eq!(gate.shape, [2, 16]);
    assert!(
        gate.tolerance < 1e-4,
        "a gate is smaller than a logit, and so is its tolerance"
    );
}

#[test]
fn a_changed_number_fails_only_its_row() {
    for (tensor, at, amount, row_name) in [
        ("logits", 13, 1e-3, "logits"),
        ("pre_logits", 100, 1e-3, "pre_logits"),
        ("gate.layer3.2.se", 5, -1e-3, "gate.layer3.2.se"),
        ("stage.stage2.probe", 63, 1e-2, "stage.stage2"),
    ] {
        let report = compare(|tensors| add(tensors.get_mut(tensor).unwrap(), at, amount));
        let failed: Vec<&str> = report
            .rows
            .iter()
            .filter(|r| !r.ok)
            .map(|r| r.tensor.as_str())
            .collect();
        assert_eq!(failed, [row_name]);
        assert!(!report.ok);
    }
}

/// torchvision's MobileNetV3 has a linear layer where the plan has a 1x1 convolution.
#[test]
fn a_linear_layer_is_a_convolution_of_one_pixel() {
    let plan = plan("torchvision_mobilenet_v3_small", 10);
    let file = formula::weights(&plan).0;
    let reshaped = |shape: &[usize]| {
        let file = edit(&file, |tensors| {
            let hidden = tensors.get_mut("classifier.0.weight").unwrap();
            assert_eq!(hidden.shape, [1024, 576, 1, 1]);
            hidden.shape = shape.to_vec();
        });
        let weights = Weights::from_bytes("file", file).unwrap();
        Network::load(
            &plan,
            &weights,
            &candle_core::Device::Cpu,
            senet::nn::Precision::F32,
        )
    };
    let (images, _) = formula::images([1, 3, 32, 32]);
    let logits = |network: Network| -> Vec<Vec<f32>> {
        network.forward(&images).unwrap().to_vec2().unwrap()
    };
    let linear = logits(reshaped(&[1024, 576]).unwrap());
    assert_eq!(linear, logits(load(&plan, file.clone())));
    for shape in [&[576, 1024][..], &[1024, 576, 1], &[1024 * 576]] {
        let error = reshaped(shape).expect_err("another shape");
        assert!(error.to_string().contains("classifier.0.weight"), "{error}");
    }
}

/// A gate's magnitude says nothing about what goes into its sigmoid, so the reference's own error counts where
/// it is larger; for each tensor its own.
#[test]
fn a_tensor_is_allowed_twenty_times_the_error_of_the_reference() {
    let state = |tensors: &mut BTreeMap<String, Stored>, tensor: &str, error: f64| {
        let stated = Stored {
            dtype: Dtype::F64,
            shape: vec![1],
            data: error.to_le_bytes().to_vec(),
        };
        tensors.insert(format!("error.{tensor}"), stated);
    };
    let gate = "gate.layer3.2.se";
    for (error, tensor, ok) in [
        (1e-12, gate, false),
        (0.9e-4, gate, false),
        (1.1e-4, gate, true),
        (1.1e-4, "gate.layer3.1.se", false),
    ] {
        let report = compare(|tensors| {
            state(tensors, gate, 0.0);
            state(tensors, tensor, error);
            add(tensors.get_mut(gate).unwrap(), 5, -2e-3);
        });
        assert_eq!(row(&report, gate).ok, ok, "{error} for {tensor}");
        assert!(row(&report, "logits").ok && report.unknown.is_empty());
    }
    let stage = compare(|tensors| {
        state(tensors, "stage.stage2", 1e-3);
        add(tensors.get_mut("stage.stage2.probe").unwrap(), 63, 1e-2);
    });
    assert!(row(&stage, "stage.stage2").ok);

    let report = compare(|tensors| state(tensors, "gate.layer7.1.se", 1.0));
    assert_eq!(report.unknown, ["error.gate.layer7.1.se"]);
    for (error, expected) in [
        (f64::INFINITY, "a finite number, at least 0"),
        (f64::NAN, "a finite number, at least 0"),
        (-1.0, "a finite number, at least 0"),
    ] {
        let found = read(|tensors| state(tensors, gate, error), 1e-4).unwrap_err();
        assert!(found.to_string().contains(expected), "{error}: {found}");
    }
    let two = read(
        |tensors| {
            state(tensors, gate, 0.0);
            let stated = tensors.get_mut("error.gate.layer3.2.se").unwrap();
            stated.shape = vec![2];
            stated.data.extend(0.0_f64.to_le_bytes());
        },
        1e-4,
    );
    assert!(
        two.unwrap_err()
            .to_string()
            .contains("expected one value, found 2")
    );
}

/// A tolerance relative to infinity would accept anything.
#[test]
fn numbers_that_are_not_finite_are_refused() {
    for (tensor, value) in [
        ("logits", f32::NAN),
        ("pre_logits", f32::INFINITY),
        ("gate.layer3.2.se", f32::NEG_INFINITY),
        ("stage.stage2.probe", f32::NAN),
    ] {
        let error = read(
            |tensors| add(tensors.get_mut(tensor).unwrap(), 0, value),
            1e-4,
        )
        .unwrap_err();
        assert!(
            matches!(error, VerifyError::Malformed { .. }),
            "{tensor}: {error}"
        );
    }
}

#[test]
fn changed_statistics_fail() {
    for value in 0..4 {
        let report = compare(|tensors| {
            let stats = tensors.get_mut("stage.stem.stats").unwrap();
            let bytes = &mut stats.data[8 * value..8 * value + 8];
            let changed = f64::from_le_bytes(bytes.try_into().unwrap()) * 1.001;
            bytes.copy_from_slice(&changed.to_le_bytes());
        });
        assert!(!row(&report, "stage.stem").ok, "statistic {value}");
    }
}

#[test]
fn other_answers_are_counted() {
    let report = compare(|tensors| add(tensors.get_mut("logits").unwrap(), 4, 100.0));
    let found = row(&report, "logits").top_k.unwrap();
    assert_eq!((found.images, found.top1), (2, 1));
}

#[test]
fn a_wrong_shape_is_a_row_with_both_shapes() {
    let report = compare(|tensors| {
        let gate = tensors.get_mut("gate.layer2.1.se").unwrap();
        gate.shape = vec![1, 64];
    });
    let gate = row(&report, "gate.layer2.1.se");
    assert!(!gate.ok && gate.max_abs.is_none());
    assert_eq!(
        gate.note.as_deref(),
        Some("expected shape [1, 64], found [2, 32]")
    );
}

#[test]
fn foreign_tensors_are_listed_or_fail() {
    let report = compare(|tensors| {
        let gate = tensors.remove("gate.layer2.1.se").unwrap();
        tensors.insert("gate.layer7.1.se".into(), gate);
        let logits = tensors.remove("logits").unwrap();
        tensors.insert("logits_half".into(), logits);
    });
    assert_eq!(report.unknown, ["logits_half", "error.gate.layer2.1.se"]);
    let last = report.rows.last().unwrap();
    assert_eq!((last.tensor.as_str(), last.ok), ("gate.layer7.1.se", false));
    assert_eq!(last.note.as_deref(), Some("the network has no such tensor"));
}

#[test]
fn whole_stages_are_compared() {
    let report = compare(|tensors| {
        let shape = vec![2, 64, 7, 7];
        let data = vec![0; 4 * 2 * 64 * 7 * 7];
        tensors.insert(
            "stage.stage3.full".into(),
            Stored {
                dtype: Dtype::F32,
                shape,
                data,
            },
        );
    });
    assert!(row(&report, "stage.stage3").ok);
    assert!(!row(&report, "stage.stage3.full").ok);
}

#[test]
fn files_that_are_not_golden_files_are_refused() {
    let missing = |name: &'static str| {
        read(
            move |tensors| tensors.retain(|tensor, _| !tensor.starts_with(name)),
            1e-4,
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        missing("input"),
        "golden: there is no tensor `input`, so this is no golden file"
    );
    assert_eq!(
        missing("logits"),
        "golden: there is no tensor `logits`, so this is no golden file"
    );
    assert!(missing("stage.stem.stats").contains("stage.stem.stats"));

    let set_index = |value: i64| {
        read(
            move |tensors| {
                let index = tensors.get_mut("stage.stage1.probe_index").unwrap();
                index.data[..8].copy_from_slice(&value.to_le_bytes());
            },
            1e-4,
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        set_index(25_088),
        "golden: tensor `stage.stage1.probe_index`: expected places in a tensor of shape \
         [2, 16, 28, 28], found 25088"
    );
    assert!(set_index(-1).contains("expected no negative value, found -1"));

    let short = read(
        |tensors| {
            let probe = tensors.get_mut("stage.stage1.probe").unwrap();
            probe.shape = vec![10];
            probe.data.truncate(40);
        },
        1e-4,
    );
    assert!(
        short
            .unwrap_err()
            .to_string()
            .contains("expected 64 values, as many as places, found 10")
    );
}

#[test]
fn another_network_is_an_error_of_the_network_or_a_failing_report() {
    let golden = read(|_| {}, DEFAULT_TOLERANCE).unwrap();
    let plan = plan("seresnet32", 10);
    let report = golden
        .compare(&load(&plan, formula::weights(&plan).0))
        .unwrap();
    assert!(!report.ok);

    let narrow = read(
        |tensors| {
            let input = tensors.get_mut("input").unwrap();
            input.shape = vec![6, 1, 28, 28];
        },
        1e-4,
    );
    assert!(matches!(
        narrow.unwrap().compare(&seresnet20()),
        Err(VerifyError::Net(_))
    ));
}

#[test]
fn the_report_next_to_the_file_gives_the_tolerance() {
    let found = suggested_tolerance(&data("seresnet20.golden.safetensors")).unwrap();
    assert_eq!(found, Some(1e-4));
    assert_eq!(
        suggested_tolerance(&data("none.safetensors")).unwrap(),
        None
    );

    let folder = tempfile::tempdir().unwrap();
    let golden = folder.path().join("golden.safetensors");
    for (text, expected) in [
        ("{}", Ok(None)),
        (r#"{"suggested_atol_f32": 3e-4}"#, Ok(Some(3e-4))),
        (
            r#"{"suggested_atol_f32": 0}"#,
            Err("expected a positive number, found 0"),
        ),
        (
            r#"{"suggested_atol_f32": "1"}"#,
            Err("expected a positive number, found \"1\""),
        ),
        ("[1, 2", Err("not JSON")),
    ] {
        std::fs::write(golden.with_extension("json"), text).unwrap();
        match (suggested_tolerance(&golden), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}
