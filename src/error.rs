//! The library's error type: what failed, on what, what was expected, what was found.
//!
//! Every layer has a small error enum of its own; [`Error`] joins them, so a caller can match on
//! the layer it cares about. [`Error::hint`] says what to do next, where there is something to do.

/// Result with the library's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Anything that can go wrong in the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed inside Candle; with checked input this is a bug or a device fault.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
