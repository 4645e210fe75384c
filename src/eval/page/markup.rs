//! Text and numbers inside HTML.

use std::fmt::{self, Display, Write as _};

use crate::eval::Interval;

/// Foreign text, which can be neither markup nor the end of an attribute, and which cannot reorder
/// what stands around it.
pub(super) fn text(text: &str) -> impl Display + '_ {
    fmt::from_fn(move |out| {
        for c in text.chars() {
            match c {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                // Control characters, those that set the direction of writing, and those that XML
                // does not have.
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
    })
}

/// The first characters of a name that has to fit into a drawing.
pub(super) fn short(name: &str, longest: usize) -> String {
    if name.chars().count() <= longest {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(longest - 1).collect();
    short.push('…');
    short
}

/// `12,345`
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 picture`, `12,345 pictures`
pub(super) fn pictures(number: usize) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} picture{plural}", count(number))
}

/// `93.75 %`, with a blank that no line is broken at.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2}\u{a0}%", share * 100.0)
}

pub(super) fn interval(interval: Interval) -> String {
    let low = interval.low * 100.0;
    format!("{low:.2} to {}", percent(interval.high))
}

/// A rectangle of a drawing, with the look of `class`.
pub(super) fn rect(class: &str, x: f64, y: f64, width: f64, height: f64) -> String {
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
    )
}
