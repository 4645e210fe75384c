//! The accuracy of each class.

use std::fmt::{self, Formatter};

use super::markup::{count, percent, rect, text};
use crate::eval::{ClassReport, Report};

/// Up to so many classes are all shown.
const ALL: usize = 50;
/// Else so many of both ends.
const WORST: usize = 30;
const BEST: usize = 10;
/// More rows than these are set in two columns where the page is wide.
const COLUMN: usize = 12;
/// Bars of the histogram.
const STEPS: usize = 20;

pub(super) fn write(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    let mut classes: Vec<&ClassReport> = report.classes.iter().collect();
    classes.sort_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    out.write_str("<section aria-labelledby=\"classes\">\n<h2 id=\"classes\">Classes</h2>\n")?;
    if classes.len() <= ALL {
        out.write_str(
            "<p>Top-1 accuracy of each class, the worst first. The thin line is the interval.</p>\n",
        )?;
        columns("All classes", &classes, out)?;
    } else {
        let best = classes.len() - BEST;
        writeln!(
            out,
            "<p>Top-1 accuracy of the {WORST} worst and the {BEST} best of {} classes. The thin line \
             is the interval.</p>",
            count(classes.len())
        )?;
        writeln!(out, "<h3>Worst {WORST}</h3>")?;
        columns("Worst classes", &classes[..WORST], out)?;
        writeln!(out, "<div class=\"two\">\n<div>\n<h3>Best {BEST}</h3>")?;
        let best: Vec<&ClassReport> = classes[best..].iter().rev().copied().collect();
        columns("Best classes", &best, out)?;
        writeln!(
            out,
            "</div>\n<figure>\n<h3>All {}</h3>",
            count(classes.len())
        )?;
        histogram(&classes, out)?;
        out.write_str("</figure>\n</div>\n")?;
    }
    out.write_str("</section>\n")
}

fn columns(caption: &str, classes: &[&ClassReport], out: &mut Formatter<'_>) -> fmt::Result {
    let rows = if classes.len() > COLUMN {
        classes.len().div_ceil(2)
    } else {
        classes.len()
    };
    writeln!(
        out,
        "<div class=\"{}\">",
        if rows < classes.len() { "two" } else { "one" }
    )?;
    for part in classes.chunks(rows) {
        writeln!(
            out,
            "<table class=\"bars\">\n<caption class=\"unseen\">{caption}</caption>\n<thead><tr>\
             <th scope=\"col\">class</th><th scope=\"col\" class=\"bar\"><span class=\"unseen\">bar</span></th>\
             <th scope=\"col\" class=\"n\">accuracy</th><th scope=\"col\" class=\"n wide\">interval</th>\
             <th scope=\"col\" class=\"n few\">pictures</th></tr></thead>\n<tbody>"
        )?;
        for class in part {
            row(class, out)?;
        }
        out.write_str("</tbody>\n</table>\n")?;
    }
    out.write_str("</div>\n")
}

fn row(class: &ClassReport, out: &mut Formatter<'_>) -> fmt::Result {
    let (low, high) = (class.interval.low * 100.0, class.interval.high * 100.0);
    writeln!(
        out,
        "<tr><th scope=\"row\">{}</th><td class=\"bar\"><svg viewBox=\"0 0 100 10\" \
         preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"track\" width=\"100\" height=\"10\"/>\
         <rect class=\"answer\" width=\"{:.2}\" height=\"10\"/>\
         <path class=\"whisker\" d=\"M{low:.2} 5H{high:.2}M{low:.2} 2.5v5M{high:.2} 2.5v5\"/></svg></td>\
         <td class=\"n\">{}</td><td class=\"n wide\">{low:.1} to {high:.1}\u{a0}%</td><td class=\"n\">{}</td></tr>",
        text(&class.name),
        class.accuracy * 100.0,
        percent(class.accuracy),
        count(class.answered)
    )
}

/// How many classes have which accuracy.
fn histogram(classes: &[&ClassReport], out: &mut Formatter<'_>) -> fmt::Result {
    const STEP: f64 = 17.0;
    const WIDTH: f64 = STEP * STEPS as f64;
    const FLOOR: f64 = 190.0;
    let mut counts = [0_usize; STEPS];
    for class in classes {
        let step = (class.accuracy * STEPS as f64) as usize;
        counts[step.min(STEPS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    writeln!(
        out,
        "<svg class=\"diagram\" viewBox=\"-10 0 {} 228\" role=\"img\" \
         aria-label=\"Number of classes by accuracy\">\n\
         <path class=\"axis\" d=\"M0 {FLOOR}H{WIDTH}\"/>",
        WIDTH + 20.0
    )?;
    for (step, &number) in counts.iter().enumerate() {
        if number == 0 {
            continue;
        }
        let left = STEP * step as f64;
        let tall = (165.0 * number as f64 / most).max(1.0);
        writeln!(
            out,
            "<g><title>{} with an accuracy of {} to {} %</title>{}\
             <text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{number}</text></g>",
            count(number),
            step * 100 / STEPS,
            (step + 1) * 100 / STEPS,
            rect("answer", left + 1.0, FLOOR - tall, STEP - 2.0, tall),
            left + STEP / 2.0,
            FLOOR - tall - 4.0,
        )?;
    }
    for tick in (0..=STEPS).step_by(5) {
        let x = STEP * tick as f64;
        let percent = tick * 100 / STEPS;
        let (place, unit) = if tick == STEPS {
            ("end", " %")
        } else {
            ("middle", "")
        };
        writeln!(
            out,
            "<text class=\"{place}\" x=\"{x}\" y=\"206\">{percent}{unit}</text>"
        )?;
    }
    writeln!(
        out,
        "<text class=\"middle\" x=\"{}\" y=\"224\">accuracy of the class</text>\n</svg>",
        WIDTH / 2.0
    )
}
