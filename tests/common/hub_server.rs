//! A hub on 127.0.0.1, and the file server that it redirects large files to.
//!
//! It speaks the part of the Hugging Face protocol that downloads need: `HEAD` and `GET` of
//! `/{repo}/resolve/{revision}/{file}` with the hub's headers and byte ranges, and the list of a
//! repository's files at `/api/models/{repo}/revision/{revision}`. It can misbehave in the ways that
//! hubs, mirrors and networks do.

mod reply;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use reply::{Framing, Reply};

/// The commit that every branch points to.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The response to requests for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sends the file itself.
    Direct,
    /// Redirects to the file server at another address, as for large files.
    Redirect,
    /// Redirects to another path of the hub first, as for a renamed repository.
    Renamed,
    /// As `Renamed`, with the hub's commit in the redirect.
    RenamedCommit,
    /// The same, and an etag that is not the file's.
    RenamedEtag,
    /// The same, with this length of the file in the redirect, and then the file in chunks.
    RenamedSize(u64),
    /// Sends the file with this header.
    Header(&'static str, &'static str),
    /// Redirects, and the file server sends this header.
    RedirectHeader(&'static str, &'static str),
    /// Redirects every request to the same path of the file server, without the hub's headers.
    Moved,
    /// Redirects to itself forever.
    Loop,
    /// Sends the file in chunks without stating its length.
    Chunked,
    /// Pauses between small pieces.
    Slow,
    /// 404 with the hub's word for what is missing.
    Missing(&'static str),
    /// 404 without it, as mirrors do; the list of files works.
    MissingFileUnnamed,
    /// 404 for everything.
    MissingUnnamed,
    /// 401: the repository is private or does not exist, or the token is invalid.
    Unauthorised,
    /// 403: the conditions are not accepted.
    Gated,
    /// 500 with an HTML page.
    Broken,
    /// States the length, sends half and hangs up.
    Cut,
    /// Redirects, and the file server cuts.
    RedirectCut,
    /// Redirects, and the file server answers 403.
    RedirectForbidden,
    /// States a length that it does not send.
    WrongLength,
    /// Neither a length nor chunks: the end of the connection ends the file.
    NoLength,
    /// Right length and headers, other bytes.
    WrongBytes,
    /// The login page of a network, with status 200 and without the hub's headers.
    LoginPage,
    /// A page in place of the file, with the hub's headers.
    Html,
    /// A good answer for another commit.
    OtherCommit,
    /// `HEAD` is answered well, the file itself with this status.
    Busy(u16),
    /// 429 that asks to retry after this many seconds.
    TooMany(u64),
    /// The same, as the date this many seconds from now.
    TooManyUntil(u64),
    /// States the length, sends this many bytes and hangs up.
    CutAt(usize),
    /// Sends half and then nothing, without hanging up.
    Stall,
    /// Takes the request and never answers.
    Mute,
    /// A byte now and then.
    Drip,
    /// Sends small pieces with a pause of this many milliseconds.
    Trickle(u64),
    /// Knows no ranges: sends everything, whatever is asked for.
    NoRange,
    /// Knows no ranges, and cuts.
    NoRangeCut,
    /// Sends another range than was asked for.
    WrongRange,
    /// Answers every range with 416.
    NoSuchRange,
    /// A header of a megabyte.
    HugeHeader,
    /// Promises 10 PB.
    Vast,
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

/// Repository, name and contents.
type File = ((String, String), Vec<u8>);

struct Shared {
    /// Contents by `repo` and file name.
    files: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    /// The replacement for a file after the next `HEAD`.
    next: Mutex<Option<File>>,
    mode: Mutex<Mode>,
    /// Modes of the next requests for file contents; `mode` applies after them.
    plan: Mutex<VecDeque<Mode>>,
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
            files: Mutex::new(
                files
                    .iter()
                    .map(|(repo, file, bytes)| {
                        (((*repo).to_owned(), (*file).to_owned()), bytes.to_vec())
                    })
                    .collect(),
            ),
            next: Mutex::default(),
            mode: Mutex::new(Mode::Direct),
            plan: Mutex::default(),
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

    /// Modes of the next requests for file contents, one for each.
    pub(crate) fn plan(&self, modes: &[Mode]) {
        *self.shared.plan.lock().unwrap() = modes.iter().copied().collect();
    }

    /// Replaces the contents of a file.
    pub(crate) fn replace(&self, repo: &str, file: &str, bytes: &[u8]) {
        let key = (repo.to_owned(), file.to_owned());
        self.shared
            .files
            .lock()
            .unwrap()
            .insert(key, bytes.to_vec());
    }

    /// The same, after the next `HEAD`.
    pub(crate) fn replace_after_head(&self, repo: &str, file: &str, bytes: &[u8]) {
        let key = (repo.to_owned(), file.to_owned());
        *self.shared.next.lock().unwrap() = Some((key, bytes.to_vec()));
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
            // A client that hangs up is not a failure of the server.
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
    let usual = *shared.mode.lock().unwrap();
    let planned = || shared.plan.lock().unwrap().pop_front();
    let is_list = request.path.starts_with("/api/");
    let is_head = request.method == "HEAD";
    // After a redirect, the file server's request is part of the same one.
    let is_redirected = file_server && !request.path.starts_with("/v1/");
    let mode = if is_list || is_head || is_redirected {
        usual
    } else {
        planned().unwrap_or(usual)
    };
    let reply = if file_server {
        shared.stored(&request, mode)
    } else if is_list {
        shared.list(&request, mode)
    } else {
        shared.resolve(&request, mode)
    };
    if is_head && let Some((key, bytes)) = shared.next.lock().unwrap().take() {
        shared.files.lock().unwrap().insert(key, bytes);
    }
    reply.send(stream, &request, &shared.stop)
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
            Mode::Busy(status) if request.method != "HEAD" => return Reply::html(status),
            Mode::TooMany(seconds) => {
                return Reply::new(429, b"").with("Retry-After", seconds.to_string());
            }
            Mode::TooManyUntil(seconds) => {
                let time = SystemTime::now() + Duration::from_secs(seconds);
                return Reply::new(429, b"").with("Retry-After", httpdate::fmt_http_date(time));
            }
            Mode::Mute => return Reply::new(200, b"").framed(Framing::Mute),
            Mode::Moved => {
                let target = format!("{}{}", self.file_server, request.path);
                return Reply::new(301, b"moved").with("Location", target);
            }
            Mode::Loop => return Reply::new(302, b"").with("Location", request.path.clone()),
            Mode::Renamed | Mode::RenamedCommit | Mode::RenamedEtag | Mode::RenamedSize(_)
                if !request.path.starts_with("/new/") =>
            {
                let target = format!("/new{}", request.path);
                let reply = Reply::new(307, b"moved").with("Location", target);
                return match mode {
                    Mode::Renamed => reply,
                    Mode::RenamedCommit => reply.with("X-Repo-Commit", COMMIT),
                    Mode::RenamedSize(size) => reply.with("X-Linked-Size", size.to_string()),
                    _ => reply
                        .with("X-Repo-Commit", COMMIT)
                        .with("ETag", "\"of-the-redirect\""),
                };
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
        let files = self.files.lock().unwrap();
        if !files.keys().any(|(known, _)| known == repo) {
            return missing("RepoNotFound");
        }
        if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
            return missing("RevisionNotFound");
        }
        let Some(bytes) = files.get(&(repo.to_owned(), file.clone())) else {
            return missing("EntryNotFound");
        };
        let size = match mode {
            Mode::WrongLength => bytes.len() as u64 + 1,
            Mode::Vast => 10_000_000_000_000_000,
            _ => bytes.len() as u64,
        };
        let reply = match mode {
            Mode::Redirect
            | Mode::RedirectCut
            | Mode::RedirectForbidden
            | Mode::RedirectHeader(..) => {
                let target = format!("{}/{repo}/{file}?signature=secret", self.file_server);
                Reply::new(302, b"Found. Redirecting")
                    .with("Location", target)
                    .with("ETag", "\"of-the-redirect\"")
            }
            Mode::Html => Reply::html(200),
            Mode::WrongBytes => Reply::file(&vec![b'?'; bytes.len()], request),
            Mode::NoRange | Mode::NoRangeCut => Reply::whole(bytes),
            Mode::WrongRange if request.range.is_some() => {
                let range = format!("bytes 7-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, &bytes[7..]).with("Content-Range", range)
            }
            Mode::NoSuchRange if request.range.is_some() => Reply::new(416, b""),
            _ => Reply::file(bytes, request),
        };
        let reply = match mode {
            Mode::Header(name, value) => reply.with(name, value),
            _ => reply,
        };
        let reply = match mode {
            Mode::Html => reply.with("X-Linked-Etag", format!("\"{}\"", sha256(bytes))),
            Mode::HugeHeader => reply.with("X-Padding", "x".repeat(1 << 20)),
            // As on the hub: small files are stored in git itself.
            _ if bytes.len() < SMALL => reply.with("ETag", format!("\"{}\"", git_sha1(bytes))),
            _ => reply
                .with("X-Linked-Size", size.to_string())
                .with("X-Linked-Etag", format!("\"{}\"", sha256(bytes))),
        };
        let length = reply.body.len();
        reply
            .with(
                "X-Repo-Commit",
                if mode == Mode::OtherCommit {
                    COMMIT.replace('0', "f")
                } else {
                    COMMIT.to_owned()
                },
            )
            .framed(match mode {
                Mode::Cut | Mode::NoRangeCut => Framing::Cut(length / 2),
                Mode::CutAt(count) => Framing::Cut(count),
                Mode::Slow => Framing::Slow(length / 5 + 1, 30),
                Mode::Trickle(pause) => Framing::Slow(1 << 16, pause),
                Mode::Drip => Framing::Slow(1, 20),
                Mode::Stall => Framing::Stall,
                Mode::Chunked | Mode::RenamedSize(_) => Framing::Chunked,
                Mode::NoLength => Framing::UntilClose,
                _ => Framing::Length,
            })
            .without_size(matches!(
                mode,
                Mode::Chunked | Mode::NoLength | Mode::RenamedSize(_)
            ))
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
            .lock()
            .unwrap()
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
        let files = self.files.lock().unwrap();
        let found = path
            .rsplit_once('/')
            .and_then(|(repo, file)| files.get(&(repo.to_owned(), file.to_owned())));
        match (found, mode) {
            (None, _) => Reply::html(404),
            (_, Mode::RedirectForbidden) => Reply::html(403),
            (_, Mode::Busy(status)) => Reply::html(status),
            (Some(bytes), Mode::RedirectCut | Mode::Cut) => {
                let reply = Reply::file(bytes, request);
                let half = reply.body.len() / 2;
                reply.framed(Framing::Cut(half))
            }
            (Some(bytes), Mode::CutAt(count)) => {
                Reply::file(bytes, request).framed(Framing::Cut(count))
            }
            (Some(bytes), Mode::RedirectHeader(name, value)) => {
                Reply::file(bytes, request).with(name, value)
            }
            (Some(bytes), Mode::Stall) => Reply::file(bytes, request).framed(Framing::Stall),
            (Some(bytes), Mode::Drip) => Reply::file(bytes, request).framed(Framing::Slow(1, 20)),
            (Some(bytes), Mode::Chunked) => Reply::file(bytes, request).framed(Framing::Chunked),
            // Its etag differs from the hub's.
            (Some(bytes), _) => Reply::file(bytes, request).with("ETag", "\"of-the-file-server\""),
        }
    }
}

/// Files shorter than this are named by git's hash.
const SMALL: usize = 4096;

/// `git hash-object`
pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let header = format!("blob {}\0", bytes.len());
    let digest = Sha1::new_with_prefix(header).chain_update(bytes).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
