//! `senet classify`.

use std::io::{Read, Write};
use std::process::Stdio;

use super::common::hub_server::{HubServer, Mode};
use super::env::{Env, data};

const DEMO: [&str; 5] = ["classify", "--model", "demo", "--threads", "2"];

fn demo(arguments: &[&'static str]) -> Vec<&'static str> {
    DEMO.iter().chain(arguments).copied().collect()
}

/// The ankle boot, an image of another format, and three files that are not images.
fn folder() -> Env {
    let env = Env::new();
    env.image("ankle-boot.png", "photos/boot.png");
    env.image("cmyk.jpg", "photos/sub/print.JPG");
    env.write(
        "photos/notes.txt",
        "not looked at: its name is not an image's",
    );
    env.write("photos/empty.png", "");
    env.write(
        "photos/page.jpg",
        "<!DOCTYPE html><html><body>404</body></html>",
    );
    let png = std::fs::read(data("pictures/ankle-boot.png")).unwrap();
    env.write("photos/cut.png", &png[..png.len() / 2]);
    env
}

#[test]
fn one_image() {
    let env = folder();
    env.check("classify", &demo(&["photos/boot.png"]));
    env.check(
        "classify-top-1-quiet",
        &demo(&["photos/boot.png", "-k", "1", "--quiet"]),
    );
    env.check(
        "classify-all-classes",
        &demo(&["photos/boot.png", "-k", "1000", "-q"]),
    );
    env.check(
        "classify-wnid",
        &demo(&["photos/boot.png", "-k", "1", "--labels", "wnid", "-q"]),
    );
}

#[test]
fn a_folder_with_bad_images() {
    let env = folder();
    env.check("classify-folder", &demo(&["photos", "-k", "2"]));
    env.check(
        "classify-folder-json",
        &demo(&["photos", "-k", "2", "--json"]),
    );
    env.check(
        "classify-folder-csv",
        &demo(&["photos", "-k", "2", "--csv"]),
    );
    env.check(
        "classify-missing",
        &demo(&["nowhere.png", "photos/boot.png", "-k", "1"]),
    );
    env.write("empty/readme.md", "");
    env.check("classify-empty-folder", &demo(&["empty"]));
}

#[test]
fn batches_do_not_change_answers() {
    let env = folder();
    let one = env.run(&demo(&["photos", "photos", "--json", "-b", "1"]));
    for batch in ["2", "3", "8"] {
        let more = env.run(&demo(&["photos", "photos", "--json", "-b", batch]));
        let rows = |bytes: &[u8]| -> Vec<serde_json::Value> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        for (one, more) in rows(&one.stdout).iter().zip(rows(&more.stdout)) {
            assert_eq!(one["path"], more["path"]);
            assert_eq!(one["error"], more["error"]);
            for rank in 0..5 {
                let (one, more) = (&one["predictions"][rank], &more["predictions"][rank]);
                assert_eq!(one["label"], more["label"]);
                let difference = |a: &serde_json::Value, b: &serde_json::Value| {
                    a["logit"].as_f64().unwrap_or(0.0) - b["logit"].as_f64().unwrap_or(0.0)
                };
                assert!(difference(one, more).abs() < 1e-4);
            }
        }
        assert_eq!(rows(&one.stdout).len(), rows(&more.stdout).len());
    }
}

#[test]
fn standard_input_and_lists() {
    let env = folder();
    let png = std::fs::read(data("pictures/ankle-boot.png")).unwrap();
    env.check_with_stdin("classify-stdin", &demo(&["-", "-k", "1", "-q"]), &png);
    let list = b"photos/boot.png\n\nphotos/empty.png\r\n";
    env.check_with_stdin(
        "classify-list",
        &demo(&["--files-from", "-", "-k", "1"]),
        list,
    );
    env.check(
        "classify-list-missing",
        &demo(&["--files-from", "list.txt"]),
    );
    env.check("classify-stdin-twice", &demo(&["-", "-"]));
    env.check_with_stdin("classify-stdin-empty", &demo(&["-", "-q"]), b"");
}

#[test]
fn preprocessing_can_be_changed() {
    let env = folder();
    let change = [
        "--img-size",
        "32x40",
        "--crop-pct",
        "0.9",
        "--interpolation",
        "bicubic",
    ];
    let mut arguments = demo(&["photos/boot.png", "-k", "1", "-q"]);
    arguments.extend(change);
    env.check("classify-other-size", &arguments);
    env.check(
        "classify-crop-pct",
        &demo(&["photos/boot.png", "--crop-pct", "0"]),
    );
    env.check(
        "classify-too-large",
        &demo(&["photos/boot.png", "--max-pixels", "0"]),
    );
}

#[test]
fn exif_orientation_is_applied_by_default() {
    let env = Env::new();
    env.image("exif-6.jpg", "turned.jpg");
    env.image("exif-1.jpg", "upright.jpg");
    let tensor = |image: &str, flags: &[&str]| {
        let mut arguments = vec!["preprocess", image, "-m", "demo", "-o", "out.safetensors"];
        arguments.extend(flags);
        assert_eq!(env.run(&arguments).status.code(), Some(0));
        std::fs::read(env.path("out.safetensors")).unwrap()
    };
    assert_ne!(
        tensor("turned.jpg", &[]),
        tensor("turned.jpg", &["--no-exif"])
    );
    assert_eq!(
        tensor("upright.jpg", &[]),
        tensor("upright.jpg", &["--no-exif"])
    );
}

#[test]
fn the_default_model_without_network() {
    let env = folder();
    env.check(
        "classify-no-network",
        &["classify", "photos/boot.png", "--threads", "2"],
    );
    env.check(
        "classify-offline",
        &["classify", "photos/boot.png", "--threads", "2", "--offline"],
    );
}

#[test]
fn devices() {
    let env = folder();
    env.check(
        "classify-cpu",
        &demo(&["photos/boot.png", "-k", "1", "--device", "cpu"]),
    );
    if cfg!(not(any(feature = "cuda", feature = "metal"))) {
        env.check(
            "classify-cuda",
            &demo(&["photos/boot.png", "--device", "cuda"]),
        );
        env.check(
            "classify-metal",
            &demo(&["photos/boot.png", "--device", "metal"]),
        );
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let env = folder();
    let photos: Vec<&'static str> = ["photos/boot.png"; 200].to_vec();
    let mut command = env.command(&demo(&photos));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
}

/// Devices without an end, and pipes where a file is mapped into memory.
#[cfg(target_os = "linux")]
#[test]
fn devices_and_pipes_as_files() {
    let env = folder();
    env.check(
        "classify-endless-list",
        &demo(&["--files-from", "/dev/zero"]),
    );
    env.check(
        "classify-weights-device",
        &demo(&["photos/boot.png", "-w", "/dev/null"]),
    );
}

#[cfg(unix)]
#[test]
fn non_unicode_names_and_link_loops() {
    use std::os::unix::ffi::OsStrExt;
    let env = folder();
    let name = std::ffi::OsStr::from_bytes(b"photos/\xff.png");
    std::fs::copy(env.path("photos/boot.png"), env.path("").join(name)).unwrap();
    std::os::unix::fs::symlink(".", env.path("photos/loop")).unwrap();
    std::os::unix::fs::symlink("gone.png", env.path("photos/dangling.png")).unwrap();
    env.check("classify-odd-names", &demo(&["photos", "-k", "1", "-q"]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_says_where() {
    let env = folder();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = env
        .command(&demo(&["photos/boot.png"]))
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("error: cannot write to standard output"),
        "{stderr}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_leaves_complete_rows() {
    use std::process::Command;
    let env = folder();
    env.write("list.txt", "photos/boot.png\n".repeat(100_000));
    let mut child = env
        .interruptible(&demo(&["--files-from", "list.txt", "--json"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 16];
    stdout.read_exact(&mut first).unwrap();
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8([&first[..], &rest].concat()).unwrap();
    assert!(text.ends_with("}\n"), "the last row is whole");
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!((1..100_000).contains(&rows.count()));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("note: interrupted after"), "{stderr}");
}

/// `nohup`, and background jobs of scripts, ignore the signal from the start.
#[cfg(target_os = "linux")]
#[test]
fn an_ignored_signal_stays_ignored() {
    let env = folder();
    env.write("list.txt", "photos/boot.png\n".repeat(300));
    let script =
        "trap '' INT HUP; \"$@\" & pid=$!; sleep 0.3; kill -INT $pid; kill -HUP $pid; wait $pid";
    let program = env.command(&[]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(program).args(demo(&[
        "--files-from",
        "list.txt",
        "--csv",
    ]));
    let output = command.current_dir(env.path("")).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        output.stdout.iter().filter(|&&byte| byte == b'\n').count(),
        1 + 300 * 5
    );
}

#[test]
fn images_on_the_web() {
    let mut env = Env::new();
    env.set("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    let boot = std::fs::read(super::env::data("pictures/ankle-boot.png")).unwrap();
    let server = HubServer::start(&[("v1", "boot.png", &boot)]);
    let url = |name: &str| format!("{}/v1/{name}", server.file_server());
    let run = |name: &str, more: &[&str]| {
        let url = url(name);
        let mut arguments = vec!["classify", "-m", "demo", "-q", &url];
        arguments.extend(more);
        let output = env.run(&arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run("boot.png", &[]);
    assert!(code == Some(0) && text.contains("Ankle boot"), "{text}");
    let (code, text) = run("none.png", &[]);
    assert!(code == Some(1) && text.contains("not found"), "{text}");
    let before = server.requests().len();
    let (code, text) = run("boot.png", &["--offline"]);
    let told = "offline, so it cannot be fetched: ";
    assert!(code == Some(1) && text.contains(told), "{text}");
    assert!(!text.contains("cache"), "{text}");
    assert_eq!(server.requests().len(), before);
    // No image is two gigabytes long.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let vast = format!("http://{}/vast.png", listener.local_addr().unwrap());
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n";
        stream.write_all(head).unwrap();
        // Until the program hangs up.
        std::io::copy(&mut stream, &mut std::io::sink())
    });
    let output = env.run(&["classify", "-m", "demo", "-q", &vast]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("more than 1073741824 bytes"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    drop(answer.join());
    // It neither waits forever nor shows half an image.
    for mode in [Mode::Stall, Mode::Cut] {
        server.set(mode);
        let (code, text) = run("boot.png", &[]);
        assert!(
            code == Some(1) && text.contains("interrupted"),
            "{mode:?}: {text}"
        );
    }
}
