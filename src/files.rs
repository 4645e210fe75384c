//! Writing a file whose name the user gives. Every command that writes one does it here.
//!
//! A regular file is replaced as a whole, through a file next to it that is renamed. A link stays what
//! it is: the file that it leads to is written. What is not a regular file (a device, a pipe, a
//! socket) is written to and never replaced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// As many links in a row as Linux follows.
const MAX_LINKS: usize = 40;

/// What a path stands for, once its links are followed.
#[derive(Debug)]
pub(crate) enum Target {
    /// A regular file, or a name that is free.
    File(PathBuf),
    /// A device, a pipe or a socket, or a file that this process or another has open.
    Stream(PathBuf),
}

impl Target {
    /// # Errors
    /// A folder, a circle of links, a folder that cannot be searched.
    pub(crate) fn find(path: &Path) -> io::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..=MAX_LINKS {
            if is_open_file(&path) {
                return Ok(Self::Stream(path));
            }
            let metadata = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Self::File(path));
                }
                metadata => metadata?,
            };
            if metadata.is_dir() {
                return Err(io::Error::new(
                    io::ErrorKind::IsADirectory,
                    "it is a directory",
                ));
            }
            if metadata.is_file() {
                return Ok(Self::File(path));
            }
            if !metadata.is_symlink() {
                return Ok(Self::Stream(path));
            }
            path = folder_of(&path).join(fs::read_link(&path)?);
        }
        Err(io::Error::other(format!(
            "more than {MAX_LINKS} symbolic links in a row"
        )))
    }

    /// Whether the file can be written, found out without changing it. A stream is not touched: a
    /// reader would see its end.
    ///
    /// # Errors
    /// Those of [`write()`].
    pub(crate) fn check(&self) -> io::Result<()> {
        match self {
            Self::File(path) => begin(path)?.close(),
            Self::Stream(_) => Ok(()),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let path = match self {
            Self::Stream(path) => return open_stream(path)?.write_all(bytes),
            Self::File(path) => path,
        };
        let mut temporary = begin(path)?;
        let file = temporary.as_file_mut();
        file.write_all(bytes)?;
        if let Ok(replaced) = fs::metadata(path) {
            take_over(file, &replaced)?;
        }
        file.sync_all()?;
        temporary.persist(path)?;
        Ok(())
    }
}

/// Writes a file: whole, or not at all.
///
/// # Errors
/// Those of the file system, and those of [`Target::find`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Target::find(path)?.write(bytes)
}

/// Opens what is not a regular file. Nothing is created and nothing is cut off: a file that is open
/// elsewhere is appended to.
///
/// # Errors
/// Those of the system.
pub(crate) fn open_stream(path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::fd::{AsFd, OwnedFd};
        use std::os::unix::fs::FileTypeExt;
        // Opened anew, a file behind standard output would be written from its beginning.
        let own = match open_number(path) {
            Some(1) => Some(io::stdout().as_fd().try_clone_to_owned()?),
            Some(2) => Some(io::stderr().as_fd().try_clone_to_owned()?),
            _ => None,
        };
        if let Some(own) = own {
            return Ok(File::from(own));
        }
        if fs::metadata(path)?.file_type().is_socket() {
            let stream = std::os::unix::net::UnixStream::connect(path)?;
            return Ok(File::from(OwnedFd::from(stream)));
        }
    }
    let has_end = fs::metadata(path)?.is_file();
    File::options().write(true).append(has_end).open(path)
}

/// A new file in the folder of `path`, which is deleted unless it is given that name.
///
/// # Errors
/// Those of the file system.
pub(crate) fn begin(path: &Path) -> io::Result<NamedTempFile> {
    if path.file_name().is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not the name of a file",
        ));
    }
    // Renaming needs no permission of the file that is replaced; so it is asked for.
    match File::options().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => drop(opened?),
    }
    // Its mode follows the umask: one that `tempfile` opens itself is closed to others.
    tempfile::Builder::new()
        .prefix(".senet-")
        .suffix(".part")
        .make_in(folder_of(path), |path| File::create_new(path))
}

/// Gives the file the mode of the one that it replaces, and its owner where that is allowed.
pub(crate) fn take_over(file: &File, replaced: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        drop(fchown(file, Some(replaced.uid()), Some(replaced.gid())));
    }
    file.set_permissions(replaced.permissions())
}

/// Whether a file cannot be locked because its file system has no locks, as some of networks have none.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    // Its number differs by system.
    #[cfg(unix)]
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::NOLCK) {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

/// The folder that a path's last name lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// `/proc/…/fd/N` looks like a link and stands for an open file, which need not have a name any more.
fn is_open_file(path: &Path) -> bool {
    cfg!(unix) && open_file(path).is_some()
}

/// The number of one of this process's open files.
#[cfg(unix)]
fn open_number(path: &Path) -> Option<u32> {
    let (folder, number) = open_file(path)?;
    let own = fs::canonicalize("/dev/fd").ok()?;
    (folder == own).then_some(number)
}

/// The folder of open files that a path is in, and its number there.
fn open_file(path: &Path) -> Option<(PathBuf, u32)> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let folder = fs::canonicalize(folder_of(path)).ok()?;
    let is_of_process = folder.starts_with("/proc") || folder.starts_with("/dev/fd");
    (is_of_process && folder.ends_with("fd")).then_some((folder, number))
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_system_without_locks_is_told_from_one_that_fails() {
        use rustix::io::Errno;
        let is_without = |errno: Errno| has_no_locks(&errno.into());
        assert!(is_without(Errno::NOLCK) && is_without(Errno::OPNOTSUPP));
        assert!(!is_without(Errno::IO) && !is_without(Errno::ACCESS));
    }

    #[test]
    fn a_file_is_replaced_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"first").unwrap();
        // As any new file: by the umask, never closed to others as a temporary file is.
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        assert_eq!(mode(&path), mode(&plain));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(mode(&path), 0o640);
        assert_eq!(names(folder.path()), ["a", "plain"]);
    }

    #[test]
    fn links_stay_and_what_they_lead_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/old"), "old").unwrap();
        symlink("sub/old", at("link")).unwrap();
        symlink(at("link"), at("link-to-link")).unwrap();
        symlink("new", at("sub/dangling")).unwrap();
        symlink("sub", at("folder")).unwrap();
        for (name, target) in [
            ("link", "sub/old"),
            ("link-to-link", "sub/old"),
            ("sub/dangling", "sub/new"),
            ("folder/dangling", "sub/new"),
        ] {
            write(&at(name), name.as_bytes()).unwrap();
            assert!(fs::symlink_metadata(at(name)).unwrap().is_symlink());
            assert!(fs::symlink_metadata(at(target)).unwrap().is_file());
            assert_eq!(fs::read_to_string(at(target)).unwrap(), name);
        }
        assert_eq!(names(&at("sub")), ["dangling", "new", "old"]);
    }

    #[test]
    fn what_cannot_be_written_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        symlink("self", at("self")).unwrap();
        symlink("none/file", at("nowhere")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("folder", at("to-folder")).unwrap();
        let before = names(folder.path());
        for name in [
            "a",
            "self",
            "nowhere",
            "folder",
            "to-folder",
            "none/x",
            "a/x",
        ] {
            assert!(write(&at(name), b"x").is_err(), "{name}");
            let checked = Target::find(&at(name)).and_then(|target| target.check());
            assert!(checked.is_err(), "{name}");
        }
        for name in ["", "..", "/"] {
            assert!(write(Path::new(name), b"x").is_err(), "{name}");
        }
        assert_eq!(names(folder.path()), before);
        assert_eq!(names(&at("folder")), [""; 0]);
    }

    #[test]
    fn pipes_and_devices_are_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let link = folder.path().join("link");
        symlink("pipe", &link).unwrap();
        for path in [&pipe, &link] {
            Target::find(path).unwrap().check().unwrap();
            let reader = {
                let pipe = pipe.clone();
                thread::spawn(move || fs::read(pipe).unwrap())
            };
            write(path, b"through it").unwrap();
            assert_eq!(reader.join().unwrap(), b"through it");
        }
        let null = folder.path().join("null");
        symlink("/dev/null", &null).unwrap();
        for path in [&null, Path::new("/dev/null")] {
            write(path, b"away").unwrap();
        }
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert_eq!(names(folder.path()), ["link", "null", "pipe"]);
    }

    #[test]
    fn a_socket_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        write(&path, b"to a socket").unwrap();
        let mut bytes = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"to a socket");
        drop(listener);
        assert!(write(&path, b"x").is_err());
        assert_eq!(names(folder.path()), ["socket"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_is_not_replaced() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open");
        fs::write(&path, "before, ").unwrap();
        let mut file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let number = file.as_raw_fd();
        for name in [
            format!("/dev/fd/{number}"),
            format!("/proc/self/fd/{number}"),
            format!("/proc/{}/fd/{number}", std::process::id()),
        ] {
            write(Path::new(&name), b"after").unwrap();
        }
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before, afterafterafter");
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
