//! What is shown of a model that was just learned: how, and which labels are doubtful.

use askama::Template;

use super::Thumbnail;
use super::markup::{Images, Percent};

/// How a model was learned, and what its data has to be looked at for. Made by whoever learned it.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// Names and values, such as the strength.
    pub facts: &'a [(String, String)],
    /// Number of images whose label is doubtful.
    pub doubts: usize,
    /// Those that are shown, the most doubtful first.
    pub doubtful: &'a [Doubtful<'a>],
    /// Images that look alike and have different labels.
    pub alike: &'a [Alike<'a>],
}

/// An image whose label is probably wrong.
#[derive(Clone, Debug)]
pub struct Doubtful<'a> {
    /// Its path.
    pub image: &'a str,
    /// The name of the class that it is labelled with.
    pub label: &'a str,
    /// The name of the class that a classifier sees which was learned without it.
    pub prediction: &'a str,
    /// Probability of the label.
    pub label_probability: f64,
    /// Probability of the prediction.
    pub probability: f64,
    /// The image itself, if it could be read again.
    pub thumbnail: Option<Thumbnail>,
}

impl Doubtful<'_> {
    fn label_percent(&self) -> Percent {
        Percent(self.label_probability)
    }

    fn percent(&self) -> Percent {
        Percent(self.probability)
    }
}

/// Two images that look alike and have different labels: path and label of each.
#[derive(Clone, Copy, Debug)]
pub struct Alike<'a> {
    /// The one.
    pub first: [&'a str; 2],
    /// The other.
    pub second: [&'a str; 2],
    /// The cosine of their features.
    pub similarity: f64,
}

#[derive(Template)]
#[template(path = "training.html", config = "src/eval/page/askama.toml")]
pub(super) struct Section<'a> {
    training: Training<'a>,
    all: Images,
    shown: usize,
}

impl<'a> Section<'a> {
    pub(super) fn new(training: Training<'a>) -> Self {
        Self {
            training,
            all: Images(training.doubts),
            shown: training.doubtful.len(),
        }
    }
}
