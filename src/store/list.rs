//! The checkpoints in the caches. The Hugging Face cache is shared, so other programs' models are
//! skipped: a checkpoint is in the zoo, or has a `config.json` of a known architecture.

use std::collections::BTreeSet;

use super::pick::may_hold_weights;
use super::scan::{CachedFile, CachedRepo, fingerprint, scan, scan_releases};
use crate::bounded;
use crate::error::Result;
use crate::hub::{HubOptions, LockedFile, Release};
use crate::zoo::{CONFIG_FILE, ModelSpec, Overrides, WeightsRef, WeightsSource, Zoo};

/// The repositories of checkpoints in the cache, by name.
///
/// # Errors
/// If a cache cannot be read.
pub fn list(hub: &HubOptions) -> Result<Vec<CachedRepo>> {
    let repos = scan(hub)?.into_iter();
    Ok(repos.filter(is_checkpoint).collect())
}

fn is_checkpoint(repo: &CachedRepo) -> bool {
    if Zoo::builtin().of_repository(&repo.repo).is_some() {
        return true;
    }
    let files = repo.revisions.iter().flat_map(|revision| &revision.files);
    let configs = files.filter(|file| file.name == CONFIG_FILE);
    configs
        .filter_map(|file| bounded::read_found(&file.path, bounded::SMALL).ok())
        .any(|text| {
            let source = WeightsSource::Reference(WeightsRef::default());
            ModelSpec::from_timm_config(&text, &repo.repo, source, &Overrides::ALL).is_ok()
        })
}

/// A file that authors publish outside the hub, in the program's own cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CachedRelease {
    /// The file.
    pub file: CachedFile,
    /// Its address, where a card names it.
    pub url: Option<String>,
    /// SHA-1 of the file, where the address is that of an archive around it.
    pub sha1: Option<String>,
    /// SHA-384 of the file, where its name has had no digits.
    pub sha384: Option<String>,
}

impl CachedRelease {
    /// Where the file came from, if a card says so.
    pub fn release(&self) -> Option<Release<'_>> {
        Some(Release {
            url: self.url.as_deref()?,
            sha1: self.sha1.as_deref(),
            sha384: self.sha384.as_deref(),
        })
    }
}

/// The release files in the cache, by name.
///
/// # Errors
/// If the cache cannot be read.
pub fn list_releases(hub: &HubOptions) -> Result<Vec<CachedRelease>> {
    let with_source = |file: CachedFile| {
        let card = Zoo::builtin().of_release_file(&file.name);
        let release = card.and_then(|card| card.weights.released());
        CachedRelease {
            url: release.map(|release| release.url.to_owned()),
            sha1: release.and_then(|release| Some(release.sha1?.to_owned())),
            sha384: release.and_then(|release| Some(release.sha384?.to_owned())),
            file,
        }
    };
    Ok(scan_releases(hub)?.into_iter().map(with_source).collect())
}

/// Commits that cards name: no branch points to them, yet they are needed.
pub fn pinned_commits() -> BTreeSet<String> {
    let cards = Zoo::builtin().mentioning("revision = ");
    cards
        .filter_map(|card| card.weights.revision.clone())
        .collect()
}

/// The entries of a lockfile for everything that [`list`] finds, and the release files of cards. Every
/// file is read to hash it.
///
/// # Errors
/// If a cache cannot be read.
pub fn lock(hub: &HubOptions) -> Result<Vec<LockedFile>> {
    let mut files = Vec::new();
    let is_needed = |file: &&CachedFile| {
        file.size.is_some() && (file.name == CONFIG_FILE || is_weights(&file.name))
    };
    for repo in list(hub)? {
        for revision in &repo.revisions {
            for file in revision.files.iter().filter(is_needed) {
                let (sha256, size) = fingerprint(&file.path)?;
                let commit_alone = [revision.commit.clone()];
                let names = match &revision.refs[..] {
                    [] => &commit_alone[..],
                    refs => refs,
                };
                files.extend(names.iter().map(|name| LockedFile::Hub {
                    repo: repo.repo.clone(),
                    revision: name.clone(),
                    commit: revision.commit.clone(),
                    file: file.name.clone(),
                    size,
                    sha256: sha256.clone(),
                }));
            }
        }
    }
    for release in list_releases(hub)? {
        if let Some(url) = release.url {
            let (sha256, size) = fingerprint(&release.file.path)?;
            files.push(LockedFile::Release {
                release: url,
                size,
                sha256,
            });
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn is_weights(name: &str) -> bool {
    let mut mentioning = Zoo::builtin().mentioning(name);
    may_hold_weights(name) || mentioning.any(|card| card.weights.file.as_deref() == Some(name))
}
