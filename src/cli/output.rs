//! What a command prints: results on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Writes results, and remembers why that failed.
pub(super) struct Results {
    out: BufWriter<Stdout>,
    style: Style,
}

/// Remembers failed writes, to distinguish them from other errors of the same kind.
struct Stdout {
    lock: StdoutLock<'static>,
    failure: Option<io::ErrorKind>,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock
            .write(bytes)
            .inspect_err(|error| self.failure = Some(error.kind()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock
            .flush()
            .inspect_err(|error| self.failure = Some(error.kind()))
    }
}

impl Results {
    pub(super) fn new() -> Self {
        let lock = io::stdout().lock();
        let style = Style::detect(lock.is_terminal());
        Self {
            out: BufWriter::new(Stdout {
                lock,
                failure: None,
            }),
            style,
        }
    }

    /// Why results could not be written, if a write failed.
    pub(super) fn failure(&self) -> Option<io::ErrorKind> {
        self.out.get_ref().failure
    }

    pub(super) fn line(&mut self, line: impl AsRef<str>) -> io::Result<()> {
        self.pieces(&[(Tone::Plain, line.as_ref())])
    }

    /// A line with styled pieces.
    pub(super) fn pieces(&mut self, pieces: &[(Tone, &str)]) -> io::Result<()> {
        writeln!(self.out, "{}", self.style.join(pieces))
    }

    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        writeln!(self.out, "{}", plain_json(serde_json::to_string(value)?))
    }
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Text for people without characters that control a terminal, break the line or reverse the text
/// direction: names in untrusted files may contain any of them.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn steers(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
    );
    c.is_control() || turns || matches!(c, '\u{2066}'..='\u{2069}')
}

/// JSON escapes ASCII control characters by itself; the others only occur in strings, where they may be
/// escaped too.
fn plain_json(text: String) -> String {
    if !text.contains(steers) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            plain += &format!("\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

/// The style of a piece of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tone {
    Plain,
    Bold,
    Dim,
    Red,
    Cyan,
}

/// Colours, on a terminal only.
#[derive(Clone, Copy, Debug)]
struct Style {
    colour: bool,
}

impl Style {
    /// No colours unless the output is a terminal, nor if `NO_COLOR` is set (<https://no-color.org>).
    fn detect(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: terminal && !refused,
        }
    }

    /// A line for people. All lines are built here, so that untrusted text is always escaped, once.
    fn join(self, pieces: &[(Tone, &str)]) -> String {
        let paint = |&(tone, text): &(Tone, &str)| {
            let text = escaped(text);
            let code = match tone {
                Tone::Bold => "1",
                Tone::Dim => "2",
                Tone::Red => "31;1",
                Tone::Cyan => "36",
                Tone::Plain => return text,
            };
            if self.colour {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text
            }
        };
        pieces.iter().map(paint).collect()
    }
}

/// `112.6 MB`: decimal units, as on the hub's pages.
pub(super) fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Writes a line to stderr.
pub(super) fn say(pieces: &[(Tone, &str)]) {
    let style = Style::detect(io::stderr().is_terminal());
    // If stderr is closed, nobody could read an error either.
    let _ = writeln!(io::stderr(), "{}", style.join(pieces));
}

/// Prints on stderr what is not a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    pub quiet: bool,
}

impl Messages {
    pub(super) fn note(self, text: impl AsRef<str>) {
        if !self.quiet {
            say(&[
                (Tone::Dim, "note:"),
                (Tone::Plain, " "),
                (Tone::Plain, text.as_ref()),
            ]);
        }
    }

    /// An input's error, printed even with `--quiet`.
    pub(super) fn failure(self, text: impl AsRef<str>) {
        say(&[
            (Tone::Red, "error:"),
            (Tone::Plain, " "),
            (Tone::Plain, text.as_ref()),
        ]);
    }

    /// Whether progress bars are drawn: only on a terminal.
    pub(super) fn has_bars(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// A progress bar, drawn only on a terminal.
    pub(super) fn bar(self, length: u64, template: &str) -> ProgressBar {
        if !self.has_bars() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{:.0}/s", state.per_sec());
            })
            .progress_chars("━╸ ");
        let bar = ProgressBar::new(length).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A table for people, with left- or right-aligned columns.
pub(super) struct Table {
    right: Vec<bool>,
    /// Minimum width of each column.
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    printed: usize,
}

impl Table {
    /// A column whose heading starts with `>` is aligned right.
    pub(super) fn new(headings: &[&str]) -> Self {
        let right: Vec<bool> = headings
            .iter()
            .map(|heading| heading.starts_with('>'))
            .collect();
        let heading = |heading: &&str| heading.trim_start_matches('>').to_owned();
        Self {
            widths: vec![0; right.len()],
            right,
            rows: vec![headings.iter().map(heading).collect()],
            printed: 0,
        }
    }

    /// Sets the minimum width of a column, for rows that are added after the first are printed.
    pub(super) fn reserve(&mut self, column: usize, width: usize) {
        self.widths[column] = self.widths[column].max(width);
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        // Before the widths are computed.
        self.rows
            .push(cells.iter().map(|cell| escaped(cell)).collect());
    }

    /// A heading over the rows that follow.
    pub(super) fn section(&mut self, title: &str) {
        self.rows.push(Vec::new());
        self.rows.push(vec![escaped(title)]);
    }

    /// Prints the rows added since the last call, the heading in bold.
    pub(super) fn print(&mut self, results: &mut Results) -> io::Result<()> {
        for (index, line) in self.lines().iter().enumerate().skip(self.printed) {
            let is_heading = index == 0 || self.rows[index].len() == 1;
            let tone = if is_heading { Tone::Bold } else { Tone::Plain };
            results.pieces(&[(tone, line)])?;
        }
        self.printed = self.rows.len();
        Ok(())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            self.rows
                .iter()
                // Not the heading of a section.
                .filter(|row| row.len() > 1)
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
                .max(self.widths[column])
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(&self.right) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let blanks = " ".repeat(width - cell.chars().count());
                if right {
                    line += &(blanks + cell)
                } else {
                    line += &(cell.to_owned() + &blanks)
                }
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_steers_nothing() {
        let text = "a\u{1b}[31mb\nc\r\u{9b}2J\u{202e}d\u{7f}é漢\u{200d}\\";
        let shown = r"a\u{1b}[31mb\nc\r\u{9b}2J\u{202e}d\u{7f}é漢".to_owned() + "\u{200d}\\";
        assert_eq!(escaped(text), shown);
        for colour in [false, true] {
            let line = Style { colour }.join(&[(Tone::Red, text), (Tone::Plain, text)]);
            let own = line.replace("\x1b[31;1m", "").replace("\x1b[0m", "");
            assert_eq!(own, shown.repeat(2));
        }
        let json = plain_json(serde_json::to_string(text).unwrap());
        assert!(!json.contains(steers), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
