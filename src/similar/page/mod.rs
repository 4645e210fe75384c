//! A contact sheet: similar images next to each other, as an HTML page.
//!
//! Like the [report](crate::eval::page), it is self-contained, and escapes all text.

use std::fmt;

use askama::Template;

use crate::eval::page::Thumbnail;

/// The input of a page; [`Display`](fmt::Display) writes it.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// The heading.
    pub title: String,
    /// A sentence below it.
    pub lead: String,
    /// Queries, or groups.
    pub sections: Vec<Section>,
    /// What is left out.
    pub more: Option<String>,
}

/// Images that are alike.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// Why there are none.
    pub error: Option<String>,
    /// The images.
    pub images: Vec<SheetImage>,
    /// What is left out.
    pub more: Option<String>,
}

/// An image.
#[derive(Clone, Debug, Default)]
pub struct SheetImage {
    /// Its path.
    pub path: String,
    /// A few words above the path.
    pub caption: String,
    /// Whether the others are compared with it.
    pub is_query: bool,
    /// `None` for an image that cannot be read, which is shown as missing.
    pub thumbnail: Option<Thumbnail>,
}

#[derive(Template)]
#[template(path = "sheet.html", config = "src/similar/page/askama.toml")]
struct Document<'a> {
    sheet: &'a Sheet,
    style: &'static str,
    version: &'static str,
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let document = Document {
            sheet: self,
            style: include_str!("../../eval/page/style.css"),
            version: env!("CARGO_PKG_VERSION"),
        };
        // A template ends without its last line break.
        writeln!(f, "{document}")
    }
}
