//! Downloads one file: resumes where an earlier attempt stopped, retries, and checks the contents at the
//! end.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::StatusCode;
use ureq::http::header::TRANSFER_ENCODING;

use super::answer::header;
use super::files::disk;
use super::hashing::PIECE;
use super::http::{Answer, Client, HTML_PAGE, Start};
use super::location::Location;
use super::options::Patience;
use super::partial::Partial;
use super::retry::Attempts;
use super::{HubError, Progress};
use crate::digest::Digest;

/// Bytes of progress after which failed attempts are counted anew.
const GOOD_ATTEMPT: u64 = 1 << 20;
/// Below this rate, in bytes per second, a connection counts as stalled.
const SLOWEST: u64 = 1 << 10;
/// What a file has to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// Length in bytes, where it is known beforehand.
    pub(super) size: Option<u64>,
    /// All must match.
    pub(super) digests: Vec<Digest>,
    /// Etag of the hub for these contents, and the server's own spelling of it.
    pub(super) etag: Option<String>,
    pub(super) validator: Option<String>,
}

/// How a download ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The file is complete and its digests match.
    Done,
    /// The hub has other contents by now.
    Changed,
}

/// Brings `partial` to its full length and checks it.
///
/// # Errors
/// [`HubError`]. What was received stays in `partial`, unless it is not what was `expected`.
pub(super) fn complete(
    client: &Client<'_>,
    expected: &Expected,
    partial: &mut Partial,
    patience: &Patience,
    progress: &dyn Progress,
) -> Result<Outcome, HubError> {
    let mut resumed = partial.len() > 0;
    if expected.size.is_some_and(|size| partial.len() > size) {
        partial.restart()?;
    }
    if let Some(size) = expected.size {
        partial.check_space(size)?;
    }
    loop {
        let mut file = Transfer {
            client,
            expected,
            silence: patience.silence,
            ranges: true,
            // A known etag means that the server has answered before.
            reached: expected.etag.is_some(),
        };
        if file.receive(partial, patience, progress)? == Outcome::Changed {
            return Ok(Outcome::Changed);
        }
        match check(client.location(), expected, partial) {
            Ok(()) => return Ok(Outcome::Done),
            // What an earlier attempt left may belong to another version, or was damaged in a crash.
            Err(HubError::Checksum { .. }) if resumed => {
                resumed = false;
                partial.restart()?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn check(location: &Location, expected: &Expected, partial: &mut Partial) -> Result<(), HubError> {
    for digest in &expected.digests {
        let found = match digest {
            // Computed during the download.
            Digest::Sha256(_) => partial.sha256(),
            Digest::GitBlob(_) | Digest::Sha1(_) | Digest::Sha384(_) => digest
                .of_file(partial.path())
                .map_err(disk("read", partial.path()))?,
        };
        check_digest(location, digest, &found)?;
    }
    Ok(())
}

/// # Errors
/// [`HubError::Checksum`].
pub(super) fn check_digest(
    location: &Location,
    expected: &Digest,
    found: &str,
) -> Result<(), HubError> {
    if expected.matches(found) {
        return Ok(());
    }
    Err(HubError::Checksum {
        location: Box::new(location.clone()),
        kind: expected.kind(),
        expected: expected.shown(),
        found: found.to_owned(),
    })
}

struct Transfer<'a> {
    client: &'a Client<'a>,
    expected: &'a Expected,
    silence: Duration,
    /// Whether the server may be asked for a part of the file.
    ranges: bool,
    reached: bool,
}

impl Transfer<'_> {
    fn receive(
        &mut self,
        partial: &mut Partial,
        patience: &Patience,
        progress: &dyn Progress,
    ) -> Result<Outcome, HubError> {
        let mut best = partial.len();
        let mut attempts = Attempts::new(patience, true);
        loop {
            // A file that an earlier process completed needs no request.
            if Some(partial.len()) == self.expected.size {
                let name = self.client.location().file_name();
                progress.advance(name, partial.len(), self.expected.size);
                return Ok(Outcome::Done);
            }
            let error = match self.attempt(partial, progress) {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if partial.len() >= best + GOOD_ATTEMPT {
                attempts = Attempts::new(patience, true);
            }
            attempts.reached = self.reached;
            best = best.max(partial.len());
            attempts.wait(error, self.client.location(), progress)?;
        }
    }

    fn attempt(
        &mut self,
        partial: &mut Partial,
        progress: &dyn Progress,
    ) -> Result<Outcome, HubError> {
        if !self.ranges {
            partial.restart()?;
        }
        let start = Start {
            offset: partial.len(),
            length: None,
            validator: self.expected.validator.as_deref(),
        };
        let answer = self.client.get(start)?;
        self.reached = true;
        let etag = answer.metadata.as_ref().map(|metadata| &metadata.etag);
        if let (Some(expected), Some(found)) = (&self.expected.etag, etag)
            && expected != found
        {
            return Ok(Outcome::Changed);
        }
        if let Some(found) = whole(&answer)
            && found == partial.len()
        {
            // Nothing is left to send: a process crashed between the last byte and the renaming.
            return match self.expected.size {
                Some(expected) if expected != found => Err(HubError::Length {
                    location: Box::new(self.client.location().clone()),
                    expected,
                    found,
                }),
                _ => Ok(Outcome::Done),
            };
        }
        if answer.response.status() == StatusCode::OK {
            // The server sends no ranges, or the file has changed: it is sent from the beginning.
            if partial.len() > 0 {
                partial.restart()?;
            }
        } else if part(&answer).is_none_or(|(first, _)| first != partial.len()) {
            self.ranges = false;
            return self.attempt(partial, progress);
        }
        let total = self.total(&answer)?;
        if let Some(total) = total {
            partial.check_space(total)?;
        }
        self.read(answer.response.into_body(), partial, total, progress)?;
        Ok(Outcome::Done)
    }

    /// Length of the whole file according to this answer, which must agree with what is known.
    fn total(&self, answer: &Answer) -> Result<Option<u64>, HubError> {
        let body = answer.response.body();
        if body.mime_type() == Some("text/html") {
            return Err(self.client.bad(HTML_PAGE));
        }
        let chunked = answer.response.headers().contains_key(TRANSFER_ENCODING);
        let found = match part(answer) {
            Some((_, total)) => total,
            None => body.content_length(),
        };
        let metadata = answer.metadata.as_ref();
        let announced = metadata.and_then(|metadata| metadata.size);
        match (self.expected.size.or(announced), found) {
            (Some(expected), Some(found)) if expected != found => Err(HubError::Length {
                location: Box::new(self.client.location().clone()),
                expected,
                found,
            }),
            // Without either, the end of the file and a broken connection look the same.
            (None, None) if !chunked => {
                Err(self.client.bad("it does not say how long the file is"))
            }
            (expected, found) => Ok(found.or(expected)),
        }
    }

    fn read(
        &self,
        body: Body,
        partial: &mut Partial,
        total: Option<u64>,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let location = self.client.location();
        let name = location.file_name();
        let interrupted = |done, source| HubError::Interrupted {
            location: Box::new(location.clone()),
            done,
            total,
            source,
        };
        let mut reader = body.into_reader();
        let mut buffer = vec![0; PIECE];
        let mut pace = Pace::new(self.silence, partial.len());
        progress.advance(name, partial.len(), total);
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(interrupted(partial.len(), source)),
            };
            buffer = partial.append(buffer, count)?;
            progress.advance(name, partial.len(), total);
            pace.check(partial.len())
                .map_err(|source| interrupted(partial.len(), source))?;
            if total.is_some_and(|total| partial.len() > total) {
                break;
            }
        }
        match total {
            Some(expected) if partial.len() > expected => {
                let found = partial.len();
                partial.restart()?;
                Err(HubError::Length {
                    location: Box::new(location.clone()),
                    expected,
                    found,
                })
            }
            // If only the hub named the length, a broken connection looks like the end of the file.
            Some(expected) if partial.len() < expected => Err(interrupted(
                partial.len(),
                io::ErrorKind::UnexpectedEof.into(),
            )),
            Some(_) => Ok(()),
            // Only now is the length known.
            None => {
                progress.advance(name, partial.len(), Some(partial.len()));
                Ok(())
            }
        }
    }
}

/// Distinguishes a slow connection from a stalled one.
struct Pace {
    window: Duration,
    start: Instant,
    done: u64,
}

impl Pace {
    fn new(window: Duration, done: u64) -> Self {
        Self {
            window,
            start: Instant::now(),
            done,
        }
    }

    fn check(&mut self, done: u64) -> io::Result<()> {
        let elapsed = self.start.elapsed();
        if elapsed < self.window {
            return Ok(());
        }
        let rate = (done - self.done) as f64 / elapsed.as_secs_f64();
        if rate < SLOWEST as f64 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("slower than {SLOWEST} bytes per second"),
            ));
        }
        *self = Self::new(self.window, done);
        Ok(())
    }
}

/// First byte of a part, and the length of the whole file; `None` for a response that is not partial content.
pub(super) fn part(answer: &Answer) -> Option<(u64, Option<u64>)> {
    let is_part = answer.response.status() == StatusCode::PARTIAL_CONTENT;
    let range = header(answer.response.headers(), "content-range").filter(|_| is_part)?;
    parse_range(range)
}

/// Length of the file in an answer to a range that begins after its end.
fn whole(answer: &Answer) -> Option<u64> {
    let is_outside = answer.response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
    let range = header(answer.response.headers(), "content-range").filter(|_| is_outside)?;
    range.strip_prefix("bytes */")?.parse().ok()
}

/// First byte and length of the file in a `Content-Range: bytes 5-9/10`; the length may be `*`.
fn parse_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes */10", "bytes 5/10", "5-9/10", "bytes 5-9/x"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_slow_connection_is_not_a_stalled_one() {
        let mut pace = Pace::new(Duration::from_millis(20), 0);
        assert!(pace.check(1).is_ok());
        thread::sleep(Duration::from_millis(25));
        assert!(pace.check(10_000).is_ok());
        thread::sleep(Duration::from_millis(25));
        assert!(pace.check(10_001).is_err());
    }
}
