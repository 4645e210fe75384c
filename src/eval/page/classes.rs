//! The accuracy of each class.

use askama::Template;

use super::markup::{Count, Percent, Px, Rect};
use crate::eval::{ClassReport, Report};

/// Up to this many classes are all shown.
const ALL: usize = 50;
/// With more classes, this many from each end.
const WORST: usize = 30;
const BEST: usize = 10;
/// More rows than this are set in two columns on a wide page.
const COLUMN: usize = 12;
/// Bars of the histogram, their spacing, and the margins of the drawing.
const STEPS: usize = 20;
const STEP: f64 = 17.0;
const HISTOGRAM: f64 = STEP * STEPS as f64;
const FLOOR: f64 = 190.0;

#[derive(Template)]
#[template(path = "classes.html", config = "src/eval/page/askama.toml")]
pub(super) struct Classes<'a> {
    /// Number of all classes.
    all: Count,
    /// The worst classes, or all if there are few, in one table or two.
    worst: Vec<Vec<ClassRow<'a>>>,
    /// What is shown in addition if there are many classes.
    ends: Option<Ends<'a>>,
}

struct Ends<'a> {
    best: Vec<Vec<ClassRow<'a>>>,
    histogram: Vec<Bar>,
    ticks: Vec<Tick>,
}

struct ClassRow<'a> {
    name: &'a str,
    width: String,
    low: String,
    high: String,
    accuracy: Percent,
    interval: String,
    answered: Count,
}

/// Classes of about the same accuracy.
struct Bar {
    number: Count,
    /// In per cent.
    from: usize,
    to: usize,
    rect: Rect,
    x: Px,
    y: Px,
}

struct Tick {
    anchor: &'static str,
    x: f64,
    label: String,
}

impl<'a> Classes<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let mut classes: Vec<&ClassReport> = report.classes.iter().collect();
        classes.sort_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
        let many = classes.len() > ALL;
        let worst = if many { WORST } else { classes.len() };
        let ends = many.then(|| Ends {
            best: columns(classes.iter().rev().take(BEST)),
            histogram: histogram(&classes),
            ticks: (0..=STEPS).step_by(5).map(Tick::new).collect(),
        });
        Self {
            all: Count(classes.len()),
            worst: columns(classes.iter().take(worst)),
            ends,
        }
    }
}

fn columns<'c, 'a: 'c>(
    classes: impl ExactSizeIterator<Item = &'c &'a ClassReport>,
) -> Vec<Vec<ClassRow<'a>>> {
    let rows = match classes.len() {
        few @ ..=COLUMN => few.max(1),
        many => many.div_ceil(2),
    };
    let mut columns: Vec<Vec<ClassRow<'_>>> = Vec::new();
    for (place, class) in classes.enumerate() {
        if place % rows == 0 {
            columns.push(Vec::new());
        }
        if let Some(column) = columns.last_mut() {
            column.push(ClassRow::new(class));
        }
    }
    columns
}

impl<'a> ClassRow<'a> {
    fn new(class: &'a ClassReport) -> Self {
        let (low, high) = (class.interval.low * 100.0, class.interval.high * 100.0);
        Self {
            name: &class.name,
            width: format!("{:.2}", class.accuracy * 100.0),
            low: format!("{low:.2}"),
            high: format!("{high:.2}"),
            accuracy: Percent(class.accuracy),
            interval: format!("{low:.1} to {high:.1}\u{a0}%"),
            answered: Count(class.answered),
        }
    }
}

/// A histogram of the classes' accuracies.
fn histogram(classes: &[&ClassReport]) -> Vec<Bar> {
    let mut counts = [0_usize; STEPS];
    for class in classes {
        let step = (class.accuracy * STEPS as f64) as usize;
        counts[step.min(STEPS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let bars = counts.iter().enumerate().filter(|(_, number)| **number > 0);
    bars.map(|(step, &number)| {
        let left = STEP * step as f64;
        let tall = (165.0 * number as f64 / most).max(1.0);
        Bar {
            number: Count(number),
            from: step * 100 / STEPS,
            to: (step + 1) * 100 / STEPS,
            rect: Rect::new("answer", left + 1.0, FLOOR - tall, STEP - 2.0, tall),
            x: Px(left + STEP / 2.0),
            y: Px(FLOOR - tall - 4.0),
        }
    })
    .collect()
}

impl Tick {
    fn new(step: usize) -> Self {
        let percent = step * 100 / STEPS;
        let (anchor, unit) = if step == STEPS {
            ("end", " %")
        } else {
            ("middle", "")
        };
        Self {
            anchor,
            x: STEP * step as f64,
            label: format!("{percent}{unit}"),
        }
    }
}
