//! Foreign text in messages and documents: how much of it is shown, and what is not Unicode.

#[cfg(feature = "cli")]
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Most characters of a file that a message quotes.
const LONGEST: usize = 200;

/// The text, or its first characters and an ellipsis.
pub(crate) fn excerpt(text: &str) -> String {
    if text.chars().nth(LONGEST).is_none() {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// The bytes in base64 of what is not UTF-8: its text, with U+FFFD in their place, loses them.
pub(crate) fn lost_bytes(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes)
        .is_err()
        .then(|| STANDARD.encode(bytes))
}

/// The same of a path.
#[cfg(feature = "cli")]
pub(crate) fn path_bytes(path: &Path) -> Option<String> {
    lost_bytes(path.as_os_str().as_encoded_bytes())
}
