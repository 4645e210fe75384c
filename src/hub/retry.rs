//! When a request that failed is made again, and after how long.

use std::io;
use std::thread;
use std::time::{Duration, SystemTime};

use super::error::certificate_problem;
use super::location::Location;
use super::options::Patience;
use super::{HubError, Progress};

/// Longest wait that a server may ask for before the next attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Counts failures in a row, and waits longer after each.
pub(super) struct Attempts {
    left: u32,
    delay: Duration,
    /// Whether the server has answered before, so that a lost network may come back.
    pub(super) reached: bool,
}

impl Attempts {
    pub(super) fn new(patience: &Patience, reached: bool) -> Self {
        Self {
            reached,
            left: patience.attempts.saturating_sub(1),
            delay: patience.delay,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// `error` itself if another attempt would not help or none is left.
    pub(super) fn wait(
        &mut self,
        error: HubError,
        location: &Location,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let asked = error.retry_after().unwrap_or_default();
        if self.left == 0 || !error.may_succeed_later(self.reached) || asked > LONGEST_WAIT {
            return Err(error);
        }
        self.left -= 1;
        let delay = asked.max(scatter(self.delay));
        self.delay *= 2;
        progress.retry(location.file_name(), &error, delay);
        thread::sleep(delay);
        Ok(())
    }
}

/// Scales a delay by 0.75 to 1.25, so that processes that failed together do not retry together.
fn scatter(delay: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.subsec_nanos()) ^ std::process::id();
    delay.mul_f64(0.75 + f64::from(nanos % 1024) / 2048.0)
}

impl HubError {
    /// Whether the same request may succeed later. `reached` says that the server has answered before:
    /// one that never did is more likely gone for good.
    fn may_succeed_later(&self, reached: bool) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Interrupted { .. } => true,
            Self::Unreachable { source, .. } if certificate_problem(&**source).is_some() => false,
            Self::Unreachable { source, .. } => match source.downcast_ref() {
                Some(ureq::Error::Io(error)) => reached || is_broken_connection(error.kind()),
                Some(
                    ureq::Error::Timeout(_)
                    | ureq::Error::HostNotFound
                    | ureq::Error::ConnectionFailed,
                ) => reached,
                _ => false,
            },
            _ => false,
        }
    }

    /// How long the server asks to wait before the next request.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => retry_after.map(Duration::from_secs),
            _ => None,
        }
    }
}

fn is_broken_connection(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}
