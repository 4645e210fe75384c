//! Images that the model is confidently wrong about, and those without an answer.

use askama::Template;
use base64::display::Base64Display;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};

use super::Page;
use super::markup::{Count, Images, Percent};
use crate::eval::{Answer, Outcome, Record, ReportContext};
use crate::preprocess::{Interpolation, resize};

/// Mistakes that are shown.
const SHOWN: usize = 24;
/// Failed images that are listed.
const FAILED: usize = 200;

/// A small JPEG image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    pub(super) jpeg: Vec<u8>,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Thumbnail {
    /// Longest edge, in pixels.
    pub const LARGEST: u32 = 128;

    /// `None` for an empty image, which JPEG cannot represent.
    pub fn new(image: &RgbImage) -> Option<Self> {
        Self::within(image, Self::LARGEST)
    }

    /// As [`Thumbnail::new`], with another longest edge.
    pub(crate) fn within(image: &RgbImage, largest: u32) -> Option<Self> {
        const QUALITY: u8 = 85;
        let longest = image.width().max(image.height());
        let small = (longest > largest).then(|| {
            let scale = f64::from(largest) / f64::from(longest);
            let edge = |edge: u32| ((f64::from(edge) * scale).round() as u32).max(1);
            let (width, height) = (edge(image.width()), edge(image.height()));
            resize(image, width, height, Interpolation::Bicubic)
        });
        let image = small.as_ref().unwrap_or(image);
        let (width, height) = image.dimensions();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .encode(image, width, height, ExtendedColorType::Rgb8)
            .ok()?;
        Some(Self {
            jpeg,
            width,
            height,
        })
    }

    /// Whether it is better enlarged with visible pixels than blurred.
    pub(crate) fn is_coarse(&self) -> bool {
        self.width.max(self.height) < Self::LARGEST / 2
    }

    pub(crate) fn base64(&self) -> Base64Display<'_, 'static, GeneralPurpose> {
        Base64Display::new(&self.jpeg, &STANDARD)
    }
}

/// The wrong answers with the highest probability, which a page shows.
pub fn surest_mistakes(records: &[Record]) -> Vec<&Record> {
    let mut mistakes = mistakes(records);
    mistakes.truncate(SHOWN);
    mistakes.into_iter().map(|(record, _)| record).collect()
}

/// Wrong answers, most confident first.
fn mistakes(records: &[Record]) -> Vec<(&Record, &Answer)> {
    let mut mistakes: Vec<(&Record, &Answer)> = records
        .iter()
        .filter_map(|record| Some((record, record.answer()?)))
        .filter(|(record, answer)| answer.prediction != record.label)
        .collect();
    mistakes.sort_by(|a, b| b.1.probability.total_cmp(&a.1.probability));
    mistakes
}

#[derive(Template)]
#[template(path = "mistakes.html", config = "src/eval/page/askama.toml")]
pub(super) struct Mistakes<'a> {
    all: Images,
    shown: Vec<Mistake<'a>>,
}

struct Mistake<'a> {
    label: &'a str,
    prediction: &'a str,
    probability: Percent,
    image: &'a str,
    thumbnail: Option<&'a Thumbnail>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(page: &Page<'a>) -> Self {
        let (classes, thumbnails) = (&page.context.header.classes, page.thumbnails);
        let mistakes = mistakes(page.context.records);
        let shown = mistakes.iter().take(SHOWN).map(|(record, answer)| Mistake {
            label: &classes[record.label],
            prediction: &classes[answer.prediction],
            probability: Percent(answer.probability),
            image: &record.image,
            thumbnail: thumbnails.get(&record.index),
        });
        Self {
            all: Images(mistakes.len()),
            shown: shown.collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "failures.html", config = "src/eval/page/askama.toml")]
pub(super) struct Failures<'a> {
    all: Images,
    /// Image and error.
    shown: Vec<(&'a str, &'a str)>,
    more: Count,
}

impl<'a> Failures<'a> {
    pub(super) fn new(context: &ReportContext<'a>) -> Self {
        let failed = context.records.iter();
        let failed = failed.filter_map(|record| match &record.outcome {
            Outcome::Error { error } => Some((&*record.image, &**error)),
            Outcome::Answer(_) | Outcome::Scores(_) => None,
        });
        Self {
            all: Images(context.report.failed),
            shown: failed.take(FAILED).collect(),
            more: Count(context.report.failed.saturating_sub(FAILED)),
        }
    }
}
