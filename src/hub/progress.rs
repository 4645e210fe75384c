//! How a download reports how far it has come.

use std::time::Duration;

use super::HubError;

/// Receives the progress of a download, on the thread that downloads.
pub trait Progress {
    /// `done` of `total` bytes of `file` are here; `total` is `None` where the server does not say,
    /// until the end has come.
    /// The first call says what an earlier attempt left. A smaller `done` than before means another
    /// file, or that this one has to be sent again from its beginning.
    ///
    /// `file` is the name of the file that is being fetched: of the release file where that one
    /// stands in for the repository's.
    fn advance(&self, file: &str, done: u64, total: Option<u64>);

    /// Another process is downloading `file`: this one waits for it.
    fn wait(&self, _file: &str) {}

    /// The download of `file` failed with `error` and is tried again after `delay`.
    fn retry(&self, _file: &str, _error: &HubError, _delay: Duration) {}

    /// Something about the files that the user should know.
    fn note(&self, _text: &str) {}
}

/// Keeps silent.
impl Progress for () {
    fn advance(&self, _file: &str, _done: u64, _total: Option<u64>) {}
}
