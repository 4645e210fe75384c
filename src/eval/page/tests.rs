use std::collections::BTreeMap;

use image::RgbImage;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::*;
use crate::eval::{Answer, Comparison, Header, Member, Outcome, Record, Report, TEMPERATURES};
use crate::nn::Precision;
use crate::preprocess::{CropMode, InputSpec, Interpolation, Views};

const SCRIPT: &str = "<script>alert(1)</script>";
const QUOTES: &str = "it's/\"a\" onerror=\"alert(2)\" & <b>\u{202e}gnp.\u{1b}[2Jb\u{0}.png";

fn header(names: Vec<String>, images: usize) -> Header {
    Header {
        senet_eval: Header::VERSION,
        members: vec![Member {
            model: "a <model>".into(),
            weights: "0123".into(),
            input: InputSpec {
                size: [28, 28],
                crop_pct: 0.875,
                crop_mode: CropMode::Center,
                interpolation: Interpolation::Bicubic,
                mean: [0.5; 3],
                std: [0.5; 3],
                test_size: None,
                test_crop_pct: None,
            },
            precision: Precision::F32,
        }],
        views: Views::Flip,
        valid: None,
        exif: false,
        scale_16bit: false,
        multi_label: false,
        images,
        data: String::new(),
        classes: names,
    }
}

/// A record with an answer; about a third of them are wrong.
fn answered(index: usize, classes: usize) -> Record {
    let label = index % classes;
    let wrong = classes > 1 && index.is_multiple_of(3);
    let prediction = if wrong { (label + 1) % classes } else { label };
    Record {
        index,
        image: format!("{QUOTES} {index}"),
        image_bytes: None,
        label,
        outcome: Outcome::Answer(Answer {
            prediction,
            probability: 0.2 + 0.8 * (index % 97) as f64 / 96.0,
            rank: if wrong { 2 } else { 1 },
            loss: 0.5,
            tempered: TEMPERATURES.map(|temperature| (0.5 + temperature.ln().powi(2)) as f32),
        }),
    }
}

fn failed(index: usize) -> Record {
    Record {
        index,
        image: QUOTES.into(),
        image_bytes: None,
        label: 0,
        outcome: Outcome::Error {
            error: SCRIPT.into(),
        },
    }
}

fn page(classes: usize, records: &[Record], thumbnails: &BTreeMap<usize, Thumbnail>) -> String {
    page_with(classes, records, thumbnails, None)
}

/// The page of a model with hostile names, checked to be well-formed and free of foreign markup.
fn page_with(
    classes: usize,
    records: &[Record],
    thumbnails: &BTreeMap<usize, Thumbnail>,
    training: Option<Training<'_>>,
) -> String {
    let names = (0..classes).map(|class| format!("{SCRIPT} {class}"));
    let header = header(names.collect(), records.len());
    let report = Report::new(&header, records, &[1, 5]);
    let comparison = Comparison {
        top1: 81.5,
        top5: Some(95.25),
        source: SCRIPT.into(),
        agrees: false,
    };
    let context = ReportContext {
        header: &header,
        report: &report,
        records,
        warnings: &[],
        comparison: Some(&comparison),
    };
    let page = Page {
        context,
        thumbnails,
        training,
    };
    let page = page.to_string();
    well_formed(&page);
    page
}

/// Every element is closed in order, every attribute is quoted and unique, every entity is known,
/// and no element or attribute is active.
pub(crate) fn well_formed(page: &str) {
    let mut reader = Reader::from_str(page);
    let mut open = 0;
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event();
        match event.unwrap_or_else(|error| panic!("{error} at {at}")) {
            Event::Eof => break,
            Event::Start(start) => {
                open += 1;
                check(&start);
            }
            Event::Empty(start) => check(&start),
            Event::End(_) => open -= 1,
            Event::GeneralRef(entity) => {
                let name = entity.into_inner();
                assert!(
                    matches!(&*name, "amp" | "lt" | "gt" | "quot" | "#39"),
                    "{name}"
                );
            }
            _ => {}
        }
    }
    assert_eq!(open, 0);
    let printable = |c: char| c == '\n' || !c.is_control();
    assert!(page.chars().all(printable));
    assert!(!page.contains('\u{202e}'));
}

fn check(start: &quick_xml::events::BytesStart<'_>) {
    let name = start.name();
    let element = name.as_ref();
    assert_ne!(element, "script");
    for attribute in start.attributes() {
        let attribute = attribute.unwrap();
        let (key, value) = (attribute.key.as_ref(), &*attribute.value);
        assert!(!key.starts_with("on"), "{key}");
        if matches!(key, "src" | "href") {
            assert!(
                value.starts_with("data:") || value.starts_with('#'),
                "{value}"
            );
        }
    }
}

#[test]
fn nothing_answered() {
    for records in [vec![], vec![failed(0), failed(1)]] {
        let page = page(10, &records, &BTreeMap::new());
        assert!(page.contains("No image has an answer"));
        assert_eq!(page.contains("id=\"failed\""), !records.is_empty());
        assert!(!page.contains("NaN"));
    }
}

#[test]
fn one_class() {
    let records: Vec<Record> = (0..5).map(|index| answered(index, 1)).collect();
    let page = page(1, &records, &BTreeMap::new());
    assert!(page.contains("Every answer is right."));
    assert!(page.contains("100.00\u{a0}%"));
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn ten_classes_are_all_shown() {
    let mut records: Vec<Record> = (0..200).map(|index| answered(index, 10)).collect();
    records.push(failed(200));
    let image = RgbImage::from_pixel(28, 20, [200, 10, 10].into());
    let first = surest_mistakes(&records)[0].index;
    let thumbnails = BTreeMap::from([(first, Thumbnail::new(&image).unwrap())]);
    let page = page(10, &records, &thumbnails);
    assert_eq!(page.matches("<th scope=\"row\">").count(), 10);
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 1);
    assert_eq!(page.matches("<li>").count(), 24);
    assert!(page.contains("it&#39;s/&quot;a&quot; onerror=&quot;alert(2)&quot; &amp; &lt;b&gt;"));
    assert!(page.contains("<b class=\"bad\">differs</b>"));
}

#[test]
fn training_is_shown() {
    let image = Doubtful {
        image: QUOTES,
        label: SCRIPT,
        prediction: "b",
        label_probability: 0.01,
        probability: 0.99,
        thumbnail: Thumbnail::new(&RgbImage::new(3, 2)),
    };
    let alike = Alike {
        first: [QUOTES, SCRIPT],
        second: ["b", "<b>"],
        similarity: 1.0,
    };
    let training = Training {
        facts: &[(SCRIPT.into(), QUOTES.into())],
        doubts: 7,
        doubtful: &[image],
        alike: &[alike],
    };
    let records: Vec<Record> = (0..5).map(|index| answered(index, 1)).collect();
    let shown = page_with(1, &records, &BTreeMap::new(), Some(training));
    assert_eq!(shown.matches("src=\"data:image/jpeg;base64,").count(), 1);
    assert!(shown.contains("1 of 7 images that"));
    assert!(shown.contains("1.0000"));
    assert!(!page(1, &records, &BTreeMap::new()).contains("id=\"training\""));
}

#[test]
fn of_a_thousand_classes_only_the_ends_are_shown() {
    let records: Vec<Record> = (0..20_000).map(|index| answered(index, 1000)).collect();
    let page = page(1000, &records, &BTreeMap::new());
    assert_eq!(page.matches("<th scope=\"row\">").count(), 40);
    assert_eq!(page.matches("class=\"name end\"").count(), 30);
    assert!(page.contains("all others"));
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn classes_that_are_only_answers_have_a_column_and_no_row() {
    let mut records: Vec<Record> = (0..8).map(|index| answered(index, 4)).collect();
    records.retain(|record| record.label == 0);
    let page = page(4, &records, &BTreeMap::new());
    assert_eq!(page.matches("class=\"name end\"").count(), 1);
    assert_eq!(page.matches("class=\"name\"").count(), 2);
}

#[test]
fn the_most_confident_mistakes_come_first() {
    let records: Vec<Record> = (0..300).map(|index| answered(index, 10)).collect();
    let surest = surest_mistakes(&records);
    assert_eq!(surest.len(), 24);
    let probability = |record: &Record| record.answer().map(|answer| answer.probability);
    assert!(surest.is_sorted_by(|a, b| probability(a) >= probability(b)));
    assert!(
        surest
            .iter()
            .all(|r| r.answer().unwrap().prediction != r.label)
    );
}

#[test]
fn thumbnails_are_small_jpegs() {
    for (from, to) in [
        ((28, 28), (28, 28)),
        ((1000, 500), (128, 64)),
        ((1, 4000), (1, 128)),
        ((129, 128), (128, 127)),
    ] {
        let thumbnail = Thumbnail::new(&RgbImage::new(from.0, from.1)).unwrap();
        assert_eq!((thumbnail.width, thumbnail.height), to);
        let decoded = image::load_from_memory(&thumbnail.jpeg).unwrap();
        assert_eq!((decoded.width(), decoded.height()), to);
    }
    assert_eq!(Thumbnail::new(&RgbImage::new(0, 3)), None);
}
