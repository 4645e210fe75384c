//! How a download reports how far it has come.

use std::time::Duration;

use super::HubError;

/// Receives the progress of a download, on the thread that downloads.
pub trait Progress {
    /// `done` of `total` bytes of `file` have been received; `total` is `None` until the end if the
    /// server does not report it. The first call reports what an earlier attempt left. If `done`
    /// decreases, this is another file, or the same one from its beginning again.
    ///
    /// `file` is the name of the file being downloaded: that of the release file if it replaces the
    /// repository's.
    fn advance(&self, file: &str, done: u64, total: Option<u64>);

    /// Another process is downloading `file`: this one waits for it.
    fn wait(&self, _file: &str) {}

    /// The download of `file` failed with `error` and is tried again after `delay`.
    fn retry(&self, _file: &str, _error: &HubError, _delay: Duration) {}

    /// Something about the files that the user should know.
    fn note(&self, _text: &str) {}
}

/// Ignores everything.
impl Progress for () {
    fn advance(&self, _file: &str, _done: u64, _total: Option<u64>) {}
}
