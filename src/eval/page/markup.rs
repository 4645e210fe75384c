//! Text and numbers inside HTML.

use std::fmt::{self, Display, Formatter, Write};

use askama::Template;
use askama::filters::Escaper;

use crate::eval::Interval;
use crate::text::thousands;

/// Escapes everything that a template shows, so untrusted text can neither be markup, nor end an
/// attribute, nor reorder the text around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Html;

impl Escaper for Html {
    fn write_escaped_str<W: Write>(&self, mut out: W, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                // Control characters, those that set the text direction, and those that XML does
                // not allow.
                c if c.is_control() => out.write_char(char::REPLACEMENT_CHARACTER)?,
                '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{fffe}'
                | '\u{ffff}' => out.write_char(char::REPLACEMENT_CHARACTER)?,
                c => out.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The first characters of a name that must fit into a drawing.
pub(super) fn short(name: &str, longest: usize) -> String {
    if name.chars().count() <= longest {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(longest - 1).collect();
    short.push('…');
    short
}

/// `12,345`
#[derive(Clone, Copy)]
pub(crate) struct Count(pub usize);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&thousands(self.0))
    }
}

/// `1 image`, `12,345 images`
#[derive(Clone, Copy)]
pub(crate) struct Images(pub usize);

impl Display for Images {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} image{plural}", Count(self.0))
    }
}

/// `93.75 %`, with a no-break space.
#[derive(Clone, Copy)]
pub(crate) struct Percent(pub f64);

impl Display for Percent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}\u{a0}%", self.0 * 100.0)
    }
}

/// `91.20 to 95.10 %`
#[derive(Clone, Copy)]
pub(super) struct Range(pub Interval);

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let low = self.0.low * 100.0;
        write!(f, "{low:.2} to {}", Percent(self.0.high))
    }
}

/// A length or coordinate in a drawing.
#[derive(Clone, Copy)]
pub(crate) struct Px(pub f64);

impl Display for Px {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0)
    }
}

/// A rectangle of a drawing, with the look of `class`.
#[derive(Template)]
#[template(
    source = r#"<rect class="{{ class }}" x="{{ x }}" y="{{ y }}" width="{{ width }}" height="{{ height }}"/>"#,
    ext = "html",
    config = "src/eval/page/askama.toml"
)]
pub(super) struct Rect {
    class: &'static str,
    x: Px,
    y: Px,
    width: Px,
    height: Px,
}

impl Rect {
    pub(super) fn new(class: &'static str, x: f64, y: f64, width: f64, height: f64) -> Self {
        let [x, y, width, height] = [x, y, width, height].map(Px);
        Self {
            class,
            x,
            y,
            width,
            height,
        }
    }
}
