//! Deleting from the cache while other processes use it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;

use senet::hub::{HubError, ensure};
use senet::store::{CachedRepo, Integrity, ReclaimableKind, scan};

use super::{FILE, REPO, Setup, files_in, setup, weights};
use crate::common::hub_server::{COMMIT, sha256};

fn repo(setup: &Setup) -> CachedRepo {
    let mut repos = scan(&setup.options).unwrap();
    assert_eq!(repos.len(), 1);
    repos.remove(0)
}

/// Holds the file lock of a blob, as a process that downloads it does.
fn held(setup: &Setup, etag: &str) -> File {
    let locks = setup.options.cache.join(".locks");
    let folder = locks.join("models--timm--seresnet50.ra2_in1k");
    fs::create_dir_all(&folder).unwrap();
    let file = File::create(folder.join(format!("{etag}.lock"))).unwrap();
    file.try_lock().unwrap();
    file
}

fn kinds(repo: &CachedRepo) -> Vec<ReclaimableKind> {
    let waste = repo.reclaimable(&BTreeSet::new()).unwrap();
    waste.into_iter().map(|item| item.kind).collect()
}

/// Makes the branch point to another commit.
fn supersede(repo: &CachedRepo) {
    let other = COMMIT.replace('0', "f");
    fs::write(repo.folder.join("refs/main"), other).unwrap();
}

#[test]
fn a_repository_in_use_is_kept() {
    let setup = setup();
    setup.fetch().unwrap();
    ensure(REPO, "main", "config.json", &setup.options, &()).unwrap();
    let repo = repo(&setup);
    let before = files_in(&repo.folder);
    let lock = held(&setup, &sha256(&weights()));
    let error = repo.remove().unwrap_err();
    assert!(matches!(error, HubError::Busy { .. }), "{error:?}");
    assert_eq!(files_in(&repo.folder), before);
    drop(lock);
    // A download that started after the scan.
    let lock = held(&setup, "abc");
    fs::write(repo.folder.join("blobs/abc.incomplete"), "begun").unwrap();
    assert!(matches!(repo.remove(), Err(HubError::Busy { .. })));
    assert_eq!(files_in(&repo.folder).len(), before.len() + 1);
    drop(lock);
    repo.remove().unwrap();
    assert!(!repo.folder.exists());
}

#[test]
fn a_download_with_dots_in_its_etag_is_not_waste() {
    let setup = setup();
    setup.fetch().unwrap();
    let partial = repo(&setup).folder.join("blobs/a.b-1.incomplete");
    fs::write(partial, "begun").unwrap();
    let lock = held(&setup, "a.b-1");
    assert_eq!(kinds(&repo(&setup)), []);
    drop(lock);
    assert_eq!(kinds(&repo(&setup)), [ReclaimableKind::Partial]);
}

#[test]
fn reused_blobs_are_kept() {
    let setup = setup();
    let path = setup.fetch().unwrap();
    let repo = repo(&setup);
    supersede(&repo);
    let listed = self::repo(&setup).reclaimable(&BTreeSet::new()).unwrap();
    assert_eq!(listed.len(), 2);
    // Another process downloads during the confirmation, and after it.
    fs::write(repo.folder.join("refs/main"), COMMIT).unwrap();
    repo.clear(&listed, &BTreeSet::new()).unwrap();
    assert_eq!(setup.fetch().unwrap(), path);
    supersede(&repo);
    let lock = held(&setup, &sha256(&weights()));
    let error = repo.clear(&listed, &BTreeSet::new()).unwrap_err();
    assert!(matches!(error, HubError::Busy { .. }), "{error:?}");
    drop(lock);
    // The listed contents now belong to another commit.
    let other = repo.folder.join("snapshots").join("a".repeat(40));
    fs::create_dir_all(&other).unwrap();
    fs::rename(&path, other.join(FILE)).unwrap();
    repo.clear(&listed, &BTreeSet::new()).unwrap();
    assert_eq!(fs::read(other.join(FILE)).unwrap(), weights());
    assert!(!path.parent().unwrap().exists());
    let listed = self::repo(&setup).reclaimable(&BTreeSet::new()).unwrap();
    repo.clear(&listed, &BTreeSet::new()).unwrap();
    assert_eq!(files_in(&repo.folder), [PathBuf::from("refs/main")]);
}

#[cfg(unix)]
#[test]
fn a_foreign_folder_does_not_hide_others() {
    let setup = setup();
    setup.fetch().unwrap();
    let strange = setup.options.cache.join("models--org--strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("blobs"), "a file").unwrap();
    let repos = scan(&setup.options).unwrap();
    let names: Vec<&str> = repos.iter().map(|repo| repo.repo.as_str()).collect();
    assert_eq!(names, ["org/strange", REPO]);
    assert_eq!(repos[0].removal().unwrap().left.len(), 1);
}

#[test]
fn contents_deleted_since_the_scan_are_missing() {
    let setup = setup();
    let path = setup.fetch().unwrap();
    let repo = repo(&setup);
    fs::remove_file(fs::canonicalize(path).unwrap()).unwrap();
    let file = &repo.revisions[0].files[0];
    assert_eq!(repo.check(file).unwrap(), Integrity::Missing);
}

#[test]
fn leftovers_of_a_killed_process_are_not_mistaken_for_files() {
    let setup = setup();
    setup.fetch().unwrap();
    let folder = repo(&setup).folder;
    let left = [
        "refs/main.12-0.incomplete".to_owned(),
        format!("snapshots/{COMMIT}/{FILE}.12-1.incomplete"),
        "ref.12-2.incomplete".to_owned(),
    ];
    for name in &left {
        fs::write(folder.join(name), COMMIT).unwrap();
    }
    let repo = repo(&setup);
    assert_eq!(repo.revisions[0].refs, ["main"]);
    assert_eq!(repo.revisions[0].files.len(), 1);
    // Its owner may be alive while anything is being downloaded.
    let lock = held(&setup, &sha256(&weights()));
    assert_eq!(kinds(&repo), []);
    drop(lock);
    let waste = repo.reclaimable(&BTreeSet::new()).unwrap();
    assert_eq!(waste.len(), left.len());
    repo.clear(&waste, &BTreeSet::new()).unwrap();
    for name in &left {
        assert!(!folder.join(name).exists(), "{name}");
    }
    setup.fetch().unwrap();
    assert_eq!(setup.server.requests().len(), 2);
}
