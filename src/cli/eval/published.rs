//! Measured accuracy beside the published.

use anyhow::bail;

use crate::error::Error;
use crate::eval::{Answer, Interval, Record};
use crate::preprocess::InputSpec;
use crate::zoo::{Published, Zoo};

/// Measured beside published.
#[derive(serde::Serialize)]
pub(super) struct Comparison {
    pub top1: f64,
    pub top5: f64,
    pub source: String,
    /// Both lie in the intervals of what was measured.
    pub agrees: bool,
}

impl Comparison {
    pub(super) fn verdict(&self) -> String {
        format!(
            "top-1 {} %, top-5 {} % ({}): {}",
            self.top1,
            self.top5,
            self.source,
            if self.agrees { "agrees" } else { "differs" }
        )
    }
}

/// What was published for the model with this preprocessing.
///
/// # Errors
/// If nothing was.
pub(super) fn find(model: &str, input: &InputSpec) -> anyhow::Result<&'static Published> {
    let zoo = Zoo::builtin().map_err(Error::from)?;
    let mut published = zoo.get(model).into_iter().flat_map(|card| &card.published);
    let same = |published: &&Published| {
        published.size == input.size && (published.crop_pct - input.crop_pct).abs() < 1e-9
    };
    let Some(published) = published.find(same) else {
        let [height, width] = input.size;
        bail!(
            "nothing was published for {} at {height}x{width} px with crop_pct {} \
             (`senet info` shows what was)",
            model,
            input.crop_pct
        );
    };
    Ok(published)
}

pub(super) fn compare(published: &Published, records: &[Record]) -> Comparison {
    let answers: Vec<&Answer> = records.iter().filter_map(Record::answer).collect();
    let within = |k: usize, percent: f64| {
        let correct = answers.iter().filter(|answer| answer.rank <= k).count();
        Interval::of(correct, answers.len()).contains(percent / 100.0)
    };
    Comparison {
        top1: published.top1,
        top5: published.top5,
        source: published.source.clone(),
        agrees: !answers.is_empty() && within(1, published.top1) && within(5, published.top5),
    }
}
