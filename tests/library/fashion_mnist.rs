//! The built-in model on all 10,000 test images of Fashion-MNIST, compared with PyTorch.

use std::path::Path;

use candle_core::Device;
use senet::hub::HubOptions;
use senet::nn::Precision;
use senet::preprocess::RgbImage;
use senet::{Model, Zoo};

/// PyTorch's answers with the same weights; see `tests/tools/train_fashion_mnist.py`.
fn answers_of_torch() -> Vec<usize> {
    let text = include_str!("../data/fashion_mnist_torch.txt");
    text.bytes()
        .filter(u8::is_ascii_digit)
        .map(|digit| usize::from(digit - b'0'))
        .collect()
}

/// The images in colour, and their labels.
fn images() -> (Vec<RgbImage>, Vec<u8>) {
    let (images, labels) = crate::common::fashion_mnist::test_set();
    let image = |grey: &Vec<u8>| {
        let rgb = grey.iter().flat_map(|&value| [value; 3]).collect();
        RgbImage::from_raw(28, 28, rgb).unwrap()
    };
    (images.iter().map(image).collect(), labels)
}

#[test]
#[ignore = "needs Debian's dataset-fashion-mnist; cargo test --release --test library fashion_mnist -- --ignored --nocapture"]
#[expect(
    clippy::print_stderr,
    reason = "the figure is what the test is run for"
)]
fn accuracy_on_all_test_images() {
    let mut offline = HubOptions::from_env().unwrap();
    offline.offline = true;
    let model = Model::open("demo", &offline, &Device::Cpu).unwrap();
    let (images, labels) = images();
    let mut answers = Vec::new();
    let mut in_top5 = 0;
    for (batch, labels) in images.chunks(250).zip(labels.chunks(250)) {
        for (best, &label) in model.classify(batch, 5).unwrap().iter().zip(labels) {
            answers.push(best[0].index);
            in_top5 += usize::from(best.iter().any(|p| p.index == usize::from(label)));
        }
    }
    let correct = answers
        .iter()
        .zip(&labels)
        .filter(|(a, b)| **a == usize::from(**b))
        .count();
    let torch = answers_of_torch();
    let unlike_torch = answers.iter().zip(&torch).filter(|(a, b)| a != b).count();
    eprintln!(
        "top-1: {correct} of 10000, top-5: {in_top5}; {unlike_torch} answers differ from PyTorch's"
    );
    assert_eq!((torch.len(), unlike_torch), (10_000, 0));

    let card = Zoo::builtin().get("seresnet20.fashion_mnist").unwrap();
    let published = &card.published[0];
    assert_eq!(published.top1, correct as f64 / 100.0);
    assert_eq!(published.top5, Some(in_top5 as f64 / 100.0));
    assert!(published.top1 >= 93.5);
}

#[test]
#[ignore = "needs Debian's dataset-fashion-mnist; cargo test --release --test library fashion_mnist -- --ignored --nocapture"]
#[expect(
    clippy::print_stderr,
    reason = "the figures are what the test is run for"
)]
fn bf16_answers_nearly_as_f32() {
    let (images, labels) = images();
    let [exact, bf16] = [Precision::F32, Precision::Bf16].map(|precision| {
        let mut offline = HubOptions::from_env().unwrap();
        offline.offline = true;
        let model = Model::builder("demo").hub(offline).device(Device::Cpu);
        let model = model.precision(precision).open().unwrap();
        let mut answers = Vec::new();
        let mut loss = 0.0;
        for (batch, labels) in images.chunks(250).zip(labels.chunks(250)) {
            for (best, &label) in model.classify(batch, 10).unwrap().iter().zip(labels) {
                answers.push(best[0].index);
                let own = best.iter().find(|p| p.index == usize::from(label)).unwrap();
                loss -= own.probability.ln();
            }
        }
        let correct = answers
            .iter()
            .zip(&labels)
            .filter(|(a, b)| **a == usize::from(**b));
        let top1 = correct.count() as f64 / 100.0;
        (answers, top1, loss / 10_000.0)
    });
    let equal = exact.0.iter().zip(&bf16.0).filter(|(a, b)| a == b).count() as f64 / 100.0;
    eprintln!(
        "top-1 {} % in f32, {} % in bf16; {equal} % equal answers; mean loss {:.5} and {:.5}",
        exact.1, bf16.1, exact.2, bf16.2
    );
    assert!((exact.1 - bf16.1).abs() <= 0.10);
    assert!(equal >= 99.7);
    assert!((exact.2 - bf16.2).abs() <= 0.002);
}

/// Probabilities of every class, in millionths, for every twentieth image: a line each. Written on x86-64
/// with AVX-512 by `UPDATE_SNAPSHOTS=1` and the command below.
const ANSWERS: &str = "tests/data/fashion_mnist_x86_64.txt";

#[test]
#[ignore = "needs Debian's dataset-fashion-mnist; cargo test --test library fashion_mnist::a_sample -- --ignored"]
fn a_sample_answers_as_on_x86_64() {
    let mut offline = HubOptions::from_env().unwrap();
    offline.offline = true;
    let model = Model::open("demo", &offline, &Device::Cpu).unwrap();
    let (images, _) = images();
    let images: Vec<RgbImage> = images.into_iter().step_by(20).collect();
    let mut answers = Vec::new();
    for batch in images.chunks(100) {
        for best in model.classify(batch, 10).unwrap() {
            let mut answer = [0.0; 10];
            best.iter().for_each(|p| answer[p.index] = p.probability);
            answers.push(answer);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(ANSWERS);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let mut text = String::new();
        for answer in &answers {
            let millionths = answer.map(|p| format!("{:.0}", p * 1e6));
            text += &(millionths.join(" ") + "\n");
        }
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let expected: Vec<Vec<f64>> = text
        .lines()
        .map(|line| {
            let numbers = line.split(' ').map(|number| number.parse::<f64>().unwrap());
            numbers.map(|millionths| millionths / 1e6).collect()
        })
        .collect();
    assert_eq!((answers.len(), expected.len()), (500, 500));
    let class = |answer: &[f64]| (0..10).max_by(|&a, &b| answer[a].total_cmp(&answer[b]));
    for (image, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
        assert_eq!(class(answer), class(expected), "image {}", 20 * image);
        for (found, expected) in answer.iter().zip(expected) {
            assert!(
                (found - expected).abs() <= 1e-5,
                "image {}: {answer:?}, expected {expected:?}",
                20 * image
            );
        }
    }
}
