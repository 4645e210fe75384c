//! `senet eval` on archives whose headers lie.

use serde_json::Value;
use tar::{Builder, EntryType, Header};

use super::env::Env;
use super::eval_data::{counts, eval, image};
use super::eval_stream::{eval_stdin, gzip};

const PATH: usize = 1 << 16;
const PAX: usize = 1 << 20;

/// An entry of any kind, whose header may state a size that its contents do not have.
struct Piece<'a>(EntryType, &'a str, u64, &'a [u8]);

fn file<'a>(name: &'a str, bytes: &'a [u8]) -> Piece<'a> {
    Piece(EntryType::Regular, name, bytes.len() as u64, bytes)
}

fn about<'a>(kind: EntryType, bytes: &'a [u8]) -> Piece<'a> {
    Piece(kind, "about", bytes.len() as u64, bytes)
}

fn archive(pieces: &[Piece<'_>]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for Piece(kind, name, size, bytes) in pieces {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_path(name).unwrap();
        header.set_size(*size);
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    // The length includes its own digits.
    let digits = (1..).find(|&d| (rest + d).to_string().len() == d).unwrap();
    let length = (rest + digits).to_string();
    [length.as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

#[test]
fn claims_of_entries_are_bounded() {
    let env = Env::new();
    let boot = image("ankle-boot.png");
    let x = |length: usize| vec![b'x'; length];
    let (long_path, long_pax) = (x(PATH + 1), x(PAX + 1));
    let boot_after = |piece| vec![piece, file("9/a.png", &boot)];
    let huge = 1 << 60;
    let (pax_path, pax_link) = (record("path", &long_path), record("linkpath", &long_path));
    let (zero, global) = (record("path", b"9/a\0.png"), record("path", b"9/b.png"));
    let size = record("size", b"many");
    let json = [b"{\"label\": \"", &long_path[..], b"\"}"].concat();
    let json_far = [b"{\"label\": 9}", &vec![b' '; PAX][..]].concat();
    let sample = |name, bytes| vec![file("a.png", &boot), file(name, bytes)];
    let paths: Vec<Vec<u8>> = (0..300)
        .map(|n| [&x(60_000)[..], format!("{n}.png").as_bytes()].concat())
        .collect();
    let pairs = |path| [about(EntryType::GNULongName, path), file("9/a.png", &[])];
    let (name, link) = (EntryType::GNULongName, EntryType::GNULongLink);
    let (local, all) = (EntryType::XHeader, EntryType::XGlobalHeader);
    let second = (boot.len().next_multiple_of(512) + 512) as u64;
    let cases = [
        (
            boot_after(about(name, &long_path)),
            1,
            0,
            "its path has 65537 bytes, and at most 65536",
        ),
        (
            boot_after(about(link, &long_path)),
            1,
            0,
            "its path has 65537 bytes, and at most 65536",
        ),
        (
            boot_after(about(local, &long_pax)),
            1,
            0,
            "has 1048577 bytes, and at most 1048576",
        ),
        (
            boot_after(about(all, &long_pax)),
            1,
            0,
            "has 1048577 bytes, and at most 1048576",
        ),
        (
            boot_after(Piece(name, "about", huge, &[])),
            1,
            0,
            "at most 65536",
        ),
        (
            boot_after(Piece(local, "about", huge, &[])),
            1,
            0,
            "at most 1048576",
        ),
        (
            boot_after(Piece(all, "about", u64::MAX, &[])),
            1,
            0,
            "at most 1048576",
        ),
        (
            boot_after(about(local, &pax_path)),
            1,
            0,
            "its path has 65537 bytes",
        ),
        (
            boot_after(about(local, &pax_link)),
            1,
            0,
            "its path has 65537 bytes",
        ),
        (
            boot_after(about(local, &zero)),
            1,
            0,
            "its path has a zero byte",
        ),
        (
            boot_after(about(local, &size)),
            1,
            0,
            "a size that is no number",
        ),
        (
            boot_after(about(local, b"99 path=a\n")),
            1,
            0,
            "its pax header is malformed",
        ),
        (
            boot_after(about(all, &global)),
            1,
            0,
            "a global header names",
        ),
        (
            sample("a.cls", &long_path),
            2,
            second,
            "`a.cls` has 65537 bytes, and at most 65536",
        ),
        (
            sample("a.json", &json_far),
            2,
            second,
            "`a.json` has 1048588 bytes, and at most 1048576",
        ),
        (
            sample("a.json", &json),
            2,
            second,
            "`a.json` has 65537 bytes, and at most 65536",
        ),
        (
            paths.iter().flat_map(|path| pairs(path)).collect(),
            560,
            0,
            "at most 16777216 are kept",
        ),
    ];
    for (pieces, number, offset, what) in cases {
        let bytes = archive(&pieces);
        env.write("set.tar", &bytes);
        env.write("set.tgz", gzip(&bytes));
        for (name, (code, _, messages)) in [
            ("set.tar", eval(&env, &["set.tar"])),
            ("set.tgz", eval(&env, &["set.tgz"])),
            ("-", eval_stdin(&env, &bytes, &[])),
        ] {
            assert_eq!(code, 2, "{name}, {what}: {messages}");
            let place = match offset {
                0 if number > 1 => {
                    format!("cannot use the archive {name}: entry {number} (at byte ")
                }
                _ => format!("cannot use the archive {name}: entry {number} (at byte {offset}): "),
            };
            assert!(
                messages.contains(&place) && messages.contains(what),
                "{what}: {messages}"
            );
            assert!(messages.chars().count() < 500, "{}", messages.len());
        }
    }
}

/// Long headers that do not matter for images are skipped, and paths are those that Python's
/// `tarfile` gives.
#[test]
fn extended_headers_are_applied() {
    let env = Env::new();
    let boot = image("ankle-boot.png");
    let folders = "d/".repeat(200);
    let long = format!("9/{folders}a.png");
    let pax = [
        record("comment", b"two\nlines=\n"),
        record("path", long.as_bytes()),
        record("mtime", b"1.5"),
        vec![0; 40],
    ]
    .concat();
    let gnu = format!("9/{folders}b.png\0and more");
    let size = record("size", boot.len().to_string().as_bytes());
    let hole = [
        record("GNU.sparse.name", b"9/hole.png"),
        record("path", b"9/c.png"),
    ]
    .concat();
    let long_class = vec![b'%'; PATH + 1];
    let bytes = archive(&[
        about(EntryType::XGlobalHeader, &record("comment", &[b'c'; 40])),
        about(EntryType::XHeader, &pax),
        file("short.png", &boot),
        about(EntryType::GNULongName, gnu.as_bytes()),
        file("short.png", &boot),
        file("elsarticle.cls", &long_class),
        about(EntryType::XHeader, &size),
        Piece(EntryType::Regular, "9/d.png", 0, &boot),
        about(EntryType::XHeader, &hole),
        file("short.png", &boot),
    ]);
    env.write("set.tar", &bytes);
    env.write("set.tgz", gzip(&bytes));
    for name in ["set.tar", "set.tgz"] {
        let results = format!("{name}.jsonl");
        let (code, report, messages) = eval(&env, &[name, "--results", &results]);
        assert_eq!(
            (code, counts(&report)),
            (1, [4, 3, 3].map(Value::from)),
            "{messages}"
        );
        assert!(messages.contains("9/hole.png: "), "{messages}");
        let lines = std::fs::read_to_string(env.path(&results)).unwrap();
        for path in [&long, &format!("9/{folders}b.png"), "9/d.png"] {
            assert!(
                lines.contains(&format!("\"image\":\"{name}/{path}\"")),
                "{lines}"
            );
        }
    }
}

#[test]
#[cfg(unix)]
fn an_endless_device_is_not_an_archive() {
    let env = Env::new();
    let (code, _, messages) = eval(&env, &["/dev/zero"]);
    assert_eq!(code, 2, "{messages}");
    assert!(
        messages.contains("268435456 zeros stand before it"),
        "{messages}"
    );
}
