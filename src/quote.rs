//! Foreign text in messages: how much of it is shown.

/// Most characters of a file that a message quotes.
const LONGEST: usize = 200;

/// The text, or its first characters and an ellipsis.
pub(crate) fn excerpt(text: &str) -> String {
    if text.chars().nth(LONGEST).is_none() {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}
