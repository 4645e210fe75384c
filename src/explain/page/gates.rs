//! Gates by class on a page: the figure of section 7.2 of the SENet paper, and a table.

use std::fmt::Write;

use askama::Template;

use crate::eval::page::markup::{Count, Images, Percent, Px};
use crate::explain::{GateReport, ModuleKind, ModuleReport};

/// Margins and size of a drawing.
const LEFT: f64 = 34.0;
const WIDTH: f64 = 1040.0;
const PLOT: f64 = WIDTH - LEFT - 8.0;
const TOP: f64 = 8.0;
const TALL: f64 = 150.0;
const FLOOR: f64 = TOP + TALL;
const HEIGHT: f64 = FLOOR + 22.0;

/// Classes that have a line of their own: there are as many colours.
const LINES: usize = 6;

/// The gates of a data set, and which classes to draw.
#[derive(Clone, Debug)]
pub struct PageGates<'a> {
    /// All figures.
    pub report: &'a GateReport,
    /// The classes to draw, at most the first six: their place in [`GateReport::classes`], and their name.
    pub lines: Vec<(usize, String)>,
}

#[derive(Template)]
#[template(path = "gates.html", config = "src/explain/page/askama.toml")]
pub(super) struct Gates<'a> {
    images: Images,
    classes: Count,
    legend: Vec<&'a str>,
    /// Classes for which there is no colour left.
    undrawn: Count,
    figures: Vec<Figure<'a>>,
    rows: Vec<ModuleView<'a>>,
}

/// The gates of the last module of a stage, channel by channel.
struct Figure<'a> {
    stage: usize,
    module: &'a str,
    channels: Count,
    what: &'static str,
    /// The mean of all images, and those of the classes.
    overall: String,
    lines: Vec<String>,
    ticks: [Tick; 3],
}

struct Tick {
    y: Px,
    label_y: Px,
    label: &'static str,
}

struct ModuleView<'a> {
    name: &'a str,
    channels: Count,
    mean: String,
    std: String,
    between: Option<Percent>,
    adjusted: Option<Percent>,
    /// Width of a bar for the adjusted share.
    width: String,
    verdict: &'static str,
}

impl<'a> Gates<'a> {
    pub(super) fn new(gates: &'a PageGates<'a>) -> Self {
        let report = gates.report;
        let modules = &report.modules;
        let is_last = |place: usize| {
            let next = modules.get(place + 1);
            next.is_none_or(|next| next.module.stage != modules[place].module.stage)
        };
        let last = (0..modules.len()).filter(|&place| is_last(place));
        Self {
            images: Images(report.images),
            classes: Count(report.classes.len()),
            legend: drawn(gates).map(|(_, name)| &**name).collect(),
            undrawn: Count(gates.lines.len().saturating_sub(LINES)),
            figures: last
                .map(|place| Figure::new(&modules[place], gates))
                .collect(),
            rows: modules.iter().map(ModuleView::new).collect(),
        }
    }
}

fn drawn<'a>(gates: &'a PageGates<'_>) -> impl Iterator<Item = &'a (usize, String)> {
    gates.lines.iter().take(LINES)
}

impl<'a> Figure<'a> {
    fn new(module: &'a ModuleReport, gates: &PageGates<'_>) -> Self {
        let lines = drawn(gates).map(|&(place, _)| line(&module.means[place]));
        let tick = |value: f64, label| Tick {
            y: Px(y(value)),
            label_y: Px(y(value) + 4.0),
            label,
        };
        Self {
            stage: module.module.stage,
            module: &module.module.name,
            channels: Count(module.module.channels),
            what: match module.module.kind {
                ModuleKind::Se => "gate",
                ModuleKind::Sk => "weight of the larger kernel",
            },
            overall: line(&module.overall),
            lines: lines.collect(),
            ticks: [tick(0.0, "0"), tick(0.5, "0.5"), tick(1.0, "1")],
        }
    }
}

fn y(value: f64) -> f64 {
    FLOOR - TALL * value.clamp(0.0, 1.0)
}

/// The path of a line through one value for each channel.
fn line(values: &[f64]) -> String {
    let step = PLOT / (values.len().max(2) - 1) as f64;
    let mut path = String::new();
    for (place, &value) in values.iter().enumerate() {
        let command = if place == 0 { 'M' } else { 'L' };
        // Writing to a string does not fail.
        let _ = write!(
            path,
            "{command}{:.1} {:.1}",
            LEFT + step * place as f64,
            y(value)
        );
    }
    path
}

impl<'a> ModuleView<'a> {
    fn new(report: &'a ModuleReport) -> Self {
        Self {
            name: &report.module.name,
            channels: Count(report.module.channels),
            mean: format!("{:.3}", report.mean),
            std: format!("{:.4}", report.std),
            between: report.between_share.map(Percent),
            adjusted: report.adjusted_share.map(Percent),
            width: format!(
                "{:.1}",
                100.0 * report.adjusted_share.unwrap_or(0.0).max(0.0)
            ),
            verdict: report.verdict.describe(),
        }
    }
}
