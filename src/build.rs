//! Embeds the cards, the label files and the small weights under `models/`.
//!
//! Writes a table of file names and contents for each kind into `OUT_DIR`, so a new file in
//! `models/` needs no other change. Texts are compressed: together they are larger than most of the program,
//! and a run needs few of them. A file in the wrong place is an error: it would be left out silently.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads a build script's standard output"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Directories of `models/` that are not families of networks.
const OTHERS: [&str; 2] = ["labels", "weights"];

fn main() {
    println!("cargo::rerun-if-changed=models");
    if let Err(error) = embed() {
        println!("cargo::error={error}");
    }
}

fn embed() -> io::Result<()> {
    let models = required("CARGO_MANIFEST_DIR")?.join("models");
    let out = required("OUT_DIR")?;
    let (mut texts, mut cards, mut architectures) = (String::new(), String::new(), String::new());
    let families = families(&models)?;
    for (index, family) in families.iter().enumerate() {
        let mut text = String::new();
        for path in files(family, &["toml"])? {
            let start = text.len();
            text += &fs::read_to_string(&path)?;
            let file = format!("{}/{}", name(family), name(&path));
            let entry = format!("    ({file:?}, {index}, {start}..{}),\n", text.len());
            // Only a checkpoint's name has a tag after a dot.
            match Path::new(&stem(&path)).extension() {
                Some(_) => cards += &entry,
                None => architectures += &entry,
            }
        }
        let compressed = compress(&text, &out.join(name(family)))?;
        texts += &format!("    Compressed::new(include_bytes!({compressed:?})),\n");
    }
    let kind = "&[(&str, usize, std::ops::Range<usize>)]";
    let count = families.len();
    let families = format!(
        "static TEXTS: [Compressed; {count}] = [\n{texts}];\nstatic CARDS: {kind} = &[\n{cards}];\n\
         static ARCHITECTURES: {kind} = &[\n{architectures}];\n"
    );
    let labels = files(&models.join("labels"), &["tsv", "txt"])?;
    let sets: Vec<_> = labels.into_iter().filter(|path| has(path, "tsv")).collect();
    let weights = files(&models.join("weights"), &["safetensors"])?;
    for (file, source) in [
        ("families.rs", families),
        ("labels.rs", label_sets(&sets, &out)?),
        ("weights.rs", table(&weights)),
    ] {
        fs::write(out.join(file), source)?;
    }
    Ok(())
}

fn required(variable: &str) -> io::Result<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("cargo did not set {variable}")))
}

/// The directories of the families, sorted.
fn families(models: &Path) -> io::Result<Vec<PathBuf>> {
    let (folders, files): (Vec<_>, Vec<_>) =
        entries(models)?.into_iter().partition(|path| path.is_dir());
    match files.iter().find(|path| name(path) != "README.md") {
        Some(stray) => Err(misplaced(stray, "a card is in its family's directory")),
        None => Ok(folders
            .into_iter()
            .filter(|path| !OTHERS.contains(&&*name(path)))
            .collect()),
    }
}

/// The files of a directory, sorted; each has one of these extensions.
fn files(folder: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let files = entries(folder)?;
    let fits = |path: &Path| path.is_file() && extensions.iter().any(|known| has(path, known));
    match files.iter().find(|path| !fits(path)) {
        Some(stray) => Err(misplaced(
            stray,
            &format!("expected files that end in .{}", extensions.join(" or .")),
        )),
        None => Ok(files),
    }
}

fn misplaced(path: &Path, expected: &str) -> io::Error {
    io::Error::other(format!(
        "{} is in the wrong place: {expected}",
        path.display()
    ))
}

/// What a directory holds but hidden files, sorted.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let named = |error| io::Error::other(format!("cannot read {}: {error}", folder.display()));
    let paths = fs::read_dir(folder).map_err(named)?;
    let mut paths = paths
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn has(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A static of names, numbers of classes and compressed contents.
fn label_sets(files: &[PathBuf], out: &Path) -> io::Result<String> {
    let mut source = String::from("static LABELS: &[(&str, usize, &[u8])] = &[\n");
    for path in files {
        let text = fs::read_to_string(path)?;
        let classes = text.lines().filter(|line| !line.starts_with('#')).count();
        let compressed = compress(&text, &out.join(format!("labels-{}", stem(path))))?;
        source += &format!(
            "    ({:?}, {classes}, include_bytes!({compressed:?})),\n",
            stem(path)
        );
    }
    Ok(source + "];\n")
}

/// Writes the text in zlib's format, and returns the file.
fn compress(text: &str, path: &Path) -> io::Result<PathBuf> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    let path = path.with_extension("zlib");
    fs::write(&path, encoder.finish()?)?;
    Ok(path)
}

/// A static of names and contents.
fn table(files: &[PathBuf]) -> String {
    let mut source = String::from("static WEIGHTS: &[(&str, &[u8])] = &[\n");
    for path in files {
        source += &format!("    ({:?}, include_bytes!({path:?})),\n", name(path));
    }
    source + "];\n"
}
