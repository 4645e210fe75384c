//! The report for people and for programs.

use serde::Serialize;

use crate::cli::output::{Results, Table, Tone};
use crate::eval::{ClassReport, Comparison, Interval, MultiClass, MultiReport, Pair, Report, TopK};

/// Classes and mistakes that are shown to people; the JSON has all.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct Everything<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<&'a Comparison>,
}

pub(super) fn report(
    report: &Report,
    published: Option<&Comparison>,
    json: bool,
    results: &mut Results,
) -> anyhow::Result<()> {
    if json {
        return Ok(results.json(&Everything { report, published })?);
    }
    let title = format!(
        "{}: {} of {} images, {} class{}",
        report.model,
        report.answered,
        report.pictures,
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
    models: Vec<Everything<'a>>,
    pairs: &'a [Pair],
}

/// Several models, a line each, and how they differ.
pub(super) fn several(
    reports: &[(Report, Option<Comparison>)],
    pairs: &[Pair],
    json: bool,
    results: &mut Results,
) -> anyhow::Result<()> {
    if json {
        let models = reports.iter().map(|(report, published)| Everything {
            report,
            published: published.as_ref(),
        });
        return Ok(results.json(&Several {
            models: models.collect(),
            pairs,
        })?);
    }
    let first = &reports[0].0;
    let title = format!("{} of {} images", first.answered, first.pictures);
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

/// What multi-label models found, one after another.
pub(super) fn multi_label(
    reports: &[MultiReport],
    json: bool,
    results: &mut Results,
) -> anyhow::Result<()> {
    match reports {
        [report] if json => return Ok(results.json(report)?),
        models if json => return Ok(results.json(&SeveralMulti { models })?),
        _ => {}
    }
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
            confusion.pictures.to_string(),
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
        "top-1 {} %, top-5 {} % ({}): {}",
        published.top1,
        published.top5,
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

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn interval(interval: Interval) -> String {
    format!(
        "{:.2} to {:.2} %",
        interval.low * 100.0,
        interval.high * 100.0
    )
}
