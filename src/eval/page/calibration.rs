//! Whether probabilities mean what they say: a reliability diagram and its figures.

use std::fmt::{self, Formatter};

use super::markup::{count, percent, pictures, rect};
use crate::eval::report::BINS;
use crate::eval::{Bin, Report};

/// Edges of the drawing, which is as wide as a phone.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 6.0;
const TOP: f64 = 10.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
/// Between the two plots.
const GAP: f64 = 16.0;
const COUNTS: f64 = 62.0;
const HEIGHT: f64 = TOP + PLOT + GAP + COUNTS + 36.0;

/// Width of a bin, as a share.
const BIN: f64 = 1.0 / BINS as f64;

pub(super) fn write(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    out.write_str(
        "<section aria-labelledby=\"calibration\">\n<h2 id=\"calibration\">Calibration</h2>\n\
         <div class=\"two\">\n<figure>\n",
    )?;
    diagram(&report.reliability, out)?;
    out.write_str("<figcaption>")?;
    for (key, meaning) in [
        ("answer", "accuracy"),
        ("over", "too sure"),
        ("under", "not sure enough"),
        ("line", "perfect"),
    ] {
        write!(out, "<span><i class=\"key {key}\"></i>{meaning}</span> ")?;
    }
    out.write_str("</figcaption>\n</figure>\n<div>\n")?;
    verdict(report, out)?;
    out.write_str(
        "<table>\n<thead><tr><th scope=\"col\">probability</th><th scope=\"col\" class=\"n\">answers</th>\
         <th scope=\"col\" class=\"n\">mean</th><th scope=\"col\" class=\"n\">accuracy</th></tr></thead>\n<tbody>\n",
    )?;
    for bin in &report.reliability {
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            range(bin),
            count(bin.answers),
            percent(bin.mean_probability),
            percent(bin.accuracy)
        )?;
    }
    out.write_str("</tbody>\n</table>\n</div>\n</div>\n</section>\n")
}

/// Says in words on which side the model errs.
fn verdict(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    let mean = |value: fn(&Bin) -> f64| {
        let sum: f64 = report
            .reliability
            .iter()
            .map(|bin| bin.answers as f64 * value(bin))
            .sum();
        sum / report.answered as f64
    };
    let (probability, accuracy) = (mean(|bin| bin.mean_probability), mean(|bin| bin.accuracy));
    let points = (probability - accuracy) * 100.0;
    let side = match points {
        points if points.abs() < 0.05 => "as it should be".to_owned(),
        points if points > 0.0 => format!("too sure by {points:.1} points"),
        points => format!("not sure enough by {:.1} points", -points),
    };
    writeln!(
        out,
        "<p>The answers have a mean probability of {}, and {} of them are right: {side}.</p>",
        percent(probability),
        percent(accuracy)
    )
}

fn range(bin: &Bin) -> String {
    let (low, high) = (bin.above * 100.0, (bin.above + BIN) * 100.0);
    format!("{low:.0} to {high:.0}\u{a0}%")
}

fn diagram(bins: &[Bin], out: &mut Formatter<'_>) -> fmt::Result {
    let x = |share: f64| LEFT + PLOT * share;
    let y = |share: f64| TOP + PLOT * (1.0 - share);
    let floor = TOP + PLOT + GAP + COUNTS;
    writeln!(
        out,
        "<svg class=\"diagram\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Reliability diagram: accuracy by the probability of the answer, and the number \
         of answers; the table beside it has the figures\">"
    )?;
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (across, up) = (x(tick), y(tick));
        let label = tick * 100.0;
        writeln!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {up:.1}H{:.1}M{across:.1} {floor}v4\"/>\
             <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}{}</text>\
             <text class=\"{}\" x=\"{across:.1}\" y=\"{:.1}\">{label}{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            up + 4.0,
            if tick == 1.0 { " %" } else { "" },
            if tick == 1.0 { "end" } else { "middle" },
            floor + 16.0,
            if tick == 1.0 { " %" } else { "" },
        )?;
    }
    let most = bins.iter().map(|bin| bin.answers).max().unwrap_or(1) as f64;
    let width = PLOT * BIN - 2.0;
    for bin in bins {
        let rect = |class, top, height| rect(class, x(bin.above) + 1.0, top, width, height);
        let (accuracy, mean) = (bin.accuracy, bin.mean_probability);
        let gap = if mean > accuracy { "over" } else { "under" };
        // Even a single answer is seen.
        let tall = (COUNTS * bin.answers as f64 / most).max(1.0);
        writeln!(
            out,
            "<g><title>Probability {}: {} with an answer, mean {}, accuracy {}</title>{}{}{}{}</g>",
            range(bin),
            pictures(bin.answers),
            percent(mean),
            percent(accuracy),
            rect("hover", TOP, floor - TOP),
            rect("answer", y(accuracy.min(mean)), PLOT * accuracy.min(mean)),
            rect(gap, y(accuracy.max(mean)), PLOT * (accuracy - mean).abs()),
            rect("count", floor - tall, tall),
        )?;
    }
    writeln!(
        out,
        "<path class=\"perfect\" d=\"M{LEFT} {:.1}L{:.1} {TOP}\"/>\
         <path class=\"axis\" d=\"M{LEFT} {:.1}h{PLOT}M{LEFT} {floor}h{PLOT}\"/>\
         <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">probability of the answer</text>\n</svg>",
        TOP + PLOT,
        WIDTH - RIGHT,
        TOP + PLOT,
        LEFT - 6.0,
        floor - COUNTS + 8.0,
        count(most as usize),
        LEFT + PLOT / 2.0,
        HEIGHT - 4.0
    )
}
