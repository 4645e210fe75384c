//! How a reply is sent: whole, in pieces, slowly, or cut off.

use std::fmt::Write as _;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::Request;

/// A reply, where it differs from the default.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) framing: Framing,
}

#[derive(PartialEq)]
pub(super) enum Framing {
    Length,
    Chunked,
    UntilClose,
    /// Some of the promised bytes.
    Cut(usize),
    /// This many bytes at a time, with a pause of this many milliseconds.
    Slow(usize, u64),
    /// Half, and then nothing.
    Stall,
    Mute,
}

impl Reply {
    pub(super) fn new(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
            framing: Framing::Length,
        }
    }

    pub(super) fn html(status: u16) -> Self {
        Self::new(status, b"<!doctype html><title>Welcome</title>")
            .with("Content-Type", "text/html; charset=utf-8")
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    pub(super) fn without_size(mut self, drop_it: bool) -> Self {
        if drop_it {
            self.headers.retain(|(name, _)| *name != "X-Linked-Size");
        }
        self
    }

    pub(super) fn whole(bytes: &[u8]) -> Self {
        Self::new(200, bytes).with("Content-Type", "application/octet-stream")
    }

    /// The whole file, or the range that was asked for.
    pub(super) fn file(bytes: &[u8], request: &Request) -> Self {
        let range = request.range.as_deref().and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            let start: usize = start.parse().ok()?;
            let end = end
                .parse()
                .map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
            Some((start, end))
        });
        let reply = match range {
            None => Self::whole(bytes),
            Some((start, end)) if start < end => Self::new(206, &bytes[start..end]).with(
                "Content-Range",
                format!("bytes {start}-{}/{}", end - 1, bytes.len()),
            ),
            Some(_) => {
                Self::new(416, b"").with("Content-Range", format!("bytes */{}", bytes.len()))
            }
        };
        reply
            .with("Content-Type", "application/octet-stream")
            .with("Accept-Ranges", "bytes")
    }

    pub(super) fn send(
        self,
        mut stream: TcpStream,
        request: &Request,
        stop: &AtomicBool,
    ) -> std::io::Result<()> {
        let silence = || {
            while !stop.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
        };
        if self.framing == Framing::Mute {
            silence();
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        match self.framing {
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose => {}
            _ => write!(head, "Content-Length: {}\r\n", self.body.len()).unwrap(),
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        match self.framing {
            Framing::Length | Framing::UntilClose => stream.write_all(&self.body)?,
            Framing::Cut(count) => stream.write_all(&self.body[..count.min(self.body.len())])?,
            Framing::Stall => {
                stream.write_all(&self.body[..self.body.len() / 2])?;
                silence();
            }
            Framing::Mute => {}
            Framing::Chunked => {
                for chunk in self.body.chunks(1000) {
                    write!(stream, "{:x}\r\n", chunk.len())?;
                    stream.write_all(chunk)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
            Framing::Slow(count, pause) => {
                for piece in self.body.chunks(count) {
                    stream.write_all(piece)?;
                    stream.flush()?;
                    thread::sleep(Duration::from_millis(pause));
                }
            }
        }
        Ok(())
    }
}
