//! Evaluation as a library: models on data sets; and the figures of a report compared with those of
//! scikit-learn, torchmetrics and statsmodels, on stored predictions
//! (`tests/tools/make_metrics.py`, `tests/tools/make_multi_label.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use senet::Model;

use senet::eval::{
    Answer, Classes, Dataset, DatasetOptions, EvalError, EvalOptions, Evaluation, FolderOrder,
    Header, Interval, LabelIds, Member, MultiReport, NO_LABEL, Outcome, Pair, Record, Report,
    Scores, Warning, merge,
};
use senet::hub::HubOptions;
use senet::labels::LabelSet;
use senet::nn::Precision;
use senet::preprocess::{CropMode, DecodeOptions, InputSpec, Interpolation, Transform, Views};
use senet::weights::Weights;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An answer for image `index`, which has one right class.
fn record(index: usize, logits: &[f64], label: usize) -> Record {
    let (label, answer) = Answer::new(logits, &[label]);
    Record {
        index,
        image: format!("{index}.png"),
        image_bytes: None,
        label,
        outcome: Outcome::Answer(answer),
    }
}

fn header(images: usize, classes: usize) -> Header {
    Header {
        senet_eval: Header::VERSION,
        members: vec![Member {
            model: "stored".into(),
            weights: String::new(),
            input: InputSpec {
                size: [28, 28],
                crop_pct: 1.0,
                crop_mode: CropMode::Center,
                interpolation: Interpolation::Bilinear,
                mean: [0.5; 3],
                std: [0.5; 3],
                test_size: None,
                test_crop_pct: None,
            },
            precision: Precision::F32,
        }],
        views: Views::One,
        valid: None,
        exif: false,
        scale_16bit: false,
        multi_label: false,
        images,
        data: String::new(),
        classes: (0..classes).map(|class| format!("class {class}")).collect(),
    }
}

#[test]
fn figures_match_other_packages() {
    let stored: Value = serde_json::from_str(include_str!("../data/eval/metrics.json")).unwrap();
    let logits: Vec<Vec<f32>> = serde_json::from_value(stored["logits"].clone()).unwrap();
    let labels: Vec<usize> = serde_json::from_value(stored["labels"].clone()).unwrap();
    let expected = &stored["expected"];
    let records: Vec<Record> = logits
        .iter()
        .zip(&labels)
        .enumerate()
        .map(|(index, (logits, &label))| {
            let logits: Vec<f64> = logits.iter().map(|&logit| logit.into()).collect();
            record(index, &logits, label)
        })
        .collect();
    let report = Report::new(
        &header(records.len(), logits[0].len()),
        &records,
        &[1, 2, 5],
    );

    for top in &report.top {
        assert_eq!(
            top.correct,
            expected["top"][top.k.to_string()],
            "top-{}",
            top.k
        );
    }
    let close = |found: f64, expected: &Value, tolerance: f64| {
        let expected = expected.as_f64().unwrap();
        assert!(
            (found - expected).abs() < tolerance,
            "{found} and {expected}"
        );
    };
    close(report.loss.unwrap(), &expected["loss"], 1e-12);
    // Torchmetrics sums in single precision.
    close(
        report.calibration_error.unwrap(),
        &expected["calibration_error"],
        1e-6,
    );
    let best = report.temperature.unwrap();
    close(best.value, &expected["temperature"]["value"], 1e-3);
    close(best.loss, &expected["temperature"]["loss"], 1e-5);
    let Interval { low, high } = report.top[0].interval;
    close(low, &expected["interval"][0], 1e-12);
    close(high, &expected["interval"][1], 1e-12);

    let confusion: Vec<Vec<usize>> = serde_json::from_value(expected["confusion"].clone()).unwrap();
    assert_eq!(report.classes.len(), 6, "one of seven does not occur");
    for class in &report.classes {
        let row = &confusion[class.index];
        assert_eq!(class.answered, row.iter().sum::<usize>());
        assert_eq!(class.correct, row[class.index]);
    }
    let mut mistakes = 0;
    for mistake in &report.confusions {
        assert_eq!(mistake.images, confusion[mistake.label][mistake.prediction]);
        mistakes += mistake.images;
    }
    let right: usize = (0..7).map(|class| confusion[class][class]).sum();
    assert_eq!(mistakes + right, records.len());
}

#[test]
fn views_match_torchvision() {
    let stored: Value = serde_json::from_str(include_str!("../data/eval/views.json")).unwrap();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/pictures/exact-256x224.png"
    );
    let image = senet::preprocess::open(path, &DecodeOptions::default()).unwrap();
    let mut input = header(1, 1).members.remove(0).input;
    (input.size, input.crop_pct, input.mean, input.std) = ([101; 2], 0.7, [0.0; 3], [1.0; 3]);
    let transform = Transform::new(&input).unwrap();
    const AREA: usize = 101 * 101;
    for (views, name) in [(Views::Flip, "flip"), (Views::TenCrop, "ten-crop")] {
        let mut values = vec![0.0; views.count() * 3 * AREA];
        transform.write_views(&image, views, &mut values);
        let mut single = vec![0.0; 3 * AREA];
        transform.write(&image, &mut single);
        assert_eq!(
            values[..3 * AREA],
            single,
            "the first view is the usual one"
        );
        let digest = |view: &[f32]| {
            let byte = |index: usize| (view[index % 3 * AREA + index / 3] * 255.0).round() as u8;
            let bytes: Vec<u8> = (0..view.len()).map(byte).collect();
            let hash = Sha256::digest(&bytes);
            hash.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let mut digests: Vec<String> = values.chunks(3 * AREA).map(digest).collect();
        digests.sort();
        assert_eq!(serde_json::json!(digests), stored[name], "{name}");
    }
}

/// If an image has several right classes, each model is right if it predicts one of them.
#[test]
fn pairs_of_models_with_several_right_classes() {
    let header = header(4, 4);
    let right = [&[0, 3][..], &[0, 3], &[1], &[1, 2]];
    let records = |best: [usize; 4]| -> Vec<Record> {
        let images = best.into_iter().zip(right).enumerate();
        let images = images.map(|(index, (best, right))| {
            let logits: Vec<f64> = (0..4).map(|class| f64::from(class == best)).collect();
            let (label, answer) = Answer::new(&logits, right);
            Record {
                index,
                image: format!("{index}.png"),
                image_bytes: None,
                label,
                outcome: Outcome::Answer(answer),
            }
        });
        images.collect()
    };
    // Both right with different classes; only the first; only the second; neither.
    let (first, second) = (records([0, 3, 0, 0]), records([3, 1, 1, 3]));
    for (a, b) in [(&first, &second), (&second, &first)] {
        let pair = Pair::new((&header, a), (&header, b));
        let counts = [
            pair.both_right,
            pair.only_first_right,
            pair.only_second_right,
            pair.neither_right,
        ];
        assert_eq!(counts, [1; 4]);
        let differing: Vec<&str> = pair.differing.iter().map(|d| &*d.image).collect();
        assert_eq!(differing, ["1.png", "2.png"]);
        assert_eq!(pair.p_value, 1.0);
    }
}

/// A model that is right but unsure is badly calibrated; its labels are not in question.
#[test]
fn only_confident_mistakes_look_like_wrong_labels() {
    let header = header(40, 100);
    let warnings = |surplus: f64, right: usize| {
        let records: Vec<Record> = (0..40)
            .map(|index| {
                let best = if index < right { index } else { index + 1 };
                let logits: Vec<f64> = (0..100)
                    .map(|class| if class == best { surplus } else { 0.0 })
                    .collect();
                record(index, &logits, index)
            })
            .collect();
        let warnings = Report::new(&header, &records, &[1]).warnings(&header, &records, None);
        warnings.iter().map(Warning::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(1.0, 40), Vec::<String>::new());
    assert_eq!(warnings(1.0, 12), Vec::<String>::new());
    let sure = warnings(20.0, 12);
    assert!(sure[0].contains("sure of its answers and mostly wrong"));
    assert!(sure[0].contains("(top-1 30.00 %, by its own probabilities 100.00 %)"));
}

/// In a list of names, the development kit's numbering is not detected but must be given.
#[test]
fn the_last_number_of_the_development_kit_is_hinted_at() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "a.png 1\nb.png 1000\n").unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::write(folder.path().join(name), b"").unwrap();
    }
    let set = LabelSet::builtin("imagenet-1k").unwrap();
    let mut options = DatasetOptions::default();
    options.labels = Some(list);
    let found = Dataset::open(&[folder.path()], &Classes::new(set), &options);
    let hint = found.unwrap_err().hint().unwrap();
    assert!(hint.contains("ImageNet's development kit"), "{hint}");
}

/// ImageNetV2 names its folders by class number, which sorts differently as text; ImageNet-Sketch
/// by WordNet id. Any subset of either is labelled as in the whole.
#[test]
fn folders_of_the_variants_of_imagenet() {
    let set = LabelSet::builtin("imagenet-1k").unwrap();
    let classes = Classes::new(set);
    let folder = tempfile::tempdir().unwrap();
    let write = |data: &str, class: &str| {
        let class = folder.path().join(data).join(class);
        std::fs::create_dir_all(&class).unwrap();
        for image in 0..2 {
            std::fs::write(class.join(format!("{image}.jpeg")), b"").unwrap();
        }
    };
    let id = |class: usize| set.entries[class].id.clone().unwrap();
    for class in 0..1000 {
        write(
            "imagenetv2-matched-frequency-format-val",
            &class.to_string(),
        );
        write("sketch", &id(class));
    }
    for class in [999, 7, 70, 100, 10] {
        write("part-of-v2", &class.to_string());
        write("padded", &format!("{class:04}"));
        write("part-of-sketch", &id(class));
    }
    for (data, count) in [
        ("imagenetv2-matched-frequency-format-val", 1000),
        ("sketch", 1000),
        ("part-of-v2", 5),
        ("padded", 5),
        ("part-of-sketch", 5),
    ] {
        let paths = [folder.path().join(data)];
        let dataset = Dataset::open(&paths, &classes, &DatasetOptions::default()).unwrap();
        assert_eq!(
            (dataset.items.len(), dataset.left_out),
            (2 * count, 0),
            "{data}"
        );
        for item in &dataset.items {
            let name = item.name.split('/').next().unwrap();
            let class = match name.parse::<usize>() {
                Ok(number) => number,
                Err(_) => (0..1000).find(|&class| id(class) == name).unwrap(),
            };
            assert_eq!(item.labels, [class], "{data}/{}", item.name);
        }
    }
}

/// Folders named by numbers, and the answers of a model that was trained on them in some order.
struct Numbers {
    folder: tempfile::TempDir,
    set: LabelSet,
    /// The class of each folder in the model.
    trained: Vec<(String, usize)>,
}

impl Numbers {
    fn new(names: &[String], trained: impl Fn(&str) -> usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            for image in 0..3 {
                std::fs::write(folder.path().join(format!("{name}/{image}.png")), b"").unwrap();
            }
        }
        let trained = names.iter().map(|name| (name.clone(), trained(name)));
        Self {
            trained: trained.collect(),
            set: LabelSet::numbered(names.len().max(12)),
            folder,
        }
    }

    /// The share of right labels, and the warnings about the others.
    fn read(&self, ids: Option<LabelIds>, order: Option<FolderOrder>) -> (f64, Vec<Warning>) {
        let mut classes = Classes::new(&self.set);
        if let Some(ids) = ids {
            classes.set_label_ids(ids).unwrap();
        }
        let mut options = DatasetOptions::default();
        options.order = order;
        let data = Dataset::open(&[self.folder.path()], &classes, &options).unwrap();
        let header = header(data.items.len(), self.set.len());
        let records: Vec<Record> = data
            .items
            .iter()
            .map(|item| {
                let (folder, _) = item.name.split_once('/').unwrap();
                let trained = self.trained.iter().find(|(name, _)| name == folder);
                let class = trained.unwrap().1;
                let logits: Vec<f64> = (0..self.set.len())
                    .map(|c| if c == class { 3.0 } else { 0.0 })
                    .collect();
                record(item.index, &logits, item.labels[0])
            })
            .collect();
        let report = Report::new(&header, &records, &[1]);
        let warnings = report.warnings(&header, &records, Some((&data, &classes)));
        (report.top[0].accuracy.unwrap(), warnings)
    }
}

/// The other meaning of numbers that the first warning is about.
fn numbering(warnings: &[Warning]) -> Option<(Option<LabelIds>, Option<FolderOrder>)> {
    match warnings.first()? {
        Warning::OtherNumbering { numbering, .. } => Some((numbering.label_ids, numbering.order)),
        _ => None,
    }
}

fn sorted(names: &[String]) -> impl Fn(&str) -> usize {
    let mut sorted = names.to_vec();
    sorted.sort();
    move |name| sorted.iter().position(|other| other == name).unwrap()
}

#[test]
fn folders_of_numbers_in_the_order_of_strings() {
    use FolderOrder::{Numeric, String as Strings};
    let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let numbers = Numbers::new(&names, sorted(&names));
    let (share, warnings) = numbers.read(None, None);
    assert!(share < 0.3, "{share}");
    let note = "top-1 would be 100.00 % instead of 16.67 % if the numbers of the labels counted \
                folders sorted as strings: 0, 1, 10, … 2";
    let texts: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(texts, [note]);
    assert_eq!(numbering(&warnings), Some((None, Some(Strings))));
    assert_eq!(numbers.read(None, Some(Strings)), (1.0, vec![]));
    let (_, warnings) = numbers.read(None, Some(Numeric));
    assert_ne!(numbering(&warnings), Some((None, Some(Strings))));

    // A subset, from which all others follow.
    let part: Vec<String> = names.iter().skip(2).cloned().collect();
    let numbers = Numbers::new(&part, sorted(&names));
    let (_, warnings) = numbers.read(None, None);
    assert_eq!(numbering(&warnings), Some((None, Some(Strings))));
    assert_eq!(numbers.read(None, Some(Strings)), (1.0, vec![]));

    // In order: no warning.
    let numbers = Numbers::new(&names, |name| name.parse().unwrap());
    assert_eq!(numbers.read(None, None), (1.0, vec![]));
    // A model that is wrong in any order.
    let numbers = Numbers::new(&names, |_| 5);
    let (_, warnings) = numbers.read(None, None);
    assert!(!warnings.is_empty());
    assert_eq!(numbering(&warnings), None);
}

#[test]
fn numbers_that_count_from_one() {
    use FolderOrder::String as Strings;
    let from_one = Some(LabelIds::FromOne);
    // Without the last one, whose number would not be a class.
    let names: Vec<String> = (1..12).map(|number| number.to_string()).collect();
    let numbers = Numbers::new(&names, |name| name.parse::<usize>().unwrap() - 1);
    let (share, warnings) = numbers.read(None, None);
    assert_eq!(share, 0.0);
    assert_eq!(numbering(&warnings), Some((from_one, None)));
    assert_eq!(numbers.read(from_one, None), (1.0, vec![]));

    let all: Vec<String> = (1..=12).map(|number| number.to_string()).collect();
    let numbers = Numbers::new(&names, sorted(&all));
    let (_, warnings) = numbers.read(None, None);
    assert_eq!(numbering(&warnings), Some((from_one, Some(Strings))));
    let (_, warnings) = numbers.read(from_one, None);
    assert_eq!(numbering(&warnings), Some((from_one, Some(Strings))));
    assert_eq!(numbers.read(from_one, Some(Strings)), (1.0, vec![]));
    let numbers = Numbers::new(&all, sorted(&all));
    assert_eq!(numbers.read(None, Some(Strings)), (1.0, vec![]));

    let numbers = Numbers::new(&all, |name| name.parse::<usize>().unwrap() - 1);
    let classes = Classes::new(&numbers.set);
    let paths = [numbers.folder.path().to_owned()];
    let error = Dataset::open(&paths, &classes, &DatasetOptions::default()).unwrap_err();
    assert!(
        error.hint().unwrap().contains("label ids begin at 1"),
        "{error}"
    );
    assert_eq!(numbers.read(from_one, None), (1.0, vec![]));
}

/// `ImageFolder` numbers folders of any names by their order.
#[test]
fn folders_of_names_in_the_order_of_strings() {
    let names: Vec<String> = ["b", "a", "Z", "é", "10", "9"].map(String::from).into();
    let names: Vec<String> = names
        .into_iter()
        .chain((0..6).map(|n| format!("c{n}")))
        .collect();
    let numbers = Numbers::new(&names, sorted(&names));
    let order = Some(FolderOrder::String);
    assert_eq!(numbers.read(None, order), (1.0, vec![]));
    let numbers = Numbers::new(&names[1..], sorted(&names));
    let classes = Classes::new(&numbers.set);
    let paths = [numbers.folder.path().to_owned()];
    let mut options = DatasetOptions::default();
    options.order = order;
    let error = Dataset::open(&paths, &classes, &options).unwrap_err();
    let text = "has 11 class folders, and the model 12 classes";
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn multi_label_figures_match_scikit_learn() {
    let stored: Value =
        serde_json::from_str(include_str!("../data/eval/multi_label.json")).unwrap();
    let scores: Vec<Vec<f64>> = serde_json::from_value(stored["scores"].clone()).unwrap();
    let labels: Vec<Vec<usize>> = serde_json::from_value(stored["labels"].clone()).unwrap();
    let expected = &stored["expected"];
    let records: Vec<Record> = scores
        .into_iter()
        .zip(labels)
        .enumerate()
        .map(|(index, (scores, labels))| Record {
            index,
            image: format!("{index}.png"),
            image_bytes: None,
            label: NO_LABEL,
            outcome: Outcome::Scores(Scores { labels, scores }),
        })
        .collect();
    let header = Header {
        multi_label: true,
        ..header(records.len(), 6)
    };
    let close = |found: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    };
    for (threshold, f1) in expected["f1"].as_object().unwrap() {
        let report = MultiReport::new(&header, &records, threshold.parse().unwrap());
        let mean = report.mean_average_precision.unwrap();
        close(mean, &expected["mean_average_precision"]);
        close(report.f1_micro.unwrap(), &f1["micro"]);
        close(report.f1_macro.unwrap(), &f1["macro"]);
        assert_eq!(report.classes.len(), 5);
        for (place, class) in report.classes.iter().enumerate() {
            assert_eq!(class.index, place);
            close(
                class.average_precision,
                &expected["average_precision"][place],
            );
            close(class.f1, &f1["each"][place]);
        }
    }
}

/// Results of [`set`] in the format of version 1.
const STORED: &str = include_str!("../data/eval/results.jsonl");

/// Two images of known classes, and a file that is not an image.
fn set(folder: &Path) -> PathBuf {
    let set = folder.join("set");
    for (name, from) in [("9/a.png", "ankle-boot.png"), ("Bag/b.png", "grey.png")] {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pictures");
        let path = set.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(Path::new(data).join(from), path).unwrap();
    }
    fs::write(set.join("Bag/c.png"), b"no image").unwrap();
    set
}

fn demo() -> Model {
    Model::open("demo", &HubOptions::from_env().unwrap(), &Device::Cpu).unwrap()
}

#[test]
fn models_are_evaluated_in_one_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (demo(), demo());
    let classes = Classes::new(&first.spec().labels);
    let data = Dataset::open(&[set(folder.path())], &classes, &DatasetOptions::default()).unwrap();
    let mut options = EvalOptions::default();
    options.batch_size = 2;
    options.ensemble = true;
    let mut evaluation = Evaluation::new([&first, &second], &data, options).unwrap();
    assert_eq!(evaluation.remaining().count(), 3);
    let mut batches = Vec::new();
    let summary = evaluation
        .run(|records| batches.push(records.to_vec()))
        .unwrap();
    assert!(!summary.stopped && summary.network <= summary.elapsed);
    assert_eq!(evaluation.remaining().count(), 0);
    let sizes: Vec<usize> = batches.iter().map(|batch| batch[0].len()).collect();
    assert_eq!(sizes, [2, 1]);
    for (place, run) in evaluation.runs().iter().enumerate() {
        let members = if place == 2 { 2 } else { 1 };
        assert_eq!(run.header().members.len(), members);
        let seen: Vec<&Record> = batches.iter().flat_map(|batch| &batch[place]).collect();
        assert_eq!(seen, run.records().iter().collect::<Vec<_>>());
        let report = run.report(&[1, 5]);
        assert_eq!(
            (report.answered, report.failed, report.top[0].correct),
            (2, 1, 2)
        );
    }
    let [first, second, _] = evaluation.runs() else {
        panic!("two models and their ensemble");
    };
    assert_eq!(first.records(), second.records());
    assert_eq!(Pair::of(first, second).both_right, 2);
}

#[test]
fn results_of_an_older_run_are_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo();
    let classes = Classes::new(&model.spec().labels);
    let data = Dataset::open(&[set(folder.path())], &classes, &DatasetOptions::default()).unwrap();
    let weights = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/models/weights/seresnet20.fashion_mnist.safetensors"
    );
    let file = folder.path().join("results.jsonl");
    let mut options = EvalOptions::default();
    options.results = Some(file.clone());
    options.fingerprints = vec![Weights::open(weights).unwrap().fingerprint().unwrap()];
    options.resume = true;
    // All of it; all but the last image, which no network gets to see.
    let lines: Vec<&str> = STORED.split_inclusive('\n').collect();
    for kept in [4, 3] {
        fs::write(&file, lines[..kept].concat()).unwrap();
        let mut evaluation = Evaluation::new([&model], &data, options.clone()).unwrap();
        assert_eq!(evaluation.remaining().count(), 4 - kept);
        evaluation.run(|_| ()).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let (old, new) = text.split_at(lines[..kept].concat().len());
        assert_eq!(old, lines[..kept].concat(), "what is there stays as it is");
        let last = r#"{"index":2,"image":"Bag/c.png","label":8,"error":""#;
        assert!(
            if kept == 4 {
                new.is_empty()
            } else {
                new.starts_with(last)
            },
            "{new}"
        );
        let (header, records) = merge(std::slice::from_ref(&file)).unwrap();
        assert_eq!(
            (&header, &*records),
            (
                evaluation.runs()[0].header(),
                evaluation.runs()[0].records()
            )
        );
        assert_eq!(
            Report::new(&header, &records, &[1]),
            evaluation.runs()[0].report(&[1])
        );
        assert_eq!(Pair::open(&file, &file).unwrap().both_right, 2);
    }
    options.resume = false;
    assert!(matches!(
        options.check_results(&["demo"]),
        Err(EvalError::Exists { .. })
    ));
    let evaluation = Evaluation::new([&model], &data, options.clone());
    assert!(matches!(evaluation, Err(EvalError::Exists { .. })));
    // Other weights, according to the caller.
    options.resume = true;
    options.fingerprints = vec!["0".repeat(64)];
    let error = Evaluation::new([&model], &data, options).unwrap_err();
    assert!(
        matches!(
            error,
            EvalError::Mismatch {
                field: "weights",
                ..
            }
        ),
        "{error}"
    );
}

/// Results of one precision are neither resumed nor merged with those of another; older files, which do
/// not say, are of f32.
#[test]
fn results_of_two_precisions_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, edit: &dyn Fn(&mut Value)| {
        let mut header = serde_json::to_value(header(1, 2)).unwrap();
        edit(&mut header["members"][0]);
        let path = folder.path().join(name);
        fs::write(&path, format!("{header}\n")).unwrap();
        path
    };
    let f32 = write("f32", &|_| {});
    let older = write("older", &|member| {
        member.as_object_mut().unwrap().remove("precision").unwrap();
    });
    let bf16 = write("bf16", &|member| member["precision"] = "bf16".into());
    merge(&[f32.clone(), older]).unwrap();
    let error = merge(&[f32, bf16]).unwrap_err().to_string();
    assert!(
        error.contains("precision") && error.contains("f32") && error.contains("bf16"),
        "{error}"
    );
}

#[test]
fn a_run_stops_between_batches_and_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo();
    let classes = Classes::new(&model.spec().labels);
    let data = Dataset::open(&[set(folder.path())], &classes, &DatasetOptions::default()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut options = EvalOptions::default();
    options.batch_size = 1;
    options.stop = Some(Arc::clone(&stop));
    let mut evaluation = Evaluation::new([&model], &data, options).unwrap();
    let summary = evaluation
        .run(|_| stop.store(true, Ordering::Relaxed))
        .unwrap();
    assert!(summary.stopped);
    assert_eq!(evaluation.runs()[0].records().len(), 1);
    stop.store(false, Ordering::Relaxed);
    assert!(!evaluation.run(|_| ()).unwrap().stopped);
    let indices = evaluation.runs()[0]
        .records()
        .iter()
        .map(|record| record.index);
    assert!(indices.eq(0..3));
}

#[test]
fn a_data_set_of_other_classes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo();
    let other = LabelSet::numbered(10);
    let folders = [folder.path().join("9")];
    fs::create_dir(&folders[0]).unwrap();
    fs::write(folders[0].join("a.png"), b"").unwrap();
    let data = Dataset::open(
        &[folder.path()],
        &Classes::new(&other),
        &DatasetOptions::default(),
    )
    .unwrap();
    let error = Evaluation::new([&model], &data, EvalOptions::default()).unwrap_err();
    assert!(matches!(error, EvalError::OtherClasses { .. }), "{error}");
}
