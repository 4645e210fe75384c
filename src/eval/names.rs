//! Class names as people write them: exact matches first, then looser and looser forms.

use std::collections::{BTreeSet, HashMap};

use unicode_normalization::UnicodeNormalization;

type Form = fn(&str) -> String;

/// The forms in which two names are compared, strictest first.
const FORMS: [Form; 3] = [str::to_owned, composed, plain];

/// What to look up among the names of each form; the spaces around a text come from its list.
const STEPS: [(usize, Form); 4] = [(0, str::to_owned), (1, composed), (1, trimmed), (2, plain)];

/// The meanings of a name: classes, and `None` for an exclusion.
pub(super) type Meant = BTreeSet<Option<usize>>;

/// Names, each with one or more classes; `None` excludes images.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_form: [HashMap<String, Meant>; FORMS.len()],
}

impl Names {
    pub(super) fn insert(&mut self, name: &str, class: Option<usize>) {
        for (names, form) in self.by_form.iter_mut().zip(FORMS) {
            names.entry(form(name)).or_default().insert(class);
        }
    }

    /// A name that looks like `text` but differs in invisible characters.
    pub(super) fn lookalike(&self, text: &str) -> Option<&str> {
        let text = visible(text);
        let mut names = self.by_form[0].keys();
        names.find(|name| visible(name) == text).map(String::as_str)
    }
}

/// The meaning of a text: the strictest form that any of the lists has, and of those the first.
pub(super) fn find<'n>(all: &[&'n Names], text: &str) -> Option<&'n Meant> {
    STEPS.iter().find_map(|&(form, key)| {
        let key = key(text);
        all.iter().find_map(|names| names.by_form[form].get(&key))
    })
}

/// Composed (NFC): macOS writes `é` as two code points.
pub(super) fn composed(name: &str) -> String {
    name.nfc().collect()
}

fn trimmed(name: &str) -> String {
    composed(name.trim())
}

/// A name without the differences in spelling of `T-shirt/top` and `t-shirt_top`.
fn plain(name: &str) -> String {
    let blank = |c: char| if matches!(c, '_' | '/' | '-') { ' ' } else { c };
    let lower = trimmed(name).to_lowercase();
    lower.chars().map(blank).collect()
}

/// A name without invisible characters, and with single spaces.
fn visible(name: &str) -> String {
    let seen = name.chars().filter(|&c| !is_invisible(c));
    let seen: String = seen.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = seen.split_whitespace().collect();
    plain(&words.join(" "))
}

/// Characters that Unicode says to render as nothing (`Default_Ignorable_Code_Point`).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

/// A name with the code points of invisible characters and unusual spaces: `cat<U+200B>`.
pub(super) fn shown(name: &str) -> String {
    let mut text = String::new();
    let mut after_blank = true;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let lone = c == ' ' && !after_blank && chars.peek().is_some();
        if is_invisible(c) || c.is_control() || (c.is_whitespace() && !lone) {
            text += &format!("<U+{:04X}>", u32::from(c));
        } else {
            text.push(c);
        }
        after_blank = c == ' ';
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_shown() {
        for (name, expected) in [
            ("left turn", "left turn"),
            ("cat\u{200B}", "cat<U+200B>"),
            ("left\u{A0}turn", "left<U+00A0>turn"),
            ("left  turn ", "left <U+0020>turn<U+0020>"),
            ("\u{FEFF}a\tb", "<U+FEFF>a<U+0009>b"),
        ] {
            assert_eq!(shown(name), expected);
        }
    }

    #[test]
    fn names_that_look_alike() {
        let mut names = Names::default();
        names.insert("left turn", Some(0));
        for text in [
            "left\u{200B} turn",
            "left\u{A0}turn",
            "Left  turn",
            "\u{202A}left turn",
        ] {
            assert_eq!(names.lookalike(text), Some("left turn"), "{text:?}");
        }
        assert_eq!(names.lookalike("leftturn"), None);
    }
}
