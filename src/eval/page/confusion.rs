//! Which classes are taken for which.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Formatter};

use super::markup::{count, percent, pictures, rect, short, text};
use crate::eval::{ClassReport, Confusion, Report};

/// Classes of the map, and rows of the table.
const MAP: usize = 30;
const PAIRS: usize = 20;
/// Up to so many classes make a map that the table has room beside.
const FEW: usize = 12;
/// Characters of a name beside the map.
const NAME: usize = 22;

pub(super) fn write(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    out.write_str(
        "<section aria-labelledby=\"confusion\">\n<h2 id=\"confusion\">Confusion</h2>\n",
    )?;
    if report.confusions.is_empty() {
        return out.write_str("<p>Every answer is right.</p>\n</section>\n");
    }
    let (classes, all) = chosen(report);
    if all {
        out.write_str("<p>Rows are the right classes, columns the answers.")?;
    } else {
        writeln!(
            out,
            "<p>The {} classes of the most frequent mistakes. Rows are the right classes, columns the \
             answers.",
            classes.len()
        )?;
    }
    out.write_str(
        " The colour of mistakes is the stronger, the larger their share of the row.</p>\n",
    )?;
    let wrap = if classes.len() > FEW { "one" } else { "two" };
    writeln!(
        out,
        "<div class=\"{wrap}\">\n\
         <figure class=\"scroll\" tabindex=\"0\" aria-label=\"Confusion map, may be scrolled\">"
    )?;
    map(report, &classes, all, out)?;
    out.write_str("</figure>\n<div class=\"pairs\">\n<h3>Most frequent mistakes</h3>\n")?;
    pairs(report, out)?;
    out.write_str("</div>\n</div>\n</section>\n")
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

/// The grid: its place, the edge of a cell and what stands in the cells.
struct Grid<'a> {
    left: f64,
    top: f64,
    cell: f64,
    columns: usize,
    rows: Vec<&'a ClassReport>,
    mistakes: HashMap<(usize, usize), &'a Confusion>,
    /// The largest share of a row that is taken for one other class.
    worst: f64,
}

fn map(
    report: &Report,
    classes: &[(usize, &str)],
    all: bool,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let by_index: HashMap<usize, &ClassReport> =
        report.classes.iter().map(|c| (c.index, c)).collect();
    let longest = classes
        .iter()
        .map(|(_, name)| name.chars().count().min(NAME));
    let longest = longest.max().unwrap_or_default() as f64;
    let mistakes = report.confusions.iter();
    let share = |pair: &Confusion| pair.pictures as f64 / by_index[&pair.label].answered as f64;
    let grid = Grid {
        left: longest * 7.2 + 12.0,
        top: longest * 7.2 + 12.0,
        cell: if classes.len() > FEW { 25.0 } else { 40.0 },
        columns: classes.len() + usize::from(!all),
        rows: classes
            .iter()
            .filter_map(|(index, _)| by_index.get(index).copied())
            .collect(),
        worst: mistakes.clone().map(share).fold(0.0, f64::max),
        mistakes: mistakes
            .map(|pair| ((pair.label, pair.prediction), pair))
            .collect(),
    };
    let (width, height) = (
        grid.cell * grid.columns as f64,
        grid.cell * grid.rows.len() as f64,
    );
    write!(
        out,
        "<svg class=\"map\" width=\"{0:.0}\" height=\"{1:.0}\" viewBox=\"0 0 {0:.0} {1:.0}\" role=\"img\" \
         aria-label=\"Confusion map of {2} classes; the table below has the largest numbers\">\n\
         {3}<path class=\"lines\" d=\"",
        grid.left + width + 2.0,
        grid.top + height + 2.0,
        classes.len(),
        rect("track", grid.left, grid.top, width, height),
    )?;
    for line in 1..grid.columns {
        let x = grid.left + grid.cell * line as f64;
        write!(out, "M{x:.1} {:.1}v{height:.1}", grid.top)?;
    }
    for line in 1..grid.rows.len() {
        let y = grid.top + grid.cell * line as f64;
        write!(out, "M{:.1} {y:.1}h{width:.1}", grid.left)?;
    }
    out.write_str("\"/>\n")?;
    let others = (!all).then_some("all others");
    let names = classes.iter().map(|(_, name)| *name).chain(others);
    for (column, name) in names.enumerate() {
        let x = grid.left + grid.cell * (column as f64 + 0.5) + 4.0;
        let y = grid.top - 6.0;
        writeln!(
            out,
            "<text class=\"name\" transform=\"translate({x:.1} {y:.1})rotate(-90)\">{}<title>{}</title></text>",
            text(&short(name, NAME)),
            text(name)
        )?;
    }
    for (row, class) in grid.rows.iter().enumerate() {
        writeln!(
            out,
            "<text class=\"name end\" x=\"{:.1}\" y=\"{:.1}\">{}<title>{}</title></text>",
            grid.left - 6.0,
            grid.top + grid.cell * (row as f64 + 0.5) + 4.0,
            text(&short(&class.name, NAME)),
            text(&class.name)
        )?;
        grid.row(row, class, classes, out)?;
    }
    out.write_str("</svg>\n")
}

impl Grid<'_> {
    fn row(
        &self,
        row: usize,
        class: &ClassReport,
        classes: &[(usize, &str)],
        out: &mut Formatter<'_>,
    ) -> fmt::Result {
        let mut rest = class.answered - class.correct;
        for (column, &(index, name)) in classes.iter().enumerate() {
            if index == class.index {
                self.cell(row, column, class, class.correct, None, out)?;
            } else if let Some(pair) = self.mistakes.get(&(class.index, index)) {
                rest -= pair.pictures;
                self.cell(row, column, class, pair.pictures, Some(name), out)?;
            }
        }
        if self.columns > classes.len() {
            self.cell(row, classes.len(), class, rest, Some("other classes"), out)?;
        }
        Ok(())
    }

    /// One number, if there is something to count; `answer` is another class than the right one.
    fn cell(
        &self,
        row: usize,
        column: usize,
        class: &ClassReport,
        number: usize,
        answer: Option<&str>,
        out: &mut Formatter<'_>,
    ) -> fmt::Result {
        if number == 0 {
            return Ok(());
        }
        let share = number as f64 / class.answered as f64;
        // A few mistakes must be seen beside many; and the number must be read on the darkest.
        let (kind, opacity) = match answer {
            None => ("right", 0.1 + 0.4 * share),
            Some(_) => ("wrong", 0.1 + 0.5 * (share / self.worst).min(1.0).sqrt()),
        };
        let edge = self.cell - 1.0;
        let digits = number.to_string().len() as f64;
        let x = self.left + self.cell * column as f64;
        let y = self.top + self.cell * row as f64;
        writeln!(
            out,
            "<g><title>{} {} {}: {} of {} ({})</title><rect class=\"{kind}\" x=\"{:.1}\" y=\"{:.1}\" \
             width=\"{edge:.1}\" height=\"{edge:.1}\" fill-opacity=\"{opacity:.2}\"/>\
             <text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\" font-size=\"{:.1}\">{number}</text></g>",
            text(&class.name),
            if answer.is_some() {
                "taken for"
            } else {
                "known"
            },
            text(answer.unwrap_or("as such")),
            count(number),
            pictures(class.answered),
            percent(share),
            x + 0.5,
            y + 0.5,
            x + self.cell / 2.0,
            y + self.cell / 2.0 + 4.0,
            (self.cell / (digits * 0.62)).min(12.0),
        )
    }
}

fn pairs(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    let answered: HashMap<usize, usize> = report
        .classes
        .iter()
        .map(|c| (c.index, c.answered))
        .collect();
    out.write_str(
        "<table>\n<thead><tr><th scope=\"col\">right class</th><th scope=\"col\">taken for</th>\
         <th scope=\"col\" class=\"n\">pictures</th><th scope=\"col\" class=\"n\">of the class</th></tr></thead>\n<tbody>\n",
    )?;
    for pair in report.confusions.iter().take(PAIRS) {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            text(&pair.label_name),
            text(&pair.prediction_name),
            count(pair.pictures),
            percent(pair.pictures as f64 / answered[&pair.label] as f64)
        )?;
    }
    out.write_str("</tbody>\n</table>\n")?;
    let more = report.confusions.len().saturating_sub(PAIRS);
    if more > 0 {
        let plural = if more == 1 { "" } else { "s" };
        writeln!(
            out,
            "<p class=\"more\">and {} other pair{plural}</p>",
            count(more)
        )?;
    }
    Ok(())
}
