//! Quotes untrusted text: excerpts for messages, base64 for text that is not Unicode.

#[cfg(feature = "cli")]
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest excerpt, in characters.
const LONGEST: usize = 200;

/// The text, shortened with an ellipsis if it is long.
pub(crate) fn excerpt(text: &str) -> String {
    if text.chars().nth(LONGEST).is_none() {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// The bytes in base64 if they are not UTF-8, because text with U+FFFD in their place loses them.
pub(crate) fn lost_bytes(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes)
        .is_err()
        .then(|| STANDARD.encode(bytes))
}

/// The bytes that [`lost_bytes`] wrote.
pub(crate) fn given_bytes(base64: &str) -> Option<Vec<u8>> {
    STANDARD.decode(base64).ok()
}

/// As [`lost_bytes`], for a path.
#[cfg(feature = "cli")]
pub(crate) fn path_bytes(path: &Path) -> Option<String> {
    lost_bytes(path.as_os_str().as_encoded_bytes())
}
