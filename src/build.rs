//! Embeds the cards, the architectures, the label files and the small weights under `models/`.
//!
//! Writes a table of file names and contents for each kind into `OUT_DIR`, so a new file in
//! `models/` needs no other change.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads a build script's standard output"
)]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=models");
    let models = required("CARGO_MANIFEST_DIR")?.join("models");
    let out = required("OUT_DIR")?;
    let cards = files(&models, "toml")?;
    fs::write(
        out.join("cards.rs"),
        table("CARDS: &[(&str, &str)]", "include_str", &cards),
    )?;
    let architectures = files(&models.join("architectures"), "toml")?;
    fs::write(
        out.join("architectures.rs"),
        table(
            "ARCHITECTURES: &[(&str, &str)]",
            "include_str",
            &architectures,
        ),
    )?;
    let labels = files(&models.join("labels"), "tsv")?;
    fs::write(
        out.join("labels.rs"),
        table("LABELS: &[(&str, &str)]", "include_str", &labels),
    )?;
    let weights = files(&models.join("weights"), "safetensors")?;
    fs::write(
        out.join("weights.rs"),
        table("WEIGHTS: &[(&str, &[u8])]", "include_bytes", &weights),
    )
}

fn required(variable: &str) -> io::Result<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("cargo did not set {variable}")))
}

/// Files of `folder` with that extension, sorted by name; none where the folder is absent.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A static of file names and contents.
fn table(declaration: &str, include: &str, files: &[PathBuf]) -> String {
    let mut source = format!("static {declaration} = &[\n");
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        source += &format!("    ({name:?}, {include}!({path:?})),\n");
    }
    source + "];\n"
}
