//! Interrupted downloads: they resume where they stopped, and end complete or not at all.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use senet::hub::{HubError, Progress, ensure, fetch_image, find};
use senet::zoo::WeightsRef;

use super::{FILE, REPO, Setup, chain, download, files_in, incomplete, setup, weights};
use crate::common::hub_server::{COMMIT, HubServer, Mode, Request, git_sha1, sha256};

/// The ranges of the requests for file contents so far.
fn ranges(setup: &Setup) -> Vec<Option<String>> {
    let requests = setup.server.requests();
    let gets = requests
        .into_iter()
        .filter(|request| request.method == "GET");
    gets.filter(|request| !request.path.starts_with("/api/"))
        .map(|request| request.range)
        .collect()
}

fn from(offset: usize) -> Option<String> {
    Some(format!("bytes={offset}-"))
}

/// The path of the partial file.
fn partial(setup: &Setup) -> PathBuf {
    let repo = setup
        .options
        .cache
        .join("models--timm--seresnet50.ra2_in1k");
    repo.join("blobs").join(incomplete())
}

/// Leaves the first bytes of `contents` as an interrupted process would.
fn interrupted(setup: &Setup, contents: &[u8]) {
    let path = partial(setup);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

fn assert_whole(setup: &Setup) {
    let path = setup
        .fetch()
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(fs::read(path).unwrap(), weights());
    assert!(!partial(setup).exists());
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Progress for Told {
    fn advance(&self, _file: &str, _done: u64, _total: Option<u64>) {}

    fn wait(&self, file: &str) {
        self.0.lock().unwrap().push(format!("wait for {file}"));
    }

    fn retry(&self, file: &str, error: &HubError, delay: Duration) {
        let told = format!("retry {file} after {} ms: {error}", delay.as_millis());
        self.0.lock().unwrap().push(told);
    }
}

#[test]
fn a_cut_connection_resumes_where_it_broke() {
    let setup = setup();
    setup.server.plan(&[Mode::CutAt(1000), Mode::CutAt(2000)]);
    assert_whole(&setup);
    assert_eq!(ranges(&setup), [None, from(1000), from(3000)]);
}

#[test]
fn the_next_process_resumes_too() {
    let setup = setup();
    let mut options = setup.options.clone();
    options.patience.attempts = 1;
    setup.server.plan(&[Mode::CutAt(1000)]);
    let error = ensure(REPO, "main", FILE, &options, &()).unwrap_err();
    assert!(
        matches!(error, HubError::Interrupted { done: 1000, .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("resumes from there"));
    assert_whole(&setup);
    assert_eq!(ranges(&setup), [None, from(1000)]);
}

#[test]
fn a_good_connection_may_break_any_number_of_times() {
    let setup = setup();
    let long: Vec<u8> = (0..12_000_000u32).map(|i| (i % 249) as u8).collect();
    setup.server.replace(REPO, FILE, &long);
    // More often than three times, but each attempt gets more than a megabyte.
    setup.server.plan(&[Mode::CutAt(1_500_000); 7]);
    let path = setup.fetch().unwrap();
    assert!(fs::read(path).unwrap() == long);
}

#[test]
fn a_finished_partial_file_needs_no_bytes() {
    let setup = setup();
    interrupted(&setup, &weights());
    assert_whole(&setup);
    assert_eq!(ranges(&setup), []);
}

#[test]
fn a_partial_file_of_other_contents_is_restarted() {
    for rubbish in [vec![b'?'; 1000], vec![b'?'; 300_000], vec![b'?'; 300_001]] {
        let setup = setup();
        interrupted(&setup, &rubbish);
        assert_whole(&setup);
    }
    // That is not repeated.
    let setup = setup();
    interrupted(&setup, b"?");
    setup.server.set(Mode::WrongBytes);
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error:?}");
    assert_eq!(ranges(&setup), [from(1), None]);
    assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_changed_file_is_downloaded_anew() {
    let other = vec![b'n'; 200_000];
    // Between two processes: the beginning of the old file is useless.
    let setup = setup();
    interrupted(&setup, &weights()[..5000]);
    setup.server.replace(REPO, FILE, &other);
    let path = setup.fetch().unwrap();
    assert!(fs::read(path).unwrap() == other);
    assert_eq!(ranges(&setup), [None]);

    // Between two requests of one process, before the first byte and after it.
    for start in [0, 5000] {
        let setup = super::setup();
        if start > 0 {
            interrupted(&setup, &weights()[..start]);
        }
        setup.server.replace_after_head(REPO, FILE, &other);
        let path = setup.fetch().unwrap();
        assert!(fs::read(path).unwrap() == other, "from {start}");
    }
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let setup = setup();
    interrupted(&setup, &weights()[..1000]);
    setup.server.set(Mode::NoRange);
    assert_whole(&setup);
    assert_eq!(ranges(&setup), [from(1000)]);

    for mode in [Mode::WrongRange, Mode::NoSuchRange] {
        let setup = super::setup();
        interrupted(&setup, &weights()[..1000]);
        setup.server.set(mode);
        assert_whole(&setup);
        assert_eq!(ranges(&setup), [from(1000), None], "{mode:?}");
    }

    // It also ends if that connection breaks each time.
    let setup = super::setup();
    let error = setup.fail(Mode::NoRangeCut);
    assert!(matches!(error, HubError::Interrupted { .. }), "{error:?}");
}

#[test]
fn a_busy_server_is_retried() {
    for status in [408, 429, 500, 502, 503, 504] {
        let setup = setup();
        setup.server.plan(&[Mode::Busy(status), Mode::Busy(status)]);
        assert_whole(&setup);
        // But not forever.
        let setup = super::setup();
        match setup.fail(Mode::Busy(status)) {
            HubError::Status { status: found, .. } => assert_eq!(found, status),
            other => panic!("{other:?}"),
        }
    }
    let setup = setup();
    setup.fail(Mode::Busy(403));
    let gets = |requests: &[Request]| requests.iter().filter(|r| r.method == "GET").count();
    assert_eq!(
        gets(&setup.server.requests()),
        1 + 1,
        "403 is no matter of time"
    );
}

#[test]
fn a_servers_retry_delay_is_respected() {
    let setup = setup();
    setup.server.plan(&[Mode::TooMany(1)]);
    let told = Told::default();
    let start = Instant::now();
    ensure(REPO, "main", FILE, &setup.options, &told).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let told = told.0.into_inner().unwrap();
    assert!(
        told.len() == 1 && told[0].starts_with("retry model.safetensors after 1000 ms: "),
        "{told:?}"
    );
    // As a date, it is in whole seconds.
    let setup = super::setup();
    setup.server.plan(&[Mode::TooManyUntil(3)]);
    let start = Instant::now();
    setup.fetch().unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
    let error = setup_fail(Mode::TooManyUntil(7200));
    assert!(error.hint().unwrap().contains("asks clients to wait 7"));
    // Nobody waits for an hour.
    let start = Instant::now();
    let error = setup_fail(Mode::TooMany(3600));
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(
        error.hint().unwrap().contains("3600 s"),
        "{:?}",
        error.hint()
    );
}

fn setup_fail(mode: Mode) -> HubError {
    setup().fail(mode)
}

#[test]
fn silence_times_out() {
    for mode in [Mode::Stall, Mode::Mute, Mode::Drip] {
        let mut setup = setup();
        setup.options.patience.silence = Duration::from_millis(150);
        setup.options.patience.attempts = 2;
        let start = Instant::now();
        let error = setup.fail(mode);
        assert!(start.elapsed() < Duration::from_secs(3), "{mode:?}");
        match (mode, &error) {
            (Mode::Mute, HubError::Unreachable { .. }) => {}
            (Mode::Stall | Mode::Drip, HubError::Interrupted { .. }) => {}
            _ => panic!("{mode:?}: {error:?}"),
        }
    }
    // One that recovers loses nothing.
    let mut setup = setup();
    setup.options.patience.silence = Duration::from_millis(150);
    setup.server.plan(&[Mode::Stall]);
    assert_whole(&setup);
    assert_eq!(ranges(&setup), [None, from(150_000)]);
}

#[test]
fn timeouts_may_be_unlimited() {
    let mut setup = setup();
    setup.options.patience.silence = Duration::MAX;
    setup.options.patience.image = Duration::MAX;
    assert_whole(&setup);
    let url = format!("{}/{REPO}/{FILE}", setup.server.file_server());
    let image = fetch_image(&url, u64::MAX, &setup.options).unwrap();
    assert_eq!(image, weights());
}

#[test]
fn an_endless_header_is_an_error() {
    let error = setup_fail(Mode::HugeHeader);
    assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_full_disk_is_reported_before_the_transfer() {
    let setup = setup();
    setup.server.set(Mode::Vast);
    let error = setup.fetch().unwrap_err();
    match &error {
        HubError::NoSpace {
            needed, available, ..
        } => assert!(*needed == 10_000_000_000_000_000 && available < needed),
        other => panic!("{other:?}"),
    }
    let told = "10000000000000000 bytes needed plus a reserve of 16777216";
    assert!(error.to_string().contains(told), "{error}");
    assert!(error.hint().unwrap().contains("free some space"));
    assert_eq!(ranges(&setup), []);
    assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn small_files_are_checked_against_their_hash_in_git() {
    let setup = setup();
    let path = ensure(REPO, "main", "config.json", &setup.options, &()).unwrap();
    if cfg!(unix) {
        let blob = fs::canonicalize(&path).unwrap();
        assert!(blob.ends_with(git_sha1(b"{}")), "{}", blob.display());
    }
    setup.server.set(Mode::WrongBytes);
    let file = "deep folder/part 1.bin";
    match ensure(REPO, "main", file, &setup.options, &()).unwrap_err() {
        HubError::Checksum {
            kind,
            expected,
            found,
            ..
        } => assert_eq!(
            (kind, expected, found),
            ("git SHA-1", git_sha1(b"one"), git_sha1(b"???"))
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(find(REPO, "main", file, &setup.options), None);
}

#[test]
fn without_links_there_is_one_copy() {
    let mut setup = setup();
    setup.options.symlinks = false;
    let path = setup.fetch().unwrap();
    assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::read(&path).unwrap(), weights());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let blob = partial(&setup).with_extension("");
        let inode = |path: &PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&path), inode(&blob));
    }
    // If both names exist already, nothing else is left next to them.
    let other = ensure(REPO, "refs/pr/1", FILE, &setup.options, &()).unwrap();
    assert_eq!(other, path);
    let left = files_in(setup.folder.path());
    let unfinished = |path: &&PathBuf| path.to_str().unwrap().ends_with(".incomplete");
    assert_eq!(left.iter().find(unfinished), None);
    setup.options.offline = true;
    assert_eq!(setup.fetch().unwrap(), path);
    assert_eq!(
        ensure(REPO, COMMIT, FILE, &setup.options, &()).unwrap(),
        path
    );
}

#[test]
fn one_of_many_downloads_and_the_others_wait() {
    let setup = setup();
    setup.server.set(Mode::Slow);
    let told = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mine = Told::default();
                ensure(REPO, "main", FILE, &setup.options, &mine).unwrap();
                told.lock().unwrap().extend(mine.0.into_inner().unwrap());
            });
        }
    });
    assert_eq!(ranges(&setup), [None]);
    assert_eq!(
        told.into_inner().unwrap(),
        ["wait for model.safetensors"; 7]
    );
}

#[test]
fn a_release_resumes_where_it_stopped() {
    let setup = setup();
    let bytes = weights();
    let name = format!("seresnet50-{}.pth", &sha256(&bytes)[..8]);
    let server = HubServer::start(&[("v1", &name, &bytes)]);
    let card = WeightsRef {
        release: Some(format!("{}/v1/{name}", server.file_server())),
        ..WeightsRef::default()
    };
    let folder = setup.folder.path().join("senet/release");
    let path = folder.join(&name);
    let partial = folder.join(format!("{name}.incomplete"));
    let ranges = || -> Vec<Option<String>> {
        server
            .requests()
            .into_iter()
            .map(|request| request.range)
            .collect()
    };
    server.plan(&[Mode::CutAt(1000), Mode::Busy(503)]);
    assert_eq!(download(&card, &setup.options, &()).unwrap(), path);
    assert!(fs::read(&path).unwrap() == bytes && !partial.exists());
    assert_eq!(ranges(), [None, from(1000), from(1000)]);

    // A crash between the last byte and the rename; the beginning of a different file.
    for (rest, more) in [(bytes.clone(), 1), (vec![b'?'; 7], 2)] {
        let before = ranges().len();
        fs::remove_file(&path).unwrap();
        fs::write(&partial, rest).unwrap();
        assert_eq!(download(&card, &setup.options, &()).unwrap(), path);
        assert!(fs::read(&path).unwrap() == bytes && !partial.exists());
        assert_eq!(ranges().len() - before, more);
    }
}
