//! Whether the model's probabilities can be trusted: a reliability diagram and its figures.

use askama::Template;

use super::markup::{Count, Images, Percent, Px, Rect};
use crate::eval::report::BINS;
use crate::eval::{Bin, Report};

/// Margins of the drawing, which is as wide as a phone's screen.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 6.0;
const TOP: f64 = 10.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
/// Between the two plots.
const GAP: f64 = 16.0;
const COUNTS: f64 = 62.0;
const FLOOR: f64 = TOP + PLOT + GAP + COUNTS;
const HEIGHT: f64 = FLOOR + 36.0;

/// Width of a bin, as a share.
const BIN: f64 = 1.0 / BINS as f64;

#[derive(Template)]
#[template(path = "calibration.html", config = "src/eval/page/askama.toml")]
pub(super) struct Calibration {
    ticks: [Tick; 5],
    bins: Vec<BinView>,
    right: Px,
    /// Answers in the fullest bin.
    most: Count,
    /// Mean of all answers.
    probability: Percent,
    accuracy: Percent,
    /// The direction in which the model errs.
    verdict: String,
}

/// A position on both axes.
struct Tick {
    label: String,
    anchor: &'static str,
    across: Px,
    up: Px,
    label_y: Px,
}

struct BinView {
    range: String,
    answers: Count,
    images: Images,
    mean: Percent,
    accuracy: Percent,
    bars: [Rect; 4],
}

impl Calibration {
    pub(super) fn new(report: &Report) -> Self {
        let bins = &report.reliability;
        let most = bins.iter().map(|bin| bin.answers).max().unwrap_or(1);
        let mean = |value: fn(&Bin) -> f64| {
            let sum: f64 = bins.iter().map(|bin| bin.answers as f64 * value(bin)).sum();
            sum / report.answered as f64
        };
        let (probability, accuracy) = (mean(|bin| bin.mean_probability), mean(|bin| bin.accuracy));
        Self {
            ticks: [0.0, 0.25, 0.5, 0.75, 1.0].map(Tick::new),
            bins: bins.iter().map(|bin| BinView::new(bin, most)).collect(),
            right: Px(WIDTH - RIGHT),
            most: Count(most),
            probability: Percent(probability),
            accuracy: Percent(accuracy),
            verdict: match (probability - accuracy) * 100.0 {
                points if points.abs() < 0.05 => "as it should be".to_owned(),
                points if points > 0.0 => format!("too sure by {points:.1} points"),
                points => format!("not sure enough by {:.1} points", -points),
            },
        }
    }
}

fn x(share: f64) -> f64 {
    LEFT + PLOT * share
}

fn y(share: f64) -> f64 {
    TOP + PLOT * (1.0 - share)
}

impl Tick {
    fn new(share: f64) -> Self {
        let (unit, anchor) = if share == 1.0 {
            (" %", "end")
        } else {
            ("", "middle")
        };
        Self {
            label: format!("{}{unit}", share * 100.0),
            anchor,
            across: Px(x(share)),
            up: Px(y(share)),
            label_y: Px(y(share) + 4.0),
        }
    }
}

impl BinView {
    fn new(bin: &Bin, most: usize) -> Self {
        let width = PLOT * BIN - 2.0;
        let bar = |class, top, height| Rect::new(class, x(bin.above) + 1.0, top, width, height);
        let (accuracy, mean) = (bin.accuracy, bin.mean_probability);
        let gap = if mean > accuracy { "over" } else { "under" };
        // Even a single answer must be visible.
        let tall = (COUNTS * bin.answers as f64 / most as f64).max(1.0);
        let (low, high) = (bin.above * 100.0, (bin.above + BIN) * 100.0);
        Self {
            range: format!("{low:.0} to {high:.0}\u{a0}%"),
            answers: Count(bin.answers),
            images: Images(bin.answers),
            mean: Percent(mean),
            accuracy: Percent(accuracy),
            bars: [
                bar("hover", TOP, FLOOR - TOP),
                bar("answer", y(accuracy.min(mean)), PLOT * accuracy.min(mean)),
                bar(gap, y(accuracy.max(mean)), PLOT * (accuracy - mean).abs()),
                bar("count", FLOOR - tall, tall),
            ],
        }
    }
}
