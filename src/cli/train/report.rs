//! What is printed about a model that was learned.

use std::ffi::OsString;

use serde::Serialize;

use super::arguments::Arguments;
use super::learn::Learned;
use crate::cli::eval::{ModelRow, interval, percent, print_text};
use crate::cli::format::Row;
use crate::cli::output::{Results, Table, Tone};
use crate::eval::{Dataset, Report};
use crate::labels::LabelSet;
use crate::nn::Precision;
use crate::train::{TrainOptions, Verdict, verdict};

/// Doubts and pairs in the text; the JSON has all.
const SHOWN: usize = 10;
/// A class with fewer images is worth a remark.
const FEW: usize = 20;

/// The JSON form.
#[derive(Serialize)]
pub(super) struct TrainReport<'a> {
    model: &'a str,
    precision: Precision,
    directory: String,
    images: usize,
    answered: usize,
    failed: usize,
    left_out: usize,
    classes: Vec<ClassCount<'a>>,
    features: usize,
    strength: f64,
    strengths: Vec<StrengthRow>,
    folds: usize,
    class_weight: Option<&'static str>,
    augment: Option<&'static str>,
    seed: u64,
    cross_validation: &'a Report,
    nested: Option<&'a Report>,
    validation: Option<&'a Report>,
    temperature: Option<f64>,
    learning_curve: Curve,
    doubts: Vec<DoubtRow<'a>>,
    near_duplicates: Vec<PairRow<'a>>,
    errors: Vec<Failure<'a>>,
}

#[derive(Serialize)]
struct ClassCount<'a> {
    name: &'a str,
    images: usize,
}

#[derive(Serialize)]
struct StrengthRow {
    strength: f64,
    correct: usize,
    loss: f64,
}

#[derive(Serialize)]
struct Curve {
    points: Vec<Point>,
    verdict: &'static str,
    error_at_double: f64,
}

#[derive(Serialize)]
struct Point {
    images: f64,
    wrong: usize,
    error: f64,
}

#[derive(Serialize)]
pub(super) struct DoubtRow<'a> {
    pub image: &'a str,
    pub label: usize,
    pub label_name: &'a str,
    pub label_probability: f64,
    pub prediction: usize,
    pub prediction_name: &'a str,
    pub probability: f64,
}

#[derive(Serialize)]
pub(super) struct PairRow<'a> {
    pub first: &'a str,
    pub first_label: &'a str,
    pub second: &'a str,
    pub second_label: &'a str,
    pub similarity: f64,
}

#[derive(Serialize)]
struct Failure<'a> {
    image: &'a str,
    error: &'a str,
}

/// What a report is made from.
pub(super) struct Facts<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Dataset,
    pub labels: &'a LabelSet,
    /// Place in the data set of each image that was learned from.
    pub items: &'a [usize],
    pub failures: &'a [(usize, String)],
    pub width: usize,
    pub options: &'a TrainOptions,
    pub learned: &'a Learned,
    pub validation: Option<&'a Report>,
}

impl<'a> Facts<'a> {
    /// The image at a place among those that were learned from.
    fn image(&self, place: usize) -> &'a str {
        &self.data.items[self.items[place]].name
    }

    fn name(&self, class: usize) -> &'a str {
        &self.labels.entries[class].name
    }

    pub(super) fn doubts(&self) -> Vec<DoubtRow<'a>> {
        let doubts = self.learned.doubts.iter();
        let rows = doubts.map(|doubt| DoubtRow {
            image: self.image(doubt.image),
            label: doubt.label,
            label_name: self.name(doubt.label),
            label_probability: doubt.label_probability,
            prediction: doubt.prediction,
            prediction_name: self.name(doubt.prediction),
            probability: doubt.probability,
        });
        rows.collect()
    }

    pub(super) fn pairs(&self) -> Vec<PairRow<'a>> {
        let label = |place: usize| self.name(self.data.items[self.items[place]].labels[0]);
        let pairs = self.learned.alike.iter();
        let rows = pairs.map(|pair| PairRow {
            first: self.image(pair.first),
            first_label: label(pair.first),
            second: self.image(pair.second),
            second_label: label(pair.second),
            similarity: pair.similarity,
        });
        rows.collect()
    }

    /// Images of each class, by class.
    fn counts(&self) -> Vec<ClassCount<'a>> {
        let mut counts = vec![0; self.labels.len()];
        for &item in self.items {
            counts[self.data.items[item].labels[0]] += 1;
        }
        let labels = self.labels.entries.iter().zip(counts);
        let counts = labels.map(|(label, images)| ClassCount {
            name: &label.name,
            images,
        });
        counts.collect()
    }

    pub(super) fn report(&self) -> TrainReport<'a> {
        let learned = self.learned;
        let (report, curve) = (&learned.report, &learned.curve);
        TrainReport {
            model: &report.model,
            precision: report.precision,
            directory: self.arguments.output.display().to_string(),
            images: report.images,
            answered: report.answered,
            failed: report.failed,
            left_out: self.data.left_out,
            classes: self.counts(),
            features: self.width,
            strength: learned.chosen.strength,
            strengths: learned
                .chosen
                .scores
                .iter()
                .map(|score| StrengthRow {
                    strength: score.strength,
                    correct: score.correct,
                    loss: score.loss,
                })
                .collect(),
            folds: learned.chosen.folds.count,
            class_weight: self.arguments.class_weight.map(|_| "balanced"),
            augment: self.arguments.augment.map(|_| "flip"),
            seed: self.options.seed,
            cross_validation: report,
            nested: learned.nested.as_ref(),
            validation: self.validation,
            temperature: report.temperature.map(|best| best.value),
            learning_curve: Curve {
                points: curve
                    .points
                    .iter()
                    .map(|point| Point {
                        images: point.images,
                        wrong: point.wrong,
                        error: point.error,
                    })
                    .collect(),
                verdict: match curve.verdict {
                    Verdict::MoreHelps => "more_helps",
                    Verdict::Saturated => "saturated",
                    Verdict::Unclear => "unclear",
                },
                error_at_double: curve.error_at_double,
            },
            doubts: self.doubts(),
            near_duplicates: self.pairs(),
            errors: self
                .failures
                .iter()
                .map(|(place, error)| Failure {
                    image: &self.data.items[*place].name,
                    error,
                })
                .collect(),
        }
    }

    /// The figures as names and texts, for the page.
    pub(super) fn facts(&self) -> Vec<(String, String)> {
        let learned = self.learned;
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let mut facts = vec![
            fact("Strength (C)", learned.chosen.strength.to_string()),
            fact("Folds", learned.chosen.folds.count.to_string()),
        ];
        if let Some(nested) = &learned.nested {
            facts.push(fact("Nested top-1", accuracy(nested)));
        }
        if let Some(validation) = self.validation {
            facts.push(fact("Validation top-1", accuracy(validation)));
        }
        facts.push(fact("Learning curve", verdict(&learned.curve)));
        let small = self.small();
        if !small.is_empty() {
            facts.push(fact("Few images", small));
        }
        facts
    }

    /// The classes with few images.
    fn small(&self) -> String {
        let mut small = self.counts();
        small.retain(|class| class.images < FEW);
        small.sort_by_key(|class| class.images);
        let more = if small.len() > SHOWN { ", …" } else { "" };
        let small = small.iter().take(SHOWN);
        let small = small.map(|class| format!("{} ({})", class.name, class.images));
        small.collect::<Vec<_>>().join(", ") + more
    }

    /// The form for people.
    pub(super) fn print(&self, results: &mut Results) -> anyhow::Result<()> {
        let learned = self.learned;
        print_text(&learned.report, None, results)?;
        results.line("")?;
        let line = |results: &mut Results, name: &str, text: &str| {
            results.line(format!("  {name:<17} {text}"))
        };
        results.pieces(&[(Tone::Bold, "training")])?;
        let all = learned.chosen.scores.len();
        let strength = format!(
            "{} (C, of {all}), {} folds",
            learned.chosen.strength, learned.chosen.folds.count
        );
        line(results, "strength", &strength)?;
        if let Some(nested) = &learned.nested {
            line(results, "nested top-1", &accuracy(nested))?;
        }
        if let Some(validation) = self.validation {
            line(results, "validation top-1", &accuracy(validation))?;
        }
        line(results, "learning curve", &verdict(&learned.curve))?;
        let small = self.small();
        if !small.is_empty() {
            line(results, "few images", &small)?;
        }
        self.print_doubts(results)?;
        self.print_pairs(results)?;
        results.line("")?;
        let place = self.arguments.output.display();
        Ok(results.line(match self.arguments.head_only {
            true => format!("{place}: the classifier"),
            false => format!("{place}: the model"),
        })?)
    }

    fn print_doubts(&self, results: &mut Results) -> anyhow::Result<()> {
        let doubts = self.doubts();
        if doubts.is_empty() {
            return Ok(());
        }
        results.line("")?;
        let mut table = Table::new(&["label doubts", "labelled", ">", "seen as", ">"]);
        for doubt in doubts.iter().take(SHOWN) {
            table.row(vec![
                doubt.image.to_owned(),
                doubt.label_name.to_owned(),
                percent(doubt.label_probability),
                doubt.prediction_name.to_owned(),
                percent(doubt.probability),
            ]);
        }
        table.print(results)?;
        more(doubts.len(), results)
    }

    fn print_pairs(&self, results: &mut Results) -> anyhow::Result<()> {
        let pairs = self.pairs();
        if pairs.is_empty() {
            return Ok(());
        }
        results.line("")?;
        let heads = [
            "near-duplicates",
            "labelled",
            "and",
            "labelled",
            ">similarity",
        ];
        let mut table = Table::new(&heads);
        for pair in pairs.iter().take(SHOWN) {
            table.row(vec![
                pair.first.to_owned(),
                pair.first_label.to_owned(),
                pair.second.to_owned(),
                pair.second_label.to_owned(),
                format!("{:.4}", pair.similarity),
            ]);
        }
        table.print(results)?;
        more(pairs.len(), results)
    }
}

fn more(all: usize, results: &mut Results) -> anyhow::Result<()> {
    if all > SHOWN {
        results.line(format!("and {} more", all - SHOWN))?;
    }
    Ok(())
}

/// `93.00 %  (91.20 to 94.50 %)`
fn accuracy(report: &Report) -> String {
    let top = report.top.iter().find(|top| top.k == 1);
    let top = top.and_then(|top| Some((top.accuracy?, top.interval)));
    top.map_or_else(String::new, |(share, range)| {
        format!("{}  ({})", percent(share), interval(range))
    })
}

/// In CSV, the figures of cross-validation as `senet eval` prints them.
impl Row for TrainReport<'_> {
    const COLUMNS: &'static [&'static str] = ModelRow::COLUMNS;

    fn records(&self) -> Vec<Vec<OsString>> {
        let row = ModelRow {
            report: self.cross_validation,
            published: None,
        };
        row.records()
    }
}
