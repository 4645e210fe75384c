//! Measured accuracy beside the published.

use anyhow::bail;

use crate::cards::Zoo;
use crate::error::Error;
use crate::eval::{Answer, Header, Interval, Member, Record};
use crate::image::Views;

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

/// # Errors
/// If nothing was published for this model, size and crop, or there are several views.
pub(super) fn compare(header: &Header, records: &[Record]) -> anyhow::Result<Comparison> {
    let Member { model, input, .. } = &header.members[0];
    if header.views != Views::One || header.valid.is_some() {
        bail!("published accuracies are those of one view and all classes");
    }
    let zoo = Zoo::builtin().map_err(Error::from)?;
    let card = zoo.get(model);
    let published = card.and_then(|card| {
        card.published.iter().find(|published| {
            published.size == input.size && (published.crop_pct - input.crop_pct).abs() < 1e-9
        })
    });
    let Some(published) = published else {
        let [height, width] = input.size;
        bail!(
            "nothing was published for {} at {height}x{width} px with crop_pct {} \
             (`senet info` shows what was)",
            model,
            input.crop_pct
        );
    };
    let answers: Vec<&Answer> = records.iter().filter_map(Record::answer).collect();
    let within = |k: usize, percent: f64| {
        let correct = answers.iter().filter(|answer| answer.rank <= k).count();
        Interval::of(correct, answers.len()).contains(percent / 100.0)
    };
    Ok(Comparison {
        top1: published.top1,
        top5: published.top5,
        source: published.source.clone(),
        agrees: !answers.is_empty() && within(1, published.top1) && within(5, published.top5),
    })
}
