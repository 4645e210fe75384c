//! Skipped files in folders and archives are counted; links are followed.

use std::fs;

use serde_json::Value;

use super::env::Env;
use super::eval_data::{archive, counts, eval, image};

const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";

/// Rows, notes and the exit code.
fn classify(env: &Env, arguments: &[&str]) -> (Vec<Value>, String, i32) {
    let demo = [
        "classify",
        "-m",
        "demo",
        "--threads",
        "2",
        "-k",
        "1",
        "--json",
    ];
    let output = env.run(&[&demo[..], arguments].concat());
    let rows = String::from_utf8(output.stdout).unwrap();
    let rows = rows.lines().map(|row| serde_json::from_str(row).unwrap());
    let messages = String::from_utf8(output.stderr).unwrap();
    (rows.collect(), messages, output.status.code().unwrap())
}

/// A class folder with everything that people keep in one.
fn mixed(env: &Env, class: &str) {
    for (name, image) in [
        ("a.png", "ankle-boot.png"),
        ("b.JFIF", "rgb.jpg"),
        ("c.mpo", "rgb.jpg"),
        ("d.apng", "animated.png"),
        ("e.dib", "rgb.bmp"),
        // No extension, a wrong one, another format's, and one with a suffix.
        ("f", "rgb.jpg"),
        ("g.png", "rgb.jpg"),
        ("h.heic", "rgb.jpg"),
        ("i.jpg_large", "rgba.png"),
        (".hidden", "rgba.png"),
    ] {
        env.image(image, &format!("{class}/{name}"));
    }
    env.write(&format!("{class}/j.PPM"), b"P6 1 1 255 abc");
    for (name, bytes) in [
        ("k.heic", HEIC),
        ("l.HEIC", HEIC),
        ("m.avif", b""),
        ("n.svg", b"<svg/>"),
        ("o.nef", b"II*\0\x08\0\0\0"),
        ("p", HEIC),
        ("q.dat", HEIC),
        ("notes.txt", b"BM is a company; P1 is not"),
        ("labels.json", b"{}"),
        ("data", b""),
        ("._a.png", b"macOS"),
        ("Thumbs.db", b"Windows"),
        (".ipynb_checkpoints/a.png", b""),
        ("@eaDir/SYNOPHOTO_THUMB_M.jpg", b""),
        ("sub/__MACOSX/._a.png", b""),
    ] {
        env.write(&format!("{class}/{name}"), bytes);
    }
}

const NOTE: &str = "note: skipped: 1 .avif, 1 .dat (HEIC), 2 .heic, 1 .nef, 1 .svg, 1 HEIC \
                    without extension (unsupported file types); 5 system files or folders \
                    (1 ._*, 1 .ipynb_checkpoints, 1 @eaDir, 1 Thumbs.db, 1 __MACOSX)\n";

#[test]
fn skipped_files_in_a_folder_are_counted() {
    let env = Env::new();
    mixed(&env, "set/Ankle boot");
    let (rows, messages, code) = classify(&env, &["set"]);
    assert_eq!((rows.len(), code), (11, 0), "{messages}");
    assert!(messages.ends_with(NOTE), "{messages}");
    let (rows, messages, _) = classify(&env, &["set", "-q"]);
    assert_eq!((rows.len(), messages.as_str()), (11, ""));

    let output = env.run(&["eval", "set", "-m", "demo", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        counts(&report)[..2],
        [11, 11].map(Value::from),
        "{messages}"
    );
    assert!(messages.contains(NOTE), "{messages}");

    // A file named on the command line has a row.
    let (rows, messages, code) = classify(&env, &["set/Ankle boot/k.heic", "set/Ankle boot/n.svg"]);
    assert_eq!((rows.len(), code), (2, 1), "{messages}");
    let error = rows[0]["error"].as_str().unwrap();
    assert!(
        error.starts_with("HEIC images are not supported"),
        "{error}"
    );
    let named = ["classify", "-m", "demo", "set/Ankle boot/k.heic"];
    let text = String::from_utf8(env.run(&named).stdout).unwrap();
    assert!(text.contains("`heif-convert IN.heic OUT.png`"), "{text}");

    env.write("only/a.heic", HEIC);
    env.write("only/b.tar.zst", b"");
    let (_, messages, code) = classify(&env, &["only"]);
    assert_eq!(code, 2);
    let error = "no images found in only; skipped: 1 .heic, 1 .tar.zst (unsupported file types";
    assert!(messages.contains(error), "{messages}");
    let (code, _, messages) = eval(&env, &["only"]);
    assert_eq!(code, 2);
    assert!(messages.contains(error), "{messages}");
}

#[test]
fn class_folders_without_an_image() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/Ankle boot/a.png");
    fs::create_dir_all(env.path("set/Bag")).unwrap();
    env.write("set/Coat/sub/a.heic", HEIC);
    env.write("set/unknown/a.heic", HEIC);
    env.write("set/documents/readme.txt", b"");
    env.write("set/.git/a.png", b"");
    let (code, _, messages) = eval(&env, &["set"]);
    assert_eq!(code, 2);
    let error = "set has 3 class folders without an image that is read: Bag, Coat, unknown; \
                 skipped: 2 .heic (unsupported file types); 1 system file or folder (1 .git)\n";
    assert!(messages.contains(error), "{messages}");
    assert!(messages.contains("`--allow-empty-classes`"), "{messages}");
    env.write("map", "Bag\t-\nCoat\t-\nunknown\t-\n");
    for more in [&["--allow-empty-classes"][..], &["--class-map", "map"]] {
        let (code, report, messages) = eval(&env, &[&["set"], more].concat());
        assert_eq!(
            (code, counts(&report)),
            (0, [1, 1, 1].map(Value::from)),
            "{messages}"
        );
    }
    // With a list of labels, folders are not classes.
    env.write("list", "Ankle boot/a.png\t9\n");
    let (code, _, messages) = eval(&env, &["set", "--labels", "list"]);
    assert_eq!(code, 0, "{messages}");
}

#[test]
fn skipped_files_in_an_archive_are_counted() {
    let env = Env::new();
    let boot = image("ankle-boot.png");
    let jpeg = image("rgb.jpg");
    let files = [
        ("9/a.png", &boot[..]),
        ("9/b", &boot),
        ("9/c.bin", &jpeg),
        ("9/d.heic", HEIC),
        ("9/e", HEIC),
        ("9/notes.txt", b"text"),
        ("9/short", b"x"),
        ("9/._a.png", b"macOS"),
        ("__MACOSX/9/._a.png", b"macOS"),
        ("__MACOSX/9/._b.png", b"macOS"),
        ("9/@eaDir/a.jpg", b"Synology"),
    ];
    env.write("set.tar", archive(&files));
    let note = "note: skipped: 1 .heic, 1 HEIC without extension (unsupported file types); \
                3 system files or folders (1 ._*, 1 @eaDir, 1 __MACOSX)\n";
    let stream = archive(&files);
    for from_stdin in [false, true] {
        let data = if from_stdin { "-" } else { "set.tar" };
        let output = env.run_with_stdin(&["eval", data, "-m", "demo", "--json"], &stream);
        let messages = String::from_utf8(output.stderr).unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!(counts(&report)[..2], [3, 3].map(Value::from), "{messages}");
        assert!(messages.contains(note), "{messages}");
    }

    let files = [
        ("9/a.png", &boot[..]),
        ("val/8/a.heic", HEIC),
        ("8/x.txt", b"text"),
    ];
    env.write("set.tar", archive(&files));
    let (code, _, messages) = eval(&env, &["set.tar"]);
    assert_eq!(code, 2);
    let error = "set.tar has 1 class folder without an image that is read: set.tar/val/8; skipped";
    assert!(messages.contains(error), "{messages}");
    let (code, _, messages) = eval(&env, &["set.tar", "--allow-empty-classes"]);
    assert_eq!(code, 0, "{messages}");
}

#[cfg(unix)]
#[test]
fn links_are_followed() {
    use std::os::unix::fs::symlink;
    let env = Env::new();
    env.image("ankle-boot.png", "elsewhere/a.png");
    env.image("ankle-boot.png", "set/9/b.png");
    symlink(env.path("elsewhere"), env.path("set/8")).unwrap();
    symlink("b.png", env.path("set/9/c.png")).unwrap();
    // Loops: to itself, to a parent, and between two folders.
    symlink("..", env.path("set/9/up")).unwrap();
    symlink("self", env.path("set/9/self")).unwrap();
    fs::create_dir(env.path("elsewhere/d")).unwrap();
    symlink(env.path("set/9"), env.path("elsewhere/d/nine")).unwrap();
    // A dangling link.
    symlink("gone.png", env.path("set/9/broken.png")).unwrap();
    symlink("gone", env.path("set/9/folder")).unwrap();
    symlink("gone", env.path("set/9/._x")).unwrap();
    let (rows, messages, code) = classify(&env, &["set"]);
    assert_eq!(code, 1, "{messages}");
    let part = |is_error: bool| {
        let rows = rows
            .iter()
            .filter(|row| row.get("error").is_some() == is_error);
        let paths = rows.map(|row| row["path"].as_str().unwrap());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(
        part(false),
        [
            "set/8/a.png",
            "set/8/d/nine/b.png",
            "set/8/d/nine/c.png",
            "set/9/b.png",
            "set/9/c.png"
        ]
    );
    let broken = ["broken.png", "folder", "self"];
    let expected =
        ["set/8/d/nine", "set/9"].map(|folder| broken.map(|name| format!("{folder}/{name}")));
    assert_eq!(part(true), expected.concat());
    let error = rows.iter().find_map(|row| row.get("error")).unwrap();
    assert_eq!(error, "a broken link");

    let output = env.run(&["eval", "set", "-m", "demo", "--json"]);
    let messages = String::from_utf8(output.stderr).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts(&report)[..2], [7, 5].map(Value::from), "{messages}");
    assert!(
        messages.contains("skipped: 2 system files or folders (2 ._*); 4 broken links"),
        "{messages}"
    );
}
