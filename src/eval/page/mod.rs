//! A report as an HTML page.
//!
//! The page is self-contained: no script, font or image is loaded, and its content security policy
//! forbids it. Each section is a template with a struct of what it shows; the templates escape all
//! text with `markup::Html`, because names of classes and files are untrusted. The page is also
//! well-formed XML, so that a parser can check it.

mod calibration;
mod classes;
mod confusion;
pub(crate) mod markup;
mod mistakes;
mod summary;
mod training;

use std::collections::BTreeMap;
use std::fmt;

use askama::Template;

pub use mistakes::{Thumbnail, surest_mistakes};
pub use training::{Alike, Doubtful, Training};

#[cfg(doc)]
use super::Record;
use super::ReportContext;
use calibration::Calibration;
use classes::Classes;
use confusion::Confusion;
use mistakes::{Failures, Mistakes};
use summary::Summary;
use training::Section;

/// The input of a page; [`Display`](fmt::Display) writes it.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The report and the records it was made from.
    pub context: ReportContext<'a>,
    /// Thumbnails of [`surest_mistakes`] by [`Record::index`]; a mistake without one is shown as
    /// text only.
    pub thumbnails: &'a BTreeMap<usize, Thumbnail>,
    /// How the model was learned, if it just was.
    pub training: Option<Training<'a>>,
}

/// The look of all pages.
pub(crate) const STYLE: &str = include_str!("style.css");

#[derive(Template)]
#[template(path = "page.html", config = "src/eval/page/askama.toml")]
struct Document<'a> {
    model: &'a str,
    style: &'static str,
    summary: Summary<'a>,
    training: Option<Section<'a>>,
    /// `None` without an answer.
    answers: Option<Answers<'a>>,
    failures: Failures<'a>,
    version: &'static str,
}

/// The sections about answers.
struct Answers<'a> {
    calibration: Calibration,
    classes: Classes<'a>,
    confusion: Confusion<'a>,
    mistakes: Mistakes<'a>,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.context.report;
        let document = Document {
            model: &report.model,
            style: STYLE,
            summary: Summary::new(self.context),
            training: self.training.map(Section::new),
            answers: (report.answered > 0).then(|| Answers {
                calibration: Calibration::new(report),
                classes: Classes::new(report),
                confusion: Confusion::new(report),
                mistakes: Mistakes::new(self),
            }),
            failures: Failures::new(&self.context),
            version: env!("CARGO_PKG_VERSION"),
        };
        // A template ends without its last line break.
        writeln!(f, "{document}")
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::well_formed;
