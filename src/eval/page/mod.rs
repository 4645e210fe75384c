//! A report as one HTML page, to be looked at.
//!
//! The page holds all that it shows: no script, no font and no picture comes from elsewhere, and its
//! content security policy forbids it. Names of classes and files are foreign text and go through
//! `markup::text` wherever they stand. It is well-formed XML as well, so that a parser can check it.

mod calibration;
mod classes;
mod confusion;
mod markup;
mod mistakes;
mod summary;

use std::collections::BTreeMap;
use std::fmt;

pub use mistakes::{Thumbnail, surest_mistakes};

use super::{Header, Record, Report};
use markup::text;

/// All that a page is made from; [`Display`](fmt::Display) writes the page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub header: &'a Header,
    /// Made from this header and these records.
    pub report: &'a Report,
    pub records: &'a [Record],
    /// What to tell the reader first.
    pub warnings: &'a [String],
    /// Published figures to set beside the measured ones.
    pub published: Option<Published<'a>>,
    /// Pictures of [`surest_mistakes`] by [`Record::index`]; a mistake without one has its text alone.
    pub thumbnails: &'a BTreeMap<usize, Thumbnail>,
}

/// What somebody else measured.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// In per cent, as is `top5`.
    pub top1: f64,
    pub top5: f64,
    pub source: &'a str,
    /// Whether they lie in the intervals of the measured ones.
    pub agrees: bool,
}

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    base-uri 'none'; form-action 'none'";

impl fmt::Display for Page<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n\
             <link rel=\"icon\" href=\"data:,\"/>\n\
             <title>{} – evaluation</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n",
            text(&self.report.model),
            include_str!("style.css"),
        )?;
        summary::write(self, out)?;
        if self.report.answered > 0 {
            calibration::write(self.report, out)?;
            classes::write(self.report, out)?;
            confusion::write(self.report, out)?;
            mistakes::write(self, out)?;
        }
        mistakes::write_failed(self, out)?;
        write!(
            out,
            "</main>\n<footer>senet {}. Intervals are Wilson’s, of 95 %.</footer>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        )
    }
}

#[cfg(test)]
mod tests;
