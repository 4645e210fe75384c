//! `senet download` as a process: killed, interrupted, run concurrently, behind a proxy.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::common::hub_server::{COMMIT, HubServer, Mode, sha256};
use super::common::tls;
use super::env::Env;

const MODEL: &str = "seresnet50.ra2_in1k";
const REPO: &str = "timm/seresnet50.ra2_in1k";
const FILE: &str = "model.safetensors";

fn contents(len: u32) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

struct Setup {
    env: Env,
    server: HubServer,
    bytes: Vec<u8>,
}

fn setup(len: u32) -> Setup {
    let bytes = contents(len);
    let server = HubServer::start(&[(REPO, FILE, &bytes)]);
    let mut env = Env::new();
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    Setup { env, server, bytes }
}

impl Setup {
    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.env.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn repo(&self) -> PathBuf {
        self.env.path("cache/hub/models--timm--seresnet50.ra2_in1k")
    }

    fn blob(&self) -> PathBuf {
        self.repo().join("blobs").join(sha256(&self.bytes))
    }

    fn partial(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    fn pointer(&self) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT).join(FILE)
    }

    /// Files under final names are complete and correct, and there are no files under unexpected
    /// names.
    fn assert_intact(&self) {
        for path in [self.blob(), self.pointer()] {
            if path.exists() {
                assert!(fs::read(&path).unwrap() == self.bytes, "{}", path.display());
            }
        }
        for entry in fs::read_dir(self.repo().join("blobs"))
            .into_iter()
            .flatten()
        {
            let path = entry.unwrap().path();
            assert!(
                [self.blob(), self.partial()].contains(&path),
                "{}",
                path.display()
            );
        }
    }

    fn assert_done(&self, output: &Output) {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
        assert!(fs::read(self.pointer()).unwrap() == self.bytes);
        assert!(!self.partial().exists());
    }

    fn gets(&self) -> usize {
        let requests = self.server.requests();
        requests.iter().filter(|r| r.method == "GET").count()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `ready`, at most ten seconds.
fn wait_for(ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "nothing happened"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_process_leaves_an_intact_cache() {
    let setup = setup(2_000_000);
    setup.server.set(Mode::Trickle(2));
    let mut moment = 7_u64;
    let mut finished = 0;
    for _ in 0..50 {
        let mut child = setup.start(&["download", MODEL]);
        // Anywhere from before the first request to after the last byte.
        moment = moment
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        thread::sleep(Duration::from_micros((moment >> 33) % 100_000));
        child.kill().unwrap();
        finished += u32::from(child.wait().unwrap().success());
        setup.assert_intact();
        if setup.pointer().exists() {
            // Starts again from nothing, now and then with what a crash may leave.
            fs::remove_dir_all(setup.repo()).unwrap();
        }
    }
    assert!(finished < 50, "no kill came in time");
    setup.assert_done(&setup.env.run(&["download", MODEL]));
    setup.assert_intact();
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_partial_file() {
    let setup = setup(2_000_000);
    setup.server.plan(&[Mode::Stall]);
    let mut command = setup.env.interruptible(&["download", MODEL]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let len = || fs::metadata(setup.partial()).map_or(0, |metadata| metadata.len());
    wait_for(|| len() == 1_000_000);
    let id = child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(len(), 1_000_000);
    let output = setup.env.run(&["download", MODEL]);
    setup.assert_done(&output);
    assert!(
        stderr(&output).contains("resuming at 1.0 MB"),
        "{}",
        stderr(&output)
    );
    let requests = setup.server.requests();
    assert_eq!(
        requests.last().unwrap().range.as_deref(),
        Some("bytes=1000000-")
    );
}

#[cfg(unix)]
#[test]
fn a_file_size_limit_is_reported_and_the_download_resumes() {
    let setup = setup(2_000_000);
    // Blocks of 512 or 1024 bytes, depending on the shell.
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$@\"";
    let output = setup
        .env
        .under_shell(limited, &["download", MODEL])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("error: cannot write") && text.contains("incomplete"),
        "{text}"
    );
    let kept = fs::metadata(setup.partial()).unwrap().len();
    assert!([512_000, 1_024_000].contains(&kept), "{kept}");
    setup.assert_intact();
    let output = setup.env.run(&["download", MODEL]);
    setup.assert_done(&output);
    assert!(
        stderr(&output).contains("resuming at"),
        "{}",
        stderr(&output)
    );
}

/// Needs permission to mount a file system in a namespace, which not every container gives.
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "a test that proves nothing says so")]
#[test]
fn a_full_disk_is_reported() {
    let setup = setup(2_000_000);
    // The length is not announced, so the disk fills up during the transfer.
    setup.server.set(Mode::Chunked);
    let small = "mkdir cache && unshare --mount --map-root-user sh -c \
        'mount -t tmpfs -o size=1m none cache || exit 77; exec \"$@\"' sh \"$@\" || exit $?";
    let output = setup
        .env
        .under_shell(small, &["download", MODEL])
        .output()
        .unwrap();
    let text = stderr(&output);
    if output.status.code() == Some(77) || text.contains("unshare") {
        eprintln!("not tried, for want of rights: {text}");
        return;
    }
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("error: cannot write"), "{text}");
    assert!(text.contains("hint: free some space"), "{text}");
}

#[test]
fn eight_processes_download_once() {
    let setup = setup(2_000_000);
    setup.server.set(Mode::Trickle(10));
    let children: Vec<Child> = (0..8).map(|_| setup.start(&["download", MODEL])).collect();
    let mut waited = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        setup.assert_done(&output);
        waited += usize::from(stderr(&output).contains("waiting for another process"));
    }
    assert_eq!(setup.gets(), 1);
    assert!(waited > 0);
}

#[test]
fn a_waiting_process_continues_when_the_other_dies() {
    let setup = setup(2_000_000);
    setup.server.plan(&[Mode::Stall]);
    let mut first = setup.start(&["download", MODEL]);
    wait_for(|| setup.partial().exists());
    let mut second = setup.start(&["download", MODEL]);
    let mut line = String::new();
    let mut messages = BufReader::new(second.stderr.take().unwrap());
    messages.read_line(&mut line).unwrap();
    assert!(line.contains("waiting for another process"), "{line}");
    first.kill().unwrap();
    first.wait().unwrap();
    setup.assert_done(&second.wait_with_output().unwrap());
    assert_eq!(setup.gets(), 2);
}

#[test]
fn only_the_hub_gets_the_token() {
    const TOKEN: &str = "hf_SENTINELsentinelSENTINEL";
    let mut setup = setup(300_000);
    setup.env.set("RUST_LOG", "trace");
    setup.env.set("HF_TOKEN", TOKEN);
    setup.env.set("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    for mode in [
        Mode::Redirect,
        Mode::Renamed,
        Mode::RedirectForbidden,
        Mode::Unauthorised,
        Mode::Gated,
        Mode::Missing("RepoNotFound"),
        Mode::MissingUnnamed,
        Mode::LoginPage,
        Mode::Loop,
        Mode::WrongBytes,
        Mode::Mute,
    ] {
        setup.server.set(mode);
        for json in [&["download", MODEL][..], &["download", MODEL, "--json"]] {
            let output = setup.env.run(json);
            let text =
                String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(!text.contains(TOKEN), "{mode:?}: {text}");
        }
        drop(fs::remove_dir_all(setup.repo()));
    }
    let requests = setup.server.requests();
    assert!(requests.iter().any(|request| request.file_server));
    for request in requests {
        let expected = (!request.file_server).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(request.authorization, expected, "{request:?}");
        assert!(!request.path.contains(TOKEN));
    }
}

/// A proxy that tunnels every `CONNECT` to `target`; the thread returns the requested addresses.
fn proxy(target: &str) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let target = target.trim_start_matches("http://").to_owned();
    let asked = thread::spawn(move || {
        let mut asked = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if !line.starts_with("CONNECT ") {
                return asked;
            }
            asked.push(line.split(' ').nth(1).unwrap().to_owned());
            while line.len() > 2 {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let mut server = TcpStream::connect(&target).unwrap();
            let mut up = server.try_clone().unwrap();
            thread::spawn(move || {
                drop(std::io::copy(&mut reader, &mut up));
                // The server notices that the client has hung up.
                drop(up.shutdown(std::net::Shutdown::Write));
            });
            drop(std::io::copy(&mut server, &mut stream));
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
        asked
    });
    (address, asked)
}

#[test]
fn a_proxy_is_used_unless_excluded() {
    let mut setup = setup(300_000);
    let (address, asked) = proxy(setup.server.url());
    setup.env.set("HF_ENDPOINT", "http://hub.invalid");
    setup.env.set("HTTP_PROXY", &address);
    // Nothing listens at the HTTPS proxy, which is not for this URL; the file server is reached
    // without a proxy.
    setup.env.set("HTTPS_PROXY", "http://127.0.0.1:9");
    setup.server.set(Mode::Redirect);
    setup.assert_done(&setup.env.run(&["download", MODEL]));
    // The proxy got no request for an excluded host.
    fs::remove_dir_all(setup.repo()).unwrap();
    setup.env.set("NO_PROXY", "hub.invalid");
    let output = setup.env.run(&["download", MODEL]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("cannot reach the server"),
        "{}",
        stderr(&output)
    );
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.write_all(b"END\r\n").unwrap();
    assert_eq!(asked.join().unwrap(), ["hub.invalid:80"; 2]);
}

/// As in a company whose proxy is the only way out and intercepts TLS with its own certificates.
#[test]
fn an_https_proxy_with_its_own_authority() {
    let mut setup = setup(300_000);
    let front = tls::front(setup.server.url());
    let (address, asked) = proxy(front.url.trim_start_matches("https://"));
    setup.env.write("authority.pem", &front.authority);
    setup.env.set("HF_ENDPOINT", "https://hub.invalid");
    setup.env.set("HTTPS_PROXY", &address);
    setup.env.set("ALL_PROXY", "http://127.0.0.1:9");
    let output = setup.env.run(&["download", MODEL]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("SSL_CERT_FILE"),
        "{}",
        stderr(&output)
    );
    setup.env.set("SSL_CERT_FILE", "authority.pem");
    setup.assert_done(&setup.env.run(&["download", MODEL]));
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.write_all(b"END\r\n").unwrap();
    assert_eq!(asked.join().unwrap(), ["hub.invalid:443"; 3]);
    setup.env.set("SSL_CERT_FILE", "nothing.pem");
    setup.env.check(
        "download-no-authorities",
        &["download", "seresnet50.a1_in1k"],
    );
}

#[test]
fn an_endpoint_and_a_revision_can_be_given() {
    let mut setup = setup(300_000);
    let url = setup.server.url().to_owned();
    setup.env.set("HF_ENDPOINT", "http://127.0.0.1:9");
    let arguments = [
        "download",
        MODEL,
        "--endpoint",
        &url,
        "--revision",
        "refs/pr/1",
    ];
    setup.assert_done(&setup.env.run(&arguments));
    let request = &setup.server.requests()[0];
    assert!(
        request.path.contains("/resolve/refs%2Fpr%2F1/"),
        "{request:?}"
    );
    // Another revision is a different file.
    let output = setup.env.run(&["download", MODEL, "--offline"]);
    assert_eq!(output.status.code(), Some(2));
    let output = setup
        .env
        .run(&["download", MODEL, "--offline", "--revision", COMMIT]);
    setup.assert_done(&output);
    setup.env.check(
        "download-revision-twice",
        &["download", "hf-hub:a/b@c", "--revision", "d"],
    );
    setup.env.check(
        "download-revision-of-demo",
        &["download", "demo", "--revision", "d"],
    );
}

#[test]
fn many_models_at_once() {
    let cards = [
        "seresnet50.a1_in1k",
        "seresnet50.a2_in1k",
        "seresnet50.ra2_in1k",
    ];
    let repos = cards.map(|card| format!("timm/{card}"));
    let bytes = contents(200_000);
    let files: Vec<(&str, &str, &[u8])> = repos
        .iter()
        .map(|repo| (repo.as_str(), FILE, bytes.as_slice()))
        .collect();
    let server = HubServer::start(&files);
    let mut env = Env::new();
    env.set("HF_HOME", "cache");
    env.set("HF_ENDPOINT", server.url());
    // The third of these is not on the hub.
    env.check(
        "download-dry-run",
        &["download", cards[0], cards[1], "demo", "--dry-run", "-q"],
    );
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.method == "HEAD" || request.path.starts_with("/api"))
    );
    let output = env.run(&["download", "--filter", "seresnet50.a", "--json", "-q"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let states: Vec<(&str, Option<&str>)> = rows
        .iter()
        .map(|row| (row["model"].as_str().unwrap(), row["state"].as_str()))
        .collect();
    assert_eq!(
        states,
        [
            (cards[0], Some("downloaded")),
            (cards[1], Some("downloaded")),
            ("seresnet50.a3_in1k", None),
        ]
    );
    assert!(
        rows[2]["error"].as_str().unwrap().contains("no repository"),
        "{}",
        rows[3]
    );
    assert_eq!(rows[0]["size"], 200_000);
    let output = env.run(&["download", cards[0], cards[1], "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("\"cached\"").count(), 2, "{text}");
    env.check("download-filter-nothing", &["download", "--filter", "vgg"]);
    env.check("download-nothing", &["download"]);
}
