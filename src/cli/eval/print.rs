//! Prints the report, as text or JSON.

use std::ffi::OsString;

use serde::Serialize;

use crate::cli::format::{FormatArgs, Row, cell};
use crate::cli::output::{Results, Table, Tone};
use crate::eval::{ClassReport, Comparison, Interval, MultiClass, MultiReport, Pair, Report, TopK};

/// Classes and mistakes in the text; the JSON has all.
const SHOWN: usize = 10;

#[derive(Serialize)]
pub(in crate::cli) struct ModelRow<'a> {
    #[serde(flatten)]
    pub report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<&'a Comparison>,
}

impl Row for ModelRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "model",
        "images",
        "answered",
        "failed",
        "loss",
        "calibration_error",
        "k",
        "correct",
        "accuracy",
        "low",
        "high",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        let report = self.report;
        let record = |top: &TopK| {
            vec![
                cell(&report.model),
                cell(report.images),
                cell(report.answered),
                cell(report.failed),
                cell(report.loss),
                cell(report.calibration_error),
                cell(top.k),
                cell(top.correct),
                cell(top.accuracy),
                cell(top.interval.low),
                cell(top.interval.high),
            ]
        };
        report.top.iter().map(record).collect()
    }
}

/// The report of one model.
pub(super) fn report(
    report: &Report,
    published: Option<&Comparison>,
    format: &FormatArgs,
    results: &mut Results,
) -> anyhow::Result<()> {
    let rows = [ModelRow { report, published }];
    format.report(&rows[0], &rows, results, |results| {
        text(report, published, results)
    })
}

pub(in crate::cli) fn text(
    report: &Report,
    published: Option<&Comparison>,
    results: &mut Results,
) -> anyhow::Result<()> {
    let title = format!(
        "{}: {} of {} images, {} class{}",
        report.model,
        report.answered,
        report.images,
        report.classes.len(),
        if report.classes.len() == 1 { "" } else { "es" }
    );
    results.pieces(&[(Tone::Bold, &title)])?;
    for top in &report.top {
        let Some(accuracy) = top.accuracy else {
            continue;
        };
        results.line(format!(
            "  top-{:<3} {:>7}  ({})  {} of {}",
            top.k,
            percent(accuracy),
            interval(top.interval),
            top.correct,
            report.answered
        ))?;
    }
    let rest = [
        ("loss", report.loss),
        ("calibration error", report.calibration_error),
        (
            "best temperature",
            report.temperature.map(|best| best.value),
        ),
    ];
    for (name, value) in rest {
        if let Some(value) = value {
            results.line(format!("  {name:<17} {value:.4}"))?;
        }
    }
    if report.failed > 0 {
        results.line(format!("  {:<17} {}", "failed", report.failed))?;
    }
    if let Some(published) = published {
        results.line(format!("  published         {}", verdict(published)))?;
    }
    classes(report, results)?;
    confusions(report, results)
}

#[derive(Serialize)]
struct Several<'a> {
    models: &'a [ModelRow<'a>],
    pairs: &'a [Pair],
}

/// Several models, one per line, and how they differ.
pub(super) fn several(
    reports: &[(Report, Option<Comparison>)],
    pairs: &[Pair],
    format: &FormatArgs,
    results: &mut Results,
) -> anyhow::Result<()> {
    let rows = reports.iter().map(|(report, published)| ModelRow {
        report,
        published: published.as_ref(),
    });
    let models = &rows.collect::<Vec<_>>();
    format.report(&Several { models, pairs }, models, results, |results| {
        text_of_several(reports, pairs, results)
    })
}

fn text_of_several(
    reports: &[(Report, Option<Comparison>)],
    pairs: &[Pair],
    results: &mut Results,
) -> anyhow::Result<()> {
    let first = &reports[0].0;
    let title = format!("{} of {} images", first.answered, first.images);
    results.pieces(&[(Tone::Bold, &title)])?;
    results.line("")?;
    let tops: Vec<String> = first
        .top
        .iter()
        .map(|top| format!(">top-{}", top.k))
        .collect();
    let mut heads = vec!["model"];
    heads.extend(tops.iter().map(String::as_str));
    heads.extend(["top-1 interval", ">loss", ">calibration error", "published"]);
    let mut table = Table::new(&heads);
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    for (report, published) in reports {
        let mut row = vec![report.model.clone()];
        let accuracy = |top: &TopK| top.accuracy.map_or_else(String::new, percent);
        row.extend(report.top.iter().map(accuracy));
        row.push(
            report
                .top
                .iter()
                .find(|top| top.k == 1)
                .map_or_else(String::new, |top| interval(top.interval)),
        );
        row.extend([number(report.loss), number(report.calibration_error)]);
        row.push(published.as_ref().map_or_else(String::new, verdict));
        table.row(row);
    }
    table.print(results)?;
    results.line("")?;
    let mut table = Table::new(&[
        "first",
        "second",
        ">only first right",
        ">only second right",
        ">p",
    ]);
    for pair in pairs {
        table.row(vec![
            pair.first.clone(),
            pair.second.clone(),
            pair.only_first_right.to_string(),
            pair.only_second_right.to_string(),
            p_value(pair.p_value),
        ]);
    }
    Ok(table.print(results)?)
}

#[derive(Serialize)]
struct SeveralMulti<'a> {
    models: &'a [MultiReport],
}

impl Row for MultiReport {
    const COLUMNS: &'static [&'static str] = &[
        "model",
        "images",
        "answered",
        "failed",
        "threshold",
        "mean_average_precision",
        "f1_micro",
        "f1_macro",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(&self.model),
            cell(self.images),
            cell(self.answered),
            cell(self.failed),
            cell(self.threshold),
            cell(self.mean_average_precision),
            cell(self.f1_micro),
            cell(self.f1_macro),
        ]]
    }
}

/// Multi-label models, one after another.
pub(super) fn multi_label(
    reports: &[MultiReport],
    format: &FormatArgs,
    results: &mut Results,
) -> anyhow::Result<()> {
    let text = |results: &mut Results| multi_label_text(reports, results);
    match reports {
        [report] => format.report(report, reports, results, text),
        models => format.report(&SeveralMulti { models }, reports, results, text),
    }
}

fn multi_label_text(reports: &[MultiReport], results: &mut Results) -> anyhow::Result<()> {
    for (place, report) in reports.iter().enumerate() {
        if place > 0 {
            results.line("")?;
        }
        let title = format!(
            "{}: {} of {} images, {} class{}",
            report.model,
            report.answered,
            report.images,
            report.classes.len(),
            if report.classes.len() == 1 { "" } else { "es" }
        );
        results.pieces(&[(Tone::Bold, &title)])?;
        let figures = [
            ("mean average precision", report.mean_average_precision),
            ("F1, micro", report.f1_micro),
            ("F1, macro", report.f1_macro),
        ];
        for (name, value) in figures {
            if let Some(value) = value {
                results.line(format!("  {name:<23} {value:.4}"))?;
            }
        }
        results.line(format!("  {:<23} {}", "threshold of F1", report.threshold))?;
        if report.failed > 0 {
            results.line(format!("  {:<23} {}", "failed", report.failed))?;
        }
        let mut worst: Vec<&MultiClass> = report.classes.iter().collect();
        worst.sort_by(|a, b| a.average_precision.total_cmp(&b.average_precision));
        results.line("")?;
        let heads = ["worst classes", ">images", ">average precision", ">F1"];
        let mut table = Table::new(&heads);
        for class in worst.into_iter().take(SHOWN) {
            table.row(vec![
                class.name.clone(),
                class.images.to_string(),
                format!("{:.4}", class.average_precision),
                format!("{:.4}", class.f1),
            ]);
        }
        table.print(results)?;
    }
    Ok(())
}

fn classes(report: &Report, results: &mut Results) -> anyhow::Result<()> {
    let mut worst: Vec<&ClassReport> = report.classes.iter().collect();
    if worst.len() < 2 {
        return Ok(());
    }
    worst.sort_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    results.line("")?;
    let mut table = Table::new(&["worst classes", ">images", ">top-1", "95 % interval"]);
    for class in worst.into_iter().take(SHOWN) {
        table.row(vec![
            class.name.clone(),
            class.answered.to_string(),
            percent(class.accuracy),
            interval(class.interval),
        ]);
    }
    Ok(table.print(results)?)
}

fn confusions(report: &Report, results: &mut Results) -> anyhow::Result<()> {
    if report.confusions.is_empty() {
        return Ok(());
    }
    results.line("")?;
    let mut table = Table::new(&["most frequent mistakes", "taken for", ">images"]);
    for confusion in report.confusions.iter().take(SHOWN) {
        table.row(vec![
            confusion.label_name.clone(),
            confusion.prediction_name.clone(),
            confusion.images.to_string(),
        ]);
    }
    Ok(table.print(results)?)
}

pub(in crate::cli) fn pair(pair: &Pair, results: &mut Results) -> anyhow::Result<()> {
    let title = format!(
        "{} and {} on {} of {} images",
        pair.first,
        pair.second,
        pair.images,
        pair.images + pair.unanswered
    );
    results.pieces(&[(Tone::Bold, &title)])?;
    let share = |count: usize| percent(count as f64 / pair.images.max(1) as f64);
    let rows = [
        ("both right", pair.both_right),
        ("only the first right", pair.only_first_right),
        ("only the second right", pair.only_second_right),
        ("neither right", pair.neither_right),
    ];
    for (name, count) in rows {
        results.line(format!("  {name:<22} {count:>7}  {:>8}", share(count)))?;
    }
    let p = p_value(pair.p_value);
    results.line(format!("  {:<22} {p:>7}", "McNemar's test, p"))?;
    if pair.differing.is_empty() {
        return Ok(());
    }
    results.line("")?;
    let mut table = Table::new(&["only one is right about", "shows", "first", "second"]);
    for difference in pair.differing.iter().take(SHOWN) {
        table.row(vec![
            difference.image.clone(),
            difference.label.clone(),
            difference.first.clone(),
            difference.second.clone(),
        ]);
    }
    Ok(table.print(results)?)
}

fn verdict(published: &Comparison) -> String {
    format!(
        "{} ({}): {}",
        published.accuracies(),
        published.source,
        if published.agrees {
            "agrees"
        } else {
            "differs"
        }
    )
}

fn p_value(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        format!("{p:.4}")
    }
}

pub(in crate::cli) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

pub(in crate::cli) fn interval(interval: Interval) -> String {
    format!(
        "{:.2} to {:.2} %",
        interval.low * 100.0,
        interval.high * 100.0
    )
}
