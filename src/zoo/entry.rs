//! Files that are parsed when they are needed.

use std::io::Read as _;
use std::ops::Range;
use std::sync::OnceLock;
use std::thread;

use flate2::read::ZlibDecoder;

use super::CardError;

/// The files of a family, one after another, compressed: they repeat each other.
#[derive(Debug)]
pub(super) struct Compressed {
    bytes: &'static [u8],
    text: OnceLock<String>,
}

impl Compressed {
    pub(super) const fn new(bytes: &'static [u8]) -> Self {
        Self {
            bytes,
            text: OnceLock::new(),
        }
    }

    fn text(&self) -> &str {
        self.text.get_or_init(|| {
            let mut text = String::new();
            ZlibDecoder::new(self.bytes)
                .read_to_string(&mut text)
                .expect("the build script has compressed a text");
            text
        })
    }
}

/// The text of a file.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Own(String),
    Part(&'static Compressed, Range<usize>),
}

impl Text {
    fn get(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Part(family, range) => &family.text()[range.clone()],
        }
    }
}

/// A file under `models/`, whose name is known without parsing it.
#[derive(Clone, Debug)]
pub(super) struct Entry<N, T> {
    pub(super) name: N,
    pub(super) file: String,
    text: Text,
    read: Read<T>,
    parsed: OnceLock<T>,
}

/// Parses a text; the file's path is for the error.
type Read<T> = fn(&str, &str) -> Result<T, CardError>;

/// Path under `models/`, and text.
pub(super) type File<'a> = (&'a str, Text);

/// The files, sorted by name.
pub(super) fn entries<'a, N: Ord, T>(
    files: impl IntoIterator<Item = File<'a>>,
    name: fn(&str) -> Result<N, CardError>,
    read: Read<T>,
) -> Result<Vec<Entry<N, T>>, CardError> {
    let mut entries = Vec::new();
    for (file, text) in files {
        entries.push(Entry {
            name: name(file)?,
            file: file.to_owned(),
            text,
            read,
            parsed: OnceLock::new(),
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

impl<N, T> Entry<N, T> {
    pub(super) fn text(&self) -> &str {
        self.text.get()
    }

    /// The file's directory.
    pub(super) fn family(&self) -> &str {
        self.file.split('/').next().unwrap_or_default()
    }

    /// What is in the file.
    ///
    /// # Panics
    /// If it cannot be parsed. The program's tests parse every file.
    pub(super) fn get(&self) -> &T {
        let read =
            || (self.read)(&self.file, self.text()).unwrap_or_else(|error| panic!("{error}"));
        self.parsed.get_or_init(read)
    }
}

/// Parses all that have not been parsed yet, with every core.
pub(super) fn read_all<N: Sync, T: Send + Sync>(entries: &[&Entry<N, T>]) {
    if entries.iter().all(|entry| entry.parsed.get().is_some()) {
        return;
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // Not on rayon's threads, whose number is set later.
    thread::scope(|scope| {
        for share in entries.chunks(entries.len().div_ceil(cores)) {
            scope.spawn(|| share.iter().for_each(|entry| _ = entry.get()));
        }
    });
}
