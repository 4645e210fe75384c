//! Finds what in a cache's folder belongs to the layout, and deletes that and nothing else.
//!
//! | folder | what the layout has there |
//! |---|---|
//! | `blobs` | files named by 32 or more hexadecimal digits, or by a link of a snapshot; `*.incomplete` |
//! | `refs` | files that hold a commit |
//! | `snapshots/COMMIT` | links to `blobs`; hard links to blobs; where there are no links at all, files that have moved here from `blobs` |
//! | `.no_exist/COMMIT` | empty files: Python's notes of what a repository lacks |
//! | `trees` | `COMMIT.json`: Python's lists of files |
//! | `release` of the program's own cache | files with digits of their SHA-256 in their name |
//!
//! Everything else is left. Each folder is opened from its parent and never through a link, so that
//! nothing outside can be reached, even if a folder is replaced meanwhile. The cache's own folder may be
//! a link.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::folder::{Entry, Folder, Kind, found};
use crate::hub::HubError;
use crate::hub::cache::{blob_of_target, is_commit, is_etag};
use crate::hub::files::{INCOMPLETE, disk, is_leftover};
use crate::weights::release_digits;

/// Deepest nesting of folders in the name of a branch or a file.
const MAX_DEPTH: usize = 64;
/// Hexadecimal digits of the shortest etag: an MD5, which some mirrors use.
const MIN_DIGITS: usize = 32;

/// What a deletion removes and what it leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Bytes of contents that it frees: of those with no name left.
    pub size: u64,
    /// What it does not touch.
    pub left: Vec<Left>,
    /// Files, links and folders that are deleted, and the bytes that each frees.
    pub(super) gone: BTreeMap<PathBuf, u64>,
}

impl Removal {
    /// Bytes freed at `path` and below it.
    pub(super) fn size_in(&self, path: &Path) -> u64 {
        let inside = self.gone.iter().filter(|(gone, _)| gone.starts_with(path));
        inside.map(|(_, size)| size).sum()
    }

    /// Whether anything is deleted at `path`.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.gone.keys().any(|gone| gone.starts_with(path))
    }

    pub(super) fn add(&mut self, other: Self) {
        self.size += other.size;
        self.left.extend(other.left);
        self.gone.extend(other.gone);
    }
}

/// Something that would have been deleted, had the cache created it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: LeftKind,
}

/// Why something is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftKind {
    /// A link that points elsewhere, to this path. Neither the link nor its target is touched.
    Link(PathBuf),
    /// A file that is not part of the layout.
    File,
    /// A folder that is not part of the layout.
    Folder,
    /// A device, a pipe or a socket.
    Special,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            LeftKind::Link(target) => write!(f, "{path}: a link to {}", target.display()),
            LeftKind::File => write!(f, "{path}: not a file of the cache"),
            LeftKind::Folder => write!(f, "{path}: not a folder of the cache"),
            LeftKind::Special => write!(f, "{path}: not a regular file"),
        }
    }
}

/// The folders of the layout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Repository,
    Blobs,
    Refs,
    Snapshots,
    Snapshot,
    NoExist,
    NoExistOf,
    Trees,
    Release,
}

/// What the layout says about an entry of a folder.
enum Verdict {
    Folder(Room),
    Own,
    Foreign,
}

/// Lists what of `name` in `root` is the cache's own and `wanted`, and deletes it if `delete`. `moved`
/// says whether contents may have moved from `blobs` to a snapshot.
///
/// # Errors
/// [`HubError::Disk`], but not if there is nothing at `name`.
pub(super) fn sweep(
    root: &Path,
    name: &OsStr,
    room: Room,
    moved: bool,
    wanted: &dyn Fn(&Path) -> bool,
    delete: bool,
) -> Result<Removal, HubError> {
    let path = root.join(name);
    let Some(top) = found(Folder::open(root)).map_err(disk("read", root))? else {
        return Ok(Removal::default());
    };
    let Some(entry) = found(top.entry(name)).map_err(disk("read", &path))? else {
        return Ok(Removal::default());
    };
    let mut sweep = Sweep {
        folder: &path,
        wanted,
        delete,
        names: Names::default(),
        files: Vec::new(),
        removal: Removal::default(),
    };
    if entry.kind == Kind::Folder {
        let dir = top.folder(name).map_err(disk("read", &path))?;
        if room == Room::Repository {
            sweep.names = Names::of(&dir, &path)?;
            sweep.names.moved &= moved;
        }
        if sweep.folder(&dir, &path, room, 0)? && wanted(&path) {
            sweep.remove_folder(&top, &path)?;
        }
    } else {
        sweep.leave(&top, &path, entry.kind);
    }
    Ok(sweep.finish())
}

struct Sweep<'a> {
    folder: &'a Path,
    wanted: &'a dyn Fn(&Path) -> bool,
    delete: bool,
    names: Names,
    files: Vec<(PathBuf, Entry)>,
    removal: Removal,
}

impl Sweep<'_> {
    /// Sweeps a folder; returns whether all of its contents are deleted.
    fn folder(
        &mut self,
        dir: &Folder,
        path: &Path,
        room: Room,
        depth: usize,
    ) -> Result<bool, HubError> {
        let mut entries = dir.entries().map_err(disk("read", path))?;
        // Links before their targets, so that an interruption leaves no name without contents.
        entries.sort_by_key(|(name, _)| name == "blobs");
        let mut all = true;
        for (name, entry) in entries {
            let path = path.join(&name);
            let verdict = match self.verdict(dir, &path, &entry, room) {
                Verdict::Folder(_) if depth == MAX_DEPTH => Verdict::Foreign,
                verdict => verdict,
            };
            all &= match verdict {
                Verdict::Folder(inner) => {
                    let child = dir.folder(&name).map_err(disk("read", &path))?;
                    let goes = self.folder(&child, &path, inner, depth + 1)?;
                    if goes && (self.wanted)(&path) {
                        self.remove_folder(dir, &path)?;
                        true
                    } else {
                        false
                    }
                }
                Verdict::Own if (self.wanted)(&path) => {
                    if self.delete {
                        found(dir.remove_file(&name)).map_err(disk("delete", &path))?;
                    }
                    self.removal.gone.insert(path.clone(), 0);
                    // Commits in `refs` and lists in `trees` do not count, as in `CachedRepo::size`.
                    if entry.is_file() && !matches!(room, Room::Refs | Room::Trees) {
                        self.files.push((path, entry));
                    }
                    true
                }
                Verdict::Own => false,
                Verdict::Foreign => {
                    if (self.wanted)(&path) {
                        self.leave(dir, &path, entry.kind);
                    }
                    false
                }
            };
        }
        Ok(all)
    }

    fn verdict(&self, dir: &Folder, path: &Path, entry: &Entry, room: Room) -> Verdict {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            return match room {
                // A file may have any name in a repository.
                Room::Snapshot if self.is_of_snapshot(dir, path, entry) => Verdict::Own,
                _ => Verdict::Foreign,
            };
        };
        let inner = match (room, name) {
            (Room::Repository, "blobs") => Some(Room::Blobs),
            (Room::Repository, "refs") | (Room::Refs, _) => Some(Room::Refs),
            (Room::Repository, "snapshots") => Some(Room::Snapshots),
            (Room::Repository, ".no_exist") => Some(Room::NoExist),
            (Room::Repository, "trees") => Some(Room::Trees),
            (Room::Snapshots, commit) if is_commit(commit) => Some(Room::Snapshot),
            (Room::NoExist, commit) if is_commit(commit) => Some(Room::NoExistOf),
            (Room::Snapshot | Room::NoExistOf, _) => Some(room),
            _ => None,
        };
        if let (Some(inner), true) = (inner, entry.kind == Kind::Folder) {
            return Verdict::Folder(inner);
        }
        let is_own = match room {
            Room::Snapshot => self.is_of_snapshot(dir, path, entry),
            _ if !entry.is_file() => false,
            Room::Repository => is_leftover(name),
            Room::Blobs => match name.strip_suffix(INCOMPLETE) {
                Some(etag) => is_etag(etag),
                None => is_digits(name) || self.names.blobs.contains(name),
            },
            Room::Refs => is_leftover(name) || holds_commit(dir, name),
            Room::NoExistOf => entry.size == 0,
            Room::Trees => name.strip_suffix(".json").is_some_and(is_commit),
            Room::Release => release_digits(name).is_some(),
            Room::Snapshots | Room::NoExist => false,
        };
        if is_own {
            Verdict::Own
        } else {
            Verdict::Foreign
        }
    }

    fn is_of_snapshot(&self, dir: &Folder, path: &Path, entry: &Entry) -> bool {
        if entry.kind == Kind::Link {
            return blob_name(dir, path, self.folder).is_some();
        }
        let is_blob = || {
            let id = entry.id;
            id.is_some_and(|id| self.names.contents.contains(&id))
        };
        let name = path.file_name().and_then(OsStr::to_str);
        entry.is_file() && (self.names.moved || is_blob() || name.is_some_and(is_leftover))
    }

    fn leave(&mut self, dir: &Folder, path: &Path, kind: Kind) {
        let name = path.file_name().unwrap_or_default();
        self.removal.left.push(Left {
            path: path.to_owned(),
            kind: match kind {
                Kind::Link => LeftKind::Link(dir.link(name).unwrap_or_default()),
                Kind::Folder => LeftKind::Folder,
                Kind::File => LeftKind::File,
                Kind::Special => LeftKind::Special,
            },
        });
    }

    fn remove_folder(&mut self, dir: &Folder, path: &Path) -> Result<(), HubError> {
        if self.delete {
            match found(dir.remove_folder(path.file_name().unwrap_or_default())) {
                // A download has begun meanwhile.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                result => result.map_err(disk("delete", path))?,
            };
        }
        self.removal.gone.insert(path.to_owned(), 0);
        Ok(())
    }

    /// Counts a file's bytes where its last name is deleted.
    fn finish(mut self) -> Removal {
        let mut names: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for (path, entry) in self.files {
            if let Some(id) = entry.id {
                let count = names.entry(id).or_default();
                *count += 1;
                if *count < entry.names {
                    continue;
                }
            }
            self.removal.gone.insert(path, entry.size);
        }
        self.removal.size = self.removal.gone.values().sum();
        self.removal
    }
}

/// What distinguishes a repository's own files from others.
#[derive(Default)]
struct Names {
    /// Names of blobs that links of snapshots point to.
    blobs: BTreeSet<String>,
    /// What is in `blobs` under a name of digits.
    contents: BTreeSet<(u64, u64)>,
    /// Whether the contents are in the snapshots: there are no links, and `blobs` has nothing but
    /// partial files and second names of files there.
    moved: bool,
}

impl Names {
    fn of(dir: &Folder, folder: &Path) -> Result<Self, HubError> {
        let mut names = Self::default();
        let mut elsewhere = BTreeSet::new();
        let snapshots = folder.join("snapshots");
        let mut rest = match dir.folder("snapshots".as_ref()) {
            Ok(dir) => vec![(dir, snapshots, 0)],
            Err(_) => Vec::new(),
        };
        while let Some((dir, path, depth)) = rest.pop() {
            for (name, entry) in dir.entries().map_err(disk("read", &path))? {
                let path = path.join(&name);
                match entry.kind {
                    Kind::Link => names.blobs.extend(blob_name(&dir, &path, folder)),
                    Kind::File => elsewhere.extend(entry.id),
                    Kind::Folder if depth < MAX_DEPTH => {
                        let child = dir.folder(&name).map_err(disk("read", &path))?;
                        rest.push((child, path, depth + 1));
                    }
                    Kind::Folder | Kind::Special => {}
                }
            }
        }
        let Ok(blobs) = dir.folder("blobs".as_ref()) else {
            return Ok(names);
        };
        names.moved = names.blobs.is_empty();
        let path = folder.join("blobs");
        for (name, entry) in blobs.entries().map_err(disk("read", &path))? {
            let name = name.to_str().unwrap_or_default();
            if entry.is_file() && is_digits(name) {
                names.moved &= entry.id.is_some_and(|id| elsewhere.contains(&id));
                names.contents.extend(entry.id);
            } else {
                names.moved &= entry.is_file() && name.ends_with(INCOMPLETE);
            }
        }
        Ok(names)
    }
}

/// The name of the blob of the same repository that a link points to; the blob may be missing.
fn blob_name(dir: &Folder, link: &Path, folder: &Path) -> Option<String> {
    let target = dir.link(link.file_name()?).ok()?;
    blob_of_target(link, &target, folder)
}

fn is_digits(name: &str) -> bool {
    // After a multipart upload, the number of parts follows.
    let digits = match name.split_once('-') {
        Some((digits, parts)) if parts.bytes().all(|b| b.is_ascii_digit()) => digits,
        _ => name,
    };
    digits.len() >= MIN_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn holds_commit(dir: &Folder, name: &str) -> bool {
    let mut text = String::new();
    dir.file(name.as_ref())
        .and_then(|file| file.take(100).read_to_string(&mut text))
        .is_ok_and(|_| is_commit(text.trim()))
}
