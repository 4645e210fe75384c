//! The images below a folder, and what was skipped there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::preprocess::{Look, START, look};

/// Files and folders that systems and programs create next to the user's: by their whole names,
/// or by what they begin with before a `*`; in any case.
const SYSTEM: [&str; 37] = [
    // macOS
    "._*",
    ".DS_Store",
    "__MACOSX",
    ".AppleDouble",
    ".AppleDB",
    ".AppleDesktop",
    ".Spotlight-V100",
    ".fseventsd",
    ".TemporaryItems",
    ".DocumentRevisions-V100",
    // Windows
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$RECYCLE.BIN",
    "RECYCLER",
    "System Volume Information",
    // Linux, and network file systems
    ".Trash",
    ".Trash-*",
    ".Trashes",
    "lost+found",
    ".thumbnails",
    ".directory",
    ".nfs*",
    ".fuse_hidden*",
    // Network storage
    "@eaDir",
    "#recycle",
    "#snapshot",
    "@Recycle",
    "@Recently-Snapshot",
    ".@__thumb",
    ".snapshot",
    // Programs
    ".ipynb_checkpoints",
    ".git",
    ".svn",
    ".hg",
    ".stversions",
    ".picasaoriginals",
];

/// Archives, which only `senet eval` reads, and not all of them.
const ARCHIVES: [&str; 15] = [
    ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2",
    ".tar.lz4", ".parquet", ".zip", ".7z", ".rar", ".cbz",
];

/// What was not read of folders and archives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Files that look like images or archives and are of a kind that is not read, by extension.
    foreign: BTreeMap<String, usize>,
    /// Files and folders of systems, by name.
    system: BTreeMap<&'static str, usize>,
    /// Links to nothing, which do not look like images.
    broken: usize,
}

impl PassedOver {
    pub(crate) fn foreign(&mut self, kind: String) {
        *self.foreign.entry(kind).or_default() += 1;
    }

    pub(crate) fn broken_link(&mut self) {
        self.broken += 1;
    }

    /// Whether a file or folder of this name is a system's; it is counted then.
    pub(crate) fn takes(&mut self, name: &str) -> bool {
        let name = system(name);
        if let Some(name) = name {
            *self.system.entry(name).or_default() += 1;
        }
        name.is_some()
    }

    /// `skipped: 12 .heic, 3 .avif (unsupported file types); 2 system files or folders (@eaDir)`.
    pub fn note(&self) -> Option<String> {
        let list = |counts: &mut dyn Iterator<Item = (&str, usize)>| {
            let counts: Vec<String> = counts
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            counts.join(", ")
        };
        let mut parts = Vec::new();
        if !self.foreign.is_empty() {
            let mut counts = self.foreign.iter().map(|(name, count)| (&**name, *count));
            parts.push(format!("{} (unsupported file types)", list(&mut counts)));
        }
        if !self.system.is_empty() {
            let mut counts = self.system.iter().map(|(name, count)| (*name, *count));
            let count: usize = self.system.values().sum();
            let files = if count == 1 {
                "file or folder"
            } else {
                "files or folders"
            };
            parts.push(format!("{count} system {files} ({})", list(&mut counts)));
        }
        if self.broken > 0 {
            let links = if self.broken == 1 { "link" } else { "links" };
            parts.push(format!("{} broken {links}", self.broken));
        }
        (!parts.is_empty()).then(|| format!("skipped: {}", parts.join("; ")))
    }
}

/// The name of what a system makes, if this is one.
pub(crate) fn system(name: &str) -> Option<&'static str> {
    let is = |known: &&&str| match known.strip_suffix('*') {
        Some(start) => name
            .get(..start.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(start)),
        None => name.eq_ignore_ascii_case(known),
    };
    SYSTEM.iter().find(is).copied()
}

/// Of `.tar.gz`, not `.gz`.
fn archive(path: &Path) -> Option<&'static str> {
    let name = path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_lowercase();
    ARCHIVES.into_iter().find(|kind| name.ends_with(kind))
}

/// Something below a folder.
#[derive(Debug)]
pub(crate) enum Entry {
    /// An image, or another file that was wanted.
    File(PathBuf),
    /// What looks like an image or an archive and is not read, and its kind.
    Foreign(PathBuf, String),
    Folder(PathBuf),
    BrokenLink(PathBuf),
    Unreadable(PathBuf, io::Error),
}

/// What is below `folder`, in the order of names. Links are followed, but for those that lead back
/// up. Other files than images and those that `wants` holds for are left out. What systems make is
/// counted in `passed`.
pub(crate) fn below(
    folder: &Path,
    wants: impl Fn(&Path) -> bool,
    passed: &mut PassedOver,
) -> Vec<Entry> {
    let mut found = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    let mut walk = walk.into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.extend(failed(error, folder, passed));
                continue;
            }
        };
        if entry.depth() == 0 && entry.file_type().is_dir() {
            continue;
        }
        let kind = entry.file_type();
        if passed.takes(&entry.file_name().to_string_lossy()) {
            if kind.is_dir() {
                walk.skip_current_dir();
            }
        } else if kind.is_dir() {
            found.push(Entry::Folder(entry.into_path()));
        } else if kind.is_file() {
            let path = entry.into_path();
            if wants(&path) {
                found.push(Entry::File(path));
                continue;
            }
            match look(&path, || start(&path)) {
                Look::Image => found.push(Entry::File(path)),
                Look::Foreign(kind) => found.push(Entry::Foreign(path, kind)),
                Look::Other => {
                    found.extend(archive(&path).map(|kind| Entry::Foreign(path, kind.to_owned())));
                }
            }
        }
    }
    found
}

/// What could not be walked through, unless it leads back up or is a system's.
fn failed(error: walkdir::Error, folder: &Path, passed: &mut PassedOver) -> Option<Entry> {
    if error.loop_ancestor().is_some() {
        return None;
    }
    let path = error.path().unwrap_or(folder).to_owned();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if error.depth() > 0 && passed.takes(&name) {
        return None;
    }
    let is_link = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_symlink());
    Some(if is_link && !path.exists() {
        Entry::BrokenLink(path)
    } else {
        Entry::Unreadable(path, error.into())
    })
}

fn start(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(START).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_systems_make() {
        for name in [
            "._a.png",
            ".Trash-1000",
            "THUMBS.DB",
            "@eaDir",
            "lost+found",
            "#recycle",
        ] {
            assert!(system(name).is_some(), "{name}");
        }
        for name in ["a._b", "Thumbs.db.png", "git", "recycle", "é", ".nf", "@ea"] {
            assert_eq!(system(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_passed_over_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.png",
            "b.heic",
            "c.HEIC",
            "d.avif",
            "e.txt",
            ".git/f.png",
            "g/@eaDir/h.jpg",
            "g/@eaDir/i.jpg",
            "g/._j.png",
            "g/k.jpg",
            "l.tar.zst",
            "m.tar",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let mut passed = PassedOver::default();
        let wants = |path: &Path| path.ends_with("m.tar");
        let mut files = Vec::new();
        for entry in below(folder.path(), wants, &mut passed) {
            match entry {
                Entry::File(path) => files.push(path.file_name().unwrap().to_owned()),
                Entry::Foreign(_, kind) => passed.foreign(kind),
                Entry::Folder(path) => assert!(path.ends_with("g")),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(files, ["a.png", "k.jpg", "m.tar"]);
        assert_eq!(
            passed.note().unwrap(),
            "skipped: 1 .avif, 2 .heic, 1 .tar.zst (unsupported file types); 3 system \
             files or folders (1 ._*, 1 .git, 1 @eaDir)"
        );
    }
}
