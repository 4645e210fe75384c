//! Tar archives: folders in an archive, and samples in WebDataset form.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use super::{Found, archive_stem, is_stdin, with_slashes};
use crate::eval::source::too_long;
use crate::eval::spool::Spool;
use crate::eval::{EvalError, Source};
use crate::image::{MAX_FILE_BYTES, is_picture_name};

/// Bytes that tar pads its members to.
const BLOCK: u64 = 512;

/// The longest file that states a label.
const LONGEST_LABEL: u64 = 1 << 20;

/// The pictures of the archive at `path`, in its order. Of a file that is not compressed only headers
/// and stated labels are read here, and the pictures where they lie when their turn comes; those of
/// a stream go into `spool`.
///
/// A picture's class is what the file beside it states that has the same name up to the first dot
/// (WebDataset: `NAME.cls`, else `label` in `NAME.json`). Where the archive states no labels, it is
/// that of the innermost folder that is called as a class; else that of the archive, as in
/// ImageNet's `n01440764.tar`.
pub(super) fn pictures(
    path: &Path,
    name: &str,
    spool: &mut Spool,
) -> Result<Vec<Found>, EvalError> {
    let content = read(path, spool).map_err(|error| match error {
        Failure::Archive(reason) => EvalError::Archive {
            path: path.display().to_string(),
            reason,
        },
        Failure::Spool(error) => error,
    })?;
    let stem = archive_stem(path);
    let pictures = content.pictures.into_iter().map(|(inner, source)| {
        let stated = content.labels.get(sample(&inner));
        let folders = inner.rsplit('/').skip(1).map(str::to_owned);
        let folders: Vec<String> = folders.collect();
        Found {
            name: format!("{name}/{inner}"),
            classes: match stated {
                Some((_, label)) => vec![label.clone()],
                None if !content.labels.is_empty() => Vec::new(),
                None if folders.is_empty() => stem.clone().into_iter().collect(),
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
    /// The same pictures by name, which links name.
    places: HashMap<String, Source>,
}

/// Why an archive gives no pictures.
enum Failure {
    Archive(String),
    Spool(EvalError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Archive(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Archive(reason)
    }
}

fn read(path: &Path, spool: &mut Spool) -> Result<Content, Failure> {
    let mut content = Content::default();
    let (end, length) = if is_stdin(path) {
        content.read_stream(io::stdin().lock(), spool)?
    } else {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || compression(&start(&mut file)?).is_some() {
            if metadata.is_file() {
                file.rewind()?;
            }
            content.read_stream(BufReader::new(file), spool)?
        } else {
            file.rewind()?;
            let end = content.read_in_place(path, file, metadata.len())?;
            (end, metadata.len())
        }
    };
    // Every whole archive has a block of zeros at its end.
    let least = end.saturating_add(BLOCK);
    if least > length {
        return Err(Failure::Archive(format!(
            "it is cut off: it has {length} bytes, and there should be at least {} more",
            least - length
        )));
    }
    Ok(content)
}

impl Content {
    /// Finds the pictures in a file of `length` bytes; where the last member that was seen ends.
    fn read_in_place(&mut self, path: &Path, file: File, length: u64) -> Result<u64, Failure> {
        let path: Arc<Path> = path.into();
        let mut archive = archive(file);
        let mut end = 0;
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            end = end_of(&entry)?;
            if end > length {
                break;
            }
            let (offset, length) = (entry.raw_file_position(), entry.size());
            let archive = Arc::clone(&path);
            self.add(&mut entry, |_| {
                Ok(Source::Slice {
                    archive,
                    offset,
                    length,
                })
            })?;
        }
        Ok(end)
    }

    /// Reads all of a stream; where its last member ends, and its length without the compression.
    fn read_stream(
        &mut self,
        mut stream: impl Read,
        spool: &mut Spool,
    ) -> Result<(u64, u64), Failure> {
        let start = start(&mut stream)?;
        let compression = compression(&start);
        let stream = io::Cursor::new(start).chain(stream);
        match compression {
            None => self.read_tar(stream, spool),
            Some(GZIP) => self.read_tar(MultiGzDecoder::new(stream), spool),
            Some(other) => Err(Failure::Archive(format!(
                "it is compressed with {other}, and only gzip is read here; what unpacks it may \
                 write to `senet eval -`"
            ))),
        }
    }

    fn read_tar(&mut self, stream: impl Read, spool: &mut Spool) -> Result<(u64, u64), Failure> {
        let mut archive = archive(Counted { stream, count: 0 });
        let mut end = 0;
        for entry in archive.entries()? {
            let mut entry = entry?;
            end = end_of(&entry)?;
            self.add(&mut entry, |entry| {
                let size = entry.size();
                if size > MAX_FILE_BYTES {
                    return Ok(Source::Nothing(too_long(size).into()));
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                if bytes.len() as u64 != size {
                    return Err(Failure::Archive("it is cut off in a picture".into()));
                }
                spool.keep(&bytes).map_err(Failure::Spool)
            })?;
        }
        Ok((end, archive.into_inner().count))
    }

    /// Takes what a member of the archive says; `keep` says where the bytes of a picture are found.
    fn add<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        keep: impl FnOnce(&mut Entry<'_, R>) -> Result<Source, Failure>,
    ) -> Result<(), Failure> {
        let inner = with_slashes(&entry.path()?);
        let inner = inner.trim_start_matches("./").to_owned();
        if let Some(rank) = states_label(&inner) {
            if let Some(label) = label(entry, &inner)? {
                let known = self.labels.get(sample(&inner));
                if known.is_none_or(|(other, _)| rank < *other) {
                    self.labels.insert(sample(&inner).to_owned(), (rank, label));
                }
            }
            return Ok(());
        }
        if !is_picture_name(Path::new(&inner)) {
            return Ok(());
        }
        let source = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => keep(entry)?,
            EntryType::Link => {
                let target = entry.link_name()?;
                let target = target
                    .map(|target| with_slashes(&target))
                    .unwrap_or_default();
                let known = self.places.get(target.trim_start_matches("./")).cloned();
                known.unwrap_or(Source::Nothing(
                    "a link to what the archive does not hold".into(),
                ))
            }
            EntryType::Directory => return Ok(()),
            _ => Source::Nothing("not a plain file in the archive".into()),
        };
        if self.places.insert(inner.clone(), source.clone()).is_some() {
            return Err(Failure::Archive(format!("it holds `{inner}` twice")));
        }
        self.pictures.push((inner, source));
        Ok(())
    }
}

/// Archives one after another are read as one, and what is no archive behind them is an error.
fn archive<R: Read>(reader: R) -> Archive<R> {
    let mut archive = Archive::new(reader);
    archive.set_ignore_zeros(true);
    archive
}

/// Where a member ends, in bytes from the beginning of the archive.
fn end_of(entry: &Entry<'_, impl Read>) -> io::Result<u64> {
    // A file with holes takes less than its size.
    let stored = match entry.header().entry_type() {
        EntryType::GNUSparse => entry.header().entry_size()?,
        _ => entry.size(),
    };
    let stored = stored.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
    Ok(entry.raw_file_position().saturating_add(stored))
}

/// Counts the bytes that are read.
struct Counted<R> {
    stream: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(bytes)?;
        self.count += read as u64;
        Ok(read)
    }
}

/// The first bytes, which tell how a stream is compressed.
fn start(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    stream.take(8).read_to_end(&mut start)?;
    Ok(start)
}

const GZIP: &str = "gzip";

fn compression(start: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", GZIP),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
    ];
    let kind = KINDS.iter().find(|(magic, _)| start.starts_with(magic));
    kind.map(|(_, kind)| *kind)
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
