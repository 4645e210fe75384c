//! The report for people and for programs.

use serde::Serialize;

use super::Comparison;
use crate::cli::output::{Results, Table, printable};
use crate::eval::{ClassReport, Interval, Pair, Report};

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
        return Ok(results.json_pretty(&Everything { report, published })?);
    }
    let title = format!(
        "{}: {} of {} pictures, {} class{}",
        report.model,
        report.answered,
        report.pictures,
        report.classes.len(),
        if report.classes.len() == 1 { "" } else { "es" }
    );
    results.line(results.style.bold(&title))?;
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
        results.line(format!(
            "  published         top-1 {} %, top-5 {} % ({}): {}",
            published.top1,
            published.top5,
            published.source,
            if published.agrees {
                "agrees"
            } else {
                "differs"
            }
        ))?;
    }
    classes(report, results)?;
    confusions(report, results)
}

fn classes(report: &Report, results: &mut Results) -> anyhow::Result<()> {
    let mut worst: Vec<&ClassReport> = report.classes.iter().collect();
    if worst.len() < 2 {
        return Ok(());
    }
    worst.sort_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    results.line("")?;
    let mut table = Table::new(&["worst classes", ">pictures", ">top-1", "95 % interval"]);
    for class in worst.into_iter().take(SHOWN) {
        table.row(vec![
            printable(&class.name),
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
    let mut table = Table::new(&["most frequent mistakes", "taken for", ">pictures"]);
    for confusion in report.confusions.iter().take(SHOWN) {
        table.row(vec![
            printable(&confusion.label_name),
            printable(&confusion.prediction_name),
            confusion.pictures.to_string(),
        ]);
    }
    Ok(table.print(results)?)
}

pub(super) fn pair(pair: &Pair, json: bool, results: &mut Results) -> anyhow::Result<()> {
    if json {
        return Ok(results.json_pretty(pair)?);
    }
    let title = format!(
        "{} and {} on {} pictures",
        pair.first, pair.second, pair.pictures
    );
    results.line(results.style.bold(&title))?;
    let share = |count: usize| percent(count as f64 / pair.pictures.max(1) as f64);
    let rows = [
        ("both right", pair.both_right),
        ("only the first right", pair.only_first_right),
        ("only the second right", pair.only_second_right),
        ("neither right", pair.neither_right),
    ];
    for (name, count) in rows {
        results.line(format!("  {name:<22} {count:>7}  {:>8}", share(count)))?;
    }
    let p = match pair.p_value {
        p if p < 0.0001 => "< 0.0001".to_owned(),
        p => format!("{p:.4}"),
    };
    results.line(format!("  {:<22} {p:>7}", "McNemar's test, p"))?;
    if pair.differing.is_empty() {
        return Ok(());
    }
    results.line("")?;
    let mut table = Table::new(&["only one is right about", "shows", "first", "second"]);
    for difference in pair.differing.iter().take(SHOWN) {
        table.row(vec![
            printable(&difference.picture),
            printable(&difference.label),
            printable(&difference.first),
            printable(&difference.second),
        ]);
    }
    Ok(table.print(results)?)
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
