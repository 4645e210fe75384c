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

#[cfg(doc)]
use super::Record;
use super::ReportContext;
use markup::text;

/// All that a page is made from; [`Display`](fmt::Display) writes the page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub context: ReportContext<'a>,
    /// Images of [`surest_mistakes`] by [`Record::index`]; a mistake without one has its text alone.
    pub thumbnails: &'a BTreeMap<usize, Thumbnail>,
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
            text(&self.context.report.model),
            include_str!("style.css"),
        )?;
        summary::write(&self.context, out)?;
        if self.context.report.answered > 0 {
            calibration::write(self.context.report, out)?;
            classes::write(self.context.report, out)?;
            confusion::write(self.context.report, out)?;
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
