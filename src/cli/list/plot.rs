//! Accuracy by cost, as SVG.

use std::fmt::{self, Display};

use askama::Template;

use super::pareto::Cost;

const WIDTH: f64 = 1230.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 716.0;
const TOP: f64 = 52.0;
const PLOT: f64 = 580.0;
const BOTTOM: f64 = TOP + PLOT;
/// The list of names, to the right of the plot.
const NAMES: f64 = RIGHT + 30.0;
const LINE: f64 = 18.0;
/// Where its figures end.
const TOP1: f64 = WIDTH - 84.0;
const COST: f64 = WIDTH - 16.0;
/// Size of a number at a point, and of one of its digits.
const TALL: f64 = 12.0;
const DIGIT: f64 = 7.0;

/// A checkpoint.
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) cost: f64,
    pub(super) top1: f64,
    /// Whether no other beats it.
    pub(super) best: bool,
}

#[derive(Template)]
#[template(path = "plot.svg", config = "src/cli/list/askama.toml")]
pub(super) struct Plot {
    what: &'static str,
    unit: &'static str,
    height: f64,
    across: Vec<Tick>,
    up: Vec<Tick>,
    /// The path along the best.
    steps: String,
    others: Vec<Dot>,
    best: Vec<Numbered>,
}

/// A label of an axis.
struct Tick {
    at: Px,
    text: String,
}

struct Dot {
    x: Px,
    y: Px,
    title: String,
}

/// A point with a number, whose name and figures are in the list.
struct Numbered {
    dot: Dot,
    number: usize,
    /// Where the number ends, and its base line.
    number_x: Px,
    number_y: Px,
    name: String,
    top1: String,
    cost: String,
    line: Px,
}

/// A coordinate.
#[derive(Clone, Copy)]
struct Px(f64);

impl Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0)
    }
}

/// From values to places in the drawing.
struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }
}

impl Plot {
    /// At least one mark, sorted by cost.
    pub(super) fn new(marks: &[Mark], cost: Cost) -> Self {
        let (what, unit) = match cost {
            Cost::Params => ("parameters in millions", "params M"),
            Cost::Macs => ("multiply-accumulates for one image in billions", "GMACs"),
            Cost::Speed => ("milliseconds for one image on this machine", "ms"),
        };
        let (x, y) = (across(marks), up(marks));
        let dot = |mark: &Mark| Dot {
            x: Px(x.at(mark.cost.ln())),
            y: Px(y.at(mark.top1)),
            title: format!("{}: {:.2} %, {:.2} {unit}", mark.name, mark.top1, mark.cost),
        };
        let others = marks.iter().filter(|mark| !mark.best).map(dot);
        let best = marks.iter().filter(|mark| mark.best).enumerate();
        let numbered = |(index, mark): (usize, &Mark)| Numbered {
            dot: dot(mark),
            number: index + 1,
            number_x: Px(0.0),
            number_y: Px(0.0),
            name: mark.name.clone(),
            top1: format!("{:.2}", mark.top1),
            cost: format!("{:.2}", mark.cost),
            line: Px(TOP + LINE * (index + 1) as f64),
        };
        let mut best: Vec<Numbered> = best.map(numbered).collect();
        place(&mut best);
        Self {
            what,
            unit,
            height: (BOTTOM + 48.0).max(TOP + LINE * (best.len() + 2) as f64),
            across: ticks_across(&x),
            up: ticks_up(&y),
            steps: steps(&best),
            others: others.collect(),
            best,
        }
    }
}

/// The line above which there is no checkpoint.
fn steps(best: &[Numbered]) -> String {
    let mut path = String::new();
    for (index, Numbered { dot, .. }) in best.iter().enumerate() {
        path += &match index {
            0 => format!("M{} {BOTTOM}V{}", dot.x, dot.y),
            _ => format!("H{}V{}", dot.x, dot.y),
        };
    }
    path + &format!("H{RIGHT}")
}

/// Logarithms of costs.
fn across(marks: &[Mark]) -> Scale {
    let costs = || marks.iter().map(|mark| mark.cost.ln());
    Scale {
        low: costs().fold(f64::INFINITY, f64::min) - 0.2,
        high: costs().fold(f64::NEG_INFINITY, f64::max) + 0.2,
        start: LEFT,
        end: RIGHT,
    }
}

fn up(marks: &[Mark]) -> Scale {
    let top1 = || marks.iter().map(|mark| mark.top1);
    Scale {
        low: top1().fold(f64::INFINITY, f64::min) - 0.5,
        high: top1().fold(f64::NEG_INFINITY, f64::max) + 0.5,
        start: BOTTOM,
        end: TOP,
    }
}

fn ticks_across(x: &Scale) -> Vec<Tick> {
    let mut ticks = Vec::new();
    for power in -3..8 {
        for digit in [1.0, 2.0, 5.0] {
            let value = digit * 10_f64.powi(power);
            if (x.low..=x.high).contains(&value.ln()) {
                ticks.push(Tick {
                    at: Px(x.at(value.ln())),
                    text: format!("{value}"),
                });
            }
        }
    }
    ticks
}

fn ticks_up(y: &Scale) -> Vec<Tick> {
    let range = y.high - y.low;
    let step = [0.5, 1.0, 2.0, 5.0]
        .into_iter()
        .find(|step| range / step <= 12.0);
    let step = step.unwrap_or(10.0);
    let first = (y.low / step).ceil() as i64;
    let last = (y.high / step).floor() as i64;
    let tick = |index: i64| {
        let value = index as f64 * step;
        Tick {
            at: Px(y.at(value)),
            text: format!("{value}"),
        }
    };
    (first..=last).map(tick).collect()
}

/// Numbers above and to the left of their points, where no checkpoint is, and higher where two would overlap.
fn place(best: &mut [Numbered]) {
    let mut taken: Vec<[f64; 4]> = Vec::new();
    let points: Vec<(f64, f64)> = best.iter().map(|one| (one.dot.x.0, one.dot.y.0)).collect();
    taken.extend(
        points
            .iter()
            .map(|(x, y)| [x - 4.0, x + 4.0, y - 4.0, y + 4.0]),
    );
    for (one, (x, y)) in best.iter_mut().zip(points) {
        let width = DIGIT * one.number.to_string().len() as f64;
        let (end, mut base) = (x - 4.0, y - 4.0);
        let overlaps = |base: f64| {
            taken.iter().any(|[left, right, top, bottom]| {
                end > *left && end - width < *right && base > *top && base - TALL < *bottom
            })
        };
        while overlaps(base) {
            base -= 2.0;
        }
        taken.push([end - width, end, base - TALL, base]);
        (one.number_x, one.number_y) = (Px(end), Px(base));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Crowded ones, on purpose.
    fn plot() -> Plot {
        let marks: Vec<Mark> = (0..40)
            .map(|index| Mark {
                name: format!("network_{index}"),
                cost: 1.0 + f64::from(index).powi(2) / 50.0,
                top1: 60.0 + f64::from(index).sqrt() * 4.0,
                best: index % 3 != 1,
            })
            .collect();
        Plot::new(&marks, Cost::Macs)
    }

    #[test]
    fn numbers_overlap_neither_each_other_nor_points() {
        let best = plot().best;
        let text = |one: &Numbered| {
            let width = DIGIT * one.number.to_string().len() as f64;
            let (x, y) = (one.number_x.0, one.number_y.0);
            [x - width, x, y - TALL, y]
        };
        let apart =
            |a: [f64; 4], b: [f64; 4]| a[1] <= b[0] || b[1] <= a[0] || a[3] <= b[2] || b[3] <= a[2];
        for (index, one) in best.iter().enumerate() {
            for other in &best {
                let Dot {
                    x: Px(x), y: Px(y), ..
                } = other.dot;
                assert!(
                    apart(text(one), [x - 4.0, x + 4.0, y - 4.0, y + 4.0]),
                    "{}",
                    one.number
                );
            }
            for other in &best[..index] {
                assert!(
                    apart(text(one), text(other)),
                    "{} {}",
                    one.number,
                    other.number
                );
                assert!((one.line.0 - other.line.0).abs() >= LINE);
            }
        }
    }

    #[test]
    fn the_drawing_is_xml_and_holds_every_name() {
        let plot = plot();
        let svg = plot.to_string();
        let mut reader = quick_xml::Reader::from_str(&svg);
        while reader.read_event().expect("well-formed") != quick_xml::events::Event::Eof {}
        for one in &plot.best {
            assert!(svg.contains(&format!(">{}</text>", one.name)));
            assert!(one.line.0 < plot.height);
        }
        assert_eq!(svg.matches("<circle").count(), 40);
    }
}
