//! The head of the page: what was measured, on what, and the result.

use askama::Template;

use super::markup::{Count, Images, Percent, Range};
use crate::eval::{Header, Report, ReportContext};
use crate::preprocess::{CropMode, InputSpec, Views};

#[derive(Template)]
#[template(path = "summary.html", config = "src/eval/page/askama.toml")]
pub(super) struct Summary<'a> {
    context: ReportContext<'a>,
    report: &'a Report,
    answered: Count,
    images: Images,
    /// Classes that occur in the data.
    classes: Count,
    failed: Count,
    /// Images without a record.
    missing: Count,
    top: Vec<Top>,
    facts: Vec<Fact>,
}

struct Top {
    k: usize,
    accuracy: Percent,
    interval: Range,
    correct: Count,
}

struct Fact {
    name: &'static str,
    value: String,
    is_hash: bool,
}

impl<'a> Summary<'a> {
    pub(super) fn new(context: ReportContext<'a>) -> Self {
        let report = context.report;
        let top = report.top.iter().filter_map(|top| {
            Some(Top {
                k: top.k,
                accuracy: Percent(top.accuracy?),
                interval: Range(top.interval),
                correct: Count(top.correct),
            })
        });
        Self {
            context,
            report,
            answered: Count(report.answered),
            images: Images(report.images),
            classes: Count(report.classes.len()),
            failed: Count(report.failed),
            missing: Count(report.images.saturating_sub(context.records.len())),
            top: top.collect(),
            facts: facts(context.header),
        }
    }
}

fn facts(header: &Header) -> Vec<Fact> {
    let fact = |name, value: String| Fact {
        name,
        value,
        is_hash: false,
    };
    // Fingerprints are only computed when results are kept.
    let hash = |name, value: &str| {
        (!value.is_empty()).then(|| Fact {
            name,
            value: value.to_owned(),
            is_hash: true,
        })
    };
    let mut facts = Vec::new();
    for member in &header.members {
        if header.members.len() > 1 {
            facts.push(fact("Member", member.model.clone()));
        }
        facts.push(fact("Input", input(&member.input)));
        facts.push(fact("Preprocessing", preprocessing(&member.input, header)));
        facts.extend(hash("Weights", &member.weights));
    }
    let views = match header.views {
        Views::One => None,
        Views::Flip => Some("the crop and its mirror image"),
        Views::TenCrop => Some("ten crops"),
    };
    facts.extend(views.map(|views| fact("Views", views.into())));
    if let Some(valid) = &header.valid {
        let valid = format!("{} of {} classes", valid.len(), header.classes.len());
        facts.push(fact("Valid answers", valid));
    }
    facts.extend(hash("Data set", &header.data));
    facts
}

fn input(input: &InputSpec) -> String {
    let [height, width] = input.size;
    let list = |values: [f32; 3]| values.map(|value| value.to_string()).join(", ");
    format!(
        "{height} × {width} px; mean {}; deviation {}",
        list(input.mean),
        list(input.std)
    )
}

fn preprocessing(input: &InputSpec, header: &Header) -> String {
    let [height, width] = input.scale_size();
    let resize = match input.crop_mode {
        CropMode::Center => format!("short side to {}", height.min(width)),
        CropMode::Squash => format!("both sides to {height} × {width}"),
        CropMode::Border => format!("long side to {}", height.max(width)),
    };
    let filter = input.interpolation.name();
    let turned = if header.exif {
        "turned as EXIF says"
    } else {
        "EXIF orientation ignored"
    };
    format!(
        "{resize} px, {filter}, centre crop of {}; {turned}{}",
        input.crop_pct,
        if header.scale_16bit {
            "; 16-bit grey divided by 257"
        } else {
            ""
        }
    )
}
