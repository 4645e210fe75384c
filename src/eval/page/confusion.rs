//! Which classes are mistaken for which.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use askama::Template;

use super::markup::{Count, Images, Percent, Px, Rect, short};
use crate::eval::{ClassReport, Confusion as Mistake, Report};

/// Classes of the map, and rows of the table.
const MAP: usize = 30;
const PAIRS: usize = 20;
/// Up to this many classes, there is room for the table next to the map.
const FEW: usize = 12;
/// Characters of a name next to the map.
const NAME: usize = 22;

#[derive(Template)]
#[template(path = "confusion.html", config = "src/eval/page/askama.toml")]
pub(super) struct Confusion<'a> {
    /// `None` if every answer is right.
    map: Option<Map<'a>>,
    pairs: Vec<PairRow<'a>>,
    /// Pairs that are not shown.
    more: Count,
}

/// A grid with a row for each right class and a column for each answer.
struct Map<'a> {
    /// Number of classes.
    classes: usize,
    /// Whether those are all that occur.
    is_all: bool,
    width: String,
    height: String,
    background: Rect,
    /// Path of the grid lines.
    lines: String,
    columns: Vec<Name<'a>>,
    rows: Vec<Name<'a>>,
    cells: Vec<Cell>,
    /// From one cell to the next, and the side of a cell's square.
    cell: f64,
    edge: Px,
}

struct Name<'a> {
    x: Px,
    y: Px,
    short: String,
    full: &'a str,
}

struct Cell {
    title: String,
    kind: &'static str,
    x: f64,
    y: f64,
    opacity: f64,
    font_size: Px,
    number: usize,
}

struct PairRow<'a> {
    label: &'a str,
    prediction: &'a str,
    images: Count,
    share: Percent,
}

impl<'a> Confusion<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let by_index: HashMap<usize, &ClassReport> =
            report.classes.iter().map(|c| (c.index, c)).collect();
        let share = |pair: &Mistake| pair.images as f64 / by_index[&pair.label].answered as f64;
        let pairs = report.confusions.iter().take(PAIRS).map(|pair| PairRow {
            label: &pair.label_name,
            prediction: &pair.prediction_name,
            images: Count(pair.images),
            share: Percent(share(pair)),
        });
        let some = !report.confusions.is_empty();
        let map = some.then(|| {
            let (classes, is_all) = chosen(report);
            let shares = report.confusions.iter().map(share);
            let grid = Grid::new(&classes, is_all, &by_index, shares.fold(0.0, f64::max));
            let mistakes = report.confusions.iter();
            let mistakes = mistakes.map(|pair| ((pair.label, pair.prediction), pair.images));
            grid.map(&classes, is_all, &mistakes.collect())
        });
        Self {
            map,
            pairs: pairs.collect(),
            more: Count(report.confusions.len().saturating_sub(PAIRS)),
        }
    }
}

/// The classes of the map with their names, in the order of the classifier; and whether that is all.
fn chosen(report: &Report) -> (Vec<(usize, &str)>, bool) {
    let occurring = report.classes.iter().map(|class| class.index);
    let mistaken = report.confusions.iter();
    let mistaken = mistaken.flat_map(|pair| [pair.label, pair.prediction]);
    let all: BTreeSet<usize> = occurring.chain(mistaken.clone()).collect();
    let mut names: HashMap<usize, &str> = HashMap::new();
    for class in &report.classes {
        names.insert(class.index, &class.name);
    }
    for pair in &report.confusions {
        names.insert(pair.prediction, &pair.prediction_name);
    }
    let everything = all.len() <= MAP;
    let classes = if everything {
        all
    } else {
        let mut classes = BTreeSet::new();
        for index in mistaken {
            if classes.len() == MAP {
                break;
            }
            classes.insert(index);
        }
        classes
    };
    let classes = classes.into_iter().map(|index| (index, names[&index]));
    (classes.collect(), everything)
}

/// The grid: its position, the side of a cell and its rows.
struct Grid<'a> {
    left: f64,
    top: f64,
    cell: f64,
    columns: usize,
    rows: Vec<&'a ClassReport>,
    /// The largest share of a class that is mistaken for one other class.
    worst: f64,
}

impl<'a> Grid<'a> {
    fn new(
        classes: &[(usize, &str)],
        is_all: bool,
        by_index: &HashMap<usize, &'a ClassReport>,
        worst: f64,
    ) -> Self {
        let longest = classes
            .iter()
            .map(|(_, name)| name.chars().count().min(NAME));
        let longest = longest.max().unwrap_or_default() as f64;
        let rows = classes.iter().filter_map(|(index, _)| by_index.get(index));
        Self {
            left: longest * 7.2 + 12.0,
            top: longest * 7.2 + 12.0,
            cell: if classes.len() > FEW { 25.0 } else { 40.0 },
            columns: classes.len() + usize::from(!is_all),
            rows: rows.copied().collect(),
            worst,
        }
    }

    fn map(
        &self,
        classes: &[(usize, &'a str)],
        is_all: bool,
        mistakes: &HashMap<(usize, usize), usize>,
    ) -> Map<'a> {
        let width = self.cell * self.columns as f64;
        let height = self.cell * self.rows.len() as f64;
        let others = (!is_all).then_some("all others");
        let names = classes.iter().map(|(_, name)| *name).chain(others);
        let columns = names.enumerate().map(|(column, name)| Name {
            x: Px(self.x(column as f64 + 0.5) + 4.0),
            y: Px(self.top - 6.0),
            short: short(name, NAME),
            full: name,
        });
        let rows = self.rows.iter().enumerate().map(|(row, class)| Name {
            x: Px(self.left - 6.0),
            y: Px(self.y(row as f64 + 0.5) + 4.0),
            short: short(&class.name, NAME),
            full: &class.name,
        });
        let cells = (0..self.rows.len()).flat_map(|row| self.row(row, classes, mistakes));
        Map {
            classes: classes.len(),
            is_all,
            width: format!("{:.0}", self.left + width + 2.0),
            height: format!("{:.0}", self.top + height + 2.0),
            background: Rect::new("track", self.left, self.top, width, height),
            lines: self.lines(width, height),
            columns: columns.collect(),
            rows: rows.collect(),
            cells: cells.collect(),
            cell: self.cell,
            edge: Px(self.cell - 1.0),
        }
    }

    fn x(&self, column: f64) -> f64 {
        self.left + self.cell * column
    }

    fn y(&self, row: f64) -> f64 {
        self.top + self.cell * row
    }

    fn lines(&self, width: f64, height: f64) -> String {
        let mut lines = String::new();
        for column in 1..self.columns {
            let (x, top) = (Px(self.x(column as f64)), Px(self.top));
            // Writing to a string cannot fail.
            let _ = write!(lines, "M{x} {top}v{}", Px(height));
        }
        for row in 1..self.rows.len() {
            let (left, y) = (Px(self.left), Px(self.y(row as f64)));
            let _ = write!(lines, "M{left} {y}h{}", Px(width));
        }
        lines
    }

    /// The cells of a row with a non-zero count.
    fn row(
        &self,
        row: usize,
        classes: &[(usize, &str)],
        mistakes: &HashMap<(usize, usize), usize>,
    ) -> Vec<Cell> {
        let class = self.rows[row];
        let mut rest = class.answered - class.correct;
        let mut cells = Vec::new();
        for (column, &(index, name)) in classes.iter().enumerate() {
            if index == class.index {
                cells.push(self.cell(row, column, class.correct, None));
            } else if let Some(&number) = mistakes.get(&(class.index, index)) {
                rest -= number;
                cells.push(self.cell(row, column, number, Some(name)));
            }
        }
        if self.columns > classes.len() {
            cells.push(self.cell(row, classes.len(), rest, Some("other classes")));
        }
        cells.retain(|cell| cell.number > 0);
        cells
    }

    /// One cell; `answer` is a different class from the right one.
    fn cell(&self, row: usize, column: usize, number: usize, answer: Option<&str>) -> Cell {
        let class = self.rows[row];
        let share = number as f64 / class.answered as f64;
        // A few mistakes must be visible next to many, and the number legible on the darkest.
        let (kind, opacity, meaning) = match answer {
            None => ("right", 0.1 + 0.4 * share, "known as such".to_owned()),
            Some(answer) => {
                let opacity = 0.1 + 0.5 * (share / self.worst).min(1.0).sqrt();
                ("wrong", opacity, format!("taken for {answer}"))
            }
        };
        let digits = number.to_string().len() as f64;
        Cell {
            title: format!(
                "{} {meaning}: {} of {} ({})",
                class.name,
                Count(number),
                Images(class.answered),
                Percent(share)
            ),
            kind,
            x: self.x(column as f64),
            y: self.y(row as f64),
            opacity,
            font_size: Px((self.cell / (digits * 0.62)).min(12.0)),
            number,
        }
    }
}
