//! What a command says: results on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Writes results, and remembers why that failed.
pub(super) struct Results {
    out: BufWriter<Stdout>,
    pub style: Style,
}

/// Tells a failure to write from all other failures, whose kinds may be the same.
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

    /// Why results could not be written, if so.
    pub(super) fn failure(&self) -> Option<io::ErrorKind> {
        self.out.get_ref().failure
    }

    pub(super) fn line(&mut self, line: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", line.as_ref())
    }

    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        writeln!(self.out)
    }

    /// One document for people and programs to read.
    pub(super) fn json_pretty(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, value)?;
        writeln!(self.out)
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

/// Names in foreign files may hold sequences that steer a terminal.
pub(super) fn printable(text: &str) -> String {
    let harmless = |c: char| c == '\n' || !c.is_control();
    text.chars()
        .map(|c| {
            if harmless(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// Emphasis, where a person reads along.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// None where the output is no terminal or `NO_COLOR` is set (<https://no-color.org>).
    pub(super) fn detect(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: terminal && !refused,
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// `112.6 MB`: decimal units, as the hub's pages have them.
pub(super) fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Says things on stderr that are not results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    pub quiet: bool,
}

impl Messages {
    pub(super) fn note(self, text: impl AsRef<str>) {
        if !self.quiet {
            let style = Style::detect(io::stderr().is_terminal());
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(
                io::stderr(),
                "{} {}",
                style.dim("note:"),
                printable(text.as_ref())
            );
        }
    }

    /// One input's error, which is told even if nothing else is.
    pub(super) fn failure(self, text: impl AsRef<str>) {
        let style = Style::detect(io::stderr().is_terminal());
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(
            io::stderr(),
            "{} {}",
            style.red("error:"),
            printable(text.as_ref())
        );
    }

    /// Whether there are bars: only for a person at a terminal.
    pub(super) fn has_bars(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// A bar that is drawn only for a person at a terminal.
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

/// A table for people: left- or right-aligned columns, two blanks between them.
pub(super) struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A column whose heading starts with `>` is aligned right.
    pub(super) fn new(headings: &[&str]) -> Self {
        let right = headings
            .iter()
            .map(|heading| heading.starts_with('>'))
            .collect();
        let heading = |heading: &&str| heading.trim_start_matches('>').to_owned();
        Self {
            right,
            rows: vec![headings.iter().map(heading).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints the table, its heading in bold.
    pub(super) fn print(&self, results: &mut Results) -> io::Result<()> {
        for (index, line) in self.lines().iter().enumerate() {
            results.line(if index == 0 {
                results.style.bold(line)
            } else {
                line.clone()
            })?;
        }
        Ok(())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
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
