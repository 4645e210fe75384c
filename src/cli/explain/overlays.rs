//! The files of maps drawn over their images.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::cli::eval::place;
use crate::cli::inputs::Input;
use crate::cli::rows::RowError;
use crate::error::Error;
use crate::eval::EvalError;
use crate::files;

/// Longest part of a file's name that comes from the image, in bytes: file systems allow 255.
const LONGEST: usize = 180;

/// A directory for the maps of a run.
pub(super) struct Overlays {
    folder: PathBuf,
    /// Names that this run has given, in lower case, because file systems may not distinguish case.
    given: HashSet<String>,
    /// The images, which must not be replaced.
    inputs: HashSet<PathBuf>,
}

impl Overlays {
    /// Makes the directory, if there is none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn new(folder: &Path, inputs: &[Input]) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|error| match folder.exists() {
            true => unwritable(folder, std::io::ErrorKind::NotADirectory.into()),
            false => unwritable(folder, error),
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            given: HashSet::new(),
            inputs: inputs
                .iter()
                .filter_map(Input::path)
                .filter_map(place)
                .collect(),
        })
    }

    /// Writes a drawing of an input; `what` tells it from the others of the same input.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(
        &mut self,
        input: &Input,
        what: &str,
        drawn: &RgbImage,
    ) -> Result<PathBuf, RowError> {
        let path = self.free(&stem(input), what);
        let mut png = Vec::new();
        let (width, height) = drawn.dimensions();
        let encoded =
            PngEncoder::new(&mut png).write_image(drawn, width, height, ExtendedColorType::Rgb8);
        let encoded = encoded.map_err(std::io::Error::other);
        let written = encoded.and_then(|()| files::write(&path, &png));
        written.map_err(|error| RowError::from(&unwritable(&path, error)))?;
        Ok(path)
    }

    /// A name that no other drawing of this run has, and no image.
    fn free(&mut self, stem: &str, what: &str) -> PathBuf {
        let mut number = 1;
        loop {
            let name = match number {
                1 => format!("{stem}.{what}.png"),
                number => format!("{stem}-{number}.{what}.png"),
            };
            let path = self.folder.join(&name);
            let is_image = place(&path).is_some_and(|place| self.inputs.contains(&place));
            if !is_image && self.given.insert(name.to_lowercase()) {
                return path;
            }
            number += 1;
        }
    }
}

/// The part of a drawing's name that comes from its image: the whole name of the file, so that `a.jpg` and
/// `a.png` do not share one.
fn stem(input: &Input) -> String {
    let name = match input {
        Input::Stdin(_) => "stdin".to_owned(),
        Input::Url(url) => {
            let path = url.split(['?', '#']).next().unwrap_or_default();
            path.rsplit('/').next().unwrap_or_default().to_owned()
        }
        Input::File(path) | Input::Unreadable { path, .. } => {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        }
    };
    // What some file system does not allow in a name.
    let is_special = |c: char| c.is_control() || "\\/:*?\"<>|".contains(c);
    let mut stem = String::new();
    for c in name.chars() {
        if stem.len() + c.len_utf8() > LONGEST {
            break;
        }
        stem.push(if is_special(c) { '_' } else { c });
    }
    match stem.is_empty() {
        true => "image".to_owned(),
        false => stem,
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::from(EvalError::Unwritable {
        path: path.display().to_string(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_share_no_name_and_replace_no_image() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("b.png.7.png");
        fs::write(&taken, "an image").unwrap();
        let inputs = ["one/a.jpg", "two/A.jpg", "a.png"].map(|path| Input::File(path.into()));
        let all: Vec<Input> = inputs
            .iter()
            .cloned()
            .chain([Input::File(taken.clone())])
            .collect();
        let mut overlays = Overlays::new(folder.path(), &all).unwrap();
        let mut name = |input: &Input| {
            let path = overlays.write(input, "7", &RgbImage::new(2, 1)).unwrap();
            assert!(fs::read(&path).unwrap().starts_with(b"\x89PNG"));
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(
            inputs.each_ref().map(&mut name),
            ["a.jpg.7.png", "A.jpg-2.7.png", "a.png.7.png"]
        );
        assert_eq!(name(&Input::File("c/b.png".into())), "b.png-2.7.png");
        assert_eq!(fs::read(&taken).unwrap(), b"an image");
        assert_eq!(
            name(&Input::Url("https://example.org/x/y.jpg?z=1".into())),
            "y.jpg.7.png"
        );
        assert_eq!(
            name(&Input::Url("https://example.org/".into())),
            "image.7.png"
        );
        assert_eq!(name(&Input::Stdin(Vec::new().into())), "stdin.7.png");
        let long = Input::File("é".repeat(200).into());
        assert!(name(&long).len() <= 255);
    }
}
