//! Classifiers compared with those of scikit-learn on stored data (`tests/tools/make_train.py`), and
//! what they say about labels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use senet::eval::Answer;
use senet::train::{
    Folds, Head, Samples, TrainError, TrainOptions, Verdict, conflicting_duplicates,
    cross_validate, fit, label_doubts, learning_curve,
};
use serde_json::Value;

/// Random numbers of mean 0 and variance 1, nearly normal.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.uniform() * end as f32) as usize).min(end - 1)
    }
}

/// Images around one point for each class, `distance` from 0.
struct Data {
    features: Vec<f32>,
    labels: Vec<u32>,
    width: usize,
    classes: usize,
}

impl Data {
    fn new(images: usize, width: usize, classes: usize, distance: f32, seed: u64) -> Self {
        let mut random = Random(seed);
        let scale = distance / (width as f32).sqrt();
        let centres: Vec<f32> = (0..classes * width)
            .map(|_| random.normal() * scale)
            .collect();
        let labels: Vec<u32> = (0..images).map(|image| (image % classes) as u32).collect();
        let mut features = Vec::new();
        for &label in &labels {
            let centre = &centres[label as usize * width..][..width];
            features.extend(centre.iter().map(|&x| x + random.normal()));
        }
        Self {
            features,
            labels,
            width,
            classes,
        }
    }

    fn samples(&self) -> Samples<'_> {
        Samples::new(&self.features, self.width, &self.labels, self.classes).unwrap()
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

#[test]
fn classifiers_equal_those_of_scikit_learn() {
    let golden: Value = serde_json::from_str(include_str!("../data/train.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let number = |name: &str| case[name].as_u64().unwrap() as usize;
        let (width, classes) = (number("width"), number("classes"));
        let features: Vec<f32> = numbers(&case["features"])
            .iter()
            .map(|&x| x as f32)
            .collect();
        let labels: Vec<u32> = numbers(&case["labels"]).iter().map(|&x| x as u32).collect();
        let samples = Samples::new(&features, width, &labels, classes).unwrap();
        let mut options = TrainOptions::default();
        options.balanced = case["balanced"].as_bool().unwrap();
        let head = fit(&samples, case["strength"].as_f64().unwrap(), &options).unwrap();

        let (mean, scale) = (numbers(&case["mean"]), numbers(&case["scale"]));
        let (mut weight, mut bias) = standardised(&head, &mean, &scale);
        if classes == 2 {
            // Their rows are opposite, and scikit-learn has the difference.
            assert!(
                weight[..width]
                    .iter()
                    .zip(&weight[width..])
                    .all(|(a, b)| (a + b).abs() < 1e-4)
            );
            weight = (0..width).map(|i| weight[width + i] - weight[i]).collect();
            bias = vec![bias[1] - bias[0]];
        }
        let far = |found: &[f64], expected: &Value| {
            let expected = numbers(expected);
            assert_eq!(found.len(), expected.len());
            let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            differences.fold(0.0, f64::max)
        };
        let name = &case["name"];
        let differences = [far(&weight, &case["weight"]), far(&bias, &case["bias"])];
        assert!(
            differences.iter().all(|&x| x < 1e-4),
            "{name}: {differences:?}"
        );

        let images: Vec<usize> = (0..labels.len()).collect();
        let logits = head.logits(&samples, &images);
        let probabilities: Vec<f64> = logits.chunks(classes).flat_map(softmax).collect();
        let difference = far(&probabilities, &case["probabilities"]);
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

/// Weights and biases of standardised features.
fn standardised(head: &Head, mean: &[f64], scale: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let rows = || head.weight.chunks_exact(mean.len());
    let weight = rows().flat_map(|row| {
        row.iter()
            .zip(scale)
            .map(|(&x, scale)| f64::from(x) * scale)
    });
    let bias = rows().zip(&head.bias).map(|(row, &bias)| {
        let shift = row.iter().zip(mean).map(|(&x, mean)| f64::from(x) * mean);
        f64::from(bias) + shift.sum::<f64>()
    });
    (weight.collect(), bias.collect())
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let powers: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|x| x / sum).collect()
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    let data = Data::new(2500, 40, 7, 2.0, 1);
    let groups: Vec<u32> = (0..2500).map(|image| image / 5).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let samples = data
                .samples()
                .with_groups(&groups)
                .with_flipped(&data.features)
                .unwrap();
            let mut options = TrainOptions::default();
            options.strengths = vec![0.01, 1.0];
            options.folds = 3;
            let validation = cross_validate(&samples, &options, |_, _| ()).unwrap();
            let curve = learning_curve(&samples, &validation, &options, |_, _| ()).unwrap();
            let head = fit(&samples, validation.strength, &options).unwrap();
            (validation, curve, head)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn every_fold_has_its_share_of_every_class() {
    let mut data = Data::new(1003, 3, 4, 1.0, 2);
    data.labels
        .iter_mut()
        .step_by(7)
        .for_each(|label| *label = 3);
    let samples = data.samples();
    let folds = Folds::new(&samples, 5, 0).unwrap();
    let counts = samples.class_counts();
    for class in 0..4 {
        for fold in 0..5 {
            let images = folds.of.iter().zip(&data.labels);
            let has = images
                .filter(|&(&of, &label)| (of, label) == (fold, class))
                .count();
            let share = counts[class as usize] as f64 / 5.0;
            assert!(
                (has as f64 - share).abs() < 1.0,
                "{class} {fold}: {has} of {share}"
            );
        }
    }
    assert_eq!(folds, Folds::new(&samples, 5, 0).unwrap());
    assert_ne!(folds.of, Folds::new(&samples, 5, 1).unwrap().of);
    assert_eq!((folds.count, folds.few), (5, None));
}

#[test]
fn groups_stay_together() {
    let mut random = Random(3);
    let data = Data::new(900, 3, 3, 1.0, 3);
    let groups: Vec<u32> = (0..900).map(|_| random.below(60).pow(2) as u32).collect();
    let samples = data.samples().with_groups(&groups);
    let folds = Folds::new(&samples, 5, 0).unwrap();
    let mut fold_of = std::collections::HashMap::new();
    for (group, &fold) in groups.iter().zip(&folds.of) {
        assert_eq!(*fold_of.entry(group).or_insert(fold), fold);
    }
    for class in 0..3 {
        for fold in 0..5 {
            let images = folds.of.iter().zip(&data.labels);
            let has = images
                .filter(|&(&of, &label)| (of, label) == (fold, class))
                .count();
            assert!((40..=80).contains(&has), "{class} {fold}: {has} of 60");
        }
    }
}

#[test]
fn a_class_of_few_images_lowers_the_folds() {
    let mut data = Data::new(100, 3, 2, 1.0, 4);
    data.classes = 3;
    data.labels[10] = 2;
    data.labels[20] = 2;
    data.labels[30] = 2;
    let folds = Folds::new(&data.samples(), 5, 0).unwrap();
    let few = folds.few.unwrap();
    assert_eq!((folds.count, few.class, few.count), (3, 2, 3));
    let groups: Vec<u32> = (0..100).map(|image| image / 25).collect();
    let error = Folds::new(&data.samples().with_groups(&groups), 5, 0);
    assert_eq!(error.unwrap().count, 2);
    let groups: Vec<u32> = (0..100).map(|image| image / 50).collect();
    let error = Folds::new(&data.samples().with_groups(&groups), 5, 0).unwrap_err();
    assert_eq!(error, TrainError::OneGroup { class: 2 });

    data.labels[20] = 0;
    data.labels[30] = 0;
    let error = cross_validate(&data.samples(), &TrainOptions::default(), |_, _| ()).unwrap_err();
    assert_eq!(
        error,
        TrainError::TooFewImages {
            class: 2,
            images: 1
        }
    );
    assert_eq!(
        error.to_string(),
        "class 2 has 1 image; cross-validation needs at least 2"
    );
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let x = [1.0, 2.0, 3.0, 4.0];
    let refused = |features: &[f32], labels: &[u32], classes| {
        Samples::new(
            features,
            features.len() / labels.len().max(1),
            labels,
            classes,
        )
        .unwrap_err()
    };
    assert_eq!(refused(&x, &[0, 0], 1), TrainError::OneClass { classes: 1 });
    assert_eq!(refused(&x, &[0, 1], 3), TrainError::EmptyClass { class: 2 });
    let label = TrainError::Label {
        image: 1,
        label: 2,
        classes: 2,
    };
    assert_eq!(refused(&x, &[0, 2], 2), label);
    assert_eq!(
        refused(&[1.0, 2.0, 1.0, 2.0], &[0, 1], 2),
        TrainError::EqualFeatures
    );
    assert_eq!(refused(&[], &[], 2), TrainError::EmptyClass { class: 0 });
    let infinite = [1.0, 2.0, 3.0, f32::INFINITY];
    let not_finite = TrainError::NotFinite {
        image: 1,
        value: f32::INFINITY,
    };
    assert_eq!(refused(&infinite, &[0, 1], 2), not_finite);
    let samples = Samples::new(&x, 2, &[0, 1], 2).unwrap();
    assert_eq!(samples.with_flipped(&infinite).unwrap_err(), not_finite);
    for strength in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = fit(&samples, strength, &TrainOptions::default()).unwrap_err();
        assert!(matches!(error, TrainError::Strength { .. }), "{error}");
    }
    // Weights beyond f32, for features next to nothing.
    let tiny: Vec<f32> = x.iter().map(|x| x * 1e-42).collect();
    let samples = Samples::new(&tiny, 2, &[0, 1], 2).unwrap();
    let error = fit(&samples, 1.0, &TrainOptions::default()).unwrap_err();
    assert_eq!(error, TrainError::Overflow { class: 0 });
}

#[test]
fn work_ends_soon_after_the_stop() {
    let data = Data::new(400, 20, 4, 2.0, 5);
    let mut options = TrainOptions::default();
    let stop = Arc::new(AtomicBool::new(false));
    options.stop = Some(Arc::clone(&stop));
    let mut most = 0;
    let error = cross_validate(&data.samples(), &options, |done, _| {
        most = done;
        stop.store(done == 3, Ordering::Relaxed);
    });
    assert_eq!((error.unwrap_err(), most), (TrainError::Stopped, 3));
}

#[test]
fn features_without_information_give_no_more_than_chance() {
    let data = Data::new(1200, 30, 4, 0.0, 6);
    let options = TrainOptions::default();
    let validation = cross_validate(&data.samples(), &options, |_, _| ()).unwrap();
    let nested = validation.nested.as_ref().unwrap();
    let right = nested
        .answers
        .iter()
        .filter(|answer| answer.rank == 1)
        .count();
    // Chance is 300, four standard deviations are 60.
    assert!((240..=360).contains(&right), "{right}");
    let curve = learning_curve(&data.samples(), &validation, &options, |_, _| ()).unwrap();
    assert_ne!(curve.verdict, Verdict::MoreHelps);
}

#[test]
fn mirrored_images_are_learned_from_and_never_tested() {
    let data = Data::new(300, 10, 3, 3.0, 7);
    // Mirror images that say the opposite of their labels.
    let mut wrong = data.features.clone();
    wrong.rotate_left(10);
    let mut options = TrainOptions::default();
    options.strengths = vec![1.0];
    let score = |samples: Samples<'_>| {
        let validation = cross_validate(&samples, &options, |_, _| ()).unwrap();
        assert_eq!(validation.answers.len(), 300);
        validation.scores[0].loss
    };
    let plain = score(data.samples());
    let same = score(data.samples().with_flipped(&data.features).unwrap());
    let misled = score(data.samples().with_flipped(&wrong).unwrap());
    assert!(
        (same - plain).abs() < 0.05 && misled > plain + 0.3,
        "{plain} {same} {misled}"
    );
}

#[test]
fn more_images_help_until_they_do_not() {
    let options = TrainOptions::default();
    let verdict = |data: &Data| {
        let validation = cross_validate(&data.samples(), &options, |_, _| ()).unwrap();
        let curve = learning_curve(&data.samples(), &validation, &options, |_, _| ()).unwrap();
        assert_eq!(curve.points.len(), 4);
        assert!(curve.points.is_sorted_by(|a, b| a.images < b.images));
        curve.verdict
    };
    // Many features, few images.
    assert_eq!(
        verdict(&Data::new(1600, 300, 4, 2.5, 8)),
        Verdict::MoreHelps
    );
    // Two features, whose best classifier fifty images give.
    assert_eq!(verdict(&Data::new(4000, 2, 2, 1.5, 9)), Verdict::Saturated);
    assert_eq!(verdict(&Data::new(40, 10, 2, 1.0, 10)), Verdict::Unclear);
}

#[test]
fn swapped_labels_are_doubted_first() {
    let mut data = Data::new(2000, 50, 5, 5.0, 11);
    let mut random = Random(12);
    let mut swapped = Vec::new();
    for image in (0..2000).step_by(33) {
        data.labels[image] = (data.labels[image] + 1 + random.below(4) as u32) % 5;
        swapped.push(image);
    }
    let options = TrainOptions::default();
    let validation = cross_validate(&data.samples(), &options, |_, _| ()).unwrap();
    let doubts = label_doubts(&validation.answers, &data.labels);
    let first = &doubts[..swapped.len()];
    let found = first
        .iter()
        .filter(|doubt| swapped.contains(&doubt.image))
        .count();
    assert!(
        found * 10 >= swapped.len() * 9,
        "{found} of {}",
        swapped.len()
    );
    assert!(first.iter().all(|doubt| doubt.label != doubt.prediction));
}

#[test]
fn the_same_image_in_two_classes_is_found() {
    let mut data = Data::new(300, 20, 3, 2.0, 13);
    // Of one class and of another, and twice in one class.
    for (from, to) in [(7, 200), (8, 11)] {
        let (start, end) = data.features.split_at_mut(to * 20);
        end[..20].copy_from_slice(&start[from * 20..][..20]);
    }
    data.features[200 * 20] += 0.01;
    assert_ne!(data.labels[7], data.labels[200]);
    assert_eq!(data.labels[8], data.labels[11]);
    let options = TrainOptions::default();
    let pairs = conflicting_duplicates(&data.samples(), 0.97, &options).unwrap();
    let pairs: Vec<_> = pairs.iter().map(|pair| (pair.first, pair.second)).collect();
    assert_eq!(pairs, [(7, 200)]);
    let mut stopped = TrainOptions::default();
    stopped.stop = Some(Arc::new(AtomicBool::new(true)));
    let error = conflicting_duplicates(&data.samples(), 0.97, &stopped).unwrap_err();
    assert_eq!(error, TrainError::Stopped);
}

#[test]
fn what_all_images_have_in_common_makes_none_alike() {
    let mut data = Data::new(300, 20, 3, 2.0, 13);
    data.features.iter_mut().for_each(|x| *x += 100.0);
    let pairs = conflicting_duplicates(&data.samples(), 0.97, &TrainOptions::default()).unwrap();
    assert_eq!(pairs, []);
}

/// Images of some folds, as a data set of their own.
fn only(data: &Data, of: &[usize], folds: &[usize]) -> Data {
    let images = || (0..of.len()).filter(|&image| folds.contains(&of[image]));
    Data {
        features: images()
            .flat_map(|image| &data.features[image * data.width..][..data.width])
            .copied()
            .collect(),
        labels: images().map(|image| data.labels[image]).collect(),
        ..*data
    }
}

/// Right answers on some data of the classifier of other data.
fn right(train: &Data, test: &Data, strength: f64) -> usize {
    let head = fit(&train.samples(), strength, &TrainOptions::default()).unwrap();
    let all: Vec<usize> = (0..test.labels.len()).collect();
    let logits = head.logits(&test.samples(), &all);
    let answers = logits.chunks(test.classes).zip(&test.labels);
    answers
        .filter(|(logits, label)| logits.iter().all(|&x| x <= logits[**label as usize]))
        .count()
}

#[test]
fn folds_are_tested_by_classifiers_of_the_others() {
    let data = Data::new(600, 60, 4, 2.0, 15);
    let mut options = TrainOptions::default();
    options.strengths = vec![10.0, 0.001, 0.1, 0.1];
    options.folds = 4;
    let validation = cross_validate(&data.samples(), &options, |_, _| ()).unwrap();
    let of = &validation.folds.of;
    let folds = [0, 1, 2, 3];
    let others = |left_out: &[usize]| -> Vec<usize> {
        folds
            .into_iter()
            .filter(|fold| !left_out.contains(fold))
            .collect()
    };
    let data_of = |folds: &[usize]| only(&data, of, folds);

    let strengths: Vec<f64> = validation
        .scores
        .iter()
        .map(|score| score.strength)
        .collect();
    assert_eq!(strengths, [0.001, 0.1, 10.0]);
    for score in &validation.scores {
        let test = |fold| {
            right(
                &data_of(&others(&[fold])),
                &data_of(&[fold]),
                score.strength,
            )
        };
        let expected: usize = folds.into_iter().map(test).sum();
        assert!(
            score.correct.abs_diff(expected) <= 4,
            "{score:?} {expected}"
        );
    }
    let most = validation
        .scores
        .iter()
        .map(|score| score.correct)
        .max()
        .unwrap();
    let count = |answers: &[Answer]| answers.iter().filter(|answer| answer.rank == 1).count();
    assert_eq!(count(&validation.answers), most);
    let chosen = validation
        .scores
        .iter()
        .find(|score| score.strength == validation.strength);
    let chosen = chosen.unwrap();
    let loss = validation
        .answers
        .iter()
        .map(|answer| answer.loss)
        .sum::<f64>()
        / 600.0;
    assert!(chosen.correct == most && (chosen.loss - loss).abs() < 1e-9);

    let nested = validation.nested.as_ref().unwrap();
    for (fold, strength) in nested.strengths.iter().enumerate() {
        let inner = |strength: f64| -> usize {
            let inner = others(&[fold]).into_iter();
            let test = |other| {
                right(
                    &data_of(&others(&[fold, other])),
                    &data_of(&[other]),
                    strength,
                )
            };
            inner.map(test).sum()
        };
        let best = strengths
            .iter()
            .map(|&strength| inner(strength))
            .max()
            .unwrap();
        assert!(inner(*strength) + 4 >= best, "{fold}: {strength}");
    }
    let expected: usize = folds
        .into_iter()
        .map(|fold| {
            right(
                &data_of(&others(&[fold])),
                &data_of(&[fold]),
                nested.strengths[fold],
            )
        })
        .sum();
    assert!(count(&nested.answers).abs_diff(expected) <= 4);

    options.folds = 2;
    let validation = cross_validate(&data.samples(), &options, |_, _| ()).unwrap();
    assert_eq!(validation.nested, None);
    options.strengths = vec![0.1];
    let validation = cross_validate(&data.samples(), &options, |_, _| ()).unwrap();
    assert_eq!(validation.nested.unwrap().answers, validation.answers);
}
