//! Progress of downloads: a bar for each on a terminal, lines elsewhere.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::output::{Messages, escaped, human_bytes};
use crate::hub::{HubError, Progress};

const TEMPLATE: &str = "{prefix:<34.34} {bar:24.cyan/dim} {decimal_bytes:>9} of {decimal_total_bytes:<9} {decimal_bytes_per_sec:>11}  {eta}";
/// Where the length is not known.
const TEMPLATE_OPEN: &str =
    "{prefix:<34.34} {spinner} {decimal_bytes:>9} {decimal_bytes_per_sec:>11}";

/// All downloads of a command, with one progress bar each.
pub(super) struct Transfers {
    messages: Messages,
    bars: MultiProgress,
}

/// The downloads of one model, one after the other.
pub(super) struct Transfer<'a> {
    all: &'a Transfers,
    model: &'a str,
    current: RefCell<Option<Current>>,
}

struct Current {
    file: String,
    bar: ProgressBar,
    start: Instant,
    first: u64,
}

impl Transfers {
    pub(super) fn new(messages: Messages) -> Self {
        Self {
            messages,
            bars: MultiProgress::new(),
        }
    }

    /// The download of the files of `model`.
    pub(super) fn progress<'a>(&'a self, model: &'a str) -> Transfer<'a> {
        Transfer {
            all: self,
            model,
            current: RefCell::new(None),
        }
    }

    /// Prints a note above the bars.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        self.bars.suspend(|| self.messages.note(text));
    }

    /// Hides the bars while results or errors are written.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bars.suspend(write)
    }

    fn bar(&self, prefix: &str, total: Option<u64>) -> ProgressBar {
        if !self.messages.has_bars() {
            return ProgressBar::hidden();
        }
        let template = if total.is_some() {
            TEMPLATE
        } else {
            TEMPLATE_OPEN
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("eta", |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{} s", state.eta().as_secs());
            })
            .progress_chars("━╸ ");
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let bar = self
            .bars
            .add(bar.with_style(style).with_prefix(escaped(prefix)));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

impl Transfer<'_> {
    /// A file's name in messages.
    fn name(&self, file: &str) -> String {
        format!("{} ({file})", self.model)
    }
}

impl Progress for Transfer<'_> {
    fn advance(&self, file: &str, done: u64, total: Option<u64>) {
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_none_or(|current| current.file != file) {
            let size = total.map_or_else(String::new, |total| format!(", {}", human_bytes(total)));
            let from = match done {
                0 => String::new(),
                done => format!(", resuming at {}", human_bytes(done)),
            };
            self.all
                .note(format!("downloading {}{size}{from}", self.name(file)));
            let bar = self.all.bar(self.model, total);
            bar.set_position(done);
            bar.reset_eta();
            *current = Some(Current {
                file: file.to_owned(),
                bar,
                start: Instant::now(),
                first: done,
            });
        }
        let Some(Current {
            bar, start, first, ..
        }) = current.as_ref()
        else {
            return;
        };
        bar.set_position(done);
        if Some(done) == total && !bar.is_finished() {
            bar.finish_and_clear();
            let seconds = start.elapsed().as_secs_f64();
            let received = human_bytes(done.saturating_sub(*first));
            self.all.note(format!(
                "downloaded {}: {received} in {seconds:.1} s",
                self.name(file)
            ));
        }
    }

    fn note(&self, text: &str) {
        self.all.note(text);
    }

    fn wait(&self, file: &str) {
        self.all.note(format!(
            "waiting for another process to download {}",
            self.name(file)
        ));
    }

    fn retry(&self, file: &str, error: &HubError, delay: Duration) {
        self.all.note(format!(
            "{}: {error}; trying again in {:.1} s",
            self.name(file),
            delay.as_secs_f64()
        ));
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if let Some(current) = self.current.borrow().as_ref() {
            current.bar.finish_and_clear();
        }
    }
}
