//! Modules of one crate may use each other freely, so this test enforces the layers: a room of
//! `src` may use only the rooms before it in [`ROOMS`]. That also rules out cycles between rooms,
//! except for `error`, which names the errors of all rooms below `cli`.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// From the bottom up; `src/README.md` says what each room is for.
const ROOMS: &[&str] = &[
    "quote",
    "text",
    "bounded",
    "files",
    "digest",
    "machine",
    "device",
    "labels",
    "logits",
    "kernels",
    "preprocess",
    "walk",
    "weights",
    "hub",
    "nn",
    "nets",
    "zoo",
    "verify",
    "error",
    "store",
    "model",
    "eval",
    "explain",
    "embed",
    "similar",
    "train",
    "cli",
];

/// These put the rooms together and belong to none.
const ROOTS: &[&str] = &["lib", "main", "build", "guide"];

/// The room of a file below `src`: a directory or file there.
fn room(file: &Path) -> String {
    let first = Path::new(file.iter().next().unwrap());
    first.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The names after `crate::` in the code, with line numbers. Documentation may link anywhere.
fn names(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(code.lines().map(str::trim_start));
    lines
        .filter(|(_, line)| !line.starts_with("//"))
        .flat_map(|(number, line)| {
            let after = line.split("crate::").skip(1);
            after.map(move |rest| {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                (number, &rest[..end.unwrap_or(rest.len())])
            })
        })
}

#[test]
fn no_room_uses_one_above_it() {
    let src = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let floor = |room: &str| ROOMS.iter().position(|name| *name == room);
    let mut wrong = Vec::new();
    for entry in WalkDir::new(&src).sort_by_file_name() {
        let path = entry.unwrap().into_path();
        let file = path.strip_prefix(&src).unwrap();
        if path.extension().is_none_or(|end| end != "rs") || ROOTS.contains(&&*room(file)) {
            continue;
        }
        let here = room(file);
        let Some(own) = floor(&here) else {
            wrong.push(format!("{}: ROOMS lacks `{here}`", file.display()));
            continue;
        };
        // The library's error joins the errors of all rooms below the command line, which is the
        // last.
        let highest = if here == "error" {
            ROOMS.len() - 2
        } else {
            own
        };
        for (line, name) in names(&fs::read_to_string(&path).unwrap()) {
            let place = format!("{}:{line}", file.display());
            match floor(name) {
                Some(other) if other <= highest => {}
                Some(_) => wrong.push(format!("{place}: `{here}` lies below `{name}`")),
                None => wrong.push(format!("{place}: `crate::{name}` names no room")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
