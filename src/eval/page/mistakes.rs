//! Pictures that the model is wrong about although it is sure, and those without an answer.

use std::fmt::{self, Formatter};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};

use super::Page;
use super::markup::{count, percent, pictures, text};
use crate::eval::{Answer, Outcome, Record};
use crate::preprocess::{Interpolation, resize};

/// Mistakes that are shown.
const SHOWN: usize = 24;
/// Failed pictures that are listed.
const FAILED: usize = 200;

/// A small JPEG picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    pub(super) jpeg: Vec<u8>,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Thumbnail {
    /// Longest edge, in pixels.
    pub const LARGEST: u32 = 128;

    /// `None` for an empty picture, which JPEG has no form for.
    pub fn new(picture: &RgbImage) -> Option<Self> {
        const QUALITY: u8 = 85;
        let longest = picture.width().max(picture.height());
        let small = (longest > Self::LARGEST).then(|| {
            let scale = f64::from(Self::LARGEST) / f64::from(longest);
            let edge = |edge: u32| ((f64::from(edge) * scale).round() as u32).max(1);
            let (width, height) = (edge(picture.width()), edge(picture.height()));
            resize(picture, width, height, Interpolation::Bicubic)
        });
        let picture = small.as_ref().unwrap_or(picture);
        let (width, height) = picture.dimensions();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .encode(picture, width, height, ExtendedColorType::Rgb8)
            .ok()?;
        Some(Self {
            jpeg,
            width,
            height,
        })
    }
}

/// The wrong answers of the highest probability, which a page shows.
pub fn surest_mistakes(records: &[Record]) -> Vec<&Record> {
    let mut mistakes = mistakes(records);
    mistakes.truncate(SHOWN);
    mistakes.into_iter().map(|(record, _)| record).collect()
}

/// Wrong answers, the surest first.
fn mistakes(records: &[Record]) -> Vec<(&Record, &Answer)> {
    let mut mistakes: Vec<(&Record, &Answer)> = records
        .iter()
        .filter_map(|record| Some((record, record.answer()?)))
        .filter(|(record, answer)| answer.prediction != record.label)
        .collect();
    mistakes.sort_by(|a, b| b.1.probability.total_cmp(&a.1.probability));
    mistakes
}

pub(super) fn write(page: &Page<'_>, out: &mut Formatter<'_>) -> fmt::Result {
    let mistakes = mistakes(page.context.records);
    if mistakes.is_empty() {
        return Ok(());
    }
    let shown = &mistakes[..mistakes.len().min(SHOWN)];
    out.write_str(
        "<section aria-labelledby=\"mistakes\">\n<h2 id=\"mistakes\">Surest mistakes</h2>\n",
    )?;
    writeln!(
        out,
        "<p>{} of {} with a wrong answer, by the probability of the answer.</p>\n<ol class=\"gallery\">",
        count(shown.len()),
        pictures(mistakes.len())
    )?;
    for (record, answer) in shown {
        let class = |index: usize| text(&page.context.header.classes[index]);
        out.write_str("<li>")?;
        if let Some(thumbnail) = page.thumbnails.get(&record.index) {
            image(thumbnail, &page.context.header.classes[record.label], out)?;
        }
        writeln!(
            out,
            "<p><b>{}</b> <span>taken for</span> <b class=\"bad\">{}</b> <span class=\"n\">{}</span></p>\
             <small>{}</small></li>",
            class(record.label),
            class(answer.prediction),
            percent(answer.probability),
            text(&record.picture)
        )?;
    }
    out.write_str("</ol>\n</section>\n")
}

fn image(thumbnail: &Thumbnail, shows: &str, out: &mut Formatter<'_>) -> fmt::Result {
    // Enlarged, the pixels of a very small picture say more than a blur.
    let coarse = thumbnail.width.max(thumbnail.height) < Thumbnail::LARGEST / 2;
    write!(
        out,
        "<span class=\"frame\"><img{} width=\"{}\" height=\"{}\" alt=\"Picture of the class {}\" \
         src=\"data:image/jpeg;base64,{}\"/></span>",
        if coarse { " class=\"coarse\"" } else { "" },
        thumbnail.width,
        thumbnail.height,
        text(shows),
        Base64Display::new(&thumbnail.jpeg, &STANDARD)
    )
}

pub(super) fn write_failed(page: &Page<'_>, out: &mut Formatter<'_>) -> fmt::Result {
    if page.context.report.failed == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "<section aria-labelledby=\"failed\">\n<h2 id=\"failed\">Failed pictures</h2>\n\
         <p>{} could not be read or classified, and count in no share.</p>\n<table class=\"failed\">\n\
         <thead><tr><th scope=\"col\">picture</th><th scope=\"col\">error</th></tr></thead>\n<tbody>",
        pictures(page.context.report.failed)
    )?;
    let failed = page
        .context
        .records
        .iter()
        .filter_map(|record| match &record.outcome {
            Outcome::Error { error } => Some((&record.picture, error)),
            Outcome::Answer(_) | Outcome::Scores(_) => None,
        });
    for (picture, error) in failed.take(FAILED) {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td></tr>",
            text(picture),
            text(error)
        )?;
    }
    out.write_str("</tbody>\n</table>\n")?;
    let more = page.context.report.failed.saturating_sub(FAILED);
    if more > 0 {
        writeln!(out, "<p class=\"more\">and {} more</p>", count(more))?;
    }
    out.write_str("</section>\n")
}
