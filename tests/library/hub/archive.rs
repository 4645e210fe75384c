//! Release files inside a zip archive: what is kept, and what is refused.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use senet::hub::{HubError, HubOptions, Lockfile, Release, replace_release};
use senet::store;
use senet::zoo::WeightsRef;
use sha1::{Digest, Sha1};
use zip::CompressionMethod::{self, Deflated, Stored};

use super::{Setup, chain, download, files_in, setup, weights};
use crate::common::hub_server::{HubServer, Mode, sha256};

fn sha1(bytes: &[u8]) -> String {
    Sha1::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Bytes that do not compress, as weights.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn archive(method: CompressionMethod, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in members {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A server of an archive whose card promises the SHA-1 of `inner`.
struct Published {
    setup: Setup,
    server: HubServer,
    /// Name of the file inside.
    name: String,
    card: WeightsRef,
}

impl Published {
    fn new(inner: &[u8], archive: impl FnOnce(&str) -> Vec<u8>) -> Self {
        let sha1 = sha1(inner);
        let name = format!("seresnet10-1202-{}.pth", &sha1[..8]);
        let server = HubServer::start(&[("v1", &format!("{name}.zip"), &archive(&name))]);
        let url = format!("{}/v1/{name}.zip", server.file_server());
        let card = WeightsRef {
            release: Some(url),
            sha1: Some(sha1),
            ..WeightsRef::default()
        };
        Self {
            setup: setup(),
            server,
            name,
            card,
        }
    }

    fn options(&self) -> &HubOptions {
        &self.setup.options
    }

    fn download(&self) -> Result<PathBuf, HubError> {
        download(&self.card, self.options(), &())
    }

    fn serve(&self, archive: &[u8]) {
        self.server
            .replace("v1", &format!("{}.zip", self.name), archive);
    }

    fn release(&self) -> Release<'_> {
        self.card.released().unwrap()
    }

    fn folder(&self) -> &Path {
        self.setup.folder.path()
    }
}

#[test]
fn the_file_inside_is_kept() {
    for (method, inner) in [(Stored, weights()), (Deflated, noise(300_000))] {
        let published = Published::new(&inner, |name| archive(method, &[(name, &inner)]));
        let path = published.download().unwrap();
        let kept = PathBuf::from(format!("senet/release/{}", published.name));
        assert_eq!(path, published.folder().join(&kept));
        assert_eq!(fs::read(&path).unwrap(), inner);
        assert_eq!(files_in(published.folder()), [kept]);
        let requests = published.server.requests().len();
        assert_eq!(published.download().unwrap(), path);
        assert_eq!(
            store::find(&published.card, published.options()),
            Some(path)
        );
        assert_eq!(published.server.requests().len(), requests);
    }
}

#[test]
fn an_interrupted_archive_is_resumed() {
    let inner = noise(300_000);
    let published = Published::new(&inner, |name| archive(Deflated, &[(name, &inner)]));
    published.server.set(Mode::Cut);
    let error = published.download().unwrap_err();
    assert!(matches!(error, HubError::Interrupted { .. }), "{error:?}");
    let partial = published
        .folder()
        .join(format!("senet/release/{}.incomplete", published.name));
    let done = fs::metadata(&partial).unwrap().len();
    assert!(done > 100_000);
    assert_eq!(store::find(&published.card, published.options()), None);
    published.server.set(Mode::Direct);
    published.download().unwrap();
    let last = published.server.requests().pop().unwrap();
    assert!(last.range.unwrap().starts_with("bytes="));
    assert!(!partial.exists());
}

#[test]
fn a_complete_archive_is_unpacked_without_another_transfer() {
    let inner = noise(30_000);
    let published = Published::new(&inner, |name| archive(Deflated, &[(name, &inner)]));
    let folder = published.options().own_cache.join("release");
    fs::create_dir_all(&folder).unwrap();
    let whole = archive(Deflated, &[(&published.name, &inner)]);
    fs::write(folder.join(format!("{}.incomplete", published.name)), whole).unwrap();
    assert_eq!(fs::read(published.download().unwrap()).unwrap(), inner);
}

#[test]
fn what_an_earlier_attempt_left_may_be_of_another_version() {
    let inner = noise(30_000);
    let published = Published::new(&inner, |name| archive(Deflated, &[(name, &inner)]));
    let folder = published.options().own_cache.join("release");
    fs::create_dir_all(&folder).unwrap();
    let partial = folder.join(format!("{}.incomplete", published.name));
    fs::write(partial, vec![7; 20_000]).unwrap();
    assert_eq!(fs::read(published.download().unwrap()).unwrap(), inner);
}

/// Each leaves nothing behind, and the right archive is accepted afterwards.
#[test]
fn wrong_archives_are_refused() {
    let inner = noise(30_000);
    let good = |name: &str| archive(Deflated, &[(name, &inner)]);
    let published = Published::new(&inner, good);
    let name = published.name.as_str();
    let zeros = vec![0; 1 << 20];
    // The directory states 30,000 bytes, more come out.
    let mut longer = archive(Deflated, &[(name, &zeros)]);
    for magic in [b"PK\x03\x04", b"PK\x01\x02"] {
        let at = longer.windows(4).position(|bytes| bytes == magic).unwrap();
        let at = at + if magic == b"PK\x03\x04" { 22 } else { 24 };
        longer[at..at + 4].copy_from_slice(&10_000_u32.to_le_bytes());
    }
    let mut damaged = good(name);
    damaged[200..2000].fill(0xff);
    let mut encrypted = good(name);
    let at = encrypted
        .windows(4)
        .position(|bytes| bytes == b"PK\x01\x02");
    encrypted[at.unwrap() + 8] |= 1;
    let mut other_method = good(name);
    other_method[at.unwrap() + 10] = 12;
    let cut = good(name);
    let other = format!("../{name}");
    let archives: [(&str, Vec<u8>); 10] = [
        (
            "its member is `../seresnet10",
            archive(Stored, &[(&other, &inner)]),
        ),
        (
            "its member is `model.pth`",
            archive(Stored, &[("model.pth", &inner)]),
        ),
        (
            "expected one member, found 2",
            archive(Stored, &[(name, &inner), ("x", b"y")]),
        ),
        ("expected one member, found 0", archive(Stored, &[])),
        ("the directory is missing", cut[..cut.len() / 2].to_vec()),
        ("the directory is missing", inner.clone()),
        ("it would grow from", archive(Deflated, &[(name, &zeros)])),
        ("expected 10000 bytes, found 10001 or more", longer),
        (
            "the member is encrypted or compressed by another",
            encrypted,
        ),
        (
            "the member is encrypted or compressed by another",
            other_method,
        ),
    ];
    for (problem, archive) in archives {
        published.serve(&archive);
        let error = published.download().unwrap_err();
        let text = chain(&error);
        assert!(
            matches!(error, HubError::Archive { .. }),
            "{problem}: {text}"
        );
        assert!(text.contains(problem), "{problem}: {text}");
        assert!(
            text.contains(&format!("archive of the file `{name}`")),
            "{text}"
        );
        assert!(text.contains("[nothing was kept: try again"), "{text}");
        assert_eq!(
            files_in(published.folder()),
            Vec::<PathBuf>::new(),
            "{problem}"
        );
    }
    // Damage in the middle either breaks the compression or changes the contents.
    for archive in [damaged, archive(Stored, &[(name, &noise(30_001))])] {
        published.serve(&archive);
        let error = published.download().unwrap_err();
        assert!(
            matches!(
                error,
                HubError::Archive { .. } | HubError::Checksum { kind: "SHA-1", .. }
            ),
            "{error:?}"
        );
        assert_eq!(files_in(published.folder()), Vec::<PathBuf>::new());
    }
    published.serve(&good(name));
    published.download().unwrap();
}

#[test]
fn every_byte_of_an_archive_may_be_wrong() {
    let inner = noise(200);
    let published = Published::new(&inner, |name| archive(Deflated, &[(name, &inner)]));
    let good = archive(Deflated, &[(&published.name, &inner)]);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        published.serve(&bad);
        match published.download() {
            // Dates and checksums of the archive are not looked at: the SHA-1 holds.
            Ok(path) => {
                assert_eq!(fs::read(&path).unwrap(), inner, "byte {at}");
                fs::remove_file(path).unwrap();
            }
            Err(HubError::Archive { .. } | HubError::Checksum { .. }) => {}
            Err(error) => panic!("byte {at}: {error:?}"),
        }
        assert_eq!(
            files_in(published.folder()),
            Vec::<PathBuf>::new(),
            "byte {at}"
        );
    }
}

#[test]
fn a_wrong_sha1_is_reported() {
    let (inner, other) = (noise(3000), noise(4000));
    let published = Published::new(&inner, |name| archive(Stored, &[(name, &other)]));
    let error = published.download().unwrap_err();
    match &error {
        HubError::Checksum {
            kind,
            expected,
            found,
            ..
        } => {
            assert_eq!(
                (*kind, expected, found),
                ("SHA-1", &sha1(&inner), &sha1(&other))
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(files_in(published.folder()), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_file_is_kept_until_the_right_one_is_complete() {
    let inner = noise(3000);
    let published = Published::new(&inner, |name| archive(Deflated, &[(name, &inner)]));
    let path = published.download().unwrap();
    fs::write(&path, "damaged").unwrap();
    published.serve(b"no archive");
    let error = replace_release(published.release(), published.options(), &()).unwrap_err();
    assert!(matches!(error, HubError::Archive { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"damaged");
    published.serve(&archive(Deflated, &[(&published.name, &inner)]));
    replace_release(published.release(), published.options(), &()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), inner);
}

#[test]
fn a_lockfile_names_the_archive_and_holds_the_file() {
    let inner = noise(3000);
    let mut published = Published::new(&inner, |name| archive(Deflated, &[(name, &inner)]));
    let lock = published.folder().join("senet.lock");
    let url = published.release().url.to_owned();
    let entry = |sha256: &str| {
        format!("version = 1\n[[file]]\nrelease = \"{url}\"\nsize = 3000\nsha256 = \"{sha256}\"\n")
    };
    fs::write(&lock, entry(&sha256(&inner))).unwrap();
    published.setup.options.locked = Some(Lockfile::read(&lock).unwrap().into());
    let path = published.download().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&lock, entry(&sha256(b"other"))).unwrap();
    published.setup.options.locked = Some(Lockfile::read(&lock).unwrap().into());
    let error = published.download().unwrap_err();
    assert!(matches!(error, HubError::NotAsLocked { .. }), "{error:?}");
}

#[test]
fn an_address_must_have_the_digits_and_the_ending() {
    let setup = setup();
    let sha1 = sha1(b"x");
    for url in [
        "https://127.0.0.1:1/v1/seresnet10-1202-00000000.pth.zip".to_owned(),
        format!("https://127.0.0.1:1/v1/seresnet10-1202-{}.pth", &sha1[..8]),
    ] {
        let card = WeightsRef {
            release: Some(url),
            sha1: Some(sha1.clone()),
            ..WeightsRef::default()
        };
        let error = download(&card, &setup.options, &()).unwrap_err();
        assert!(matches!(error, HubError::BadName { .. }), "{error:?}");
    }
}
