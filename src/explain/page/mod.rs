//! Explanations as an HTML page: images with their maps, and gates by class.
//!
//! As the page of an evaluation, it is self-contained and loads nothing, its content security policy forbids that,
//! all text is escaped, and it is well-formed XML.

mod embedded;
mod gates;

use std::fmt;

use askama::Template;

pub use embedded::EmbeddedImage;
pub use gates::PageGates;

use super::{Check, Form, Scale};
use crate::eval::page::STYLE;
use crate::eval::page::markup::{Count, Images, Percent};
use gates::Gates;

/// The input of a page; [`Display`](fmt::Display) writes it.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// The images that are shown.
    pub images: &'a [PageImage],
    /// How many more were explained.
    pub more: usize,
    /// The gates of a data set.
    pub gates: Option<PageGates<'a>>,
}

/// An image on a page.
#[derive(Clone, Debug)]
pub struct PageImage {
    /// Its path.
    pub name: String,
    /// The image itself.
    pub embedded: Option<EmbeddedImage>,
    /// What the network sees in it.
    pub maps: Vec<PageMap>,
    /// The most probable classes.
    pub answers: Vec<Answer>,
    /// Why it could not be explained.
    pub error: Option<String>,
}

/// A probable class.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its name.
    pub label: String,
    /// From 0 to 1.
    pub probability: f64,
}

/// A map on a page.
#[derive(Clone, Debug)]
pub struct PageMap {
    /// The class that it explains.
    pub label: String,
    /// The class that it is compared with.
    pub versus: Option<String>,
    /// Of the class, from 0 to 1.
    pub probability: f64,
    /// Of the map.
    pub mean: f64,
    /// What is added to that to give the logit.
    pub bias: f64,
    /// How the map was made.
    pub form: Form,
    /// The lowest and the highest value of the map.
    pub range: [f64; 2],
    /// The colours of the drawing.
    pub scale: Scale,
    /// The map over the image.
    pub embedded: EmbeddedImage,
    /// Whether the map is right.
    pub check: Option<Check>,
}

impl PageImage {
    /// An image that could not be explained.
    pub fn failed(name: String, error: String) -> Self {
        Self {
            name,
            embedded: None,
            maps: Vec::new(),
            answers: Vec::new(),
            error: Some(error),
        }
    }
}

#[derive(Template)]
#[template(path = "page.html", config = "src/explain/page/askama.toml")]
struct Document<'a> {
    page: &'a Page<'a>,
    style: &'static str,
    own_style: &'static str,
    all: Images,
    more: Count,
    gates: Option<Gates<'a>>,
    stops: Vec<Stop>,
    version: &'static str,
}

/// A colour of a scale.
struct Stop {
    /// In per cent of the scale.
    offset: usize,
    sequential: String,
    diverging: String,
    /// Of the diverging colour.
    opacity: f64,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let document = Document {
            page: self,
            style: STYLE,
            own_style: include_str!("style.css"),
            all: Images(self.images.len() + self.more),
            more: Count(self.more),
            gates: self.gates.as_ref().map(Gates::new),
            stops: (0..=10).map(Stop::new).collect(),
            version: env!("CARGO_PKG_VERSION"),
        };
        // A template ends without its last line break.
        writeln!(f, "{document}")
    }
}

impl Stop {
    fn new(tenth: usize) -> Self {
        let share = tenth as f64 / 10.0;
        let colour = |scale: Scale, value: f64| {
            let ([r, g, b], opacity) = scale.colour(value);
            (format!("rgb({r},{g},{b})"), opacity)
        };
        let (diverging, opacity) = colour(Scale::Diverging, 2.0 * share - 1.0);
        Self {
            offset: 10 * tenth,
            sequential: colour(Scale::Sequential, share).0,
            diverging,
            opacity,
        }
    }
}

impl PageMap {
    /// Of the map, with the bias.
    fn logit(&self) -> f64 {
        self.mean + self.bias
    }

    fn gradient(&self) -> &'static str {
        match self.scale {
            Scale::Sequential => "sequential",
            Scale::Diverging => "diverging",
        }
    }

    /// The values at the ends of the colour bar.
    fn ends(&self) -> [f64; 2] {
        match self.scale {
            Scale::Sequential => self.range,
            Scale::Diverging => {
                let largest = self.range[0].abs().max(self.range[1].abs());
                [-largest, largest]
            }
        }
    }
}

impl Check {
    /// A change of the probability in percentage points.
    fn points(drop: &f64) -> String {
        format!("{:+.2}", -drop * 100.0)
    }
}

#[cfg(test)]
mod tests;
