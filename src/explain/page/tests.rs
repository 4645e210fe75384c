use image::RgbImage;

use super::*;
use crate::eval::page::well_formed;
use crate::explain::{GatesByClass, Module, ModuleKind};

const HOSTILE: &str = "<script>alert(1)</script> it's \"a\" \u{202e}gnp.\u{0}";

fn map(versus: Option<String>) -> PageMap {
    PageMap {
        label: HOSTILE.into(),
        probability: 0.75,
        mean: 4.0,
        bias: -0.5,
        form: Form::Gradient,
        range: [-2.0, 9.0],
        scale: match versus {
            Some(_) => Scale::Diverging,
            None => Scale::Sequential,
        },
        versus,
        embedded: EmbeddedImage::of(&RgbImage::new(30, 20)),
        check: Some(Check {
            cells: 5,
            top_drop: 0.25,
            random_drop: -0.015,
            draws: 10,
        }),
    }
}

#[test]
fn a_page_is_well_formed_whatever_the_names() {
    let module = Module {
        name: HOSTILE.into(),
        block: "layer1.0".into(),
        stage: 1,
        kind: ModuleKind::Se,
        channels: 2,
    };
    let mut gates = GatesByClass::new(&[module]);
    gates.add(3, &[vec![0.25, 0.75]]);
    gates.add(4, &[vec![0.5, 0.75]]);
    let report = gates.report();
    let image = PageImage {
        name: HOSTILE.into(),
        embedded: Some(EmbeddedImage::of(&RgbImage::new(30, 20))),
        maps: vec![map(None), map(Some(HOSTILE.into()))],
        answers: vec![Answer {
            label: HOSTILE.into(),
            probability: 0.5,
        }],
        error: None,
    };
    let images = [image, PageImage::failed(HOSTILE.into(), HOSTILE.into())];
    let page = Page {
        model: HOSTILE,
        images: &images,
        more: 3,
        gates: Some(PageGates {
            report: &report,
            lines: vec![(1, HOSTILE.into())],
        }),
    };
    let page = page.to_string();
    well_formed(&page);
    assert!(!page.contains("<script") && !page.contains("NaN"));
    for text in [
        "5 images explained",
        "by -25.00 points, covering as many at random by +1.50 (mean of 10)",
        "Logit 3.500: mean 4.000, bias -0.500 (gradient at this image)",
        "Difference 3.500",
        "<span>-9.00</span><span>9.00</span>",
        "3 more images were explained; this page shows the first 2",
        "d=\"M34.0 83.0L1032.0 45.5\"",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 3);
}

#[test]
fn images_have_the_size_of_a_page() {
    for (from, to) in [
        ((28, 28), (224, 224)),
        ((1, 3), (75, 225)),
        ((300, 200), (300, 200)),
        ((4000, 1000), (448, 112)),
    ] {
        let image = EmbeddedImage::scaled(&RgbImage::new(from.0, from.1));
        assert_eq!(image.dimensions(), to);
    }
}

#[test]
fn more_classes_than_colours_are_counted() {
    let module = Module {
        name: "layer1.0.se".into(),
        block: "layer1.0".into(),
        stage: 1,
        kind: ModuleKind::Se,
        channels: 1,
    };
    let mut gates = GatesByClass::new(&[module]);
    (0..9).for_each(|class| gates.add(class, &[vec![0.5]]));
    let report = gates.report();
    let lines = (0..9).map(|class| (class, format!("class {class}")));
    let page = Page {
        model: "model",
        images: &[],
        more: 0,
        gates: Some(PageGates {
            report: &report,
            lines: lines.collect(),
        }),
    };
    let page = page.to_string();
    well_formed(&page);
    assert!(page.contains("</i>class 5</span> <span>and 3 more, not drawn</span>"));
    assert_eq!(page.matches("<path class=\"line c").count(), 6);
}
