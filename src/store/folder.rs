//! A folder that is held open, so that no link can redirect what is done in it, not even one that
//! replaces the folder meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What an entry of a folder is itself, without following a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// A device, a pipe or a socket.
    Special,
}

/// An entry of a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Bytes.
    pub(super) size: u64,
    /// Device and inode number, where the system has them.
    pub(super) id: Option<(u64, u64)>,
    /// Number of hard links.
    pub(super) names: u64,
}

impl Entry {
    pub(super) fn is_file(&self) -> bool {
        self.kind == Kind::File
    }
}

pub(super) use system::Folder;

impl Folder {
    /// The entries, sorted by name.
    pub(super) fn entries(&self) -> io::Result<Vec<(OsString, Entry)>> {
        let mut entries = Vec::new();
        for name in self.names()? {
            if let Some(entry) = found(self.entry(&name))? {
                entries.push((name, entry));
            }
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }
}

/// `None` for what is not there.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(unix)]
mod system {
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStringExt;

    use rustix::fs::{
        AtFlags, Dir, FileType, Mode, OFlags, open, openat, readlinkat, statat, unlinkat,
    };

    use super::*;

    pub(in super::super) struct Folder(OwnedFd);

    impl Folder {
        /// Opens a folder, through links too.
        pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(Self(open(path, flags, Mode::empty())?))
        }

        /// Opens a folder in this one that is not a link.
        pub(in super::super) fn folder(&self, name: &OsStr) -> io::Result<Self> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(Self(openat(&self.0, name, flags, Mode::empty())?))
        }

        pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.0)? {
                let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
                if name != "." && name != ".." {
                    names.push(name);
                }
            }
            Ok(names)
        }

        #[allow(
            clippy::unnecessary_cast,
            reason = "the types of the numbers differ between systems"
        )]
        pub(in super::super) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
            let stat = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(Entry {
                kind: match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => Kind::File,
                    FileType::Directory => Kind::Folder,
                    FileType::Symlink => Kind::Link,
                    _ => Kind::Special,
                },
                size: stat.st_size as u64,
                id: Some((stat.st_dev as u64, stat.st_ino as u64)),
                names: stat.st_nlink as u64,
            })
        }

        /// Where a link leads to.
        pub(in super::super) fn link(&self, name: &OsStr) -> io::Result<PathBuf> {
            let target = readlinkat(&self.0, name, Vec::new())?;
            Ok(OsString::from_vec(target.into_bytes()).into())
        }

        /// Opens a file that is not a link, without blocking on a pipe.
        pub(in super::super) fn file(&self, name: &OsStr) -> io::Result<File> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(openat(&self.0, name, flags, Mode::empty())?.into())
        }

        /// Deletes a file, or a link itself.
        pub(in super::super) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
            Ok(unlinkat(&self.0, name, AtFlags::empty())?)
        }

        /// Deletes an empty folder.
        pub(in super::super) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
            Ok(unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
        }
    }
}

/// By path, checking each step: on these systems links are rare, and on Windows they need a privilege.
#[cfg(not(unix))]
mod system {
    use std::fs;

    use super::*;

    pub(in super::super) struct Folder(PathBuf);

    impl Folder {
        pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
            fs::read_dir(path).map(|_| Self(path.to_owned()))
        }

        pub(in super::super) fn folder(&self, name: &OsStr) -> io::Result<Self> {
            match self.entry(name)?.kind {
                Kind::Folder => Ok(Self(self.0.join(name))),
                _ => Err(io::ErrorKind::NotADirectory.into()),
            }
        }

        pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
            let entries = fs::read_dir(&self.0)?;
            entries.map(|entry| Ok(entry?.file_name())).collect()
        }

        pub(in super::super) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
            let metadata = fs::symlink_metadata(self.0.join(name))?;
            Ok(Entry {
                kind: if metadata.is_symlink() {
                    Kind::Link
                } else if metadata.is_dir() {
                    Kind::Folder
                } else if metadata.is_file() {
                    Kind::File
                } else {
                    Kind::Special
                },
                size: metadata.len(),
                id: None,
                names: 1,
            })
        }

        pub(in super::super) fn link(&self, name: &OsStr) -> io::Result<PathBuf> {
            fs::read_link(self.0.join(name))
        }

        pub(in super::super) fn file(&self, name: &OsStr) -> io::Result<File> {
            match self.entry(name)?.kind {
                Kind::File => File::open(self.0.join(name)),
                _ => Err(io::ErrorKind::InvalidInput.into()),
            }
        }

        pub(in super::super) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
            let path = self.0.join(name);
            // On Windows a link to a folder is deleted like a folder.
            fs::remove_file(&path).or_else(|error| match self.entry(name)?.kind {
                Kind::Link => fs::remove_dir(&path),
                _ => Err(error),
            })
        }

        pub(in super::super) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
            fs::remove_dir(self.0.join(name))
        }
    }
}
