//! Tar archives: class folders in an archive, and samples in WebDataset format.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::members::{BLOCK, Member, Members, Place};
use super::{Bare, Found, Search, archive_stem, end_of, is_stdin};
use crate::eval::source::too_long;
use crate::eval::spool::Spool;
use crate::eval::{EvalError, Source};
use crate::preprocess::{Look, MAX_FILE_BYTES, START, look};
use crate::quote::{excerpt, lost_bytes};
use crate::walk::{self, PassedOver};

/// The longest JSON file that is searched for a label.
const LONGEST_JSON: u64 = 1 << 20;

/// The longest class name.
const LONGEST_CLASS: u64 = 1 << 16;

/// Paths and classes are kept until the end: those longer than `LONG` share `LONG_IN_ALL` bytes.
const LONG: usize = 1 << 10;
const LONG_IN_ALL: usize = 1 << 24;

/// The images of the archive at `path`, in its order. Of an uncompressed file only headers and
/// labels are read here; images are read in place when they are needed. Those of a stream are
/// copied to `spool`.
///
/// An image's label is in the file of the same name up to the first dot (WebDataset: `NAME.cls`,
/// else `label` in `NAME.json`). In an archive without labels, it is the innermost folder whose
/// name is a class; otherwise the archive's name, as for ImageNet's `n01440764.tar`.
pub(super) fn images(
    path: &Path,
    name: &str,
    spool: &mut Spool,
    search: &mut Search,
) -> Result<(), EvalError> {
    let wrong = |error| match error {
        Failure::Archive(reason) => EvalError::Archive {
            path: path.display().to_string(),
            reason,
        },
        Failure::Spool(error) => error,
    };
    let passed = std::mem::take(&mut search.passed);
    let content = read(path, spool, passed).map_err(wrong)?;
    let Content {
        images,
        labels,
        bare,
        ..
    } = content;
    search.passed = content.passed;
    let stem = archive_stem(path);
    let prefix = end_of(path, name);
    let states_labels = labels.values().any(|(_, stated)| stated.is_ok());
    if !states_labels {
        search.bare.extend(without_images(name, bare, &images));
    }
    let found = images.into_iter().map(|(inner, source)| {
        let stated = labels.get(sample(&inner));
        let name_bytes = lost_bytes(&[&prefix[..], b"/", &inner].concat());
        let inner = String::from_utf8_lossy(&inner).into_owned();
        Ok(Found {
            name: format!("{name}/{inner}"),
            name_bytes,
            classes: match stated {
                Some((_, Ok(label))) => vec![label.clone()],
                Some((_, Err(reason))) => return Err(wrong(reason.clone().into())),
                None if states_labels || inner.contains('/') => Vec::new(),
                None => stem.clone().into_iter().collect(),
            },
            by_folders: stated.is_none() && !states_labels,
            stated: states_labels,
            inner,
            source,
        })
    });
    search.found.extend(found.collect::<Result<Vec<_>, _>>()?);
    Ok(())
}

/// Those of the folders without an image of their own that have none further down either.
fn without_images(
    name: &str,
    folders: BTreeMap<Vec<u8>, bool>,
    images: &[(Vec<u8>, Source)],
) -> Vec<Bare> {
    let with_images: HashSet<&[u8]> = images
        .iter()
        .flat_map(|(inner, _)| parents(inner))
        .collect();
    let folders = folders.into_iter();
    let bare = folders.filter(|(folder, _)| !with_images.contains(&folder[..]));
    let bare = bare.map(|(folder, has_foreign)| {
        let folders = std::iter::once(&folder[..]).chain(parents(&folder));
        let classes = folders.map(|folder| {
            let own = folder
                .rsplit(|&byte| byte == b'/')
                .next()
                .unwrap_or_default();
            let own = String::from_utf8_lossy(own).into_owned();
            (own, with_images.contains(folder))
        });
        Bare {
            name: format!("{name}/{}", String::from_utf8_lossy(&folder)),
            classes: classes.collect(),
            has_foreign,
        }
    });
    bare.collect()
}

/// The folders around a member, innermost first.
fn parents(inner: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = (0..inner.len()).rev().filter(|&place| inner[place] == b'/');
    ends.map(|end| &inner[..end])
}

/// The part of a path that the files of one sample share: up to the first dot of the file name.
fn sample(inner: &[u8]) -> &[u8] {
    let slash = inner.iter().rposition(|&byte| byte == b'/');
    let file = slash.map_or(0, |slash| slash + 1);
    let dot = inner[file..].iter().position(|&byte| byte == b'.');
    dot.map_or(inner, |dot| &inner[..file + dot])
}

/// The label in a file, or why it cannot be read.
type Stated = Result<String, String>;

#[derive(Default)]
struct Content {
    images: Vec<(Vec<u8>, Source)>,
    /// Labels by sample, with the rank of the file that states it.
    labels: HashMap<Vec<u8>, (u8, Stated)>,
    /// The same images by name, for links to them.
    places: HashMap<Vec<u8>, Source>,
    passed: PassedOver,
    /// System folders that have been counted.
    systems: HashSet<Vec<u8>>,
    /// Folders, and whether they have images that are not read.
    bare: BTreeMap<Vec<u8>, bool>,
    /// Bytes used by long paths and classes.
    long: usize,
}

/// Why an archive gives no images.
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

fn read(path: &Path, spool: &mut Spool, passed: PassedOver) -> Result<Content, Failure> {
    let mut content = Content {
        passed,
        ..Content::default()
    };
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
    // Every complete archive ends with a block of zeros.
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
    /// Finds the images in a file of `length` bytes; returns where the last member seen ends.
    fn read_in_place(&mut self, path: &Path, file: File, length: u64) -> Result<u64, Failure> {
        let path: Arc<Path> = path.into();
        let mut members = Members::new(BufReader::new(file), |file, bytes| {
            let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
            file.seek_relative(bytes)
        });
        while let Some(member) = members.next()? {
            if members.end > length {
                break;
            }
            let (offset, length) = (member.start, member.size);
            let archive = Arc::clone(&path);
            self.add(&member, &mut members, |_, _| {
                Ok(Source::Slice {
                    archive,
                    offset,
                    length,
                })
            })?;
        }
        Ok(members.end)
    }

    /// Reads a whole stream; returns where its last member ends, and its uncompressed length.
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
                "it is compressed with {other}, and only gzip is read here: unpack it, as a stream \
                 if you like"
            ))),
        }
    }

    fn read_tar(&mut self, stream: impl Read, spool: &mut Spool) -> Result<(u64, u64), Failure> {
        let mut members = Members::new(stream, |stream, bytes| {
            match io::copy(&mut stream.take(bytes), &mut io::sink())? == bytes {
                true => Ok(()),
                false => Err(io::Error::other("it is cut off")),
            }
        });
        let mut buffer = vec![0; 1 << 16];
        while let Some(member) = members.next()? {
            self.add(&member, &mut members, |contents, start| {
                if member.size > MAX_FILE_BYTES {
                    return Ok(Source::Nothing(too_long(member.size).into()));
                }
                let wrong = |error: io::Error| format!("{}: {error}", member.place);
                let offset = spool.length;
                spool.append(start).map_err(Failure::Spool)?;
                let mut left = member.size - start.len() as u64;
                while left > 0 {
                    let part = buffer
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    let read = contents.fill(&mut buffer[..part]).map_err(wrong)?;
                    if read == 0 {
                        return Err(wrong(io::Error::other("it is cut off in an image")).into());
                    }
                    let bytes = &buffer[..read as usize];
                    spool.append(bytes).map_err(Failure::Spool)?;
                    left -= read;
                }
                spool.since(offset).map_err(Failure::Spool)
            })?;
        }
        Ok((members.end, members.position))
    }

    /// Records a member of the archive. `keep` gets the bytes of an image that were already read,
    /// and returns where its bytes are kept.
    fn add<R: Read>(
        &mut self,
        member: &Member,
        contents: &mut Members<R>,
        keep: impl FnOnce(&mut Members<R>, &[u8]) -> Result<Source, Failure>,
    ) -> Result<(), Failure> {
        let inner = plain(&member.path);
        if self.is_system(&inner) {
            return Ok(());
        }
        if let Some(rank) = states_label(&inner) {
            let known = self.labels.get(sample(&inner));
            if known.is_none_or(|(other, _)| rank < *other)
                && let Some(stated) = stated(member, contents, rank)?
            {
                let length = stated.as_ref().map_or(0, String::len);
                self.hold(member.place, &[inner.len(), length])?;
                self.labels.insert(sample(&inner).to_vec(), (rank, stated));
            }
            return Ok(());
        }
        if member.kind == EntryType::Directory {
            self.hold(member.place, &[inner.len()])?;
            self.bare.entry(inner).or_default();
            return Ok(());
        }
        let mut start = Vec::new();
        let seen = look(Path::new(&*String::from_utf8_lossy(&inner)), || {
            contents
                .take(START.min(member.size))
                .read_to_end(&mut start)?;
            Ok(start.clone())
        });
        match seen {
            Look::Image => {}
            Look::Foreign(kind) => {
                self.passed.foreign(kind);
                self.hold(member.place, &[inner.len()])?;
                let folder = parents(&inner).next().map(<[u8]>::to_vec);
                self.bare.extend(folder.map(|folder| (folder, true)));
                return Ok(());
            }
            Look::Other => return Ok(()),
        }
        let source = match member.kind {
            EntryType::Regular | EntryType::Continuous => keep(contents, &start)?,
            EntryType::Link => {
                let target = member.link.as_deref().map(plain).unwrap_or_default();
                let known = self.places.get(&target).cloned();
                known.unwrap_or(Source::Nothing(
                    "a link to what the archive does not hold".into(),
                ))
            }
            _ => Source::Nothing("not a plain file in the archive".into()),
        };
        self.hold(member.place, &[inner.len()])?;
        if self.places.insert(inner.clone(), source.clone()).is_some() {
            return Err(Failure::Archive(format!(
                "{}: it holds `{}` twice",
                member.place,
                excerpt(&String::from_utf8_lossy(&inner))
            )));
        }
        self.images.push((inner, source));
        Ok(())
    }

    /// Whether a member is a system file or in a system folder; each of these is counted once.
    fn is_system(&mut self, inner: &[u8]) -> bool {
        let slashes = (0..inner.len()).filter(|&place| inner[place] == b'/');
        let mut from = 0;
        for end in slashes.chain([inner.len()]) {
            let name = String::from_utf8_lossy(&inner[from..end]);
            if walk::system(&name).is_some() {
                if !self.systems.contains(&inner[..end]) {
                    self.passed.takes(&name);
                    self.systems.insert(inner[..end].to_vec());
                }
                return true;
            }
            from = end + 1;
        }
        false
    }

    /// Counts texts that are kept, by length.
    fn hold(&mut self, place: Place, lengths: &[usize]) -> Result<(), String> {
        self.long += lengths
            .iter()
            .filter(|length| **length > LONG)
            .sum::<usize>();
        if self.long <= LONG_IN_ALL {
            return Ok(());
        }
        Err(format!(
            "{place}: the paths and classes of more than {LONG} bytes have {} bytes up to here, and \
             at most {LONG_IN_ALL} are kept",
            self.long
        ))
    }
}

/// A path without redundant parts: `./a//b` becomes `a/b`.
fn plain(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|&byte| byte == b'/');
    let parts: Vec<&[u8]> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
    parts.join(&b'/')
}

/// The first bytes, which identify the compression.
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

/// Whether a file states the label of its sample; the lowest rank wins.
fn states_label(inner: &[u8]) -> Option<u8> {
    match inner.rsplit(|&byte| byte == b'.').next()? {
        b"cls" => Some(0),
        b"json" => Some(1),
        _ => None,
    }
}

/// The label in a file, if there is one.
fn stated(member: &Member, contents: impl Read, rank: u8) -> Result<Option<Stated>, String> {
    let is_json = rank > 0;
    let longest = if is_json { LONGEST_JSON } else { LONGEST_CLASS };
    let long = |size: u64, longest: u64| {
        let path = String::from_utf8_lossy(&member.path);
        let (place, path) = (member.place, excerpt(&path));
        format!("{place}: `{path}` has {size} bytes, and at most {longest} are read for a class")
    };
    // An error only if an image needs it: not every such file describes a sample.
    if member.size > longest {
        return Ok(Some(Err(long(member.size, longest))));
    }
    let mut bytes = Vec::new();
    let read = contents.take(member.size).read_to_end(&mut bytes);
    read.map_err(|error| format!("{}: {error}", member.place))?;
    if !is_json {
        return Ok(Some(Ok(String::from_utf8_lossy(&bytes).trim().to_owned())));
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let label = json.and_then(|json| match json.get("label")? {
        serde_json::Value::String(label) => Some(label.clone()),
        label => Some(label.to_string()),
    });
    Ok(label.map(|label| match label.len() as u64 {
        size if size > LONGEST_CLASS => Err(long(size, LONGEST_CLASS)),
        _ => Ok(label),
    }))
}
