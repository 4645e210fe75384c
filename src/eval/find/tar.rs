//! Tar archives: folders in an archive, and samples in WebDataset form.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tar::{Archive, Entry, EntryType};

use super::{Found, with_slashes};
use crate::eval::{EvalError, Source};
use crate::image::is_picture_name;

/// Bytes that tar pads its members to.
const BLOCK: u64 = 512;

/// The longest file that states a label.
const LONGEST_LABEL: u64 = 1 << 20;

/// The pictures of the archive at `path`, in its order. Only headers and stated labels are read
/// here; the pictures are read where they lie when their turn comes.
///
/// A picture's class is what the file beside it states that has the same name up to the first dot
/// (WebDataset: `NAME.cls`, else `label` in `NAME.json`). Where the archive states no labels, it is
/// that of the innermost folder that is called as a class; else that of the archive, as in
/// ImageNet's `n01440764.tar`.
pub(super) fn pictures(path: &Path, name: &str) -> Result<Vec<Found>, EvalError> {
    let content = read(path).map_err(|reason| EvalError::Archive {
        path: path.display().to_string(),
        reason,
    })?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    let stem = stem.unwrap_or_default().into_owned();
    let pictures = content.pictures.into_iter().map(|(inner, source)| {
        let stated = content.labels.get(sample(&inner));
        let folders = inner.rsplit('/').skip(1).map(str::to_owned);
        let folders: Vec<String> = folders.collect();
        Found {
            name: format!("{name}/{inner}"),
            classes: match stated {
                Some((_, label)) => vec![label.clone()],
                None if !content.labels.is_empty() => Vec::new(),
                None if folders.is_empty() => vec![stem.clone()],
                None => folders,
            },
            inner,
            source,
        }
    });
    Ok(pictures.collect())
}

/// What files of one sample have in common: their path up to the first dot of the file's name.
fn sample(inner: &str) -> &str {
    let file = inner.rfind('/').map_or(0, |slash| slash + 1);
    inner[file..]
        .find('.')
        .map_or(inner, |dot| &inner[..file + dot])
}

#[derive(Default)]
struct Content {
    pictures: Vec<(String, Source)>,
    /// Stated labels by sample, with the rank of the file that states it.
    labels: HashMap<String, (u8, String)>,
}

fn read(path: &Path) -> Result<Content, String> {
    let text = |error: io::Error| error.to_string();
    let file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    refuse_compressed(path)?;
    let archive: Arc<Path> = path.into();
    let mut content = Content::default();
    let mut places: HashMap<String, Source> = HashMap::new();
    let mut end = 0;
    let mut reader = Archive::new(file);
    for entry in reader.entries_with_seek().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        // A file with holes takes less than its size.
        let stored = match entry.header().entry_type() {
            EntryType::GNUSparse => entry.header().entry_size().map_err(text)?,
            _ => size,
        };
        let stored = stored.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        end = offset.saturating_add(stored);
        if end > length {
            break;
        }
        let inner = with_slashes(&entry.path().map_err(text)?);
        let inner = inner.trim_start_matches("./").to_owned();
        if let Some(rank) = states_label(&inner) {
            if let Some(label) = label(&mut entry, &inner)? {
                let known = content.labels.get(sample(&inner));
                if known.is_none_or(|(other, _)| rank < *other) {
                    content
                        .labels
                        .insert(sample(&inner).to_owned(), (rank, label));
                }
            }
            continue;
        }
        if !is_picture_name(Path::new(&inner)) {
            continue;
        }
        let source = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => Source::Slice {
                archive: Arc::clone(&archive),
                offset,
                length: size,
            },
            EntryType::Link => {
                let target = entry.link_name().map_err(text)?;
                let target = target
                    .map(|target| with_slashes(&target))
                    .unwrap_or_default();
                let known = places.get(target.trim_start_matches("./")).cloned();
                known.unwrap_or(Source::Nothing("a link to what the archive does not hold"))
            }
            EntryType::Directory => continue,
            _ => Source::Nothing("not a plain file in the archive"),
        };
        if places.insert(inner.clone(), source.clone()).is_some() {
            return Err(format!("it holds `{inner}` twice"));
        }
        content.pictures.push((inner, source));
    }
    // Every whole archive has a block of zeros at its end.
    let least = end.saturating_add(BLOCK);
    if least > length {
        return Err(format!(
            "it is cut off: it has {length} bytes, and there should be at least {} more",
            least - length
        ));
    }
    Ok(content)
}

fn refuse_compressed(path: &Path) -> Result<(), String> {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
    ];
    let mut start = Vec::new();
    let file = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    file.map_err(|error| error.to_string())?;
    match KINDS.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, kind)) => Err(format!(
            "it is compressed with {kind}, so that no picture can be found in it without reading \
             all; unpack it first"
        )),
        None => Ok(()),
    }
}

/// Whether a file states the label of its sample; of several the lowest rank counts.
fn states_label(inner: &str) -> Option<u8> {
    match inner.rsplit_once('.')?.1 {
        "cls" => Some(0),
        "json" => Some(1),
        _ => None,
    }
}

fn label(entry: &mut Entry<'_, impl Read>, inner: &str) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let read = entry.take(LONGEST_LABEL).read_to_end(&mut bytes);
    read.map_err(|error| format!("`{inner}`: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    if inner.ends_with(".cls") {
        return Ok(Some(text.trim().to_owned()));
    }
    // Not every JSON file in an archive is about a sample.
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    Ok(json.and_then(|json| match json.get("label")? {
        serde_json::Value::String(label) => Some(label.clone()),
        label => Some(label.to_string()),
    }))
}
