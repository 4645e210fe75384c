//! A hub on 127.0.0.1, and the file server that it redirects large files to.
//!
//! It speaks the part of the Hugging Face protocol that downloads need: `HEAD` and `GET` of
//! `/{repo}/resolve/{revision}/{file}` with the hub's headers and byte ranges, and the list of a
//! repository's files at `/api/models/{repo}/revision/{revision}`. It can misbehave in the ways that
//! hubs, mirrors and networks do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Commit that every branch stands for.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does with requests for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sends the file itself.
    Direct,
    /// Redirects to the file server at another address, as for large files.
    Redirect,
    /// Redirects to another path of the hub first, as for a renamed repository.
    Renamed,
    /// Redirects to itself for ever.
    Loop,
    /// Sends the file in chunks without naming its length.
    Chunked,
    /// Pauses between small pieces.
    Slow,
    /// 404 with the hub's word for what is missing.
    Missing(&'static str),
    /// 404 without it, as mirrors do; the list of files works.
    MissingFileUnnamed,
    /// 404 for everything.
    MissingUnnamed,
    /// 401: the repository is private or there is none, or the token is not valid.
    Unauthorised,
    /// 403: the conditions are not accepted.
    Gated,
    /// 500 with an HTML page.
    Broken,
    /// Names the length, sends half and hangs up.
    Cut,
    /// Redirects, and the file server cuts.
    RedirectCut,
    /// Redirects, and the file server answers 403.
    RedirectForbidden,
    /// Promises another length than it sends.
    WrongLength,
    /// Neither a length nor chunks: only the end of the connection ends the file.
    NoLength,
    /// Right length and headers, other bytes.
    WrongBytes,
    /// The login page of a network, with status 200 and without the hub's headers.
    LoginPage,
    /// A page in place of the file, with the hub's headers.
    Html,
    /// A good answer for another commit.
    OtherCommit,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Whether it came to the file server.
    pub(crate) file_server: bool,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

struct Shared {
    /// Contents by `repo` and file name.
    files: BTreeMap<(String, String), Vec<u8>>,
    mode: Mutex<Mode>,
    requests: Mutex<Vec<Request>>,
    file_server: String,
    stop: AtomicBool,
}

/// Runs until it is dropped.
pub(crate) struct HubServer {
    url: String,
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl HubServer {
    /// Starts a hub with files given as repository, file name, contents.
    pub(crate) fn start(files: &[(&str, &str, &[u8])]) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let file_server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            files: files
                .iter()
                .map(|(repo, file, bytes)| {
                    (((*repo).to_owned(), (*file).to_owned()), bytes.to_vec())
                })
                .collect(),
            mode: Mutex::new(Mode::Direct),
            requests: Mutex::default(),
            file_server: url(&file_server),
            stop: AtomicBool::new(false),
        });
        let url = url(&hub);
        let threads = vec![
            listen(hub, Arc::clone(&shared), false),
            listen(file_server, Arc::clone(&shared), true),
        ];
        Self {
            url,
            shared,
            threads,
        }
    }

    /// Address of the hub: the value of `HF_ENDPOINT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Address of the file server: `/{repo}/{file}` there is a file outside a hub.
    pub(crate) fn file_server(&self) -> &str {
        &self.shared.file_server
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for url in [&self.url, &self.shared.file_server] {
            // Wakes the thread that waits for a connection.
            drop(TcpStream::connect(url.trim_start_matches("http://")));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn listen(listener: TcpListener, shared: Arc<Shared>, file_server: bool) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
            let shared = Arc::clone(&shared);
            // A client that hangs up is not the server's failure.
            thread::spawn(move || drop(stream.and_then(|s| serve(s, &shared, file_server))));
        }
    })
}

fn serve(stream: TcpStream, shared: &Shared, file_server: bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut words = line.split_whitespace();
    let mut request = Request {
        method: words.next().unwrap_or("").to_owned(),
        path: words.next().unwrap_or("").to_owned(),
        file_server,
        authorization: None,
        range: None,
    };
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
        let Some((name, value)) = header.split_once(':') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            "range" => request.range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    shared.requests.lock().unwrap().push(request.clone());
    let mode = *shared.mode.lock().unwrap();
    let reply = if file_server {
        shared.stored(&request, mode)
    } else if request.path.starts_with("/api/") {
        shared.list(&request, mode)
    } else {
        shared.resolve(&request, mode)
    };
    reply.send(stream, &request)
}

/// An answer, as far as it is not like every other.
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    framing: Framing,
}

#[derive(PartialEq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
    /// Half of the promised bytes.
    Cut,
    Slow,
}

impl Reply {
    fn new(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
            framing: Framing::Length,
        }
    }

    fn html(status: u16) -> Self {
        Self::new(status, b"<!doctype html><title>Welcome</title>")
            .with("Content-Type", "text/html; charset=utf-8")
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.into()));
        self
    }

    fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The whole file, or the range that was asked for.
    fn file(bytes: &[u8], request: &Request) -> Self {
        let range = request.range.as_deref().and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            let start: usize = start.parse().ok()?;
            let end = end
                .parse()
                .map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
            Some((start, end))
        });
        let reply = match range {
            None => Self::new(200, bytes),
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

    fn send(self, mut stream: TcpStream, request: &Request) -> std::io::Result<()> {
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
            Framing::Cut => stream.write_all(&self.body[..self.body.len() / 2])?,
            Framing::Chunked => {
                for chunk in self.body.chunks(1000) {
                    write!(stream, "{:x}\r\n", chunk.len())?;
                    stream.write_all(chunk)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
            Framing::Slow => {
                for piece in self.body.chunks(self.body.len() / 5 + 1) {
                    stream.write_all(piece)?;
                    stream.flush()?;
                    thread::sleep(Duration::from_millis(30));
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    /// `/{repo}/resolve/{revision}/{file}`
    fn resolve(&self, request: &Request, mode: Mode) -> Reply {
        match mode {
            Mode::Missing(code) => {
                return Reply::new(404, b"Not found").with("X-Error-Code", code);
            }
            Mode::MissingUnnamed | Mode::MissingFileUnnamed => return Reply::html(404),
            Mode::Unauthorised => {
                return Reply::new(401, b"")
                    .with("X-Error-Message", "Invalid username or password.");
            }
            Mode::Gated => return Reply::new(403, b"").with("X-Error-Code", "GatedRepo"),
            Mode::Broken => return Reply::html(500),
            Mode::LoginPage => return Reply::html(200),
            Mode::Loop => return Reply::new(302, b"").with("Location", request.path.clone()),
            Mode::Renamed if !request.path.starts_with("/new/") => {
                return Reply::new(307, b"moved").with("Location", format!("/new{}", request.path));
            }
            _ => {}
        }
        let path = request
            .path
            .trim_start_matches("/new/")
            .trim_start_matches('/');
        let Some((repo, rest)) = path.split_once("/resolve/") else {
            return Reply::html(404);
        };
        let Some((revision, file)) = rest.split_once('/') else {
            return Reply::html(404);
        };
        let missing = |code| Reply::new(404, b"").with("X-Error-Code", code);
        let file = file.replace("%20", " ");
        if !self.files.keys().any(|(known, _)| known == repo) {
            return missing("RepoNotFound");
        }
        if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
            return missing("RevisionNotFound");
        }
        let Some(bytes) = self.files.get(&(repo.to_owned(), file.clone())) else {
            return missing("EntryNotFound");
        };
        let digest = sha256(bytes);
        let size = bytes.len() + usize::from(mode == Mode::WrongLength);
        let reply = match mode {
            Mode::Redirect | Mode::RedirectCut | Mode::RedirectForbidden => {
                let target = format!("{}/{repo}/{file}?signature=secret", self.file_server);
                Reply::new(302, b"Found. Redirecting")
                    .with("Location", target)
                    .with("ETag", "\"of-the-redirect\"")
            }
            Mode::Html => Reply::html(200),
            Mode::WrongBytes => Reply::file(&vec![b'?'; bytes.len()], request),
            _ => Reply::file(bytes, request),
        };
        let reply = match mode {
            Mode::Html => reply,
            _ => reply.with("X-Linked-Size", size.to_string()),
        };
        let reply = reply
            .with(
                "X-Repo-Commit",
                if mode == Mode::OtherCommit {
                    COMMIT.replace('0', "f")
                } else {
                    COMMIT.to_owned()
                },
            )
            .with("X-Linked-Etag", format!("\"{digest}\""));
        reply
            .framed(match mode {
                Mode::Cut => Framing::Cut,
                Mode::Slow => Framing::Slow,
                Mode::Chunked => Framing::Chunked,
                Mode::NoLength => Framing::UntilClose,
                _ => Framing::Length,
            })
            .without_size(matches!(mode, Mode::Chunked | Mode::NoLength))
    }

    /// `/api/models/{repo}/revision/{revision}`
    fn list(&self, request: &Request, mode: Mode) -> Reply {
        let repo = request
            .path
            .strip_prefix("/api/models/")
            .and_then(|path| path.split_once("/revision/"))
            .map_or("", |(repo, _)| repo);
        let files: Vec<String> = self
            .files
            .keys()
            .filter(|(known, _)| known == repo)
            .map(|(_, file)| format!("{{\"rfilename\":\"{file}\"}}"))
            .collect();
        if mode == Mode::MissingUnnamed || files.is_empty() {
            return Reply::html(404);
        }
        let body = format!(
            "{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}",
            files.join(",")
        );
        Reply::new(200, body.as_bytes()).with("Content-Type", "application/json")
    }

    /// `/{repo}/{file}` on the file server
    fn stored(&self, request: &Request, mode: Mode) -> Reply {
        let path = request
            .path
            .split('?')
            .next()
            .unwrap_or("")
            .trim_start_matches('/');
        let found = path
            .rsplit_once('/')
            .and_then(|(repo, file)| self.files.get(&(repo.to_owned(), file.to_owned())));
        match (found, mode) {
            (None, _) => Reply::html(404),
            (_, Mode::RedirectForbidden) => Reply::html(403),
            (Some(bytes), Mode::RedirectCut | Mode::Cut) => {
                Reply::file(bytes, request).framed(Framing::Cut)
            }
            // Its etag is not the hub's.
            (Some(bytes), _) => Reply::file(bytes, request).with("ETag", "\"of-the-file-server\""),
        }
    }
}

impl Reply {
    fn without_size(mut self, drop_it: bool) -> Self {
        if drop_it {
            self.headers.retain(|(name, _)| *name != "X-Linked-Size");
        }
        self
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
