//! Caches with links, files and directories in unexpected places: only the cache's own files are
//! deleted or changed, and sizes and leftovers are reported correctly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use senet::hub::{HubError, HubOptions, replace};
use senet::store::{
    CachedRepo, Left, LeftKind, clear_releases, reclaimable_releases, release_removal,
    remove_release, scan, scan_releases,
};

use super::{FILE, REPO, setup, weights};
use crate::common::hub_server::{COMMIT, sha256};

const REPO_FOLDER: &str = "models--org--net";
/// Paths in an intact cache, below the repository's directory.
const PLACES: [&str; 15] = [
    "",
    "blobs",
    "blobs/BLOB",
    "blobs/OTHER",
    "blobs/BLOB.incomplete",
    "refs",
    "refs/main",
    "refs/pr",
    "refs/pr/1",
    "snapshots",
    "snapshots/COMMIT",
    "snapshots/COMMIT/model.safetensors",
    "snapshots/COMMIT/sub",
    "snapshots/COMMIT/sub/config.json",
    ".no_exist",
];

/// A generator with the same numbers on every machine (Marsaglia's xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Everything below a directory, links not followed: its type and contents.
fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut rest = vec![folder.to_owned()];
    while let Some(path) = rest.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let is = if metadata.is_symlink() {
            format!("link {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            rest.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            "folder".to_owned()
        } else if metadata.is_file() {
            format!(
                "file {:?}",
                String::from_utf8_lossy(&fs::read(&path).unwrap())
            )
        } else {
            "special".to_owned()
        };
        found.insert(path, is);
    }
    found
}

/// Bytes of the contents below a directory, each counted once.
fn bytes(folder: &Path) -> u64 {
    let files: BTreeMap<u64, u64> = contents(folder)
        .keys()
        .filter(|path| !path.iter().any(|part| part == "refs" || part == "trees"))
        .filter_map(|path| fs::symlink_metadata(path).ok())
        .filter(fs::Metadata::is_file)
        .map(|metadata| (metadata.ino(), metadata.len()))
        .collect();
    files.values().sum()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn place(repo: &Path, place: &str) -> PathBuf {
    if place.is_empty() {
        // If joined, it would end in a `/`.
        return repo.to_owned();
    }
    let place = place.replace("BLOB", &"a".repeat(64));
    let place = place.replace("OTHER", &"b".repeat(40));
    repo.join(place.replace("COMMIT", COMMIT))
}

/// An intact cache; the contents are linked to, or are in the snapshot.
fn intact(cache: &Path, name: &str, links: bool) {
    let repo = cache.join(name);
    let at = |name| place(&repo, name);
    write(&at("refs/main"), COMMIT);
    write(&at("refs/pr/1"), &format!("{COMMIT}\n"));
    write(&at(".no_exist/COMMIT/pytorch_model.bin"), "");
    write(&at("trees/COMMIT.json"), "{}");
    fs::create_dir_all(at("snapshots/COMMIT/sub")).unwrap();
    if links {
        write(&at("blobs/BLOB"), "the weights");
        write(&at("blobs/OTHER"), "{}");
        write(&at("blobs/BLOB.incomplete"), "the");
        let blob = format!("../../blobs/{}", "a".repeat(64));
        symlink(blob, at("snapshots/COMMIT/model.safetensors")).unwrap();
        let blob = format!("../../../blobs/{}", "b".repeat(40));
        symlink(blob, at("snapshots/COMMIT/sub/config.json")).unwrap();
    } else {
        fs::create_dir_all(at("blobs")).unwrap();
        write(&at("snapshots/COMMIT/model.safetensors"), "the weights");
        write(&at("snapshots/COMMIT/sub/config.json"), "{}");
    }
}

/// Someone else's directory, with names that also occur in a cache.
fn foreign_folder(folder: &Path) {
    for name in [
        "main",
        "model.safetensors",
        "notes.txt",
        COMMIT,
        "sub/config.json",
        "refs/main",
        "snapshots/0123456789abcdef0123456789abcdef01234567/model.safetensors",
        "blobs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "x.incomplete",
        "net-01234567.pth",
        "net-01234567.pth.incomplete",
    ] {
        write(&folder.join(name), &format!("{COMMIT} of {name}"));
    }
    write(&folder.join("refs/main"), COMMIT);
    write(&folder.join(sha256(b"x")), "x");
}

/// Puts something into the cache that does not belong there. Returns its path.
fn damage(random: &mut Random, repo: &Path, foreign: &Path) -> PathBuf {
    let mut at = place(repo, PLACES[random.below(PLACES.len())]);
    let kind = random.below(12);
    if kind < 8 {
        // It replaces what is there; some of that is moved away first.
        if fs::symlink_metadata(&at).is_ok() {
            let away = foreign.join(format!("moved-{}", random.0));
            fs::rename(&at, &away).unwrap();
            if kind == 0 {
                symlink(away, &at).unwrap();
                return at;
            }
        }
    } else {
        let names = ["notes.txt", "link", "of somebody.pth", "résumé", ".hidden"];
        at = at.join(names[random.below(names.len())]);
    }
    // A parent may have become a file or a link to a foreign directory.
    let parent = at.parent().unwrap();
    if !fs::symlink_metadata(parent).is_ok_and(|parent| parent.is_dir())
        || at
            .ancestors()
            .any(|path| path.starts_with(repo) && path.is_symlink())
        || fs::symlink_metadata(&at).is_ok()
    {
        return PathBuf::new();
    }
    match kind {
        0..3 | 8 => symlink(foreign, &at).unwrap(),
        3 => symlink(foreign.join("model.safetensors"), &at).unwrap(),
        4 => symlink(".", &at).unwrap(),
        5 => symlink(at.file_name().unwrap(), &at).unwrap(),
        6 => write(&at, "a file of somebody"),
        7 => write(&at.join("a folder/of somebody"), "else"),
        9 => symlink("/nonexistent", &at).unwrap(),
        10 => write(&at, "a note of somebody"),
        _ => write(&at.join("x.txt"), "in a folder of somebody"),
    }
    at
}

fn options(folder: &Path) -> HubOptions {
    let mut options = HubOptions::default();
    options.cache = folder.join("cache");
    options.own_cache = folder.join("own");
    options
}

struct Damaged {
    folder: tempfile::TempDir,
    /// Paths in the cache that are not its own.
    foreign: BTreeMap<PathBuf, String>,
    outside: BTreeMap<PathBuf, String>,
}

impl Damaged {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // The cache directory itself may be a link.
        fs::create_dir(at("real")).unwrap();
        symlink("real", at("cache")).unwrap();
        intact(&at("cache"), REPO_FOLDER, !seed.is_multiple_of(5));
        intact(&at("cache"), "models--org--other", true);
        foreign_folder(&at("foreign"));
        let repo = at("cache").join(REPO_FOLDER);
        let mut damages = BTreeSet::new();
        for _ in 0..1 + random.below(4) {
            damages.insert(damage(&mut random, &repo, &at("foreign")));
        }
        damages.remove(Path::new(""));
        let inside = contents(&repo);
        let foreign = inside.into_iter().filter(|(path, is)| {
            // A file with the name of a blob counts as one; and in a cache without links, so does
            // every file in a snapshot.
            let is_file = is.starts_with("file");
            let blobs = ["blobs/BLOB", "blobs/OTHER", "blobs/BLOB.incomplete"];
            let is_blob = blobs.iter().any(|blob| *path == place(&repo, blob));
            let is_moved =
                seed.is_multiple_of(5) && path.starts_with(place(&repo, "snapshots/COMMIT"));
            let is_own = is == "folder" || is_file && (is_blob || is_moved);
            !is_own && damages.iter().any(|damage| path.starts_with(damage))
        });
        let foreign = foreign.collect();
        Self {
            outside: Self::all_but(folder.path(), &repo),
            foreign,
            folder,
        }
    }

    fn all_but(folder: &Path, repo: &Path) -> BTreeMap<PathBuf, String> {
        let mut all = contents(folder);
        let real = folder.join("real").join(repo.file_name().unwrap());
        // New lock files may appear.
        all.retain(|path, _| {
            !path.starts_with(&real) && !path.starts_with(folder.join("real/.locks"))
        });
        all
    }

    fn repo(&self) -> CachedRepo {
        let repos = scan(&options(self.folder.path())).unwrap();
        let found = repos.into_iter().find(|repo| repo.repo == "org/net");
        found.unwrap_or_else(|| panic!("{:?}", self.foreign))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cache").join(REPO_FOLDER)
    }

    /// Whether the repository is a directory that can be scanned.
    fn is_listed(&self) -> bool {
        let repos = scan(&options(self.folder.path())).unwrap();
        repos.iter().any(|repo| repo.repo == "org/net")
    }

    fn check_foreign(&self, seed: u64) {
        let repo = self.path();
        assert_eq!(
            Self::all_but(self.folder.path(), &repo),
            self.outside,
            "{seed}"
        );
        let inside = contents(&repo);
        for (path, is) in &self.foreign {
            assert_eq!(inside.get(path), Some(is), "{seed}: {}", path.display());
        }
    }
}

#[test]
fn removing_deletes_only_the_caches_own() {
    let mut listed = 0;
    for seed in 0..400 {
        let damaged = Damaged::new(seed);
        if !damaged.is_listed() {
            continue;
        }
        listed += 1;
        let repo = damaged.repo();
        let before = bytes(&damaged.path());
        let planned = repo.removal().unwrap();
        damaged.check_foreign(seed);
        assert_eq!(bytes(&damaged.path()), before, "{seed}");
        let done = repo.remove().unwrap();
        assert_eq!(done, planned, "{seed}");
        damaged.check_foreign(seed);
        assert_eq!(before - bytes(&damaged.path()), done.size, "{seed}");
        // What is left is what was reported, and the directories above it.
        let left: BTreeSet<&Path> = done.left.iter().map(|left| left.path.as_path()).collect();
        for path in contents(&damaged.path()).into_keys() {
            let below = left.iter().any(|left| path.starts_with(left));
            let above = left.iter().any(|left| left.starts_with(&path));
            assert!(below || above, "{seed}: {} is not reported", path.display());
        }
        for path in &left {
            assert!(
                fs::symlink_metadata(path).is_ok(),
                "{seed}: {}",
                path.display()
            );
        }
        assert_eq!(damaged.path().exists(), left.iter().any(|_| true), "{seed}");
        if damaged.is_listed() {
            let again = damaged.repo().remove().unwrap();
            assert_eq!((again.size, &again.left), (0, &done.left), "{seed}");
        }
        damaged.check_foreign(seed);
    }
    assert!(listed > 300, "{listed}");
}

#[test]
fn pruning_deletes_only_the_caches_own() {
    for seed in 1000..1300 {
        let damaged = Damaged::new(seed);
        if !damaged.is_listed() {
            continue;
        }
        let before = bytes(&damaged.path());
        let repo = damaged.repo();
        let waste = repo.reclaimable(&BTreeSet::new()).unwrap();
        damaged.check_foreign(seed);
        let listed: u64 = waste.iter().map(|item| item.size).sum();
        let done = repo.clear(&waste, &BTreeSet::new()).unwrap();
        damaged.check_foreign(seed);
        assert_eq!(done.size, listed, "{seed}");
        assert_eq!(before - bytes(&damaged.path()), listed, "{seed}");
        for left in &done.left {
            assert!(fs::symlink_metadata(&left.path).is_ok(), "{seed}");
        }
        assert_eq!(
            damaged.repo().reclaimable(&BTreeSet::new()).unwrap(),
            [],
            "{seed}"
        );
    }
}

#[test]
fn linked_folders_are_reported_and_kept() {
    for (linked, gone) in [
        ("", "none"),
        ("blobs", "snapshots/COMMIT/model.safetensors"),
        ("refs", "blobs/BLOB"),
        ("snapshots", "blobs/BLOB"),
        ("snapshots/COMMIT", "blobs/BLOB"),
        ("snapshots/COMMIT/sub", "blobs/BLOB"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        intact(&cache, REPO_FOLDER, true);
        let repo = cache.join(REPO_FOLDER);
        let moved = folder.path().join("moved");
        fs::rename(place(&repo, linked), &moved).unwrap();
        symlink(&moved, place(&repo, linked)).unwrap();
        let before = contents(&moved);
        let done = scan(&options(folder.path())).unwrap()[0].remove().unwrap();
        assert_eq!(contents(&moved), before, "{linked}");
        let path = place(&repo, linked);
        let path = repo.join(path.strip_prefix(&repo).unwrap());
        let left = Left {
            path,
            kind: LeftKind::Link(moved),
        };
        assert!(done.left.contains(&left), "{linked}: {done:?}");
        assert!(
            fs::symlink_metadata(place(&repo, gone)).is_err(),
            "{linked}"
        );
    }
}

#[test]
fn a_cache_without_links_is_pruned_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    intact(&cache, REPO_FOLDER, false);
    let repo = || scan(&options(folder.path())).unwrap().remove(0);
    let old = place(&repo().folder, "snapshots").join("f".repeat(40));
    write(&old.join("model.safetensors"), "older weights");
    let waste = repo().reclaimable(&BTreeSet::new()).unwrap();
    let found: Vec<_> = waste.iter().map(|item| (&item.path, item.size)).collect();
    assert_eq!(found, [(&old, 13)]);
    assert_eq!(repo().clear(&waste, &BTreeSet::new()).unwrap().size, 13);
    assert!(!old.exists());
    // If no commit is kept, the files may be someone else's: only `remove` deletes them.
    fs::remove_dir_all(repo().folder.join("refs")).unwrap();
    assert_eq!(repo().reclaimable(&BTreeSet::new()).unwrap(), []);
    assert_eq!(repo().remove().unwrap().left, []);
    assert!(!cache.join(REPO_FOLDER).exists());
}

#[test]
fn contents_linked_elsewhere_free_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    intact(&cache, REPO_FOLDER, true);
    let repo = cache.join(REPO_FOLDER);
    let kept = folder.path().join("kept");
    fs::hard_link(place(&repo, "blobs/BLOB"), &kept).unwrap();
    let done = scan(&options(folder.path())).unwrap()[0].remove().unwrap();
    assert_eq!(done.size, ("{}".len() + "the".len()) as u64);
    assert_eq!(fs::read_to_string(kept).unwrap(), "the weights");
    assert!(!repo.exists());
}

#[test]
fn release_files_behind_links_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let foreign = folder.path().join("foreign");
    foreign_folder(&foreign);
    let before = contents(&foreign);
    fs::create_dir_all(&options.own_cache).unwrap();
    let release = options.own_cache.join("release");
    symlink(&foreign, &release).unwrap();
    assert_eq!(reclaimable_releases(&options).unwrap(), []);
    let remove = |name: &str| {
        let files = scan_releases(&options).unwrap();
        let file = files.into_iter().find(|file| file.name == name).unwrap();
        let planned = release_removal(&file, &options).unwrap();
        let done = remove_release(&file, &options).unwrap();
        assert_eq!(planned, done);
        done
    };
    let done = remove("net-01234567.pth");
    assert_eq!((done.size, &done.left[0].path), (0, &release));
    assert_eq!(contents(&foreign), before);
    // A file that is a link, and one that is not a release.
    fs::remove_file(&release).unwrap();
    fs::create_dir(&release).unwrap();
    symlink(foreign.join("notes.txt"), release.join("net-01234567.pth")).unwrap();
    write(&release.join("net-01234567.pth.incomplete"), "begun");
    write(&release.join("thesis.incomplete"), "mine");
    let waste = reclaimable_releases(&options).unwrap();
    assert_eq!((waste.len(), waste[0].size), (1, 5));
    assert_eq!(clear_releases(&waste, &options).unwrap().size, 5);
    let done = remove("net-01234567.pth");
    assert_eq!((done.size, done.left.len()), (0, 1));
    assert_eq!(contents(&foreign), before);
    assert_eq!(contents(&release).len(), 3);
}

/// Each path that a download writes, occupied by something foreign.
#[test]
fn downloads_replace_nothing_foreign() {
    let digest = sha256(&weights());
    let pointer = format!("snapshots/{COMMIT}/{FILE}");
    let blob = format!("blobs/{digest}");
    let partial = format!("{blob}.incomplete");
    for (name, target, whole) in [
        (blob.as_str(), "file", false),
        (&blob, "none", false),
        (&blob, "folder", false),
        (&partial, "file", false),
        (&partial, "none", false),
        (&pointer, "file", false),
        (&pointer, "none", false),
        ("refs/main", "file", false),
        ("refs", "folder", false),
        ("snapshots", "folder", false),
        (pointer.rsplit_once('/').unwrap().0, "folder", false),
        // There, nothing is in its way.
        ("blobs", "empty", true),
        ("refs", "empty", true),
        ("", "empty", true),
    ] {
        let setup = setup();
        let repo = setup
            .options
            .cache
            .join("models--timm--seresnet50.ra2_in1k");
        let foreign = setup.folder.path().join("foreign");
        write(&foreign.join("file"), "of somebody");
        write(&foreign.join("folder").join(FILE), "of somebody");
        write(&foreign.join("folder/main"), "of somebody");
        write(
            &foreign.join("folder").join(COMMIT).join(FILE),
            "of somebody",
        );
        fs::create_dir(foreign.join("empty")).unwrap();
        let at = place(&repo, name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(foreign.join(target), &at).unwrap();
        let link = fs::read_link(&at).unwrap();
        let before = contents(&foreign);
        // As `cache verify --repair` does.
        let result = replace(REPO, "main", FILE, &setup.options, &());
        assert_eq!(fs::read_link(&at).unwrap(), link, "{name} {target}");
        for (path, is) in before {
            assert_eq!(contents(&foreign).get(&path), Some(&is), "{name} {target}");
        }
        if whole {
            assert_eq!(fs::read(result.unwrap()).unwrap(), weights(), "{name}");
        } else {
            let error = result.expect_err(&format!("{name} {target}"));
            assert!(matches!(error, HubError::Foreign { .. }), "{name}: {error}");
            assert!(error.hint().unwrap().contains("move it away"));
            // This is found before the file is sent.
            assert!(setup.server.requests().len() <= 1, "{name} {target}");
        }
    }
}

#[test]
fn pipes_in_the_cache_are_not_waited_for() {
    let setup = setup();
    let path = setup.fetch().unwrap();
    let repo = setup
        .options
        .cache
        .join("models--timm--seresnet50.ra2_in1k");
    let pipe = |path: &Path| {
        fs::remove_file(path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    pipe(&fs::canonicalize(&path).unwrap());
    pipe(&repo.join("refs/main"));
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, HubError::Foreign { .. }), "{error}");
    let cached = scan(&setup.options).unwrap().remove(0);
    assert_eq!(cached.revisions[0].files[0].size, None);
    let done = cached.remove().unwrap();
    assert_eq!((done.size, done.left.len()), (0, 2));
}
